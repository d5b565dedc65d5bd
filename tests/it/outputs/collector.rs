//! A receiver of syslog: TLS with octet counting (RFC 5425), and messages read strictly (RFC 5424).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::SanType;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::client::BOUND;
use crate::pki::{Authority, Issued};

/// A message as it was read.
#[derive(Clone, Debug)]
pub struct Message {
    pub facility: u32,
    pub severity: u32,
    pub time: String,
    pub host: String,
    pub app: String,
    pub process: String,
    pub id: String,
    /// Structured data: elements by their names, with the values of their parameters.
    pub elements: BTreeMap<String, BTreeMap<String, String>>,
    pub body: Value,
}

impl Message {
    /// Reads it as section 6 of RFC 5424 says, and nothing else.
    pub fn read(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).unwrap();
        let (priority, rest) = text.strip_prefix('<').unwrap().split_once(">1 ").unwrap();
        let number: u32 = priority.parse().unwrap();
        assert!(number <= 191 && number.to_string() == priority, "{text}");
        let mut fields = rest.splitn(6, ' ');
        let mut field = |most: usize| {
            let field = fields.next().unwrap();
            assert!(!field.is_empty() && field.len() <= most, "{text}");
            assert!(field.bytes().all(|b| (33..=126).contains(&b)), "{text}");
            field.to_owned()
        };
        let [time, host, app, process, id] =
            [field(32), field(255), field(48), field(128), field(32)];
        let (elements, body) = Self::elements(fields.next().unwrap());
        // Without a byte order mark it must not be UTF-8 beyond ASCII.
        assert!(body.is_ascii(), "{body}");
        let body = serde_json::from_str(body).unwrap();
        let (facility, severity) = (number / 8, number % 8);
        Self { facility, severity, time, host, app, process, id, elements, body }
    }

    /// Section 6.3, and what follows it.
    fn elements(text: &str) -> (BTreeMap<String, BTreeMap<String, String>>, &str) {
        let mut elements = BTreeMap::new();
        let mut rest = text;
        while let Some(inner) = rest.strip_prefix('[') {
            let end = inner.find([' ', ']']).unwrap();
            let (name, mut inner) = inner.split_at(end);
            let mut values = BTreeMap::new();
            while let Some(parameter) = inner.strip_prefix(' ') {
                let (key, value) = parameter.split_once("=\"").unwrap();
                let (value, behind) = unescape(value);
                assert!(values.insert(key.to_owned(), value).is_none(), "{text}");
                inner = behind;
            }
            assert!(elements.insert(name.to_owned(), values).is_none(), "{text}");
            rest = inner.strip_prefix(']').unwrap();
        }
        (elements, rest.strip_prefix(' ').unwrap())
    }

    pub fn sequence(&self) -> u64 {
        self.body["sequence"].as_u64().unwrap()
    }

    pub fn path(&self) -> Option<&str> {
        self.body["path"].as_str()
    }
}

/// Section 6.3.3: the value, and what follows its closing quote.
fn unescape(text: &str) -> (String, &str) {
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices() {
        match c {
            '"' | '\\' | ']' if escaped => value.push(c),
            '\\' => {
                escaped = true;
                continue;
            }
            '"' => return (value, &text[at + 1..]),
            ']' => panic!("`]` must be escaped: {text}"),
            c => {
                assert!(!c.is_control(), "{text:?}");
                value.push(c);
            }
        }
        escaped = false;
    }
    panic!("no end: {text}")
}

/// What collectors note down. Outlives them.
pub type Notes = Arc<watch::Sender<Vec<Message>>>;

/// Waits until what was noted down is as it should be, and returns it.
pub async fn wait_for(notes: &Notes, enough: impl Fn(&[Message]) -> bool) -> Vec<Message> {
    let mut noted = notes.subscribe();
    let waited = timeout(BOUND, noted.wait_for(|noted| enough(noted))).await;
    let waited = waited.map(|noted| noted.unwrap().clone());
    waited.unwrap_or_else(|_| panic!("only {:#?}", notes.borrow()))
}

/// A receiver of syslog over TLS.
pub struct Collector {
    pub address: SocketAddr,
    tasks: JoinSet<()>,
}

/// A certificate for this machine's address.
pub fn local(authority: &Authority) -> Issued {
    authority.issue(|params| {
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
    })
}

/// An address that nobody else gets, where nobody listens.
pub fn reserve(address: &str) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address.parse().unwrap()).unwrap();
    socket
}

/// What a server makes TLS with. `clients`: who must have issued what callers show.
pub fn acceptor(own: &Issued, clients: Option<&Authority>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(own.pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(own.key_pem.as_bytes()).unwrap();
    TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()))
}

impl Collector {
    pub fn start(socket: TcpSocket, acceptor: TlsAcceptor, notes: &Notes) -> Self {
        let address = socket.local_addr().unwrap();
        let listener = socket.listen(16).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, acceptor, Arc::clone(notes)));
        Self { address, tasks }
    }

    /// Breaks its connections off. When this has returned nobody listens any more.
    pub async fn vanish(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, notes: Notes) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, notes) = (acceptor.clone(), Arc::clone(&notes));
        connections.spawn(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            while let Some(message) = octets(&mut stream).await {
                let message = Message::read(&message);
                notes.send_modify(|noted| noted.push(message));
            }
            // The end of the session is answered with its own.
            drop(tokio::io::AsyncWriteExt::shutdown(&mut stream).await);
        });
    }
}

/// Section 4.3 of RFC 5425: a length in octets, a space, a message. `None`: the session has ended.
async fn octets(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut length = String::new();
    loop {
        match stream.read_u8().await.ok()? {
            b' ' => break,
            digit => length.push(char::from(digit)),
        }
    }
    assert!(!length.starts_with('0') && length.len() < 6, "{length}");
    let mut message = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut message).await.ok()?;
    Some(message)
}
