//! The dedupe table: which places in the journal may hold a given key. It knows eight bytes of
//! each key, so a hit is a place to look, never an answer; a miss is an answer, and costs no I/O.
//!
//! Sharded so that no look-up waits for the growth of the whole table. 17 bytes a slot, at most
//! seven slots in eight full.

use hashbrown::HashTable;
use parking_lot::Mutex;

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
    shards: Vec<Mutex<HashTable<Slot>>>,
}

impl Default for DedupeTable {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::new(HashTable::new())).collect() }
    }
}

impl DedupeTable {
    /// Places of events whose key may be this one: almost always none or one.
    pub fn candidates(&self, key: &DedupeKey) -> Vec<Place> {
        let fingerprint = key.fingerprint();
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

    fn place(n: u32) -> Place {
        Place { segment: n / 10 + 1, offset: n % 10 * 100 + 64 }
    }

    #[test]
    fn finds_every_place_of_a_fingerprint_and_nothing_else() {
        let table = DedupeTable::default();
        for n in 0..10_000 {
            table.insert(key(n.into(), 0).fingerprint(), place(n));
        }
        table.insert(key(7, 0).fingerprint(), place(77_777));
        assert_eq!(table.candidates(&key(8, 0)), [place(8)]);
        let mut two = table.candidates(&key(7, 1));
        two.sort();
        assert_eq!(two, [place(7), place(77_777)]);
        assert_eq!(table.candidates(&key(10_001, 0)), []);
        assert_eq!(table.len(), 10_001);
    }

    #[test]
    fn forgets_what_the_journal_has_let_go() {
        let table = DedupeTable::default();
        for n in 0..1000 {
            table.insert(key(n.into(), 0).fingerprint(), place(n));
        }
        table.forget_before(51);
        assert_eq!(table.candidates(&key(499, 0)), []);
        assert_eq!(table.candidates(&key(500, 0)), [place(500)]);
        assert_eq!(table.len(), 500);
    }
}
