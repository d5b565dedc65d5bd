//! The parsed TOML, walked by hand so that one reading finds every problem: tables that know
//! which keys they may have, and values that know their key and their place.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::context::{At, Context, Spot};
use super::defaults::Limit;
use super::problem::ProblemKind;
use super::units::{ByteSize, Count, Quantity, parse_duration, parse_size};

/// The longest text out of the file that a message repeats, in characters.
const SHOWN: usize = 60;

const DURATION: &str = "a whole number with ms, s, m, h or d, such as \"30s\"";
const SIZE: &str = "a whole number with B, KiB, MiB or GiB, such as \"1MiB\"";

/// A value with its key and its place.
#[derive(Clone)]
pub(super) struct Node<'t> {
    spot: Spot,
    /// Set within a preset's data: where the file asks for the preset.
    pin: Option<usize>,
    value: &'t DeValue<'t>,
}

/// A table whose keys have been checked to be ones that exist.
pub(super) struct Table<'t> {
    spot: Spot,
    pin: Option<usize>,
    entries: &'t DeTable<'t>,
}

impl<'t> Table<'t> {
    /// The whole document. All places are `pin` if there is one.
    pub(super) fn root(
        entries: &'t DeTable<'t>,
        allowed: &[&str],
        pin: Option<usize>,
        cx: &mut Context<'_>,
    ) -> Self {
        let table = Self { spot: Spot { key: String::new(), at: pin.unwrap_or(0) }, pin, entries };
        table.refuse_unknown(allowed, cx);
        table
    }

    /// A table that the file leaves out.
    pub(super) fn absent(spot: Spot, empty: &'t DeTable<'t>) -> Self {
        Self { spot, pin: None, entries: empty }
    }

    /// Where it begins.
    pub(super) fn spot(&self) -> &Spot {
        &self.spot
    }

    /// Whether the key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The key's value.
    pub(super) fn get(&self, key: &str) -> Option<Node<'t>> {
        let (key, value) = self.entries.get_key_value(key)?;
        Some(self.node(key, value))
    }

    /// The key's value within the limit, or the limit's default.
    pub(super) fn duration(
        &self,
        key: &str,
        limit: &Limit<Duration>,
        cx: &mut Context<'_>,
    ) -> At<Duration> {
        let found = self.get(key).and_then(|node| node.duration(limit.range(), cx));
        self.or_default(found, key, limit)
    }

    /// The key's value within the limit, or the limit's default.
    pub(super) fn size(
        &self,
        key: &str,
        limit: &Limit<ByteSize>,
        cx: &mut Context<'_>,
    ) -> At<ByteSize> {
        let found = self.get(key).and_then(|node| node.size(limit.range(), cx));
        self.or_default(found, key, limit)
    }

    /// The key's value within the limit, or the limit's default.
    pub(super) fn count(&self, key: &str, limit: &Limit<Count>, cx: &mut Context<'_>) -> At<Count> {
        let found = self.get(key).and_then(|node| node.count(limit.range(), cx));
        self.or_default(found, key, limit)
    }

    /// All entries, in the order of the file.
    pub(super) fn entries(&self) -> Vec<(&'t str, Node<'t>)> {
        let mut all: Vec<_> =
            self.entries.iter().map(|(key, value)| (key, self.node(key, value))).collect();
        all.sort_by_key(|(key, _)| key.span().start);
        all.into_iter().map(|(key, node)| (key.get_ref().as_ref(), node)).collect()
    }

    fn node(&self, key: &Spanned<Cow<'t, str>>, value: &'t Spanned<DeValue<'t>>) -> Node<'t> {
        let mut spot = self.spot.child(&quoted(key.get_ref()));
        // What stands in for a value that is no TOML has no place of its own.
        let at = if value.span().is_empty() { key.span().start } else { value.span().start };
        spot.at = self.pin.unwrap_or(at);
        Node { spot, pin: self.pin, value: value.get_ref() }
    }

    fn or_default<T: Copy>(&self, found: Option<T>, key: &str, limit: &Limit<T>) -> At<T> {
        let spot = self.get(key).map_or_else(|| self.spot.child(key), |node| node.spot);
        At { value: found.unwrap_or(limit.default), spot }
    }

    fn refuse_unknown(&self, allowed: &[&str], cx: &mut Context<'_>) {
        for key in self.entries.keys() {
            let name: &str = key.get_ref();
            if !allowed.contains(&name) {
                let mut spot = self.spot.child(&quoted(name));
                spot.at = self.pin.unwrap_or(key.span().start);
                let nearest = nearest(name, allowed).map(|n| format!("\"{n}\""));
                cx.problem(
                    &spot,
                    ProblemKind::UnknownKey { accepted: allowed.join(", "), nearest },
                );
            }
        }
    }
}

