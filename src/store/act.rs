//! Operators' acts: an event is sent again, let go of, or dropped. What is asked for is looked at here,
//! on the caller's thread, against what the journal and the lanes say; the writer then makes sure that
//! it is still so, writes it down, and has the lanes take it over once it is on stable storage. So a crash
//! leaves all of an act or nothing, and one that was answered is never lost.

mod decided;
mod past;

use std::sync::Arc;

pub(super) use self::decided::{Decided, Decision};
use self::past::{Known, Past};
use super::Store;
use super::backlog::LaneSlot;
use super::backlog::lane::Waits;
use super::core::Core;
use super::journal::segment::Place;
use super::query::{Act, ActError, ActKind, Acted, DeliveryState, EventState, QueryError};
use crate::clock::UnixMillis;
use crate::event::{EventId, Sequence, SourceName};

/// How often an event is looked at again that has changed meanwhile: at most once for each upstream.
const TRIES: usize = 64;

/// Bytes that are written at most of who acts, and of why.
const WHO: usize = 64;
const REASON: usize = 1024;

/// An act as it was found possible.
#[derive(Debug)]
pub struct Planned {
    /// What, by whom and why.
    pub act: Act,
    /// The event's number.
    pub event: Sequence,
    /// Its id.
    pub id: EventId,
    /// Whose it is.
    pub source: SourceName,
    /// Where it stands.
    pub place: Place,
    /// When it was received.
    pub received_at: UnixMillis,
    /// What lanes hash its subject to.
    pub subject: Option<u64>,
    /// Whether it is kept back.
    pub kept_back: bool,
    /// The deliveries that are meant.
    pub deliveries: Vec<PlannedDelivery>,
}

/// A delivery that an act is about.
#[derive(Debug)]
pub struct PlannedDelivery {
    /// The upstream's lane.
    pub slot: Arc<LaneSlot>,
    /// Whether it waits.
    pub waits: bool,
    /// Its lane does not come upon it when it reads its backlog on.
    pub apart: bool,
    /// Attempts that the journal knows of.
    pub attempts: u32,
    /// If it is a dead letter: the segments under which it may be counted, the likeliest first.
    pub dead_in: Vec<u32>,
}

/// What the writer says to a [`Planned`].
#[derive(Debug)]
pub enum Answer {
    /// It is done, and on stable storage.
    Done(Acted),
    /// The event is not any more as it was when it was looked at.
    LookAgain,
    /// A lane holds as much as memory may.
    Full,
}

impl Store {
    /// Does what an operator asks for, and returns when that is on stable storage. One at a time. Blocks.
    ///
    /// # Errors
    /// [`ActError`]; nothing has changed then. But after a write that has failed only a restart knows
    /// whether it has.
    pub fn act(&self, event: Sequence, act: &Act) -> Result<Acted, ActError> {
        self.act_on(event, act, Only::Any)
    }

    /// Replays an event if it is a dead letter at that moment, of the upstream that the act names or, if it
    /// names none, as a whole; and does nothing with any other. One at a time. Blocks.
    ///
    /// # Errors
    /// As [`Store::act`]; [`ActError::State`] if it is not, or not any more.
    pub fn replay_dead(&self, event: Sequence, act: &Act) -> Result<Acted, ActError> {
        self.act_on(event, act, Only::DeadLetters)
    }

    fn act_on(&self, event: Sequence, act: &Act, only: Only) -> Result<Acted, ActError> {
        let core = &self.core;
        // Only acts take it: what was settled when this one looked stays so until it is decided.
        let _alone = core.acting.lock();
        for _ in 0..TRIES {
            let planned = plan(core, event, act, only)?;
            match core.queue.act(planned) {
                Some(Answer::Done(acted)) => return Ok(acted),
                Some(Answer::LookAgain) => {}
                Some(Answer::Full) | None => return Err(ActError::Unwritable),
            }
        }
        Err(ActError::Unwritable)
    }
}

/// Which events an act is for, whatever they were when it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Only {
    Any,
    DeadLetters,
}

/// What the lanes hold of an event.
struct Seen {
    slot: Arc<LaneSlot>,
    /// Whether it waits if its lane comes upon it, and if it does not.
    waits: [bool; 2],
}

/// A delivery as it stands.
struct Delivery {
    name: String,
    state: DeliveryState,
    known: Known,
    waits: bool,
    apart: bool,
}

