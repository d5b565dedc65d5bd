//! Reading on: what was recorded behind a given record, in order, a piece at a time, while more comes
//! and the oldest goes. Memory does not grow with the trail.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bytes::{self, Found, Frame, Kind, Link, Position, SEGMENT_HEADER};
use super::checkpoint::Checkpoint;
use super::parts::{self, Follow, Part};
use super::read::{self, Listed, Reader, gone};
use crate::event::Sequence;
use crate::store::disk::ReadFile;

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
    /// A checkpoint, where they are asked for.
    Checkpoint {
        /// Its own number.
        sequence: u64,
        /// What was signed.
        checkpoint: Box<Checkpoint>,
    },
    /// The records with these numbers are not there any more, or not readable.
    Missing {
        /// The first number.
        from: u64,
        /// The last.
        upto: u64,
    },
}

/// What was read at once, and how far that leads.
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
    reader: Reader,
    position: Position,
    open: Option<Open>,
    checkpoints: bool,
    /// What was found to be none of the trail, with its size: it is looked through once.
    passed: Vec<(u32, u64)>,
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
    /// What is the trail's in it.
    follow: Follow,
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
    /// Behind this record of the trail. Checkpoints are passed over.
    pub fn behind(reader: &Reader, mark: &Mark) -> Self {
        let (reader, position) = (reader.clone(), mark.position());
        Self { reader, position, open: None, checkpoints: false, passed: Vec::new() }
    }

    /// The same; checkpoints are items too, if `checkpoints` says so.
    pub fn with_checkpoints(self, checkpoints: bool) -> Self {
        Self { checkpoints, ..self }
    }

    /// The number of the last record up to this mark, as the trail has it; `None`: there is none, or it is
    /// not there any more.
    ///
    /// # Errors
    /// As the file system says.
    pub fn record_before(reader: &Reader, mark: &Mark) -> io::Result<Option<u64>> {
        let key = reader.key();
        let parts = reader.parts(key.as_ref())?;
        for (at, part) in parts.iter().enumerate().rev() {
            if part.follows.is_some_and(|follows| follows.sequence.0 >= mark.sequence) {
                continue;
            }
            let Some(segment) = reader.load(part.number)? else { continue };
            let frames = read::frames(&segment, part, parts.get(at + 1), key.as_ref());
            let records = frames.filter(|frame| {
                frame.sequence.0 <= mark.sequence
                    && matches!(frame.kind, Some(Kind::Record | Kind::Shortened))
            });
            if let Some(last) = records.map(|frame| frame.sequence.0).max() {
                return Ok(Some(last));
            }
        }
        Ok(None)
    }

    /// The mark of the record with this number; `None`: there is none.
    ///
    /// # Errors
    /// As the file system says.
    pub fn mark(reader: &Reader, sequence: u64) -> io::Result<Option<Mark>> {
        let found = position_of(reader, sequence)?;
        Ok(found.map(Mark::of))
    }

    /// The mark in front of the oldest record that is left.
    ///
    /// # Errors
    /// As the file system says.
    pub fn beginning(reader: &Reader) -> io::Result<Mark> {
        let parts = reader.parts(reader.key().as_ref())?;
        let first = parts.into_iter().find_map(|part| part.follows);
        Ok(Mark::of(first.unwrap_or(Position::START)))
    }

    /// What a mark is to this trail.
    ///
    /// # Errors
    /// As the file system says.
    pub fn knows(reader: &Reader, mark: &Mark) -> io::Result<Known> {
        let position = mark.position();
        match position_of(reader, mark.sequence)? {
            Some(found) if found == position => Ok(Known::Held),
            Some(_) => Ok(Known::Strange),
            None => {
                let oldest = Self::beginning(reader)?;
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
        let parts = self.reader.parts(self.reader.key().as_ref())?;
        let position = self.position.sequence;
        let starts = |part: &Part| part.follows.is_some_and(|follows| follows.sequence <= position);
        match parts.iter().rev().find(|part| starts(part)).or(parts.first()) {
            Some(part) => self.open(part),
            None => Ok(false),
        }
    }

    /// Opens the segment behind the one that was read.
    fn turn(&mut self) -> io::Result<bool> {
        let current = self.open.as_ref().map_or(0, |open| open.number);
        match self.part_behind(current)? {
            Some(part) => self.open(&part),
            None => Ok(false),
        }
    }

    fn part_behind(&mut self, number: u32) -> io::Result<Option<Part>> {
        let (reader, key) = (&self.reader, self.reader.key());
        parts::next(&*reader.disk, &reader.dir, key.as_ref(), number, &mut self.passed)
    }

    fn open(&mut self, part: &Part) -> io::Result<bool> {
        let number = part.number;
        let path = bytes::path(&self.reader.dir, number);
        let file = gone(self.reader.disk.open(&path))?;
        let (Some(file), Some(segment)) = (file, self.reader.load(number)?) else {
            self.open = None;
            return Ok(false);
        };
        let next = self.part_behind(number)?;
        let follow = Follow::new(&segment, part, next.as_ref(), self.reader.key().as_ref());
        self.open = Some(Open { number, file, offset: SEGMENT_HEADER as u64, wide: false, follow });
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
            let offset = frame.offset + usize::try_from(open.offset).unwrap_or(0);
            let is_ours = open.follow.takes(&Frame { offset, ..frame });
            if is_ours && frame.sequence > self.position.sequence {
                *taken += frame.body.len();
                take(&frame, self.position, self.checkpoints, items);
                self.position = frame.position();
            }
        }
        open.offset += passed as u64;
        open.wide = open.wide && passed == 0;
        Ok(if step == Step::End && passed > 0 { Step::On } else { step })
    }
}

/// What a frame behind this position comes to.
fn take(frame: &Frame<'_>, before: Position, checkpoints: bool, items: &mut Vec<Item>) {
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
        Some(Kind::Checkpoint) if checkpoints => {
            // One that cannot be read vouches for nothing.
            if let Ok(checkpoint) = serde_json::from_slice(frame.body) {
                let checkpoint = Box::new(checkpoint);
                items.push(Item::Checkpoint { sequence: found, checkpoint });
            }
        }
        Some(Kind::Checkpoint) | None => {}
    }
}

/// Where the chain is with the record of this number.
fn position_of(reader: &Reader, sequence: u64) -> io::Result<Option<Position>> {
    if sequence == 0 {
        return Ok(Some(Position::START));
    }
    let key = reader.key();
    let parts = reader.parts(key.as_ref())?;
    for (at, part) in parts.iter().enumerate().rev() {
        match part.follows {
            Some(follows) if follows.sequence.0 == sequence => return Ok(Some(follows)),
            Some(follows) if follows.sequence.0 > sequence => continue,
            Some(_) | None => {}
        }
        let Some(segment) = reader.load(part.number)? else { return Ok(None) };
        let mut frames = read::frames(&segment, part, parts.get(at + 1), key.as_ref());
        let found = frames.find(|frame| frame.sequence.0 == sequence);
        if found.is_some() || part.follows.is_some() {
            return Ok(found.map(|frame| frame.position()));
        }
    }
    Ok(None)
}
