//! Reading on: what was recorded behind a given record, in order, a piece at a time, while more comes
//! and the oldest goes. Memory does not grow with the trail.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bytes::{self, Found, Frame, Kind, Link, Position, SEGMENT_HEADER, SegmentHeader};
use super::read::{Listed, gone};
use crate::event::Sequence;
use crate::store::disk::{Disk, ReadFile};

/// Bytes that are read at once, where no frame is longer.
const AT_ONCE: u64 = 128 << 10;
/// Bytes that are read at once where one is. None is longer than half of it.
const WIDE: u64 = 1 << 20;
/// No frame is longer.
const LONGEST: u64 = 512 << 10;

/// Up to which record somebody has read. Kept as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The record's number; 0: none yet.
    pub sequence: u64,
    /// Its link, in hexadecimal digits: what tells it from the same number of another trail.
    hash: String,
}

impl Mark {
    fn of(position: Position) -> Self {
        Self { sequence: position.sequence.0, hash: position.link.to_string() }
    }

    fn position(&self) -> Position {
        // A hash that is none is that of no record.
        let link = Link::parse(&self.hash).unwrap_or(Link([0xff; 32]));
        Position { sequence: Sequence(self.sequence), link }
    }
}

/// What a mark is to the trail that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// A record of it.
    Held,
    /// Older than all that is left of it: nobody can tell.
    Older,
    /// No record of it.
    Strange,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A record.
    Record(Box<Listed>),
    /// The records with these numbers are not there any more, or not readable.
    Missing {
        /// The first number.
        from: u64,
        /// The last.
        upto: u64,
    },
}

/// What was read at once, and how far that leads. Checkpoints are passed over.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Oldest first.
    pub items: Vec<Item>,
    /// The last record that was passed.
    pub upto: Mark,
}

/// A trail that is read on.
#[derive(Debug)]
pub struct Tail {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    position: Position,
    open: Option<Open>,
}

/// A segment that is read.
#[derive(Debug)]
struct Open {
    number: u32,
    file: Arc<dyn ReadFile>,
    /// Up to where.
    offset: u64,
    /// Whether the frame there is longer than what is read at once.
    wide: bool,
}

/// What became of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It has led on.
    On,
    /// There is no more in this segment.
    End,
    /// What comes next is not to be read yet, or there is enough.
    Enough,
}

impl Tail {
    /// Behind this record of the store's trail.
    pub fn behind(disk: Arc<dyn Disk>, store: &Path, mark: &Mark) -> Self {
        let (dir, position) = (store.join(bytes::DIR), mark.position());
        Self { disk, dir, position, open: None }
    }

    /// The mark of the record with this number; `None`: there is none.
    ///
    /// # Errors
    /// As the file system says.
    pub fn mark(disk: &dyn Disk, store: &Path, sequence: u64) -> io::Result<Option<Mark>> {
        let found = position_of(disk, &store.join(bytes::DIR), sequence)?;
        Ok(found.map(Mark::of))
    }

    /// The mark in front of the oldest record that is left.
    ///
    /// # Errors
    /// As the file system says.
    pub fn beginning(disk: &dyn Disk, store: &Path) -> io::Result<Mark> {
        let dir = store.join(bytes::DIR);
        for number in bytes::segments(disk, &dir)? {
            if let Some(header) = header(disk, &dir, number)? {
                return Ok(Mark::of(header.follows));
            }
        }
        Ok(Mark::of(Position::START))
    }

    /// What a mark is to this trail.
    ///
    /// # Errors
    /// As the file system says.
    pub fn knows(disk: &dyn Disk, store: &Path, mark: &Mark) -> io::Result<Known> {
        let (dir, position) = (store.join(bytes::DIR), mark.position());
        match position_of(disk, &dir, mark.sequence)? {
            Some(found) if found == position => Ok(Known::Held),
            Some(_) => Ok(Known::Strange),
            None => {
                let oldest = Self::beginning(disk, store)?;
                let older = mark.sequence < oldest.sequence;
                Ok(if older { Known::Older } else { Known::Strange })
            }
        }
    }

    /// What comes next, up to the record with number `upto`, and not much more than `most` bytes of it.
    ///
    /// # Errors
    /// As the file system says.
    pub fn next(&mut self, upto: u64, most: usize) -> io::Result<Piece> {
        let (mut items, mut taken) = (Vec::new(), 0);
        while self.position.sequence.0 < upto && taken < most {
            if self.open.is_none() && !self.find()? {
                break;
            }
            match self.read(upto, most, &mut taken, &mut items)? {
                Step::On => {}
                Step::Enough => break,
                Step::End if self.turn()? => {}
                Step::End => break,
            }
        }
        Ok(Piece { items, upto: Mark::of(self.position) })
    }

