//! A sender that can say anything: bytes on a socket, and the answers that come back.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::leaks;

/// What a test waits at most for something that must happen.
pub const BOUND: Duration = Duration::from_secs(20);

/// A word that no other request of this run has: in the User-Agent it finds the request's log
/// line.
pub fn new_tag() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("it-{}-", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A POST that is right unless something about it is changed.
#[derive(Clone, Debug)]
pub struct Post {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    declared: Option<u64>,
    from: Option<IpAddr>,
    pub tag: String,
}

impl Post {
    pub fn to(path: &str) -> Self {
        Self {
            method: "POST".to_owned(),
            path: path.to_owned(),
            headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
            body: b"{}".to_vec(),
            declared: None,
            from: None,
            tag: new_tag(),
        }
    }

    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// Adds a header, whether there is one of this name or not.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn headers(mut self, headers: &http::HeaderMap) -> Self {
        for (name, value) in headers {
            self = self.header(name.as_str(), value.to_str().unwrap());
        }
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    pub fn content_type(self, value: &str) -> Self {
        self.without("content-type").header("Content-Type", value)
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Says that the body has this length, whatever it has.
    pub fn declares(mut self, length: u64) -> Self {
        self.declared = Some(length);
        self
    }

    pub fn from(mut self, ip: &str) -> Self {
        self.from = Some(ip.parse().unwrap());
        self
    }

    /// The target with a query that nobody may tell of, where nothing looks at the query.
    fn target(&self) -> String {
        match self.path.starts_with("/hooks/") && !self.path.contains(['?', '#']) {
            true => format!("{}?{}", self.path, leaks::canary("queries")),
            false => self.path.clone(),
        }
    }

    /// The head as it goes over the wire. Everything in it and in the body is taken note of.
    pub fn head(&self) -> Vec<u8> {
        let Self { method, headers, tag, .. } = self;
        let target = self.target();
        leaks::sent(&target, headers, &self.body);
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: gw\r\nUser-Agent: {tag}\r\n");
        write!(head, "X-Canary: {}\r\n", leaks::canary("headers")).unwrap();
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding")) {
            let length = self.declared.unwrap_or(self.body.len() as u64);
            write!(head, "Content-Length: {length}\r\n").unwrap();
        }
        head += "\r\n";
        head.into_bytes()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// All of it as it goes over the wire, with this before it.
    pub fn behind(&self, start: &[u8]) -> Vec<u8> {
        [start, &self.head(), &self.body].concat()
    }

    pub async fn connect(&self, to: SocketAddr) -> Connection {
        Connection::open(to, self.from).await
    }

    /// Sends it on a connection of its own, and reads the answer.
    pub async fn send(&self, to: SocketAddr) -> Answer {
        let mut connection = self.connect(to).await;
        connection.write(&self.head()).await;
        connection.write(&self.body).await;
        connection.answer().await
    }
}

/// A connection to the gateway.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
    /// Whether a payload was asked for.
    shows_payload: bool,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// The statuses of the interim answers before it.
    pub interim: Vec<u16>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Hookward's own id of the event.
    pub fn event_id(&self) -> &str {
        self.header("hookward-event-id").unwrap_or_else(|| panic!("no event id: {self:?}"))
    }

    /// The answer as the contract has it for its status.
    pub fn assert_well_formed(&self) {
        let content_type = self.header("content-type");
        if self.status == 200 {
            assert_eq!(content_type, Some("application/json"), "{self:?}");
            assert_eq!(self.body, r#"{"received":true}"#);
            assert_eq!(self.event_id().len(), 36);
            assert_eq!(&self.event_id()[14..15], "7", "a UUIDv7: {self:?}");
            return;
        }
        assert_eq!(content_type, Some("application/problem+json"), "{self:?}");
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(problem["title"].is_string(), "{self:?}");
        assert_eq!(self.header("hookward-event-id"), None);
        assert_eq!(self.header("allow"), (self.status == 405).then_some("POST"));
        let later = matches!(self.status, 429 | 503);
        assert_eq!(self.header("retry-after").is_some(), later, "{self:?}");
    }
}

impl Connection {
    /// Connects, from the address `from` if that is given.
    pub async fn open(to: SocketAddr, from: Option<IpAddr>) -> Self {
        let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0)).unwrap();
        }
        let stream = timeout(BOUND, socket.connect(to)).await.unwrap().unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new(), shows_payload: false }
    }

    /// Sends bytes. A peer that has closed already may still have answered.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.shows_payload |= bytes.windows(9).any(|part| part == b"payload=1");
        let _ = timeout(BOUND, self.stream.write_all(bytes)).await.unwrap();
    }

    /// Has nothing more to send. A peer that has closed already does not hear it.
    pub async fn end_of_writing(&mut self) {
        drop(self.stream.shutdown().await);
    }

    /// Sends a request on this connection, and reads the answer.
    pub async fn send(&mut self, post: &Post) -> Answer {
        self.write(&[post.head(), post.body.clone()].concat()).await;
        self.answer().await
    }

    /// The next answer, with the interim ones before it.
    pub async fn answer(&mut self) -> Answer {
        let mut interim = Vec::new();
        loop {
            let (status, headers) = self.answer_head().await;
            if !(100..200).contains(&status) {
                let length = headers.iter().find(|(name, _)| name == "content-length");
                let length = length.map_or(0, |(_, value)| value.parse().unwrap());
                let body = String::from_utf8(self.take(length).await).unwrap();
                let answer = Answer { status, headers, body, interim };
                if !self.shows_payload {
                    leaks::answered("an answer", &format!("{answer:?} {}", answer.body));
                }
                return answer;
            }
            interim.push(status);
        }
    }

    /// The status of the next head: an interim answer's, or the answer's.
    pub async fn status(&mut self) -> u16 {
        self.answer_head().await.0
    }

    async fn answer_head(&mut self) -> (u16, Vec<(String, String)>) {
        let end = loop {
            match self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                Some(at) => break at,
                None => assert!(self.fill().await, "closed before an answer: {:?}", self.text()),
            }
        };
        let head = String::from_utf8(self.take(end + 4).await).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        (status, lines.map(header).collect())
    }

    async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert!(self.fill().await, "closed within an answer: {:?}", self.text());
        }
        self.read.drain(..length).collect()
    }

    async fn fill(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.read);
        timeout(BOUND, read).await.expect("an answer in time").is_ok_and(|n| n > 0)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// Waits until anything comes, or the other side closes. Whether anything came.
    pub async fn answer_or_end(&mut self) -> bool {
        self.fill().await
    }

    /// Waits for the other side to close, and returns what it sent before.
    pub async fn rest(mut self) -> String {
        while self.fill().await {}
        self.text()
    }
}
