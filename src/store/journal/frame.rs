//! A frame: the unit of the journal. Length, checksum, sequence, kind and payload; see
//! docs/storage-format.md for the bytes. Knows nothing of what payloads mean.

use crate::event::Sequence;
use crate::store::crypt::{Clear, Refused, Sealer};

/// Bytes before a frame's payload.
pub const HEADER_LEN: usize = 24;

/// Longest payload: what no honest frame exceeds, so that a damaged length cannot make us allocate.
pub const MAX_PAYLOAD: u32 = 256 << 20;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// An accepted event.
    Event = 1,
    /// One attempt at a delivery and what follows from it.
    Attempt = 2,
    /// What one upstream's deliveries still wait for; part of a checkpoint.
    Lane = 3,
    /// The end of a checkpoint.
    CheckpointEnd = 4,
    /// An accepted event that was not settled when retention let its segment go: a copy.
    Carried = 5,
    /// What an operator has done with an event.
    Act = 6,
    /// A sign of life, or for how long there was none.
    Presence = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Event),
            2 => Some(Self::Attempt),
            3 => Some(Self::Lane),
            4 => Some(Self::CheckpointEnd),
            5 => Some(Self::Carried),
            6 => Some(Self::Act),
            7 => Some(Self::Presence),
            _ => None,
        }
    }
}

/// A frame's header, with a checksum that may not have been checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload.
    pub len: u32,
    /// CRC32C over the header without this field, and the payload.
    pub crc: u32,
    /// The frame's number.
    pub sequence: Sequence,
    /// What it holds.
    pub kind: Kind,
    /// Bytes from the start of the batch it was written in to its own start.
    pub back: u32,
}

impl Header {
    /// Reads a header, if the bytes can be one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let RawHeader { len, crc, sequence, kind, back } = RawHeader::parse(bytes)?;
        Some(Self { len, crc, sequence, kind: Kind::from_byte(kind)?, back })
    }

    /// Whether the checksum fits this header (`bytes`) and its payload.
    pub fn verifies(&self, bytes: &[u8], payload: &[u8]) -> bool {
        payload.len() == self.len as usize && checksum(bytes, payload) == Some(self.crc)
    }

    /// What is authenticated together with an encrypted payload.
    pub fn clear(&self) -> Clear {
        Clear { sequence: self.sequence, kind: self.kind as u8, back: self.back }
    }

    /// Header and payload together, in bytes.
    pub fn frame_len(&self) -> u64 {
        HEADER_LEN as u64 + u64::from(self.len)
    }
}

/// A header whose kind is still a number: files other than the journal's have kinds of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawHeader {
    /// Bytes of payload.
    pub len: u32,
    /// CRC32C over the header without this field, and the payload.
    pub crc: u32,
    /// The frame's number.
    pub sequence: Sequence,
    /// What it holds.
    pub kind: u8,
    /// Bytes from the start of the batch it was written in to its own start.
    pub back: u32,
}

impl RawHeader {
    /// Reads a header, if the bytes can be one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_LEN] = bytes.get(..HEADER_LEN)?.try_into().ok()?;
        let [l0, l1, l2, l3, c0, c1, c2, c3, seq @ .., kind, z0, z1, z2, b0, b1, b2, b3] = *bytes;
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        if len > MAX_PAYLOAD || [z0, z1, z2] != [0; 3] {
            return None;
        }
        Some(Self {
            len,
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            sequence: Sequence(u64::from_le_bytes(seq)),
            kind,
            back: u32::from_le_bytes([b0, b1, b2, b3]),
        })
    }

    /// Whether the checksum fits this header (`bytes`) and its payload.
    pub fn verifies(&self, bytes: &[u8], payload: &[u8]) -> bool {
        payload.len() == self.len as usize && checksum(bytes, payload) == Some(self.crc)
    }
}

/// The header of a frame with this payload.
pub fn encode(sequence: Sequence, kind: u8, back: u32, payload: &[u8]) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    header[..4].copy_from_slice(&len.to_le_bytes());
    header[8..16].copy_from_slice(&sequence.0.to_le_bytes());
    header[16] = kind;
    header[20..].copy_from_slice(&back.to_le_bytes());
    let crc = checksum(&header, payload).unwrap_or_default();
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Everything but the checksum's own four bytes is under it.
fn checksum(header: &[u8], payload: &[u8]) -> Option<u32> {
    let crc = crc32c::crc32c(header.get(..4)?);
    let crc = crc32c::crc32c_append(crc, header.get(8..HEADER_LEN)?);
    Some(crc32c::crc32c_append(crc, payload))
}

