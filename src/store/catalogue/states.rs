//! What became of events, as far as it is not the usual: that every upstream has it. Numbers of events
//! in compressed bitmaps, for each upstream those whose delivery is not settled, those that are dead and
//! those that were dropped. An event in none of them takes no memory.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::rows::{Deed, DeedRow};

/// Upstreams that one journal can know: more than were ever configured within a retention.
const MAX_UPSTREAMS: usize = 1024;

/// Numbers of events. Memory is a bit or two bytes for each, whichever is less.
#[derive(Clone, Debug, Default)]
pub struct Members(BTreeMap<u32, RoaringBitmap>);

impl Members {
    /// Adds a number.
    pub fn insert(&mut self, event: u64) {
        let (high, low) = halves(event);
        self.0.entry(high).or_default().insert(low);
    }

    /// Takes a number out.
    pub fn remove(&mut self, event: u64) {
        let (high, low) = halves(event);
        if let Some(bitmap) = self.0.get_mut(&high) {
            bitmap.remove(low);
            if bitmap.is_empty() {
                self.0.remove(&high);
            }
        }
    }

    /// Whether the number is in it.
    pub fn contains(&self, event: u64) -> bool {
        let (high, low) = halves(event);
        self.0.get(&high).is_some_and(|bitmap| bitmap.contains(low))
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.values().map(RoaringBitmap::len).sum()
    }

    /// Appends the numbers from `first` to `last`, ascending.
    pub fn between(&self, first: u64, last: u64, out: &mut Vec<u64>) {
        let ((first_high, first_low), (last_high, last_low)) = (halves(first), halves(last));
        if first > last {
            return;
        }
        for (high, bitmap) in self.0.range(first_high..=last_high) {
            let mut numbers = bitmap.iter();
            if *high == first_high {
                numbers.advance_to(first_low);
            }
            let inside = |low: &u32| *high < last_high || *low <= last_low;
            let whole = |low| u64::from(*high) << 32 | u64::from(low);
            out.extend(numbers.take_while(inside).map(whole));
        }
    }

    /// Takes out the numbers before `first`, but for those that `kept` has.
    fn forget_before(&mut self, first: u64, kept: &Self) {
        let mut left = Vec::new();
        if first > 0 {
            self.between(0, first - 1, &mut left);
        }
        for event in left {
            if !kept.contains(event) {
                self.remove(event);
            }
        }
    }
}

