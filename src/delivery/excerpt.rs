//! What is kept of an answer that is not 2xx: its beginning, as text, for whoever wants to know why an
//! event does not get through. Apps like to repeat what they were sent, so everything in it that also
//! stands in the event, or looks like a secret or like what identifies somebody, is left out. It may name
//! a patient all the same: it is kept in the journal only, and shown as payloads are.

mod echo;
mod event;

use std::ops::Range;

use http::header::{CONTENT_TYPE, HeaderMap};

use self::echo::Echo;
use crate::config::Upstream;
use crate::store::StoredEvent;

/// Characters that are kept at most.
const CHARS: usize = 256;
/// Bytes of an answer that are looked at: what is left out leaves room for what follows.
pub(super) const BYTES: usize = 4096;
/// What stands for what is left out.
const LEFT_OUT: char = '…';
/// A run of letters, digits and the signs of base64 that is a secret if it has a digit, and one that is
/// in any case.
const TOKEN: usize = 16;
const LONG_TOKEN: usize = 32;
/// So many digits, together or with single signs between them, identify somebody: numbers, dates, phones.
const DIGITS: usize = 5;
/// The shortest secret of the configuration that is looked for: a shorter one is no secret.
const SECRET: usize = 4;
/// What stands before a secret.
const BEFORE_SECRET: [&str; 10] = [
    "bearer",
    "basic",
    "digest",
    "token",
    "password",
    "passwd",
    "secret",
    "apikey",
    "authorization",
    "cookie",
];

/// The beginning of an answer's body, `read` as far as [`BYTES`]; `whole`: that is all of it. `None` if it
/// is empty or no text.
pub(super) fn of(
    headers: &HeaderMap,
    read: &[u8],
    whole: bool,
    event: &StoredEvent,
    upstream: &Upstream,
) -> Option<Box<str>> {
    if !is_text(headers) {
        return None;
    }
    // An app may quote, in JSON of its own, the JSON that it was sent.
    let text = unescaped(&unescaped(begun(read, whole)?));
    let mut text = Text::new(text.chars().collect());
    text.hide_known(&event.body);
    text.hide_secrets(upstream);
    text.hide_words_with('@');
    text.hide_tokens();
    text.hide_digits();
    text.hide_what_follows();
    let shown = text.show();
    (!shown.is_empty()).then(|| shown.into_boxed_str())
}

/// Whether it is text or JSON, or says nothing of what it is.
fn is_text(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return true };
    let kind = kind.to_str().unwrap_or_default().to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.starts_with("text/") || kind == "application/json" || kind.ends_with("+json")
}

