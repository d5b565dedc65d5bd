//! What operators ask the store: which events there are and what became of them, page by page, and the
//! history of one. Answers come from the journal; the catalogue says where to look.

use crate::clock::UnixMillis;
use crate::event::{EventId, Sequence, SourceName};
use crate::store::{AttemptResult, StoredEvent, Verdict};

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventState {
    /// A delivery of it is still to be made.
    Pending,
    /// Every upstream has it.
    Delivered,
    /// An upstream does not have it, and no further attempt will be made.
    Dead,
    /// Kept back until an operator decides.
    Quarantined,
    /// An operator has dropped it.
    Discarded,
    /// No upstream wanted it.
    Filtered,
    /// Nothing is left to do for it, and how that came about is lost.
    Unknown,
}

impl EventState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Delivered,
        Self::Dead,
        Self::Quarantined,
        Self::Discarded,
        Self::Filtered,
        Self::Unknown,
    ];

    /// What became of an event over its deliveries, whether it is kept back or has been dropped while it
    /// was: pending while any delivery is, else dead if any is, else discarded, unknown, delivered.
    pub fn over(
        kept_back: bool,
        discarded: bool,
        deliveries: impl IntoIterator<Item = DeliveryState>,
    ) -> Self {
        if kept_back {
            return Self::Quarantined;
        }
        let of = |delivery| match delivery {
            DeliveryState::Pending => Self::Pending,
            DeliveryState::Dead => Self::Dead,
            DeliveryState::Discarded => Self::Discarded,
            DeliveryState::Unknown => Self::Unknown,
            DeliveryState::Delivered => Self::Delivered,
        };
        let weight = |state: &Self| match state {
            Self::Pending => 5,
            Self::Dead => 4,
            Self::Discarded => 3,
            Self::Unknown => 2,
            Self::Delivered => 1,
            Self::Quarantined | Self::Filtered => 0,
        };
        let dropped = discarded.then_some(Self::Discarded);
        let states = deliveries.into_iter().map(of).chain(dropped);
        states.max_by_key(weight).unwrap_or(Self::Filtered)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Quarantined => "quarantined",
            Self::Discarded => "discarded",
            Self::Filtered => "filtered",
            Self::Unknown => "unknown",
        }
    }
}

/// What became of an event's delivery to one upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It is still to be made.
    Pending,
    /// The upstream has it.
    Delivered,
    /// No further attempt will be made.
    Dead,
    /// An operator has dropped it.
    Discarded,
    /// It is settled, and how is lost.
    Unknown,
}

impl DeliveryState {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => EventState::Pending.as_str(),
            Self::Delivered => EventState::Delivered.as_str(),
            Self::Dead => EventState::Dead.as_str(),
            Self::Discarded => EventState::Discarded.as_str(),
            Self::Unknown => EventState::Unknown.as_str(),
        }
    }
}

/// Which events are meant. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The source's name.
    pub source: Option<String>,
    /// What became of it.
    pub state: Option<EventState>,
    /// A pattern over the normalized name without the source, as in `events` of a source.
    pub kind: Option<crate::config::Pattern>,
    /// The entity that it is about.
    pub subject: Option<String>,
    /// Received at or after this.
    pub since: Option<UnixMillis>,
    /// Received before this.
    pub until: Option<UnixMillis>,
    /// An upstream for which it is in that state (dead letters of one upstream).
    pub upstream: Option<String>,
}

/// Where a page ends and the next begins: events are listed newest first, by their numbers, so that
/// what arrives meanwhile neither moves nor repeats anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The next page's events have smaller numbers.
    pub before: Sequence,
}

/// Some of what a filter matches, newest first.
#[derive(Debug, Default)]
pub struct Page {
    /// The events.
    pub items: Vec<Listed>,
    /// Where the next page begins; `None`: there is nothing more.
    pub next: Option<Cursor>,
}

/// An event with what became of it.
#[derive(Debug)]
pub struct Listed {
    /// The event, body included.
    pub event: StoredEvent,
    /// Over all upstreams.
    pub state: EventState,
    /// Its deliveries, in the order of its upstreams.
    pub deliveries: Vec<Delivery>,
}

/// An event's delivery to one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The upstream.
    pub upstream: String,
    /// What became of it.
    pub state: DeliveryState,
    /// Attempts made so far.
    pub attempts: u32,
    /// What the upstream answered to the last one, if it did.
    pub last_status: Option<u16>,
    /// When the next attempt is due, if one has been made and another will be.
    pub next_at: Option<UnixMillis>,
}

