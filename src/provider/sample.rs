//! Sample events: what each provider sends, as its guide shows it, and fresh events made of them.
//!
//! A sample is the guide's JSON with the guide's own values, so it is test input as it stands. A
//! fresh event is the same text with the few values replaced that make it an event of its own;
//! everything else, member order and white space included, stays byte for byte. The values are
//! named by JSON Pointers, so a sample's file stays plain, valid JSON without placeholders.

mod table;

use jiff::Timestamp;
use serde_json::Value;

use super::Preset;
use crate::clock::UnixMillis;

/// One event as a provider sends it.
#[derive(Debug)]
pub struct Sample {
    /// The preset of the provider that sends it.
    pub preset: Preset,
    /// The event's name as the provider writes it.
    pub event_type: &'static str,
    /// What is peculiar about it, in at most 20 characters; may be empty.
    pub note: &'static str,
    /// Whether it only checks the endpoint and is no event, as Slack's `url_verification`.
    pub handshake: bool,
    /// The file's text, with its final newline.
    text: &'static str,
    /// Where the body holds the event's name; `None`: it stands in a header.
    kind: Option<&'static str>,
    /// Where the value stands that tells the event from others of its type.
    id: IdPlace,
    /// Where the body says when the event happened.
    times: &'static [&'static str],
}

/// Where the value stands that tells an event from others of its type.
#[derive(Clone, Copy, Debug)]
enum IdPlace {
    /// In the body, at this JSON Pointer.
    Body(&'static str),
    /// In a header; this is an example of one.
    Header(&'static str),
}

/// An event that is ready to be signed and sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The event's name as the provider writes it.
    pub event_type: String,
    /// What tells it from others of its type: for schemes that send it in a header.
    pub id: String,
    /// The raw body.
    pub body: Vec<u8>,
}

/// The preset's samples, most typical first.
pub fn all(preset: Preset) -> impl Iterator<Item = &'static Sample> {
    table::SAMPLES.iter().filter(move |s| s.preset == preset)
}

/// The preset's first sample of this event type, written as the provider does.
pub fn find(preset: Preset, event_type: &str) -> Option<&'static Sample> {
    all(preset).find(|s| s.event_type == event_type)
}

/// The preset's sample that is most like an event of this type, judged by how its name begins.
pub fn nearest(preset: Preset, event_type: &str) -> Option<&'static Sample> {
    let mut best: Option<(&Sample, usize)> = None;
    for sample in all(preset).filter(|s| !s.handshake) {
        let common = common_prefix(sample.event_type, event_type);
        if best.is_none_or(|(_, most)| common > most) {
            best = Some((sample, common));
        }
    }
    best.map(|(sample, _)| sample)
}

impl Sample {
    /// The body with the guide's own values.
    pub fn body(&self) -> &'static str {
        self.text.trim_end()
    }

    /// The event with the guide's own values.
    pub fn verbatim(&self) -> Outgoing {
        let id = match self.id {
            IdPlace::Body(pointer) => self.text_at(pointer),
            IdPlace::Header(example) => example.to_owned(),
        };
        Outgoing { event_type: self.event_type.to_owned(), id, body: self.body().into() }
    }

    /// The event named `event_type`, known by `id`, that happened at `time` (`None`: at the
    /// guide's own time). The same arguments make the same bytes.
    pub fn event(&self, event_type: &str, id: &str, time: Option<UnixMillis>) -> Outgoing {
        let mut edit = Edit::of(self.body());
        if let Some(time) = time {
            for pointer in self.times {
                edit.set_time(pointer, time);
            }
        }
        if let Some(pointer) = self.kind {
            edit.set_text(pointer, event_type);
        }
        if let IdPlace::Body(pointer) = self.id {
            edit.set_text(pointer, id);
        }
        Outgoing { event_type: event_type.to_owned(), id: id.to_owned(), body: edit.text.into() }
    }

    /// A new id in the shape of the sample's own.
    pub fn new_id(&self, rng: &mut fastrand::Rng) -> String {
        let own = self.verbatim().id;
        if uuid::Uuid::try_parse(&own).is_ok() {
            return uuid::Builder::from_random_bytes(rng.u128(..).to_be_bytes())
                .into_uuid()
                .to_string();
        }
        let (prefix, tail) = match own.rfind(['_', '-']) {
            Some(at) => own.split_at(at + 1),
            None => ("", own.as_str()),
        };
        let digits = tail.bytes().all(|b| b.is_ascii_digit());
        let tail = (0..16).map(|_| rng.digit(if digits { 10 } else { 36 }));
        prefix.chars().chain(tail).collect()
    }

    fn text_at(&self, pointer: &str) -> String {
        let doc: Value = serde_json::from_str(self.text).unwrap_or_default();
        doc.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// A sample's text while values in it are replaced. A value is found by its pointer in the
/// original, and replaced wherever the text holds that same value.
struct Edit {
    original: Value,
    text: String,
}

impl Edit {
    fn of(text: &str) -> Self {
        Self { original: serde_json::from_str(text).unwrap_or_default(), text: text.to_owned() }
    }

    fn set_text(&mut self, pointer: &str, new: &str) {
        self.set(pointer, &Value::from(new));
    }

    /// Writes `time` in the form of the value that stands there: Unix seconds, or RFC 3339 with
    /// or without milliseconds.
    fn set_time(&mut self, pointer: &str, time: UnixMillis) {
        let Some(old) = self.original.pointer(pointer) else { return };
        let new = match old.as_str() {
            None => Value::from(time.as_secs()),
            Some(old) if old.contains('.') => Value::from(time.to_string()),
            Some(_) => Value::from(whole_seconds(time)),
        };
        self.set(pointer, &new);
    }

    fn set(&mut self, pointer: &str, new: &Value) {
        if let Some(old) = self.original.pointer(pointer) {
            self.text = replace_value(&self.text, &old.to_string(), &new.to_string());
        }
    }
}

/// `time` as RFC 3339 without a fraction.
pub(super) fn whole_seconds(time: UnixMillis) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| time.to_string(), |t| format!("{t:.0}"))
}

/// `text` with each JSON value that is written as `old` written as `new`.
fn replace_value(text: &str, old: &str, new: &str) -> String {
    let mut out = String::with_capacity(text.len() + new.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(old) {
        let part_of_more =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '"');
        let whole = !before.ends_with(part_of_more) && !after.starts_with(part_of_more);
        out.push_str(before);
        out.push_str(if whole { new } else { old });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
