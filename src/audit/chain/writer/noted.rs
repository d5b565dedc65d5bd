//! How far `acts.jsonl` is in the trail with each record of the segment that is written to: where that is begun anew,
//! or is not what was left, acts are to be in the trail once, and not as often as they were read.

use super::super::bytes::{self, Position};
use crate::event::Sequence;

/// A place in `acts.jsonl` up to which all of it is in the trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Bytes in front of it.
    pub(super) upto: u64,
    /// What these end with; `None`: nobody knows.
    pub(super) mark: Option<String>,
}

/// What the records of a segment have said of that.
#[derive(Debug)]
pub(super) struct Noted {
    /// What the segment follows, and what its opening says.
    follows: Position,
    opened: Place,
    since: Vec<(Position, Place)>,
}

impl Noted {
    /// Of none.
    pub(super) fn none() -> Self {
        Self::new(Position::START, Place::default())
    }

    /// Of a segment that is begun.
    pub(super) fn new(follows: Position, opened: Place) -> Self {
        Self { follows, opened, since: Vec::new() }
    }

    /// The record at this position says so.
    pub(super) fn push(&mut self, at: Position, place: Place) {
        self.since.push((at, place));
    }

    /// What is said up to the record with this number.
    pub(super) fn upto(&self, sequence: Sequence) -> &Place {
        let behind = self.since.partition_point(|(at, _)| at.sequence <= sequence);
        self.last(behind)
    }

    /// What the record with this number says itself.
    pub(super) fn said(&self, sequence: Sequence) -> Option<&Place> {
        let found = self.since.binary_search_by_key(&sequence, |(at, _)| at.sequence);
        found.ok().and_then(|at| self.since.get(at)).map(|(_, place)| place)
    }

    /// What is said by the last record that still stands in these bytes of the segment as it was written: up to
    /// `end` at most, behind which nothing was written. Whatever else stands there, nobody can pass off as one.
    pub(super) fn left_in(&self, segment: &[u8], end: Sequence) -> &Place {
        let (mut position, mut same) = (self.follows, 0);
        for frame in bytes::frames(segment) {
            // Something may have been put in between.
            if !frame.is_behind(position) || frame.sequence > end {
                continue;
            }
            position = frame.position();
            // Links are no secret: what goes on with others is not what was written.
            same += usize::from(self.since.get(same).is_some_and(|(next, _)| *next == position));
        }
        self.last(same)
    }

    fn last(&self, behind: usize) -> &Place {
        let last = behind.checked_sub(1).and_then(|last| self.since.get(last));
        last.map_or(&self.opened, |(_, place)| place)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::bytes::{Kind, SEGMENT_HEADER};
    use super::*;

    fn place(upto: u64) -> Place {
        Place { upto, mark: Some(upto.to_string()) }
    }

    /// Records 8 to 12, of which 9, 10 and 12 are acts.
    fn segment() -> (Noted, Vec<u8>, Vec<usize>) {
        let follows = Position { sequence: Sequence(7), ..Position::START };
        let mut noted = Noted::new(follows, place(5));
        let (mut at, mut bytes, mut ends) = (follows, vec![0; SEGMENT_HEADER], Vec::new());
        for n in 8..13 {
            at.push(Kind::Record, &[n], &mut bytes);
            ends.push(bytes.len());
            if [9, 10, 12].contains(&n) {
                noted.push(at, place(u64::from(n) * 10));
            }
        }
        (noted, bytes, ends)
    }

    #[test]
    fn each_record_says_how_far_it_goes() {
        let (noted, ..) = segment();
        let upto = |n| noted.upto(Sequence(n)).upto;
        assert_eq!([7, 8, 9, 10, 11, 12, 99].map(upto), [5, 5, 90, 100, 100, 120, 120]);
        let said = |n| noted.said(Sequence(n)).map(|place| place.upto);
        assert_eq!([8, 9, 11, 12].map(said), [None, Some(90), None, Some(120)]);
    }

    #[test]
    fn only_what_stands_as_it_was_written_is_there_still() {
        let (noted, bytes, ends) = segment();
        let left = |bytes: &[u8], end| noted.left_in(bytes, Sequence(end)).upto;
        assert_eq!((left(&bytes, 12), left(&bytes, 11), left(&[], 12)), (120, 100, 5));
        for (n, upto) in [5, 90, 100, 100, 120].into_iter().enumerate() {
            assert_eq!(left(&bytes[..ends[n]], 12), upto);
            let with_junk = [&bytes[..ends[0]], b"junk", &bytes[ends[0]..ends[n]]].concat();
            assert_eq!(left(&with_junk, 12), upto);
            let torn = bytes.len().min(ends[n] + 3);
            assert_eq!(left(&bytes[..torn], 12), upto);
        }
        // Somebody has put another record in place of the first act, and linked all behind it anew.
        let mut at = Position { sequence: Sequence(7), ..Position::START };
        let mut other = vec![0; SEGMENT_HEADER];
        for n in [8, 99, 10, 11, 12] {
            at.push(Kind::Record, &[n], &mut other);
        }
        assert_eq!(left(&other, 12), 5);
    }
}
