//! The configured keys: the first is used for new segments, all of them for reading.

use std::fmt;

use hmac::Mac as _;
use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};

use super::{Refused, mac};
use crate::secret::Key;

/// What the id of a key is the MAC of: nothing else is ever authenticated under this text.
const ID_DOMAIN: &[u8] = b"hookward store key id 1";

/// A configured key's name: eight bytes that say nothing about the key, in hexadecimal for people.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A configured key. It encrypts nothing but the keys of segments.
#[derive(Clone, Debug)]
pub struct MasterKey {
    id: KeyId,
    key: Key,
}

impl MasterKey {
    fn new(key: Key) -> Self {
        Self { id: id_of(&key), key }
    }

    /// Its name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    pub(super) fn aead(&self) -> Result<LessSafeKey, Refused> {
        aead(self.key.expose())
    }
}

pub(super) fn aead(key: &[u8]) -> Result<LessSafeKey, Refused> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_| Refused)
}

fn id_of(key: &Key) -> KeyId {
    let digest = mac(key).chain_update(ID_DOMAIN).finalize().into_bytes();
    KeyId(digest.first_chunk().copied().unwrap_or_default())
}

/// All configured keys. Empty: nothing is encrypted.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Vec<MasterKey>);

impl Keyring {
    /// The keys in the configuration's order.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Self {
        Self(keys.into_iter().map(MasterKey::new).collect())
    }

    /// What new segments' keys are kept under.
    pub fn current(&self) -> Option<&MasterKey> {
        self.0.first()
    }

    /// The key with this name.
    pub fn find(&self, id: KeyId) -> Option<&MasterKey> {
        self.0.iter().find(|key| key.id == id)
    }

    /// Their names, in the configuration's order.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.iter().map(|key| key.id)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
