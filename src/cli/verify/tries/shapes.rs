//! Other ways to write the same credential than the source reads it: another header, another encoding,
//! a prefix too many or too few, a timestamp in another unit, another order of what is signed.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Change;
use crate::config::{Algorithm, Auth, Encoding, HmacScheme, SignedPart, Source, TimestampPlace};

/// How a credential may have been meant, and in what that differs from the source's own way.
#[derive(Clone)]
pub(super) struct Shape {
    pub(super) changes: Vec<Change>,
    pub(super) auth: Auth,
    /// Shared: most shapes have the captured ones.
    pub(super) headers: Arc<HeaderMap>,
}

/// Headers in which a credential is looked for, at most.
const MAX_HEADERS: usize = 64;

/// A shorter value is no signature: SHA-1 in base64 has 28 characters.
const SHORTEST: usize = 27;

/// Ways to write it that are held at once.
pub(super) const MOST_SHAPES: usize = 4096;

/// What stands before a signature at one sender or another.
const PREFIXES: [&str; 7] = ["", "sha256=", "sha1=", "sha512=", "v1=", "v0=", "hmac-sha256="];

/// The source's own way first. Those of a signature are left out in which none `is_readable`.
pub(super) fn shapes(
    source: &Source,
    headers: &HeaderMap,
    is_readable: &dyn Fn(&Shape) -> bool,
) -> Vec<Shape> {
    let headers = Arc::new(headers.clone());
    let own = Shape { changes: Vec::new(), auth: source.auth.clone(), headers };
    let mut all = All { list: Vec::new(), is_readable };
    match &source.auth {
        Auth::ApiKey { header } => {
            all.list.push(own.clone());
            api_key(&own, header, &mut all.list);
        }
        Auth::Hmac(scheme) => {
            all.add(own.clone());
            hmac(&own, scheme, &mut all);
        }
        Auth::StandardWebhooks { .. } => {
            all.add(own.clone());
            standard_webhooks(&own, &mut all);
        }
        Auth::NoneDangerous => all.list.push(own),
    }
    all.list
}

/// What is kept of the ways to write a signature.
struct All<'f> {
    list: Vec<Shape>,
    is_readable: &'f dyn Fn(&Shape) -> bool,
}

impl All<'_> {
    fn add(&mut self, shape: Shape) {
        if self.list.len() < MOST_SHAPES && (self.is_readable)(&shape) {
            self.list.push(shape);
        }
    }
}

fn change(code: &'static str, words: impl Into<String>) -> Change {
    Change { code, words: words.into() }
}

impl Shape {
    fn with(&self, change: Change) -> Self {
        let mut shape = self.clone();
        shape.changes.push(change);
        shape
    }

    /// With this header's value another one.
    fn set(mut self, name: &HeaderName, value: &[u8]) -> Option<Self> {
        let value = HeaderValue::from_bytes(value).ok()?;
        Arc::make_mut(&mut self.headers).insert(name.clone(), value);
        Some(self)
    }
}

/// The other headers that are there once.
fn others<'h>(
    headers: &'h HeaderMap,
    own: &'h HeaderName,
) -> impl Iterator<Item = (&'h HeaderName, &'h HeaderValue)> {
    let once = |name: &HeaderName| headers.get_all(name).iter().count() == 1;
    headers.iter().filter(move |(name, _)| *name != own && once(name)).take(MAX_HEADERS)
}

fn api_key(own: &Shape, header: &HeaderName, all: &mut Vec<Shape>) {
    let mut candidates = vec![own.clone()];
    for (name, value) in others(&own.headers, header) {
        let words = format!("the key stands in `{name}`, and the source reads `{header}`");
        let moved = own.with(change("other_header", words));
        candidates.extend(moved.set(header, value.as_bytes()));
    }
    for shape in candidates {
        let Some(value) = shape.headers.get(header).map(|value| value.as_bytes().to_vec()) else {
            continue;
        };
        let bare = value.iter().position(|byte| *byte == b' ').and_then(|at| value.get(at + 1..));
        if let Some(bare) = bare {
            let words = "a word such as `Bearer` stands before the key";
            all.extend(shape.with(change("word_before", words)).set(header, bare.trim_ascii()));
        }
        if let [first @ (b'"' | b'\''), inner @ .., last] = value.as_slice()
            && first == last
        {
            let words = "the key stands in quotation marks";
            all.extend(shape.with(change("quoted", words)).set(header, inner));
        }
        if !shape.changes.is_empty() {
            all.push(shape);
        }
    }
}

