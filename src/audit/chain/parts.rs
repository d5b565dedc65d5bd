//! Which segments are the trail's, and which frames in them: what follows, link by link, something that the
//! installation's key has signed. Whatever else is called like a segment, readers pass over.

use std::io;
use std::path::Path;

use super::bytes::{self, Found, Frame, Link, Position, SEGMENT_HEADER, SegmentHeader};
use super::keys::PublicKey;
use super::opening::Opening;
use super::read::gone;
use super::{open, ours};
use crate::clock::UnixMillis;
use crate::event::Sequence;
use crate::store::disk::Disk;
use crate::store::journal::frame::HEADER_LEN;

/// A segment of the trail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) number: u32,
    /// The record that its first one follows; `None`: that is damaged.
    pub(super) follows: Option<Position>,
    /// Up to when what is in front of it was recorded, if that is signed.
    pub(super) signed: Option<UnixMillis>,
}

/// The segments of the trail in this directory, ascending: those that begin as `key` has signed it, those that are
/// damaged and have something else that it has signed, and those at whose end one of them goes on, whoever has signed
/// those. Without a key, all that are called so.
pub(super) fn all(disk: &dyn Disk, dir: &Path, key: Option<&PublicKey>) -> io::Result<Vec<Part>> {
    let mut found: Vec<(u32, Option<Opening>)> = Vec::new();
    for number in bytes::segments(disk, dir)? {
        let Some(file) = opened(disk, dir, number)? else { continue };
        let opening = match key {
            Some(key) => Opening::of_file(&*file, number, key)?,
            None => None,
        };
        found.push((number, opening));
    }
    let (mut parts, mut next): (Vec<Part>, Option<Position>) = (Vec::new(), None);
    for (at, (number, opening)) in found.iter().enumerate().rev() {
        let part = match (opening, key) {
            (Some(opening), _) => Some(Part::opened(*number, opening)),
            (None, None) => header(disk, dir, *number)?,
            (None, Some(key)) => {
                let front = found.get(..at).unwrap_or_default();
                let before = front.iter().rev().find_map(|(_, opening)| opening.as_ref());
                damaged(disk, dir, *number, key, before, next)?
            }
        };
        if let Some(part) = part {
            next = part.follows;
            parts.push(part);
        }
    }
    parts.reverse();
    Ok(parts)
}

impl Part {
    pub(super) fn opened(number: u32, opening: &Opening) -> Self {
        Self { number, follows: Some(opening.follows), signed: Some(opening.until) }
    }
}

/// A segment that does not begin as `key` has signed it, if it is the trail's.
fn damaged(
    disk: &dyn Disk,
    dir: &Path,
    number: u32,
    key: &PublicKey,
    before: Option<&Opening>,
    next: Option<Position>,
) -> io::Result<Option<Part>> {
    let Some(segment) = gone(bytes::load(disk, dir, number))? else { return Ok(None) };
    let header = SegmentHeader::decode(&segment).filter(|header| header.number == number);
    let start = header.map(|header| header.follows);
    if start.zip(next).is_some_and(|(start, next)| leads_to(&segment, start, next)) {
        return Ok(Some(Part { number, follows: start, signed: None }));
    }
    let is_ours = ours::trail(&segment, number, key, before).is_some();
    Ok(is_ours.then_some(Part { number, follows: None, signed: None }))
}

/// Whether all in a segment up to where the next one goes on is what that one follows.
fn leads_to(segment: &[u8], start: Position, next: Position) -> bool {
    let (mut at, mut position) = (SEGMENT_HEADER, start);
    while position != next {
        let frame = Frame::at(segment, at).filter(|frame| frame.is_behind(position));
        let Some(frame) = frame else { return false };
        (at, position) = (frame.end(), frame.position());
    }
    true
}

/// The segment behind number `after` that is next; `passed` are those that were found to be none, with their sizes.
pub(super) fn next(
    disk: &dyn Disk,
    dir: &Path,
    key: Option<&PublicKey>,
    after: u32,
    passed: &mut Vec<(u32, u64)>,
) -> io::Result<Option<Part>> {
    for number in bytes::segments(disk, dir)?.into_iter().filter(|number| *number > after) {
        let Some(file) = opened(disk, dir, number)? else { continue };
        let this = (number, file.size()?);
        if passed.contains(&this) {
            continue;
        }
        let Some(key) = key else { return header(disk, dir, number) };
        if let Some(opening) = Opening::of_file(&*file, number, key)? {
            return Ok(Some(Part::opened(number, &opening)));
        }
        let all = all(disk, dir, Some(key))?;
        if let Some(part) = all.into_iter().find(|part| part.number == number) {
            return Ok(Some(part));
        }
        passed.push(this);
    }
    Ok(None)
}

/// A segment as it says itself.
fn header(disk: &dyn Disk, dir: &Path, number: u32) -> io::Result<Option<Part>> {
    let Some(file) = opened(disk, dir, number)? else { return Ok(None) };
    let mut start = [0; SEGMENT_HEADER];
    file.read_at(&mut start, 0)?;
    let follows = SegmentHeader::decode(&start).map(|header| header.follows);
    Ok(Some(Part { number, follows, signed: None }))
}

