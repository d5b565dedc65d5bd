//! One upstream's lane: which deliveries wait, in what order, and which may go now. Pure state:
//! no I/O, no clock of its own. Times are on the store's monotonic clock (see `Ticks`), so a step
//! of the wall clock neither hurries nor delays a retry.
//!
//! Memory is bounded: of deliveries that could go, at most `window` are held, and with those that are
//! to be tried again or wait for their subject at most eight times as many. Events beyond that are not
//! held at all; the lane only remembers where in the journal they begin, and they are read back in
//! order.

mod acting;
mod ages;
mod circuit;
mod entry;
mod moving;
mod rearrange;
mod taking;
mod unread;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use hashbrown::HashMap;

pub use self::acting::Waits;
use self::ages::Ages;
pub use self::circuit::{Circuit, CircuitState, Sign, Turn};
use self::entry::At;
pub use self::entry::{Cursor, Entry, Ticks};
use self::moving::Standing;
pub use self::unread::Known;
use crate::clock::UnixMillis;
use crate::event::Sequence;
use crate::store::UpstreamOptions;
use crate::store::backlog::dead::DeadLetters;
use crate::store::journal::segment::Place;

/// The first and the longest wait after a refill that failed.
const REFILL_FIRST: u64 = 1_000;
const REFILL_MAX: u64 = 60_000;
/// How many times the window all that is held may grow to, when most of it is to be tried again or
/// waits for its subject: what fails must not keep out what would not.
const HELD_WINDOWS: usize = 8;
/// What [`Lane::take`] found.
#[derive(Debug)]
pub enum Take {
    /// This delivery is the caller's now.
    Ready(Entry),
    /// Nothing may go before then.
    Wait(Ticks),
    /// Nothing waits that time alone would free.
    Idle,
}

/// What became of a delivery that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Delivered: it is done with.
    Done,
    /// Given up, or lost: it is done with, and counts as a dead letter.
    Dead,
    /// It is to be tried again then.
    RetryAt(Ticks),
    /// Nothing was attempted, and nothing can be before then.
    RestUntil(Ticks),
    /// Nothing was attempted.
    PutBack,
}

/// What an upstream's configuration says of its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneRules {
    /// Whether deliveries about one subject wait for each other.
    pub ordered: bool,
    /// From reception to dead letter.
    pub give_up: Duration,
    /// The longest wait between two attempts.
    pub retry_max: Duration,
}

impl LaneRules {
    /// For an upstream that is not configured, and so not delivered to.
    pub const UNKNOWN: Self =
        Self { ordered: false, give_up: Duration::MAX, retry_max: Duration::MAX };

    /// What this upstream's configuration says.
    pub fn of(upstream: &UpstreamOptions) -> Self {
        let UpstreamOptions { name: _, ordered, give_up, retry_max } = *upstream;
        Self { ordered, give_up, retry_max }
    }

    /// No retry is due later than this.
    pub fn latest_retry(self, now: Ticks) -> Ticks {
        let longest = u64::try_from(self.retry_max.as_millis()).unwrap_or(u64::MAX);
        Ticks(now.0.saturating_add(longest))
    }
}

/// Deliveries of which the first is the first to reach its deadline.
type ByDeadline = BTreeMap<(Ticks, Sequence), Entry>;

/// A subject of an ordered lane that is taken, about to be, or to be tried again.
#[derive(Debug, Default)]
struct Busy {
    /// How many deliveries make it so. More than one only after a change from unordered.
    holders: u32,
    /// What waits for them, in order.
    waiting: VecDeque<Entry>,
}

/// One upstream's waiting deliveries.
#[derive(Debug)]
pub struct Lane {
    rules: LaneRules,
    window: usize,
    /// Never tried, in the order of acceptance.
    fresh: VecDeque<Entry>,
    /// The next of a subject that was busy, and what was put back: they go before all others, and their
    /// subjects are marked busy already.
    ready: ByDeadline,
    /// To be tried again, by due time.
    retries: BinaryHeap<Reverse<At>>,
    /// Those of them that became due while the upstream is out, by deadline: only that can make
    /// one of them go now.
    held_back: ByDeadline,
    /// The last of them that was a probe: the next one comes after it.
    probed: (Ticks, Sequence),
    /// Taken and not settled.
    taken: HashMap<Sequence, Entry>,
    /// What waits for a delivery about the same subject that is taken or to be tried again.
    parked: HashMap<u64, Busy>,
    parked_count: usize,
    /// Those of which nothing is known but where their events stand.
    unread: BTreeSet<Sequence>,
    /// When those that are held were received.
    ages: Ages,
    /// In which segments their events stand.
    standing: Standing,
    dead: DeadLetters,
    cursor: Option<Cursor>,
    refilling: bool,
    /// After a refill that failed: when to try again, and how long the next wait will be.
    refill_at: Ticks,
    refill_wait: u64,
    circuit: Circuit,
}

