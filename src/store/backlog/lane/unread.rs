//! Deliveries whose events a restart could not read: nobody knows what they are about. Where order
//! matters, all that came after the first of them waits for it, as if it were about the same.

use std::collections::BTreeSet;

use super::{Entry, Lane, Ticks};
use crate::clock::UnixMillis;
use crate::event::Sequence;

/// What the first event that is not known and all behind it count as being about.
const ANYTHING: u64 = 0;

/// What was not known of an event until it was read.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// A hash of source and subject, as in an [`Entry`].
    pub subject: Option<u64>,
    /// When it was received.
    pub received_at: UnixMillis,
    /// When no further attempt begins.
    pub deadline: Ticks,
}

impl Lane {
    /// Of what is restored next, nothing is known of these but where they stand.
    pub fn expect_unread(&mut self, unread: BTreeSet<Sequence>) {
        self.unread = unread;
    }

    /// Somebody has read the event of a delivery that was taken. If nothing was known of it before, it
    /// waits in its place from now on, and is taken no more: `true`.
    pub fn learn(&mut self, sequence: Sequence, known: Known, now: Ticks) -> bool {
        if !self.unread.contains(&sequence) {
            return false;
        }
        let Some(entry) = self.taken.remove(&sequence) else { return false };
        let Known { subject, received_at, deadline } = known;
        // What an operator has done counts from then.
        let deadline = if entry.acted_at.is_some() { entry.deadline } else { deadline };
        // It was no attempt, and shows nothing of the upstream.
        let _ = self.circuit.note(sequence, None, now);
        self.ages.add(sequence, received_at);
        self.resolve(sequence, Some(Entry { subject, received_at, deadline, ..entry }));
        true
    }

    /// The delivery that was taken is done with: what has waited for it goes on.
    pub(super) fn conclude(&mut self, entry: &Entry) {
        if self.unread.contains(&entry.sequence) {
            self.resolve(entry.sequence, None);
        } else {
            self.release(entry);
        }
    }

    /// Nothing waits any more for this delivery to be read, of which more is known now if it is `known`. All
    /// that is held is put in order anew only where some of it waits for something else from now on:
    /// where much is not known, that is done for hardly any of it.
    fn resolve(&mut self, sequence: Sequence, known: Option<Entry>) {
        let is_first = self.unread.first() == Some(&sequence);
        self.unread.remove(&sequence);
        if !self.rules.ordered {
            return known.into_iter().for_each(|entry| self.wait_by_time(entry));
        }
        if !is_first || !self.is_next_to_unread() {
            return self.rearrange(known);
        }
        self.release_subject(ANYTHING);
        known.into_iter().for_each(|entry| self.wait_by_time(entry));
    }

    /// Whether what waits for the one that was resolved just now is the next that is not known, and what
    /// comes after that.
    fn is_next_to_unread(&self) -> bool {
        let (Some(next), Some(busy)) = (self.unread.first(), self.parked.get(&ANYTHING)) else {
            return false;
        };
        busy.holders == 1 && busy.waiting.front().is_none_or(|first| first.sequence >= *next)
    }

    /// The delivery is withdrawn: if nothing was known of it, what has waited for it goes on.
    pub(super) fn forget_unread(&mut self, sequence: Sequence) {
        if self.unread.remove(&sequence) {
            self.rearrange(None);
        }
    }

    fn rearrange(&mut self, and: Option<Entry>) {
        let mut waiting = self.take_out();
        waiting.extend(and);
        waiting.sort_unstable_by_key(|entry| entry.sequence);
        self.arrange(waiting);
    }

    /// What the delivery waits for, if order matters.
    pub(super) fn ordered_subject(&self, entry: &Entry) -> Option<u64> {
        let is_behind = |first: &Sequence| entry.sequence >= *first;
        let subject =
            if self.unread.first().is_some_and(is_behind) { Some(ANYTHING) } else { entry.subject };
        subject.filter(|_| self.rules.ordered)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ORDERED, entry, taken};
    use super::super::{LaneRules, Settled, Take};
    use super::*;
    use crate::store::backlog::dead::DeadLetters;

    const NOTHING: Known = Known { subject: None, received_at: UnixMillis(1), deadline: Ticks(9) };

