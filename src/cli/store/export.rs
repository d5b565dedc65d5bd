//! `hookward store export`: events as JSON lines, in the API's form. Memory does not grow with the
//! journal. Who exports what is recorded before the first event is printed.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use super::super::moment::When;
use super::super::pipe;
use super::{Which, complain, exit, fail, tell_damage};
use crate::audit::Acts;
use crate::clock::{Clock, UnixMillis};
use crate::config::Pattern;
use crate::event::{SourceName, normalize_type};
use crate::store::inspect::{Delivery, EventState, Finding, History, Journal, Recorded};

/// How the act is called in the audit trail.
const EXPORTED: &str = "exported";
/// Exit code of a wrong command line.
const WRONG_USAGE: u8 = 2;

/// Arguments of `store export`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,

    /// Only events received then or later: 2025-01-15T10:30:00Z, 2025-01-15 (UTC), or 24h for a day ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<UnixMillis>,

    /// Only events received before
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<UnixMillis>,

    /// Only this source's events
    #[arg(long, value_name = "NAME", value_parser = SourceName::new)]
    source: Option<SourceName>,

    /// Only events whose normalized name, without the source, fits: order.*
    #[arg(long = "type", value_name = "PATTERN", value_parser = pattern)]
    kind: Option<Pattern>,

    /// Only events in this state: pending, delivered, dead, quarantined,
    /// discarded, filtered, unknown
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<EventState>,

    /// The events' bodies as well: they hold patients' data
    #[arg(long)]
    payload: bool,
}

fn time(text: &str) -> Result<UnixMillis, &'static str> {
    text.parse::<When>().map(|when| when.resolve(Clock::System.now()))
}

fn pattern(text: &str) -> Result<Pattern, &'static str> {
    let normal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c);
    if !text.is_empty() && text.chars().all(normal) {
        return Ok(Pattern(text.to_owned()));
    }
    Err("a normalized event name: a-z, 0-9, '_', '-' and '.', where '*' is any run of characters")
}

fn state(text: &str) -> Result<EventState, String> {
    let known = EventState::ALL.map(EventState::as_str);
    let found = EventState::ALL.into_iter().find(|state| state.as_str() == text);
    found.ok_or_else(|| format!("one of {}", known.join(", ")))
}

/// 0 when everything that fits was printed and nothing is damaged.
pub(super) fn run(args: &Args) -> Result<ExitCode, ExitCode> {
    if args.since.zip(args.until).is_some_and(|(since, until)| since >= until) {
        complain("error: --since must be before --until");
        return Err(ExitCode::from(WRONG_USAGE));
    }
    let (journal, named) = args.which.journal()?;
    let unrecorded = |error: io::Error| {
        complain(&format!(
            "error: nothing is exported, for it cannot be recorded in the audit trail of {}: {error}",
            named.path.display()
        ));
        ExitCode::FAILURE
    };
    let acts = Acts::open(&named.path).map_err(unrecorded)?;
    let begun = json!({ "phase": "begun", "filter": args.filter() });
    acts.record(EXPORTED, &begun).map_err(unrecorded)?;

    let mut export = Export::new(args, BufWriter::new(io::stdout().lock()));
    let done = export.all(&journal);
    let complete = done.is_ok() && export.failure.is_none();
    let Export { count, damages, failure, .. } = export;
    let ended = json!({
        "phase": "ended", "count": count, "complete": complete, "damages": damages,
        "filter": args.filter(),
    });
    let recorded = acts.record(EXPORTED, &ended).map_err(|error| {
        complain(&format!("error: {} cannot be written: {error}", acts.path().display()));
    });
    // Who reads no further has what they wanted; the record says that it was not all.
    let printed = pipe::printed(failure.map_or(Ok(()), Err));
    Ok(exit(done? && printed.is_ok() && recorded.is_ok()))
}