fn hmac(own: &Shape, scheme: &HmacScheme, all: &mut All<'_>) {
    let mut places = vec![(None, scheme.header.clone())];
    for (name, value) in others(&own.headers, &scheme.header) {
        if value.len() < SHORTEST {
            continue;
        }
        let words =
            format!("the signature stands in `{name}`, and the source reads `{}`", scheme.header);
        places.push((Some(change("other_header", words)), name.clone()));
    }
    let contents = contents(scheme);
    for (elsewhere, header) in places {
        for (another, written) in writings(scheme) {
            for (other, signed) in &contents {
                let changes: Vec<Change> = [elsewhere.clone(), other.clone()]
                    .into_iter()
                    .flatten()
                    .chain(another.clone())
                    .collect();
                let header = header.clone();
                let auth = HmacScheme { header, signed: signed.clone(), ..written.clone() };
                let shape =
                    Shape { changes, auth: Auth::Hmac(auth.clone()), headers: own.headers.clone() };
                other_unit(&shape, &auth).into_iter().for_each(|shape| all.add(shape));
                if !shape.changes.is_empty() {
                    all.add(shape);
                }
            }
        }
    }
}

/// The ways to write a signature down.
fn writings(scheme: &HmacScheme) -> Vec<(Vec<Change>, HmacScheme)> {
    let mut all = Vec::new();
    let encodings = [Encoding::Hex, Encoding::Base64];
    let algorithms = [Algorithm::Sha256, Algorithm::Sha1, Algorithm::Sha512];
    let keys = [scheme.signature_key.clone(), None];
    let keys = keys.into_iter().take(1 + usize::from(scheme.signature_key.is_some()));
    let prefixes = || PREFIXES.into_iter().filter(|prefix| *prefix != scheme.prefix);
    for key in keys {
        for encoding in encodings {
            for algorithm in algorithms {
                for prefix in std::iter::once(scheme.prefix.as_str()).chain(prefixes()) {
                    let prefix = prefix.to_owned();
                    let signature_key = key.clone();
                    let written =
                        HmacScheme { encoding, algorithm, prefix, signature_key, ..scheme.clone() };
                    all.push((differences(scheme, &written), written));
                }
            }
        }
    }
    all
}

fn differences(own: &HmacScheme, other: &HmacScheme) -> Vec<Change> {
    let mut changes = Vec::new();
    if own.encoding != other.encoding {
        let words = format!(
            "the signature is {}, and the source reads {}",
            encoding(other.encoding),
            encoding(own.encoding)
        );
        changes.push(change("encoding", words));
    }
    if own.algorithm != other.algorithm {
        let (theirs, ours) = (algorithm(other.algorithm), algorithm(own.algorithm));
        changes
            .push(change("algorithm", format!("it is HMAC-{theirs}, and the source has {ours}")));
    }
    if own.prefix != other.prefix {
        let words = match (own.prefix.as_str(), other.prefix.as_str()) {
            (ours, "") => format!("the prefix `{ours}` is missing"),
            ("", theirs) => format!("the prefix `{theirs}` stands before it"),
            (ours, theirs) => format!("the prefix is `{theirs}`, and the source has `{ours}`"),
        };
        changes.push(change("prefix", words));
    }
    if own.signature_key != other.signature_key {
        let key = own.signature_key.as_deref().unwrap_or_default();
        changes.push(change(
            "signature_item",
            format!("`{key}=` does not stand before the signature"),
        ));
    }
    changes
}

fn encoding(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Hex => "hex",
        Encoding::Base64 => "base64",
    }
}

fn algorithm(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Sha1 => "SHA1",
        Algorithm::Sha256 => "SHA256",
        Algorithm::Sha512 => "SHA512",
    }
}