    /// All that was held was put in order anew for each of them, with the lane locked: a start that had read
    /// nothing of a long backlog went on for hours.
    #[test]
    fn a_backlog_of_which_nothing_was_known_is_not_gone_through_for_each_delivery() {
        const MANY: u64 = 20_000;
        for ordered in [false, true] {
            let mut lane = Lane::new(LaneRules { ordered, ..ORDERED }, 100);
            lane.presume_up(usize::MAX, Ticks(0));
            lane.expect_unread((1..=MANY).map(Sequence).collect());
            let waiting = (1..=MANY).map(|n| entry(n, None)).collect();
            lane.restore(waiting, None, DeadLetters::default());
            let begun = std::time::Instant::now();
            while lane.held() > 0 {
                let next = taken(lane.take(Ticks(MANY)));
                // Every other one turns out to be lost.
                if next.0.is_multiple_of(2) || !lane.learn(next, NOTHING, Ticks(MANY)) {
                    lane.settle(next, Settled::Done, None, Ticks(MANY));
                }
            }
            assert_eq!((lane.held(), lane.unread.len()), (0, 0));
            let took = begun.elapsed();
            assert!(took < std::time::Duration::from_secs(30), "{took:?}");
        }
    }

    /// However they are mixed with others, nothing overtakes what may be of its subject.
    #[test]
    fn nothing_overtakes_what_may_be_of_its_subject() {
        for seed in 0..500 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut lane = Lane::new(ORDERED, 100);
            lane.presume_up(10, Ticks(0));
            let last = random.u64(1..30);
            let about: Vec<u64> = (0..=last).map(|_| random.u64(1..4)).collect();
            let subject = |n: u64| Some(about[usize::try_from(n).unwrap()]);
            let mut unread: BTreeSet<_> =
                (1..=last).filter(|_| random.bool()).map(Sequence).collect();
            lane.expect_unread(unread.clone());
            let tried =
                |n: u64| Entry { attempts: u32::from(n.is_multiple_of(7)), ..entry(n, None) };
            let known = |n: u64| if unread.contains(&Sequence(n)) { None } else { subject(n) };
            let waiting = (1..=last).map(|n| Entry { subject: known(n), ..tried(n) }).collect();
            lane.restore(waiting, None, DeadLetters::default());
            let mut open: BTreeSet<u64> = (1..=last).collect();
            let mut in_hand: Vec<u64> = Vec::new();
            let mut now = 100;
            while !open.is_empty() {
                now += 1;
                if let Take::Ready(entry) = lane.take(Ticks(now)) {
                    in_hand.push(entry.sequence.0);
                    if random.bool() {
                        continue;
                    }
                }
                assert!(now < 10_000, "seed {seed}: {open:?} stand still: {lane:?}");
                if in_hand.is_empty() {
                    continue;
                }
                let n = in_hand.swap_remove(random.usize(..in_hand.len()));
                let this = Sequence(n);
                if unread.contains(&this) && random.bool() {
                    lane.settle(this, Settled::RestUntil(Ticks(now + 3)), None, Ticks(now));
                    continue;
                }
                let known = Known { subject: subject(n), ..NOTHING };
                if unread.contains(&this) && random.bool() {
                    unread.remove(&this);
                    assert!(lane.learn(this, known, Ticks(now)));
                    continue;
                }
                // It is delivered, or given up unread: then nobody is sent it. What was tried before a start
                // may have been ahead of others.
                let before =
                    |other: &&u64| **other < n && !other.is_multiple_of(7) && !n.is_multiple_of(7);
                let is_same = |other: &&u64| subject(**other) == subject(n);
                let overtaken = open.iter().filter(before).find(is_same);
                let is_sent = !unread.remove(&this);
                assert!(!is_sent || overtaken.is_none(), "seed {seed}: {n} before {overtaken:?}");
                lane.settle(this, Settled::Done, None, Ticks(now));
                open.remove(&n);
            }
            assert_eq!((lane.held(), lane.unread.len(), lane.parked.len()), (0, 0, 0), "{seed}");
        }
    }

    /// It was given up by the time of its reception, however lately it had been replayed.
    #[test]
    fn what_an_operator_has_replayed_keeps_its_time_when_it_is_read() {
        for (acted_at, wanted) in [(Some(UnixMillis(7)), 500), (None, 100)] {
            let mut lane = Lane::new(ORDERED, 100);
            lane.presume_up(10, Ticks(0));
            lane.expect_unread([Sequence(1)].into());
            let replayed = Entry { acted_at, deadline: Ticks(500), ..entry(1, None) };
            lane.restore(vec![replayed], None, DeadLetters::default());
            let sequence = taken(lane.take(Ticks(1)));
            let (subject, received_at) = (Some(3), UnixMillis(1));
            let known = Known { subject, received_at, deadline: Ticks(100) };
            assert!(lane.learn(sequence, known, Ticks(2)));
            let Take::Ready(entry) = lane.take(Ticks(2)) else { panic!("{lane:?}") };
            assert_eq!(entry.deadline, Ticks(wanted));
        }
    }
}
