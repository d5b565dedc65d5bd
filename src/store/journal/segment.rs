//! A segment: one file of the journal. Its name, its header, and the scan that walks its frames
//! and steps over what is damaged.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{self, Header};
use crate::clock::UnixMillis;
use crate::event::Sequence;
use crate::store::crypt::{Cipher, FRAMES_AT, Refused};
use crate::store::disk::ReadFile;

/// Bytes of a segment's header. Where nothing is encrypted the first frame follows at once.
pub const SEGMENT_HEADER_LEN: u32 = 64;
const MAGIC: &[u8; 8] = b"HOOKWARD";
/// Frames in clear, right behind the header.
const PLAIN: u16 = 1;
/// Sealed frames, behind two key slots.
const ENCRYPTED: u16 = 2;
const EXTENSION: &str = ".journal";
/// How far ahead of the last one a sequence may be when the scan looks for the next good frame.
const RESYNC_REACH: u64 = 1 << 32;

/// No frame has a larger number: it takes a million a second for as many years to get there.
pub const LAST_SEQUENCE: u64 = 1 << 63;
/// A start needs more numbers than these to be left.
pub const FEW_SEQUENCES: u64 = 1 << 48;
/// The last segment that a start goes on behind. It needs some numbers to go on with.
pub const LAST_SEGMENT: u32 = u32::MAX - (1 << 20);

/// Where a frame starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The segment's number, counted from 1.
    pub segment: u32,
    /// Bytes from the start of its file.
    pub offset: u32,
}

impl Place {
    /// As one number that sorts as places do.
    pub fn pack(self) -> u64 {
        u64::from(self.segment) << 32 | u64::from(self.offset)
    }

    /// Back from [`Place::pack`].
    pub fn unpack(packed: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = packed.to_be_bytes();
        Self { segment: u32::from_be_bytes([a, b, c, d]), offset: u32::from_be_bytes([e, f, g, h]) }
    }
}

/// The file of segment `number` in `dir`.
pub fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:010}{EXTENSION}"))
}

/// The file with what was cut off the end of segment `number` in `dir`.
pub fn torn_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:010}.torn"))
}

/// The number of the segment with this file name, if it is one.
pub fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(EXTENSION)?;
    if digits.len() != 10 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|n| *n > 0)
}

/// A segment's header whose magic, version and checksum have been verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The segment's number, as in its name.
    pub number: u32,
    /// A random number that all segments of one journal share, and its index.
    pub journal: u64,
    /// The number of the last frame in the segment before it; 0 where there is none.
    pub follows: Sequence,
    /// The number of its first frame.
    pub first: Sequence,
    /// When it was begun: no event in an earlier segment was stored later.
    pub created_at: UnixMillis,
    /// Whether its frames are, under a key that stands in its slots.
    pub encrypted: bool,
}

impl SegmentHeader {
    /// The bytes that stand at the start of the file.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_LEN as usize] {
        let mut out = [0; SEGMENT_HEADER_LEN as usize];
        out[..8].copy_from_slice(MAGIC);
        let version = if self.encrypted { ENCRYPTED } else { PLAIN };
        out[8..10].copy_from_slice(&version.to_le_bytes());
        out[12..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..24].copy_from_slice(&self.first.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.created_at.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.follows.0.to_le_bytes());
        out[40..48].copy_from_slice(&self.journal.to_le_bytes());
        let crc = crc32c::crc32c(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Up to which number frames were seen before, when this segment is scanned and they were up to `last`.
    /// Anybody can write a header, and who believes it takes good frames for old ones: where frames are
    /// sealed, they tell their numbers themselves, and cannot have come from elsewhere.
    pub fn before(&self, last: Sequence) -> Sequence {
        if self.encrypted {
            Sequence(0)
        } else {
            last.max(Sequence(self.first.0.saturating_sub(1)))
        }
    }

    /// Verifies and reads a header.
    ///
    /// # Errors
    /// [`BadHeader`] says what does not fit.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let bytes: &[u8; SEGMENT_HEADER_LEN as usize] = bytes
            .get(..SEGMENT_HEADER_LEN as usize)
            .and_then(|b| b.try_into().ok())
            .ok_or(BadHeader::Short)?;
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let [.., c0, c1, c2, c3] = *bytes;
        if &bytes[..8] != MAGIC {
            return Err(BadHeader::Magic);
        }
        if crc32c::crc32c(&bytes[..60]) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(BadHeader::Checksum);
        }
        let encrypted = match u16::from_le_bytes([bytes[8], bytes[9]]) {
            PLAIN => false,
            ENCRYPTED => true,
            newer => return Err(BadHeader::Version(newer)),
        };
        let number = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        let (first, created_at) = (Sequence(word(16)), UnixMillis(word(24)));
        let (follows, journal) = (Sequence(word(32)), word(40));
        // One of a journal that no start would go on with.
        if first.max(follows).0 > LAST_SEQUENCE - FEW_SEQUENCES {
            return Err(BadHeader::Sequence);
        }
        Ok(Self { number, journal, follows, first, created_at, encrypted })
    }
}

