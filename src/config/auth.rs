//! `auth`: how a source's requests prove who sent them.

use super::context::{At, Context, Spot};
use super::defaults::{ALGORITHM, ENCODING, MAX_TEXT, TOLERANCE};
use super::problem::{Contradiction, ProblemKind};
use super::secrets::{Resolved, Use};
use super::selector::{HEADER_PREFIX, header, header_of};
use super::tree::{Node, Table, nearest};
use super::{Algorithm, Auth, Encoding, HmacScheme, SignedPart, TimestampPlace};

const API_KEY: &[&str] = &["kind", "header"];
pub(super) const HMAC: &[&str] = &[
    "kind",
    "header",
    "algorithm",
    "encoding",
    "prefix",
    "signed",
    "timestamp",
    "signature",
    "tolerance",
];
const STANDARD: &[&str] = &["kind", "tolerance"];
const NONE: &[&str] = &["kind"];

const KINDS: &[(&str, Kind)] = &[
    ("api-key", Kind::ApiKey),
    ("hmac", Kind::Hmac),
    ("standard-webhooks", Kind::Standard),
    ("none-dangerous", Kind::None),
];
const TEMPLATE: &str = "text with {body}, {timestamp} and {header:NAME} in it";
const ITEM: &str = "the item's name in the signature header, such as \"v1\"";
const TIMESTAMP: &str = "an item of the signature header, such as \"t\", or \"header:NAME\"";
const PREFIX: &str = "printable ASCII, such as \"sha256=\"";

#[derive(Clone, Copy)]
enum Kind {
    ApiKey,
    Hmac,
    Standard,
    None,
}

