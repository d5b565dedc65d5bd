//! The store's seam: accept, claim, settle, query. Behind it stands a journal that is the truth
//! and a sled index that can be rebuilt from it at any time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::UnixMillis;
use crate::event::{BodyHash, EventId, EventMeta, Sequence, SourceName};
use crate::identify::Identified;

/// Which upstreams an event goes to: bits by index into `Config::upstreams` (at most 64).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Targets(pub u64);

impl Targets {
    /// No upstream at all: the event is filtered.
    pub const NONE: Self = Self(0);

    /// With this upstream added.
    #[must_use]
    pub fn with(self, upstream: usize) -> Self {
        Self(self.0 | 1 << upstream)
    }

    /// The indexes, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..64).filter(move |i| self.0 & (1 << i) != 0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Proof that an event is on stable storage (or, for [`Outcome::Dropped`], that its conflict
/// partner is). Made by the store only; what a 200 is made from.
#[derive(Debug)]
pub struct Accepted {
    id: EventId,
    outcome: Outcome,
}

impl Accepted {
    /// Hookward's id of the event; of a repeat, that of the first.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// What became of it.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }
}

/// What became of an accepted event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Stored, and on its way to its upstreams.
    Stored,
    /// Stored, and no upstream wants it.
    Filtered,
    /// It was stored before.
    Repeat,
    /// Same key, other content: an event of its own (`on_conflict = "deliver"`).
    ConflictDelivered,
    /// Same key, other content: stored and kept back (`on_conflict = "quarantine"`).
    ConflictQuarantined,
    /// Same key, other content: forgotten (`on_conflict = "drop"`).
    ConflictDropped,
}

/// Why an event could not be stored. All of it is ours, and the sender may try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// The writer's queue is full.
    #[error("the journal's queue is full")]
    Overloaded,
    /// Less than `min_free` is left.
    #[error("free space is below store.min_free")]
    Full,
    /// A write or a sync has failed; nothing is taken until a restart has verified the journal.
    #[error("the journal has failed and waits for a restart")]
    Failed,
    /// The store is being closed.
    #[error("the store is closing")]
    Closing,
}

/// An event as it stands in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// Its number in the journal.
    pub sequence: Sequence,
    /// Hookward's id.
    pub id: EventId,
    /// When its request's headers were complete.
    pub received_at: UnixMillis,
    /// Whose it is.
    pub source: SourceName,
    /// SHA-256 of the body.
    pub body_hash: BodyHash,
    /// Whether it was stored under another event's key with other content.
    pub conflict: bool,
    /// What was read out of it.
    pub meta: EventMeta,
    /// The raw body.
    pub body: Bytes,
}

/// A delivery that is this holder's to attempt. Dropped without [`Store::settle`], it is due again.
#[derive(Debug)]
pub struct Claimed {
    /// The event to deliver.
    pub event: Arc<StoredEvent>,
    /// Which attempt this is, counted from 1 over restarts and replays.
    pub attempt: u32,
}

/// One attempt at a delivery, for the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub started_at: UnixMillis,
    /// How long it took.
    pub duration: Duration,
    /// What the upstream did.
    pub result: AttemptResult,
    /// What follows from it.
    pub verdict: Verdict,
}

/// What the upstream did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// It answered with this status.
    Answered(u16),
    /// No connection could be made.
    ConnectFailed,
    /// No answer within the timeout.
    TimedOut,
    /// The connection broke, or what came was not HTTP.
    Broken,
}

/// What follows from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The upstream has it.
    Delivered,
    /// Try again then.
    RetryAt(UnixMillis),
    /// No further attempt will be made.
    Dead,
}

/// The open store.
#[derive(Debug)]
pub struct Store {}

impl Store {
    /// Stores the event durably, or finds that it is stored already. Cancelling the returned
    /// future does not cancel a write that has begun.
    ///
    /// # Errors
    /// [`AcceptError`]; then the event is not acknowledged.
    pub async fn accept(
        &self,
        _event: Identified,
        _targets: Targets,
    ) -> Result<Accepted, AcceptError> {
        unimplemented!()
    }

    /// The next delivery that is due at this upstream (an index into `Config::upstreams`); waits
    /// until there is one. Fair between callers; safe to cancel.
    pub async fn claim(&self, _upstream: usize) -> Claimed {
        unimplemented!()
    }

    /// Records an attempt and what follows from it.
    pub fn settle(&self, _claimed: Claimed, _attempt: Attempt) {
        unimplemented!()
    }

    /// Whether new events are taken, and if not, why.
    ///
    /// # Errors
    /// The reason why not.
    pub fn writable(&self) -> Result<(), AcceptError> {
        unimplemented!()
    }

    /// Deliveries that wait for this upstream, those in flight included.
    pub fn backlog(&self, _upstream: usize) -> u64 {
        unimplemented!()
    }

    /// Writes out what is queued, syncs, and lets go of the files. Later accepts are refused.
    pub async fn close(&self) {
        unimplemented!()
    }
}