fn plan(core: &Core, event: Sequence, act: &Act, only: Only) -> Result<Planned, ActError> {
    // First the lanes, then the journal: what does not wait by then has been written down.
    let kept_back = core.backlog.quarantine.lock().contains_key(&event);
    let seen = core.backlog.lanes().into_iter().map(|slot| {
        let lane = slot.lane.lock();
        let waits = [false, true].map(|apart| lane.waits(event, apart) != Waits::Not);
        drop(lane);
        Seen { slot, waits }
    });
    let seen: Vec<Seen> = seen.collect();
    if !core.queue.look() {
        return Err(ActError::Unwritable);
    }
    let past = Past::read(core, event).map_err(QueryError::from)?;
    let past = past.filter(|past| !core.is_going(past.place.segment)).ok_or(ActError::NotFound)?;
    let mut names = past.record.targets.clone();
    let others = past.deliveries.keys().chain(&act.upstream);
    for name in others {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let all: Vec<Delivery> = names.into_iter().map(|name| delivery(&past, &seen, name)).collect();
    let record = &past.record;
    // The one that is named may be new to it.
    let its = |delivery: &&Delivery| {
        record.targets.contains(&delivery.name) || past.deliveries.contains_key(&delivery.name)
    };
    let states = all.iter().filter(its).map(|delivery| delivery.state);
    let state = EventState::over(kept_back, past.discarded, states);
    if only == Only::DeadLetters && !is_dead_letter(act, state, &all) {
        return Err(ActError::State(state));
    }
    let meant = meant(core, act, state, &past, &all)?;
    let subject = record.event.meta.subject.as_deref();
    Ok(Planned {
        act: Act {
            who: clipped(&act.who, WHO).to_owned(),
            reason: act.reason.as_deref().map(|reason| clipped(reason, REASON).to_owned()),
            ..act.clone()
        },
        event,
        id: record.event.id,
        source: record.event.source.clone(),
        place: past.place,
        received_at: record.event.received_at,
        subject: core.backlog.subject(record.event.source.as_str(), subject),
        kept_back,
        deliveries: meant.into_iter().map(|delivery| planned(core, &past, delivery)).collect(),
    })
}

fn delivery(past: &Past, seen: &[Seen], name: String) -> Delivery {
    let known = past.deliveries.get(&name).copied().unwrap_or_default();
    let own = past.record.targets.contains(&name);
    let apart = past.record.quarantined || !own || !past.is_first;
    let lane = seen.iter().find(|seen| seen.slot.name == name);
    let waits = lane.is_some_and(|lane| lane.waits[usize::from(apart)]);
    let state = match known.end {
        _ if waits => DeliveryState::Pending,
        Some(end) => end,
        None => DeliveryState::Unknown,
    };
    Delivery { name, state, known, waits, apart }
}

/// Whether an act that is for dead letters is for this event.
fn is_dead_letter(act: &Act, state: EventState, all: &[Delivery]) -> bool {
    let is_dead = |delivery: &Delivery| delivery.state == DeliveryState::Dead;
    match &act.upstream {
        Some(name) => all.iter().any(|delivery| delivery.name == *name && is_dead(delivery)),
        None => state == EventState::Dead,
    }
}

/// The deliveries that are meant.
fn meant<'d>(
    core: &Core,
    act: &Act,
    state: EventState,
    past: &Past,
    all: &'d [Delivery],
) -> Result<Vec<&'d Delivery>, ActError> {
    let own = |delivery: &&Delivery| past.record.targets.contains(&delivery.name);
    let dead = |delivery: &&Delivery| delivery.state == DeliveryState::Dead;
    let dead: Vec<&Delivery> = all.iter().filter(dead).collect();
    let own = || all.iter().filter(own).collect();
    match (act.what, state) {
        (ActKind::Replayed, EventState::Quarantined) => Err(ActError::State(state)),
        (ActKind::Replayed, _) if past.discarded => Err(ActError::State(EventState::Discarded)),
        (ActKind::Replayed, _) => {
            let wanted = match &act.upstream {
                Some(name) => all.iter().filter(|delivery| delivery.name == *name).collect(),
                None if dead.is_empty() => own(),
                None => dead,
            };
            configured(core, wanted)
        }
        (ActKind::Released | ActKind::Discarded, EventState::Quarantined) => Ok(own()),
        (ActKind::Discarded, _) if !dead.is_empty() => Ok(dead),
        (ActKind::Released | ActKind::Discarded, _) => Err(ActError::State(state)),
    }
}

/// Those that can be delivered now: who has an event sent again does not want it to wait for an upstream
/// that may never come back.
fn configured<'d>(core: &Core, wanted: Vec<&'d Delivery>) -> Result<Vec<&'d Delivery>, ActError> {
    if wanted.is_empty() {
        return Err(ActError::NoUpstream);
    }
    let roster = core.backlog.roster();
    let is_there =
        |delivery: &&Delivery| roster.lanes().iter().any(|slot| slot.name == delivery.name);
    let wanted: Vec<&Delivery> = wanted.into_iter().filter(is_there).collect();
    if wanted.is_empty() { Err(ActError::UnknownUpstream) } else { Ok(wanted) }
}

/// The text's beginning of at most so many bytes.
fn clipped(text: &str, max: usize) -> &str {
    (0..=max.min(text.len())).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}

fn planned(core: &Core, past: &Past, delivery: &Delivery) -> PlannedDelivery {
    let Delivery { name, state, known, waits, apart } = delivery;
    let counted = known.dead_in.into_iter().chain(past.segments.iter().copied());
    let dead_in = if *state == DeliveryState::Dead { counted.collect() } else { Vec::new() };
    let slot = core.backlog.lane_or_new(name);
    PlannedDelivery { slot, waits: *waits, apart: *apart, attempts: known.attempts, dead_in }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        for (max, cut) in [(9, "aäb"), (4, "aäb"), (3, "aä"), (2, "a"), (1, "a"), (0, "")] {
            assert_eq!(clipped("aäb", max), cut, "{max}");
        }
    }
}
