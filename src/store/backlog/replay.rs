//! Puts the lanes together again after a restart, out of the last checkpoint and the frames that
//! follow it.

mod lane_state;

use std::collections::{BTreeMap, BTreeSet};

use self::lane_state::{LaneState, Touched};
use super::checkpoint::{EntryRecord, LaneRecord, QUARANTINE};
use super::lane::{Cursor, Entry, Ticks};
use super::{Backlog, LaneRules};
use crate::event::Sequence;
use crate::store::Verdict;
use crate::store::core::Cancel;
use crate::store::journal::act::ActRecord;
use crate::store::journal::files::{ReadError, SegmentFiles};
use crate::store::journal::frame::Kind;
use crate::store::journal::record::{AttemptRecord, EventHead, decode_event_head};
use crate::store::journal::segment::{Gap, Place, Scanned};
use crate::store::query::ActKind;

/// What is known of the unsettled deliveries so far.
#[derive(Debug)]
pub struct Replay {
    window: usize,
    /// The number of the first frame that the journal still has.
    oldest: Sequence,
    /// Whether a checkpoint has told what waits: then what it does not name has been settled.
    told: bool,
    lanes: BTreeMap<String, LaneState>,
    quarantine: BTreeMap<Sequence, Place>,
}

impl Replay {
    /// Nothing is known. No lane will hold more than `window` deliveries, but for those whose events
    /// were carried. The journal begins with the frame `oldest`.
    pub fn new(window: usize, oldest: Sequence) -> Self {
        let (lanes, quarantine) = (BTreeMap::new(), BTreeMap::new());
        Self { window, oldest, told: false, lanes, quarantine }
    }

    /// The names of all lanes that hold something, dead letters included.
    pub fn names(&self) -> Vec<String> {
        let holds = |s: &LaneState| s.waits() || s.dead.count() > 0;
        self.lanes.iter().filter(|(_, s)| holds(s)).map(|(name, _)| name.clone()).collect()
    }

    /// Whether deliveries wait in the lane with this name.
    pub fn waits(&self, name: &str) -> bool {
        self.lanes.get(name).is_some_and(LaneState::waits)
    }

    /// A complete checkpoint: it replaces all that was known.
    pub fn checkpoint(&mut self, lanes: Vec<LaneRecord>) {
        self.told = true;
        self.lanes.clear();
        self.quarantine.clear();
        for lane in lanes {
            if lane.name == QUARANTINE {
                self.quarantine.extend(lane.entries.iter().map(|e| (e.sequence, e.place)));
                continue;
            }
            let entries = lane.entries.into_iter().map(|e| (e.sequence, e)).collect();
            let LaneRecord { cursor, dead, .. } = lane;
            let state = LaneState { entries, cursor, dead, touched: BTreeMap::new() };
            self.lanes.insert(lane.name, state);
        }
    }

    /// An event's frame.
    pub fn event(&mut self, sequence: Sequence, place: Place, head: &EventHead<'_>) {
        if head.quarantined {
            self.quarantine.insert(sequence, place);
            return;
        }
        for name in head.targets() {
            if !self.lanes.contains_key(name) {
                self.lanes.insert(name.to_owned(), LaneState::default());
            }
            if let Some(lane) = self.lanes.get_mut(name) {
                lane.push(sequence, place, self.window);
            }
        }
    }

    /// An event's copy. It is the same event, wherever it is known to wait; what is not known to wait
    /// for it has settled it. If the journal does not go back to where it was stored, the copy is all
    /// that there is: for those that may not have come to it yet, it stands for the event.
    pub fn carried(&mut self, event: Sequence, place: Place, head: &EventHead<'_>) {
        for lane in self.lanes.values_mut() {
            if let Some(entry) = lane.entries.get_mut(&event) {
                entry.place = place;
            }
        }
        if let Some(known) = self.quarantine.get_mut(&event) {
            *known = place;
        }
        if event >= self.oldest {
            return;
        }
        if head.quarantined {
            if !self.told {
                self.quarantine.insert(event, place);
            }
            return;
        }
        for name in head.targets() {
            if !self.told && !self.lanes.contains_key(name) {
                self.lanes.insert(name.to_owned(), LaneState::default());
            }
            if let Some(lane) = self.lanes.get_mut(name) {
                lane.adopt(event, place, self.told);
            }
        }
    }