impl Lane {
    /// An empty lane that holds at most `window` deliveries.
    pub fn new(rules: LaneRules, window: usize) -> Self {
        Self {
            rules,
            window,
            fresh: VecDeque::new(),
            ready: ByDeadline::new(),
            retries: BinaryHeap::new(),
            held_back: ByDeadline::new(),
            probed: (Ticks(0), Sequence(0)),
            taken: HashMap::new(),
            parked: HashMap::new(),
            parked_count: 0,
            unread: BTreeSet::new(),
            ages: Ages::default(),
            standing: Standing::default(),
            dead: DeadLetters::default(),
            cursor: None,
            refilling: false,
            refill_at: Ticks(0),
            refill_wait: REFILL_FIRST,
            circuit: Circuit::new(1, Ticks(0)),
        }
    }

    /// The rules that hold now.
    pub fn rules(&self) -> LaneRules {
        self.rules
    }

    /// Deliveries that are held.
    pub fn held(&self) -> usize {
        self.fresh.len()
            + self.ready.len()
            + self.retries.len()
            + self.held_back.len()
            + self.taken.len()
            + self.parked_count
    }

    /// Deliveries that wait, held or not.
    pub fn backlog(&self) -> u64 {
        self.held() as u64 + self.cursor.map_or(0, |c| c.count)
    }

    /// Where the events begin that are not held.
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Adds an event that has just been stored. Whether it is held now.
    pub fn push(&mut self, entry: Entry) -> bool {
        if let Some(cursor) = &mut self.cursor {
            cursor.count += 1;
            cursor.last = entry.sequence;
            return false;
        }
        if self.held() >= self.window {
            let (sequence, place) = (entry.sequence, entry.place);
            self.cursor = Some(Cursor { sequence, place, last: sequence, count: 1 });
            return false;
        }
        self.hold(&entry);
        self.fresh.push_back(entry);
        true
    }

    /// Where the circuit breaker stands.
    pub fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    /// Ends a delivery that was taken; `sign` is what the attempt showed of the upstream. Whether that
    /// changes how it is treated.
    pub fn settle(
        &mut self,
        sequence: Sequence,
        settled: Settled,
        sign: Option<Sign>,
        now: Ticks,
    ) -> Option<Turn> {
        let turn = self.circuit.note(sequence, sign, now);
        self.end(sequence, settled, now);
        turn
    }

    fn end(&mut self, sequence: Sequence, settled: Settled, now: Ticks) {
        let Some(mut entry) = self.taken.remove(&sequence) else { return };
        match settled {
            Settled::Done | Settled::Dead => {
                self.ages.remove(sequence);
                self.standing.remove(entry.place.segment);
                if settled == Settled::Dead {
                    self.dead.add(entry.place.segment);
                }
                return self.conclude(&entry);
            }
            Settled::RetryAt(due) => {
                entry.attempts = entry.attempts.saturating_add(1);
                entry.due = due.min(self.rules.latest_retry(now));
                entry.hot = None;
            }
            Settled::RestUntil(due) => entry.due = due,
            Settled::PutBack => {}
        }
        let Some(entry) = self.step_back(entry) else { return };
        match settled {
            Settled::PutBack => self.make_ready(entry),
            Settled::Done | Settled::Dead | Settled::RetryAt(_) | Settled::RestUntil(_) => {
                self.retries.push(At::due(entry));
            }
        }
    }

    /// Whether the lane has room for events it does not hold; a caller that gets `Some` reads
    /// them from there and calls [`Lane::refilled`].
    pub fn begin_refill(&mut self, now: Ticks) -> Option<(Cursor, usize)> {
        let cursor = self.cursor?;
        let runnable = self.fresh.len() + self.ready.len();
        let most = self.window.saturating_mul(HELD_WINDOWS);
        let room = (self.window - runnable.min(self.window)).min(most.saturating_sub(self.held()));
        if self.refilling || now < self.refill_at || runnable > self.window / 2 || room == 0 {
            return None;
        }
        self.refilling = true;
        Some((cursor, room))
    }