    /// Opens the segment that what comes next is in.
    fn find(&mut self) -> io::Result<bool> {
        let numbers = bytes::segments(&*self.disk, &self.dir)?;
        let mut chosen = numbers.first().copied();
        for number in numbers {
            let follows = header(&*self.disk, &self.dir, number)?.map(|header| header.follows);
            if follows.is_some_and(|follows| follows.sequence <= self.position.sequence) {
                chosen = Some(number);
            }
        }
        match chosen {
            Some(number) => self.open(number),
            None => Ok(false),
        }
    }

    /// Opens the segment behind the one that was read.
    fn turn(&mut self) -> io::Result<bool> {
        let current = self.open.as_ref().map_or(0, |open| open.number);
        let numbers = bytes::segments(&*self.disk, &self.dir)?;
        match numbers.into_iter().find(|number| *number > current) {
            Some(number) => self.open(number),
            None => Ok(false),
        }
    }

    fn open(&mut self, number: u32) -> io::Result<bool> {
        let Some(file) = gone(self.disk.open(&bytes::path(&self.dir, number)))? else {
            self.open = None;
            return Ok(false);
        };
        self.open = Some(Open { number, file, offset: SEGMENT_HEADER as u64, wide: false });
        Ok(true)
    }

    /// Reads on in the open segment.
    fn read(
        &mut self,
        upto: u64,
        most: usize,
        taken: &mut usize,
        items: &mut Vec<Item>,
    ) -> io::Result<Step> {
        let Some(open) = &mut self.open else { return Ok(Step::End) };
        let left = open.file.size()?.saturating_sub(open.offset);
        let mut chunk =
            vec![0; usize::try_from(left.min(if open.wide { WIDE } else { AT_ONCE })).unwrap_or(0)];
        let read = open.file.read_at(&mut chunk, open.offset)?;
        chunk.truncate(read);
        let mut passed = 0;
        let mut step = Step::End;
        for found in bytes::walk(&chunk, 0) {
            let frame = match found {
                Found::Frame(frame) => frame,
                Found::Gap { until, .. } if until < chunk.len() => continue,
                Found::Gap { from, .. } => {
                    let goes_on = from == 0 && left > read as u64;
                    if goes_on && !open.wide {
                        open.wide = true;
                        return Ok(Step::On);
                    }
                    // A frame that goes on behind the chunk, unless none is so long.
                    let reach = (read as u64).saturating_sub(LONGEST);
                    if goes_on {
                        passed = usize::try_from(reach).unwrap_or(from);
                    }
                    break;
                }
            };
            if frame.sequence.0 > upto || *taken >= most {
                step = Step::Enough;
                break;
            }
            passed = frame.end();
            if frame.sequence > self.position.sequence {
                *taken += frame.body.len();
                take(&frame, self.position, items);
                self.position = frame.position();
            }
        }
        open.offset += passed as u64;
        open.wide = open.wide && passed == 0;
        Ok(if step == Step::End && passed > 0 { Step::On } else { step })
    }
}

/// What a frame behind this position comes to.
fn take(frame: &Frame<'_>, before: Position, items: &mut Vec<Item>) {
    let (expected, found) = (before.sequence.0 + 1, frame.sequence.0);
    if found > expected {
        items.push(Item::Missing { from: expected, upto: found - 1 });
    }
    match frame.kind {
        Some(Kind::Record | Kind::Shortened) => {
            items.push(match serde_json::from_slice(frame.body) {
                Ok(record) => Item::Record(Box::new(Listed { sequence: found, record })),
                Err(_) => Item::Missing { from: found, upto: found },
            });
        }
        Some(Kind::Checkpoint) | None => {}
    }
}

/// Where the chain is with the record of this number.
fn position_of(disk: &dyn Disk, dir: &Path, sequence: u64) -> io::Result<Option<Position>> {
    if sequence == 0 {
        return Ok(Some(Position::START));
    }
    for number in bytes::segments(disk, dir)?.into_iter().rev() {
        let Some(header) = header(disk, dir, number)? else { continue };
        match header.follows.sequence.0 {
            follows if follows == sequence => return Ok(Some(header.follows)),
            follows if follows < sequence => {
                let Some(segment) = gone(bytes::load(disk, dir, number))? else { return Ok(None) };
                let found = bytes::frames(&segment).find(|frame| frame.sequence.0 == sequence);
                return Ok(found.map(|frame| frame.position()));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// `None`: it has gone meanwhile, or is damaged.
fn header(disk: &dyn Disk, dir: &Path, number: u32) -> io::Result<Option<SegmentHeader>> {
    let Some(file) = gone(disk.open(&bytes::path(dir, number)))? else { return Ok(None) };
    let mut start = [0; SEGMENT_HEADER];
    file.read_at(&mut start, 0)?;
    Ok(SegmentHeader::decode(&start))
}
