//! What refusals may take of the trail over days. A minute's bounds alone would let one client, at a steady
//! pace, push out within days what was recorded in years.

use std::collections::HashMap;

use super::minute::{FIRST_OF_ALL, Neighbours, PAIRS, SHARE, SINGLE_OF_ALL};

/// Days of refusals that the trail has room for, whatever is sent.
const DAYS: u64 = 14;
/// Bytes that a record takes: no refusal has many more, and most have a third.
const RECORD: u64 = 2048;
/// Records a minute that are always allowed.
const LEAST: u64 = 16;
/// No machine has a use for more: then the minute's own bounds are what counts.
const MOST: u64 = 1 << 20;
/// Networks that are known to have taken more than they may.
const DEBTORS: usize = 4_096;
/// Minutes of a day.
const DAY: u64 = 24 * 60;

/// Lines and pairs that there are in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) first: u64,
    pub(super) single: u64,
    pub(super) pairs: u64,
}

impl Bounds {
    const OF_ALL: Self = Self { first: FIRST_OF_ALL, single: SINGLE_OF_ALL, pairs: PAIRS as u64 };

    /// So many records; half of them are for sums over those who have none of their own.
    fn of(records: u64) -> Self {
        let quarter = (records / 4).max(1);
        Self { first: quarter, single: 0, pairs: quarter }
    }

    /// What one network gets of it.
    pub(super) fn share(self) -> Self {
        let Self { first, single, pairs } = self;
        let part = |n: u64| if n == 0 { 0 } else { (n / SHARE).max(1) };
        Self { first: part(first), single: part(single), pairs: part(pairs) }
    }
}

/// What was taken beyond what there is for each minute, of all clients and of each network that has. Whoever
/// has taken a day's in advance gets from then on what there is for a minute.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Records for a minute; `None`: no end of them.
    a_minute: Option<u64>,
    debt: u64,
    debtors: HashMap<Neighbours, u64>,
}

impl Budget {
    /// For a trail, or a part of it, that may have so many bytes.
    pub(super) fn resize(&mut self, bytes: u64) {
        self.a_minute = Some((bytes / RECORD / DAYS / DAY).clamp(LEAST, MOST));
    }

    /// What there is for all.
    pub(super) fn of_all(&self) -> Bounds {
        match self.a_minute.filter(|a_minute| self.debt >= a_minute * DAY) {
            Some(a_minute) => Bounds::of(a_minute),
            None => Bounds::OF_ALL,
        }
    }

    /// What there is for one network where there is so much for all.
    pub(super) fn of(&self, network: Neighbours, of_all: Bounds) -> Bounds {
        let debt = self.debtors.get(&network).copied().unwrap_or(0);
        match self.a_minute.filter(|a_minute| debt >= a_minute * DAY / SHARE) {
            Some(a_minute) => Bounds::of(a_minute).share(),
            None => of_all.share(),
        }
    }

    /// So many minutes have passed, in the first of which these records were taken by networks, and so many
    /// by those who have none of their own.
    pub(super) fn pass(
        &mut self,
        minutes: u64,
        by_networks: impl Iterator<Item = (Neighbours, u64)>,
        by_others: u64,
    ) {
        let Some(a_minute) = self.a_minute else { return };
        let paid = a_minute.saturating_mul(minutes);
        self.debt += by_others;
        for (network, records) in by_networks {
            self.debt += records;
            let has_room = self.debtors.len() < DEBTORS;
            match self.debtors.get_mut(&network) {
                Some(debt) => *debt += records,
                None if has_room && records > paid / SHARE => {
                    self.debtors.insert(network, records);
                }
                None => {}
            }
        }
        // What is beyond two days' is forgiven: a flood that is over is over.
        let (most, of_network) = (2 * a_minute * DAY, paid / SHARE);
        self.debt = self.debt.saturating_sub(paid).min(most);
        self.debtors.retain(|_, debt| {
            *debt = debt.saturating_sub(of_network).min(most / SHARE);
            *debt > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_networks_that_are_remembered_are_bounded_and_forgotten() {
        let mut budget = Budget::default();
        budget.resize(1 << 30);
        let networks = (0..10_000_u32).map(|n| {
            let [a, b, c, _] = (n << 8).to_be_bytes();
            (Neighbours::V4([a, b, c]), 1_000)
        });
        budget.pass(1, networks, 0);
        assert_eq!(budget.debtors.len(), DEBTORS);
        budget.pass(2 * DAY, std::iter::empty(), 0);
        assert_eq!((budget.debtors.len(), budget.debt), (0, 0));
    }
}
