//! Encryption at rest: the configured keys, the slot that keeps a segment's own key under one of
//! them, the cipher of a segment's frames, and the digest that stands for a dedupe key in the index.
//! Knows nothing of files. docs/encryption.md says what this protects from whom.
//!
//! Every segment has a data key of its own, random and never used again, so that a nonce needs to be
//! unique within the segment only: it is a counter that goes up with every frame that is sealed,
//! whether or not the frame ever reaches the disk.

mod cipher;
mod digest;
mod fingerprint;
mod keyring;
mod slot;
#[cfg(test)]
mod tests;

pub use self::cipher::{Cipher, Clear, OVERHEAD, Sealer};
pub use self::digest::{Digests, Field};
pub use self::fingerprint::Fingerprints;
pub use self::keyring::{KeyId, Keyring, MasterKey};
pub use self::slot::{FRAMES_AT, SLOT_LEN, SLOTS_AT, SegmentSecret, Slot, SlotError};

use hmac::{Hmac, KeyInit as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::secret::Key;

/// The cipher refused. It does so for what is not authentic, and for more than 64 GiB at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cipher refused")]
pub struct Refused;

/// HMAC-SHA256 under a key of 256 bits, which the MAC pads with zeros to its block.
fn mac(key: &Key) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0_u8; 64]);
    let (start, _) = block.split_at_mut(32);
    start.copy_from_slice(key.expose());
    Hmac::new((&*block).into())
}
