//! How long the oldest of a lane's deliveries has been waiting, without looking at all of them: a
//! lane is locked for single steps only, and may hold a million.

use std::collections::VecDeque;

use crate::clock::UnixMillis;
use crate::event::Sequence;

/// Settled ones between others that are kept before they are cleared away.
const SPARSE: usize = 1024;

/// What is held, in the order of acceptance, 24 bytes each. What is settled out of order stays as a
/// gap until it is at the front, or gaps are the most of it.
#[derive(Debug, Default)]
pub(super) struct Ages {
    line: VecDeque<(Sequence, Option<UnixMillis>)>,
    gaps: usize,
}

impl Ages {
    /// A delivery is held from now on. They come in order, or almost.
    pub(super) fn add(&mut self, sequence: Sequence, received_at: UnixMillis) {
        let behind = self.line.back().is_some_and(|(last, _)| *last >= sequence);
        let at = if behind { self.find(sequence) } else { Err(self.line.len()) };
        match at {
            Err(at) => self.line.insert(at, (sequence, Some(received_at))),
            Ok(at) => {
                if let Some((_, slot)) = self.line.get_mut(at) {
                    self.gaps -= usize::from(slot.is_none());
                    *slot = Some(received_at);
                }
            }
        }
    }

    /// A delivery is held no more.
    pub(super) fn remove(&mut self, sequence: Sequence) {
        let Ok(at) = self.find(sequence) else { return };
        if let Some((_, slot)) = self.line.get_mut(at) {
            self.gaps += usize::from(slot.take().is_some());
        }
        while let Some((_, None)) = self.line.front() {
            self.line.pop_front();
            self.gaps -= 1;
        }
        if self.gaps > SPARSE && self.gaps > self.line.len() / 2 {
            self.line.retain(|(_, slot)| slot.is_some());
            self.gaps = 0;
        }
    }

    /// Whether it is held.
    pub(super) fn has(&self, sequence: Sequence) -> bool {
        self.find(sequence)
            .is_ok_and(|at| self.line.get(at).is_some_and(|(_, slot)| slot.is_some()))
    }

    /// When the oldest one was received.
    pub(super) fn oldest(&self) -> Option<UnixMillis> {
        self.line.front().and_then(|(_, received_at)| *received_at)
    }

    fn find(&self, sequence: Sequence) -> Result<usize, usize> {
        self.line.binary_search_by_key(&sequence, |(sequence, _)| *sequence)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_oldest_is_the_first_that_is_not_settled() {
        let mut ages = Ages::default();
        assert_eq!(ages.oldest(), None);
        for n in 1..=3 {
            ages.add(Sequence(n), UnixMillis(n * 10));
        }
        ages.remove(Sequence(2));
        assert_eq!(ages.oldest(), Some(UnixMillis(10)));
        ages.remove(Sequence(1));
        assert_eq!(ages.oldest(), Some(UnixMillis(30)));
        ages.remove(Sequence(1));
        ages.add(Sequence(2), UnixMillis(20));
        assert_eq!(ages.oldest(), Some(UnixMillis(20)));
        ages.remove(Sequence(2));
        ages.remove(Sequence(3));
        assert_eq!((ages.oldest(), ages.line.len(), ages.gaps), (None, 0, 0));
    }

    #[test]
    fn it_agrees_with_a_map_and_does_not_grow_behind_one_that_stays() {
        let (mut ages, mut map) = (Ages::default(), BTreeMap::new());
        let mut rng = fastrand::Rng::with_seed(7);
        for n in 0..50_000_u64 {
            ages.add(Sequence(n), UnixMillis(n));
            map.insert(n, UnixMillis(n));
            // The first one stays: an event that its upstream does not take.
            let settled = rng.u64(1..=n.max(1));
            ages.remove(Sequence(settled));
            map.remove(&settled);
            let newest = n.saturating_sub(20).max(1);
            ages.remove(Sequence(newest));
            map.remove(&newest);
            assert_eq!(ages.oldest(), map.values().next().copied());
        }
        assert!(ages.line.len() <= 2 * (map.len() + SPARSE), "{} slots", ages.line.len());
        assert_eq!(ages.gaps, ages.line.iter().filter(|(_, slot)| slot.is_none()).count());
    }
}
