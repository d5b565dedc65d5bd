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
        self.unread.remove(&sequence);
        self.rearrange(Some(Entry { subject, received_at, deadline, ..entry }));
        true
    }

    /// The delivery is done with: if nothing was known of it, what has waited for it goes on.
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
    use super::super::Take;
    use super::super::tests::{ORDERED, entry, taken};
    use super::*;
    use crate::store::backlog::dead::DeadLetters;

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