impl Args {
    fn filter(&self) -> serde_json::Value {
        json!({
            "since": self.since.map(|time| time.to_string()),
            "until": self.until.map(|time| time.to_string()),
            "source": self.source.as_ref().map(SourceName::as_str),
            "type": self.kind.as_ref().map(|pattern| &pattern.0),
            "state": self.state.map(EventState::as_str),
            "payload": self.payload,
        })
    }

    /// Whether the event fits, by all that can be said without its name.
    fn takes(&self, recorded: &Recorded<'_>) -> bool {
        let at = recorded.head.received_at;
        self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < until)
            && self.state.is_none_or(|state| recorded.state == state)
            && self.source.as_ref().is_none_or(|source| source.as_str() == recorded.head.source)
    }
}

struct Export<'a, W> {
    args: &'a Args,
    out: W,
    count: u64,
    damages: u64,
    failure: Option<io::Error>,
}

impl<'a, W: Write> Export<'a, W> {
    fn new(args: &'a Args, out: W) -> Self {
        Self { args, out, count: 0, damages: 0, failure: None }
    }

    /// Prints all that fits; whether nothing is damaged.
    fn all(&mut self, journal: &Journal) -> Result<bool, ExitCode> {
        let history = History::read(journal, &mut |finding| self.damage(finding));
        let history = history.map_err(|error| fail(&error))?;
        let shown = history.events(journal, |recorded| {
            if self.args.takes(&recorded) {
                self.failure = self.event(&recorded).err();
            }
            if self.failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        // What was found before stands.
        let flushed = self.out.flush();
        self.failure = self.failure.take().or(flushed.err());
        shown.map_err(|error| fail(&error))?;
        Ok(self.damages == 0)
    }

    fn damage(&mut self, finding: &Finding) {
        tell_damage(finding);
        self.damages += u64::from(finding.what.is_damage());
    }

    fn event(&mut self, recorded: &Recorded<'_>) -> io::Result<()> {
        let Some(opened) = recorded.open() else {
            self.damage(&recorded.not_understood());
            return Ok(());
        };
        let event = &opened.event;
        let kind = normalize_type(event.meta.provider_type.as_deref());
        if self.args.kind.as_ref().is_some_and(|pattern| !pattern.matches(&kind)) {
            return Ok(());
        }
        let payload = match std::str::from_utf8(&event.body) {
            Ok(text) => self.args.payload.then_some(text),
            Err(_) => {
                self.damage(&recorded.not_understood());
                return Ok(());
            }
        };
        let line = Line {
            id: event.id.to_string(),
            source: event.source.as_str(),
            provider_id: event.meta.provider_id.as_deref(),
            kind: format!("{}.{kind}", event.source),
            provider_type: event.meta.provider_type.as_deref(),
            subject: event.meta.subject.as_deref(),
            state: recorded.state.as_str(),
            received_at: event.received_at.to_string(),
            size: event.body.len(),
            sha256: hex::encode(event.body_hash.0),
            deliveries: recorded.deliveries.iter().map(DeliveryLine::of).collect(),
            payload,
        };
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")?;
        self.count += 1;
        Ok(())
    }
}

/// An event in the API's form.
#[derive(Serialize)]
struct Line<'a> {
    id: String,
    source: &'a str,
    provider_id: Option<&'a str>,
    #[serde(rename = "type")]
    kind: String,
    provider_type: Option<&'a str>,
    subject: Option<&'a str>,
    state: &'static str,
    received_at: String,
    size: usize,
    sha256: String,
    deliveries: Vec<DeliveryLine<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
}

#[derive(Serialize)]
struct DeliveryLine<'a> {
    upstream: &'a str,
    state: &'static str,
    attempts: u32,
    last_status: Option<u16>,
    next_at: Option<String>,
}

impl<'a> DeliveryLine<'a> {
    fn of(delivery: &'a Delivery<'_>) -> Self {
        Self {
            upstream: delivery.upstream,
            state: delivery.state.as_str(),
            attempts: delivery.attempts,
            last_status: delivery.last_status,
            next_at: delivery.next_at.map(|at| at.to_string()),
        }
    }
}
