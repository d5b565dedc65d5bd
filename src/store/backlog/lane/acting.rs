//! What an operator's act does to a lane: a delivery that was settled, or kept back, waits again; one
//! that waits already is due at once. Takes time in proportion to what is held, as nothing on the
//! deliveries' way does.

use std::cmp::Reverse;

use super::entry::At;
use super::rearrange::insert;
use super::{Cursor, Entry, HELD_WINDOWS, Lane, Ticks};
use crate::clock::UnixMillis;
use crate::event::Sequence;

/// Whether a delivery waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// It is held, after so many attempts.
    Held(u32),
    /// It does where the lane has not read yet.
    Beyond,
    /// It does not.
    Not,
}

impl Lane {
    /// Whether the event's delivery waits. `apart`: reading its backlog on, the lane does not come upon it.
    pub fn waits(&self, event: Sequence, apart: bool) -> Waits {
        if self.ages.has(event) {
            let entry = self.taken.get(&event).or_else(|| {
                let mut held = self.entries();
                held.find(|entry| entry.sequence == event)
            });
            return Waits::Held(entry.map_or(0, |entry| entry.attempts));
        }
        let beyond = |cursor: Cursor| (cursor.sequence..=cursor.last).contains(&event);
        if !apart && self.cursor.is_some_and(beyond) { Waits::Beyond } else { Waits::Not }
    }

    /// Whether there is room for a delivery that an operator wants.
    pub fn has_room(&self) -> bool {
        self.held() < self.window.saturating_mul(HELD_WINDOWS)
    }

    /// Holds a delivery that did not wait, due when it says. Among those of its subject that wait it goes
    /// where its number says; what is in hand or being tried again goes before.
    pub fn resume(&mut self, entry: Entry) {
        if self.ages.has(entry.sequence) {
            return;
        }
        self.hold(&entry);
        self.wait_by_time(entry);
    }

    /// Puts a delivery that is counted as held where it waits for its time, behind those of its subject.
    pub(super) fn wait_by_time(&mut self, entry: Entry) {
        let subject = self.ordered_subject(&entry);
        // An earlier one that is still to come is put behind whatever waits for the subject by then.
        let mut earlier = self.fresh.iter().take_while(|other| other.sequence < entry.sequence);
        if subject.is_some() && earlier.any(|other| self.ordered_subject(other) == subject) {
            let at = self.fresh.partition_point(|other| other.sequence < entry.sequence);
            return self.fresh.insert(at, entry);
        }
        if let Some(busy) = subject.and_then(|subject| self.parked.get_mut(&subject)) {
            insert(&mut busy.waiting, entry);
            self.parked_count += 1;
            return;
        }
        self.mark_busy(&entry);
        self.retries.push(At::due(entry));
    }

    /// Makes a delivery that is held due at once, whatever it has waited for but its subject and the
    /// circuit, and given up no earlier than `deadline`. One that somebody has taken goes on as it is.
    pub fn hasten(&mut self, event: Sequence, at: UnixMillis, deadline: Ticks, now: Ticks) {
        if !self.ages.has(event) {
            return;
        }
        let change = |entry: &mut Entry| {
            (entry.acted_at, entry.deadline) = (Some(at), deadline);
            entry.due = entry.due.min(now);
        };
        let is_it = |entry: &Entry| entry.sequence == event;
        if let Some(mut entry) =
            self.fresh.iter().position(is_it).and_then(|at| self.fresh.remove(at))
        {
            change(&mut entry);
            return self.wait_by_time(entry);
        }
        let parked = self.parked.values_mut().flat_map(|busy| &mut busy.waiting);
        if let Some(entry) = self.taken.values_mut().chain(parked).find(|entry| is_it(entry)) {
            return change(entry);
        }
        for waiting in [&mut self.ready, &mut self.held_back] {
            let key = waiting.iter().find(|(_, entry)| is_it(entry)).map(|(key, _)| *key);
            if let Some(mut entry) = key.and_then(|key| waiting.remove(&key)) {
                change(&mut entry);
                waiting.insert((entry.deadline, entry.sequence), entry);
                return;
            }
        }
        let mut retries = std::mem::take(&mut self.retries).into_vec();
        for Reverse(At { time, entry }) in &mut retries {
            if is_it(entry) {
                change(entry);
                *time = entry.due;
            }
        }
        self.retries = retries.into();
    }

