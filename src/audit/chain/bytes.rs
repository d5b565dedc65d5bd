//! The bytes of the trail: segments, frames, and the hash that links them. Knows nothing of what records
//! mean.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::clock::UnixMillis;
use crate::event::Sequence;
use crate::store::disk::Disk;
use crate::store::journal::frame::{self, HEADER_LEN, RawHeader};

/// The trail's directory in the store.
pub const DIR: &str = "audit";

/// A segment ends behind the record that makes it longer than this.
pub(super) const SEGMENT_LEN: u64 = 16 << 20;
/// The longest payload of a frame: what a record can hold is bounded field by field, far below.
pub(super) const MAX_PAYLOAD: u32 = 256 << 10;
/// The most bytes of a file that are read as a segment: nothing that Hookward writes is longer.
pub(super) const MAX_SEGMENT: u64 = 64 << 20;
/// No record has a larger number: nobody writes as many.
const LAST_SEQUENCE: u64 = 1 << 62;
/// Bytes that are summed up at most to find the frames behind what is none, in one segment.
const MAX_RESYNC: u64 = 256 << 20;
/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 80;

const MAGIC: &[u8; 8] = b"HWAUDIT\0";
const VERSION: u16 = 1;
const EXTENSION: &str = ".audit";
/// What every link begins with, so that no other hash of ours can be taken for one.
const DOMAIN: &[u8] = b"hookward audit record 1\0";

/// SHA-256 over all records up to one, link by link.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Link(pub(super) [u8; 32]);

impl Link {
    /// What the first record of a trail follows.
    pub(super) const START: Self = Self([0; 32]);

    /// The link of the record that follows this one.
    pub(super) fn next(self, sequence: Sequence, kind: u8, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(self.0);
        hash.update(sequence.0.to_le_bytes());
        hash.update([kind]);
        hash.update(body);
        Self(hash.finalize().into())
    }

    /// Back from its hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A record.
    Record = 1,
    /// A signed checkpoint.
    Checkpoint = 2,
    /// A record of the oldest segments being let go of.
    Shortened = 3,
}

impl Kind {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Record),
            2 => Some(Self::Checkpoint),
            3 => Some(Self::Shortened),
            _ => None,
        }
    }
}

/// How far the chain goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// The number of the last record; 0: there is none.
    pub(super) sequence: Sequence,
    /// Its link.
    pub(super) link: Link,
}

impl Position {
    pub(super) const START: Self = Self { sequence: Sequence(0), link: Link::START };

    /// Appends the frame of the next record to `out`.
    pub(super) fn push(&mut self, kind: Kind, body: &[u8], out: &mut Vec<u8>) {
        let sequence = Sequence(self.sequence.0 + 1);
        let link = self.link.next(sequence, kind as u8, body);
        let mut payload = Vec::with_capacity(32 + body.len());
        payload.extend_from_slice(&link.0);
        payload.extend_from_slice(body);
        out.extend_from_slice(&frame::encode(sequence, kind as u8, 0, &payload));
        out.extend_from_slice(&payload);
        *self = Self { sequence, link };
    }
}

/// The start of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// As in the file's name.
    pub(super) number: u32,
    /// Random, the same in all segments of one trail.
    pub(super) trail: u64,
    /// When it was begun.
    pub(super) created_at: UnixMillis,
    /// The record that its first one follows.
    pub(super) follows: Position,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = [0; SEGMENT_HEADER];
        out[..8].copy_from_slice(MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..24].copy_from_slice(&self.trail.to_le_bytes());
        out[24..32].copy_from_slice(&self.created_at.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.follows.sequence.0.to_le_bytes());
        out[40..72].copy_from_slice(&self.follows.link.0);
        let crc = crc32c::crc32c(&out[..76]);
        out[76..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header, if that is one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SEGMENT_HEADER] = bytes.get(..SEGMENT_HEADER)?.try_into().ok()?;
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let half = |at: usize| (word(at) & u64::from(u32::MAX)) as u32;
        let known = &bytes[..8] == MAGIC && u16::from_le_bytes([bytes[8], bytes[9]]) == VERSION;
        // The checksum is the upper half of the last word.
        if !known || u64::from(crc32c::crc32c(&bytes[..76])) != word(72) >> 32 {
            return None;
        }
        if word(32) > LAST_SEQUENCE {
            return None;
        }
        let mut link = Link::START;
        link.0.copy_from_slice(&bytes[40..72]);
        let follows = Position { sequence: Sequence(word(32)), link };
        let (number, trail) = (half(12), word(16));
        Some(Self { number, trail, created_at: UnixMillis(word(24)), follows })
    }
}

