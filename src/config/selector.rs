//! Where things stand in a request: JSON Pointers (RFC 6901), headers, and lists of them; and the
//! patterns over event names.

use http::HeaderName;

use super::context::Context;
use super::defaults::{MAX_PATHS, MAX_PATTERNS, MAX_TEXT};
use super::tree::Node;
use super::{Pattern, Place, Selector};
use crate::event::normalize_type;

const PLACE: &str = "a JSON Pointer such as \"/data/id\", or \"header:NAME\"";
const PLACES: &str = "a JSON Pointer such as \"/data/id\", \"header:NAME\", or a list of them";
const DEDUPE: &str = "a list of JSON Pointers, \"header:NAME\"s, and lists of them tried in order";
const HEADER: &str = "a header's name, such as \"X-Signature\"";
const PATTERN: &str =
    "a pattern over normalized event names (a-z, 0-9, `_`, `-`, `.`, and `*` for anything)";
const PATTERNS: &str = "a list of patterns such as [\"order.*\"]";

/// The prefix of a place that is a header.
pub(super) const HEADER_PREFIX: &str = "header:";

/// A place, or a list of places tried in order. An empty list is nowhere.
pub(super) fn selector(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Selector> {
    if node.is_text() {
        return place(node, cx).map(|place| Selector(vec![place]));
    }
    let list = node.list_up_to(PLACES, MAX_PATHS, cx)?;
    let places: Vec<_> = list.iter().map(|node| place(node, cx)).collect();
    places.into_iter().collect::<Option<_>>().map(Selector)
}

/// The values of a dedupe key.
pub(super) fn dedupe(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Vec<Selector>> {
    let list = node.full_list(DEDUPE, MAX_PATHS, cx)?;
    let values: Vec<_> = list.iter().map(|node| dedupe_value(node, cx)).collect();
    values.into_iter().collect()
}

fn dedupe_value(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Selector> {
    if node.is_list() {
        node.full_list(PLACES, MAX_PATHS, cx)?;
    }
    selector(node, cx)
}

fn place(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Place> {
    let text = node.text(PLACE, cx)?;
    if let Some(name) = text.strip_prefix(HEADER_PREFIX) {
        return header_of(node, name, cx).map(Place::Header);
    }
    let place = pointer(text).filter(|_| text.len() <= MAX_TEXT).map(Place::Pointer);
    if place.is_none() {
        node.refuse(text, PLACE, guess_pointer(text), cx);
    }
    place
}

/// The reference tokens of a JSON Pointer, unescaped. The empty pointer is the whole body.
fn pointer(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.strip_prefix('/')?.split('/').map(unescape).collect()
}

/// RFC 6901 section 4: `~1` is `/`, `~0` is `~`, and no other `~` is allowed.
fn unescape(token: &str) -> Option<String> {
    let mut out = String::with_capacity(token.len());
    let mut chars = token.chars();
    while let Some(c) = chars.next() {
        match c {
            '~' => match chars.next()? {
                '0' => out.push('~'),
                '1' => out.push('/'),
                _ => return None,
            },
            c => out.push(c),
        }
    }
    Some(out)
}

/// What `data.id`, `$.data.id` or `data/id` were probably meant to be.
fn guess_pointer(text: &str) -> Option<String> {
    let text = text.trim_start_matches('$').trim_start_matches(['.', '/']);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let usable = !text.is_empty() && text.len() <= MAX_TEXT && text.chars().all(plain);
    usable.then(|| format!("\"/{}\"", text.replace('.', "/")))
}

/// A header's name.
pub(super) fn header(node: &Node<'_>, cx: &mut Context<'_>) -> Option<HeaderName> {
    let text = node.text(HEADER, cx)?;
    header_of(node, text, cx)
}

/// A header's name out of a longer text.
pub(super) fn header_of(node: &Node<'_>, name: &str, cx: &mut Context<'_>) -> Option<HeaderName> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok().filter(|_| name.len() <= MAX_TEXT);
    if parsed.is_none() {
        let nearest = name.strip_suffix(':').map(|n| format!("\"{}\"", n.trim()));
        node.refuse(name, HEADER, nearest, cx);
    }
    parsed
}

/// A list of patterns over event names, at least one.
pub(super) fn patterns(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Vec<Pattern>> {
    let list = node.full_list(PATTERNS, MAX_PATTERNS, cx)?;
    let patterns: Vec<_> = list.iter().map(|node| pattern(node, cx)).collect();
    patterns.into_iter().collect()
}

/// A pattern over event names. One that no normalized name could ever fit is refused.
pub(super) fn pattern(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Pattern> {
    let text = node.text(PATTERN, cx)?;
    let normal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c);
    let possible = !text.starts_with('.') && !text.ends_with('.') && !text.contains("..");
    if possible && !text.is_empty() && text.len() <= MAX_TEXT && text.chars().all(normal) {
        return Some(Pattern(text.to_owned()));
    }
    node.refuse(text, PATTERN, guess_pattern(text), cx);
    None
}

/// The pattern in normalized characters, with its asterisks where they were.
fn guess_pattern(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > MAX_TEXT {
        return None;
    }
    // A letter that normalization keeps stands in for each asterisk.
    let normal = normalize_type(Some(&text.replace('Z', "z").replace('*', "Z-")));
    let normal = if text.contains('*') { normal.replace("z-", "*") } else { normal };
    Some(format!("\"{normal}\"")).filter(|guess| guess != &format!("\"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_unescaped_into_tokens() {
        for (text, tokens) in [
            ("", Some(vec![])),
            ("/", Some(vec![""])),
            ("/a/0/b", Some(vec!["a", "0", "b"])),
            ("/a~1b/m~0n", Some(vec!["a/b", "m~n"])),
            ("/~01", Some(vec!["~1"])),
            ("a", None),
            ("/~2", None),
            ("/~", None),
        ] {
            let tokens = tokens.map(|t| t.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(pointer(text), tokens, "{text:?}");
        }
    }

    #[test]
    fn what_was_meant_is_guessed() {
        assert_eq!(guess_pointer("$.data.id").as_deref(), Some("\"/data/id\""));
        assert_eq!(guess_pointer("data/id").as_deref(), Some("\"/data/id\""));
        assert_eq!(guess_pointer("a b"), None);
        assert_eq!(guess_pattern("Order:*").as_deref(), Some("\"order.*\""));
        assert_eq!(guess_pattern("Waiting Bin").as_deref(), Some("\"waiting.bin\""));
        assert_eq!(guess_pattern("."), Some("\"unknown\"".to_owned()));
    }
}
