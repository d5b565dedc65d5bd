//! The rows of the catalogue, byte by byte (see docs/storage-format.md). Any bytes of the right length
//! are a row: what it says is compared with the journal before anybody is told.

use crate::store::journal::input::Input;

/// What rows are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum What {
    /// Events and copies of events.
    Events = 1,
    /// Attempts at them, and what operators have done with them.
    Deeds = 2,
}

impl What {
    /// What its files' names end in.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Events => ".events",
            Self::Deeds => ".deeds",
        }
    }
}

/// A row of fixed width.
pub trait Row: Copy {
    /// Bytes.
    const LEN: usize;
    /// What it is of.
    const WHAT: What;

    /// Appends the row.
    fn put(&self, out: &mut Vec<u8>);

    /// The row that stands in these bytes; zeros where they are too few.
    fn take(bytes: &[u8]) -> Self;

    /// Makes the row part of what its block is known by.
    fn note(&self, block: &mut Block);
}

/// Rows in a block.
pub const BLOCK_ROWS: usize = 1024;

/// What is known of a block's rows without reading them: 40 bytes in memory for a thousand rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The smallest and the largest number of an event. Copies of events do not count.
    pub numbers: (u64, u64),
    /// The first and the last time of reception.
    pub times: (u64, u64),
    /// All flags that a row has.
    pub flags: u8,
}

impl Block {
    /// Of no rows.
    pub const EMPTY: Self = Self { numbers: (u64::MAX, 0), times: (u64::MAX, 0), flags: 0 };

    fn number(&mut self, event: u64) {
        self.numbers = (self.numbers.0.min(event), self.numbers.1.max(event));
    }
}

/// The event was kept back.
pub const QUARANTINED: u8 = 1;
/// It goes to no upstream.
pub const FILTERED: u8 = 2;
/// It is a copy of an event that was stored before.
pub const CARRIED: u8 = 4;

/// An event's frame, or a copy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// The event's number.
    pub event: u64,
    /// When it was received, in Unix milliseconds.
    pub received_at: u64,
    /// Digest of its normalized name.
    pub kind: u64,
    /// Digest of the upstreams' names that it goes to.
    pub recipients: u64,
    /// Digest of its source's name.
    pub source: u32,
    /// Digest of its subject; 0: it has none.
    pub subject: u32,
    /// Digest of its id.
    pub id: u32,
    /// Where in the segment its frame starts.
    pub offset: u32,
    /// [`QUARANTINED`] and so on.
    pub flags: u8,
}

/// Where in an event's row these digests stand: most rows are passed over by one of them.
pub const SOURCE_AT: usize = 32;
/// The subject's.
pub const SUBJECT_AT: usize = 36;
/// The id's.
pub const ID_AT: usize = 40;

/// Whether this digest stands there in the row.
pub fn has_digest(row: &[u8], at: usize, digest: u32) -> bool {
    row.get(at..).and_then(|rest| rest.first_chunk()) == Some(&digest.to_le_bytes())
}

impl EventRow {
    /// Whether all of these flags are set.
    pub fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl Row for EventRow {
    const LEN: usize = 52;
    const WHAT: What = What::Events;

    fn put(&self, out: &mut Vec<u8>) {
        for long in [self.event, self.received_at, self.kind, self.recipients] {
            out.extend_from_slice(&long.to_le_bytes());
        }
        for short in [self.source, self.subject, self.id, self.offset] {
            out.extend_from_slice(&short.to_le_bytes());
        }
        out.extend_from_slice(&[self.flags, 0, 0, 0]);
    }

    fn take(bytes: &[u8]) -> Self {
        let mut input = Input(bytes);
        let [event, received_at, kind, recipients] = [(); 4].map(|()| input.u64().unwrap_or(0));
        let [source, subject, id, offset] = [(); 4].map(|()| input.u32().unwrap_or(0));
        let flags = input.u8().unwrap_or(0);
        Self { event, received_at, kind, recipients, source, subject, id, offset, flags }
    }

    fn note(&self, block: &mut Block) {
        if !self.is(CARRIED) {
            block.number(self.event);
        }
        block.times = (block.times.0.min(self.received_at), block.times.1.max(self.received_at));
        block.flags |= self.flags;
    }
}

/// What a deed was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Deed {
    /// An attempt: the upstream has it.
    Delivered = 1,
    /// An attempt: there will be another.
    Retried = 2,
    /// An attempt: there will be no other.
    Died = 3,
    /// An operator has sent it again.
    Replayed = 4,
    /// An operator has let it go.
    Released = 5,
    /// An operator has dropped it.
    Discarded = 6,
}

impl Deed {
    /// Whether it is an attempt.
    pub fn is_attempt(self) -> bool {
        matches!(self, Self::Delivered | Self::Retried | Self::Died)
    }

    fn from_byte(byte: u8) -> Option<Self> {
        let all = [
            Self::Delivered,
            Self::Retried,
            Self::Died,
            Self::Replayed,
            Self::Released,
            Self::Discarded,
        ];
        all.into_iter().find(|deed| *deed as u8 == byte)
    }
}

/// A frame of an attempt, or of an act as far as it is about one upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeedRow {
    /// The event's number.
    pub event: u64,
    /// Digest of the upstream's name; 0: the act is about none.
    pub upstream: u64,
    /// Where in the segment its frame starts.
    pub offset: u32,
    /// What was done; `None`: unknown.
    pub deed: Option<Deed>,
}

impl Row for DeedRow {
    const LEN: usize = 24;
    const WHAT: What = What::Deeds;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.event.to_le_bytes());
        out.extend_from_slice(&self.upstream.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&[self.deed.map_or(0, |deed| deed as u8), 0, 0, 0]);
    }

    fn take(bytes: &[u8]) -> Self {
        let mut input = Input(bytes);
        let [event, upstream] = [(); 2].map(|()| input.u64().unwrap_or(0));
        let offset = input.u32().unwrap_or(0);
        Self { event, upstream, offset, deed: input.u8().and_then(Deed::from_byte) }
    }

    fn note(&self, block: &mut Block) {
        block.number(self.event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back<R: Row + PartialEq + std::fmt::Debug>(row: R) {
        let mut bytes = Vec::new();
        row.put(&mut bytes);
        assert_eq!(bytes.len(), R::LEN);
        assert_eq!(R::take(&bytes), row);
        for len in 0..R::LEN {
            let _ = R::take(&bytes[..len]);
        }
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        there_and_back(EventRow {
            event: 1,
            received_at: 2,
            kind: 3,
            recipients: 4,
            source: 5,
            subject: 6,
            id: 7,
            offset: 8,
            flags: CARRIED,
        });
        let mut bytes = Vec::new();
        let digests = EventRow { source: 5, subject: 6, id: 7, ..EventRow::take(&[0; 52]) };
        digests.put(&mut bytes);
        for (at, digest) in [(SOURCE_AT, 5), (SUBJECT_AT, 6), (ID_AT, 7)] {
            assert!(has_digest(&bytes, at, digest) && !has_digest(&bytes, at, digest + 1));
        }
        for byte in 0..=u8::MAX {
            there_and_back(DeedRow {
                event: u64::MAX,
                upstream: 2,
                offset: 3,
                deed: Deed::from_byte(byte),
            });
        }
    }
}