/// What has happened to an event, in the order of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: UnixMillis,
    /// What.
    pub what: Happening,
}

/// One thing that has happened to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Its request's headers were complete.
    Received,
    /// It was on stable storage: kept back, filtered, or on its way to these upstreams.
    Stored {
        /// Whom it was to go to.
        upstreams: Vec<String>,
        /// Kept back until an operator decides.
        quarantined: bool,
    },
    /// An attempt at a delivery.
    Attempt {
        /// The upstream.
        upstream: String,
        /// Which attempt it was, counted from 1.
        number: u32,
        /// How long it took.
        duration: std::time::Duration,
        /// What the upstream did.
        result: AttemptResult,
        /// What follows from it.
        verdict: Verdict,
        /// The beginning of what it answered beside success, bounded and without what looks like a
        /// secret. It may hold a patient's data.
        excerpt: Option<String>,
    },
    /// What an operator has done.
    Act(Act),
}

/// What an operator does with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// What.
    pub what: ActKind,
    /// Who: a token's name, or the Unix user behind the socket. At most 64 bytes.
    pub who: String,
    /// Why, in the operator's words: at most 1 KiB, no control characters.
    pub reason: Option<String>,
    /// For a replay: the one upstream that is meant.
    pub upstream: Option<String>,
}

/// What an operator can do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActKind {
    /// Sent again: to the upstreams where it is dead, or to all if none is, unless one is named.
    Replayed,
    /// A quarantined event goes to its upstreams.
    Released,
    /// A quarantined event, or dead deliveries, are dropped.
    Discarded,
}

impl ActKind {
    /// Its name in the audit trail.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Released => "released",
            Self::Discarded => "discarded",
        }
    }
}

/// What came of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acted {
    /// The event.
    pub id: EventId,
    /// Whose it is.
    pub source: SourceName,
    /// The upstreams it goes to now, or whose deliveries were dropped.
    pub upstreams: Vec<String>,
}

/// Why an operator's act cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// There is no such event (any more).
    #[error("there is no such event")]
    NotFound,
    /// The event's state does not allow it.
    #[error("the event is {}", .0.as_str())]
    State(EventState),
    /// The upstream is not configured.
    #[error("no upstream of that name is configured")]
    UnknownUpstream,
    /// The event has no upstreams, and none is named.
    #[error("the event goes to no upstream; name one")]
    NoUpstream,
    /// The journal takes nothing now, or an upstream has as many deliveries waiting as memory may hold.
    #[error("the journal cannot be written to now")]
    Unwritable,
    /// The journal cannot be read.
    #[error(transparent)]
    Query(#[from] QueryError),
}

/// Why the store cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The catalogue is being made: how many of the journal's segments are in it, and how many there are.
    #[error("the catalogue is being made: {done} of {all} segments")]
    NotReady {
        /// Segments that are in it.
        done: usize,
        /// All segments.
        all: usize,
    },
    /// The journal cannot be read.
    #[error("the journal cannot be read")]
    Io(#[from] std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_deliveries_are_called_as_those_of_events() {
        for state in [DeliveryState::Pending, DeliveryState::Dead, DeliveryState::Discarded] {
            assert!(EventState::ALL.iter().any(|known| known.as_str() == state.as_str()));
        }
    }

    #[test]
    fn an_event_is_what_the_worst_of_its_deliveries_is() {
        use DeliveryState::{Dead, Delivered, Discarded, Pending, Unknown};
        for (deliveries, state) in [
            (&[][..], EventState::Filtered),
            (&[Delivered, Delivered], EventState::Delivered),
            (&[Delivered, Unknown], EventState::Unknown),
            (&[Unknown, Discarded, Delivered], EventState::Discarded),
            (&[Dead, Discarded, Unknown, Delivered], EventState::Dead),
            (&[Dead, Pending, Discarded], EventState::Pending),
        ] {
            assert_eq!(EventState::over(false, false, deliveries.iter().copied()), state);
            let kept_back = EventState::over(true, false, deliveries.iter().copied());
            assert_eq!(kept_back, EventState::Quarantined);
        }
        assert_eq!(EventState::over(false, true, []), EventState::Discarded);
    }
}
