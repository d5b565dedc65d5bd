//! A checkpoint: frames that say what was unsettled when they were written, so that a restart
//! need not read what came before. One frame a lane, one for the events kept back, and an end that
//! says how many there must have been.

use super::lane::{Cursor, Entry, Ticks};
use super::{Backlog, LaneSlot};
use crate::clock::UnixMillis;
use crate::event::Sequence;
use crate::store::journal::frame::{Batch, Kind};
use crate::store::journal::input::Input;
use crate::store::journal::segment::Place;

/// The name under which events that are kept back stand; no upstream can have it.
pub const QUARANTINE: &str = "~quarantine";

/// A lane as a checkpoint tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneRecord {
    /// The upstream's name, or [`QUARANTINE`].
    pub name: String,
    /// Where the events begin that the lane did not hold.
    pub cursor: Option<CursorRecord>,
    /// What it held.
    pub entries: Vec<EntryRecord>,
}

/// A lane's cursor as a checkpoint tells it.
pub type CursorRecord = Cursor;

/// A delivery as a checkpoint tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRecord {
    /// The event's number.
    pub sequence: Sequence,
    /// Where its frame starts.
    pub place: Place,
    /// Attempts made so far.
    pub attempts: u32,
    /// When it may be tried, if it has been tried before.
    pub due: UnixMillis,
}

/// Adds a checkpoint's frames to `batch`, numbered from `next` on, and returns the number after.
pub fn write(backlog: &Backlog, mut next: Sequence, batch: &mut Batch) -> Sequence {
    let mut frames = 0u32;
    let mut push = |record: &LaneRecord| {
        batch.push(next, Kind::Lane, |out| encode(record, out));
        next = Sequence(next.0 + 1);
        frames += 1;
    };
    for slot in backlog.lanes() {
        push(&lane_record(backlog, &slot));
    }
    push(&quarantine_record(backlog));
    batch.push(next, Kind::CheckpointEnd, |out| out.extend_from_slice(&frames.to_le_bytes()));
    Sequence(next.0 + 1)
}

fn lane_record(backlog: &Backlog, slot: &LaneSlot) -> LaneRecord {
    let lane = slot.lane.lock();
    let record = |entry: &Entry| EntryRecord {
        sequence: entry.sequence,
        place: entry.place,
        attempts: entry.attempts,
        due: if entry.attempts == 0 || entry.due == Ticks(0) {
            UnixMillis(0)
        } else {
            backlog.timeline.wall_at(entry.due)
        },
    };
    let entries = lane.entries().map(record).collect();
    LaneRecord { name: slot.name.clone(), cursor: lane.cursor(), entries }
}

fn quarantine_record(backlog: &Backlog) -> LaneRecord {
    let kept_back = backlog.quarantine.lock();
    let record = |(&sequence, &place): (&Sequence, &Place)| EntryRecord {
        sequence,
        place,
        attempts: 0,
        due: UnixMillis(0),
    };
    let entries = kept_back.iter().map(record).collect();
    LaneRecord { name: QUARANTINE.to_owned(), cursor: None, entries }
}

fn encode(record: &LaneRecord, out: &mut Vec<u8>) {
    out.push(u8::try_from(record.name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(record.name.as_bytes());
    match record.cursor {
        Some(cursor) => {
            out.push(1);
            out.extend_from_slice(&cursor.sequence.0.to_le_bytes());
            out.extend_from_slice(&cursor.place.pack().to_le_bytes());
            out.extend_from_slice(&cursor.last.0.to_le_bytes());
            out.extend_from_slice(&cursor.count.to_le_bytes());
        }
        None => out.push(0),
    }
    for entry in &record.entries {
        out.extend_from_slice(&entry.sequence.0.to_le_bytes());
        out.extend_from_slice(&entry.place.pack().to_le_bytes());
        out.extend_from_slice(&entry.attempts.to_le_bytes());
        out.extend_from_slice(&entry.due.0.to_le_bytes());
    }
}

/// Reads a lane's frame.
pub fn decode_lane(payload: &[u8]) -> Option<LaneRecord> {
    let mut input = Input(payload);
    let name = input.short_str()?.to_owned();
    let cursor = match input.u8()? {
        0 => None,
        1 => Some(Cursor {
            sequence: Sequence(input.u64()?),
            place: Place::unpack(input.u64()?),
            last: Sequence(input.u64()?),
            count: input.u64()?,
        }),
        _ => return None,
    };
    let mut entries = Vec::with_capacity(input.0.len() / 28);
    while !input.0.is_empty() {
        entries.push(EntryRecord {
            sequence: Sequence(input.u64()?),
            place: Place::unpack(input.u64()?),
            attempts: input.u32()?,
            due: UnixMillis(input.u64()?),
        });
    }
    Some(LaneRecord { name, cursor, entries })
}

/// Reads how many lanes a checkpoint has.
pub fn decode_end(payload: &[u8]) -> Option<u32> {
    payload.try_into().ok().map(u32::from_le_bytes)
}