    /// An attempt's frame.
    pub fn attempt(&mut self, record: &AttemptRecord<'_>) {
        let Some(lane) = self.lanes.get_mut(record.upstream) else { return };
        let sequence = record.event;
        let touched = |acted_at| match record.attempt.verdict {
            Verdict::RetryAt(due) => Touched::Waiting { attempts: record.number, due, acted_at },
            Verdict::Delivered => Touched::Delivered,
            Verdict::Dead => Touched::Dead,
        };
        if let Some(entry) = lane.entries.get_mut(&sequence) {
            let segment = entry.place.segment;
            match touched(entry.acted_at) {
                Touched::Waiting { attempts, due, .. } => {
                    (entry.attempts, entry.due) = (attempts, due);
                    return;
                }
                Touched::Delivered | Touched::Discarded => {}
                Touched::Dead => lane.dead.add(segment),
            }
            lane.entries.remove(&sequence);
        } else if lane.cursor.is_some_and(|c| sequence >= c.sequence) {
            let acted_at = match lane.touched.get(&sequence) {
                Some(&Touched::Waiting { acted_at, .. }) => acted_at,
                _ => None,
            };
            lane.touched.insert(sequence, touched(acted_at));
        }
    }

    /// An act's frame.
    pub fn act(&mut self, record: &ActRecord<'_>) {
        let kept_back = match record.what {
            ActKind::Released | ActKind::Discarded => self.quarantine.remove(&record.event),
            ActKind::Replayed => None,
        };
        // A copy stands behind what it is a copy of.
        let place = kept_back.map_or(record.place, |place| place.max(record.place));
        for upstream in &record.upstreams {
            let lane = self.lanes.entry(upstream.name.to_owned()).or_default();
            match record.what {
                ActKind::Replayed | ActKind::Released => {
                    lane.resume(record.event, place, record.at, upstream);
                }
                ActKind::Discarded => lane.discard(record.event, upstream),
            }
        }
    }

    /// Fills the lanes of `backlog`, reading what is needed of each event; returns the places of
    /// events that could not be read. Those are held all the same: it is for the attempt to deliver
    /// them to find out whether they can be read by then. What it does once it is cancelled is of no
    /// use.
    ///
    /// # Errors
    /// As the file system says; that an event cannot be read is no error here.
    pub fn restore(
        mut self,
        backlog: &Backlog,
        files: &SegmentFiles,
        cancel: &Cancel,
    ) -> std::io::Result<Vec<Place>> {
        let mut unreadable = Vec::new();
        for (name, state) in &mut self.lanes {
            let Some(slot) = backlog.lane(name) else { continue };
            state.catch_up(name, files, cancel)?;
            let rules = slot.lane.lock().rules();
            let mut entries = Vec::with_capacity(state.entries.len());
            let mut unread = BTreeSet::new();
            for record in state.entries.values() {
                if cancel.is_cancelled() {
                    return Ok(unreadable);
                }
                let entry = read_entry(backlog, rules, files, record).unwrap_or_else(|error| {
                    unreadable.push(record.place);
                    tell_unread(name, record, &error);
                    if !error.is_final() {
                        unread.insert(record.sequence);
                    }
                    unread_entry(backlog, rules, record)
                });
                entries.push(entry);
            }
            let dead = std::mem::take(&mut state.dead);
            let mut lane = slot.lane.lock();
            lane.expect_unread(unread);
            lane.restore(entries, state.cursor, dead);
        }
        *backlog.quarantine.lock() = self.quarantine;
        Ok(unreadable)
    }
}

/// Deliveries that were not come upon where they must have stood.
pub fn tell_lost(upstream: &str, lost: u64) {
    if lost > 0 {
        tracing::error!(target: "hookward::store", upstream, lost, "events that waited for delivery are lost where the journal cannot be read, and counted as dead letters");
    }
}

/// What a walk does where the disk does not give what it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It fails, however far it has come.
    Fails,
    /// It ends there, or fails if it has not come further than its cursor.
    Ends,
    /// It steps over what begins at its cursor, if it comes upon anything good behind; else it ends there,
    /// and so it does at any other place.
    SteppedOver,
}

/// The disk does not give the journal here.
#[derive(Debug, thiserror::Error)]
#[error(
    "segment {} cannot be read at offset {} (Input/output error, or another of the disk's), where what waits \
     for delivery may stand; if that does not pass, stop the gateway and replace its file by a copy of what \
     can be read, with zeros for the rest",
    .0.segment, .0.offset
)]
struct NotGiven(Place);

/// What is said of a segment that cannot be read, with what to do about it.
pub fn unread(place: Place) -> std::io::Error {
    std::io::Error::other(NotGiven(place))
}

/// Whether it was that, and not another error of the file system.
pub fn is_unread(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NotGiven>())
}

