//! What became of each delivery, kept so that a journal of any size fits: attempts are gathered by
//! the range of sequences that their events are in, and go to a temporary file when they are many.
//! Nothing in them is payload, id or subject.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};

use hashbrown::HashMap;

use super::InspectError;
use crate::clock::UnixMillis;
use crate::event::Sequence;
use crate::store::journal::input::Input;
use crate::store::journal::record::AttemptRecord;
use crate::store::{AttemptResult, Verdict};

/// Events whose last attempts are in memory at once: those of so many sequences.
const RANGE_BITS: u32 = 16;
/// Bytes of attempts that are gathered in memory before they go to the file.
const GATHERED: usize = 32 << 20;
const RECORD: usize = 25;

/// The last attempt at a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    /// Which it was, counted from 1.
    pub(super) number: u32,
    /// What the upstream answered, if it did.
    pub(super) status: Option<u16>,
    /// What came of it.
    pub(super) came: Came,
}

/// What came of a delivery last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// The upstream has it.
    Delivered,
    /// It is to be tried again then.
    RetryAt(UnixMillis),
    /// It was given up.
    Dead,
    /// It was given up, for its event could not be read.
    Unreadable,
    /// An operator has had it sent again then, or has let go of it.
    Resumed(UnixMillis),
    /// An operator has dropped it.
    Discarded,
}

/// The last attempts at the deliveries of a range of events.
pub(super) type Lasts = HashMap<(Sequence, u16), Last>;

/// All attempts, by the range that their events are in.
#[derive(Debug, Default)]
pub(super) struct Spill {
    ranges: BTreeMap<u64, Range>,
    gathered: usize,
    file: Option<File>,
    len: u64,
}

#[derive(Debug, Default)]
struct Range {
    /// Where in the file, and how many bytes.
    written: Vec<(u64, usize)>,
    gathered: Vec<u8>,
}

/// The range that the event with this sequence is in.
pub(super) fn range_of(event: Sequence) -> u64 {
    event.0 >> RANGE_BITS
}

impl Spill {
    /// Adds an attempt, later than all others at its delivery. `upstream` is a number for its name.
    pub(super) fn add(
        &mut self,
        attempt: &AttemptRecord<'_>,
        upstream: u16,
    ) -> Result<(), InspectError> {
        self.add_bounded(attempt, upstream, GATHERED)
    }

    /// Adds what an operator did with a delivery after so many attempts.
    pub(super) fn add_act(
        &mut self,
        event: Sequence,
        attempts: u32,
        upstream: u16,
        came: Came,
    ) -> Result<(), InspectError> {
        let last = Last { number: attempts, status: None, came };
        self.add_last(event, upstream, last, GATHERED)
    }

    /// The ranges that there is something of.
    pub(super) fn ranges(&self) -> impl Iterator<Item = u64> {
        self.ranges.keys().copied()
    }

    fn add_bounded(
        &mut self,
        attempt: &AttemptRecord<'_>,
        upstream: u16,
        bound: usize,
    ) -> Result<(), InspectError> {
        self.add_last(attempt.event, upstream, Last::of(attempt), bound)
    }

    fn add_last(
        &mut self,
        event: Sequence,
        upstream: u16,
        last: Last,
        bound: usize,
    ) -> Result<(), InspectError> {
        let range = self.ranges.entry(range_of(event)).or_default();
        encode(event, upstream, last, &mut range.gathered);
        self.gathered += RECORD;
        if self.gathered >= bound {
            self.write().map_err(temporary)?;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(nameless()?),
        };
        for range in self.ranges.values_mut().filter(|range| !range.gathered.is_empty()) {
            let bytes = std::mem::take(&mut range.gathered);
            file.write_all_at(&bytes, self.len)?;
            range.written.push((self.len, bytes.len()));
            self.len += bytes.len() as u64;
        }
        self.gathered = 0;
        Ok(())
    }

    /// The last attempts at the deliveries of a range's events.
    pub(super) fn lasts(&self, range: u64) -> Result<Lasts, InspectError> {
        let mut lasts = Lasts::new();
        let Some(range) = self.ranges.get(&range) else { return Ok(lasts) };
        if let Some(file) = &self.file {
            for &(at, len) in &range.written {
                let mut bytes = vec![0; len];
                file.read_exact_at(&mut bytes, at).map_err(temporary)?;
                decode_all(&bytes, &mut lasts);
            }
        }
        decode_all(&range.gathered, &mut lasts);
        Ok(lasts)
    }
}

/// A file of ours alone that has no name any more when it is returned.
fn nameless() -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("hookward-{:016x}", fastrand::u64(..)));
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

fn temporary(source: io::Error) -> InspectError {
    InspectError::Temporary { path: std::env::temp_dir(), source }
}

