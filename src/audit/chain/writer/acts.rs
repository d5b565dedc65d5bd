//! Operators' acts, taken in by the writer.

use std::io;

use serde::Serialize;
use serde_json::json;

use super::super::super::act::FILE;
use super::super::intake::{self, Known, Line};
use super::super::record::Record;
use super::noted::Place;
use super::{CARRIED, Writer, new_id};
use crate::clock::UnixMillis;

/// How far `acts.jsonl` is taken in.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// Up to where it was read.
    upto: u64,
    /// What it has in front of that; `None`: nobody knows.
    mark: Option<String>,
    /// While it is read from its start: what of it is in the trail already.
    known: Option<Known>,
    failing: bool,
}

impl Intake {
    pub(super) fn at(place: Place) -> Self {
        Self { upto: place.upto, mark: place.mark, ..Self::default() }
    }

    /// Up to where all of it is in the trail. While it is read from its start that is nowhere: what is behind may be
    /// in the trail already, and who goes on there would take it in a second time.
    pub(super) fn place(&self) -> Place {
        if self.known.is_some() {
            return Place::default();
        }
        Place { upto: self.upto, mark: self.mark.clone() }
    }

    /// Where to go on behind a line.
    fn behind(&self, line: &Line) -> Place {
        if self.known.is_some() {
            return Place::default();
        }
        Place { upto: line.upto, mark: Some(line.mark.clone()) }
    }
}

/// An act with how far `acts.jsonl` is in the trail with it.
#[derive(Serialize)]
struct Taken<'a> {
    #[serde(flatten)]
    record: &'a Record,
    acts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    acts_mark: Option<&'a str>,
}

impl Writer {
    /// Takes in what operators have done. That it cannot be read keeps nothing else from being written.
    pub(super) fn take_acts(&mut self, now: UnixMillis) {
        let taken = self.take_lines(now);
        let failed = taken.is_err();
        let before = std::mem::replace(&mut self.intake.failing, failed);
        match taken {
            Err(error) if !before => tracing::error!(
                target: "hookward::audit", %error,
                "operators' acts cannot be taken into the audit trail out of acts.jsonl; it is tried again"
            ),
            Ok(()) if before => {
                tracing::info!(target: "hookward::audit", "operators' acts are taken in again");
            }
            _ => {}
        }
    }

    fn take_lines(&mut self, now: UnixMillis) -> io::Result<()> {
        let file = self.dir.join(FILE);
        loop {
            let from = (self.intake.upto, self.intake.mark.as_deref());
            let lines = intake::lines(&*self.disk, &file, from, now, || new_id(now))?;
            if let Some(why) = lines.replaced {
                self.note_replaced(why, now);
                continue;
            }
            if self.intake.upto == 0 && self.intake.known.is_none() && !lines.lines.is_empty() {
                let Some((key, _)) = self.identity() else { return Ok(()) };
                let each = || self.chain.busy();
                self.intake.known = Some(Known::of(&*self.disk, &self.dir, &key, each)?);
            }
            for line in &lines.lines {
                let known = self.intake.known.as_mut();
                if known.is_some_and(|known| known.takes(&line.record)) {
                    continue;
                }
                let place = self.intake.behind(line);
                self.add_act(&line.record, place);
            }
            (self.intake.upto, self.intake.mark) = (lines.upto, lines.mark);
            if !lines.more && lines.upto > 0 {
                self.intake.known = None;
            }
            if !lines.more || self.unwritten.len() > CARRIED {
                return Ok(());
            }
        }
    }

    /// Adds a record with which all of `acts.jsonl` up to that place is in the trail.
    fn add_act(&mut self, record: &Record, place: Place) {
        self.add(&Taken { record, acts: place.upto, acts_mark: place.mark.as_deref() });
        self.noted.push(self.position, place);
    }

    /// The file is not what was read so far: it is read from its start, and what is in the trail already
    /// is left out.
    fn note_replaced(&mut self, why: &'static str, now: UnixMillis) {
        let taken = self.intake.upto;
        tracing::error!(target: "hookward::audit", taken, "{why}");
        let record = Record {
            id: new_id(now).to_string(),
            time: now.to_string(),
            reason: "acts_replaced".to_owned(),
            detail: Some(why.to_owned()),
            count: 1,
            details: Some(json!({ "taken": taken })),
            ..Record::default()
        };
        self.add_act(&record, Place::default());
        self.intake = Intake { failing: self.intake.failing, ..Intake::default() };
    }
}
