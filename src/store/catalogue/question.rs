//! A question to the catalogue: what it is answered from, and what an event's state is at this moment.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;

use super::rows::{EventRow, FILTERED, QUARANTINED};
use super::states::{Deliveries, States};
use super::{Segment, Shown};
use crate::event::Sequence;
use crate::store::LaneSlot;
use crate::store::core::Core;
use crate::store::journal::frame::Header;
use crate::store::journal::record::{EventRecord, decode_event, event_in};
use crate::store::journal::segment::Place;
use crate::store::query::{DeliveryState, EventState, QueryError};

/// How often a question is begun again because segments went meanwhile.
const TRIES: u32 = 8;
/// How long it waits for who makes rows just now. Then it is answered without the newest.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a question has no answer yet.
#[derive(Debug)]
pub(super) enum Stop {
    /// A segment has gone: begin again.
    Gone,
    /// The catalogue's own files cannot be read: they are to be made again.
    Spoilt(io::Error),
    /// The journal cannot be read.
    Io(io::Error),
}

/// A question, and what it is answered from: the catalogue as it was when it was asked.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) core: &'a Core,
    pub(super) segments: Vec<Arc<Segment>>,
    /// What became of events by then: of the same moment as the segments, or a delivery would be settled of
    /// which no attempt is known.
    states: Arc<States>,
    /// Whether everything is in it that was written when it was asked.
    pub(super) is_fresh: bool,
    /// By the digests of their names.
    lanes: HashMap<u64, Arc<LaneSlot>>,
    /// Whether something was neither settled nor waiting: most likely the writer is about to write down
    /// how it was settled.
    doubtful: Cell<bool>,
}