/// Shows `visit` every event from the cursor up to the lane's last one, in order, until it says
/// `false`; returns the number and the place to go on from. The journal's segments are `numbers`.
///
/// # Errors
/// As the file system says, and where something is [`Unread`]; damage is stepped over.
pub fn walk(
    files: &SegmentFiles,
    numbers: &[u32],
    cursor: Cursor,
    policy: Unread,
    mut visit: impl FnMut(Sequence, Place, &EventHead<'_>) -> bool,
) -> std::io::Result<(Sequence, Place)> {
    let mut next = cursor.sequence;
    let mut at = cursor.place;
    // Where something begins that was not read, until there is something good behind.
    let mut skipped = None;
    let end_at = |(next, at): (Sequence, Place)| {
        let is_further = (next, at) != (cursor.sequence, cursor.place);
        if policy != Unread::Fails && is_further { Ok((next, at)) } else { Err(unread(at)) }
    };
    // Each place has its own time: where another one begins, what was stepped over before is done with.
    let steps_over = |here: (Sequence, Place), skipped: &mut Option<(Sequence, Place)>| {
        if policy == Unread::SteppedOver && here.1 == cursor.place {
            skipped.get_or_insert(here);
            return true;
        }
        if let Some((first, from)) = skipped.take() {
            tell_skipped(first, from, here.0, here.1);
        }
        false
    };
    let before = Sequence(cursor.sequence.0.saturating_sub(1));
    for &number in numbers.iter().filter(|n| **n >= cursor.place.segment) {
        let offset = if number == at.segment { at.offset } else { 0 };
        let mut scanner = match files.scan(number, offset, before) {
            Ok(scanner) => scanner,
            // Its first page.
            Err(ReadError::Io(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                let here = (next, Place { segment: number, offset });
                if steps_over(here, &mut skipped) {
                    continue;
                }
                return end_at(here);
            }
            Err(error) => return Err(error.into()),
        };
        while let Some(scanned) = scanner.step()? {
            let frame = match scanned {
                Scanned::Frame(frame) => frame,
                Scanned::Gap(Gap { from, to, kind }) => {
                    if scanner.has_unread() {
                        let here = (next, Place { segment: number, offset: from });
                        if steps_over(here, &mut skipped) {
                            continue;
                        }
                        return end_at(here);
                    }
                    tracing::error!(target: "hookward::store", segment = number, from, to, ?kind, "the journal is damaged here; events that waited for delivery may be lost");
                    continue;
                }
            };
            at = Place { segment: number, offset: frame.offset };
            next = frame.header.sequence;
            if let Some((first, from)) = skipped.take() {
                tell_skipped(first, from, next, at);
            }
            if next > cursor.last {
                return Ok((next, at));
            }
            if frame.header.kind == Kind::Event
                && let Some(head) = decode_event_head(frame.payload)
                && !visit(next, at, &head)
            {
                return Ok((next, at));
            }
            next = Sequence(next.0 + 1);
            at.offset = scanner.offset();
            if next > cursor.last {
                // Whatever comes behind may be just being written.
                return Ok((next, at));
            }
        }
    }
    if let Some(here) = skipped {
        return end_at(here);
    }
    // The end of the journal: nothing beyond the cursor is left, whatever it says.
    Ok((next.max(Sequence(cursor.last.0 + 1)), at))
}

fn tell_skipped(first: Sequence, from: Place, next: Sequence, to: Place) {
    let (segment, offset) = (from.segment, from.offset);
    tracing::error!(target: "hookward::store", segment, offset, to_segment = to.segment, to_offset = to.offset, %first, %next, "the disk does not give the journal here, however often it is asked: stepping over; what waits there for delivery is lost");
}

fn read_entry(
    backlog: &Backlog,
    rules: LaneRules,
    files: &SegmentFiles,
    record: &EntryRecord,
) -> Result<Entry, ReadError> {
    let (_, payload) = files.event(record.place)?;
    let head = decode_event_head(&payload).ok_or(ReadError::Damaged(record.place))?;
    Ok(make_entry(backlog, rules, record, &head))
}

fn tell_unread(upstream: &str, record: &EntryRecord, error: &ReadError) {
    let (sequence, Place { segment, offset }) = (record.sequence, record.place);
    tracing::error!(target: "hookward::store", %sequence, segment, offset, upstream, %error, "an event that waits for delivery cannot be read");
}

/// An entry for an event that cannot be read now: nothing is known of it but its place.
fn unread_entry(backlog: &Backlog, rules: LaneRules, record: &EntryRecord) -> Entry {
    let received_at = backlog.timeline.wall();
    Entry {
        sequence: record.sequence,
        place: record.place,
        subject: None,
        received_at,
        acted_at: record.acted_at,
        deadline: backlog.deadline(record.acted_at.unwrap_or(received_at), rules),
        attempts: record.attempts,
        due: Ticks(0),
        hot: None,
    }
}

/// A lane's entry for an event that was read back from the journal.
pub fn make_entry(
    backlog: &Backlog,
    rules: LaneRules,
    record: &EntryRecord,
    head: &EventHead<'_>,
) -> Entry {
    let due = if record.attempts == 0 { Ticks(0) } else { backlog.retry_tick(rules, record.due) };
    Entry {
        sequence: record.sequence,
        place: record.place,
        subject: backlog.subject(head.source, head.subject),
        received_at: head.received_at,
        acted_at: record.acted_at,
        deadline: backlog.deadline(record.acted_at.unwrap_or(head.received_at), rules),
        attempts: record.attempts,
        due,
        hot: None,
    }
}