    /// A dead letter that was counted under this segment is one no more.
    pub fn forget_dead(&mut self, segment: u32) {
        self.dead.remove(segment);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ORDERED, entry, taken};
    use super::*;
    use crate::store::backlog::lane::Settled;

    fn again(n: u64, subject: Option<u64>, now: u64) -> Entry {
        let due = Ticks(now);
        Entry { acted_at: Some(UnixMillis(now)), attempts: 3, due, ..entry(n, subject) }
    }

    fn next(lane: &mut Lane, now: u64) -> u64 {
        taken(lane.take(Ticks(now))).0
    }

    fn done(lane: &mut Lane, n: u64, now: u64) {
        lane.settle(Sequence(n), Settled::Done, None, Ticks(now));
    }

    fn lane() -> Lane {
        let mut lane = Lane::new(ORDERED, 100);
        lane.presume_up(10, Ticks(0));
        lane
    }

    #[test]
    fn among_those_of_its_subject_that_wait_one_that_is_resumed_goes_where_its_number_says() {
        // Nothing of its subject is in hand.
        let mut one = lane();
        for n in [3, 7, 9] {
            one.push(entry(n, Some(1)));
        }
        one.resume(again(5, Some(1), 20));
        for n in [3, 5, 7, 9] {
            assert_eq!(next(&mut one, 30), n);
            done(&mut one, n, 30);
        }
        // One is: a later one even.
        let mut one = lane();
        for n in [7, 9] {
            one.push(entry(n, Some(1)));
        }
        assert_eq!(next(&mut one, 10), 7);
        one.resume(again(5, Some(1), 20));
        one.resume(again(2, Some(1), 20));
        done(&mut one, 7, 21);
        for n in [2, 5, 9] {
            assert_eq!(next(&mut one, 30), n);
            done(&mut one, n, 30);
        }
        assert_eq!((one.held(), one.waits(Sequence(5), false)), (0, Waits::Not));
        // An earlier one is, and the next of them has not had its turn yet.
        let mut one = lane();
        for n in [1, 4] {
            one.push(entry(n, Some(1)));
        }
        assert_eq!(next(&mut one, 10), 1);
        one.resume(again(5, Some(1), 20));
        done(&mut one, 1, 21);
        for n in [4, 5] {
            assert_eq!(next(&mut one, 30), n);
            done(&mut one, n, 30);
        }
    }

    #[test]
    fn what_waits_is_due_at_once_wherever_it_waits_and_keeps_its_place_in_its_subject() {
        let mut one = lane();
        for (n, subject) in [(1, 1), (2, 1), (3, 2)] {
            one.push(entry(n, Some(subject)));
        }
        assert_eq!(next(&mut one, 5), 1);
        one.settle(Sequence(1), Settled::RetryAt(Ticks(50_000)), None, Ticks(6));
        assert_eq!(next(&mut one, 7), 3);
        // 1 is to be tried again, 2 waits for it, 3 is in hand.
        for n in [2, 3, 1] {
            assert!(matches!(one.waits(Sequence(n), false), Waits::Held(_)), "{n}");
            one.hasten(Sequence(n), UnixMillis(8), Ticks(900_000), Ticks(8));
        }
        assert!(one.entries().all(|entry| entry.deadline == Ticks(900_000)));
        assert_eq!(next(&mut one, 9), 1);
        done(&mut one, 1, 9);
        assert_eq!(next(&mut one, 9), 2);
        assert_eq!(one.held(), 2);
    }
}
