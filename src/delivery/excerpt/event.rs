//! What an event says: its strings and numbers, as an answer may repeat them.

use std::borrow::Cow;

/// Shows `each` the strings and numbers of an event with this body, which has been found to be JSON before,
/// in lower case. Not its members' plain names: answers say which of them are missing, or wrong.
pub(super) fn says(body: &[u8], mut each: impl FnMut(&str)) {
    let Ok(body) = std::str::from_utf8(body) else { return };
    let (mut rest, mut folded) = (body, String::new());
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        let found = rest.get(at..).unwrap_or_default();
        let len = if found.starts_with('"') { string_len(found) } else { number_len(found) };
        let text = found.get(..len).unwrap_or_default();
        rest = found.get(len.max(1)..).unwrap_or_default();
        let text = unquoted(text);
        let is_plain = text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_' || b == b'-');
        if !(is_plain && rest.trim_start().starts_with(':')) {
            folded.clear();
            folded.extend(text.chars().map(fold));
            each(&folded);
        }
    }
}

/// The character in lower case, as one character.
pub(super) fn fold(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(lower), None) => lower,
        _ => c,
    }
}

/// Bytes of the string that the text begins with, quotes included.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn number_len(text: &str) -> usize {
    let is = |b: u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
    text.bytes().position(|b| !is(b)).unwrap_or(text.len())
}

/// A string's content, or a number as it stands.
fn unquoted(text: &str) -> Cow<'_, str> {
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
        Some(plain) => serde_json::from_str(text).map_or(Cow::Borrowed(plain), Cow::Owned),
        None => Cow::Borrowed(text),
    }
}

/// The character that a text begins with as `xXX`, as Python and others write it, and its bytes there.
pub(super) fn byte(text: &str) -> Option<(char, usize)> {
    let digits = text.strip_prefix('x')?.get(..2)?;
    Some((u8::from_str_radix(digits, 16).ok()?.into(), 3))
}

/// The character that a text begins with as `uXXXX`, or as two of them, and its bytes there.
pub(super) fn code_unit(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at + 1..at + 5).filter(|_| text.get(at..=at) == Some("u"))?;
        u16::from_str_radix(digits, 16).ok()
    };
    let high = unit(0)?;
    if let Some(c) = char::from_u32(high.into()) {
        return Some((c, 5));
    }
    let low = unit(6).filter(|_| text.get(5..6) == Some("\\"))?;
    let c = char::decode_utf16([high, low]).next()?.ok()?;
    Some((c, 11))
}