/// Why the start of a file is not a segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// The file ends before the header does.
    #[error("file is shorter than a segment header")]
    Short,
    /// It is some other file.
    #[error("not a journal segment")]
    Magic,
    /// Bytes have changed since it was written.
    #[error("segment header is damaged")]
    Checksum,
    /// It names a frame that there cannot be.
    #[error("segment header has a number that no frame has")]
    Sequence,
    /// The disk does not give it.
    #[error("the disk does not give the segment header")]
    Unread,
    /// Written by a newer version of Hookward.
    #[error("segment format version {0} is not known to this version")]
    Version(u16),
}

/// A frame that the scan has verified.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Where it starts.
    pub offset: u32,
    /// Its header.
    pub header: Header,
    /// Its payload.
    pub payload: &'a [u8],
}

/// What the scan comes upon.
#[derive(Debug)]
pub enum Scanned<'a> {
    /// A good frame.
    Frame(Frame<'a>),
    /// Bytes that are no frame.
    Gap(Gap),
}

/// Bytes in a segment that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where they start.
    pub from: u32,
    /// Where the next good frame starts, or the file ends.
    pub to: u32,
    /// What they are.
    pub kind: GapKind,
}

/// What unreadable bytes are, as far as can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapKind {
    /// No good frame follows: a write that never ended.
    Tail,
    /// Frames of the same write follow: it reached the disk in parts and was never acknowledged,
    /// or it was damaged later.
    TornBatch,
    /// Later writes follow: what was stored here has been damaged.
    Damage,
    /// The checksum fits and the cipher refuses, or it is not encrypted where all is: it was changed,
    /// or put there, by somebody without the key.
    Forged,
    /// No key slot of the segment is whole: nobody can open its frames any more.
    Keyless,
}

/// What a segment's frames are sealed with.
#[derive(Clone, Debug)]
pub enum Seal {
    /// They stand in clear.
    Plain,
    /// The segment's own key.
    Sealed(Arc<Cipher>),
    /// A key that is lost with the segment's key slots.
    Lost,
    /// They stand in clear behind segments that are encrypted, where nobody who has the journal's
    /// keys has put them.
    Foreign,
}

impl Seal {
    /// Where the first frame is.
    pub fn frames_at(&self) -> u32 {
        match self {
            Self::Plain | Self::Foreign => SEGMENT_HEADER_LEN,
            Self::Sealed(_) | Self::Lost => FRAMES_AT,
        }
    }
}

/// Walks a segment's frames from a given place on.
#[derive(Debug)]
pub struct Scanner {
    file: Arc<dyn ReadFile>,
    len: u64,
    /// The file's bytes from `start` on, as far as they have been read.
    window: Vec<u8>,
    start: u64,
    /// Where the next frame is looked for.
    pos: u64,
    last: Sequence,
    /// Whether the disk would not give some of what was asked for.
    unread: bool,
    seal: Seal,
    /// The content of the last frame that was opened.
    opened: Vec<u8>,
}

