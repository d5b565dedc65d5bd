//! The same JSON written in another way, as whatever stood between a sender and a capture does it.

use crate::json::{Document, escape_if};

/// Where white space goes outside strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// None, as `JSON.stringify` has it.
    Compact,
    /// A space behind each comma and colon, as Python's `json.dumps` has it.
    Spaced,
    /// A line for each value, indented by so many spaces.
    Lines(usize),
}

/// Longest text that is made, by the length of the one it is made of: nesting could make it long.
const MOST: usize = 8;

/// `text`, which is JSON, in this style; its strings and numbers stay as they are. `None`: it would
/// be far longer.
pub(super) fn restyle(text: &str, style: Style) -> Option<String> {
    let most = text.len().saturating_mul(MOST).saturating_add(1024);
    let mut out = String::with_capacity(text.len());
    let mut depth = 0_usize;
    let (mut quoted, mut escaped) = (false, false);
    // Whether nothing stands yet in the bracket that was opened last.
    let mut empty = false;
    for c in text.chars() {
        if quoted {
            quoted = c != '"' || escaped;
            escaped = c == '\\' && !escaped;
            out.push(c);
            continue;
        }
        if matches!(c, ' ' | '\t' | '\r' | '\n') {
            continue;
        }
        let closes = matches!(c, '}' | ']');
        if closes {
            depth = depth.saturating_sub(1);
        }
        if empty != closes {
            // The first value in a bracket, or the end of one that holds some.
            new_line(&mut out, depth, style);
        }
        empty = matches!(c, '{' | '[');
        depth += usize::from(empty);
        quoted = c == '"';
        out.push(c);
        match (c, style) {
            (',', Style::Lines(_)) => new_line(&mut out, depth, style),
            (':' | ',', Style::Spaced) | (':', Style::Lines(_)) => out.push(' '),
            _ => {}
        }
        if out.len() > most {
            return None;
        }
    }
    Some(out)
}

fn new_line(out: &mut String, depth: usize, style: Style) {
    if let Style::Lines(indent) = style {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth * indent));
    }
}

/// The body's strings written anew: as few escapes as can be, all beyond ASCII escaped, and slashes
/// too; the last two as Python and PHP do. Empty when the body is no JSON.
pub(super) fn rewritten(body: &[u8]) -> Vec<String> {
    let Ok(document) = Document::parse(body.trim_ascii()) else { return Vec::new() };
    let mut plain = String::new();
    document.root().write_compact(&mut plain);
    let ascii = escape_if(&plain, |c| !c.is_ascii());
    let slashes = ascii.replace('/', "\\/");
    vec![plain, ascii, slashes]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const SENT: &str = r#"{"a":[1,{"b":"x: y, [z]\"\\"}],"c":{},"d":[],"e":"é/"}"#;

    #[test]
    fn styles_are_those_of_the_usual_writers() {
        let lines = "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x: y, [z]\\\"\\\\\"\n    }\n  ],\n  \"c\": {},\n  \"d\": [],\n  \"e\": \"é/\"\n}";
        assert_eq!(restyle(SENT, Style::Lines(2)).unwrap(), lines);
        assert_eq!(restyle(lines, Style::Compact).unwrap(), SENT);
        let value: Value = serde_json::from_str(SENT).unwrap();
        assert_eq!(
            restyle(SENT, Style::Lines(2)).unwrap(),
            serde_json::to_string_pretty(&value).unwrap()
        );
        let spaced = r#"{"a": [1, {"b": "x: y, [z]\"\\"}], "c": {}, "d": [], "e": "é/"}"#;
        assert_eq!(restyle(lines, Style::Spaced).unwrap(), spaced);
    }

    #[test]
    fn strings_are_written_as_the_usual_writers_write_them() {
        let sent = r#" {"a": "\u00e9/\ud83d\ude00"}"#;
        let expected = [
            r#"{"a":"é/😀"}"#,
            r#"{"a":"\u00e9/\ud83d\ude00"}"#,
            r#"{"a":"\u00e9\/\ud83d\ude00"}"#,
        ];
        assert_eq!(rewritten(sent.as_bytes()), expected);
        assert!(rewritten(b"{").is_empty());
    }

    #[test]
    fn deep_nesting_does_not_grow_without_end() {
        let text = "[".repeat(5000) + &"]".repeat(5000);
        assert_eq!(restyle(&text, Style::Lines(4)), None);
    }

    proptest! {
        #[test]
        fn a_restyled_value_is_the_same(text in r#"[\[\]{}:," \\a1é\n]{0,40}"#) {
            for style in [Style::Compact, Style::Spaced, Style::Lines(4)] {
                let restyled = restyle(&text, style).unwrap();
                if let Ok(value) = serde_json::from_str::<Value>(&text) {
                    prop_assert_eq!(serde_json::from_str::<Value>(&restyled).unwrap(), value);
                }
            }
        }
    }
}