fn halves(event: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = event.to_be_bytes();
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

/// One upstream's deliveries, but for those that it has.
#[derive(Clone, Debug, Default)]
pub struct Deliveries {
    /// Not settled, as far as the journal says: they wait, or how they were settled is lost.
    pub open: Members,
    /// Given up.
    pub dead: Members,
    /// Dropped by an operator.
    pub discarded: Members,
    /// Sent by an operator, perhaps to another upstream than the event was meant for.
    pub acted: Members,
}

/// What became of events.
#[derive(Clone, Debug, Default)]
pub struct States {
    /// By the digest of the upstream's name.
    pub upstreams: HashMap<u64, Deliveries>,
    /// Events that were kept back, and that an operator has let go.
    pub released: Members,
    /// Events that an operator has dropped as a whole.
    pub dropped: Members,
}

/// There are more upstreams than any journal knows: the rows are not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the catalogue names more upstreams than there can be")]
pub struct TooMany;

impl States {
    /// An event goes to these upstreams, unless it is kept back.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn stored(&mut self, event: u64, recipients: &[u64]) -> Result<(), TooMany> {
        for upstream in recipients {
            self.upstream(*upstream)?.open.insert(event);
        }
        Ok(())
    }

    /// Something was done.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn done(&mut self, row: &DeedRow) -> Result<(), TooMany> {
        let DeedRow { event, upstream, deed, .. } = *row;
        let Some(deed) = deed else { return Ok(()) };
        match deed {
            Deed::Released => self.released.insert(event),
            Deed::Discarded if upstream == 0 => self.dropped.insert(event),
            _ => {}
        }
        if upstream == 0 {
            return Ok(());
        }
        let of = self.upstream(upstream)?;
        match deed {
            Deed::Delivered => {
                of.open.remove(event);
                of.dead.remove(event);
            }
            Deed::Died => {
                of.open.remove(event);
                of.dead.insert(event);
            }
            Deed::Retried => {
                of.open.insert(event);
                of.dead.remove(event);
            }
            Deed::Replayed | Deed::Released => {
                of.open.insert(event);
                of.dead.remove(event);
                of.discarded.remove(event);
                of.acted.insert(event);
            }
            Deed::Discarded => {
                of.open.remove(event);
                of.dead.remove(event);
                of.discarded.insert(event);
            }
        }
        Ok(())
    }

    fn upstream(&mut self, digest: u64) -> Result<&mut Deliveries, TooMany> {
        if self.upstreams.len() >= MAX_UPSTREAMS && !self.upstreams.contains_key(&digest) {
            return Err(TooMany);
        }
        Ok(self.upstreams.entry(digest).or_default())
    }

    /// The events from `first` to `last` that are in any of the sets, ascending.
    pub fn special(&self, first: u64, last: u64) -> Vec<u64> {
        let mut special = Vec::new();
        for of in self.upstreams.values() {
            for members in [&of.open, &of.dead, &of.discarded, &of.acted] {
                members.between(first, last, &mut special);
            }
        }
        self.released.between(first, last, &mut special);
        self.dropped.between(first, last, &mut special);
        special.sort_unstable();
        special.dedup();
        special
    }

    /// The events before `first` are gone, but for those of which there are copies.
    pub fn forget_before(&mut self, first: u64, copies: &Members) {
        for of in self.upstreams.values_mut() {
            for members in [&mut of.open, &mut of.dead, &mut of.discarded, &mut of.acted] {
                members.forget_before(first, copies);
            }
        }
        self.released.forget_before(first, copies);
        self.dropped.forget_before(first, copies);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn deed(event: u64, upstream: u64, deed: Deed) -> DeedRow {
        DeedRow { event, upstream, offset: 0, deed: Some(deed) }
    }

    #[test]
    fn members_agree_with_a_set_beyond_32_bits_too() {
        let mut rng = fastrand::Rng::with_seed(3);
        let (mut members, mut set) = (Members::default(), BTreeSet::new());
        let number = |rng: &mut fastrand::Rng| (1 << 32) - 500 + rng.u64(..1000);
        for _ in 0..3000 {
            let event = number(&mut rng);
            if rng.bool() {
                members.insert(event);
                set.insert(event);
            } else {
                members.remove(event);
                set.remove(&event);
            }
            let (first, last) = (number(&mut rng), number(&mut rng));
            let mut found = Vec::new();
            members.between(first, last, &mut found);
            let wanted: Vec<u64> =
                set.iter().copied().filter(|n| (first..=last).contains(n)).collect();
            assert_eq!(found, wanted, "{first}..={last}");
            assert_eq!(members.contains(first), set.contains(&first));
            assert_eq!(members.count(), set.len() as u64);
        }
        let (kept, first) = (*set.first().unwrap(), 1 << 32);
        let mut copies = Members::default();
        copies.insert(kept);
        members.forget_before(first, &copies);
        set.retain(|n| *n >= first || *n == kept);
        let mut left = Vec::new();
        members.between(0, u64::MAX, &mut left);
        assert_eq!(left, set.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn deeds_move_an_event_from_one_state_to_the_next() {
        let mut states = States::default();
        states.stored(7, &[1, 2]).unwrap();
        let is = |states: &States, upstream: u64| {
            let of = &states.upstreams[&upstream];
            [&of.open, &of.dead, &of.discarded].map(|members| members.contains(7))
        };
        assert_eq!(is(&states, 1), [true, false, false]);
        for (what, then) in [
            (Deed::Retried, [true, false, false]),
            (Deed::Died, [false, true, false]),
            (Deed::Replayed, [true, false, false]),
            (Deed::Delivered, [false, false, false]),
            (Deed::Died, [false, true, false]),
            (Deed::Discarded, [false, false, true]),
            (Deed::Replayed, [true, false, false]),
        ] {
            states.done(&deed(7, 1, what)).unwrap();
            assert_eq!(is(&states, 1), then, "{what:?}");
        }
        assert_eq!(is(&states, 2), [true, false, false]);
        assert!(!states.dropped.contains(7) && !states.released.contains(7));
        states.done(&deed(7, 0, Deed::Discarded)).unwrap();
        states.done(&deed(7, 0, Deed::Released)).unwrap();
        assert!(states.dropped.contains(7) && states.released.contains(7));
        states.done(&DeedRow { deed: None, ..deed(7, 2, Deed::Died) }).unwrap();
        assert_eq!(is(&states, 2), [true, false, false]);
    }

    #[test]
    fn rows_of_endless_upstreams_are_refused() {
        let mut states = States::default();
        let refused = (1..).find(|upstream| states.done(&deed(1, *upstream, Deed::Died)).is_err());
        assert_eq!(refused, Some(MAX_UPSTREAMS as u64 + 1));
    }
}