impl Scanner {
    /// Starts at `offset`, which must be the end of the header or the start of a frame; frames up
    /// to `last` have been seen. With 0 the first frame may have any number. Payloads are shown as
    /// they stand in the file.
    ///
    /// # Errors
    /// As the file system says.
    pub fn new(file: Arc<dyn ReadFile>, offset: u32, last: Sequence) -> io::Result<Self> {
        let len = file.size()?.min(u32::MAX.into());
        let offset = u64::from(offset);
        let window = Vec::new();
        let (seal, opened) = (Seal::Plain, Vec::new());
        Ok(Self {
            file,
            len,
            window,
            start: offset,
            pos: offset,
            last,
            unread: false,
            seal,
            opened,
        })
    }

    /// The same for a segment whose frames are sealed like this: payloads are shown opened, and a
    /// frame that does not open is none. Starts at the first frame if `offset` is in front of it.
    ///
    /// # Errors
    /// As the file system says.
    pub fn opening(
        file: Arc<dyn ReadFile>,
        offset: u32,
        last: Sequence,
        seal: Seal,
    ) -> io::Result<Self> {
        let scanner = Self::new(file, offset.max(seal.frames_at()), last)?;
        Ok(Self { seal, ..scanner })
    }

    /// Where the scan stands.
    pub fn offset(&self) -> u32 {
        u32::try_from(self.pos).unwrap_or(u32::MAX)
    }

    /// Whether there was something that could not be read: then a gap may be no more than that.
    pub fn has_unread(&self) -> bool {
        self.unread
    }

    /// The next frame or gap; `None` at the end of the file.
    ///
    /// # Errors
    /// As the file system says.
    pub fn step(&mut self) -> io::Result<Option<Scanned<'_>>> {
        if self.pos >= self.len {
            return Ok(None);
        }
        let from = self.offset();
        let closed = match self.seal {
            Seal::Plain | Seal::Sealed(_) => None,
            Seal::Lost => Some(GapKind::Keyless),
            Seal::Foreign => Some(GapKind::Forged),
        };
        if let Some(kind) = closed {
            self.pos = self.len;
            return Ok(Some(Scanned::Gap(Gap { from, to: self.offset(), kind })));
        }
        let found = self.frame_at(self.pos)?;
        let opened = found.and_then(|header| Some((header, self.open(self.pos, &header).ok()?)));
        if let Some((header, content)) = opened {
            self.pos += header.frame_len();
            self.last = header.sequence;
            let bytes = if content.sealed { &self.opened } else { &self.window };
            let payload = bytes.get(content.range).unwrap_or_default();
            return Ok(Some(Scanned::Frame(Frame { offset: from, header, payload })));
        }
        let kind = self.resync(found.is_some())?;
        Ok(Some(Scanned::Gap(Gap { from, to: self.offset(), kind })))
    }

    /// Opens the frame at `pos`, which is in the window, if frames are sealed here. The window is
    /// left as it is: what lies in a frame that does not open is looked through byte by byte.
    fn open(&mut self, pos: u64, header: &Header) -> Result<Content, Refused> {
        let from = index(pos - self.start).saturating_add(frame::HEADER_LEN);
        let range = from..from.saturating_add(header.len as usize);
        let Seal::Sealed(cipher) = &self.seal else { return Ok(Content { range, sealed: false }) };
        self.opened.clear();
        self.opened.extend_from_slice(self.window.get(range).ok_or(Refused)?);
        let range = cipher.open(header.clear(), &mut self.opened)?;
        Ok(Content { range, sealed: true })
    }

    /// The header of the frame at `pos`, if one stands there whole and unharmed.
    fn frame_at(&mut self, pos: u64) -> io::Result<Option<Header>> {
        let Some(header) = Header::parse(self.peek(pos, frame::HEADER_LEN as u64)?) else {
            return Ok(None);
        };
        let ahead = header.sequence.0.saturating_sub(self.last.0);
        let far = self.last != Sequence(0) && ahead > RESYNC_REACH;
        // What is sealed tells by that whether it is one.
        let too_far = far && !matches!(self.seal, Seal::Sealed(_));
        let too_far = too_far || header.sequence.0 > LAST_SEQUENCE;
        if ahead == 0 || too_far || pos + header.frame_len() > self.len {
            return Ok(None);
        }
        let bytes = self.peek(pos, header.frame_len())?;
        let good = bytes
            .split_at_checked(frame::HEADER_LEN)
            .is_some_and(|(head, payload)| header.verifies(head, payload));
        Ok(good.then_some(header))
    }

    /// Moves on to the next good frame, or the end. `forged`: the frame at hand does not open.
    fn resync(&mut self, mut forged: bool) -> io::Result<GapKind> {
        let from = self.pos;
        while self.pos < self.len {
            self.pos += 1;
            let Some(header) = self.frame_at(self.pos)? else { continue };
            if self.open(self.pos, &header).is_err() {
                forged = true;
                continue;
            }
            let batch = self.pos.saturating_sub(header.back.into());
            return Ok(match batch <= from {
                _ if forged => GapKind::Forged,
                true => GapKind::TornBatch,
                false => GapKind::Damage,
            });
        }
        Ok(if forged { GapKind::Forged } else { GapKind::Tail })
    }

    /// Up to `n` bytes from `pos` on, fewer where the file ends.
    fn peek(&mut self, pos: u64, n: u64) -> io::Result<&[u8]> {
        const AHEAD: u64 = 1 << 20;
        let end = self.start + self.window.len() as u64;
        let wanted = (pos + n).min(self.len);
        if wanted > end {
            self.window.drain(..index(pos - self.start).min(self.window.len()));
            self.start = pos;
            let have = self.window.len();
            let upto = (wanted + AHEAD).min(self.len) - self.start;
            self.window.resize(index(upto), 0);
            let fresh = self.window.get_mut(have..).unwrap_or_default();
            let read = read_or_zero(&*self.file, fresh, self.start + have as u64)?;
            self.unread |= read.unread;
            self.window.truncate(have + read.len);
        }
        let from = index(pos - self.start);
        let to = index(wanted - self.start).min(self.window.len());
        Ok(self.window.get(from..to).unwrap_or_default())
    }
}

