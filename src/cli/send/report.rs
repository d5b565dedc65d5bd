//! What became of each event of a rehearsal, in words or as JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::sender::{Journey, Last, Outcome};
use super::Args;
use crate::config::Source;
use crate::config::units::show_duration;
use crate::provider::Retries;

/// A rehearsal and, once it is over, what came of it.
pub(super) struct Report<'a> {
    source: &'a str,
    retries: &'a Retries,
    scale: NonZeroU32,
    wanted: u64,
    events: Vec<Journey>,
    stopped: bool,
}

impl<'a> Report<'a> {
    /// Of a rehearsal that is about to begin.
    pub(super) fn new(source: &'a Source, retries: &'a Retries, args: &Args) -> Self {
        let (scale, wanted) = (args.time_scale, args.count);
        let source = source.name.as_str();
        Self { source, retries, scale, wanted, events: Vec::new(), stopped: false }
    }

    /// What came of it.
    pub(super) fn take(&mut self, events: Vec<Journey>, stopped: bool) {
        (self.events, self.stopped) = (events, stopped);
    }

    /// What is going to happen.
    pub(super) fn opening(&self, out: &mut impl Write) -> io::Result<()> {
        let waits = self.waits();
        let from = self.retries.published.as_deref().unwrap_or("as given");
        match self.retries.horizon().filter(|_| !waits.is_empty()) {
            Some(horizon) => {
                let horizon = show_duration(horizon);
                let waits = waits.join(", ");
                writeln!(
                    out,
                    "{} sends again after {waits}, {horizon} in all ({from})",
                    self.source
                )?;
            }
            None => writeln!(out, "{} sends nothing again ({from})", self.source)?,
        }
        if self.scale.get() > 1 {
            writeln!(out, "pauses are {} times shorter here", self.scale)?;
        }
        writeln!(out)
    }

    /// How many events, and which, went how.
    pub(super) fn summary(&self, out: &mut impl Write) -> io::Result<()> {
        let [first, later, given_up, unfinished] = self.counts();
        write!(
            out,
            "\n{} sent: {first} acknowledged at the first try, {later} later, {given_up} given up",
            events(self.events.len()),
        )?;
        match (self.stopped, unfinished) {
            (false, _) => writeln!(out)?,
            (true, _) => writeln!(out, ", {unfinished} not finished; interrupted")?,
        }
        let mut groups: BTreeMap<(u8, usize), Vec<&Journey>> = BTreeMap::new();
        for journey in &self.events {
            groups.entry((rank(journey.outcome), journey.tries)).or_default().push(journey);
        }
        for ((_, tries), group) in groups {
            let Some(first) = group.first() else { continue };
            writeln!(out, "\n{} {}", self.title(first.outcome, tries), group.len())?;
            group.iter().try_for_each(|journey| writeln!(out, "  {}", line(journey)))?;
        }
        out.flush()
    }

    /// The same for programs. `waited` is in the provider's own time.
    pub(super) fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let [first, later, given_up, unfinished] = self.counts();
        let of = |outcome: Outcome, retried: Option<bool>| -> Vec<Value> {
            let fits = |j: &&Journey| {
                j.outcome == outcome && retried.is_none_or(|retried| (j.tries > 1) == retried)
            };
            self.events.iter().filter(fits).map(|journey| self.item(journey)).collect()
        };
        let value = json!({
            "source": self.source,
            "schedule": self.waits(),
            "time_scale": self.scale,
            "wanted": self.wanted,
            "sent": self.events.len(),
            "interrupted": self.stopped,
            "counts": {
                "first_try": first, "retried": later,
                "given_up": given_up, "unfinished": unfinished,
            },
            "first_try": of(Outcome::Delivered, Some(false)),
            "retried": of(Outcome::Delivered, Some(true)),
            "given_up": of(Outcome::GivenUp, None),
            "unfinished": of(Outcome::Unfinished, None),
        });
        writeln!(out, "{value}")?;
        out.flush()
    }

    fn item(&self, journey: &Journey) -> Value {
        let (status, error) = match &journey.last {
            Last::Nothing => (None, None),
            Last::Status(status) => (Some(*status), None),
            Last::Error(error) => (None, Some(error.as_str())),
        };
        json!({
            "id": journey.id,
            "type": journey.event_type,
            "event_id": journey.event_id,
            "tries": journey.tries,
            "waited": show_duration(self.waited(journey.tries)),
            "last_status": status,
            "last_error": error,
        })
    }

    fn waits(&self) -> Vec<String> {
        let waits = self.retries.schedule().unwrap_or_default();
        waits.iter().map(|wait| show_duration(*wait)).collect()
    }

    /// The pauses before the last of so many attempts, in the provider's own time.
    fn waited(&self, tries: usize) -> Duration {
        let waits = self.retries.schedule().unwrap_or_default();
        waits.iter().take(tries.saturating_sub(1)).fold(Duration::ZERO, |a, b| a.saturating_add(*b))
    }

    /// At the first try, later, given up, not finished.
    fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for journey in &self.events {
            let place = match (journey.outcome, journey.tries) {
                (Outcome::Delivered, ..=1) => 0,
                (Outcome::Delivered, _) => 1,
                (Outcome::GivenUp, _) => 2,
                (Outcome::Unfinished, _) => 3,
            };
            counts[place] += 1;
        }
        counts
    }

    fn title(&self, outcome: Outcome, tries: usize) -> String {
        let after = match tries {
            1 => "1 try".to_owned(),
            tries => format!("{tries} tries, {}", show_duration(self.waited(tries))),
        };
        match (outcome, tries) {
            (Outcome::Delivered, 1) => "At the first try:".to_owned(),
            (Outcome::Delivered, _) => format!("After {after}:"),
            (Outcome::GivenUp, _) => format!("Given up after {after}:"),
            (Outcome::Unfinished, 0) => "Not finished, on the first try:".to_owned(),
            (Outcome::Unfinished, _) => format!("Not finished after {after}:"),
        }
    }
}

fn events(count: usize) -> String {
    if count == 1 { "1 event".to_owned() } else { format!("{count} events") }
}

fn rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Delivered => 0,
        Outcome::GivenUp => 1,
        Outcome::Unfinished => 2,
    }
}

/// The provider's id, Hookward's, and if that is missing why.
fn line(journey: &Journey) -> String {
    let why = match &journey.last {
        Last::Status(_) | Last::Error(_) if journey.outcome == Outcome::Delivered => {
            journey.event_id.clone().unwrap_or_else(|| "-".to_owned())
        }
        Last::Nothing => String::new(),
        Last::Status(status) => status.to_string(),
        Last::Error(error) => error.clone(),
    };
    format!("{}  {}  {why}", journey.id, journey.event_type).trim_end().to_owned()
}
