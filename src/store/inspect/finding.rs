//! What there is to say of a journal: damage, and what looks like it and is none.

use std::fmt;

use crate::event::Sequence;
use crate::store::journal::segment::{BadHeader, Place};

/// Something in the journal that an operator should know of, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The segment.
    pub segment: u32,
    /// Where in it, in bytes from its start.
    pub offset: u32,
    /// Where it ends, if it is a range of bytes.
    pub until: Option<u32>,
    /// The first frame's number that is concerned, as far as it is known.
    pub first: Option<Sequence>,
    /// The last one's.
    pub last: Option<Sequence>,
    /// What it is.
    pub what: What,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The segment's header; its frames are read all the same.
    Header(BadHeader),
    /// The segment's header says that its frames begin at a number that they do not begin at.
    Numbers,
    /// The segment is of another journal than the one before it.
    Foreign,
    /// Bytes that are no frame, with good ones behind them.
    Damaged,
    /// The same, within one write: it never got to the disk as a whole, or was damaged later.
    TornBatch,
    /// Frames whose checksum fits and whose seal does not, or that stand in clear where all is
    /// encrypted: somebody without the key has put them there.
    Forged,
    /// Encrypted, and both of the segment's key slots are damaged.
    Keyless,
    /// What stands in front of an encrypted segment's frames is neither a key slot nor nothing. The
    /// key may be in the other slot.
    KeySlot,
    /// The disk would not give what stands there.
    Unreadable,
    /// The journal ends with bytes that are no frame.
    TornTail,
    /// The same, while a gateway writes there, or in a copy that was made while one did.
    BeingWritten,
    /// Frames that should be there and are not.
    Missing,
    /// A frame whose checksum fits and whose payload means nothing.
    NotUnderstood,
    /// An event whose body has another hash than the one that was stored with it.
    WrongBody,
    /// An event that still has to be delivered, or decided on, is not where it should be.
    WaitingLost,
    /// The journal ends before what the index knows.
    EndMissing,
    /// A checkpoint that does not have as many parts as it says; a restart ignores it.
    PartialCheckpoint,
    /// The newest segment was never finished being created; a start removes it.
    Unfinished,
    /// The segment went while the journal was being read, as retention lets segments go.
    Gone,
}

impl What {
    /// Whether something that was stored may be lost by it.
    pub fn is_damage(self) -> bool {
        !matches!(
            self,
            Self::BeingWritten | Self::PartialCheckpoint | Self::Unfinished | Self::Gone
        )
    }

    /// Its name for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Header(_) => "header",
            Self::Numbers => "header_numbers",
            Self::Foreign => "foreign",
            Self::Damaged => "damaged",
            Self::TornBatch => "torn_batch",
            Self::Forged => "forged",
            Self::Keyless => "keyless",
            Self::KeySlot => "key_slot",
            Self::Unreadable => "unreadable",
            Self::TornTail => "torn_tail",
            Self::BeingWritten => "being_written",
            Self::Missing => "missing",
            Self::NotUnderstood => "not_understood",
            Self::WrongBody => "wrong_body",
            Self::WaitingLost => "waiting_lost",
            Self::EndMissing => "end_missing",
            Self::PartialCheckpoint => "partial_checkpoint",
            Self::Unfinished => "unfinished",
            Self::Gone => "gone",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header(error) => return write!(f, "{error}; frames are read all the same"),
            Self::Numbers => {
                "the segment header has another number than the first frame: not as it was written, and a \
                 start would take the frames for old ones; put a copy of the segment in its place"
            }
            Self::Foreign => "the segment belongs to another journal than the one before it",
            Self::Damaged => "damaged",
            Self::TornBatch => {
                "part of a write is missing: torn and never acknowledged, or damaged"
            }
            Self::Forged => "changed, or put here, by somebody without the key",
            Self::Keyless => "nobody can read this: both key slots of the segment are damaged",
            Self::KeySlot => {
                "damaged in front of the frames; they are read, unless the key of the segment is lost"
            }
            Self::Unreadable => "the disk does not give these bytes",
            Self::TornTail => {
                "torn tail: a write that never ended and was not acknowledged, or a damaged end; \
                 the next start cuts it off"
            }
            Self::BeingWritten => "the last write is still under way; no damage",
            Self::Missing => "frames are missing",
            Self::NotUnderstood => "the frame is whole, and its content is not understood",
            Self::WrongBody => "the event's body is not the one that was stored",
            Self::WaitingLost => "the event that waits here for its delivery cannot be read",
            Self::EndMissing => "the journal ends here, and the index knows of more",
            Self::PartialCheckpoint => "a checkpoint is not complete; it is ignored",
            Self::Unfinished => "the segment was never finished being created; a start removes it",
            Self::Gone => "the segment went while the journal was read; no damage",
        })
    }
}

impl Finding {
    /// Something at one place.
    pub(super) fn at(place: Place, what: What) -> Self {
        let Place { segment, offset } = place;
        Self { segment, offset, until: None, first: None, last: None, what }
    }

    /// It concerns this frame.
    pub(super) fn of(self, sequence: Sequence) -> Self {
        self.of_frames(sequence, Some(sequence))
    }

    /// It concerns the frames from this one on.
    pub(super) fn of_frames(self, first: Sequence, last: Option<Sequence>) -> Self {
        Self { first: Some(first), last, ..self }
    }

    /// What lies between the frames `before` and `after` is concerned; nothing, if they are
    /// neighbours.
    pub(super) fn between(self, before: Sequence, after: Sequence) -> Self {
        if after.0 > before.0 + 1 {
            self.of_frames(Sequence(before.0 + 1), Some(Sequence(after.0 - 1)))
        } else {
            Self { first: None, last: None, ..self }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {}, offset {}", self.segment, self.offset)?;
        if let Some(until) = self.until {
            write!(f, " to {until}")?;
        }
        match (self.first, self.last) {
            (None, _) => {}
            (Some(first), Some(last)) if first == last => write!(f, ", sequence {first}")?,
            (Some(first), Some(last)) => write!(f, ", sequences {first} to {last}")?,
            (Some(first), None) => write!(f, ", from sequence {first} on")?,
        }
        write!(f, ": {}", self.what)
    }
}
