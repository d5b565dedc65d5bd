//! What must be true of operators' acts: one that was answered stands durably in the journal, its
//! deliveries are made once more or given up, and what was dropped is never delivered.

use std::collections::{BTreeSet, HashSet};

use super::{Excuses, Lane, Oracle};
use crate::event::{EventId, Sequence};
use crate::store::query::{Act, ActError, ActKind, Acted, EventState};
use crate::store::simulation::ledger::Stored;
use crate::store::tests::sim_disk::SimDisk;

/// An act that was asked for.
#[derive(Debug)]
pub(in super::super) struct Order {
    pub(in super::super) event: EventId,
    sequence: Sequence,
    act: Act,
    /// All that it may concern.
    lanes: Vec<Lane>,
    /// Deliveries that had come to their end by then, and acts that stood in the journal.
    ends: usize,
    written: Option<(u32, u32)>,
}

/// What operators did.
#[derive(Debug, Default)]
pub(super) struct Acts {
    /// An act under way: nobody knows yet.
    in_hand: Option<EventId>,
    /// Events of which it is not known whether they are kept back still.
    unsure: HashSet<EventId>,
    released: HashSet<EventId>,
    discarded: HashSet<EventId>,
    /// Deliveries that may have been asked for.
    wanted: HashSet<Lane>,
    /// Deliveries that must come to an end once more.
    pub(super) owed: BTreeSet<Lane>,
    /// Events that were given up once: what operators look at most.
    pub(super) dead: HashSet<EventId>,
    /// Acts that were answered: where they stand, and what of which event.
    answered: BTreeSet<(u32, u32)>,
}

impl Acts {
    /// Whether the event is kept back; `None`: it is not known.
    fn kept_back(&self, id: EventId, stored: &Stored) -> Option<bool> {
        let unsure = self.in_hand == Some(id) || self.unsure.contains(&id);
        let decided = self.released.contains(&id) || self.discarded.contains(&id);
        match stored.quarantined && !decided {
            true if unsure => None,
            kept_back => Some(kept_back),
        }
    }

    /// Whether it must not have gone yet, as one that is kept back.
    pub(super) fn is_kept_back(&self, id: EventId, stored: &Stored) -> bool {
        self.kept_back(id, stored) == Some(true)
    }

    /// Whether its own upstreams must get it.
    pub(super) fn is_let_go(&self, id: EventId, stored: &Stored) -> bool {
        self.kept_back(id, stored) == Some(false) && !self.discarded.contains(&id)
    }

    /// Whether somebody may have wanted this delivery: then it comes again, or out of turn.
    pub(super) fn may_want(&self, lane: &Lane) -> bool {
        self.wanted.contains(lane)
    }

    /// What is wrong with an attempt at this delivery, if anything is.
    pub(super) fn forbids(&self, lane: &Lane, stored: &Stored) -> Option<&'static str> {
        let id = lane.1;
        if self.discarded.contains(&id) {
            return Some("was dropped");
        }
        let own = stored.targets.contains(&lane.0);
        let wanted = self.may_want(lane) || (own && !self.is_kept_back(id, stored));
        (!wanted || self.is_kept_back(id, stored)).then_some("is not for it")
    }

    /// Whether an act on this event is under way.
    pub(super) fn in_hand(&self, id: EventId) -> bool {
        self.in_hand == Some(id)
    }
}

impl Oracle {
    /// Every event that stands in the journal.
    pub(in super::super) fn standing(&self) -> Vec<(EventId, Stored)> {
        let standing = self.ledger.events.iter().filter(|(_, s)| !s.segments.is_empty());
        let mut standing: Vec<_> = standing.map(|(id, stored)| (*id, stored.clone())).collect();
        standing.sort_by_key(|(_, stored)| stored.sequence);
        standing
    }

    /// Those of them that an operator would look at.
    pub(in super::super) fn noticed(&self) -> Vec<(EventId, Stored)> {
        let mut standing = self.standing();
        standing.retain(|(id, stored)| {
            self.acts.dead.contains(id) || self.acts.is_kept_back(*id, stored)
        });
        standing
    }

    /// An act is asked for.
    pub(in super::super) fn orders(
        &mut self,
        event: EventId,
        stored: &Stored,
        act: Act,
        upstreams: Vec<String>,
    ) -> Order {
        let mut names: BTreeSet<String> = stored.targets.iter().cloned().collect();
        names.extend(upstreams.into_iter().filter(|name| act.upstream.as_ref() == Some(name)));
        // Those it was sent to before, at an operator's word.
        let wanted = self.acts.wanted.iter().filter(|(_, id)| *id == event);
        names.extend(wanted.map(|(name, _)| name.clone()));
        let lanes: Vec<Lane> = names.into_iter().map(|name| (name, event)).collect();
        if act.what != ActKind::Discarded {
            self.acts.wanted.extend(lanes.iter().cloned());
        }
        self.acts.in_hand = Some(event);
        let (ends, written) = (self.ends, self.ledger.last_act());
        Order { event, sequence: stored.sequence, act, lanes, ends, written }
    }

