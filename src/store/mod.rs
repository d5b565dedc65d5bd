//! The store's seam: accept, claim, settle, query. Behind it stands a journal that is the truth
//! and a sled index that can be rebuilt from it at any time.

mod accept;
mod act;
pub mod backlog;
pub mod blocking;
mod catalogue;
mod claim;
mod core;
pub mod crypt;
mod dedupe;
pub mod disk;
mod index;
mod indexer;
pub mod inspect;
pub mod journal;
mod memory;
mod open;
mod patience;
pub mod presence;
mod private;
pub mod query;
mod queue;
mod recover;
pub mod rekey;
mod retention;
mod roster;
mod shares;
#[cfg(test)]
mod simulation;
mod state;
mod survey;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

pub use self::backlog::LaneSlot;
pub use self::backlog::lane::CircuitState;
pub use self::claim::Claimed;
pub use self::core::{Cancel, Tuning};
use self::crypt::Keyring;
pub use self::open::OpenError;
pub use self::private::NotOwner;
pub use self::recover::Report;
pub use self::roster::{Recipients, Roster};
pub use self::state::{CircuitStatus, LaneStatus, StoreBytes};
pub use self::survey::{MissingKeys, Survey};
use crate::clock::{Clock, UnixMillis};
use crate::event::{BodyHash, EventId, EventMeta, Sequence, SourceName, UpstreamName};
use crate::metrics::Metrics;

/// Some of one configuration's upstreams: bits by index into its `Config::upstreams` (at most 64).
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

    /// Whether this upstream is one of them.
    pub fn contains(self, upstream: usize) -> bool {
        u32::try_from(upstream).is_ok_and(|i| self.0.checked_shr(i).unwrap_or(0) & 1 == 1)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Proof that an event is on stable storage (or, for [`Outcome::ConflictDropped`], that its conflict
/// partner is). Made by the store only; what a 200 is made from.
#[derive(Debug)]
pub struct Accepted {
    id: EventId,
    outcome: Outcome,
    against: Option<EventId>,
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

    /// Of an event with the key of a stored one and other content: the stored one's id.
    pub fn against(&self) -> Option<EventId> {
        self.against
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
    /// The writer's queue holds all that it takes of this source.
    #[error("the journal's queue holds the source's share")]
    OverShare,
    /// Less than `min_free` is left.
    #[error("free space is below store.min_free")]
    Low,
    /// A write has found no room: the disk is full, or a quota is used up.
    #[error("the disk is full")]
    NoRoom,
    /// A write or a sync has failed; nothing is taken until a restart has verified the journal.
    #[error("the journal has failed and waits for a restart")]
    Failed,
    /// An event that this one may repeat could not be read.
    #[error("the journal cannot be read")]
    Unreadable,
    /// The store is being closed.
    #[error("the store is closing")]
    Closing,
    /// Whoever asked does not want anything stored now.
    #[error("nothing new is stored now")]
    Barred,
}

/// An event as it stands in the journal.
#[derive(Clone, PartialEq)]
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

/// Without its content, which is a patient's.
impl fmt::Debug for StoredEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("StoredEvent");
        shown.field("sequence", &self.sequence).field("id", &self.id);
        shown.field("received_at", &self.received_at).field("source", &self.source);
        shown.field("conflict", &self.conflict).field("meta", &self.meta);
        shown.field("len", &self.body.len()).finish_non_exhaustive()
    }
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
    /// Nothing, as far as is known: the attempt has panicked here.
    Panicked,
    /// Nothing: no attempt was made, for the event cannot be read from the journal any more.
    Unreadable,
}

impl AttemptResult {
    /// The answer's status, if there was one.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Answered(status) => Some(status),
            Self::ConnectFailed
            | Self::TimedOut
            | Self::Broken
            | Self::Panicked
            | Self::Unreadable => None,
        }
    }
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

/// What the operator wants of the store. All but `path`, `clock` and `metrics` may change while it is
/// open ([`Store::reconfigure`]).
#[derive(Clone, Debug)]
pub struct Options {
    /// Its directory.
    pub path: PathBuf,
    /// How long events and their keys are kept.
    pub retention: Duration,
    /// Free bytes below which no event is taken.
    pub min_free: u64,
    /// The keys that the journal is encrypted with; none: it is not. May change while the store is
    /// open, but not between none and some.
    pub keys: Arc<Keyring>,
    /// The wall clock.
    pub clock: Clock,
    /// Where syncs and sizes are counted.
    pub metrics: Arc<Metrics>,
    /// The configured upstreams, at most 64, in the configuration's order.
    pub upstreams: Vec<UpstreamOptions>,
}

