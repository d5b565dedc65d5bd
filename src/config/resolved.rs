//! The checked, immutable configuration that the rest of the crate works from. Built by
//! [`super::load`] only; every invariant named here holds once it exists.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use super::{Authorities, defaults};
use crate::event::{SourceName, UpstreamName};
use crate::pem::Identity;
use crate::provider::{Preset, Retries};
use crate::secret::{Key, Secret};

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

/// `[admin]`: health, metrics, API and console.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Never the public listener's address.
    pub listen: SocketAddr,
    /// The bearer token of everything but the health endpoints.
    pub token: Option<Secret>,
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

/// `[source.NAME]`: one provider's endpoint.
#[derive(Debug)]
pub struct Source {
    /// `NAME`
    pub name: SourceName,
    /// The preset it was filled in from.
    pub preset: Option<Preset>,
    /// The request path, matched byte for byte. Starts with `/`.
    pub path: String,
    /// How a request proves who sent it.
    pub auth: Auth,
    /// Any one of them will do. Empty only with [`Auth::NoneDangerous`].
    pub keys: Vec<Secret>,
    /// Who may call, IPv4-mapped addresses as IPv4. `None`: anyone.
    pub allow_ips: Option<Vec<IpNet>>,
    /// Older event times are refused as replays. Shorter than the retention.
    pub max_event_age: Option<Duration>,
    /// Whether an event without a readable time is refused.
    pub require_event_time: bool,
    /// Where in the request the event's parts stand.
    pub event: EventPaths,
    /// What identifies an event. `None`: its id, at last its body.
    pub dedupe: Option<Vec<Selector>>,
    /// What to do with the same key and other content.
    pub on_conflict: OnConflict,
    /// Patterns over the normalized event name; `None`: all are forwarded.
    pub events: Option<Vec<Pattern>>,
    /// Headers of the provider's request that are kept with the event. No credential is among them.
    pub forward_headers: Vec<HeaderName>,
    /// Whether the headers with the provider's signature are kept too: some upstream is to get them.
    pub keep_signature: bool,
    /// Verified requests of this source. `None`: no limit.
    pub rate_limit: Option<RateLimit>,
    /// Of whom a caller must show a client certificate, beside its other credentials.
    pub client_ca: Option<Authorities>,
    /// How the provider sends again what was not acknowledged, as far as that is published or
    /// configured (`retry_schedule`, `retry_horizon`). Its [`Retries::horizon`] is the longest
    /// outage over which none of its events is lost.
    pub retries: Retries,
}

impl Source {
    /// A source with the default path and nothing else: anyone may send to it.
    pub fn open(name: SourceName) -> Self {
        Self {
            path: format!("{}{name}", defaults::PATH_PREFIX),
            name,
            preset: None,
            auth: Auth::NoneDangerous,
            keys: Vec::new(),
            allow_ips: None,
            max_event_age: None,
            require_event_time: false,
            event: EventPaths::default(),
            dedupe: None,
            on_conflict: defaults::ON_CONFLICT,
            events: None,
            forward_headers: Vec::new(),
            keep_signature: false,
            rate_limit: None,
            client_ca: None,
            retries: Retries::default(),
        }
    }
}

/// Where the parts of an event stand; each a list that is tried in order.
#[derive(Clone, Debug, Default)]
pub struct EventPaths {
    /// `event.type`
    pub kind: Selector,
    /// `event.id`
    pub id: Selector,
    /// `event.time`
    pub time: Selector,
    /// `event.subject`
    pub subject: Selector,
    /// `event.tenant`
    pub tenant: Selector,
    /// `event.data`
    pub data: Selector,
}

/// Places to look, in order; the first that holds something usable is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(pub Vec<Place>);

/// One place to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A JSON Pointer (RFC 6901) into the body, as unescaped reference tokens.
    Pointer(Vec<String>),
    /// A request header.
    Header(HeaderName),
}

/// How a request proves who sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A shared key, verbatim in a header.
    ApiKey {
        /// The header that holds it.
        header: HeaderName,
    },
    /// An HMAC over the body, and maybe a timestamp.
    Hmac(HmacScheme),
    /// The Standard Webhooks scheme (`webhook-id`, `webhook-timestamp`, `webhook-signature`).
    StandardWebhooks {
        /// How far the timestamp may be from now, both ways.
        tolerance: Duration,
        /// The keys as the scheme keys its HMAC: base64 after an optional `whsec_`, decoded.
        /// In the order of [`Source::keys`].
        decoded: Vec<Secret>,
    },
    /// Nothing is proved. Only for trying things out.
    NoneDangerous,
}

/// An HMAC scheme, spelled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HmacScheme {
    /// The header with the signature.
    pub header: HeaderName,
    /// The hash under the HMAC.
    pub algorithm: Algorithm,
    /// How the signature is written.
    pub encoding: Encoding,
    /// What stands before each signature, such as `sha256=`. May be empty.
    pub prefix: String,
    /// What is signed.
    pub signed: Vec<SignedPart>,
    /// Where the timestamp stands. Always there when [`HmacScheme::signed`] names it.
    pub timestamp: Option<TimestampPlace>,
    /// In a header of the form `t=..,v1=..`: the key of the signatures. `None`: the header's
    /// whole value is the signature (several ones separated by commas or spaces).
    pub signature_key: Option<String>,
    /// How far the timestamp may be from now, both ways. Always there with a timestamp.
    pub tolerance: Option<Duration>,
}