/// Reads an `auth` table. The keys of [`Auth::StandardWebhooks`] are filled in by [`with_keys`].
pub(super) fn read(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Auth> {
    let open =
        node.open_table("a table such as { kind = \"api-key\", header = \"X-API-Key\" }", cx)?;
    let Some(kind) = open.get("kind") else {
        let words = "\"api-key\", \"hmac\", \"standard-webhooks\", \"none-dangerous\"";
        cx.missing(node.spot(), "kind", words);
        node.table(HMAC, cx);
        return None;
    };
    let Some(kind) = kind.choice(KINDS, cx) else {
        node.table(HMAC, cx);
        return None;
    };
    match kind {
        Kind::ApiKey => {
            let table = node.table(API_KEY, cx)?;
            Some(Auth::ApiKey { header: needed_header(&table, cx)? })
        }
        Kind::Hmac => hmac(&node.table(HMAC, cx)?, cx).map(Auth::Hmac),
        Kind::Standard => {
            let tolerance = node.table(STANDARD, cx)?.duration("tolerance", &TOLERANCE, cx).value;
            Some(Auth::StandardWebhooks { tolerance, decoded: Vec::new() })
        }
        Kind::None => node.table(NONE, cx).map(|_| Auth::NoneDangerous),
    }
}

/// What a source's keys have to be for this kind.
pub(super) fn use_of_keys(auth: &Auth) -> Use {
    match auth {
        Auth::ApiKey { .. } => Use::Header,
        Auth::Hmac(_) | Auth::NoneDangerous => Use::Verbatim,
        Auth::StandardWebhooks { .. } => Use::Encoded,
    }
}

/// The scheme with the keys as it keys its HMAC.
pub(super) fn with_keys(auth: Auth, keys: &[Resolved]) -> Auth {
    match auth {
        Auth::StandardWebhooks { tolerance, .. } => {
            let decoded = keys.iter().map(|key| key.used.clone()).collect();
            Auth::StandardWebhooks { tolerance, decoded }
        }
        auth => auth,
    }
}

fn needed_header(table: &Table<'_>, cx: &mut Context<'_>) -> Option<http::HeaderName> {
    match table.get("header") {
        Some(node) => header(&node, cx),
        None => {
            cx.missing(table.spot(), "header", "the name of the header that holds it");
            None
        }
    }
}

fn hmac(table: &Table<'_>, cx: &mut Context<'_>) -> Option<HmacScheme> {
    let header = needed_header(table, cx);
    let algorithm = table.get("algorithm").map_or(Some(ALGORITHM), |node| {
        let all = [
            ("sha256", Algorithm::Sha256),
            ("sha512", Algorithm::Sha512),
            ("sha1", Algorithm::Sha1),
        ];
        node.choice(&all, cx)
    });
    let encoding = table.get("encoding").map_or(Some(ENCODING), |node| {
        node.choice(&[("hex", Encoding::Hex), ("base64", Encoding::Base64)], cx)
    });
    let prefix =
        table.get("prefix").map_or(Some(String::new()), |node| printable(&node, PREFIX, cx));
    let signature = table.get("signature").map(|node| item(&node, ITEM, cx));
    let timestamp =
        table.get("timestamp").map(|node| timestamp_place(&node, cx).map(|p| node.at(p)));
    let signed = match table.get("signed") {
        Some(node) => template(&node, cx).map(|parts| node.at(parts)),
        None => Some(At { value: vec![SignedPart::Body], spot: table.spot().child("signed") }),
    };
    let tolerance = table.duration("tolerance", &TOLERANCE, cx);
    let tolerance = (timestamp.is_some() || table.has("tolerance")).then_some(tolerance);
    // What could not be read has been told; whether it agrees with the rest cannot be.
    let (signature_key, timestamp, signed) = (all_read(signature)?, all_read(timestamp)?, signed?);
    agree(&signed, timestamp.as_ref(), signature_key.is_some(), tolerance.as_ref(), cx);
    Some(HmacScheme {
        header: header?,
        algorithm: algorithm?,
        encoding: encoding?,
        prefix: prefix?,
        signed: signed.value,
        timestamp: timestamp.map(|t| t.value),
        signature_key,
        tolerance: tolerance.map(|t| t.value),
    })
}

/// `None` if a key that is there could not be read.
#[expect(clippy::option_option, reason = "absent, unreadable and read are three things here")]
fn all_read<T>(key: Option<Option<T>>) -> Option<Option<T>> {
    match key {
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
        None => Some(None),
    }
}

/// The parts of a scheme that only make sense together.
fn agree(
    signed: &At<Vec<SignedPart>>,
    timestamp: Option<&At<TimestampPlace>>,
    has_signature_item: bool,
    tolerance: Option<&At<std::time::Duration>>,
    cx: &mut Context<'_>,
) {
    let mut no = |spot: &Spot, what: Contradiction| cx.problem(spot, what);
    if signed.value.iter().filter(|p| matches!(p, SignedPart::Body)).count() != 1 {
        no(&signed.spot, Contradiction::BodyNotSigned);
    }
    let stamped = signed.value.contains(&SignedPart::Timestamp);
    match timestamp {
        Some(place) => {
            if !stamped {
                no(&place.spot, Contradiction::TimestampNotSigned);
            }
            if matches!(place.value, TimestampPlace::Item(_)) && !has_signature_item {
                no(&place.spot, Contradiction::ItemWithoutSignature);
            }
        }
        None => {
            if stamped {
                no(&signed.spot, Contradiction::TimestampNowhere);
            }
            if let Some(tolerance) = tolerance {
                no(&tolerance.spot, Contradiction::ToleranceWithoutTimestamp);
            }
        }
    }
}

fn timestamp_place(node: &Node<'_>, cx: &mut Context<'_>) -> Option<TimestampPlace> {
    let text = node.text(TIMESTAMP, cx)?;
    match text.strip_prefix(HEADER_PREFIX) {
        Some(name) => header_of(node, name, cx).map(TimestampPlace::Header),
        None => item(node, TIMESTAMP, cx).map(TimestampPlace::Item),
    }
}

fn item(node: &Node<'_>, accepted: &'static str, cx: &mut Context<'_>) -> Option<String> {
    let text = node.text(accepted, cx)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !text.is_empty() && text.len() <= MAX_TEXT && text.bytes().all(plain) {
        return Some(text.to_owned());
    }
    node.refuse(text, accepted, None, cx);
    None
}

fn printable(node: &Node<'_>, accepted: &'static str, cx: &mut Context<'_>) -> Option<String> {
    let text = node.text(accepted, cx)?;
    if text.len() <= MAX_TEXT && text.bytes().all(|b| (0x21..0x7f).contains(&b)) {
        return Some(text.to_owned());
    }
    node.refuse(text, accepted, None, cx);
    None
}

/// Splits a template at its placeholders. Braces that are none are errors, so that a misspelt
/// placeholder is never signed as text.
fn template(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Vec<SignedPart>> {
    let text = node.text(TEMPLATE, cx)?;
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (literal, from) = rest.split_at_checked(at)?;
        if !literal.is_empty() {
            parts.push(SignedPart::Literal(literal.to_owned()));
        }
        let Some((name, after)) = from.strip_prefix('{').and_then(|t| t.split_once('}')) else {
            node.refuse(text, TEMPLATE, None, cx);
            return None;
        };
        parts.push(placeholder(node, name, cx)?);
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(SignedPart::Literal(rest.to_owned()));
    }
    Some(parts)
}

fn placeholder(node: &Node<'_>, name: &str, cx: &mut Context<'_>) -> Option<SignedPart> {
    match name {
        "body" => Some(SignedPart::Body),
        "timestamp" => Some(SignedPart::Timestamp),
        _ => match name.strip_prefix(HEADER_PREFIX) {
            Some(name) => header_of(node, name, cx).map(SignedPart::Header),
            None => {
                let nearest = nearest(name, &["body", "timestamp"]).map(|n| format!("{{{n}}}"));
                let found = format!("{{{}}}", super::tree::shorten(name));
                let accepted = TEMPLATE.into();
                let kind = ProblemKind::NotAccepted { found, accepted, nearest };
                cx.problem(node.spot(), kind);
                None
            }
        },
    }
}
