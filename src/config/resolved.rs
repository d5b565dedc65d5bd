//! The checked, immutable configuration that the rest of the crate works from. Built by
//! [`super::load`] only; every invariant named here holds once it exists.

mod admin;
mod audit;
mod source;
mod upstream;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use self::admin::{Admin, AdminTls, Role, Token};
pub use self::audit::{
    Audit, AuditFormat, AuditFrom, AuditOutput, AuditTarget, CheckpointPost, Checkpoints, Facility,
    Syslog, SyslogAddress,
};
pub use self::source::{
    Algorithm, Auth, Encoding, EventPaths, HmacScheme, OnConflict, Pattern, Place, Selector,
    SignedPart, Source, TimestampPlace,
};
pub use self::upstream::{Format, Ordering, OriginalSignature, Resign, Retry, Route, Upstream};
use super::Authorities;
use crate::pem::Identity;
use crate::secret::Key;

/// Everything `hookward run` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// All files that it was made from, each once: `file` first, then secrets and certificates.
    /// When one of them changes, the configuration may.
    pub files: Vec<PathBuf>,
    /// `[server]`
    pub server: Server,
    /// `[admin]`; absent when the table is: then there is no admin listener.
    pub admin: Option<Admin>,
    /// `[store]`
    pub store: Store,
    /// `[audit]`
    pub audit: Audit,
    /// `[log]`
    pub log: Log,
    /// `[source.NAME]`, at least one, in the order of the file, with unique paths.
    pub sources: Vec<Arc<Source>>,
    /// `[upstream.NAME]`, at least one and at most 64, in the order of the file.
    pub upstreams: Vec<Arc<Upstream>>,
    /// `[[route]]`; empty: every event goes to every upstream.
    pub routes: Vec<Route>,
}

/// `[server]`: the public listener.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where the providers' requests arrive.
    pub listen: SocketAddr,
    /// From the end of a request's headers to the end of its answer; at most 4.5 s.
    pub ack_deadline: Duration,
    /// Longest body, in bytes.
    pub max_body: u64,
    /// Connections at once; further ones are closed at once.
    pub max_connections: usize,
    /// Connections at once from one client address (an IPv6 one counts with its /64); peers that
    /// are `trusted_proxies` are not counted.
    pub max_connections_per_client: usize,
    /// Requests on one connection; then it is closed.
    pub max_requests_per_connection: u64,
    /// Fields in a request's header section.
    pub max_headers: usize,
    /// Bytes of a request's head: request line and header section.
    pub max_header_bytes: usize,
    /// Bytes of a request target.
    pub max_target: usize,
    /// Requests at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// Bytes of bodies that are being read or wait to be stored, all requests together. What
    /// would exceed it gets 503.
    pub body_memory: u64,
    /// Bytes a second that a body must arrive with on average, once its first second is over.
    pub min_body_rate: u64,
    /// From accepting to the end of the TLS handshake (and of the PROXY header before it).
    pub handshake_timeout: Duration,
    /// How long a client may take to read its answer.
    pub write_timeout: Duration,
    /// TLS on the public listener. `None`: plain HTTP/1.1.
    pub tls: Option<Tls>,
    /// Whose X-Forwarded-For and PROXY header is believed, IPv4-mapped addresses as IPv4.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether every connection must begin with a PROXY header (version 1 or 2), from one of
    /// `trusted_proxies`.
    pub proxy_protocol: bool,
    /// Requests of one client address, whatever their source. `None`: no limit.
    pub client_rate_limit: Option<RateLimit>,
    /// Failed authentications of one client address, and (ten times as many) of one source's
    /// callers together; further ones are 429 rather than 401.
    pub failure_rate_limit: RateLimit,
    /// Whether the process gives up what it does not need of the file system (Landlock).
    pub sandbox: bool,
    /// From the first byte of a request to the end of its headers, and to the first byte itself.
    pub header_timeout: Duration,
    /// How long a kept-alive connection may stay silent.
    pub idle_timeout: Duration,
    /// How long a stop waits for requests and deliveries in flight.
    pub drain_timeout: Duration,
}

/// Where the public listener's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Two PEM files: the chain, the server's own certificate first, and its key.
    Files {
        /// The chain.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What the two hold.
        identity: Identity,
    },
    /// A certificate authority that speaks ACME (RFC 8555), over TLS-ALPN-01 (RFC 8737).
    Acme(Acme),
}

/// `server.tls.acme`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// The names that the certificate is for; at least one.
    pub domains: Vec<String>,
    /// Whom the authority may write to, as `mailto:` URLs without the scheme; may be empty.
    pub contact: Vec<String>,
    /// The authority's directory URL.
    pub directory: String,
    /// Where account key and certificates are kept, mode 0700.
    pub cache: PathBuf,
    /// Whom to trust for the directory itself, instead of the platform's roots.
    pub ca: Option<Authorities>,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// What flows in.
    pub per_second: NonZeroU32,
    /// What it holds.
    pub burst: NonZeroU32,
}

/// `[store]`
#[derive(Clone, Debug)]
pub struct Store {
    /// The directory of journal, index and audit trail.
    pub path: PathBuf,
    /// How long accepted events and their dedupe keys are kept.
    pub retention: Duration,
    /// What events are encrypted with: the first for new ones, all of them for reading. None:
    /// nothing is encrypted.
    pub encryption_keys: Vec<Key>,
    /// Free bytes on the store's file system below which new events get 503.
    pub min_free: u64,
}

/// `[log]`
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// JSON lines or text.
    pub format: LogFormat,
    /// The least severe level that is printed.
    pub level: tracing::level_filters::LevelFilter,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// An address as allowlists and limits judge it: an IPv4-mapped IPv6 address is the IPv4 address.
pub fn canonical_ip(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
