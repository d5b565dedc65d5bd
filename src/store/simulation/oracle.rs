//! What must be true of every schedule, kept beside the store and checked at every step.
//!
//! - Stored exactly once: of one dedupe key, and of one content, no two events stand in the journal.
//! - Never before it is durable: what is acknowledged, or handed to an upstream, would survive a
//!   power cut at that moment.
//! - Delivered at least once: what was acknowledged is delivered or dead in the end; and not again
//!   once that itself is durable.
//! - Order: within one life of the process, an ordered upstream sees a subject's events by their
//!   sequences, and none before the one before it has come to its end.
//! - Nothing is let go unsettled, and nothing before the retention is over.

pub(super) mod acts;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use self::acts::Acts;
use super::ledger::{Ledger, Stored};
use crate::event::{BodyHash, EventId, Sequence};
use crate::store::crypt::Keyring;
use crate::store::tests::sim_disk::SimDisk;
use crate::store::{AcceptError, Accepted, AttemptResult, Outcome, StoredEvent, Verdict};

type Lane = (String, EventId);

/// What a request sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) source: String,
    pub(super) provider_id: String,
    pub(super) body_hash: BodyHash,
    pub(super) filtered: bool,
    /// Deliveries that had come to their end when it was sent.
    pub(super) ended_before: usize,
    /// Segments that were gone when it was sent.
    pub(super) removed_before: usize,
}

/// Why the store may refuse, as far as the schedule knows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Excuses {
    /// A disk operation has failed.
    pub(super) fault: bool,
    /// There was no room.
    pub(super) full: bool,
    /// It is being closed, or was killed.
    pub(super) closing: bool,
}

/// What has been seen, and the first thing that was wrong.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    ledger: Ledger,
    /// All that was ever sent.
    sent: HashSet<(String, String, BodyHash)>,
    /// Events that have been acknowledged.
    acked: BTreeSet<EventId>,
    /// Those of them that were acknowledged as new.
    new: BTreeSet<EventId>,
    /// Deliveries that have come to their end, and when, counted.
    ended: HashMap<Lane, usize>,
    ends: usize,
    /// Those ends that are durable: up to this count.
    durable_ends: usize,
    ends_at_close: usize,
    /// Attempts under way.
    in_flight: BTreeSet<Lane>,
    attempts: HashMap<Lane, u32>,
    acts: Acts,
    /// The last event that was attempted of each subject, in this life of the process.
    last: HashMap<(String, String, String), Sequence>,
    /// Ends in this life.
    ended_in_life: HashSet<Lane>,
    /// The disk would not give an event at this life's start: nobody knows its subject.
    unread: bool,
    violation: Option<String>,
    pub(super) counts: Counts,
}

macro_rules! counts {
    ($($what:ident),* $(,)?) => {
        /// How often what happened: a schedule in which nothing does shows nothing.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(super) struct Counts {
            $(pub(super) $what: u64,)*
        }

        impl Counts {
            fn all(&mut self) -> impl Iterator<Item = &mut u64> {
                [$(&mut self.$what),*].into_iter()
            }
        }
    };
}

counts! {
    stored, repeats, conflicts, refused, delivered, failed, dead, again, probes, slow, segments_let_go,
    events_let_go, crashes, failed_opens, closes, replayed, released, discarded, unwritten,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        let mut other = *other;
        for (one, other) in self.all().zip(other.all()) {
            *one += *other;
        }
    }

    /// How often the rarest of it happened.
    pub(super) fn least(mut self) -> u64 {
        self.all().map(|count| *count).min().unwrap_or(0)
    }
}

impl Oracle {
    /// For a journal that is encrypted with these keys, if with any.
    pub(super) fn new(keys: Arc<Keyring>) -> Self {
        Self { ledger: Ledger::new(keys), ..Self::default() }
    }

    /// The first thing that was wrong.
    pub(super) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    pub(super) fn fail(&mut self, what: impl Into<String>) {
        self.violation.get_or_insert_with(|| what.into());
    }

    pub(super) fn read_on(&mut self, disk: &SimDisk, now: u64) {
        if let Err(what) = self.ledger.read_on(disk, now) {
            self.fail(what);
        }
    }

    pub(super) fn sends(&mut self, sent: &mut Sent) {
        self.sent.insert((sent.source.clone(), sent.provider_id.clone(), sent.body_hash));
        sent.ended_before = self.ends;
        sent.removed_before = self.ledger.removed;
    }

