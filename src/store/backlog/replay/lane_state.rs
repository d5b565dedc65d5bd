//! What is known of one lane while the journal is being read.

use std::collections::BTreeMap;

use super::{Unread, tell_lost, walk};
use crate::clock::UnixMillis;
use crate::event::Sequence;
use crate::store::backlog::checkpoint::EntryRecord;
use crate::store::backlog::dead::DeadLetters;
use crate::store::backlog::lane::Cursor;
use crate::store::core::Cancel;
use crate::store::journal::act::ActUpstream;
use crate::store::journal::files::SegmentFiles;
use crate::store::journal::segment::Place;

#[derive(Debug, Default)]
pub(super) struct LaneState {
    pub(super) entries: BTreeMap<Sequence, EntryRecord>,
    pub(super) cursor: Option<Cursor>,
    pub(super) dead: DeadLetters,
    /// Attempts at events beyond the cursor: the lane had read further than its checkpoint says.
    pub(super) touched: BTreeMap<Sequence, Touched>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Touched {
    Delivered,
    Dead,
    Discarded,
    Waiting { attempts: u32, due: UnixMillis, acted_at: Option<UnixMillis> },
}

impl Touched {
    /// What waits, if it does.
    pub(super) fn record(self, sequence: Sequence, place: Place) -> EntryRecord {
        let untried = EntryRecord::untried(sequence, place);
        match self {
            Self::Waiting { attempts, due, acted_at } => {
                EntryRecord { attempts, due, acted_at, ..untried }
            }
            Self::Delivered | Self::Dead | Self::Discarded => untried,
        }
    }
}

impl LaneState {
    pub(super) fn waits(&self) -> bool {
        !self.entries.is_empty() || self.cursor.is_some()
    }

    /// A delivery waits again, or is due at once.
    pub(super) fn resume(
        &mut self,
        event: Sequence,
        place: Place,
        at: UnixMillis,
        upstream: &ActUpstream<'_>,
    ) {
        self.forget_dead(event, upstream);
        if let Some(entry) = self.entries.get_mut(&event) {
            (entry.due, entry.acted_at) = (entry.due.min(at), Some(at));
            return;
        }
        let (attempts, acted_at) = (upstream.attempts, Some(at));
        let beyond = self.cursor.is_some_and(|c| (c.sequence..=c.last).contains(&event));
        if beyond && !upstream.apart {
            // The lane had read it: so it is come upon when the lane catches up with itself.
            self.touched.insert(event, Touched::Waiting { attempts, due: at, acted_at });
            return;
        }
        let record = EntryRecord { sequence: event, place, attempts, due: at, acted_at };
        self.entries.insert(event, record);
    }

    /// A dead delivery is dropped.
    pub(super) fn discard(&mut self, event: Sequence, upstream: &ActUpstream<'_>) {
        self.forget_dead(event, upstream);
        if let Some(touched @ Touched::Dead) = self.touched.get_mut(&event) {
            *touched = Touched::Discarded;
        }
    }

    /// What was a dead letter is one no more. One that the lane has yet to catch up with is not counted.
    pub(super) fn forget_dead(&mut self, event: Sequence, upstream: &ActUpstream<'_>) {
        if let Some(segment) = upstream.dead_in
            && !matches!(self.touched.get(&event), Some(Touched::Dead))
        {
            self.dead.remove(segment);
        }
    }

    /// Holds an event of which there is only a copy, unless it is held or has been settled.
    pub(super) fn adopt(&mut self, event: Sequence, place: Place, told: bool) {
        let beyond = self.cursor.is_some_and(|c| (c.sequence..=c.last).contains(&event));
        if self.entries.contains_key(&event) || (told && !beyond) {
            return;
        }
        let record = match self.touched.get(&event) {
            Some(Touched::Delivered | Touched::Dead | Touched::Discarded) => return,
            Some(touched) => touched.record(event, place),
            None => EntryRecord::untried(event, place),
        };
        self.entries.insert(event, record);
        if beyond && let Some(cursor) = &mut self.cursor {
            cursor.count = cursor.count.saturating_sub(1);
        }
    }

    pub(super) fn push(&mut self, sequence: Sequence, place: Place, window: usize) {
        if let Some(cursor) = &mut self.cursor {
            cursor.count += 1;
            cursor.last = sequence;
        } else if self.entries.len() >= window {
            self.cursor = Some(Cursor { sequence, place, last: sequence, count: 1 });
        } else {
            self.entries.insert(sequence, EntryRecord::untried(sequence, place));
        }
    }

    /// Reads the events beyond the cursor up to the last one that was attempted.
    pub(super) fn catch_up(
        &mut self,
        name: &str,
        files: &SegmentFiles,
        cancel: &Cancel,
    ) -> std::io::Result<()> {
        let (Some(cursor), Some((&upto, _))) = (self.cursor, self.touched.last_key_value()) else {
            return Ok(());
        };
        let (entries, touched, dead) = (&mut self.entries, &self.touched, &mut self.dead);
        let mut seen = 0;
        let numbers = files.numbers()?;
        let (next, place) =
            walk(files, &numbers, cursor, Unread::Fails, |sequence, place, head| {
                if sequence > upto || cancel.is_cancelled() {
                    return false;
                }
                if head.targets().any(|target| target == name) && !head.quarantined {
                    seen += 1;
                    let record = match touched.get(&sequence) {
                        Some(Touched::Delivered | Touched::Discarded) => return true,
                        Some(Touched::Dead) => {
                            dead.add(place.segment);
                            return true;
                        }
                        Some(touched) => touched.record(sequence, place),
                        None => EntryRecord::untried(sequence, place),
                    };
                    entries.insert(sequence, record);
                }
                true
            })?;
        let count = cursor.count.saturating_sub(seen);
        self.cursor =
            (next <= cursor.last).then_some(Cursor { sequence: next, place, count, ..cursor });
        if self.cursor.is_none() {
            self.dead.add_all(place.segment, count);
            tell_lost(name, count);
        }
        Ok(())
    }
}