/// Answers a question.
pub(super) fn ask<T>(
    core: &Core,
    answer: impl Fn(&Question<'_>) -> Result<T, Stop>,
) -> Result<T, QueryError> {
    let mut is_sure = false;
    for _ in 0..TRIES {
        let question = Question::begin(core)?;
        if !is_sure && question.is_behind() {
            is_sure = true;
            // Everything that was settled before is written down then.
            core.queue.sync();
            continue;
        }
        match answer(&question) {
            Ok(_) if question.doubtful.get() && !is_sure => {
                is_sure = true;
                core.queue.sync();
            }
            Ok(answer) => return Ok(answer),
            Err(Stop::Gone) => {}
            Err(Stop::Io(error)) => return Err(error.into()),
            Err(Stop::Spoilt(error)) => {
                core.catalogue.spoil(&error);
                return Err(core.catalogue.shown.read().not_ready());
            }
        }
    }
    Err(io::Error::other("segments go faster than they can be read").into())
}

impl Shown {
    fn not_ready(&self) -> QueryError {
        QueryError::NotReady { done: self.done, all: self.all }
    }
}

impl<'a> Question<'a> {
    fn begin(core: &'a Core) -> Result<Self, QueryError> {
        let catalogue = &core.catalogue;
        let mut is_fresh = false;
        if catalogue.shown.read().ready
            && let Some(mut keeping) = catalogue.keeping.try_lock_for(PATIENCE)
        {
            is_fresh = catalogue.catch_up(core, &mut keeping);
        }
        let shown = catalogue.shown.read();
        if !shown.ready {
            return Err(shown.not_ready());
        }
        let (segments, states) = (shown.segments.clone(), Arc::clone(&shown.states));
        drop(shown);
        let lanes = core.backlog.lanes().into_iter();
        let lanes = lanes.map(|slot| (catalogue.names.upstream(&slot.name), slot)).collect();
        Ok(Self { core, segments, states, is_fresh, lanes, doubtful: Cell::new(false) })
    }

    /// Whether lanes know of deliveries that were settled, or stored, and the catalogue does not yet.
    fn is_behind(&self) -> bool {
        self.states(|states| {
            self.lanes.iter().any(|(upstream, slot)| {
                let open = states.upstreams.get(upstream).map_or(0, |of| of.open.count());
                open != slot.backlog()
            })
        })
    }

    /// Works with what became of events. No file is read meanwhile.
    pub(super) fn states<T>(&self, with: impl FnOnce(&States) -> T) -> T {
        with(&self.states)
    }

    /// What is wrong when one of the catalogue's files could not be read.
    pub(super) fn row_error(&self, segment: u32, error: io::Error) -> Stop {
        if self.core.is_gone(segment, &error) { Stop::Gone } else { Stop::Spoilt(error) }
    }

    /// The frame there; `None` if it has been damaged, or the disk has not given it for minutes: all the
    /// others are shown without it.
    pub(super) fn frame(&self, place: Place) -> Result<Option<(Header, Bytes)>, Stop> {
        match self.core.files.frame(place) {
            Ok(frame) => {
                self.core.patience.given(place);
                Ok(Some(frame))
            }
            Err(error) if self.core.is_withheld(place, &error) => {
                let Place { segment, offset } = place;
                tracing::warn!(target: "hookward::store", segment, offset, %error, "something in the journal cannot be shown");
                Ok(None)
            }
            Err(error) => Err(self.journal_error(place, error.into())),
        }
    }

    /// What is wrong when the journal could not be read there.
    pub(super) fn journal_error(&self, place: Place, error: io::Error) -> Stop {
        if self.core.is_gone(place.segment, &error) { Stop::Gone } else { Stop::Io(error) }
    }

    /// The event there, if it is this one.
    pub(super) fn event(&self, place: Place, event: u64) -> Result<Option<EventRecord>, Stop> {
        let Some((header, payload)) = self.frame(place)? else { return Ok(None) };
        let found = event_in(&header, &payload).filter(|(found, _)| found.0 == event);
        Ok(found.and_then(|(sequence, payload)| decode_event(sequence, &payload)))
    }

    /// Whether an event is kept back, or was until it was dropped: it has no deliveries.
    pub(super) fn is_kept_back(states: &States, row: &EventRow) -> bool {
        row.is(QUARANTINED) && !states.released.contains(row.event)
    }

    /// What became of an event's delivery to an upstream that it goes to.
    pub(super) fn delivery_state(
        &self,
        states: &States,
        upstream: u64,
        event: u64,
    ) -> DeliveryState {
        match states.upstreams.get(&upstream) {
            Some(of) => self.state_in(of, upstream, event),
            None => DeliveryState::Delivered,
        }
    }

    fn state_in(&self, of: &Deliveries, upstream: u64, event: u64) -> DeliveryState {
        if of.open.contains(event) {
            let lane = self.lanes.get(&upstream);
            if lane.is_some_and(|slot| slot.lane.lock().covers(Sequence(event))) {
                DeliveryState::Pending
            } else {
                self.doubtful.set(true);
                DeliveryState::Unknown
            }
        } else if of.dead.contains(event) {
            DeliveryState::Dead
        } else if of.discarded.contains(event) {
            DeliveryState::Discarded
        } else {
            DeliveryState::Delivered
        }
    }

    /// What became of an event.
    pub(super) fn state(&self, states: &States, row: &EventRow) -> EventState {
        let event = row.event;
        let dropped = states.dropped.contains(event);
        if Self::is_kept_back(states, row) {
            if self.core.backlog.quarantine.lock().contains_key(&Sequence(event)) {
                return EventState::Quarantined;
            }
            if dropped || states.upstreams.values().any(|of| of.discarded.contains(event)) {
                return EventState::Discarded;
            }
            self.doubtful.set(true);
            return EventState::Unknown;
        }
        let own = (!row.is(FILTERED)).then_some(DeliveryState::Delivered);
        let others = states.upstreams.iter().filter_map(|(upstream, of)| {
            let state = self.state_in(of, *upstream, event);
            (state != DeliveryState::Delivered || of.acted.contains(event)).then_some(state)
        });
        EventState::over(false, dropped, own.into_iter().chain(others))
    }
}