    /// An act is answered.
    pub(in super::super) fn acted(
        &mut self,
        disk: &SimDisk,
        now: u64,
        order: Order,
        result: Result<Acted, ActError>,
        excuses: Excuses,
    ) {
        self.read_on(disk, now);
        self.acts.in_hand = None;
        let Order { event, sequence, act, ends, written, .. } = &order;
        let stored = self.ledger.events.get(event).cloned();
        let Some(stored) = stored else { return };
        let kept_back = self.acts.kept_back(*event, &stored);
        let wrong = match &result {
            Ok(acted) => {
                let Some(at) = self.ledger.act_after(*written, *sequence, act.what) else {
                    return self
                        .fail(format!("an act on {sequence} was answered before it was durable"));
                };
                self.acts.answered.insert(at);
                self.durable_ends = self.durable_ends.max(*ends);
                return self.takes_over(&order, &acted.upstreams, &stored);
            }
            Err(ActError::Unwritable) => {
                self.unsure_of(order);
                // Or a lane is full, as small as they are here.
                self.counts.unwritten += 1;
                return;
            }
            Err(ActError::NotFound) => {
                !stored.segments.is_empty()
                    && stored.expired.is_none()
                    && self.now_young(&stored, now)
            }
            Err(ActError::State(EventState::Quarantined)) => kept_back == Some(false),
            Err(ActError::State(_)) => act.what == ActKind::Released && kept_back == Some(true),
            Err(ActError::UnknownUpstream) => false,
            Err(ActError::NoUpstream) => {
                act.upstream.is_some()
                    || (!stored.targets.is_empty() && act.what == ActKind::Replayed)
            }
            Err(ActError::Query(_)) => !(excuses.fault || excuses.closing),
        };
        if wrong {
            self.fail(format!("{act:?} of {sequence} is refused: {result:?}"));
        }
    }

    /// Whether retention cannot be at it yet.
    fn now_young(&self, stored: &Stored, now: u64) -> bool {
        now.saturating_sub(stored.since) < 30_000
    }

    fn takes_over(&mut self, order: &Order, upstreams: &[String], stored: &Stored) {
        let id = order.event;
        let was_kept_back = stored.quarantined
            && !self.acts.released.contains(&id)
            && !self.acts.discarded.contains(&id);
        match order.act.what {
            ActKind::Discarded => {
                self.counts.discarded += 1;
                if was_kept_back {
                    self.acts.discarded.insert(id);
                    self.acts.owed.retain(|(_, other)| *other != id);
                }
                return;
            }
            ActKind::Released => {
                self.counts.released += 1;
                self.acts.released.insert(id);
            }
            ActKind::Replayed => {
                self.counts.replayed += 1;
                // Who could have it sent again knows that it is not kept back.
                self.acts.released.insert(id);
            }
        }
        for upstream in upstreams {
            let lane = (upstream.clone(), id);
            match self.ended.get_mut(&lane) {
                // What has come to an end meanwhile may have done so after the act: it comes again, or not.
                Some(end) if *end > order.ends && *end != usize::MAX => *end = usize::MAX,
                _ => drop(self.ended.remove(&lane)),
            }
            self.ended_in_life.remove(&lane);
            self.acts.owed.insert(lane);
        }
    }

    /// Nobody knows whether it has been done.
    pub(in super::super) fn unsure_of(&mut self, order: Order) {
        self.acts.in_hand = None;
        self.acts.unsure.insert(order.event);
        for lane in order.lanes {
            if let Some(end) = self.ended.get_mut(&lane) {
                *end = usize::MAX;
                self.ended_in_life.remove(&lane);
            }
        }
    }

    /// A segment has gone: acts in it go with it, but never sooner than events.
    pub(super) fn acts_go(&mut self, number: u32) {
        self.acts.answered.retain(|(segment, _)| *segment != number);
    }

    /// Every act that was answered must be where it stood.
    pub(in super::super) fn checks_acts(&mut self) {
        let lost = self.acts.answered.iter().find(|at| !self.ledger.has_act(**at)).copied();
        if let Some((segment, offset)) = lost {
            self.fail(format!("an act that was answered is gone from {segment} at {offset}"));
        }
    }
}