/// The hash under an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA1
    Sha1,
    /// HMAC-SHA256
    Sha256,
    /// HMAC-SHA512
    Sha512,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal, either case.
    Hex,
    /// Standard base64 with padding.
    Base64,
}

/// A piece of the signed content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedPart {
    /// These bytes.
    Literal(String),
    /// The timestamp, as it was sent.
    Timestamp,
    /// The raw body.
    Body,
    /// The value of a header, as it was sent (`{header:NAME}`).
    Header(HeaderName),
}

/// Where a signature's timestamp stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimestampPlace {
    /// Under this key of the signature header's `k=v` list.
    Item(String),
    /// In a header of its own.
    Header(HeaderName),
}

/// What to do with the same key and other content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Store it and keep it back until an operator decides.
    Quarantine,
    /// It is an event of its own.
    Deliver,
    /// Answer 200 and forget it.
    Drop,
}

/// A pattern over normalized event names: `*` is any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(pub String);

impl Pattern {
    /// Whether `name` fits. Linear in the name for each `*`.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(first) = parts.next() else {
            return false;
        };
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        true
    }
}

/// `[upstream.NAME]`: where events go.
#[derive(Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `NAME`
    pub name: UpstreamName,
    /// `http` or `https`, with a host.
    pub url: http::Uri,
    /// What an event becomes on its way there.
    pub format: Format,
    /// Static headers, their values secret.
    pub headers: BTreeMap<String, (HeaderName, Secret)>,
    /// The Standard Webhooks keys, decoded, newest first: a delivery has a signature of each. None:
    /// deliveries are not signed.
    pub signing_keys: Vec<Secret>,
    /// Whether an event in [`Format::Passthrough`] has the signature that its provider made.
    pub original_signature: OriginalSignature,
    /// How events of these sources are signed anew in [`Format::Passthrough`].
    pub resign: BTreeMap<SourceName, Resign>,
    /// Whom to trust instead of the platform's roots, for `https`.
    pub ca: Option<Authorities>,
    /// What to prove oneself with, for `https`.
    pub client_cert: Option<Identity>,
    /// Whether a link-local address, or one of a metadata service, may be connected to.
    pub allow_link_local: bool,
    /// For one attempt, from connecting to the end of the answer's head.
    pub timeout: Duration,
    /// Attempts at once.
    pub concurrency: usize,
    /// Attempts in a time. `None`: no limit.
    pub rate_limit: Option<RateLimit>,
    /// Whether deliveries about one subject wait for each other.
    pub ordering: Ordering,
    /// When to try again, and when no more.
    pub retry: Retry,
}

/// What an event becomes on its way to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// CloudEvents 1.0 in structured mode: one JSON document.
    CloudEvents,
    /// CloudEvents 1.0 in binary mode: attributes in headers, the event's data as the body.
    CloudEventsBinary,
    /// What the provider sent: its bytes, its content type, its chosen headers.
    Passthrough,
}

/// What becomes of the signature that a provider made, when its bytes are passed through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginalSignature {
    /// It is not kept.
    Drop,
    /// It is stored with the event and sent along.
    Keep,
}

/// How a source's events are signed for the app: as the provider signs them, with another key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resign {
    /// The source's own scheme; never [`Auth::NoneDangerous`].
    pub auth: Auth,
    /// The key that the app has; for [`Auth::StandardWebhooks`] decoded.
    pub key: Secret,
}

/// In which order deliveries go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordering {
    /// In the order of acceptance for each subject.
    Subject,
    /// As they come.
    None,
}

/// Exponential backoff with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The bound of the first wait.
    pub first: Duration,
    /// The bound that no wait exceeds.
    pub max: Duration,
    /// From reception to dead letter; at most the retention.
    pub give_up: Duration,
}

/// `[[route]]`
#[derive(Clone, Debug)]
pub struct Route {
    /// Only events of this source; `None`: of any.
    pub source: Option<SourceName>,
    /// Only events whose normalized name fits; `None`: all.
    pub kind: Option<Pattern>,
    /// Indexes into [`Config::upstreams`].
    pub to: Vec<usize>,
}

/// An address as allowlists and limits judge it: an IPv4-mapped IPv6 address is the IPv4 address.
pub fn canonical_ip(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_runs_of_anything() {
        for (pattern, name, fits) in [
            ("order.*", "order.shipped", true),
            ("order.*", "order", false),
            ("order.*", "orders.shipped", false),
            ("*", "unknown", true),
            ("*.shipped", "order.shipped", true),
            ("*.shipped", "order.shipped.late", false),
            ("a*b*c", "a-x-b-y-c", true),
            ("a*b*c", "a-x-c", false),
            ("a*a", "a", false),
            ("order.shipped", "order.shipped", true),
            ("order.shipped", "order.shippe", false),
            ("", "order", false),
        ] {
            assert_eq!(Pattern(pattern.into()).matches(name), fits, "{pattern} {name}");
        }
    }
}