/// A frame whose checksum is right. Whether it follows what is before it, nobody has looked yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// Where it starts in the file.
    pub(super) offset: usize,
    pub(super) sequence: Sequence,
    /// `None`: of no kind that is known.
    pub(super) kind: Option<Kind>,
    /// Its kind as a number.
    pub(super) byte: u8,
    /// The link that it claims.
    pub(super) link: Link,
    pub(super) body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame at this place, if there is one.
    pub(super) fn at(bytes: &'a [u8], offset: usize) -> Option<Self> {
        let rest = bytes.get(offset..)?;
        let is_one =
            |header: &RawHeader| header.len <= MAX_PAYLOAD && header.sequence.0 <= LAST_SEQUENCE;
        let header = RawHeader::parse(rest).filter(is_one)?;
        let payload = rest.get(HEADER_LEN..)?.get(..header.len as usize)?;
        let (link, body) = payload.split_at_checked(32)?;
        if !header.verifies(rest, payload) {
            return None;
        }
        let mut hash = Link::START;
        hash.0.copy_from_slice(link);
        let (sequence, byte) = (header.sequence, header.kind);
        Some(Self { offset, sequence, kind: Kind::from_byte(byte), byte, link: hash, body })
    }

    /// Where it ends.
    pub(super) fn end(&self) -> usize {
        self.offset + HEADER_LEN + 32 + self.body.len()
    }

    /// Where the chain is with it.
    pub(super) fn position(&self) -> Position {
        Position { sequence: self.sequence, link: self.link }
    }

    /// Whether it is the next one behind this position.
    pub(super) fn is_behind(&self, before: Position) -> bool {
        self.sequence.0 == before.sequence.0 + 1 && self.follows(before.link)
    }

    /// Whether it follows this link.
    pub(super) fn follows(&self, link: Link) -> bool {
        link.next(self.sequence, self.byte, self.body) == self.link
    }
}

/// What stands in a segment behind its header.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    Frame(Frame<'a>),
    /// Bytes from here up to there that are no frame; behind them there is one, or the end.
    Gap {
        from: usize,
        until: usize,
        /// Whether it goes to the end because nobody has looked for a frame that far.
        given_up: bool,
    },
}

/// Walks a segment's bytes from this place on. Somebody may have made them so that everything looks like the
/// start of a frame: how much of that is tried is bounded, and what is behind it is then one gap.
pub(super) fn walk(bytes: &[u8], from: usize) -> impl Iterator<Item = Found<'_>> {
    let (mut at, mut work) = (from, MAX_RESYNC);
    std::iter::from_fn(move || {
        if at >= bytes.len() {
            return None;
        }
        if let Some(frame) = Frame::at(bytes, at) {
            at = frame.end();
            return Some(Found::Frame(frame));
        }
        let from = at;
        at =
            (at + 1..bytes.len()).find(|at| is_frame(bytes, *at, &mut work)).unwrap_or(bytes.len());
        Some(Found::Gap { from, until: at, given_up: work == 0 })
    })
}

/// Whether a frame is here. Takes its length from what is left of the work; without any, there is none.
fn is_frame(bytes: &[u8], at: usize, work: &mut u64) -> bool {
    let len = bytes.get(at..).and_then(RawHeader::parse).map_or(0, |header| header.len);
    if len == 0 || len > MAX_PAYLOAD || *work == 0 {
        return false;
    }
    *work = work.saturating_sub(u64::from(len));
    Frame::at(bytes, at).is_some()
}

/// The frames in it, whatever else is.
pub(super) fn frames(bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    walk(bytes, SEGMENT_HEADER).filter_map(|found| match found {
        Found::Frame(frame) => Some(frame),
        Found::Gap { .. } => None,
    })
}

/// The file of segment `number`.
pub(super) fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(name(number))
}

/// The name of segment `number`.
pub(super) fn name(number: u32) -> String {
    format!("{number:010}{EXTENSION}")
}

/// The numbers of the segments in the directory, ascending.
pub(super) fn segments(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<u32>> {
    Ok(numbered(disk, dir)?.0)
}

/// The same, and the numbers of what is called like a segment and is no file: a directory, a link to nothing.
pub(super) fn numbered(disk: &dyn Disk, dir: &Path) -> io::Result<(Vec<u32>, Vec<u32>)> {
    let is_file = |number: &u32| !matches!(no_file(disk.open(&path(dir, *number))), Ok(None));
    Ok(names(disk, dir)?.into_iter().partition(is_file))
}

/// The highest number from this one on up to which all names are taken, whatever is there.
pub(super) fn taken_from(disk: &dyn Disk, dir: &Path, number: u32) -> io::Result<u32> {
    let behind = names(disk, dir)?.into_iter().filter(|name| *name > number);
    Ok(behind.fold(number, |last, name| if name - last == 1 { name } else { last }))
}

/// `None`: there is no file of that name.
pub(super) fn no_file<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        found => super::read::gone(found),
    }
}

/// `None`: the disk does not give it. That there is no file, or no descriptor for it, is something else.
pub(super) fn given<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    let not_given = |error: &io::Error| {
        let said = [Errno::IO, Errno::NODATA, Errno::BADMSG, Errno::UCLEAN];
        said.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
    };
    match read {
        Err(error) if not_given(&error) => Ok(None),
        read => read.map(Some),
    }
}

/// The numbers that are taken, ascending.
fn names(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<u32>> {
    let number = |name: &String| {
        let digits = name.strip_suffix(EXTENSION)?;
        let plain = digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse().ok().filter(|n| plain && *n > 0)
    };
    let mut numbers: Vec<u32> = disk.list(dir)?.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// All of a file, for tests.
#[cfg(test)]
pub(super) fn load_any(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path).unwrap();
    let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// A segment's bytes: as many as one can have.
pub(super) fn load(disk: &dyn Disk, dir: &Path, number: u32) -> io::Result<Vec<u8>> {
    let file = disk.open(&path(dir, number))?;
    let len = usize::try_from(file.size()?.min(MAX_SEGMENT)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}