    /// Takes over what a refill has read, in order. It has seen every event before `sequence`, and
    /// goes on from `place`; when that is beyond the last one, the lane holds everything again.
    /// They are due from `now` on: what was to be tried again before goes before.
    ///
    /// What it has not come upon by then is lost, and a dead letter from here on: how many there are.
    pub fn refilled(
        &mut self,
        entries: Vec<Entry>,
        sequence: Sequence,
        place: Place,
        now: Ticks,
    ) -> u64 {
        self.refilling = false;
        (self.refill_at, self.refill_wait) = (Ticks(0), REFILL_FIRST);
        let Some(cursor) = self.cursor else { return 0 };
        let count = cursor.count.saturating_sub(entries.len() as u64);
        for entry in &entries {
            self.hold(entry);
        }
        self.fresh.extend(entries.into_iter().map(|entry| Entry { due: now, ..entry }));
        self.cursor =
            (sequence <= cursor.last).then_some(Cursor { sequence, place, count, ..cursor });
        let lost = if self.cursor.is_none() { count } else { 0 };
        self.dead.add_all(place.segment, lost);
        lost
    }

    /// A refill that could not be read: it is tried again later, and each time later still.
    pub fn refill_failed(&mut self, now: Ticks) {
        self.refilling = false;
        // Retention may have tried in between: that puts nothing off.
        if now >= self.refill_at {
            self.refill_at = Ticks(now.0 + self.refill_wait);
            self.refill_wait = (self.refill_wait * 2).min(REFILL_MAX);
        }
    }

    /// When a refill that failed may be tried again, if that is what the lane waits for.
    pub fn refill_due(&self, now: Ticks) -> Option<Ticks> {
        (self.cursor.is_some() && self.refill_at > now).then_some(self.refill_at)
    }

    /// Every delivery that is held, in no particular order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.fresh
            .iter()
            .chain(self.ready.values())
            .chain(self.retries.iter().map(|r| &r.0.entry))
            .chain(self.held_back.values())
            .chain(self.taken.values())
            .chain(self.parked.values().flat_map(|busy| &busy.waiting))
    }

    /// The earliest segment that a waiting delivery needs.
    pub fn oldest_segment(&self) -> Option<u32> {
        let beyond = self.cursor.map(|cursor| cursor.place.segment);
        self.standing.oldest().into_iter().chain(beyond).min()
    }

    /// How many of the deliveries that are held have their events in this segment.
    pub fn held_in(&self, segment: u32) -> usize {
        self.standing.count(segment)
    }

    /// A delivery is held from now on, until it is settled.
    fn hold(&mut self, entry: &Entry) {
        self.ages.add(entry.sequence, entry.received_at);
        self.standing.add(entry.place.segment);
    }

    /// Whether a delivery of this event, which is one of the lane's, waits.
    pub fn covers(&self, sequence: Sequence) -> bool {
        let beyond = |cursor: Cursor| (cursor.sequence..=cursor.last).contains(&sequence);
        self.cursor.is_some_and(beyond) || self.ages.has(sequence)
    }

    /// When the oldest waiting delivery was received; those that are not held are younger.
    pub fn oldest_received(&self) -> Option<UnixMillis> {
        self.ages.oldest()
    }

    /// Those that were given up.
    pub fn dead(&self) -> &DeadLetters {
        &self.dead
    }

    /// The segments before this one are gone, and their dead letters with them: how many.
    pub fn forget_before(&mut self, segment: u32) -> u64 {
        let before = self.dead.count();
        self.dead.forget_before(segment);
        before - self.dead.count()
    }

    fn make_ready(&mut self, entry: Entry) {
        self.ready.insert((entry.deadline, entry.sequence), entry);
    }

    /// Sets the entry aside if its subject is busy, or hands it back.
    fn park(&mut self, entry: Entry) -> Option<Entry> {
        let subject = self.ordered_subject(&entry);
        let Some(busy) = subject.and_then(|subject| self.parked.get_mut(&subject)) else {
            return Some(entry);
        };
        busy.waiting.push_back(entry);
        self.parked_count += 1;
        None
    }

    fn mark_busy(&mut self, entry: &Entry) {
        if let Some(subject) = self.ordered_subject(entry) {
            self.parked.entry(subject).or_default().holders += 1;
        }
    }

    /// The subject's next delivery comes to the front; without one the subject is free.
    fn release(&mut self, entry: &Entry) {
        if let Some(subject) = self.ordered_subject(entry) {
            self.release_subject(subject);
        }
    }

    fn release_subject(&mut self, subject: u64) {
        let Some(busy) = self.parked.get_mut(&subject) else { return };
        busy.holders = busy.holders.saturating_sub(1);
        if busy.holders > 0 {
            return;
        }
        match busy.waiting.pop_front() {
            Some(next) => {
                busy.holders = 1;
                self.parked_count -= 1;
                self.make_ready(next);
            }
            None => {
                self.parked.remove(&subject);
            }
        }
    }
}

#[cfg(test)]
mod tests;
