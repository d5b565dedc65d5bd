//! What retention needs of a lane: which of its deliveries stand in a segment that is to go, and to
//! tell it where their events have been carried.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::entry::At;
use super::{Cursor, HELD_WINDOWS, Lane};
use crate::event::Sequence;
use crate::store::journal::segment::Place;

impl Lane {
    /// Where a delivery's event stands that somebody has taken.
    pub fn taken_place(&self, sequence: Sequence) -> Option<Place> {
        self.taken.get(&sequence).map(|entry| entry.place)
    }

    /// Every delivery that is held and whose event `moved` knows stands where that says from now on.
    /// Order is by time and number, and stays.
    pub fn relocate(&mut self, moved: impl Fn(Place) -> Option<Place>) {
        let heaped = |heap: &mut BinaryHeap<Reverse<At>>| {
            let mut all = std::mem::take(heap).into_vec();
            for Reverse(At { entry, .. }) in &mut all {
                entry.place = moved(entry.place).unwrap_or(entry.place);
            }
            *heap = all.into();
        };
        heaped(&mut self.retries);
        heaped(&mut self.held_back);
        let parked = self.parked.values_mut().flat_map(|busy| &mut busy.waiting);
        let others = self.fresh.iter_mut().chain(&mut self.ready).chain(self.taken.values_mut());
        for entry in others.chain(parked) {
            entry.place = moved(entry.place).unwrap_or(entry.place);
        }
    }

    /// Reads on from its cursor although nothing is short, for the segment that it stands in is to
    /// go: where from, and how many deliveries there is room for at most. `None` if it is reading on
    /// already; nothing else does until [`Lane::refilled`] or [`Lane::refill_failed`].
    pub fn begin_pull(&mut self) -> Option<(Cursor, usize)> {
        let cursor = self.cursor.filter(|_| !self.refilling)?;
        let room = self.window.saturating_mul(HELD_WINDOWS).saturating_sub(self.held());
        self.refilling = room > 0;
        self.refilling.then_some((cursor, room))
    }
}
