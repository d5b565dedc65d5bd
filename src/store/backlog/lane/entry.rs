//! What a lane holds: a delivery that waits, its place in a heap, and where the rest begins.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::clock::UnixMillis;
use crate::event::Sequence;
use crate::store::journal::segment::Place;
use crate::store::memory::Hot;

/// Milliseconds on a clock that never steps; zero is when the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticks(pub u64);

/// A delivery that waits.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The event's number.
    pub sequence: Sequence,
    /// Where its frame starts.
    pub place: Place,
    /// A hash of source and subject; `None` for an event that nothing else waits for.
    pub subject: Option<u64>,
    /// When it was received.
    pub received_at: UnixMillis,
    /// When an operator has released it or had it sent again: giving up is counted from then.
    pub acted_at: Option<UnixMillis>,
    /// When no further attempt begins.
    pub deadline: Ticks,
    /// Attempts made so far.
    pub attempts: u32,
    /// When it may be tried.
    pub due: Ticks,
    /// The event itself, while it is fresh and memory allows.
    pub hot: Option<Arc<Hot>>,
}

impl Entry {
    /// What giving up is counted from.
    pub fn counts_from(&self) -> UnixMillis {
        self.acted_at.unwrap_or(self.received_at)
    }

    /// Whether it waits for a time of its own, and not just for its turn.
    pub(super) fn waits_by_time(&self) -> bool {
        self.attempts > 0 || self.acted_at.is_some()
    }
}

/// An entry in a heap, by time.
#[derive(Debug)]
pub(super) struct At {
    pub(super) time: Ticks,
    pub(super) entry: Entry,
}

impl At {
    pub(super) fn due(entry: Entry) -> Reverse<Self> {
        Reverse(Self { time: entry.due, entry })
    }

    fn order(&self) -> (Ticks, Sequence) {
        (self.time, self.entry.sequence)
    }
}

impl PartialEq for At {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for At {}

impl PartialOrd for At {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for At {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

/// Where the events begin that the lane does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The first such event's number.
    pub sequence: Sequence,
    /// Where its frame starts, or where to look for it from.
    pub place: Place,
    /// The last such event's number.
    pub last: Sequence,
    /// How many there are.
    pub count: u64,
}
