//! The verdict in words and as JSON. Of the request it shows method, path, size and hash; of the event
//! where its parts stand, and what they are only where that was asked for.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::capture::{Form, Note};
use super::reading::Reading;
use super::request::Request;
use super::steps::{Outcome, Step, Verdict, key_words};
use super::time::Moment;
use super::tries::{Hint, KeyRef};
use crate::cli::table::{neutral, neutral_lines};
use crate::config::Source;
use crate::event::BodyHash;

/// A verdict, and upon what.
pub(super) struct Report<'r> {
    pub(super) source: &'r Source,
    pub(super) form: Form,
    pub(super) notes: &'r [Note],
    /// `None`: it could not be read.
    pub(super) request: Option<(&'r Request, Moment)>,
    pub(super) verdict: &'r Verdict,
    /// Whether what stands in the event is shown.
    pub(super) payload: bool,
}

impl Report<'_> {
    /// For people.
    pub(super) fn words(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.head(&mut out);
        for step in &self.verdict.steps {
            let _ = line(step, &mut out);
        }
        for note in self.notes {
            let _ = writeln!(out, "  note  {}", note.as_str());
        }
        let _ = self.outcome(&mut out);
        let _ = self.hints(&mut out);
        let _ = self.event(&mut out);
        out
    }

    fn head(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "source   {} ({} configured)",
            self.source.name,
            keys(self.source.keys.len())
        )?;
        if let Some((request, moment)) = &self.request {
            let (method, path) = (request.parts.method.as_str(), request.parts.uri.path());
            let size = request.body.len();
            writeln!(
                out,
                "request  {} {}, {size} bytes of body, sha256:{}",
                neutral(method),
                neutral(path),
                self.hash(request)
            )?;
            writeln!(out, "judged   {}", moment.words())?;
        }
        writeln!(out)
    }

    fn hash(&self, request: &Request) -> String {
        hex::encode(BodyHash::of(&request.body).0)
    }

    fn outcome(&self, out: &mut String) -> std::fmt::Result {
        match self.verdict.refused() {
            None => {
                let open = self
                    .verdict
                    .steps
                    .iter()
                    .any(|step| step.check == "address" && step.outcome == Outcome::Open);
                let far = if open { ", if it comes from an allowed address" } else { "" };
                let at = self.request.as_ref().map(|(_, moment)| moment.at);
                match at.zip(self.verdict.sent_now) {
                    Some((at, Err((reason, status)))) => writeln!(
                        out,
                        "\nThe gateway would have taken it at {at}{far}; sent now it is {status} {}.",
                        reason.as_str()
                    ),
                    Some((_, Ok(()))) | None => {
                        writeln!(out, "\nThe gateway would take it{far}.")
                    }
                }
            }
            Some((reason, status)) => {
                writeln!(out, "\nThe gateway would refuse it: {status} {}.", reason.as_str())
            }
        }
    }

    fn hints(&self, out: &mut String) -> std::fmt::Result {
        if !self.verdict.searched {
            return Ok(());
        }
        if self.verdict.hints.is_empty() {
            return writeln!(
                out,
                "\nNothing that commonly goes wrong explains the credential: no configured key fits, neither over\n\
                 this body nor as it may have been before a newline, a line end or its JSON was changed."
            );
        }
        writeln!(out, "\nThe credential would pass")?;
        for hint in &self.verdict.hints {
            writeln!(out, "  - {}", neutral(&hint_words(hint)))?;
        }
        Ok(())
    }

    fn event(&self, out: &mut String) -> std::fmt::Result {
        let event = match &self.verdict.reading {
            None => return Ok(()),
            Some(Reading::Challenge) => return Ok(()),
            Some(Reading::Event(event)) => event,
        };
        writeln!(out, "\nThe source reads")?;
        for part in &event.parts {
            let place = match &part.place {
                Some(place) => place.clone(),
                None if part.name == "data" => "the whole body".to_owned(),
                None if part.looked.is_empty() => "- (the source looks nowhere)".to_owned(),
                None => format!("- (not at {})", part.looked.join(", ")),
            };
            let value = part.value.as_deref().filter(|_| self.payload);
            let value =
                value.map_or_else(String::new, |value| format!(": {}", neutral_lines(value)));
            writeln!(out, "  {:8} {}{value}", part.name, neutral(&place))?;
        }
        writeln!(out, "  {:8} {}", "repeats", neutral(&format!("known by {}", event.key_words())))?;
        let to = match self.verdict.upstreams.as_slice() {
            [] => "no upstream".to_owned(),
            names => names.join(", "),
        };
        writeln!(out, "  {:8} {to}", "goes to")?;
        if !self.payload {
            writeln!(out, "What stands there is payload: --payload shows it.")?;
        }
        Ok(())
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let refused = self.verdict.refused();
        let step = |step: &Step| {
            let (outcome, reason, status) = match step.outcome {
                Outcome::Pass => ("pass", None, None),
                Outcome::Fail { reason, status } => ("fail", Some(reason.as_str()), Some(status)),
                Outcome::Open => ("not_judged", None, None),
            };
            json!({ "check": step.check, "result": outcome, "reason": reason, "status": status, "detail": step.detail })
        };
        let hint = |hint: &Hint| {
            let change = |change: &super::tries::Change| json!({ "change": change.code, "detail": change.words });
            let changes: Vec<Value> = hint.changes.iter().map(change).collect();
            json!({ "key": hint.key.as_ref().map(key), "changes": changes })
        };
        let sent_now = self.verdict.sent_now.map(|judged| {
            let refused = judged.err();
            json!({
                "accepted": refused.is_none(),
                "reason": refused.map(|(reason, _)| reason.as_str()),
                "status": refused.map_or(200, |(_, status)| status),
            })
        });
        let note = |note: &Note| json!({ "note": note.code(), "detail": note.as_str() });
        let event = match &self.verdict.reading {
            Some(Reading::Event(event)) => event.json(self.payload),
            Some(Reading::Challenge) | None => Value::Null,
        };
        json!({
            "source": self.source.name.as_str(),
            "form": match self.form { Form::Raw => "raw", Form::Curl => "curl" },
            "accepted": refused.is_none(),
            "reason": refused.map(|(reason, _)| reason.as_str()),
            "status": refused.map_or(200, |(_, status)| status),
            "sent_now": sent_now,
            "request": self.request.as_ref().map(|(request, _)| json!({
                "method": request.parts.method.as_str(),
                "path": request.parts.uri.path(),
                "size": request.body.len(),
                "sha256": self.hash(request),
            })),
            "time": self.request.as_ref().map(|(_, moment)| moment.json()),
            "steps": self.verdict.steps.iter().map(step).collect::<Vec<_>>(),
            "keys": self.verdict.keys.iter().map(key).collect::<Vec<_>>(),
            "would_pass": self.verdict.hints.iter().map(hint).collect::<Vec<_>>(),
            "notes": self.notes.iter().map(note).collect::<Vec<_>>(),
            "event": event,
            "upstreams": self.verdict.upstreams,
        })
    }
}

fn keys(count: usize) -> String {
    if count == 1 { "1 key".to_owned() } else { format!("{count} keys") }
}

fn line(step: &Step, out: &mut String) -> std::fmt::Result {
    let (mark, why) = match step.outcome {
        Outcome::Pass => ("pass", String::new()),
        Outcome::Fail { reason, status } => ("FAIL", format!("{status} {}: ", reason.as_str())),
        Outcome::Open => ("-   ", String::new()),
    };
    writeln!(out, "  {mark}  {:18} {why}{}", step.check, neutral(&step.detail))
}

fn hint_words(hint: &Hint) -> String {
    let changes: Vec<&str> = hint.changes.iter().map(|change| change.words.as_str()).collect();
    let key = hint.key.as_ref().map_or_else(String::new, |key| format!("with {}", key_words(key)));
    let what = changes.join("; and ");
    if what.is_empty() { key } else { format!("{key}, if: {what}") }
}

fn key(key: &KeyRef) -> Value {
    json!({ "source": key.source.as_str(), "number": key.number, "place": key.place })
}
