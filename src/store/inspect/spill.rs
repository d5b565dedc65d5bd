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
    /// What followed from it.
    pub(super) verdict: Verdict,
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

    fn add_bounded(
        &mut self,
        attempt: &AttemptRecord<'_>,
        upstream: u16,
        bound: usize,
    ) -> Result<(), InspectError> {
        let range = self.ranges.entry(range_of(attempt.event)).or_default();
        encode(attempt, upstream, &mut range.gathered);
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

fn encode(attempt: &AttemptRecord<'_>, upstream: u16, out: &mut Vec<u8>) {
    let status = match attempt.attempt.result {
        AttemptResult::Answered(status) => status,
        AttemptResult::ConnectFailed
        | AttemptResult::TimedOut
        | AttemptResult::Broken
        | AttemptResult::Panicked
        | AttemptResult::Unreadable => 0,
    };
    let (verdict, at) = match attempt.attempt.verdict {
        Verdict::Delivered => (1, 0),
        Verdict::RetryAt(at) => (2, at.0),
        Verdict::Dead => (3, 0),
    };
    out.extend_from_slice(&attempt.event.0.to_le_bytes());
    out.extend_from_slice(&attempt.number.to_le_bytes());
    out.extend_from_slice(&upstream.to_le_bytes());
    out.extend_from_slice(&status.to_le_bytes());
    out.push(verdict);
    out.extend_from_slice(&u64::to_le_bytes(at));
}

fn decode_all(bytes: &[u8], lasts: &mut Lasts) {
    let mut input = Input(bytes);
    while let Some((key, last)) = decode(&mut input) {
        lasts.insert(key, last);
    }
}

fn decode(input: &mut Input<'_>) -> Option<((Sequence, u16), Last)> {
    let event = Sequence(input.u64()?);
    let (number, upstream, status) = (input.u32()?, input.u16()?, input.u16()?);
    let (verdict, at) = (input.u8()?, UnixMillis(input.u64()?));
    let verdict = match verdict {
        1 => Verdict::Delivered,
        2 => Verdict::RetryAt(at),
        _ => Verdict::Dead,
    };
    Some(((event, upstream), Last { number, status: (status != 0).then_some(status), verdict }))
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
        AttemptRecord { event: Sequence(event), upstream: "app", number, attempt }
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
            let verdict = if event == 1 { Verdict::Delivered } else { Verdict::Dead };
            assert_eq!((last.number, last.verdict), (5, verdict));
            assert_eq!(last.status, Some(u16::try_from(200 + event % 300).unwrap()));
            assert_eq!(lasts.len(), 1);
        }
        assert!(spill.lasts(999).unwrap().is_empty());
    }
}
