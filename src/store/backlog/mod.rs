//! What still has to be delivered: one lane an upstream, and the events that are kept back. Knows
//! how to write itself down as a checkpoint and how a restart puts it together again.

pub mod checkpoint;
pub mod dead;
pub mod lane;
pub mod replay;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::lane::{Entry, Lane, Ticks};
use super::journal::segment::Place;
use super::{StoredEvent, Targets, UpstreamOptions};
use crate::clock::{Clock, UnixMillis};
use crate::event::Sequence;
use crate::store::memory::{Budget, Hot};

/// Deliveries that could go that a lane holds in memory at most, about 100 bytes each.
pub const WINDOW: usize = 128 * 1024;

/// The store's monotonic time, and how it lines up with the wall clock.
#[derive(Debug)]
pub struct Timeline {
    started: Instant,
    clock: Clock,
}

impl Timeline {
    /// Starts now.
    pub fn new(clock: Clock) -> Self {
        Self { started: Instant::now(), clock }
    }

    /// Now, on the clock that never steps.
    pub fn now(&self) -> Ticks {
        Ticks(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Now, on the wall clock.
    pub fn wall(&self) -> UnixMillis {
        self.clock.now()
    }

    /// The tick at which the wall clock will show `at`, if it does not step; now if it has.
    pub fn tick_at(&self, at: UnixMillis) -> Ticks {
        let ahead = at.since(self.wall());
        Ticks(self.now().0.saturating_add(u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The wall time of `tick`, if the clock does not step.
    pub fn wall_at(&self, tick: Ticks) -> UnixMillis {
        self.wall().after(Duration::from_millis(tick.0.saturating_sub(self.now().0)))
    }
}

/// A lane with its name and its bell.
#[derive(Debug)]
pub struct LaneSlot {
    /// The upstream's name.
    pub name: String,
    /// From reception to dead letter.
    pub give_up: Duration,
    /// The longest wait between two attempts.
    pub retry_max: Duration,
    /// What waits.
    pub lane: Mutex<Lane>,
    /// Rung when something may have become ready.
    pub bell: Notify,
}

/// Everything that waits.
#[derive(Debug)]
pub struct Backlog {
    /// The configured upstreams' lanes, in the configuration's order; behind them those of
    /// upstreams that are configured no more but still have deliveries.
    pub lanes: Vec<LaneSlot>,
    /// Events kept back until an operator decides.
    pub quarantine: Mutex<BTreeMap<Sequence, Place>>,
    /// The store's time.
    pub timeline: Timeline,
    budget: Arc<Budget>,
    subjects: RandomState,
}

/// An event that has just been stored, as the lanes see it.
#[derive(Debug)]
pub struct Fresh {
    /// Where its frame starts.
    pub place: Place,
    /// Whom it goes to.
    pub targets: Targets,
    /// The event; without its body if that is not kept in memory.
    pub event: Arc<StoredEvent>,
}

impl Backlog {
    /// Empty lanes for these upstreams, and for `others` by name only.
    pub fn new(
        upstreams: &[UpstreamOptions],
        others: &[String],
        window: usize,
        memory: usize,
        clock: Clock,
    ) -> Self {
        let slot = |name: &str, ordered, give_up, retry_max| LaneSlot {
            name: name.to_owned(),
            give_up,
            retry_max,
            lane: Mutex::new(Lane::new(ordered, window)),
            bell: Notify::new(),
        };
        let configured =
            upstreams.iter().map(|u| slot(u.name.as_str(), u.ordered, u.give_up, u.retry_max));
        let others = others.iter().map(|name| slot(name, false, Duration::MAX, Duration::MAX));
        let lanes = configured.chain(others).collect();
        Self {
            lanes,
            quarantine: Mutex::default(),
            timeline: Timeline::new(clock),
            budget: Budget::new(memory),
            subjects: RandomState::new(),
        }
    }

    /// The lane with this name.
    pub fn lane_index(&self, name: &str) -> Option<usize> {
        self.lanes.iter().position(|slot| slot.name == name)
    }

    /// What the lanes hash a subject to: events of different sources never wait for each other.
    pub fn subject(&self, source: &str, subject: Option<&str>) -> Option<u64> {
        subject.map(|subject| self.subjects.hash_one((source, subject)))
    }

    /// When a delivery may be tried again that is due `at`: never later than the longest wait from
    /// now, whatever the wall clock was or is.
    pub fn retry_tick(&self, lane: usize, at: UnixMillis) -> Ticks {
        let longest = self.lanes.get(lane).map_or(Duration::ZERO, |slot| slot.retry_max);
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let latest = Ticks(self.timeline.now().0.saturating_add(longest));
        self.timeline.tick_at(at).min(latest)
    }

    /// The names of an event's upstreams.
    pub fn target_names(&self, targets: Targets) -> impl Iterator<Item = &str> {
        targets.iter().filter_map(|i| self.lanes.get(i)).map(|slot| slot.name.as_str())
    }

    /// Adds events that have just been stored, in order, and rings the bells.
    pub fn push(&self, events: &[Fresh]) {
        let hot: Vec<Option<Arc<Hot>>> = events.iter().map(|fresh| self.keep(fresh)).collect();
        let now = self.timeline.now();
        for (index, slot) in self.lanes.iter().enumerate() {
            let mut lane = None;
            for (fresh, hot) in events.iter().zip(&hot) {
                if fresh.targets.contains(index) {
                    let lane = lane.get_or_insert_with(|| slot.lane.lock());
                    lane.push(self.entry(fresh, slot.give_up, hot.clone(), now));
                }
            }
            if lane.take().is_some() {
                slot.bell.notify_one();
            }
        }
    }

    /// A copy of `body` if it is worth keeping in memory, or nothing. It is copied because, as it
    /// came, it may hold a connection's whole read buffer.
    pub fn body_to_keep(&self, body: &Bytes, targets: Targets) -> Bytes {
        let keep = !targets.is_empty() && self.budget.has(body.len());
        if keep { Bytes::copy_from_slice(body) } else { Bytes::new() }
    }

    fn keep(&self, fresh: &Fresh) -> Option<Arc<Hot>> {
        if fresh.event.body.is_empty() {
            return None;
        }
        self.budget.keep(Arc::clone(&fresh.event))
    }

    fn entry(&self, fresh: &Fresh, give_up: Duration, hot: Option<Arc<Hot>>, now: Ticks) -> Entry {
        let event = &fresh.event;
        Entry {
            sequence: event.sequence,
            place: fresh.place,
            subject: self.subject(event.source.as_str(), event.meta.subject.as_deref()),
            received_at: event.received_at,
            deadline: self.timeline.tick_at(event.received_at.after(give_up)),
            attempts: 0,
            due: now,
            hot,
        }
    }

    /// The segments before this one are gone.
    pub fn forget_before(&self, segment: u32) {
        for slot in &self.lanes {
            slot.lane.lock().forget_before(segment);
        }
    }

    /// The first segment that something unsettled still needs.
    pub fn oldest_segment(&self) -> Option<u32> {
        let lanes = self.lanes.iter().filter_map(|slot| slot.lane.lock().oldest_place());
        let kept_back = self.quarantine.lock().values().min().copied();
        lanes.chain(kept_back).map(|place| place.segment).min()
    }
}
