//! What of a request is payload, and what the contract shows.

use serde_json::Value;

use super::needles::Needles;

/// Bytes of a body by which it is known as a whole.
const BEGINNING: usize = 64;
/// Characters of a value at least that is looked for by itself, and of one that is whatever it is made of.
const SHORTEST: usize = 8;
const LONG: usize = 16;
/// Bytes of a body at least that is looked for as a whole.
const SHORTEST_BODY: usize = 12;

/// Headers that are shown, or say nothing, in small letters: who calls and with what, and what identity is
/// read out of.
const SHOWN: [&str; 27] = [
    "accept",
    "cf-connecting-ip",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "te",
    "traceparent",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "user-agent",
    "webhook-id",
    "webhook-timestamp",
    "x-client-ip",
    "x-delivery-id",
    "x-forwarded-for",
    "x-github-delivery",
    "x-github-event",
    "x-lab-event",
    "x-real-ip",
    "x-shopify-event-id",
    "x-shopify-topic",
    "x-webhook-event",
];

/// Members that identity is read out of, by themselves or as the end of a name.
const IDENTITY: [&str; 14] = [
    "_at",
    "barcode",
    "created",
    "event",
    "event_name",
    "event_type",
    "full_name",
    "id",
    "number",
    "status",
    "subject",
    "tenant",
    "timestamp",
    "type",
];

/// Whether the contract shows what stands in this header.
pub fn is_shown(header: &str) -> bool {
    SHOWN.contains(&header.to_ascii_lowercase().replace('_', "-").as_str())
}

/// Takes note of a body: of itself, and of each value in it that is not part of the event's identity.
pub fn note(needles: &Needles, body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    if text.contains("url_verification") {
        // Its challenge is the answer.
        return;
    }
    if body.len() >= SHORTEST_BODY {
        needles.add_whole("a body", &body[..body.len().min(BEGINNING)]);
    }
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => values(needles, "", &value),
        Err(_) => needles.add("a body that is no JSON", body, 8),
    }
}

fn values(needles: &Needles, name: &str, value: &Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                values(needles, name, value);
            }
        }
        Value::Array(items) => items.iter().for_each(|value| values(needles, name, value)),
        Value::String(text) if tells(name, text) => {
            needles.add(&format!("the value of {name} in a body"), text.as_bytes(), 8);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether it is payload that can be told from what others say.
fn tells(name: &str, text: &str) -> bool {
    !IDENTITY.iter().any(|identity| name.ends_with(identity)) && is_no_everyday_word(text)
}

/// Whether nobody else says this by chance: it is long, or of several kinds of characters, and no time.
pub fn is_no_everyday_word(text: &str) -> bool {
    let kinds: [fn(char) -> bool; 4] = [
        |c| c.is_lowercase(),
        |c| c.is_uppercase(),
        |c| c.is_ascii_digit(),
        |c| !c.is_alphanumeric() && !matches!(c, '.' | '_' | '-' | ':'),
    ];
    let of_kinds = kinds.iter().filter(|is| text.chars().any(is)).count();
    let is_time = text.parse::<jiff::Timestamp>().is_ok();
    text.len() >= SHORTEST && (of_kinds >= 2 || text.len() >= LONG) && !is_time
}
