//! The sources of a gateway in memory, and how the sender of each proves itself: what signs a
//! request, and what says of one whether it was signed. Deliberately none of admission's code.

use base64::prelude::{BASE64_STANDARD, Engine};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};

use super::reading::Request;
use crate::config::Config;
use crate::fuzzing::NOW;

/// The configuration. Its keys are [`crate::config::Placeholders`]'. Rates that are reached would
/// make an input's outcome depend on those before it.
pub(super) const TOML: &str = r#"
    [server]
    listen = "127.0.0.1:0"
    max_body = "1KiB"
    failure_rate_limit = { per_second = 100000, burst = 100000 }
    [store]
    path = "fuzz"
    [upstream.app]
    url = "http://127.0.0.1:9/"

    [source.key]
    auth = { kind = "api-key", header = "X-API-Key" }
    keys = [{ env = "KEY" }]
    event.id = "/id"
    dedupe = ["/type", ["/id", "header:X-Id"]]
    on_conflict = "deliver"
    [source.lab]
    auth = { kind = "hmac", header = "X-Signature", algorithm = "sha256", encoding = "hex", prefix = "sha256=", signed = "{body}" }
    keys = [{ env = "LAB" }]
    event.id = ["/id", "header:X-Id"]
    event.time = "/created"
    max_event_age = "24h"
    [source.long]
    path = "/a/longer.path/~to_it"
    auth = { kind = "hmac", header = "X-Signature", algorithm = "sha512", encoding = "base64", signed = "{header:X-Id}.{body}" }
    keys = [{ env = "LONG" }]
    [source.stripe]
    preset = "stripe"
    keys = [{ env = "STRIPE" }]
    [source.webhooks]
    preset = "standard-webhooks"
    keys = [{ env = "WEBHOOKS" }]
    [source.github]
    preset = "github"
    keys = [{ env = "GITHUB" }]
    [source.slack]
    preset = "slack"
    keys = [{ env = "SLACK" }]
    [source.elsewhere]
    auth = { kind = "api-key", header = "X-API-Key" }
    keys = [{ env = "ELSEWHERE" }]
    allow_ips = ["198.51.100.0/24", "2001:db8::/32"]
    [source.open]
    auth = { kind = "none-dangerous" }
    allow_ips = ["192.0.2.0/24"]
    event.type = "/type"
    event.id = "/id"
    events = ["order.*"]
    on_conflict = "drop"
"#;

/// How far a timestamp may be from now, in seconds.
const TOLERANCE: u64 = 300;

/// The sender behind one source.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) key: Vec<u8>,
    proof: Proof,
}