impl<'t> Node<'t> {
    /// Its key and place.
    pub(super) fn spot(&self) -> &Spot {
        &self.spot
    }

    /// Where `T` stands that was read out of this.
    pub(super) fn at<T>(&self, value: T) -> At<T> {
        At { value, spot: self.spot.clone() }
    }

    /// Whether it is a string.
    pub(super) fn is_text(&self) -> bool {
        self.value.is_str()
    }

    /// Whether it is a table.
    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// Whether it is a table with this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.value.as_table().is_some_and(|table| table.contains_key(key))
    }

    /// The key's value, if this is a table with it.
    pub(super) fn child(&self, key: &str) -> Option<Node<'t>> {
        let entries = self.value.as_table()?;
        Table { spot: self.spot.clone(), pin: self.pin, entries }.get(key)
    }

    /// Whether it is a list.
    pub(super) fn is_list(&self) -> bool {
        self.value.is_array()
    }

    /// Notes that its type is wrong. Strings are not repeated: they could be misplaced secrets.
    pub(super) fn wrong_type(&self, accepted: impl Into<Cow<'static, str>>, cx: &mut Context<'_>) {
        let found = match self.value {
            DeValue::String(_) => "a string".to_owned(),
            DeValue::Integer(n) => shorten(&n.to_string()),
            DeValue::Float(n) => shorten(&n.to_string()),
            DeValue::Boolean(b) => b.to_string(),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        let accepted = accepted.into();
        cx.problem(&self.spot, ProblemKind::NotAccepted { found, accepted, nearest: None });
    }

    /// Notes that `text`, read out of it, is not accepted.
    pub(super) fn refuse(
        &self,
        text: &str,
        accepted: impl Into<Cow<'static, str>>,
        nearest: Option<String>,
        cx: &mut Context<'_>,
    ) {
        let found = format!("\"{}\"", shorten(text));
        let accepted = accepted.into();
        cx.problem(&self.spot, ProblemKind::NotAccepted { found, accepted, nearest });
    }

    /// Notes that a string is not accepted that may hold a password or a token, and so is never shown.
    pub(super) fn refuse_unseen(
        &self,
        accepted: impl Into<Cow<'static, str>>,
        cx: &mut Context<'_>,
    ) {
        let (found, accepted) = ("another string".to_owned(), accepted.into());
        cx.problem(&self.spot, ProblemKind::NotAccepted { found, accepted, nearest: None });
    }

    /// A string.
    pub(super) fn text(&self, accepted: &'static str, cx: &mut Context<'_>) -> Option<&'t str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.wrong_type(accepted, cx);
        }
        text
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, cx: &mut Context<'_>) -> Option<bool> {
        let flag = self.value.as_bool();
        if flag.is_none() {
            self.wrong_type("true or false", cx);
        }
        flag
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, all: &[(&str, T)], cx: &mut Context<'_>) -> Option<T> {
        let accepted = || {
            let mut out = String::new();
            for (i, (word, _)) in all.iter().enumerate() {
                let _ = write!(out, "{}\"{word}\"", if i == 0 { "" } else { ", " });
            }
            out
        };
        let Some(text) = self.value.as_str() else {
            self.wrong_type(accepted(), cx);
            return None;
        };
        let hit = all.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if hit.is_none() {
            let words: Vec<&str> = all.iter().map(|(word, _)| *word).collect();
            let nearest = nearest(text, &words).map(|n| format!("\"{n}\""));
            self.refuse(text, accepted(), nearest, cx);
        }
        hit
    }

    /// A duration within the range.
    pub(super) fn duration(
        &self,
        range: RangeInclusive<Duration>,
        cx: &mut Context<'_>,
    ) -> Option<Duration> {
        self.quantity(DURATION, parse_duration, range, cx)
    }

    /// A size within the range.
    pub(super) fn size(
        &self,
        range: RangeInclusive<ByteSize>,
        cx: &mut Context<'_>,
    ) -> Option<ByteSize> {
        self.quantity(SIZE, parse_size, range, cx)
    }

    /// A whole number within the range.
    pub(super) fn count(
        &self,
        range: RangeInclusive<Count>,
        cx: &mut Context<'_>,
    ) -> Option<Count> {
        let accepted = || format!("a whole number, {} to {}", range.start().0, range.end().0);
        let number = match self.value {
            DeValue::Integer(n) => u64::from_str_radix(n.as_str(), n.radix()).ok().map(Count),
            _ => None,
        };
        let within = number.filter(|n| range.contains(n));
        if within.is_none() {
            self.wrong_type(accepted(), cx);
        }
        within
    }

    /// A list's elements.
    pub(super) fn list(
        &self,
        accepted: &'static str,
        cx: &mut Context<'_>,
    ) -> Option<Vec<Node<'t>>> {
        if !self.is_list() {
            self.wrong_type(accepted, cx);
            return None;
        }
        Some(self.elements())
    }

    /// A list's elements; none of what is no list.
    pub(super) fn elements(&self) -> Vec<Node<'t>> {
        let element = |(i, value): (usize, &'t Spanned<DeValue<'t>>)| Node {
            spot: Spot {
                key: format!("{}[{i}]", self.spot.key),
                at: self.pin.unwrap_or(value.span().start),
            },
            pin: self.pin,
            value: value.get_ref(),
        };
        let value: &'t DeValue<'t> = self.value;
        value.as_array().into_iter().flatten().enumerate().map(element).collect()
    }

    /// A list with at least one element and at most `most`.
    pub(super) fn full_list(
        &self,
        accepted: &'static str,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Option<Vec<Node<'t>>> {
        let list = self.list(accepted, cx)?;
        if list.is_empty() || list.len() > most {
            let found =
                if list.is_empty() { "an empty list".into() } else { list.len().to_string() };
            let accepted = format!("{accepted}, 1 to {most} of them").into();
            cx.problem(&self.spot, ProblemKind::NotAccepted { found, accepted, nearest: None });
            return None;
        }
        Some(list)
    }

    /// A list with at most `most` elements.
    pub(super) fn list_up_to(
        &self,
        accepted: &'static str,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Option<Vec<Node<'t>>> {
        let list = self.list(accepted, cx)?;
        if list.len() > most { self.full_list(accepted, most, cx) } else { Some(list) }
    }

    /// A table with these keys and no others.
    pub(super) fn table(&self, allowed: &[&str], cx: &mut Context<'_>) -> Option<Table<'t>> {
        let table = self.open_table("a table", cx)?;
        table.refuse_unknown(allowed, cx);
        Some(table)
    }

    /// A table whose keys are names.
    pub(super) fn open_table(
        &self,
        accepted: &'static str,
        cx: &mut Context<'_>,
    ) -> Option<Table<'t>> {
        let Some(entries) = self.value.as_table() else {
            self.wrong_type(accepted, cx);
            return None;
        };
        Some(Table { spot: self.spot.clone(), pin: self.pin, entries })
    }

    fn quantity<T: Quantity>(
        &self,
        form: &'static str,
        parse: impl Fn(&str) -> Result<T, Option<String>>,
        range: RangeInclusive<T>,
        cx: &mut Context<'_>,
    ) -> Option<T> {
        let text = self.text(form, cx)?;
        match parse(text) {
            Ok(value) if range.contains(&value) => Some(value),
            Ok(_) => {
                let (least, most) = (range.start().show(), range.end().show());
                self.refuse(text, format!("\"{least}\" to \"{most}\""), None, cx);
                None
            }
            Err(meant) => {
                self.refuse(text, form, meant, cx);
                None
            }
        }
    }
}

/// The known word most like `word`, if any is like it at all.
pub(crate) fn nearest(word: &str, known: &[&str]) -> Option<String> {
    if word.len() > 4 * SHOWN {
        return None;
    }
    let best = known.iter().map(|k| (strsim::damerau_levenshtein(word, k), *k)).min()?;
    let near = best.0 <= (word.len() / 3).max(1) && best.0 < word.len();
    near.then(|| best.1.to_owned())
}

/// `text`, cut to what fits a message, with control characters escaped.
pub(super) fn shorten(text: &str) -> String {
    let mut out: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        out.push_str("...");
    }
    out
}

/// A key as it would have to be written.
fn quoted(key: &str) -> Cow<'_, str> {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !key.is_empty() && key.len() <= SHOWN && key.bytes().all(bare) {
        key.into()
    } else {
        format!("\"{}\"", shorten(key)).into()
    }
}
