//! What stands in front of a segment's frames: the header and, where they are encrypted, the slots with
//! the segment's key.

use std::io;
use std::sync::Arc;

use super::files::ReadError;
use super::segment::{BadHeader, SEGMENT_HEADER_LEN, Seal, SegmentHeader};
use crate::store::crypt::{
    FRAMES_AT, KeyId, Keyring, SLOT_LEN, SLOTS_AT, SegmentSecret, Slot, SlotError,
};
use crate::store::disk::ReadFile;

/// What stands in front of a segment's frames.
#[derive(Debug)]
pub struct Preamble {
    /// The header, if it is one, and of this segment.
    pub header: Result<SegmentHeader, BadHeader>,
    /// The key slots that are whole, and of this segment. None where the header says that frames
    /// stand in clear.
    pub slots: [Option<Slot>; 2],
}

impl Preamble {
    /// Of a segment of which the disk gives none.
    pub fn unread() -> Self {
        Self { header: Err(BadHeader::Unread), slots: [None, None] }
    }

    /// Whether the frames are encrypted. Where the header is damaged, a whole key slot tells.
    pub fn is_encrypted(&self) -> bool {
        match &self.header {
            Ok(header) => header.encrypted,
            Err(_) => self.slot().is_some(),
        }
    }

    /// A key slot that is whole, if there is one.
    pub fn slot(&self) -> Option<&Slot> {
        self.slots.iter().flatten().next()
    }

    /// The segment's secret; `None` if no slot gives it.
    ///
    /// # Errors
    /// The key that is missing, if there is a whole slot and no configured key for it.
    pub fn secret(&self, keys: &Keyring) -> Result<Option<(&Slot, SegmentSecret)>, KeyId> {
        let mut missing = None;
        for slot in self.slots.iter().flatten() {
            match slot.open(keys) {
                Ok(secret) => return Ok(Some((slot, secret))),
                Err(SlotError::Missing(key)) => missing = missing.or(Some(key)),
                Err(SlotError::Forged) => {}
            }
        }
        missing.map_or(Ok(None), Err)
    }

    /// Reads what stands in front of the frames of the segment with this number.
    ///
    /// # Errors
    /// As the file system says.
    pub fn read(file: &dyn ReadFile, number: u32) -> io::Result<Self> {
        let mut bytes = [0; SEGMENT_HEADER_LEN as usize];
        let got = file.read_at(&mut bytes, 0);
        let header = match &got {
            Ok(got) => SegmentHeader::decode(bytes.get(..*got).unwrap_or_default()),
            Err(_) => Err(BadHeader::Unread),
        };
        let own = |header: SegmentHeader| header.number == number;
        let header =
            header.and_then(|header| own(header).then_some(header).ok_or(BadHeader::Checksum));
        let mut slots = [None, None];
        if !header.as_ref().is_ok_and(|header| !header.encrypted) {
            let mut unread = got.err();
            for (slot, at) in slots.iter_mut().zip(SLOTS_AT) {
                match read_slot(file, at) {
                    Ok(found) => *slot = found.filter(|slot| slot.segment() == number),
                    Err(error) => unread = Some(error),
                }
            }
            // The other slot may be all that is needed.
            if let Some(error) = unread.filter(|_| slots.iter().all(Option::is_none)) {
                return Err(error);
            }
        }
        Ok(Self { header, slots })
    }

    /// How the frames are sealed, and what opens them. Whether a plain segment may be where it is, is
    /// not for its preamble to say.
    ///
    /// # Errors
    /// [`ReadError::Io`] and [`ReadError::NoKey`].
    pub fn seal(&self, number: u32, keys: &Keyring) -> Result<Seal, ReadError> {
        if !self.is_encrypted() {
            return Ok(Seal::Plain);
        }
        let secret = self.secret(keys);
        let secret = secret.map_err(|key| ReadError::NoKey { segment: number, key })?;
        Ok(match secret {
            Some((slot, secret)) => {
                let cipher = secret.cipher(slot.journal(), number).map_err(io::Error::other)?;
                Seal::Sealed(Arc::new(cipher))
            }
            None => Seal::Lost,
        })
    }
}

/// The first byte in front of the frames of an encrypted segment that is neither of its header, nor of
/// a key slot that is whole, nor zero: it has been damaged.
///
/// # Errors
/// As the file system says.
pub fn damaged(file: &dyn ReadFile, preamble: &Preamble) -> io::Result<Option<u32>> {
    if !preamble.is_encrypted() {
        return Ok(None);
    }
    let mut bytes = vec![0; FRAMES_AT as usize];
    let got = file.read_at(&mut bytes, 0)?;
    bytes.truncate(got);
    let mut whole = vec![(0, SEGMENT_HEADER_LEN as usize)];
    let slots = preamble.slots.iter().zip(SLOTS_AT);
    whole.extend(slots.filter(|(slot, _)| slot.is_some()).map(|(_, at)| (at as usize, SLOT_LEN)));
    for (at, len) in whole {
        bytes.iter_mut().skip(at).take(len).for_each(|byte| *byte = 0);
    }
    let found = bytes.iter().position(|byte| *byte != 0);
    Ok(found.and_then(|at| u32::try_from(at).ok()))
}

fn read_slot(file: &dyn ReadFile, at: u32) -> io::Result<Option<Slot>> {
    let mut bytes = [0; SLOT_LEN];
    let got = file.read_at(&mut bytes, at.into())?;
    Ok(Slot::decode(bytes.get(..got).unwrap_or_default()))
}