/// What the store needs to know of an upstream.
#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    /// Its name, which its deliveries are filed under.
    pub name: UpstreamName,
    /// Whether deliveries about one subject wait for each other.
    pub ordered: bool,
    /// From reception to dead letter.
    pub give_up: Duration,
    /// The longest wait between two attempts.
    pub retry_max: Duration,
}

/// Why keys cannot take over from others.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Segments need keys that are not among them.
    #[error(transparent)]
    Missing(#[from] MissingKeys),
    /// The journal cannot be looked at.
    #[error("reading the journal failed: {0}")]
    Io(#[from] std::io::Error),
}

/// The open store.
#[derive(Debug)]
pub struct Store {
    core: Arc<core::Core>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
    report: Report,
    /// Held for as long as the store is open: no second process may have it.
    lock: Option<std::fs::File>,
}

impl Store {
    /// What opening it found.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Whether new events are taken, and if not, why.
    ///
    /// # Errors
    /// The reason why not.
    pub fn writable(&self) -> Result<(), AcceptError> {
        self.core.writable()
    }

    /// Requests are let in from here on: signs of life are written until they are not any more, and
    /// the time since the last one before is an absence.
    pub fn lets_in(&self) {
        self.core.signs.open(self.core.backlog.timeline.wall());
        self.core.queue.ring();
    }

    /// Requests are not let in any more; those in hand may still be answered.
    pub fn shuts(&self) {
        self.core.signs.shut(self.core.backlog.timeline.wall());
    }

    /// When events could be taken and when not, as far as it is known.
    pub fn presence(&self) -> presence::Known {
        self.core.signs.known()
    }

    /// How often something about absences has changed since the store was opened.
    pub fn absences_changed(&self) -> u64 {
        self.core.signs.changes()
    }

    /// The configured upstreams, in the configuration's order.
    pub fn roster(&self) -> Roster {
        self.core.backlog.roster()
    }

    /// Deliveries that wait for this upstream (an index into the configuration), those in flight
    /// included.
    pub fn backlog(&self, upstream: usize) -> u64 {
        self.roster().lane(upstream).map_or(0, |slot| slot.backlog())
    }

    /// From here on these retention, free space and upstreams hold, also for what waits. Upstreams
    /// are known by their names: one that was configured before has its lane still. Events that
    /// are to go to the new ones go by the roster that is returned. Takes time in proportion to
    /// what waits for upstreams whose rules change.
    pub fn reconfigure(&self, options: &Options) -> Roster {
        self.core.reconfigure(options);
        self.core.files.set_keys(Arc::clone(&options.keys));
        self.core.backlog.reconfigure(&options.upstreams)
    }

    /// Whether the journal as it stands can be read with these keys alone: what a change of the
    /// configuration must not take away. Blocks.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn check_keys(&self, keys: &Keyring) -> Result<(), KeysError> {
        Ok(Survey::of_files(&self.core.files, keys)?.check(keys)?)
    }

    /// Returns once everything that was handed over before is on stable storage, and who waited for
    /// that has been told. Blocks. Whether it is: not when the store has failed or is closing.
    pub fn sync(&self) -> bool {
        self.core.queue.sync()
    }

    /// Writes out what is queued, syncs, and lets go of the files. Later accepts are refused.
    /// Whether everything is on stable storage.
    pub async fn close(&self) -> bool {
        self.core.begin_close();
        self.core.queue.close();
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            // The writer's own failures are in the state; a panic is one too.
            drop(tokio::task::spawn_blocking(move || writer.join()).await);
        }
        // In words, for dropping the file is not enough: a child process that is just being started
        // holds a copy of the descriptor until it has become another program.
        if let Some(Err(error)) = self.lock.as_ref().map(std::fs::File::unlock) {
            tracing::warn!(target: "hookward::store", %error, "the store's lock stays until the process ends");
        }
        self.core.state() != core::State::Failed
    }
}
