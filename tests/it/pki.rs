//! Certificate authorities, what they issue, and clients that speak TLS.

mod believer;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use rustls::client::ResolvesClientCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::believer::Believer;
use crate::client::{BOUND, Post};
use crate::leaks;

/// The name of every gateway here.
pub const NAME: &str = "gw.example";

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub der: CertificateDer<'static>,
    pub pem: String,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Issued {
    pub pem: String,
    pub key_pem: String,
    der: CertificateDer<'static>,
    /// What is shown behind it.
    issuers: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let (ca, key) = Self::params(name);
        let own = ca.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(ca, key), der: own.der().clone(), pem: own.pem() }
    }

    /// An authority that has its certificate from this one.
    pub fn intermediate(&self, name: &str) -> Self {
        let (ca, key) = Self::params(name);
        let own = ca.signed_by(&key, &self.issuer).unwrap();
        Self { issuer: Issuer::new(ca, key), der: own.der().clone(), pem: own.pem() }
    }

    fn params(name: &str) -> (CertificateParams, KeyPair) {
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.distinguished_name.push(DnType::CommonName, name);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        (ca, KeyPair::generate().unwrap())
    }

    /// A certificate for the gateway.
    pub fn server(&self, serial: u64) -> Issued {
        self.issue(|params| {
            params.serial_number = Some(SerialNumber::from(serial));
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })
    }

    /// A certificate for a caller.
    pub fn client(&self) -> Issued {
        self.issue(|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    /// A certificate for [`NAME`] that holds from 2020 to 2040, with something changed.
    pub fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
        change(&mut params);
        let own = params.signed_by(&key, &self.issuer).unwrap();
        let (der, key_pem) = (own.der().clone(), key.serialize_pem());
        Issued { pem: own.pem(), key_pem, der, issuers: Vec::new(), key: key.serialize_der() }
    }
}

/// An extension that only makes a certificate longer.
pub fn padding(bytes: usize) -> CustomExtension {
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55_555, 1], vec![4; bytes])
}

impl Issued {
    pub fn write_to(&self, dir: &Path) {
        // What is a key of P-256 alone in PKCS#8: in front of it all keys are alike.
        assert_eq!(self.key[34..36], [4, 32]);
        leaks::secret("key of a certificate", &self.key[36..68]);
        std::fs::write(dir.join("cert.pem"), &self.pem).unwrap();
        std::fs::write(dir.join("key.pem"), &self.key_pem).unwrap();
    }

    /// Shown with these behind it.
    pub fn behind(mut self, issuers: &[&Authority]) -> Self {
        self.issuers = issuers.iter().map(|authority| authority.der.clone()).collect();
        self
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        std::iter::once(&self.der).chain(&self.issuers).cloned().collect()
    }

    fn with_key_of(&self, other: &Self) -> Arc<dyn ResolvesClientCert> {
        let key = PrivateKeyDer::try_from(other.key.clone()).unwrap();
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        Arc::new(SingleCertAndKey::from(CertifiedKey::new(self.chain(), key)))
    }
}

/// How a client of a gateway calls.
#[derive(Clone)]
pub struct Caller {
    pub versions: Vec<&'static SupportedProtocolVersion>,
    pub protocols: Vec<&'static str>,
    /// What it shows, and whose key it signs with.
    pub shows: Option<(Issued, Issued)>,
    /// Empty: every server is believed, whatever it shows.
    roots: Arc<RootCertStore>,
}

impl Caller {
    pub fn trusting(authority: &Authority) -> Self {
        Self::trusting_root(authority.der.clone())
    }

    pub fn trusting_root(root: CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(root).unwrap();
        let versions = rustls::ALL_VERSIONS.to_vec();
        Self { versions, protocols: Vec::new(), shows: None, roots: Arc::new(roots) }
    }

    pub fn believing_all() -> Self {
        let versions = rustls::ALL_VERSIONS.to_vec();
        Self {
            versions,
            protocols: Vec::new(),
            shows: None,
            roots: Arc::new(RootCertStore::empty()),
        }
    }

    pub fn version(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    pub fn protocols(mut self, protocols: &[&'static str]) -> Self {
        self.protocols = protocols.to_vec();
        self
    }

    pub fn showing(mut self, own: &Issued) -> Self {
        self.shows = Some((own.clone(), own.clone()));
        self
    }

    /// Shows a certificate whose key it does not have.
    pub fn pretending(mut self, shown: &Issued, own: &Issued) -> Self {
        self.shows = Some((shown.clone(), own.clone()));
        self
    }

    /// With sessions of its own, that its next connections may resume.
    pub fn ready(&self) -> Client {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions)
            .unwrap();
        let config = if self.roots.is_empty() {
            let verifier = Arc::new(Believer { provider, asks_for_key: true });
            config.dangerous().with_custom_certificate_verifier(verifier)
        } else {
            config.with_root_certificates(Arc::clone(&self.roots))
        };
        let mut config = match &self.shows {
            Some((shown, own)) => config.with_client_cert_resolver(shown.with_key_of(own)),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = self.protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        Client(Arc::new(config))
    }
}

/// A client with its sessions.
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// A connection after its handshake, as the client sees it.
    pub async fn connect(&self, to: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_as(to, NAME).await
    }

    pub async fn connect_as(
        &self,
        to: SocketAddr,
        name: &'static str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from(name).unwrap();
        let connecting = TlsConnector::from(Arc::clone(&self.0)).connect(name, stream);
        timeout(BOUND, connecting).await.expect("a handshake in time")
    }

    /// Sends a request on a connection of its own, and returns the answer.
    pub async fn send(&self, to: SocketAddr, post: &Post) -> std::io::Result<String> {
        ask(&mut self.connect(to).await?, post).await
    }
}

/// Sends the request, and returns the answer. The connection goes on.
pub async fn ask(stream: &mut TlsStream<TcpStream>, post: &Post) -> std::io::Result<String> {
    stream.write_all(&[post.head(), post.bytes().to_vec()].concat()).await?;
    answer(stream).await
}

/// The next answer: those of the gateway end with their JSON.
pub async fn answer(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    let mut all = Vec::new();
    while !all.ends_with(b"}") {
        let read = timeout(BOUND, stream.read_buf(&mut all)).await.expect("an answer in time")?;
        if read == 0 {
            break;
        }
    }
    let answer = String::from_utf8(all).unwrap();
    leaks::answered("an answer over TLS", &answer);
    Ok(answer)
}

/// The status of an answer; nothing when there is none.
pub fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.1 ").map(|rest| rest[..3].parse().unwrap())
}

/// The serial number of the certificate that the other side has shown.
pub fn serial(stream: &TlsStream<TcpStream>) -> String {
    let certificate = &stream.get_ref().1.peer_certificates().unwrap()[0];
    hookward::pem::Facts::of(certificate).unwrap().serial
}