/// `None`: it has gone meanwhile, or is no file.
fn opened(
    disk: &dyn Disk,
    dir: &Path,
    number: u32,
) -> io::Result<Option<std::sync::Arc<dyn crate::store::disk::ReadFile>>> {
    bytes::no_file(disk.open(&bytes::path(dir, number)))
}

/// Frames one behind the other of which something is signed.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// What the first one follows.
    before: Position,
    /// The last number that is believed.
    last: u64,
}

/// Goes through the frames of a segment, and knows which are records of the trail.
#[derive(Debug)]
pub(super) struct Follow {
    number: u32,
    key: Option<PublicKey>,
    /// Where the chain is, and up to which number what follows is believed.
    at: Option<Run>,
    runs: Vec<Run>,
    /// Whether none follows the segment: more may come.
    is_head: bool,
    /// Whether the frame that was taken last does not follow the one that was taken before it.
    pub(super) broken: bool,
}

impl Follow {
    /// Through this segment; `next` is what the one behind it follows.
    pub(super) fn new(
        segment: &[u8],
        part: &Part,
        next: Option<&Part>,
        key: Option<&PublicKey>,
    ) -> Self {
        let key = key.copied();
        let runs = key.map_or_else(Vec::new, |key| runs(segment, part, next, &key));
        Self { number: part.number, key, at: None, runs, is_head: next.is_none(), broken: false }
    }

    /// Whether this one is a record of the trail. Each is asked about in its order.
    pub(super) fn takes(&mut self, frame: &Frame<'_>) -> bool {
        let Some(key) = &self.key else { return true };
        let sequence = frame.sequence.0;
        let fits = |run: &&Run| sequence <= run.last && frame.is_behind(run.before);
        let goes_on = self.at.iter().find(fits);
        let broken = self.at.is_some() && goes_on.is_none();
        let mut run = goes_on.or_else(|| self.runs.iter().find(fits)).copied();
        if run.is_none() && self.is_head {
            run = signed(frame, self.number, key).map(|before| Run { before, last: u64::MAX });
        }
        let Some(run) = run else { return false };
        self.at = Some(Run { before: frame.position(), last: run.last });
        self.broken = broken;
        true
    }
}

/// What a frame follows that is a checkpoint which `key` has signed, and which stands where it was written.
fn signed(frame: &Frame<'_>, number: u32, key: &PublicKey) -> Option<Position> {
    let checkpoint = open::checkpoint(frame)?;
    let opens = if frame.offset == SEGMENT_HEADER { u64::from(number) } else { 0 };
    let about = checkpoint.position().filter(|about| frame.is_behind(*about))?;
    (checkpoint.opens == opens && checkpoint.is_signed_by(key)).then_some(about)
}

/// The frames of a segment that follow something signed. Where some are missing in between, nobody can tell what
/// the next one follows: it is left out, unless it is signed itself, or the link before it is whole.
fn runs(segment: &[u8], part: &Part, next: Option<&Part>, key: &PublicKey) -> Vec<Run> {
    let end = next.and_then(|next| next.follows);
    let (mut runs, mut at) = (Vec::new(), part.follows);
    let mut run =
        part.follows.map(|before| Seen { before, anchored: true, vouched: 0, bad: false });
    let mut gap = None;
    for found in bytes::walk(segment, SEGMENT_HEADER) {
        let frame = match found {
            Found::Frame(frame) => frame,
            Found::Gap { from, .. } => {
                gap = Some(from);
                continue;
            }
        };
        let position = frame.position();
        let about = signed(&frame, part.number, key);
        if !at.is_some_and(|at| frame.is_behind(at)) {
            runs.extend(run.take().and_then(|run| run.ended(end)));
        }
        at = Some(position);
        let run = run.get_or_insert(Seen {
            before: about.or_else(|| link_at(segment, gap?, &frame)).unwrap_or(position),
            anchored: false,
            vouched: 0,
            bad: false,
        });
        if about.is_some() || end == Some(position) {
            (run.anchored, run.vouched) = (true, position.sequence.0);
        }
        // What was put in place of the last records is no more what the next segment follows.
        run.bad |= end.is_some_and(|end| end.sequence == position.sequence && end != position);
    }
    runs.extend(run.and_then(|run| run.ended(end)));
    runs
}

/// What this frame follows, if the link of a damaged one that begins there is still whole.
fn link_at(segment: &[u8], damaged: usize, frame: &Frame<'_>) -> Option<Position> {
    let bytes = segment.get(damaged..)?.get(HEADER_LEN..)?.first_chunk::<32>()?;
    let sequence = Sequence(frame.sequence.0.checked_sub(1)?);
    let before = Position { sequence, link: Link(*bytes) };
    frame.is_behind(before).then_some(before)
}

/// A run that is looked at.
struct Seen {
    before: Position,
    anchored: bool,
    /// The last that something signed is about.
    vouched: u64,
    bad: bool,
}

impl Seen {
    fn ended(self, end: Option<Position>) -> Option<Run> {
        let most = end.map_or(u64::MAX, |end| end.sequence.0);
        let last = if self.bad { self.vouched } else { most };
        self.anchored.then_some(Run { before: self.before, last: last.min(most) })
    }
}