impl Last {
    fn of(attempt: &AttemptRecord<'_>) -> Self {
        let status = attempt.attempt.result.status();
        let came = match attempt.attempt.verdict {
            Verdict::Delivered => Came::Delivered,
            Verdict::RetryAt(at) => Came::RetryAt(at),
            Verdict::Dead if attempt.attempt.result == AttemptResult::Unreadable => {
                Came::Unreadable
            }
            Verdict::Dead => Came::Dead,
        };
        Self { number: attempt.number, status, came }
    }
}

fn encode(event: Sequence, upstream: u16, last: Last, out: &mut Vec<u8>) {
    let (came, at) = match last.came {
        Came::Delivered => (1, 0),
        Came::RetryAt(at) => (2, at.0),
        Came::Dead => (3, 0),
        Came::Unreadable => (4, 0),
        Came::Resumed(at) => (5, at.0),
        Came::Discarded => (6, 0),
    };
    out.extend_from_slice(&event.0.to_le_bytes());
    out.extend_from_slice(&last.number.to_le_bytes());
    out.extend_from_slice(&upstream.to_le_bytes());
    out.extend_from_slice(&last.status.unwrap_or(0).to_le_bytes());
    out.push(came);
    out.extend_from_slice(&u64::to_le_bytes(at));
}

fn decode_all(bytes: &[u8], lasts: &mut Lasts) {
    let mut input = Input(bytes);
    while let Some((key, mut last)) = decode(&mut input) {
        // What an operator did says nothing of what the upstream had answered.
        if matches!(last.came, Came::Resumed(_) | Came::Discarded)
            && let Some(before) = lasts.get(&key)
        {
            (last.number, last.status) = (last.number.max(before.number), before.status);
        }
        lasts.insert(key, last);
    }
}

fn decode(input: &mut Input<'_>) -> Option<((Sequence, u16), Last)> {
    let event = Sequence(input.u64()?);
    let (number, upstream, status) = (input.u32()?, input.u16()?, input.u16()?);
    let (came, at) = (input.u8()?, UnixMillis(input.u64()?));
    let came = match came {
        1 => Came::Delivered,
        2 => Came::RetryAt(at),
        3 => Came::Dead,
        4 => Came::Unreadable,
        5 => Came::Resumed(at),
        _ => Came::Discarded,
    };
    Some(((event, upstream), Last { number, status: (status != 0).then_some(status), came }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::Attempt;

    fn record(event: u64, number: u32, verdict: Verdict) -> AttemptRecord<'static> {
        let result = AttemptResult::Answered(u16::try_from(200 + event % 300).unwrap());
        let (started_at, duration) = (UnixMillis(0), Duration::ZERO);
        let attempt = Attempt { started_at, duration, result, verdict };
        AttemptRecord { event: Sequence(event), upstream: "app", number, attempt, excerpt: None }
    }

    /// Attempts at one event may be far apart: some in the file, in several places, some in memory.
    #[test]
    fn the_last_attempt_counts_wherever_it_is_kept() {
        let mut spill = Spill::default();
        let events = [1, 70_000, 3 << RANGE_BITS];
        for number in 1..=5 {
            for event in events {
                let verdict = match number {
                    5 if event == 1 => Verdict::Delivered,
                    5 => Verdict::Dead,
                    _ => Verdict::RetryAt(UnixMillis(number.into())),
                };
                let upstream = u16::try_from(event % 2).unwrap();
                spill.add_bounded(&record(event, number, verdict), upstream, 4 * RECORD).unwrap();
            }
        }
        assert!(spill.file.is_some() && spill.gathered < 4 * RECORD && spill.gathered > 0);
        for event in events {
            let lasts = spill.lasts(range_of(Sequence(event))).unwrap();
            let upstream = u16::try_from(event % 2).unwrap();
            let last = lasts[&(Sequence(event), upstream)];
            let came = if event == 1 { Came::Delivered } else { Came::Dead };
            assert_eq!((last.number, last.came), (5, came));
            assert_eq!(last.status, Some(u16::try_from(200 + event % 300).unwrap()));
            assert_eq!(lasts.len(), 1);
        }
        assert!(spill.lasts(999).unwrap().is_empty());
    }

    #[test]
    fn what_an_operator_did_is_the_last_word_and_leaves_the_answer_that_there_was() {
        let mut spill = Spill::default();
        spill.add(&record(7, 3, Verdict::Dead), 0).unwrap();
        for came in [Came::Discarded, Came::Resumed(UnixMillis(9))] {
            spill.add_act(Sequence(7), 0, 0, came).unwrap();
            let last = spill.lasts(0).unwrap()[&(Sequence(7), 0)];
            assert_eq!(last, Last { number: 3, status: Some(207), came });
        }
        assert_eq!(spill.ranges().collect::<Vec<_>>(), [0]);
    }
}