/// Where the content of a frame is: among what was opened, or in the window.
struct Content {
    range: std::ops::Range<usize>,
    sealed: bool,
}

/// Reads as far as the file goes. Pages that the disk will not give come as zeros, which no frame
/// survives: to the scan they are damage, and what lies behind them is still found.
fn read_or_zero(file: &dyn ReadFile, buf: &mut [u8], offset: u64) -> io::Result<Read> {
    const PAGE: usize = 4096;
    if let Ok(len) = file.read_at(buf, offset) {
        return Ok(Read { len, unread: false });
    }
    let (mut at, mut rest) = (offset, buf);
    let mut read = Read { len: 0, unread: false };
    while !rest.is_empty() {
        // The file's own pages, so that one bad sector costs no more than one of them.
        let upto = (PAGE - index(at % PAGE as u64)).min(rest.len());
        let page;
        (page, rest) = rest.split_at_mut(upto);
        match file.read_at(page, at) {
            Ok(n) if n < page.len() => return Ok(Read { len: read.len + n, ..read }),
            Ok(_) => {}
            Err(error) => {
                tracing::error!(target: "hookward::store", offset = at, %error, "a page of the journal cannot be read");
                page.fill(0);
                read.unread = true;
            }
        }
        at += page.len() as u64;
        read.len += page.len();
    }
    Ok(read)
}

/// What was read.
#[derive(Clone, Copy)]
struct Read {
    /// Bytes, zeros for unreadable ones included.
    len: usize,
    /// Whether there were such.
    unread: bool,
}

/// A distance inside the window, which always fits memory.
fn index(distance: u64) -> usize {
    usize::try_from(distance).unwrap_or(usize::MAX)
}
