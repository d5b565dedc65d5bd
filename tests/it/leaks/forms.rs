//! The forms in which bytes may come out again.

use std::fmt::Write as _;

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The bytes as they are, and in every other form that is not the same.
pub fn of(value: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![("as it is", value.to_vec())];
    let text = String::from_utf8_lossy(value);
    forms.push(("escaped as in JSON", unquoted(&serde_json::to_string(&text).unwrap())));
    forms.push(("escaped as by Debug", unquoted(&format!("{text:?}"))));
    forms.push(("escaped as bytes", value.escape_ascii().to_string().into_bytes()));
    forms.push(("percent-encoded", percent(value)));
    forms.push(("in hexadecimal", hex::encode(value).into_bytes()));
    forms.push(("in hexadecimal", hex::encode_upper(value).into_bytes()));
    for shift in 0..3 {
        forms.push(("in base64", base64(&STANDARD_NO_PAD, value, shift)));
        forms.push(("in base64", base64(&URL_SAFE_NO_PAD, value, shift)));
    }
    forms.push(("as a list of numbers", numbers(value)));
    let mut seen = std::collections::HashSet::new();
    forms.retain(|(_, bytes)| seen.insert(bytes.clone()));
    forms
}

fn unquoted(text: &str) -> Vec<u8> {
    text.as_bytes()[1..text.len() - 1].to_vec()
}

fn percent(value: &[u8]) -> Vec<u8> {
    let mut text = String::new();
    for byte in value {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(*byte));
            }
            other => write!(text, "%{other:02X}").unwrap(),
        }
    }
    text.into_bytes()
}

/// What of the value's base64 does not depend on what stands around it, with so many bytes in front.
fn base64(engine: &impl base64::Engine, value: &[u8], shift: usize) -> Vec<u8> {
    let text = engine.encode([&[0; 2][..shift], value].concat());
    // Characters of which some bits are of what is in front, and behind.
    let first = (shift * 8).div_ceil(6);
    let last = (shift + value.len()) * 8 / 6;
    text.as_bytes()[first.min(last)..last].to_vec()
}

/// As `Debug` has a slice of bytes.
fn numbers(value: &[u8]) -> Vec<u8> {
    value.iter().map(u8::to_string).collect::<Vec<_>>().join(", ").into_bytes()
}
