//! The buckets of very many clients in memory that does not grow.
//!
//! A hash table of fixed size whose sets of eight slots have a lock each. A bucket that is full
//! again is a free slot. Where a set has none, the fullest bucket makes room: forgetting it gives
//! its client what little it had used up, and nobody can wash out the bucket that he has emptied
//! himself without emptying as many others as deeply.

use std::hash::{BuildHasher, RandomState};

use governor::nanos::Nanos;
use governor::state::StateStore;
use parking_lot::Mutex;

use crate::network::Network;

/// Slots that share a lock.
const WAYS: usize = 8;

/// A bounded number of buckets, one a client.
#[derive(Debug)]
pub(super) struct Table {
    sets: Box<[Mutex<[Slot; WAYS]>]>,
    hasher: RandomState,
}

/// A client's bucket: when it will be full again (GCRA's theoretical arrival time), in nanoseconds
/// of the limiter's clock; 0 for one that has never been used.
#[derive(Clone, Copy, Debug)]
struct Slot {
    client: Network,
    full_at: u64,
}

impl Table {
    /// A table for `slots` clients, all of it allocated at once.
    pub(super) fn new(slots: usize) -> Self {
        let free = Slot { client: Network::Unknown, full_at: 0 };
        let sets = (0..slots.div_ceil(WAYS).max(1)).map(|_| Mutex::new([free; WAYS]));
        Self { sets: sets.collect(), hasher: RandomState::new() }
    }

    /// Clients with a bucket that was not full when it was last used.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        let used =
            |set: &Mutex<[Slot; WAYS]>| set.lock().iter().filter(|slot| slot.full_at > 0).count();
        self.sets.iter().map(used).sum()
    }

    /// Bytes that it takes, whatever it holds.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.sets)
    }

    fn set(&self, client: &Network) -> Option<&Mutex<[Slot; WAYS]>> {
        let sets = u64::try_from(self.sets.len()).unwrap_or(u64::MAX);
        let at = self.hasher.hash_one(client) % sets;
        self.sets.get(usize::try_from(at).unwrap_or(0))
    }
}

impl StateStore for Table {
    type Key = Network;

    fn measure_and_replace<T, F, E>(&self, client: &Network, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let Some(set) = self.set(client) else { return decide(None).map(|(outcome, _)| outcome) };
        let mut set = set.lock();
        let known = set.iter_mut().find(|slot| slot.full_at > 0 && slot.client == *client);
        if let Some(slot) = known {
            let (outcome, full_at) = decide(Some(slot.full_at.into()))?;
            slot.full_at = full_at.as_u64();
            return Ok(outcome);
        }
        let (outcome, full_at) = decide(None)?;
        if let Some(slot) = set.iter_mut().min_by_key(|slot| slot.full_at) {
            *slot = Slot { client: *client, full_at: full_at.as_u64() };
        }
        Ok(outcome)
    }
}
