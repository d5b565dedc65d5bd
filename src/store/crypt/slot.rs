//! A key slot: a segment's own key and the journal's index key, encrypted under a configured key.
//! A segment has room for two, so that one can be written before the other is wiped.

use std::fmt;
use std::io;

use ring::aead::{Aad, NONCE_LEN, Nonce};
use zeroize::Zeroizing;

use super::keyring::{KeyId, Keyring, MasterKey};
use super::{Cipher, Refused};
use crate::secret::{Key, random};
use crate::store::journal::input::Input;

/// Bytes of a slot; the rest of its page is zero.
pub const SLOT_LEN: usize = 132;

/// Where the slots are. Each has a page of its own, the header has another, and the frames follow:
/// a write of one never touches the device's blocks that hold another.
pub const SLOTS_AT: [u32; 2] = [4096, 8192];

/// Where an encrypted segment's first frame is.
pub const FRAMES_AT: u32 = 12_288;

const MAGIC: &[u8; 8] = b"HWKEYSLT";
const VERSION: u16 = 1;
/// What is authenticated in clear: everything in front of the nonce.
const CLEAR_LEN: usize = 36;
const SECRET_LEN: usize = 64;
const SEALED_AT: usize = CLEAR_LEN + NONCE_LEN;
const TAG_AT: usize = SEALED_AT + SECRET_LEN;
const CRC_AT: usize = SLOT_LEN - 4;

/// What a slot keeps: 32 bytes that key the segment's cipher, and 32 that key the journal's index,
/// the same in all its segments.
pub struct SegmentSecret(Zeroizing<[u8; SECRET_LEN]>);

impl SegmentSecret {
    /// A new data key beside the journal's index key.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn generate(index_key: &Key) -> io::Result<Self> {
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        let (data, index) = secret.split_at_mut(32);
        random(data)?;
        index.copy_from_slice(index_key.expose());
        Ok(Self(secret))
    }

    /// The cipher of the segment's frames.
    ///
    /// # Errors
    /// [`Refused`], which does not happen for keys of this length.
    pub fn cipher(&self, journal: u64, segment: u32) -> Result<Cipher, Refused> {
        let (data, _) = self.0.split_at(32);
        Cipher::new(data, journal, segment)
    }

    /// The journal's index key.
    pub fn index_key(&self) -> Key {
        let mut key = Zeroizing::new([0; 32]);
        let (_, index) = self.0.split_at(32);
        key.copy_from_slice(index);
        Key::new(key)
    }
}

impl fmt::Debug for SegmentSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A slot whose checksum fits. Its secret is still closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot([u8; SLOT_LEN]);

/// Why a whole slot does not give its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotError {
    /// The key that it is under is not configured.
    Missing(KeyId),
    /// It is not what was written under that key.
    Forged,
}

impl Slot {
    /// Encrypts a segment's secret under `key`. Up to `plain_upto` there may be segments in clear.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn wrap(
        secret: &SegmentSecret,
        journal: u64,
        segment: u32,
        plain_upto: u32,
        key: &MasterKey,
    ) -> io::Result<Self> {
        let mut out = [0; SLOT_LEN];
        out[..8].copy_from_slice(MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&segment.to_le_bytes());
        out[16..24].copy_from_slice(&journal.to_le_bytes());
        out[24..32].copy_from_slice(&key.id().0);
        out[32..CLEAR_LEN].copy_from_slice(&plain_upto.to_le_bytes());
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce)?;
        out[CLEAR_LEN..SEALED_AT].copy_from_slice(&nonce);
        let mut sealed = secret.0.clone();
        let (clear, _) = out.split_at(CLEAR_LEN);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.aead().and_then(|aead| {
            let sealed = sealed.as_mut_slice();
            aead.seal_in_place_separate_tag(nonce, Aad::from(clear), sealed).map_err(|_| Refused)
        });
        let tag = tag.map_err(io::Error::other)?;
        out[SEALED_AT..TAG_AT].copy_from_slice(sealed.as_slice());
        out[TAG_AT..CRC_AT].copy_from_slice(tag.as_ref());
        let crc = crc32c::crc32c(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        Ok(Self(out))
    }

    /// Reads a slot, if a whole one stands there.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let slot: [u8; SLOT_LEN] = bytes.get(..SLOT_LEN)?.try_into().ok()?;
        let mut input = Input(&slot);
        let magic = input.bytes(MAGIC.len())?;
        let version = input.u16()?;
        let crc = u32::from_le_bytes(slot[CRC_AT..].try_into().ok()?);
        let whole = crc32c::crc32c(&slot[..CRC_AT]) == crc;
        (magic == MAGIC && version == VERSION && whole).then_some(Self(slot))
    }

    /// The bytes that stand in the file.
    pub fn bytes(&self) -> &[u8; SLOT_LEN] {
        &self.0
    }

    /// The number of the segment that it is of.
    pub fn segment(&self) -> u32 {
        u32::from_le_bytes(self.field(12))
    }

    /// The random number of the journal that it is of.
    pub fn journal(&self) -> u64 {
        u64::from_le_bytes(self.field(16))
    }

    /// The key that it is under.
    pub fn key(&self) -> KeyId {
        KeyId(self.field(24))
    }

    /// The last segment that was there in clear when this one was begun, from before the encryption; 0:
    /// there was none. To be believed of a slot that opens.
    pub fn plain_upto(&self) -> u32 {
        u32::from_le_bytes(self.field(32))
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|rest| rest.first_chunk().copied()).unwrap_or([0; N])
    }

    /// The secret in it.
    ///
    /// # Errors
    /// [`SlotError`].
    pub fn open(&self, keys: &Keyring) -> Result<SegmentSecret, SlotError> {
        let key = keys.find(self.key()).ok_or(SlotError::Missing(self.key()))?;
        let aead = key.aead().map_err(|_| SlotError::Forged)?;
        let mut sealed = Zeroizing::new([0; CRC_AT - SEALED_AT]);
        sealed.copy_from_slice(&self.0[SEALED_AT..CRC_AT]);
        let nonce = Nonce::assume_unique_for_key(self.field(CLEAR_LEN));
        let aad = Aad::from(&self.0[..CLEAR_LEN]);
        let opened = aead.open_in_place(nonce, aad, sealed.as_mut_slice());
        let opened = opened.map_err(|_| SlotError::Forged)?;
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        secret.copy_from_slice(opened.get(..SECRET_LEN).ok_or(SlotError::Forged)?);
        Ok(SegmentSecret(secret))
    }
}