/// What was read, without a last word that may go on: of its first half nobody could say what it is.
fn begun(read: &[u8], whole: bool) -> Option<&str> {
    let text = match std::str::from_utf8(read) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && !whole => {
            std::str::from_utf8(read.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    let end = if whole { text.len() } else { text.rfind(char::is_whitespace).unwrap_or(0) };
    text.get(..end).map(str::trim)
}

/// The text with what JSON escapes as itself: it is compared with what the event says.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let decoded = match after.chars().next() {
            Some(sign @ ('"' | '\\' | '/')) => Some((sign, 1)),
            Some('n' | 'r' | 't' | 'b' | 'f') => Some((' ', 1)),
            Some('u') => event::code_unit(after).or(Some(('u', 1))),
            Some('x') => event::byte(after),
            Some(_) | None => None,
        };
        let (c, len) = decoded.unwrap_or(('\\', 0));
        out.push(c);
        rest = after.get(len..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// A text of which parts are left out.
struct Text {
    chars: Vec<char>,
    /// The same in lower case.
    folded: String,
    /// Where each of its characters begins there, and where the last one ends.
    starts: Vec<usize>,
    hidden: Vec<bool>,
}

impl Text {
    fn new(chars: Vec<char>) -> Self {
        let mut folded = String::with_capacity(chars.len());
        let mut starts = Vec::with_capacity(chars.len() + 1);
        for c in &chars {
            starts.push(folded.len());
            folded.push(event::fold(*c));
        }
        starts.push(folded.len());
        let hidden = vec![false; chars.len()];
        Self { chars, folded, starts, hidden }
    }

    fn hide(&mut self, range: Range<usize>) {
        fill(&mut self.hidden, range);
    }

    /// What stands at these characters, in lower case.
    fn folded(&self, range: &Range<usize>) -> &str {
        let (from, to) = (self.starts.get(range.start), self.starts.get(range.end));
        from.zip(to).and_then(|(from, to)| self.folded.get(*from..*to)).unwrap_or_default()
    }

    /// The longest runs of such characters.
    fn runs(&self, is: impl Fn(char) -> bool) -> Vec<Range<usize>> {
        let mut runs = Vec::new();
        let mut from = None;
        for (at, c) in self.chars.iter().copied().chain([LEFT_OUT]).enumerate() {
            match from {
                None if at < self.chars.len() && is(c) => from = Some(at),
                Some(begun) if at == self.chars.len() || !is(c) => {
                    runs.push(begun..at);
                    from = None;
                }
                _ => {}
            }
        }
        runs
    }

    /// What the event says as well.
    fn hide_known(&mut self, body: &[u8]) {
        let mut hidden = std::mem::take(&mut self.hidden);
        let mut echo = Echo::of(self);
        event::says(body, |said| echo.find(said, |range| fill(&mut hidden, range)));
        drop(echo);
        self.hidden = hidden;
    }

    /// What the configuration keeps secret and sends, or signs with.
    fn hide_secrets(&mut self, upstream: &Upstream) {
        let headers = upstream.headers.values().map(|(_, secret)| secret);
        let keys = upstream.signing_keys.iter();
        let resigned = upstream.resign.values().map(|resign| &resign.key);
        let secrets = headers.chain(keys).chain(resigned);
        let secrets = secrets.filter_map(|secret| std::str::from_utf8(secret.expose()).ok());
        // Of a URL that has a token, the query is where it stands.
        let query = upstream.url.query().unwrap_or_default().split('&');
        let query = query.map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
        for secret in secrets.chain(query) {
            // `Bearer TOKEN`: the token alone is a secret, too.
            for part in secret.split_whitespace().chain([secret]) {
                let part: Vec<char> = part.chars().collect();
                if part.len() < SECRET {
                    continue;
                }
                for from in 0..(self.chars.len() + 1).saturating_sub(part.len()) {
                    let range = from..from + part.len();
                    if self.chars.get(range.clone()) == Some(&part) {
                        self.hide(range);
                    }
                }
            }
        }
    }

    /// Such as addresses of e-mail.
    fn hide_words_with(&mut self, sign: char) {
        let is_sign =
            |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | ',' | ';');
        for run in self.runs(|c| !is_sign(c)) {
            let word = self.chars.get(run.clone()).unwrap_or_default();
            if word.contains(&sign) {
                self.hide(run);
            }
        }
    }

    /// What is as long as only keys, tokens and digests are.
    fn hide_tokens(&mut self) {
        let is = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-');
        for run in self.runs(is) {
            let token = self.chars.get(run.clone()).unwrap_or_default();
            let has_digit = token.iter().any(char::is_ascii_digit);
            if run.len() >= LONG_TOKEN || (run.len() >= TOKEN && has_digit) {
                self.hide(run);
            }
        }
    }

    fn hide_digits(&mut self) {
        let is =
            |c: char| c.is_numeric() || matches!(c, '-' | '.' | '/' | ' ' | '(' | ')' | '+' | ':');
        for run in self.runs(is) {
            let digits: Vec<usize> =
                run.filter(|at| self.chars.get(*at).is_some_and(|c| c.is_numeric())).collect();
            let mut from = 0;
            for at in 1..=digits.len() {
                let near = |pair: &[usize]| matches!(pair, [one, other] if other - one <= 2);
                if digits.get(at - 1..=at).is_some_and(near) {
                    continue;
                }
                if at - from >= DIGITS
                    && let (Some(first), Some(last)) = (digits.get(from), digits.get(at - 1))
                {
                    self.hide(*first..last + 1);
                }
                from = at;
            }
        }
    }

    /// The word behind one that announces a secret.
    fn hide_what_follows(&mut self) {
        let words = self.runs(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        let announces = |word: &&Range<usize>| {
            let word = self.folded(word).replace(['_', '-'], "");
            BEFORE_SECRET.iter().any(|before| word.ends_with(before))
        };
        let announced: Vec<usize> = words.iter().filter(announces).map(|word| word.end).collect();
        for end in announced {
            let is_sign = |c: &char| c.is_whitespace() || matches!(c, ':' | '=' | '"' | '\'');
            let from = (end..self.chars.len()).find(|at| !self.chars.get(*at).is_some_and(is_sign));
            let Some(from) = from.filter(|from| *from > end) else { continue };
            let ends = |c: &char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';' | '}');
            let to = (from..self.chars.len()).find(|at| self.chars.get(*at).is_some_and(ends));
            self.hide(from..to.unwrap_or(self.chars.len()));
        }
    }

    /// What is left, with what a terminal or a log could stumble over escaped.
    fn show(&self) -> String {
        let mut shown = String::new();
        let mut left = CHARS;
        let mut hiding = false;
        for (c, hidden) in self.chars.iter().zip(&self.hidden) {
            if *hidden && hiding {
                continue;
            }
            hiding = *hidden;
            let piece: String = match c {
                _ if *hidden => LEFT_OUT.into(),
                '\n' | '\r' | '\t' => ' '.into(),
                c if is_unprintable(*c) => c.escape_unicode().collect(),
                c => (*c).into(),
            };
            let Some(rest) = left.checked_sub(piece.chars().count()) else { break };
            left = rest;
            shown.push_str(&piece);
        }
        shown.truncate(shown.trim_end().len());
        shown
    }
}

fn fill(hidden: &mut [bool], range: Range<usize>) {
    if let Some(hidden) = hidden.get_mut(range) {
        hidden.fill(true);
    }
}

/// Control characters, and those that change how others are shown.
fn is_unprintable(c: char) -> bool {
    let is_format = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c.is_control() || is_format
}

#[cfg(test)]
mod tests;
