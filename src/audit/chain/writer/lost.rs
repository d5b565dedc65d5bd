//! Parts of the trail that are not where they were left: at a start, and while it is written.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::super::bytes::{self, Found, Kind, MAX_SEGMENT, Position};
use super::super::keys;
use super::super::open::Found as Began;
use super::super::record::Record;
use super::acts::Intake;
use super::noted::{Noted, Place};
use super::{Failure, Head, Opened, Writer, new_id};
use crate::store::crypt::FRAMES_AT;
use crate::store::disk::Disk;
use crate::store::journal::segment;

/// How it is called in the trail.
pub(super) const MISSING: &str = "trail_missing";
/// Where the store keeps events.
const JOURNAL: &str = "journal";
/// A journal's first segment without an event is no longer than this, with its key slots too.
const NO_EVENTS: u64 = 4096 + FRAMES_AT as u64;

/// What became of the segment that is written to.
pub(super) const TAKEN: &str = "the segment that was written to was taken away or replaced";
const LONGER: &str = "the segment that was written to is longer than what was written";
const SHORTER: &str = "the segment that was written to is shorter than what was written";

/// What a copy of a store is like that was made without its trail.
const RESTORED: &str = "the store has events and no trail: one begins";

/// What a start does not find of the trail in this directory though something says that it was there. `is_new`: its
/// key is, and was not there before.
pub(super) fn missing(
    disk: &dyn Disk,
    dir: &Path,
    found: &Began,
    is_new: bool,
) -> Option<&'static str> {
    let begun = found.trail.is_some();
    match (is_new, found.has_records()) {
        // What was missing would be the first of them.
        (_, Some(true)) => None,
        // A start that came no further may have opened segments with it.
        (true, _) if begun && found.signed_from != Some(Position::START) => {
            Some("segments are there and signing.key is not: another key signs from here on")
        }
        // A first start that was cut off; what the store has by now came while it ran.
        (true, _) if begun => None,
        // Without events it is most likely one that came no further than the key.
        (true, _) => has_events(disk, dir).then_some(RESTORED),
        // A key is new until there is a record.
        (false, _) if !begun => Some("signing.key is there and no segment: another trail begins"),
        (false, Some(false)) => Some("signing.key is there and no record: the trail was cut off"),
        (false, None) => None,
    }
}

/// Whether the store that the trail is in has had events.
fn has_events(disk: &dyn Disk, dir: &Path) -> bool {
    let Some(journal) = dir.parent().map(|store| store.join(JOURNAL)) else { return false };
    let names = disk.list(&journal).unwrap_or_default();
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment::number_of(name)).collect();
    numbers.sort_unstable();
    let first = numbers.first().map(|number| segment::path(&journal, *number));
    let size = first.and_then(|first| disk.open(&first).ok()?.size().ok());
    numbers.len() > 1 || size.is_some_and(|size| size > NO_EVENTS)
}

/// What somebody else has done to the segment that is written to.
fn lost(head: &Head, path: &Path) -> io::Result<Option<&'static str>> {
    if !head.file.stands_at(path)? {
        return Ok(Some(TAKEN));
    }
    let Some(len) = head.file.size()? else { return Ok(None) };
    // Of a write that has failed there may be any part.
    let longer = len > head.len && !head.torn;
    Ok(if len < head.len { Some(SHORTER) } else { longer.then_some(LONGER) })
}

impl Writer {
    /// Whether there are segments. What is called like one and is no file is told.
    pub(super) fn has_segments(&self) -> io::Result<bool> {
        let (segments, strays) = bytes::numbered(&*self.disk, &self.dir)?;
        for number in strays {
            let file = bytes::name(number);
            tracing::error!(target: "hookward::audit", file, "something is called like a segment of the audit trail and is no file; it is left alone");
        }
        Ok(!segments.is_empty())
    }

    /// Records what the start has not found.
    pub(super) fn tell_missing(&mut self) {
        let Some(what) = self.missing.take() else { return };
        let dir = self.dir.display();
        if what == RESTORED {
            tracing::warn!(target: "hookward::audit", %dir, "{what}");
        } else {
            tracing::error!(target: "hookward::audit", %dir, "{what}");
        }
        self.note_missing(what, &serde_json::Value::Null);
    }

    /// Once a record stands in a segment that the key has opened, and with it what the start has missed, it is new no
    /// more. Who cuts off what says that something is missing leaves a key without a record.
    pub(super) fn settle_key(&mut self) {
        let Some(Opened { head, .. }) = &self.opened else { return };
        let written = self.chain.written.load(Ordering::Relaxed) > 0;
        if !self.new_key || !written || head.dirty || !self.unwritten.is_empty() {
            return;
        }
        self.new_key = false;
        if let Err(error) = keys::settle(&*self.disk, &self.dir) {
            let file = keys::NEW;
            tracing::error!(
                target: "hookward::audit",
                file, %error,
                "what says that the audit trail's key is new cannot be removed: the next start may record once more that it was made"
            );
        }
    }

    pub(super) fn note_missing(&mut self, what: &str, details: &serde_json::Value) {
        let now = self.clock.now();
        let record = Record {
            id: new_id(now).to_string(),
            time: now.to_string(),
            reason: MISSING.to_owned(),
            detail: Some(what.to_owned()),
            count: 1,
            details: Some(details.clone()).filter(|details| !details.is_null()),
            ..Record::default()
        };
        self.add(&record);
    }

