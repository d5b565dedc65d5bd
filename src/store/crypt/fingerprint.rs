//! The eight bytes that stand for a dedupe key in memory and in the index. In an encrypted journal
//! they are a MAC: without the journal's index key nobody can tell from the index whether some event
//! is stored, by guessing what its key would be.

use std::fmt;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::mac;
use crate::event::DedupeKey;
use crate::secret::Key;

/// What tells one index key from another, in the index. No dedupe key is as short.
const CHECK: &[u8] = b"hookward index key 1";

/// How dedupe keys are digested.
#[derive(Clone, Default)]
pub struct Fingerprints(Option<Hmac<Sha256>>);

impl Fingerprints {
    /// By their own first bytes: for a journal that is not encrypted.
    pub fn plain() -> Self {
        Self(None)
    }

    /// By a MAC under the journal's index key.
    pub fn keyed(key: &Key) -> Self {
        Self(Some(mac(key)))
    }

    /// Whether they need a key.
    pub fn are_keyed(&self) -> bool {
        self.0.is_some()
    }

    /// The fingerprint of a key.
    pub fn of(&self, key: &DedupeKey) -> u64 {
        match &self.0 {
            None => first_eight(&key.0),
            Some(mac) => digest(mac, &key.0),
        }
    }

    /// What an index is marked with whose fingerprints are these; 0 for plain ones.
    pub fn mark(&self) -> u64 {
        self.0.as_ref().map_or(0, |mac| digest(mac, CHECK).max(1))
    }
}

fn digest(mac: &Hmac<Sha256>, message: &[u8]) -> u64 {
    first_eight(&mac.clone().chain_update(message).finalize().into_bytes())
}

fn first_eight(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default())
}

impl fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.are_keyed() { "keyed" } else { "plain" })
    }
}