/// What may have been signed: the source's own way first.
fn contents(scheme: &HmacScheme) -> Vec<(Option<Change>, Vec<SignedPart>)> {
    let dot = || SignedPart::Literal(".".to_owned());
    let mut all = vec![(None, scheme.signed.clone())];
    let mut add = |words: &str, parts: Vec<SignedPart>| {
        if parts != scheme.signed {
            all.push((Some(change("signed", format!("what is signed is {words}"))), parts));
        }
    };
    add("the body alone", vec![SignedPart::Body]);
    if scheme.timestamp.is_some() {
        add("`{timestamp}.{body}`", vec![SignedPart::Timestamp, dot(), SignedPart::Body]);
        add("`{timestamp}{body}`", vec![SignedPart::Timestamp, SignedPart::Body]);
        add("`{body}.{timestamp}`", vec![SignedPart::Body, dot(), SignedPart::Timestamp]);
    }
    all
}

/// The same with the timestamp that is signed in seconds where milliseconds are sent, or the other
/// way round.
fn other_unit(shape: &Shape, scheme: &HmacScheme) -> Vec<Shape> {
    if !scheme.signed.contains(&SignedPart::Timestamp) {
        return Vec::new();
    }
    match &scheme.timestamp {
        None => Vec::new(),
        Some(TimestampPlace::Header(name)) => in_header(shape, name),
        Some(TimestampPlace::Item(key)) => {
            let value = shape.headers.get(&scheme.header).and_then(|value| value.to_str().ok());
            let Some(value) = value else { return Vec::new() };
            let start = format!("{key}=");
            let Some(at) = value.split([',', ' ']).find_map(|item| item.strip_prefix(&start))
            else {
                return Vec::new();
            };
            let unit = |(other, change)| {
                let value = value.replacen(&format!("{start}{at}"), &format!("{start}{other}"), 1);
                shape.with(change).set(&scheme.header, value.as_bytes())
            };
            units(at).into_iter().filter_map(unit).collect()
        }
    }
}

fn in_header(shape: &Shape, name: &HeaderName) -> Vec<Shape> {
    let text = shape.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let unit = |(other, change): (String, Change)| shape.with(change).set(name, other.as_bytes());
    units(text).into_iter().filter_map(unit).collect()
}

fn units(text: &str) -> Vec<(String, Change)> {
    let Ok(number) = text.parse::<u64>() else { return Vec::new() };
    if number >= super::FIRST_MILLIS {
        let words = "what is signed is the timestamp in seconds, and milliseconds are sent";
        return vec![((number / 1000).to_string(), change("timestamp_signed_in_s", words))];
    }
    let words =
        "what is signed is the timestamp in milliseconds (whole seconds), and seconds are sent";
    let millis = number.saturating_mul(1000).to_string();
    vec![(millis, change("timestamp_signed_in_ms", words))]
}

fn standard_webhooks(own: &Shape, all: &mut All<'_>) {
    let mut shapes = vec![own.clone()];
    let svix = ["id", "timestamp", "signature"]
        .map(|part| (own.headers.get(format!("svix-{part}")), part));
    if svix.iter().all(|(value, _)| value.is_some()) {
        let words = "the headers are called `svix-…`, and the source reads `webhook-…`";
        let mut shape = own.with(change("other_header", words));
        for (value, part) in svix {
            let name = HeaderName::from_bytes(format!("webhook-{part}").as_bytes());
            if let (Some(value), Ok(name)) = (value, name) {
                Arc::make_mut(&mut shape.headers).insert(name, value.clone());
            }
        }
        shapes.push(shape);
    }
    let (signature, timestamp) = (
        HeaderName::from_static("webhook-signature"),
        HeaderName::from_static("webhook-timestamp"),
    );
    for shape in shapes {
        in_header(&shape, &timestamp).into_iter().for_each(|shape| all.add(shape));
        let value = shape.headers.get(&signature).and_then(|value| value.to_str().ok());
        let value = value.unwrap_or_default().to_owned();
        let bare =
            value.strip_prefix("v1,").or_else(|| value.strip_prefix("v1=")).unwrap_or(&value);
        let mut changes = Vec::new();
        if !value.starts_with("v1,") {
            changes.push(change("prefix", "`v1,` does not stand before the signature"));
        }
        let mut written = bare.to_owned();
        if let Ok(bytes) = hex::decode(bare) {
            written = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes);
            changes.push(change("encoding", "the signature is hex, and the scheme has base64"));
        }
        let mut other = shape.clone();
        other.changes.extend(changes);
        if other.changes.len() > shape.changes.len() {
            let written = other.set(&signature, format!("v1,{written}").as_bytes());
            written.into_iter().for_each(|shape| all.add(shape));
        }
        if !shape.changes.is_empty() {
            all.add(shape);
        }
    }
}