/// Frames that are written together to one segment, with one write and one sync.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// What seals the frames, if the segment is encrypted.
    sealer: Option<Sealer>,
    /// A frame could not be sealed: the batch must not be written.
    spoilt: bool,
}

impl Batch {
    /// From here on frames go to another segment, empty so far; returns what sealed those before.
    pub fn turn_to(&mut self, sealer: Option<Sealer>) -> Option<Sealer> {
        self.clear();
        std::mem::replace(&mut self.sealer, sealer)
    }

    /// Appends a frame whose payload `fill` writes, and returns where in the batch it starts.
    pub fn push(&mut self, sequence: Sequence, kind: Kind, fill: impl FnOnce(&mut Vec<u8>)) -> u32 {
        let start = self.bytes.len();
        let back = u32::try_from(start).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&[0; HEADER_LEN]);
        match &mut self.sealer {
            None => fill(&mut self.bytes),
            Some(sealer) => {
                Sealer::reserve(&mut self.bytes);
                fill(&mut self.bytes);
                let clear = Clear { sequence, kind: kind as u8, back };
                if sealer.seal(clear, &mut self.bytes, start + HEADER_LEN).is_err() {
                    self.spoil();
                    return back;
                }
            }
        }
        let (_, frame) = self.bytes.split_at_mut(start);
        let (header, payload) = frame.split_at_mut(HEADER_LEN);
        header.copy_from_slice(&encode(sequence, kind as u8, back, payload));
        back
    }

    /// Nothing of it may reach the disk in clear.
    fn spoil(&mut self) {
        self.bytes.clear();
        self.spoilt = true;
    }

    /// The bytes to be written.
    ///
    /// # Errors
    /// [`Refused`] if one of the frames could not be sealed.
    pub fn bytes(&self) -> Result<&[u8], Refused> {
        if self.spoilt { Err(Refused) } else { Ok(&self.bytes) }
    }

    /// Forgets the frames but keeps the memory, up to a bound.
    pub fn clear(&mut self) {
        const KEEP: usize = 4 << 20;
        self.bytes.clear();
        self.bytes.shrink_to(KEEP);
        self.spoilt = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_frame() -> Vec<u8> {
        let mut batch = Batch::default();
        batch.push(Sequence(41), Kind::Attempt, |out| out.extend_from_slice(b"first"));
        batch.push(Sequence(42), Kind::Event, |out| out.extend_from_slice(b"payload"));
        batch.bytes().unwrap()[HEADER_LEN + 5..].to_vec()
    }

    #[test]
    fn a_frame_reads_back() {
        let bytes = one_frame();
        let header = Header::parse(&bytes).unwrap();
        assert_eq!((header.sequence, header.kind, header.back), (Sequence(42), Kind::Event, 29));
        assert_eq!(header.frame_len(), bytes.len() as u64);
        assert!(header.verifies(&bytes[..HEADER_LEN], &bytes[HEADER_LEN..]));
    }

    /// A batch that the disk had no room for is taken back, and its sequences are given again.
    #[test]
    fn a_sequence_that_is_given_again_is_sealed_with_another_nonce() {
        use crate::secret::Key;
        use crate::store::crypt::SegmentSecret;

        let secret = SegmentSecret::generate(&Key::generate().unwrap()).unwrap();
        let mut batch = Batch::default();
        batch.turn_to(Some(Sealer::new(secret.cipher(1, 1).unwrap())));
        let mut seal = || {
            batch.clear();
            batch.push(Sequence(41), Kind::Event, |out| out.extend_from_slice(b"payload"));
            batch.bytes().unwrap().to_vec()
        };
        let (first, second) = (seal(), seal());
        let header = Header::parse(&first).unwrap();
        assert!(header.verifies(&first[..HEADER_LEN], &first[HEADER_LEN..]));
        assert_ne!(first[HEADER_LEN..][..8], second[HEADER_LEN..][..8]);
        assert!(!first.windows(7).any(|bytes| bytes == b"payload"));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = one_frame();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let accepted = Header::parse(&bad).is_some_and(|header| {
                bad.get(HEADER_LEN..HEADER_LEN + header.len as usize)
                    .is_some_and(|payload| header.verifies(&bad[..HEADER_LEN], payload))
            });
            assert!(!accepted, "bit {bit}");
        }
    }
}
