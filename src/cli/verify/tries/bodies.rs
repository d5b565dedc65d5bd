//! What commonly happens to a body between its sender's signature and a capture, undone.

use bytes::Bytes;

use super::Change;
use super::restyle::{Style, restyle, rewritten};

/// Bytes of all variants together, and of a body whose JSON is written anew.
const MOST_HELD: usize = 128 << 20;
const MOST_REWRITTEN: usize = 4 << 20;

/// A body to try, and what makes it of the captured one; `None`: it is that.
pub(super) struct Variant {
    pub(super) change: Option<Change>,
    pub(super) body: Bytes,
}

/// The captured body first, then each other one once. `rest` is all that the capture has behind the
/// head, and a body longer than `most` is left out.
pub(super) fn variants(body: &Bytes, rest: &Bytes, most: usize) -> Vec<Variant> {
    let mut all = All { list: vec![Variant { change: None, body: body.clone() }], most, held: 0 };
    all.add("body_rest", "with all that follows the head in the capture", rest.to_vec());
    let trimmed = body.trim_ascii_end();
    all.add("body_without_newline", "without the white space at its end", trimmed.to_vec());
    all.add("body_with_lf", "with a newline (LF) at its end", [body, &b"\n"[..]].concat());
    all.add("body_with_crlf", "with a newline (CRLF) at its end", [body, &b"\r\n"[..]].concat());
    let lf = replaced(body, b"\r\n", b"\n");
    all.add("body_crlf_to_lf", "with its line ends (CRLF) as LF", lf.clone());
    all.add("body_lf_to_crlf", "with its line ends (LF) as CRLF", replaced(&lf, b"\n", b"\r\n"));
    if let Some(rest) = body.strip_prefix(b"\xef\xbb\xbf") {
        all.add("body_without_bom", "without the byte order mark before it", rest.to_vec());
    }
    if body.len() <= MOST_REWRITTEN {
        all.json(body);
    }
    all.list
}

struct All {
    list: Vec<Variant>,
    most: usize,
    held: usize,
}

impl All {
    fn add(&mut self, code: &'static str, words: &str, body: Vec<u8>) {
        let fits = body.len() <= self.most && body.len() <= MOST_HELD - self.held;
        if fits && self.list.iter().all(|known| known.body != body) {
            self.held += body.len();
            let words = format!("the body {words}");
            self.list.push(Variant { change: Some(Change { code, words }), body: body.into() });
        }
    }

    fn json(&mut self, body: &[u8]) {
        let rewritten = rewritten(body);
        let Ok(own) = std::str::from_utf8(body) else { return };
        let texts = [
            ("", own),
            (", its strings written anew", rewritten.first().map_or("", String::as_str)),
            (", all but ASCII in it escaped", rewritten.get(1).map_or("", String::as_str)),
            (
                ", slashes and all but ASCII in it escaped",
                rewritten.get(2).map_or("", String::as_str),
            ),
        ];
        if rewritten.is_empty() {
            return;
        }
        let styles = [
            ("body_compact_json", "as compact JSON", Style::Compact),
            ("body_spaced_json", "as JSON with a space behind commas and colons", Style::Spaced),
            ("body_pretty_json", "as JSON indented by 2", Style::Lines(2)),
            ("body_pretty_json", "as JSON indented by 4", Style::Lines(4)),
        ];
        for (strings, text) in texts {
            for (code, how, style) in styles {
                let Some(text) = restyle(text, style) else { continue };
                let ended = format!("{text}\n");
                self.add(code, &format!("{how}{strings}"), text.into());
                self.add(code, &format!("{how}{strings}, with a newline at its end"), ended.into());
            }
        }
    }
}

fn replaced(body: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut copied = 0;
    for at in memchr::memmem::find_iter(body, from) {
        out.extend_from_slice(body.get(copied..at).unwrap_or_default());
        out.extend_from_slice(to);
        copied = at + from.len();
    }
    out.extend_from_slice(body.get(copied..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_is_another_body_and_none_is_too_long() {
        let body = Bytes::from_static(b"{\r\n  \"a\": 1\r\n}\r\n");
        let all = variants(&body, &body, 64);
        assert!(all[0].change.is_none());
        for (n, variant) in all.iter().enumerate() {
            assert!(all[..n].iter().all(|other| other.body != variant.body));
        }
        for expected in ["{\"a\":1}", "{\n  \"a\": 1\n}\n", "{\r\n  \"a\": 1\r\n}", "{\"a\": 1}\n"]
        {
            assert!(all.iter().any(|variant| variant.body == expected), "{expected:?}");
        }
        assert!(variants(&body, &body, 7).iter().skip(1).all(|variant| variant.body.len() <= 7));
    }

    #[test]
    fn line_ends_go_both_ways() {
        assert_eq!(replaced(b"a\nb\n", b"\n", b"\r\n"), b"a\r\nb\r\n");
        assert_eq!(replaced(b"a\r\nb\r\n\r", b"\r\n", b"\n"), b"a\nb\n\r");
    }
}
