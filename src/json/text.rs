//! What stands between a string's quotes: finding its end, unescaping it, writing it again.

use std::fmt::Write as _;

use memchr::{memchr, memchr2};

/// The offset of the first byte at or after `from` that ends a run of plain string content: a
/// quote, a backslash or a control character. The end of `bytes` if there is none.
pub(super) fn end_of_plain(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    let mut rest = bytes.get(from..).unwrap_or_default();
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
        rest = behind;
    }
    let plain = |b: &&u8| **b >= 0x20 && !matches!(**b, b'"' | b'\\');
    at + rest.iter().take_while(plain).count()
}

/// The high bit of each special byte among these eight. Bits above the lowest may be wrong, since
/// the subtractions borrow upwards; the lowest never is.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (is(b'"') | is(b'\\') | below(word, 0x20)) & (ONES << 7)
}

/// The value of four hexadecimal digits.
pub(super) fn code_unit(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0_u16, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | digit as u16)
    })
}

/// A JSON text with those of its characters as `\u` escapes that `is` says. They must stand in strings only:
/// programs read the same then.
pub(crate) fn escape_if(json: &str, is: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if !is(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string does not fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

/// The content of a string whose escapes are known to be valid.
pub(super) fn unescape(content: &str) -> String {
    let mut out = String::with_capacity(content.len());
    let mut rest = content;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let (c, behind) = unescape_one(escape);
        out.push(c);
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// The character of an escape, from behind its backslash, and what follows it.
fn unescape_one(escape: &str) -> (char, &str) {
    let mut chars = escape.chars();
    let c = match chars.next() {
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('u') => return unescape_unicode(chars.as_str()),
        Some(other) => other,
        None => char::REPLACEMENT_CHARACTER,
    };
    (c, chars.as_str())
}

/// The same from behind the `u`.
fn unescape_unicode(digits: &str) -> (char, &str) {
    let unit = |at: usize| digits.as_bytes().get(at..at + 4).and_then(code_unit);
    let first = unit(0).unwrap_or(0xfffd);
    let (units, len) = match unit(6) {
        Some(second) if first & 0xfc00 == 0xd800 => ([first, second], 10),
        _ => ([first, 0], 4),
    };
    let c = char::decode_utf16(units).next().and_then(Result::ok);
    (c.unwrap_or(char::REPLACEMENT_CHARACTER), digits.get(len..).unwrap_or_default())
}

/// Appends `content` as a JSON string, as RFC 8785 section 3.2.2.2 (and `JSON.stringify`) writes
/// it: `"`, `\` and control characters escaped, the short escapes where there are any, all else
/// as it is.
pub(crate) fn write_string(content: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push('"');
    for c in content.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..='\u{1f}' => {
                let digits = [c as usize >> 4, c as usize & 15];
                out.push_str("\\u00");
                out.extend(digits.iter().filter_map(|d| HEX.get(*d)).map(|d| char::from(*d)));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// Appends valid JSON without the whitespace outside its strings, its strings written anew.
pub(super) fn write_compact(raw: &str, out: &mut String) {
    let mut rest = raw;
    while let Some((outside, string)) = rest.split_once('"') {
        push_dense(outside, out);
        let (content, behind) =
            string.split_at_checked(content_len(string)).unwrap_or((string, ""));
        if memchr(b'\\', content.as_bytes()).is_some() {
            write_string(&unescape(content), out);
        } else {
            out.push('"');
            out.push_str(content);
            out.push('"');
        }
        rest = behind.strip_prefix('"').unwrap_or_default();
    }
    push_dense(rest, out);
}

/// How long the content of a string is that begins behind its opening quote.
fn content_len(string: &str) -> usize {
    let bytes = string.as_bytes();
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes.get(at) == Some(&b'"') {
            return at;
        }
        at += 2;
    }
    bytes.len()
}

fn push_dense(outside: &str, out: &mut String) {
    out.extend(outside.chars().filter(|c| !c.is_ascii_whitespace()));
}
