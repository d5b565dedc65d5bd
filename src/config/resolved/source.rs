//! A source as the gateway runs it.

use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use super::RateLimit;
use crate::config::{Authorities, defaults};
use crate::event::SourceName;
use crate::provider::{Preset, Retries};
use crate::secret::Secret;

/// `[source.NAME]`: one provider's endpoint.
#[derive(Clone, Debug)]
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
    /// Where each of them was read, in words: a variable's name or a file's path. In their order.
    pub key_places: Vec<String>,
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
            key_places: Vec::new(),
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
