//! A checkpoint: frames that say what was unsettled when they were written, so that a restart
//! need not read what came before. One frame a lane, one for the events kept back, and an end that
//! says how many there must have been.

use std::collections::BTreeMap;

use super::dead::DeadLetters;
use super::lane::{Cursor, Entry, Ticks};
use super::{Backlog, LaneSlot, Moved};
use crate::clock::UnixMillis;
use crate::event::Sequence;
use crate::store::journal::frame::{Batch, Kind};
use crate::store::journal::input::Input;
use crate::store::journal::segment::Place;

/// The name under which events that are kept back stand; no upstream can have it.
pub const QUARANTINE: &str = "~quarantine";

/// Where the events begin that the lane did not hold follows.
const FLAG_CURSOR: u8 = 1;
/// How many dead letters there were follows.
const FLAG_DEAD: u8 = 2;
/// When operators acted on deliveries follows.
const FLAG_ACTED: u8 = 4;

/// A lane as a checkpoint tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneRecord {
    /// The upstream's name, or [`QUARANTINE`].
    pub name: String,
    /// Where the events begin that the lane did not hold.
    pub cursor: Option<CursorRecord>,
    /// What was given up.
    pub dead: DeadLetters,
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
    /// When an operator has released it or had it sent again: giving up is counted from then.
    pub acted_at: Option<UnixMillis>,
}

impl EntryRecord {
    /// A delivery that has not been tried yet.
    pub fn untried(sequence: Sequence, place: Place) -> Self {
        Self { sequence, place, attempts: 0, due: UnixMillis(0), acted_at: None }
    }
}

/// Adds a checkpoint's frames to `batch`, numbered from `next` on, and returns the number after.
pub fn write(backlog: &Backlog, mut next: Sequence, batch: &mut Batch) -> Sequence {
    let mut frames = 0u32;
    let mut push = |record: &LaneRecord| {
        batch.push(next, Kind::Lane, |out| encode(record, out));
        next = Sequence(next.0 + 1);
        frames += 1;
    };
    // What has been carried is told where it stands now, whether its lane knows already or not: the
    // segment that it stood in may be gone before the next checkpoint.
    let moved = backlog.moved.lock();
    for slot in backlog.lanes() {
        push(&lane_record(backlog, &slot, &moved));
    }
    push(&quarantine_record(backlog, &moved));
    drop(moved);
    batch.push(next, Kind::CheckpointEnd, |out| out.extend_from_slice(&frames.to_le_bytes()));
    Sequence(next.0 + 1)
}

fn lane_record(backlog: &Backlog, slot: &LaneSlot, moved: &Moved) -> LaneRecord {
    let lane = slot.lane.lock();
    let record = |entry: &Entry| EntryRecord {
        sequence: entry.sequence,
        place: place_now(entry.place, moved),
        attempts: entry.attempts,
        due: if entry.attempts == 0 || entry.due == Ticks(0) {
            UnixMillis(0)
        } else {
            backlog.timeline.wall_at(entry.due)
        },
        acted_at: entry.acted_at,
    };
    let entries = lane.entries().map(record).collect();
    let (name, dead) = (slot.name.clone(), lane.dead().clone());
    LaneRecord { name, cursor: lane.cursor(), dead, entries }
}

fn place_now(place: Place, moved: &Moved) -> Place {
    moved.get(&place).copied().unwrap_or(place)
}

fn quarantine_record(backlog: &Backlog, moved: &Moved) -> LaneRecord {
    let kept_back = backlog.quarantine.lock();
    let record = |(&sequence, &place): (&Sequence, &Place)| {
        EntryRecord::untried(sequence, place_now(place, moved))
    };
    let entries = kept_back.iter().map(record).collect();
    LaneRecord { name: QUARANTINE.to_owned(), entries, ..LaneRecord::default() }
}

