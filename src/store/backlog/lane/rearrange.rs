//! Putting a lane together: after a restart, and when its upstream's rules have changed. Takes
//! time in proportion to what is held, which nothing on the deliveries' way does.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use hashbrown::HashSet;

use super::entry::At;
use super::{Busy, Cursor, Entry, Lane, LaneRules, Ticks};
use crate::clock::UnixMillis;
use crate::store::backlog::dead::DeadLetters;

impl Lane {
    /// Takes over what a restart found: deliveries in the order of sequences, where the events begin
    /// that it did not read, and what is dead.
    pub fn restore(&mut self, entries: Vec<Entry>, cursor: Option<Cursor>, dead: DeadLetters) {
        for entry in &entries {
            self.hold(entry);
        }
        self.arrange(entries);
        self.cursor = cursor;
        self.dead = dead;
    }

    /// From here on these rules hold, also for what waits; `deadline` is that of an event received
    /// then. What is taken stays its holder's.
    pub fn reconfigure(
        &mut self,
        rules: LaneRules,
        now: Ticks,
        deadline: impl Fn(UnixMillis) -> Ticks,
    ) {
        if rules == self.rules {
            return;
        }
        let mut waiting = self.take_out();
        waiting.sort_unstable_by_key(|entry| entry.sequence);
        self.rules = rules;
        for entry in waiting.iter_mut().chain(self.taken.values_mut()) {
            entry.deadline = deadline(entry.counts_from());
            entry.due = entry.due.min(rules.latest_retry(now));
        }
        self.arrange(waiting);
    }

    /// The upstream counts as up until attempts show otherwise: it may be another one. It takes `full`
    /// deliveries at once; if more wait, as after an outage of ours, it gets there by a slow start.
    pub fn presume_up(&mut self, full: usize, now: Ticks) {
        let slowly = self.backlog() > full as u64;
        self.circuit.reset(full, slowly, now);
    }

    /// All that waits and is not taken, in no order.
    pub(super) fn take_out(&mut self) -> Vec<Entry> {
        let heaped = |heap: &mut BinaryHeap<Reverse<At>>| {
            std::mem::take(heap).into_iter().map(|Reverse(At { entry, .. })| entry)
        };
        let mut all = Vec::with_capacity(self.held());
        all.extend(std::mem::take(&mut self.fresh));
        all.extend(std::mem::take(&mut self.ready).into_values());
        all.extend(heaped(&mut self.retries));
        all.extend(std::mem::take(&mut self.held_back).into_values());
        all.extend(std::mem::take(&mut self.parked).into_values().flat_map(|busy| busy.waiting));
        self.parked_count = 0;
        all
    }

    /// Puts deliveries, in the order of their sequences, where they wait by the rules. Nothing but
    /// what is taken is in the lane.
    pub(super) fn arrange(&mut self, entries: Vec<Entry>) {
        let taken: Vec<_> = self.taken.values().filter_map(|e| self.ordered_subject(e)).collect();
        for subject in taken {
            self.parked.entry(subject).or_default().holders += 1;
        }
        let tried: HashSet<u64> = entries
            .iter()
            .filter(|entry| entry.waits_by_time())
            .filter_map(|entry| self.ordered_subject(entry))
            .collect();
        for entry in entries {
            let subject = self.ordered_subject(&entry);
            let Some(entry) = self.park(entry) else { continue };
            if entry.waits_by_time() {
                self.mark_busy(&entry);
                self.retries.push(At::due(entry));
            } else if subject.is_some_and(|subject| tried.contains(&subject)) {
                // Later ones have been tried before it, which they must not be again.
                self.mark_busy(&entry);
                self.make_ready(entry);
            } else {
                self.fresh.push_back(entry);
            }
        }
    }

    /// A delivery that is no longer taken, and not done. It is handed back unless it was taken while
    /// order did not matter: then those of its subject that are taken still, or came before it, go
    /// first, and it waits in its place.
    pub(super) fn step_back(&mut self, entry: Entry) -> Option<Entry> {
        let subject = self.ordered_subject(&entry);
        let Some(busy) = subject.and_then(|subject| self.parked.get_mut(&subject)) else {
            return Some(entry);
        };
        let Busy { holders, waiting } = busy;
        if *holders > 1 {
            *holders -= 1;
            self.parked_count += 1;
        } else {
            let earlier = waiting.front().is_some_and(|first| first.sequence < entry.sequence);
            if !earlier {
                return Some(entry);
            }
            let first = waiting.pop_front();
            self.ready.extend(first.map(|first| ((first.deadline, first.sequence), first)));
        }
        insert(waiting, entry);
        None
    }
}

pub(super) fn insert(waiting: &mut VecDeque<Entry>, entry: Entry) {
    let at = waiting.partition_point(|other| other.sequence < entry.sequence);
    waiting.insert(at, entry);
}