#[derive(Clone, Copy, Debug)]
enum Proof {
    /// The key in this field.
    Key(&'static str),
    /// HMAC-SHA256 of the body in hexadecimal behind `sha256=` in this field.
    Body(&'static str),
    /// HMAC-SHA512 in base64 of `X-Id`, a dot and the body.
    BodyAndId,
    Stripe,
    Webhooks,
    Slack,
    /// None that it accepts from here.
    Never,
    /// None that it needs.
    Nothing,
}

/// Every source's sender.
pub(super) fn senders(config: &Config) -> Vec<Sender> {
    let sender = |source: &std::sync::Arc<crate::config::Source>| Sender {
        name: source.name.as_str().to_owned(),
        path: source.path.clone(),
        key: source.keys.first().map_or(Vec::new(), |key| key.expose().to_vec()),
        proof: match source.name.as_str() {
            "key" => Proof::Key("x-api-key"),
            "lab" => Proof::Body("x-signature"),
            "long" => Proof::BodyAndId,
            "stripe" => Proof::Stripe,
            "webhooks" => Proof::Webhooks,
            "github" => Proof::Body("x-hub-signature-256"),
            "slack" => Proof::Slack,
            "open" => Proof::Nothing,
            _ => Proof::Never,
        },
    };
    config.sources.iter().map(sender).collect()
}

impl Sender {
    /// Whether nobody may send to the source from here.
    pub(super) fn is_elsewhere(&self) -> bool {
        matches!(self.proof, Proof::Never)
    }

    /// The signature of this request, as it stands behind its prefix. Empty where there is none.
    pub(super) fn signature(&self, request: &Request, body: &[u8]) -> String {
        let field = |name| request.only(name).unwrap_or_default();
        match self.proof {
            Proof::Key(_) | Proof::Never | Proof::Nothing => String::new(),
            Proof::Body(_) => hex::encode(sha256(&self.key, &[body])),
            Proof::BodyAndId => {
                let message: [&[u8]; 3] = [field("x-id"), b".", body];
                BASE64_STANDARD.encode(sha512(&self.key, &message))
            }
            Proof::Stripe => {
                let timestamp = items(field("stripe-signature"), b"t=").next();
                let message: [&[u8]; 3] = [timestamp.unwrap_or_default(), b".", body];
                hex::encode(sha256(&self.key, &message))
            }
            Proof::Webhooks => {
                let key = BASE64_STANDARD.decode(&self.key).unwrap_or_default();
                let (id, timestamp) = (field("webhook-id"), field("webhook-timestamp"));
                BASE64_STANDARD.encode(sha256(&key, &[id, b".", timestamp, b".", body]))
            }
            Proof::Slack => {
                let timestamp = field("x-slack-request-timestamp");
                hex::encode(sha256(&self.key, &[b"v0:", timestamp, b":", body]))
            }
        }
    }

    /// Whether the request proves that it comes from this sender: its own field holds the key, or
    /// a signature of exactly this body that is not out of date.
    pub(super) fn has_sent(&self, request: &Request, body: &[u8]) -> bool {
        let signature = self.signature(request, body);
        let signature = signature.as_bytes();
        let signed = |name, prefix: &[u8]| {
            let value = request.only(name).unwrap_or_default();
            items(value, prefix).any(|item| item.eq_ignore_ascii_case(signature))
        };
        // Of base64 the case counts.
        let signed_exactly = |name, prefix: &[u8]| {
            let value = request.only(name).unwrap_or_default();
            items(value, prefix).any(|item| item == signature)
        };
        match self.proof {
            Proof::Never => false,
            Proof::Nothing => true,
            Proof::Key(name) => request.only(name) == Some(&self.key[..]),
            Proof::Body(name) => signed(name, b"sha256="),
            Proof::BodyAndId => {
                request.only("x-id").is_some() && signed_exactly("x-signature", b"")
            }
            Proof::Stripe => {
                let value = request.only("stripe-signature").unwrap_or_default();
                let mut timestamps = items(value, b"t=");
                let (first, second) = (timestamps.next(), timestamps.next());
                first.is_some_and(is_now) && second.is_none() && signed("stripe-signature", b"v1=")
            }
            Proof::Webhooks => {
                request.only("webhook-id").is_some()
                    && request.only("webhook-timestamp").is_some_and(is_now)
                    && signed_exactly("webhook-signature", b"v1,")
            }
            Proof::Slack => {
                request.only("x-slack-request-timestamp").is_some_and(is_now)
                    && signed("x-slack-signature", b"v0=")
            }
        }
    }
}

/// What stands behind this prefix in a list that commas or spaces separate. A comma that belongs
/// to the prefix separates nothing.
fn items<'v>(value: &'v [u8], prefix: &'v [u8]) -> impl Iterator<Item = &'v [u8]> {
    let separates = |byte: &u8| *byte == b' ' || (*byte == b',' && !prefix.contains(&b','));
    value.split(separates).filter_map(move |item| item.strip_prefix(prefix))
}

fn is_now(timestamp: &[u8]) -> bool {
    let digits = timestamp.iter().all(u8::is_ascii_digit);
    let seconds = str::from_utf8(timestamp).ok().and_then(|text| text.parse().ok());
    digits && seconds.is_some_and(|seconds: u64| seconds.abs_diff(NOW.as_secs()) <= TOLERANCE)
}

fn sha256(key: &[u8], message: &[&[u8]]) -> Vec<u8> {
    tag::<Hmac<Sha256>>(key, message)
}

fn sha512(key: &[u8], message: &[&[u8]]) -> Vec<u8> {
    tag::<Hmac<Sha512>>(key, message)
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length, RFC 2104 section 3")]
fn tag<M: Mac + KeyInit>(key: &[u8], message: &[&[u8]]) -> Vec<u8> {
    let mut mac = M::new_from_slice(key).expect("HMAC takes keys of any length");
    message.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}