    /// A request is answered 200.
    pub(super) fn accepted(&mut self, disk: &SimDisk, now: u64, sent: &Sent, accepted: &Accepted) {
        self.read_on(disk, now);
        let (id, outcome) = (accepted.id(), accepted.outcome());
        let stored = self.ledger.events.get(&id).cloned();
        // It may be a repeat of one that retention has let go since it was found.
        let is_there = |stored: &Stored| {
            !stored.segments.is_empty()
                || stored.expired.is_some_and(|expired| expired > sent.removed_before)
        };
        let Some(stored) = stored.filter(is_there) else {
            return self
                .fail(format!("{} was acknowledged before it was durable", sent.provider_id));
        };
        let same = stored.body_hash == sent.body_hash;
        let its = stored.source == sent.source && stored.provider_id == sent.provider_id;
        if !its || same != (outcome != Outcome::ConflictDropped) {
            self.fail(format!("{}: {outcome:?} is not what it was", sent.provider_id));
        }
        let is_new = match outcome {
            Outcome::Stored | Outcome::Filtered => true,
            Outcome::ConflictDelivered | Outcome::ConflictQuarantined => {
                self.counts.conflicts += 1;
                true
            }
            Outcome::Repeat => {
                self.counts.repeats += 1;
                false
            }
            Outcome::ConflictDropped => false,
        };
        if is_new {
            self.counts.stored += 1;
            self.durable_ends = self.durable_ends.max(sent.ended_before);
            if !self.new.insert(id) {
                self.fail(format!("{} was stored anew, and was before", sent.provider_id));
            }
            if stored.targets.is_empty() != sent.filtered
                || stored.quarantined != (outcome == Outcome::ConflictQuarantined)
            {
                self.fail(format!("{} is filed otherwise than sent", sent.provider_id));
            }
        }
        self.acked.insert(id);
    }

    /// A request is refused.
    pub(super) fn refused(&mut self, error: AcceptError, excuses: Excuses) {
        self.counts.refused += 1;
        let excused = match error {
            AcceptError::Overloaded | AcceptError::OverShare => true,
            AcceptError::Low | AcceptError::NoRoom => excuses.full,
            AcceptError::Failed | AcceptError::Unreadable => excuses.fault || excuses.closing,
            AcceptError::Closing => excuses.closing,
            // Nobody here has asked for that.
            AcceptError::Barred => false,
        };
        if !excused {
            self.fail(format!("refused without a reason: {error:?}"));
        }
    }

    /// An upstream is sent an event.
    pub(super) fn attempts(
        &mut self,
        disk: &SimDisk,
        now: u64,
        upstream: &str,
        ordered: bool,
        event: &StoredEvent,
        number: u32,
    ) {
        self.read_on(disk, now);
        let name = event.meta.provider_id.clone().unwrap_or_default();
        let Some(stored) = self.ledger.get(event.id).cloned() else {
            return self.fail(format!("{name} is delivered to {upstream} and is not durable"));
        };
        let content = (event.source.as_str().to_owned(), name.clone(), BodyHash::of(&event.body));
        if !self.sent.contains(&content) {
            self.fail(format!("{name} was never sent as it is delivered"));
        }
        let lane = (upstream.to_owned(), event.id);
        if let Some(wrong) = self.acts.forbids(&lane, &stored) {
            self.fail(format!("{name} is delivered to {upstream}, and {wrong}"));
        }
        if let Some(end) = self.ended.get(&lane).filter(|_| !self.acts.in_hand(event.id)) {
            self.counts.again += 1;
            if self.ended_in_life.contains(&lane) || *end <= self.durable_ends {
                self.fail(format!(
                    "{name} is delivered to {upstream} again, although it is settled"
                ));
            }
        }
        if !self.in_flight.insert(lane.clone()) {
            self.fail(format!("{name} is delivered to {upstream} twice at once"));
        }
        // What an operator had sent again comes when it comes.
        let ordered = ordered && !self.acts.may_want(&lane);
        let attempts = self.attempts.entry(lane).or_default();
        *attempts += 1;
        if number > *attempts {
            let attempts = *attempts;
            self.fail(format!("{name} to {upstream}: attempt {number} is the {attempts}th"));
        }
        if ordered && !self.unread {
            self.check_order(upstream, &stored, event.sequence);
        }
    }

    fn check_order(&mut self, upstream: &str, stored: &Stored, sequence: Sequence) {
        let Some(subject) = stored.subject.clone() else { return };
        let name = &stored.provider_id;
        let line = (upstream.to_owned(), stored.source.clone(), subject);
        let last = self.last.insert(line, sequence);
        if let Some(last) = last.filter(|last| *last > sequence) {
            return self.fail(format!(
                "{name} ({sequence}) is delivered to {upstream} after a later one ({last})"
            ));
        }
        let before = |other: &&Stored| {
            other.source == stored.source
                && other.subject == stored.subject
                && other.sequence < sequence
                && !other.quarantined
                && other.targets.iter().any(|target| target == upstream)
        };
        let waits = self.ledger.events.iter().find(|(id, other)| {
            let lane = (upstream.to_owned(), **id);
            before(other) && !self.ended.contains_key(&lane) && !self.acts.may_want(&lane)
        });
        if let Some((_, other)) = waits {
            let (other, at) = (other.provider_id.clone(), other.sequence);
            self.fail(format!(
                "{name} ({sequence}) is delivered to {upstream} before {other} ({at})"
            ));
        }
    }

    /// An attempt is over, whatever came of it.
    pub(super) fn lets_go(&mut self, upstream: &str, event: &StoredEvent) {
        self.in_flight.remove(&(upstream.to_owned(), event.id));
    }

