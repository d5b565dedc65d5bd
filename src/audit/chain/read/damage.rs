//! What is not there, or cannot be read, between the records that are: told to whoever reads them, so that
//! nobody takes what is left for all of it. Where it is, and what was done to it, `verify` says.

use std::iter;

use serde::{Deserialize, Serialize};

use crate::audit::chain::bytes::{self, Found, Frame, SEGMENT_HEADER};
use crate::audit::chain::keys::PublicKey;
use crate::audit::chain::parts::{Follow, Part};

/// What was missing in what was looked through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// At how many places.
    pub places: u64,
    /// How many numbers of the trail, of records or checkpoints, as far as it can be told.
    pub missing: u64,
    /// The segment of the first place.
    pub segment: u32,
    /// The number of the last record or checkpoint in front of it; `None`: nobody can tell.
    pub after: Option<u64>,
}

impl Damage {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.places == 0
    }

    /// Adds what was found elsewhere in the same trail.
    pub fn add(&mut self, other: Self) {
        if other.is_none() {
            return;
        }
        let is_first = (other.segment, other.after) < (self.segment, self.after);
        let first = if self.is_none() || is_first { other } else { *self };
        *self = Self {
            places: self.places.saturating_add(other.places),
            missing: self.missing.saturating_add(other.missing),
            ..first
        };
    }
}

/// A place at which records are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    segment: u32,
    /// The last number in front of it.
    after: Option<u64>,
    /// The last number that is missing.
    upto: Option<u64>,
}

impl Hole {
    /// The last number that is missing, or is in front of what is, as far as it can be told.
    pub(super) fn upto(&self) -> Option<u64> {
        self.upto.or(self.after)
    }
}

impl From<Hole> for Damage {
    fn from(hole: Hole) -> Self {
        let Hole { segment, after, upto } = hole;
        let missing = after.zip(upto).map_or(0, |(after, upto)| upto.saturating_sub(after));
        Self { places: 1, missing, segment, after }
    }
}

/// What a segment comes to for whoever reads it.
pub(super) enum Seen<'s> {
    /// A frame of the trail.
    Frame(Frame<'s>),
    /// What should stand here and does not.
    Hole(Hole),
}

impl Seen<'_> {
    /// Its number, or the first that is missing.
    pub(super) fn from(&self) -> Option<u64> {
        match self {
            Self::Frame(frame) => Some(frame.sequence.0),
            Self::Hole(hole) => hole.after.map(|after| after.saturating_add(1)).or(hole.upto),
        }
    }

    /// Whether it stands in front of the record of this number.
    pub(super) fn is_before(&self, number: u64) -> bool {
        match self {
            Self::Frame(frame) => frame.sequence.0 < number,
            Self::Hole(hole) => hole.after.or(hole.upto).is_none_or(|front| front < number),
        }
    }

    /// Whether it stands behind the record of this number.
    pub(super) fn is_behind(&self, number: u64) -> bool {
        match self {
            Self::Frame(frame) => frame.sequence.0 > number,
            Self::Hole(Hole { after: Some(after), .. }) => *after >= number,
            Self::Hole(hole) => hole.upto.is_none_or(|upto| upto > number),
        }
    }
}

/// The frames in a segment that are the trail's, and the holes between them.
pub(super) fn seen<'s>(
    segment: &'s [u8],
    part: &Part,
    next: Option<&Part>,
    key: Option<&PublicKey>,
) -> impl Iterator<Item = Seen<'s>> {
    let mut follow = Follow::new(segment, part, next, key);
    let mut edge = Edge::new(part, next);
    let walked = bytes::walk(segment, SEGMENT_HEADER).map(Some).chain(iter::once(None));
    walked.flat_map(move |found| {
        let both = match found {
            Some(Found::Frame(frame)) if follow.takes(&frame) => {
                [edge.reach(&frame, follow.broken).map(Seen::Hole), Some(Seen::Frame(frame))]
            }
            // Not looked through to the end, there may be records in a gap.
            Some(Found::Frame(frame)) => {
                edge.meets(&frame);
                edge.passes(true)
            }
            Some(Found::Gap { given_up: true, .. }) => edge.passes(true),
            Some(Found::Gap { .. }) => edge.passes(false),
            None => [edge.end().map(Seen::Hole), None],
        };
        both.into_iter().flatten()
    })
}

/// How far a segment was read without anything missing.
struct Edge {
    segment: u32,
    /// The last number that was met.
    last: Option<u64>,
    /// The last number before the next segment's, if there is one that says so.
    end: Option<u64>,
    is_head: bool,
    /// The last number behind that, of what stands here and another segment was begun in front of.
    beyond: Option<u64>,
    /// Whether bytes were passed over that are no frame of the trail, and whether they may hold records.
    unread: bool,
    held: bool,
}

impl Edge {
    fn new(part: &Part, next: Option<&Part>) -> Self {
        let number = |part: &Part| part.follows.map(|follows| follows.sequence.0);
        Self {
            segment: part.number,
            last: number(part),
            end: next.and_then(number),
            beyond: None,
            is_head: next.is_none(),
            unread: false,
            held: false,
        }
    }

    fn passes<'s>(&mut self, held: bool) -> [Option<Seen<'s>>; 2] {
        (self.unread, self.held) = (true, self.held || held);
        [None, None]
    }

    /// A frame that is not taken for one of the trail's.
    fn meets(&mut self, frame: &Frame<'_>) {
        let number = frame.sequence.0;
        if self.end.is_some_and(|end| number > end) {
            self.beyond = Some(self.beyond.map_or(number, |beyond| beyond.max(number)));
        }
    }

    /// The hole in front of this frame, if there is one; `broken`: it does not follow the one before. What was put
    /// between two records that follow each other has taken none away.
    fn reach(&mut self, frame: &Frame<'_>, broken: bool) -> Option<Hole> {
        let (before, number) = (self.last, frame.sequence.0);
        let unread = std::mem::take(&mut self.unread);
        self.held = false;
        self.last = Some(before.map_or(number, |before| before.max(number)));
        let is_hole = before.map_or(unread, |before| {
            let next = before.saturating_add(1);
            // Another record may stand in place of the one that it follows.
            number > next || (broken && number == next)
        });
        is_hole.then(|| self.hole(before, number.checked_sub(1)))
    }

    /// The hole behind the last frame.
    fn end(&mut self) -> Option<Hole> {
        let is_short = |end| self.last.is_none_or(|last| last < end);
        let is_hole = match self.end {
            // A segment of an older state of the store may have been put back, which follows a record in between.
            Some(end) if !is_short(end) => {
                return self.beyond.map(|beyond| self.hole(Some(end), Some(beyond)));
            }
            Some(_) => true,
            // Where it is written to, bytes at its end that are no whole frame are a write that goes on, or that
            // a crash has cut off.
            None if self.is_head => self.held,
            None => self.unread,
        };
        is_hole.then(|| self.hole(self.last, self.end))
    }

    fn hole(&self, after: Option<u64>, upto: Option<u64>) -> Hole {
        Hole { segment: self.segment, after, upto }
    }
}
