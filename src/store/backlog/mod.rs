//! What still has to be delivered: one lane an upstream, and the events that are kept back. Knows
//! how to write itself down as a checkpoint and how a restart puts it together again.

pub mod checkpoint;
pub mod dead;
pub mod lane;
pub mod replay;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

pub use self::lane::LaneRules;
use self::lane::{Entry, Lane, Ticks};
use super::journal::segment::Place;
use super::roster::{Recipients, Roster};
use super::{StoredEvent, UpstreamOptions};
use crate::clock::{Clock, Stopwatch, UnixMillis};
use crate::event::Sequence;
use crate::store::memory::{Budget, Hot};
use crate::store::presence::Moment;

/// Old places of events, and where their copies stand.
pub type Moved = HashMap<Place, Place>;

/// No request is in hand for longer: its acknowledgement has a deadline, of 4.5 s at most.
const MOMENT: Duration = Duration::from_secs(5);

/// Deliveries that could go that a lane holds in memory at most, about 100 bytes each.
pub const WINDOW: usize = 128 * 1024;

/// The store's monotonic time, and how it lines up with the wall clock.
#[derive(Debug)]
pub struct Timeline {
    stopwatch: Stopwatch,
    started_at: UnixMillis,
    clock: Clock,
}

impl Timeline {
    /// Starts now.
    pub fn new(clock: Clock) -> Self {
        let (stopwatch, started_at) = (clock.stopwatch(), clock.now());
        Self { stopwatch, started_at, clock }
    }