    /// An attempt has ended so.
    pub(super) fn answered(
        &mut self,
        upstream: &str,
        event: &StoredEvent,
        took: AttemptResult,
        verdict: Verdict,
        may_give_up: bool,
    ) {
        let took = matches!(took, AttemptResult::Answered(200..=299));
        let refused = matches!(verdict, Verdict::Dead);
        match verdict {
            Verdict::Delivered => self.counts.delivered += 1,
            Verdict::RetryAt(_) => self.counts.failed += 1,
            Verdict::Dead => {
                self.counts.dead += 1;
                self.acts.dead.insert(event.id);
            }
        }
        let name = event.meta.provider_id.as_deref().unwrap_or_default();
        if took != (verdict == Verdict::Delivered) && !refused {
            // What the worker thinks is not what the upstream did: it is what the upstream did that counts.
            return;
        }
        if refused && !may_give_up {
            return self.fail(format!("{name} to {upstream} is given up early"));
        }
        if took || refused {
            self.ends += 1;
            let lane = (upstream.to_owned(), event.id);
            self.ended_in_life.insert(lane.clone());
            self.ended.insert(lane, self.ends);
        }
    }

    /// Segments have gone.
    pub(super) fn let_go(
        &mut self,
        disk: &SimDisk,
        number: u32,
        now: u64,
        least: Option<Duration>,
    ) {
        self.read_on(disk, now);
        self.counts.segments_let_go += 1;
        let acts = self.ledger.acts_in(number).map(|since| Duration::from_millis(now - since));
        if let Some((age, least)) = acts.zip(least).filter(|(age, least)| age < least) {
            self.fail(format!("acts are gone after {age:?}, before {least:?}"));
        }
        self.acts_go(number);
        for (id, stored) in self.ledger.remove(number) {
            self.counts.events_let_go += 1;
            let name = &stored.provider_id;
            if self.acts.is_kept_back(id, &stored) {
                self.fail(format!("{name} was kept back for the operator, and is gone"));
            }
            let own = stored.targets.iter().filter(|_| self.acts.is_let_go(id, &stored));
            let owed = self.acts.owed.iter().filter(|(_, other)| *other == id);
            let due = own.chain(owed.map(|(name, _)| name));
            let open = |target: &&String| !self.ended.contains_key(&((*target).clone(), id));
            if let Some(target) = due.cloned().collect::<Vec<_>>().iter().find(open) {
                self.fail(format!("{name} was not settled for {target}, and is gone"));
            }
            let age = Duration::from_millis(now - stored.since);
            if let Some(least) = least.filter(|least| age < *least) {
                self.fail(format!("{name} is gone after {age:?}, before {least:?}"));
            }
        }
    }

    /// The store is told to close: what is settled by now will be durable.
    pub(super) fn closes(&mut self) {
        self.ends_at_close = self.ends;
    }

    /// A process begins, and has not been able to read something that waits.
    pub(super) fn begins(&mut self, unread: bool) {
        self.unread |= unread;
    }

    /// The process has ended; `closed`: in order.
    pub(super) fn process_ends(&mut self, closed: bool) {
        self.last.clear();
        self.in_flight.clear();
        self.ended_in_life.clear();
        self.ledger.read_anew();
        if closed {
            self.durable_ends = self.durable_ends.max(self.ends_at_close);
        }
        // What may have been lost comes again, or not.
        let lost = self.ended.values_mut().filter(|end| **end > self.durable_ends);
        lost.for_each(|end| *end = usize::MAX);
    }

    /// Nothing waits any more.
    pub(super) fn all_is_done(&mut self) {
        let mut open: BTreeMap<Sequence, String> = BTreeMap::new();
        for id in &self.acked {
            let stored = self.ledger.events.get(id);
            let Some(stored) = stored.filter(|stored| self.acts.is_let_go(*id, stored)) else {
                continue;
            };
            let waits = |target: &&String| !self.ended.contains_key(&((*target).clone(), *id));
            if let Some(target) = stored.targets.iter().find(waits) {
                open.insert(stored.sequence, format!("{} for {target}", stored.provider_id));
            }
        }
        for lane in self.acts.owed.iter().filter(|lane| !self.ended.contains_key(*lane)) {
            if let Some(stored) = self.ledger.get(lane.1) {
                open.insert(stored.sequence, format!("{} for {}", stored.provider_id, lane.0));
            }
        }
        if let Some((sequence, first)) = open.first_key_value() {
            self.fail(format!("acknowledged and never delivered: {first} ({sequence})"));
        }
    }

    /// Whether the event stands in the journal.
    pub(super) fn stands(&self, id: EventId) -> bool {
        self.ledger.get(id).is_some()
    }

    /// Everything that was acknowledged and stands in the journal.
    pub(super) fn known(&self) -> Vec<(EventId, Stored)> {
        let known = self.acked.iter().filter_map(|id| Some((*id, self.ledger.get(*id)?.clone())));
        known.collect()
    }
}
