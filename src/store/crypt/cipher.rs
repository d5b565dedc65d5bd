//! The cipher of one segment's frames: AES-256-GCM under the segment's own key.
//!
//! A sealed payload is the nonce's counter, the ciphertext and the tag. What a frame says in clear,
//! and where it belongs, is authenticated with it: a frame that is moved to another segment or
//! number, or whose kind is changed, does not open.

use std::fmt;
use std::ops::Range;

use ring::aead::{Aad, LessSafeKey, Nonce};

use super::Refused;
use super::keyring::aead;
use crate::event::Sequence;

const COUNTER_LEN: usize = 8;
const TAG_LEN: usize = 16;

/// Bytes that a sealed payload has beyond what is in it.
pub const OVERHEAD: usize = COUNTER_LEN + TAG_LEN;

/// What a frame says in clear, and is authenticated with its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clear {
    /// The frame's number.
    pub sequence: Sequence,
    /// What it holds, as its byte.
    pub kind: u8,
    /// Bytes from the start of its batch.
    pub back: u32,
}

/// Opens the frames of one segment.
pub struct Cipher {
    key: LessSafeKey,
    journal: u64,
    segment: u32,
}

impl Cipher {
    pub(super) fn new(key: &[u8], journal: u64, segment: u32) -> Result<Self, Refused> {
        Ok(Self { key: aead(key)?, journal, segment })
    }

    /// Opens a payload where it stands, and returns where in it the content is then.
    ///
    /// # Errors
    /// [`Refused`]: it is not what was sealed for this place; `payload` is then of no use.
    pub fn open(&self, clear: Clear, payload: &mut [u8]) -> Result<Range<usize>, Refused> {
        let (counter, sealed) = payload.split_first_chunk_mut::<COUNTER_LEN>().ok_or(Refused)?;
        let (nonce, aad) = (nonce(*counter), Aad::from(self.binding(clear)));
        let opened = self.key.open_in_place(nonce, aad, sealed).map_err(|_| Refused)?;
        Ok(COUNTER_LEN..COUNTER_LEN + opened.len())
    }

    fn binding(&self, clear: Clear) -> [u8; 25] {
        let mut out = [0; 25];
        out[..8].copy_from_slice(&self.journal.to_le_bytes());
        out[8..12].copy_from_slice(&self.segment.to_le_bytes());
        out[12..20].copy_from_slice(&clear.sequence.0.to_le_bytes());
        out[20] = clear.kind;
        out[21..].copy_from_slice(&clear.back.to_le_bytes());
        out
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").field("segment", &self.segment).finish_non_exhaustive()
    }
}

/// Seals the frames of one segment. There is only one for each segment's key, ever.
#[derive(Debug)]
pub struct Sealer {
    cipher: Cipher,
    /// Of the last payload that was sealed. It is never set back: a batch that the disk had no room
    /// for is taken back and its sequences are given again, but its nonces are not.
    counter: u64,
}

impl Sealer {
    /// For a segment that has just been given its key.
    pub fn new(cipher: Cipher) -> Self {
        Self { cipher, counter: 0 }
    }

    /// Makes room for the nonce's counter, before the content is written behind it.
    pub fn reserve(out: &mut Vec<u8>) {
        out.extend_from_slice(&[0; COUNTER_LEN]);
    }

    /// Seals what `out` holds from `from` on, which [`Sealer::reserve`] has begun, where it stands.
    ///
    /// # Errors
    /// [`Refused`]; what `out` holds from `from` on must then not be used.
    pub fn seal(&mut self, clear: Clear, out: &mut Vec<u8>, from: usize) -> Result<(), Refused> {
        let counter = self.counter.checked_add(1).ok_or(Refused)?;
        self.counter = counter;
        let (_, payload) = out.split_at_mut_checked(from).ok_or(Refused)?;
        let (place, content) = payload.split_first_chunk_mut::<COUNTER_LEN>().ok_or(Refused)?;
        *place = counter.to_le_bytes();
        let (nonce, aad) = (nonce(*place), Aad::from(self.cipher.binding(clear)));
        let tag = self.cipher.key.seal_in_place_separate_tag(nonce, aad, content);
        out.extend_from_slice(tag.map_err(|_| Refused)?.as_ref());
        Ok(())
    }
}

/// Twelve bytes: four zeros and the counter.
fn nonce(counter: [u8; COUNTER_LEN]) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter);
    Nonce::assume_unique_for_key(bytes)
}
