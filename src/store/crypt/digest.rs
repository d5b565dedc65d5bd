//! The digests by which the catalogue knows texts of events: a MAC of each, so that without the journal's
//! index key nobody can tell from the catalogue what some event is about, by guessing. In a journal that
//! is not encrypted the key is made from the journal's random number alone: it keeps nothing secret
//! there, but no sender can choose texts whose digests are the same.

use std::fmt;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::mac;
use crate::secret::Key;

/// Keeps these digests apart from all others that are made with the index key. No dedupe key is as long.
const DOMAIN: &[u8] = b"hookward catalogue digests, version 1";

/// What a digest is of. Digests of different fields have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// All of it: what tells one key from another.
    Mark = 0,
    /// A source's name.
    Source = 1,
    /// A normalized event name.
    Kind = 2,
    /// What an event is about.
    Subject = 3,
    /// Hookward's own id of an event.
    Id = 4,
    /// An upstream's name.
    Upstream = 5,
    /// The names of all upstreams that an event goes to.
    Recipients = 6,
}

/// How the catalogue of one journal digests texts.
#[derive(Clone)]
pub struct Digests {
    mac: Hmac<Sha256>,
    keyed: bool,
}

impl Digests {
    /// For the journal with this number and, if it is encrypted, this index key.
    pub fn new(index_key: Option<&Key>, journal: u64) -> Self {
        let root = index_key.map_or_else(|| mac(&Key::new([0; 32].into())), mac);
        let own = root.chain_update(DOMAIN).chain_update(journal.to_le_bytes()).finalize();
        let mut key = zeroize::Zeroizing::new([0; 32]);
        key.copy_from_slice(&own.into_bytes());
        Self { mac: mac(&Key::new(key)), keyed: index_key.is_some() }
    }

    /// The digest of a field that consists of these parts.
    pub fn of<'a>(&self, field: Field, parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let mut mac = self.mac.clone();
        mac.update(&[field as u8]);
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        let digest = mac.finalize().into_bytes();
        u64::from_le_bytes(digest.first_chunk().copied().unwrap_or_default())
    }

    /// The first half of it; never 0, which says that there is nothing.
    pub fn short(&self, field: Field, text: &[u8]) -> u32 {
        let [a, b, c, d, ..] = self.of(field, [text]).to_le_bytes();
        u32::from_le_bytes([a, b, c, d]).max(1)
    }

    /// What a catalogue is marked with whose digests are these.
    pub fn mark(&self) -> u64 {
        self.of(Field::Mark, [])
    }
}

impl fmt::Debug for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.keyed { "keyed" } else { "plain" })
    }
}