fn encode(record: &LaneRecord, out: &mut Vec<u8>) {
    out.push(u8::try_from(record.name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(record.name.as_bytes());
    let dead = &record.dead.0;
    let cursor = if record.cursor.is_some() { FLAG_CURSOR } else { 0 };
    let acted = record.entries.iter().filter_map(|entry| Some((entry.sequence, entry.acted_at?)));
    let acted: Vec<_> = acted.collect();
    let acted_flag = if acted.is_empty() { 0 } else { FLAG_ACTED };
    out.push(cursor | acted_flag | if dead.is_empty() { 0 } else { FLAG_DEAD });
    if let Some(cursor) = record.cursor {
        out.extend_from_slice(&cursor.sequence.0.to_le_bytes());
        out.extend_from_slice(&cursor.place.pack().to_le_bytes());
        out.extend_from_slice(&cursor.last.0.to_le_bytes());
        out.extend_from_slice(&cursor.count.to_le_bytes());
    }
    if !dead.is_empty() {
        out.extend_from_slice(&u32::try_from(dead.len()).unwrap_or(u32::MAX).to_le_bytes());
        for (segment, count) in dead {
            out.extend_from_slice(&segment.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
        }
    }
    if !acted.is_empty() {
        out.extend_from_slice(&u32::try_from(acted.len()).unwrap_or(u32::MAX).to_le_bytes());
        for (sequence, at) in acted {
            out.extend_from_slice(&sequence.0.to_le_bytes());
            out.extend_from_slice(&at.0.to_le_bytes());
        }
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
    let flags = input.u8()?;
    if flags & !(FLAG_CURSOR | FLAG_DEAD | FLAG_ACTED) != 0 {
        return None;
    }
    let cursor = if flags & FLAG_CURSOR == 0 { None } else { Some(decode_cursor(&mut input)?) };
    let dead =
        if flags & FLAG_DEAD == 0 { DeadLetters::default() } else { decode_dead(&mut input)? };
    let acted = if flags & FLAG_ACTED == 0 { BTreeMap::new() } else { decode_acted(&mut input)? };
    let mut entries = Vec::with_capacity(input.0.len() / 28);
    while !input.0.is_empty() {
        let sequence = Sequence(input.u64()?);
        entries.push(EntryRecord {
            sequence,
            place: Place::unpack(input.u64()?),
            attempts: input.u32()?,
            due: UnixMillis(input.u64()?),
            acted_at: acted.get(&sequence).copied(),
        });
    }
    Some(LaneRecord { name, cursor, dead, entries })
}

fn decode_cursor(input: &mut Input<'_>) -> Option<Cursor> {
    Some(Cursor {
        sequence: Sequence(input.u64()?),
        place: Place::unpack(input.u64()?),
        last: Sequence(input.u64()?),
        count: input.u64()?,
    })
}

fn decode_dead(input: &mut Input<'_>) -> Option<DeadLetters> {
    let mut dead = DeadLetters::default();
    for _ in 0..input.u32()? {
        dead.0.insert(input.u32()?, input.u64()?);
    }
    Some(dead)
}

fn decode_acted(input: &mut Input<'_>) -> Option<BTreeMap<Sequence, UnixMillis>> {
    let mut acted = BTreeMap::new();
    for _ in 0..input.u32()? {
        acted.insert(Sequence(input.u64()?), UnixMillis(input.u64()?));
    }
    Some(acted)
}

/// Reads how many lanes a checkpoint has.
pub fn decode_end(payload: &[u8]) -> Option<u32> {
    payload.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> LaneRecord {
        let (place, sequence) = (Place { segment: 3, offset: 640 }, Sequence(9));
        LaneRecord {
            name: "app".to_owned(),
            cursor: Some(Cursor { sequence, place, last: Sequence(40), count: 30 }),
            dead: DeadLetters([(2, 5), (3, 1)].into()),
            entries: vec![
                EntryRecord::untried(Sequence(8), place),
                EntryRecord {
                    attempts: 2,
                    due: UnixMillis(77),
                    acted_at: Some(UnixMillis(66)),
                    ..EntryRecord::untried(sequence, place)
                },
            ],
        }
    }

    #[test]
    fn a_lane_is_read_as_it_was_written() {
        let (cursor, dead) = (record().cursor, record().dead);
        let place = Place { segment: 3, offset: 640 };
        for record in [
            record(),
            LaneRecord { cursor: None, ..record() },
            LaneRecord { dead: DeadLetters::default(), ..record() },
            LaneRecord { entries: vec![EntryRecord::untried(Sequence(8), place)], ..record() },
            LaneRecord { cursor, dead, ..LaneRecord::default() },
            LaneRecord::default(),
        ] {
            let mut bytes = Vec::new();
            encode(&record, &mut bytes);
            assert_eq!(decode_lane(&bytes), Some(record));
        }
    }

    #[test]
    fn a_lane_that_breaks_off_is_none() {
        let mut bytes = Vec::new();
        encode(&LaneRecord { entries: Vec::new(), ..record() }, &mut bytes);
        for len in 0..bytes.len() {
            assert_eq!(decode_lane(&bytes[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn a_lane_as_it_was_written_before_dead_letters_were_counted_is_understood() {
        let before = b"\x03app\x00";
        let expected = LaneRecord { name: "app".to_owned(), ..LaneRecord::default() };
        assert_eq!(decode_lane(before), Some(expected));
    }
}