    /// Now, on the clock that never steps.
    pub fn now(&self) -> Ticks {
        Ticks(u64::try_from(self.passed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Now, on the wall clock.
    pub fn wall(&self) -> UnixMillis {
        self.clock.now()
    }

    /// How much time has passed since the start, wherever the wall clock was set meanwhile.
    pub fn passed(&self) -> Duration {
        self.stopwatch.elapsed()
    }

    /// Now, by both clocks.
    pub fn moment(&self) -> Moment {
        Moment { passed: self.passed(), wall: self.wall() }
    }

    /// How old something was at the start that was made `at` before it.
    pub fn age_at_start(&self, at: UnixMillis) -> Duration {
        self.started_at.since(at)
    }

    /// The tick at which the wall clock will show `at`, if it does not step; now if it has.
    pub fn tick_at(&self, at: UnixMillis) -> Ticks {
        let ahead = at.since(self.wall());
        Ticks(self.now().0.saturating_add(u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The wall time of `tick`, if the clock does not step.
    pub fn wall_at(&self, tick: Ticks) -> UnixMillis {
        self.wall().after(self.until(tick))
    }

    /// How long it is until `tick`.
    pub fn until(&self, tick: Ticks) -> Duration {
        Duration::from_millis(tick.0.saturating_sub(self.now().0))
    }
}

/// A lane with its name and its bell.
#[derive(Debug)]
pub struct LaneSlot {
    /// The upstream's name.
    pub name: String,
    /// What waits.
    pub lane: Mutex<Lane>,
    /// Rung when something may have become ready.
    pub bell: Notify,
}

impl LaneSlot {
    fn new(name: &str, rules: LaneRules, window: usize) -> Arc<Self> {
        let lane = Mutex::new(Lane::new(rules, window));
        Arc::new(Self { name: name.to_owned(), lane, bell: Notify::new() })
    }

    /// Deliveries that wait, those in flight included.
    pub fn backlog(&self) -> u64 {
        self.lane.lock().backlog()
    }

    fn holds_something(&self) -> bool {
        let lane = self.lane.lock();
        lane.backlog() > 0 || lane.dead().count() > 0
    }
}

/// Everything that waits.
#[derive(Debug)]
pub struct Backlog {
    /// The configured upstreams' lanes, and those of upstreams that are configured no more but
    /// still have deliveries, or may still get some from requests that began before.
    lanes: RwLock<Vec<Arc<LaneSlot>>>,
    /// The configured upstreams, in the configuration's order.
    roster: Mutex<Roster>,
    /// Events kept back until an operator decides.
    pub quarantine: Mutex<BTreeMap<Sequence, Place>>,
    /// Where events have been carried that lanes and quarantine still know by their old places.
    pub moved: Mutex<Moved>,
    /// The store's time.
    pub timeline: Timeline,
    window: usize,
    budget: Arc<Budget>,
    subjects: RandomState,
}

/// An event that has just been stored, as the lanes see it.
#[derive(Debug)]
pub struct Fresh {
    /// Where its frame starts.
    pub place: Place,
    /// Whom it goes to.
    pub to: Recipients,
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
        let others = others.iter().map(|name| LaneSlot::new(name, LaneRules::UNKNOWN, window));
        let backlog = Self {
            lanes: RwLock::new(others.collect()),
            roster: Mutex::default(),
            quarantine: Mutex::default(),
            moved: Mutex::default(),
            timeline: Timeline::new(clock),
            window,
            budget: Budget::new(memory),
            subjects: RandomState::new(),
        };
        // Without letting go of any lane: what waits in them is yet to be read.
        *backlog.roster.lock() = backlog.enlist(upstreams);
        backlog
    }

    /// From here on these upstreams are configured. One that was known by its name before, however
    /// long ago, keeps its lane and all that waits in it, by its new rules. One that is configured
    /// no more keeps its lane as long as anything waits there, or may still come.
    pub fn reconfigure(&self, upstreams: &[UpstreamOptions]) -> Roster {
        let roster = self.enlist(upstreams);
        let before = std::mem::replace(&mut *self.roster.lock(), roster.clone());
        tell_removed(&before, &roster);
        drop(before);
        // Whoever could still put something into a lane, or take it out, holds it.
        let needed = |slot: &Arc<LaneSlot>| Arc::strong_count(slot) > 1 || slot.holds_something();
        self.lanes.write().retain(needed);
        roster
    }

    fn enlist(&self, upstreams: &[UpstreamOptions]) -> Roster {
        Roster::new(upstreams.iter().map(|upstream| self.configure(upstream)))
    }

    fn configure(&self, upstream: &UpstreamOptions) -> Arc<LaneSlot> {
        let rules = LaneRules::of(upstream);
        let slot = {
            let mut lanes = self.lanes.write();
            match lanes.iter().find(|slot| slot.name == upstream.name.as_str()) {
                Some(slot) => Arc::clone(slot),
                None => {
                    let slot = LaneSlot::new(upstream.name.as_str(), rules, self.window);
                    lanes.push(Arc::clone(&slot));
                    slot
                }
            }
        };
        let deadline = |received_at: UnixMillis| self.deadline(received_at, rules);
        slot.lane.lock().reconfigure(rules, self.timeline.now(), deadline);
        slot.bell.notify_one();
        slot
    }

    /// The configured upstreams, in the configuration's order.
    pub fn roster(&self) -> Roster {
        self.roster.lock().clone()
    }

    /// All lanes: the configured upstreams' in the configuration's order, then those of upstreams
    /// that are configured no more.
    pub fn lanes(&self) -> Vec<Arc<LaneSlot>> {
        let mut lanes = self.roster().lanes().to_vec();
        let all = self.lanes.read();
        let others = all.iter().filter(|slot| !lanes.iter().any(|other| Arc::ptr_eq(slot, other)));
        let others: Vec<_> = others.cloned().collect();
        lanes.extend(others);
        lanes
    }

    /// The lane with this name.
    pub fn lane(&self, name: &str) -> Option<Arc<LaneSlot>> {
        self.lanes.read().iter().find(|slot| slot.name == name).cloned()
    }

    /// The lane with this name, or a new one for an upstream that is not configured: it stays for as long
    /// as somebody has it, or it holds something.
    pub fn lane_or_new(&self, name: &str) -> Arc<LaneSlot> {
        let mut lanes = self.lanes.write();
        if let Some(slot) = lanes.iter().find(|slot| slot.name == name) {
            return Arc::clone(slot);
        }
        let slot = LaneSlot::new(name, LaneRules::UNKNOWN, self.window);
        lanes.push(Arc::clone(&slot));
        slot
    }

    /// What the lanes hash a subject to: events of different sources never wait for each other.
    pub fn subject(&self, source: &str, subject: Option<&str>) -> Option<u64> {
        subject.map(|subject| self.subjects.hash_one((source, subject)))
    }

    /// When a delivery may be tried again that is due `at`: never later than the longest wait from
    /// now, whatever the wall clock was or is.
    pub fn retry_tick(&self, rules: LaneRules, at: UnixMillis) -> Ticks {
        self.timeline.tick_at(at).min(rules.latest_retry(self.timeline.now()))
    }

    /// When no further attempt begins.
    pub fn deadline(&self, received_at: UnixMillis, rules: LaneRules) -> Ticks {
        self.timeline.tick_at(received_at.after(rules.give_up))
    }

    /// The same of an event that has just been stored: it was received a moment ago, whatever a clock says
    /// that was set in between.
    fn fresh_deadline(&self, received_at: UnixMillis, rules: LaneRules, now: Ticks) -> Ticks {
        let age = self.timeline.wall().since(received_at).min(MOMENT);
        let left = rules.give_up.saturating_sub(age);
        Ticks(now.0.saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Adds events that have just been stored, in order, and rings the bells.
    pub fn push(&self, events: &[Fresh]) {
        let now = self.timeline.now();
        // Nearly always one group: a batch has two when a new configuration has just taken over.
        for group in events.chunk_by(|a, b| a.to.same_roster(&b.to)) {
            let Some(first) = group.first() else { continue };
            let hot: Vec<Option<Arc<Hot>>> = group.iter().map(|fresh| self.keep(fresh)).collect();
            for (upstream, slot) in first.to.roster().lanes().iter().enumerate() {
                let mut lane = None;
                for (fresh, hot) in group.iter().zip(&hot) {
                    if fresh.to.contains(upstream) {
                        let lane = lane.get_or_insert_with(|| slot.lane.lock());
                        let entry = self.entry(fresh, lane.rules(), hot.clone(), now);
                        lane.push(entry);
                    }
                }
                if lane.take().is_some() {
                    slot.bell.notify_one();
                }
            }
        }
    }

    /// A copy of `body` if it is worth keeping in memory, or nothing. It is copied because, as it
    /// came, it may hold a connection's whole read buffer.
    pub fn body_to_keep(&self, body: &Bytes, to: &Recipients) -> Bytes {
        let keep = !to.is_empty() && self.budget.has(body.len());
        if keep { Bytes::copy_from_slice(body) } else { Bytes::new() }
    }

    fn keep(&self, fresh: &Fresh) -> Option<Arc<Hot>> {
        if fresh.event.body.is_empty() {
            return None;
        }
        self.budget.keep(Arc::clone(&fresh.event))
    }

    fn entry(&self, fresh: &Fresh, rules: LaneRules, hot: Option<Arc<Hot>>, now: Ticks) -> Entry {
        let event = &fresh.event;
        Entry {
            sequence: event.sequence,
            place: fresh.place,
            subject: self.subject(event.source.as_str(), event.meta.subject.as_deref()),
            received_at: event.received_at,
            acted_at: None,
            deadline: self.fresh_deadline(event.received_at, rules, now),
            attempts: 0,
            due: now,
            hot,
        }
    }

    /// The segments before this one are gone, and dead letters with them.
    pub fn forget_before(&self, segment: u32) {
        for slot in self.lanes() {
            let gone = slot.lane.lock().forget_before(segment);
            if gone > 0 {
                let upstream = &slot.name;
                tracing::warn!(target: "hookward::store", upstream, gone, "dead letters are past the retention and gone");
            }
        }
    }

    /// Every event in the segment that something unsettled needs, as far as lanes hold them: number
    /// and place, in the order of places.
    pub fn needed_in(&self, segment: u32) -> Vec<(Place, Sequence)> {
        let mut needed = Vec::new();
        for slot in self.lanes() {
            let lane = slot.lane.lock();
            if lane.held_in(segment) > 0 {
                let inside = lane.entries().filter(|entry| entry.place.segment == segment);
                needed.extend(inside.map(|entry| (entry.place, entry.sequence)));
            }
        }
        let kept_back = self.quarantine.lock();
        let inside = kept_back.iter().filter(|(_, place)| place.segment == segment);
        needed.extend(inside.map(|(sequence, place)| (*place, *sequence)));
        drop(kept_back);
        needed.sort_unstable();
        needed.dedup();
        needed
    }

    /// Lanes and quarantine take over where events in this segment have been carried.
    pub fn relocate(&self, segment: u32) {
        // A copy: whoever writes a checkpoint has the original, and then wants lanes. Nobody adds to
        // it meanwhile, for only retention has events carried.
        let moved = self.moved.lock().clone();
        if moved.is_empty() {
            return;
        }
        let known = |place: Place| moved.get(&place).copied();
        for slot in self.lanes() {
            slot.lane.lock().relocate(segment, known);
        }
        for place in self.quarantine.lock().values_mut() {
            *place = known(*place).unwrap_or(*place);
        }
        self.moved.lock().clear();
    }

    /// The first segment that something unsettled still needs.
    pub fn oldest_segment(&self) -> Option<u32> {
        let lanes = self.lanes();
        let lanes = lanes.iter().filter_map(|slot| slot.lane.lock().oldest_segment());
        let kept_back = self.quarantine.lock().values().map(|place| place.segment).min();
        lanes.chain(kept_back).min()
    }
}

/// Their deliveries wait until they are configured again, and hold the journal until then.
fn tell_removed(before: &Roster, now: &Roster) {
    let gone = |slot: &&Arc<LaneSlot>| now.lanes().iter().all(|other| !Arc::ptr_eq(slot, other));
    for slot in before.lanes().iter().filter(gone) {
        let (upstream, waiting) = (&slot.name, slot.backlog());
        if waiting > 0 {
            tracing::warn!(target: "hookward::store", upstream, waiting, "deliveries wait for an upstream that is not configured any more");
        }
    }
}
