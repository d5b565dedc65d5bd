//! The writer's part of an act: it decides whether the event is still as it was when it was looked at,
//! writes that down, and has the lanes take it over once it is on stable storage.

use super::{Answer, Planned, PlannedDelivery};
use crate::clock::UnixMillis;
use crate::store::backlog::lane::{Entry, Ticks, Waits};
use crate::store::core::Core;
use crate::store::journal::act::{ActRecord, ActUpstream};
use crate::store::journal::segment::Place;
use crate::store::query::{ActKind, Acted};
use crate::store::queue::Note;

/// What becomes of a [`Planned`].
#[derive(Debug)]
pub enum Decision {
    /// It is to be done.
    Do(Decided),
    /// It is not; say so.
    Say(Answer),
}

/// An act that is to be written, and taken over once it is on stable storage.
#[derive(Debug)]
pub struct Decided {
    planned: Planned,
    /// Where the event stands now.
    place: Place,
    at: UnixMillis,
    /// What becomes of each of the deliveries that were planned.
    changes: Vec<Change>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// It waits again, after so many attempts; it is a dead letter of that segment no more.
    Resumed { attempts: u32, dead_in: Option<u32> },
    /// It waits, after so many attempts, and is due at once.
    Hastened { attempts: u32 },
    /// It waits where the lane has not read yet, and comes in its turn: nothing changes.
    Left,
    /// It is dropped, and a dead letter of that segment no more.
    Dropped { attempts: u32, dead_in: Option<u32> },
}

impl Decided {
    /// Decides. Attempts that have been queued are added to `notes`: of what an act builds on, they are
    /// to stand in front of it.
    pub fn decide(core: &Core, planned: Planned, notes: &mut Vec<Note>) -> Decision {
        let kept_back = core.backlog.quarantine.lock().get(&planned.event).copied();
        let place = kept_back.unwrap_or(planned.place);
        let place = core.backlog.moved.lock().get(&place).copied().unwrap_or(place);
        if kept_back.is_some() != planned.kept_back || core.is_going(place.segment) {
            return Decision::Say(Answer::LookAgain);
        }
        // All of them at once: nobody settles any of these until what has been settled is in `notes`.
        let lanes: Vec<_> = planned.deliveries.iter().map(|d| (d, d.slot.lane.lock())).collect();
        let mut changes = Vec::with_capacity(lanes.len());
        for (delivery, lane) in &lanes {
            let PlannedDelivery { waits, apart, attempts, ref dead_in, .. } = **delivery;
            let dead_in = || dead_in.iter().copied().find(|segment| lane.dead().has(*segment));
            let found = lane.waits(planned.event, apart);
            if waits == (found == Waits::Not) {
                return Decision::Say(Answer::LookAgain);
            }
            changes.push(match found {
                _ if planned.act.what == ActKind::Discarded => {
                    Change::Dropped { attempts, dead_in: dead_in() }
                }
                Waits::Held(attempts) => Change::Hastened { attempts },
                Waits::Beyond => Change::Left,
                Waits::Not if !lane.has_room() => return Decision::Say(Answer::Full),
                Waits::Not => Change::Resumed { attempts, dead_in: dead_in() },
            });
        }
        notes.extend(core.queue.take_notes());
        drop(lanes);
        let at = core.backlog.timeline.wall();
        Decision::Do(Self { planned, place, at, changes })
    }

    /// What is written.
    pub fn record(&self) -> ActRecord<'_> {
        let Self { planned, place, at, changes } = self;
        let both = planned.deliveries.iter().zip(changes);
        let upstreams = both.filter_map(|(delivery, change)| {
            let (attempts, dead_in) = match *change {
                Change::Left => return None,
                Change::Hastened { attempts } => (attempts, None),
                Change::Resumed { attempts, dead_in } | Change::Dropped { attempts, dead_in } => {
                    (attempts, dead_in)
                }
            };
            let (name, apart) = (delivery.slot.name.as_str(), delivery.apart);
            Some(ActUpstream { name, dead_in, attempts, apart })
        });
        ActRecord {
            event: planned.event,
            place: *place,
            at: *at,
            what: planned.act.what,
            who: &planned.act.who,
            reason: planned.act.reason.as_deref(),
            upstreams: upstreams.collect(),
        }
    }

    /// The act is on stable storage: lanes and quarantine take it over.
    pub fn take_over(self, core: &Core) -> Acted {
        let Self { planned, place, at, changes } = &self;
        if planned.kept_back {
            core.backlog.quarantine.lock().remove(&planned.event);
        }
        for (delivery, change) in planned.deliveries.iter().zip(changes) {
            let now = core.backlog.timeline.now();
            let mut lane = delivery.slot.lane.lock();
            let deadline = core.backlog.deadline(*at, lane.rules());
            match *change {
                Change::Left => {}
                Change::Hastened { .. } => lane.hasten(planned.event, *at, deadline, now),
                Change::Resumed { attempts, dead_in } => {
                    dead_in.into_iter().for_each(|segment| lane.forget_dead(segment));
                    lane.resume(entry(planned, *place, *at, attempts, deadline, now));
                }
                Change::Dropped { dead_in, .. } => {
                    dead_in.into_iter().for_each(|segment| lane.forget_dead(segment));
                }
            }
            drop(lane);
            delivery.slot.bell.notify_one();
        }
        let names = planned.deliveries.iter().map(|delivery| delivery.slot.name.clone());
        Acted { id: planned.id, source: planned.source.clone(), upstreams: names.collect() }
    }
}

fn entry(
    planned: &Planned,
    place: Place,
    at: UnixMillis,
    attempts: u32,
    deadline: Ticks,
    now: Ticks,
) -> Entry {
    Entry {
        sequence: planned.event,
        place,
        subject: planned.subject,
        received_at: planned.received_at,
        acted_at: Some(at),
        deadline,
        attempts,
        due: now,
        hot: None,
    }
}
