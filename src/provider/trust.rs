//! Which gateways a caller believes: those with one very certificate, or with one that chains to a
//! root and has the name. Never anybody else.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Whom a caller believes.
#[derive(Clone, Debug)]
pub struct Trust {
    roots: RootCertStore,
    own: Option<CertificateDer<'static>>,
    name: Option<ServerName<'static>>,
}

impl Trust {
    /// Nobody over TLS: for plain HTTP.
    pub fn nobody() -> Self {
        Self { roots: RootCertStore::empty(), own: None, name: None }
    }

    /// Those that the platform believes.
    pub fn platform() -> Self {
        let mut trust = Self::nobody();
        trust.roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        trust
    }

    /// And those that chain to one of these.
    #[must_use]
    pub fn and_roots(mut self, roots: &RootCertStore) -> Self {
        self.roots.extend(roots.roots.iter().cloned());
        self
    }

    /// And whoever holds the key of this certificate, however it is called, self-signed or over:
    /// that is what one looks at who has it in a file.
    #[must_use]
    pub fn and_certificate(mut self, own: CertificateDer<'static>) -> Self {
        self.own = Some(own);
        self
    }

    /// Asks for this name, and not for what the URL says.
    #[must_use]
    pub fn named(mut self, name: ServerName<'static>) -> Self {
        self.name = Some(name);
        self
    }

    /// The name to be asked for, if it is not the URL's.
    pub(super) fn name(&self) -> Option<ServerName<'static>> {
        self.name.clone()
    }

    /// TLS with those that are believed.
    pub(super) fn into_config(self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = Arc::new(Verifier::new(self, &provider)?);
        Ok(ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth())
    }
}

struct Verifier {
    own: Option<CertificateDer<'static>>,
    /// `None`: there are no roots.
    chains: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(trust: Trust, provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let (roots, provider) = (Arc::new(trust.roots), Arc::clone(provider));
        let algorithms = provider.signature_verification_algorithms;
        let chains = (!roots.is_empty())
            .then(|| WebPkiServerVerifier::builder_with_provider(roots, provider).build());
        let chains = chains.transpose().map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { own: trust.own, chains, algorithms })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.own.as_ref() == Some(end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.chains {
            Some(chains) => chains.verify_server_cert(end_entity, intermediates, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("own", &self.own.is_some()).finish_non_exhaustive()
    }
}
