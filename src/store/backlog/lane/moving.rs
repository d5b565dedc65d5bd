//! What retention needs of a lane: which of its deliveries stand in a segment that is to go, and to
//! tell it where their events have been carried. A lane that has none there is not gone through.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::entry::At;
use super::{Cursor, Entry, HELD_WINDOWS, Lane};
use crate::event::Sequence;
use crate::store::journal::segment::Place;

/// How many of the deliveries that are held have their events in each segment.
#[derive(Debug, Default)]
pub(super) struct Standing(BTreeMap<u32, usize>);

impl Standing {
    pub(super) fn add(&mut self, segment: u32) {
        *self.0.entry(segment).or_default() += 1;
    }

    pub(super) fn remove(&mut self, segment: u32) {
        if let Some(count) = self.0.get_mut(&segment) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&segment);
            }
        }
    }

    pub(super) fn count(&self, segment: u32) -> usize {
        self.0.get(&segment).copied().unwrap_or(0)
    }

    pub(super) fn oldest(&self) -> Option<u32> {
        self.0.first_key_value().map(|(segment, _)| *segment)
    }
}

impl Lane {
    /// Where a delivery's event stands that somebody has taken.
    pub fn taken_place(&self, sequence: Sequence) -> Option<Place> {
        self.taken.get(&sequence).map(|entry| entry.place)
    }

    /// The event of a delivery that somebody has taken stands there by now.
    pub fn relocate_taken(&mut self, sequence: Sequence, place: Place) {
        if let Some(entry) = self.taken.get_mut(&sequence) {
            self.standing.remove(entry.place.segment);
            self.standing.add(place.segment);
            entry.place = place;
        }
    }

    /// A delivery that somebody has taken, and whose event is lost, counts in this segment from now on:
    /// its own may be gone already.
    pub fn move_taken(&mut self, sequence: Sequence, segment: u32) {
        if let Some(entry) = self.taken.get_mut(&sequence) {
            self.standing.remove(entry.place.segment);
            self.standing.add(segment);
            entry.place.segment = segment;
        }
    }

    /// Gives up a delivery that nobody has taken, whose event is lost with its segment: it counts as
    /// a dead letter of the segment `dead_in`. How many attempts there were.
    pub fn give_up(&mut self, sequence: Sequence, dead_in: u32) -> Option<u32> {
        let entry = self.withdraw(sequence)?;
        self.ages.remove(sequence);
        self.standing.remove(entry.place.segment);
        self.dead.add(dead_in);
        self.forget_unread(sequence);
        Some(entry.attempts)
    }

    /// Takes it out from wherever it waits.
    fn withdraw(&mut self, sequence: Sequence) -> Option<Entry> {
        let is_it = |entry: &Entry| entry.sequence == sequence;
        if let Some(at) = self.fresh.iter().position(is_it) {
            return self.fresh.remove(at);
        }
        for busy in self.parked.values_mut() {
            if let Some(at) = busy.waiting.iter().position(is_it) {
                self.parked_count -= 1;
                return busy.waiting.remove(at);
            }
        }
        let mut retries = std::mem::take(&mut self.retries).into_vec();
        let at = retries.iter().position(|Reverse(At { entry, .. })| is_it(entry));
        let retried = at.map(|at| retries.swap_remove(at).0.entry);
        self.retries = retries.into();
        let entry = retried.or_else(|| {
            [&mut self.ready, &mut self.held_back].into_iter().find_map(|waiting| {
                let key = *waiting.iter().find(|(_, entry)| is_it(entry))?.0;
                waiting.remove(&key)
            })
        })?;
        // Its subject was busy with it.
        self.release(&entry);
        Some(entry)
    }

    /// Deliveries that are held and whose events stand in `segment` have them where `moved` says from
    /// now on, if it knows. Order is by time and number, and stays.
    pub fn relocate(&mut self, segment: u32, moved: impl Fn(Place) -> Option<Place>) {
        if self.held_in(segment) == 0 {
            return;
        }
        let standing = &mut self.standing;
        let mut relocate = |place: &mut Place| {
            if place.segment == segment
                && let Some(now) = moved(*place)
            {
                standing.remove(segment);
                standing.add(now.segment);
                *place = now;
            }
        };
        let mut retries = std::mem::take(&mut self.retries).into_vec();
        retries.iter_mut().for_each(|Reverse(At { entry, .. })| relocate(&mut entry.place));
        self.retries = retries.into();
        let parked = self.parked.values_mut().flat_map(|busy| &mut busy.waiting);
        let others = self.fresh.iter_mut().chain(self.taken.values_mut());
        let others = others.chain(self.ready.values_mut()).chain(self.held_back.values_mut());
        others.chain(parked).for_each(|entry| relocate(&mut entry.place));
    }

    /// Reads on from its cursor although nothing is short, for the segment that it stands in is to
    /// go: where from, and how many deliveries there is room for. `None` if it is reading on already;
    /// if there is room, nothing else does until [`Lane::refilled`] or [`Lane::refill_failed`].
    pub fn begin_pull(&mut self) -> Option<(Cursor, usize)> {
        let cursor = self.cursor.filter(|_| !self.refilling)?;
        let room = self.window.saturating_mul(HELD_WINDOWS).saturating_sub(self.held());
        self.refilling = room > 0;
        Some((cursor, room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_counted_until_nothing_stands_in_them() {
        let mut standing = Standing::default();
        assert_eq!(standing.oldest(), None);
        for segment in [3, 1, 3] {
            standing.add(segment);
        }
        assert_eq!((standing.oldest(), standing.count(3), standing.count(2)), (Some(1), 2, 0));
        standing.remove(1);
        standing.remove(1);
        assert_eq!((standing.oldest(), standing.count(1)), (Some(3), 0));
        standing.remove(3);
        standing.remove(3);
        assert_eq!(standing.oldest(), None);
    }
}
