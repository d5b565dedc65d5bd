//! Which delivery goes next: as the circuit permits, any that is due, a probe, or only one that has
//! reached its deadline.

use std::cmp::Reverse;
use std::ops::Bound::{Excluded, Unbounded};

use super::circuit::{PROBE_MAX, Permit};
use super::entry::At;
use super::{ByDeadline, Entry, Lane, Take, Ticks};

/// Deliveries that are held back or let go at once, so that nobody waits long for the lane.
const MOVED_AT_ONCE: usize = 512;

impl Lane {
    /// The next delivery that may go.
    pub fn take(&mut self, now: Ticks) -> Take {
        match self.circuit.permit(self.taken.len(), now) {
            Permit::Any => {
                self.let_go();
                self.take_any(now)
            }
            Permit::Full => Take::Idle,
            Permit::Probe => {
                let take = self.take_probe(now);
                if let Take::Ready(entry) = &take {
                    self.circuit.probe(entry.sequence);
                }
                take
            }
            Permit::LastChance(probe_at) => self.take_last_chance(now, probe_at),
        }
    }

    /// The upstream is back, and what it kept waiting was due long ago.
    fn let_go(&mut self) {
        for _ in 0..MOVED_AT_ONCE {
            let Some((_, entry)) = self.held_back.pop_first() else { return };
            self.retries.push(At::due(entry));
        }
    }

    /// One delivery to see whether the upstream is back.
    fn take_probe(&mut self, now: Ticks) -> Take {
        if self.circuit.prefers_untried() {
            let take = self.take_any(now);
            if matches!(take, Take::Ready(_)) {
                return take;
            }
        }
        match self.next_held_back() {
            Some(entry) => Take::Ready(self.give(entry)),
            None => self.take_any(now),
        }
    }

    /// Of those that are held back, each is the probe once before any is again.
    fn next_held_back(&mut self) -> Option<Entry> {
        let after = self.held_back.range((Excluded(self.probed), Unbounded)).next();
        let (key, _) = after.or_else(|| self.held_back.first_key_value())?;
        self.probed = *key;
        self.held_back.remove(&self.probed)
    }

    /// By due time: an event that was never tried is due since it was stored.
    fn take_any(&mut self, now: Ticks) -> Take {
        if let Some((_, entry)) = self.ready.pop_first() {
            return Take::Ready(self.give(entry));
        }
        let retry = self.retries.peek().map(|r| r.0.time);
        while let Some(entry) = self.fresh.front() {
            if retry.is_some_and(|due| due <= now && due <= entry.due) {
                break;
            }
            if let Some(entry) = self.fresh.pop_front().and_then(|e| self.park(e)) {
                self.mark_busy(&entry);
                return Take::Ready(self.give(entry));
            }
        }
        match retry {
            None => Take::Idle,
            Some(due) if due > now => Take::Wait(due),
            Some(_) => match self.retries.pop() {
                Some(Reverse(At { entry, .. })) => Take::Ready(self.give(entry)),
                None => Take::Idle,
            },
        }
    }

    /// While the upstream is out, only what has reached its deadline goes: its last attempt.
    fn take_last_chance(&mut self, now: Ticks, probe_at: Option<Ticks>) -> Take {
        let mut moved = 0;
        while self.retries.peek().is_some_and(|retry| retry.0.time <= now)
            && let Some(Reverse(At { entry, .. })) = self.retries.pop()
        {
            self.held_back.insert((entry.deadline, entry.sequence), entry);
            moved += 1;
            if moved == MOVED_AT_ONCE {
                return Take::Wait(now);
            }
        }
        let held_back = pop_until(&mut self.held_back, now);
        if let Some(entry) = held_back.or_else(|| pop_until(&mut self.ready, now)) {
            return Take::Ready(self.give(entry));
        }
        while self.fresh.front().is_some_and(|e| e.deadline <= now) {
            if let Some(entry) = self.fresh.pop_front().and_then(|e| self.park(e)) {
                self.mark_busy(&entry);
                return Take::Ready(self.give(entry));
            }
        }
        let wake = probe_at.unwrap_or(Ticks(now.0 + PROBE_MAX));
        let retry = self.retries.peek().map(|r| r.0.time.max(wake.min(r.0.entry.deadline)));
        let first = |waiting: &ByDeadline| waiting.keys().next().map(|(deadline, _)| *deadline);
        let fresh = self.fresh.front().map(|entry| entry.deadline);
        let all = [fresh, retry, first(&self.held_back), first(&self.ready)];
        match (all.into_iter().flatten().min(), probe_at) {
            (None, _) => Take::Idle,
            (Some(next), Some(probe_at)) => Take::Wait(next.min(probe_at)),
            (Some(next), None) => Take::Wait(next),
        }
    }

    fn give(&mut self, mut entry: Entry) -> Entry {
        let given = entry.clone();
        entry.hot = None;
        self.taken.insert(entry.sequence, entry);
        given
    }
}

/// The first of them, if it has reached its deadline.
fn pop_until(waiting: &mut ByDeadline, now: Ticks) -> Option<Entry> {
    let first = waiting.first_entry().filter(|first| first.key().0 <= now)?;
    Some(first.remove())
}
