//! The dedupe table: which places in the journal may hold a given key. It knows eight bytes of
//! each key, so a hit is a place to look, never an answer; a miss is an answer, and costs no I/O.
//!
//! Sharded so that no look-up waits for the growth of the whole table. 17 bytes a slot, at most
//! seven slots in eight full.

use hashbrown::HashTable;
use parking_lot::Mutex;

use super::crypt::Fingerprints;
use super::journal::segment::Place;
use crate::event::DedupeKey;

const SHARDS: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Slot {
    fingerprint: u64,
    place: u64,
}

/// Fingerprints of all stored keys, and where their events stand.
#[derive(Debug)]
pub struct DedupeTable {
    fingerprints: Fingerprints,
    shards: Vec<Mutex<HashTable<Slot>>>,
}

impl DedupeTable {
    /// An empty table that knows keys by these fingerprints.
    pub fn new(fingerprints: Fingerprints) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(HashTable::new())).collect();
        Self { fingerprints, shards }
    }

    /// What it knows the key by.
    pub fn fingerprint(&self, key: &DedupeKey) -> u64 {
        self.fingerprints.of(key)
    }

    /// Places of events whose key may be the one with this fingerprint: almost always none or one.
    pub fn candidates(&self, fingerprint: u64) -> Vec<Place> {
        let Some(shard) = self.shard(fingerprint) else { return Vec::new() };
        let shard = shard.lock();
        shard
            .iter_hash(fingerprint)
            .filter(|slot| slot.fingerprint == fingerprint)
            .map(|slot| Place::unpack(slot.place))
            .collect()
    }

    /// Remembers that an event whose key has this fingerprint stands at `place`.
    pub fn insert(&self, fingerprint: u64, place: Place) {
        let Some(shard) = self.shard(fingerprint) else { return };
        let slot = Slot { fingerprint, place: place.pack() };
        shard.lock().insert_unique(fingerprint, slot, |slot| slot.fingerprint);
    }

    /// Forgets all events in segments before `segment`.
    pub fn forget_before(&self, segment: u32) {
        let bound = Place { segment, offset: 0 }.pack();
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.retain(|slot| slot.place >= bound);
            if shard.len() < shard.capacity() / 4 {
                shard.shrink_to_fit(|slot| slot.fingerprint);
            }
        }
    }

    /// How many events it knows.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The table within a shard goes by the low bits (and the top seven), so the shard is chosen
    /// by bits in between.
    fn shard(&self, fingerprint: u64) -> Option<&Mutex<HashTable<Slot>>> {
        self.shards.get((fingerprint >> 40) as usize % SHARDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64, rest: u8) -> DedupeKey {
        let mut bytes = [rest; 32];
        bytes[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        DedupeKey(bytes)
    }

    fn print(n: u64, rest: u8) -> u64 {
        Fingerprints::plain().of(&key(n, rest))
    }

    fn place(n: u32) -> Place {
        Place { segment: n / 10 + 1, offset: n % 10 * 100 + 64 }
    }

    #[test]
    fn finds_every_place_of_a_fingerprint_and_nothing_else() {
        let table = DedupeTable::new(Fingerprints::plain());
        for n in 0..10_000 {
            table.insert(print(n.into(), 0), place(n));
        }
        table.insert(print(7, 0), place(77_777));
        assert_eq!(table.candidates(print(8, 0)), [place(8)]);
        let mut two = table.candidates(print(7, 1));
        two.sort();
        assert_eq!(two, [place(7), place(77_777)]);
        assert_eq!(table.candidates(print(10_001, 0)), []);
        assert_eq!(table.len(), 10_001);
    }

    #[test]
    fn forgets_what_the_journal_has_let_go() {
        let table = DedupeTable::new(Fingerprints::plain());
        for n in 0..1000 {
            table.insert(print(n.into(), 0), place(n));
        }
        table.forget_before(51);
        assert_eq!(table.candidates(print(499, 0)), []);
        assert_eq!(table.candidates(print(500, 0)), [place(500)]);
        assert_eq!(table.len(), 500);
    }
}