    /// Whether the segment that is written to has its name and its length still; if not, another is begun, and
    /// what follows is written to that. An error all the same: what was written may be nowhere.
    pub(super) fn check_head(&mut self) -> Result<(), Failure> {
        let Some(Opened { head, .. }) = &mut self.opened else { return Ok(()) };
        if head.lost.is_none() {
            let lost = lost(head, &bytes::path(&self.dir, head.number));
            let Some(what) = lost.map_err(|error| ("looking for the segment", error))? else {
                return Ok(());
            };
            head.lost = Some(what);
            tracing::error!(
                target: "hookward::audit",
                segment = head.number, through = self.appended.sequence.0, dir = %self.dir.display(),
                "{what}"
            );
        }
        self.begin_again(true).map_err(|error| ("beginning another segment", error))?;
        let gone = "it is not what was left; another segment is begun";
        Err(("the segment that was written to", io::Error::new(io::ErrorKind::NotFound, gone)))
    }

    /// Goes on in another segment where this one has no room for what waits, as when none could be begun for
    /// long: no reader looks further into one than it has room for. An error all the same: what is let go of
    /// with what waits stays.
    pub(super) fn leave_full(&mut self) -> Result<(), Failure> {
        let Some(Opened { head, .. }) = &self.opened else { return Ok(()) };
        if head.len + self.unwritten.len() as u64 <= head.most {
            return Ok(());
        }
        let path = bytes::path(&self.dir, head.number);
        self.disk.rewrite(&path).map_err(|error| ("syncing", error))?;
        self.begin_again(false).map_err(|error| ("beginning another segment", error))?;
        let full = "it has no room for what waits; another segment is begun";
        Err(("the segment that was written to", io::Error::new(io::ErrorKind::FileTooLarge, full)))
    }

    /// Begins a segment in place of one that nothing more can be written to, behind what was written to that,
    /// and puts into it what still waits. `is_lost`: it is not what was left, which is recorded; acts that were in it
    /// and are not any more are read again, and so are those that wait.
    fn begin_again(&mut self, is_lost: bool) -> io::Result<()> {
        self.disk.create_dir(&self.dir)?;
        let Some(Opened { keys, trail, head }) = self.opened.take() else { return Ok(()) };
        let through = self.appended.sequence;
        // Its opening must not speak for acts that are in no segment yet.
        let place = if is_lost { self.left(&head) } else { self.noted.upto(through).clone() };
        let intake = std::mem::replace(&mut self.intake, Intake::at(place));
        let position = std::mem::replace(&mut self.position, self.appended);
        let noted = std::mem::replace(&mut self.noted, Noted::none());
        let next = match self.begin_behind(&keys, trail, head.number) {
            Ok(next) => next,
            Err(error) => {
                (self.position, self.intake, self.noted) = (position, intake, noted);
                self.opened = Some(Opened { keys, trail, head });
                return Err(error);
            }
        };
        self.opened = Some(Opened { keys, trail, head: next });
        let waiting = std::mem::take(&mut self.unwritten);
        self.pending = 0;
        if is_lost {
            let what = head.lost.unwrap_or(TAKEN);
            self.note_missing(what, &json!({ "segment": head.number, "through": through.0 }));
        } else {
            self.intake = intake;
        }
        self.put_behind(&waiting, &noted, is_lost);
        Ok(())
    }

    /// Puts records that wait behind what is there. `again`: acts among them are read again.
    fn put_behind(&mut self, waiting: &[u8], noted: &Noted, again: bool) {
        for found in bytes::walk(waiting, 0) {
            // A checkpoint is about another place, and what was to be let go of is still there.
            let Found::Frame(frame) = found else { continue };
            let said = noted.said(frame.sequence);
            if frame.kind != Some(Kind::Record) || (again && said.is_some()) {
                continue;
            }
            self.position.push(Kind::Record, frame.body, &mut self.unwritten);
            self.pending += 1;
            if let Some(place) = said {
                self.noted.push(self.position, place.clone());
            }
        }
        self.newest = self.position.sequence;
    }

    /// How far `acts.jsonl` is in the trail with what is left of a segment that is not what was left, and is on
    /// stable storage then. Where that cannot be found out, an act is rather there twice than not at all.
    fn left(&self, head: &Head) -> Place {
        let path = bytes::path(&self.dir, head.number);
        let read = || -> io::Result<Vec<u8>> {
            // Whatever stands there may be a hole without an end.
            if self.disk.open(&path)?.size()? > MAX_SEGMENT {
                return Ok(Vec::new());
            }
            self.disk.rewrite(&path)?;
            bytes::load(&*self.disk, &self.dir, head.number)
        };
        self.noted.left_in(&read().unwrap_or_default(), self.appended.sequence).clone()
    }

    /// Begins a segment with the first number behind that one which no file has: one that somebody else has put
    /// there must not decide which numbers are left.
    pub(super) fn begin_from(
        &mut self,
        keys: &keys::Keys,
        trail: u64,
        number: u32,
        torn: u64,
    ) -> io::Result<super::Head> {
        let last = bytes::taken_from(&*self.disk, &self.dir, number)?;
        self.begin(keys, trail, last, torn)
    }

    pub(super) fn begin_behind(
        &mut self,
        keys: &keys::Keys,
        trail: u64,
        number: u32,
    ) -> io::Result<super::Head> {
        self.new_key |= keys.put_back(&*self.disk, &self.dir)?;
        self.begin_from(keys, trail, number, 0)
    }
}
