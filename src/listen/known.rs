//! Clients that have proven themselves lately: a request of theirs was verified.
//!
//! A hash table of fixed size whose sets of eight have a lock each. Only who holds a credential gets
//! in, so strangers cannot wash anybody out; where a set is full, the one that was seen longest ago
//! makes room.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::network::Network;

/// How many are remembered at most: 128 KiB.
const CLIENTS: usize = 4096;

/// Entries that share a lock.
const WAYS: usize = 8;

/// How long a client is remembered after a connection on which a request was verified: longer than
/// a lab is silent over holidays.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);

/// The clients of one listener. Takes memory from the first one on.
#[derive(Debug, Default)]
pub(crate) struct Known(OnceLock<Table>);

#[derive(Debug)]
struct Table {
    sets: Box<[Mutex<[Option<Seen>; WAYS]>]>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    client: Network,
    last: Instant,
}

impl Known {
    /// A request of this client was verified.
    pub(super) fn note(&self, client: Network) {
        let table = self.0.get_or_init(Table::new);
        let Some(set) = table.set(client) else { return };
        let (mut set, last) = (set.lock(), Instant::now());
        let same = set.iter().position(|seen| seen.is_some_and(|seen| seen.client == client));
        // `None`, an entry that was never used, is the least.
        let oldest = || (0..WAYS).min_by_key(|at| set.get(*at).copied().flatten().map(|s| s.last));
        if let Some(entry) = same.or_else(oldest).and_then(|at| set.get_mut(at)) {
            *entry = Some(Seen { client, last });
        }
    }

    /// Whether a request of this client was verified lately.
    pub(super) fn holds(&self, client: Network) -> bool {
        let Some(set) = self.0.get().and_then(|table| table.set(client)) else { return false };
        let (set, now) = (set.lock(), Instant::now());
        set.iter()
            .flatten()
            .any(|seen| seen.client == client && now.duration_since(seen.last) < REMEMBERED)
    }
}

impl Table {
    fn new() -> Self {
        let sets = (0..CLIENTS / WAYS).map(|_| Mutex::new([None; WAYS])).collect();
        Self { sets, hasher: RandomState::new() }
    }

    fn set(&self, client: Network) -> Option<&Mutex<[Option<Seen>; WAYS]>> {
        let sets = u64::try_from(self.sets.len()).unwrap_or(u64::MAX);
        let at = self.hasher.hash_one(client).checked_rem(sets)?;
        self.sets.get(usize::try_from(at).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::advance;

    use super::*;

    fn client(n: u32) -> Network {
        Network::V4(Ipv4Addr::from_bits(n))
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_verified_is_known_for_a_week() {
        let known = Known::default();
        assert!(!known.holds(client(1)));
        known.note(client(1));
        assert!(known.holds(client(1)) && !known.holds(client(2)));
        advance(REMEMBERED - Duration::from_secs(1)).await;
        assert!(known.holds(client(1)));
        known.note(client(2));
        advance(Duration::from_secs(1)).await;
        assert!(!known.holds(client(1)) && known.holds(client(2)));
        known.note(client(1));
        assert!(known.holds(client(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_million_clients_take_no_more_memory_than_one() {
        let known = Known::default();
        for n in 0..1_000_000 {
            known.note(client(n));
            if n % 64 == 0 {
                advance(Duration::from_millis(1)).await;
            }
        }
        let table = known.0.get().unwrap();
        assert!(size_of_val(&*table.sets) <= 192 << 10, "{}", size_of_val(&*table.sets));
        let held = (0..1_000_000).filter(|n| known.holds(client(*n))).count();
        assert!((CLIENTS - WAYS..=CLIENTS).contains(&held), "{held}");
        assert!((999_900..1_000_000).all(|n| known.holds(client(n))), "the last are kept");
    }

    #[tokio::test(start_paused = true)]
    async fn who_calls_again_keeps_one_entry_and_is_the_last_to_go() {
        let known = Known::default();
        for n in 0..100_000 {
            known.note(client(0));
            known.note(client(n));
            advance(Duration::from_millis(1)).await;
        }
        assert!(known.holds(client(0)));
        let table = known.0.get().unwrap();
        let of_one = |set: &Mutex<[Option<Seen>; WAYS]>| {
            set.lock().iter().flatten().filter(|seen| seen.client == client(0)).count()
        };
        assert_eq!(table.sets.iter().map(of_one).sum::<usize>(), 1);
    }
}
