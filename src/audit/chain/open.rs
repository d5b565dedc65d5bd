//! Where a start goes on: what the last segment says, and what a crash has left at its end.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::bytes::{self, Found as Walked, Frame, Kind, Position, SEGMENT_HEADER, SegmentHeader};
use super::checkpoint::Checkpoint;
use super::keys::PublicKey;
use super::opening::{self, Opening};
use super::ours;
use crate::store::disk::Disk;

/// A segment that its making has not got beyond is no longer than this.
const BARELY_BEGUN: usize = 4096;

/// How many copies of what was cut off one segment are kept.
const COPIES: u32 = 16;

/// A trail that no key of ours has signed is not gone on with behind a larger number: none would be left.
const HIGHEST: u32 = u32::MAX / 2;

/// What a trail comes to so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its number; `None`: there is none yet.
    pub(super) trail: Option<u64>,
    /// The segment that it goes on behind; 0: none.
    pub(super) behind: u32,
    /// How far the chain goes.
    pub(super) position: Position,
    /// Bytes of `acts.jsonl` that are in it.
    pub(super) acts: u64,
    /// Bytes that were cut off the last segment.
    pub(super) torn: u64,
    /// What the first of its segments follows that the key has opened; `None`: it has opened none.
    pub(super) signed_from: Option<Position>,
    /// How many it has opened.
    pub(super) opened: usize,
}

impl Found {
    /// Whether the key has signed more than that segments begin; `None`: how they begin is damaged.
    pub(super) fn has_records(&self) -> Option<bool> {
        let numbers = |from: Position| self.position.sequence.0.saturating_sub(from.sequence.0);
        Some(numbers(self.signed_from?) > self.opened as u64)
    }
}

/// Looks where to go on, cuts off what a crash has left half written, and makes durable what is there.
///
/// Goes on behind the newest segment that `key` has signed something in; what has another one's signatures, or none,
/// anybody could have put there. `is_new`: the key was made just now, and nothing is signed by it yet.
pub(super) fn find(
    disk: &dyn Disk,
    dir: &Path,
    key: &PublicKey,
    is_new: bool,
) -> io::Result<Found> {
    let mut numbers = bytes::segments(disk, dir)?;
    let openings = openings(disk, dir, &mut numbers, key)?;
    let newest = openings.last_key_value().map(|(number, opening)| (*number, opening));
    let signed_from = openings.first_key_value().map(|(_, opening)| opening.follows);
    let (start, opened) = (Position::START, openings.len());
    let mut found =
        Found { trail: None, behind: 0, position: start, acts: 0, torn: 0, signed_from, opened };
    // Behind one that it has opened a new key goes on behind nothing else either.
    let is_new = is_new && newest.is_none();
    let above = newest.map_or(0, |(newest, _)| numbers.partition_point(|number| *number <= newest));
    let ours = match numbers.get(above..) {
        Some(above) if !is_new => ours::damaged(disk, dir, above, newest, key)?,
        _ => BTreeMap::new(),
    };
    for number in numbers.into_iter().rev() {
        let segment = bytes::load(disk, dir, number)?;
        let mut end = End::of(&segment, key);
        if disk.open(&bytes::path(dir, number))?.size()? > segment.len() as u64 {
            // Of what was not looked at nothing is cut off.
            (end.cut, end.damaged) = (None, true);
        }
        let Some(last) = end.last else {
            // Records behind a damaged beginning are evidence.
            if segment.len() <= BARELY_BEGUN && bytes::frames(&segment).next().is_none() {
                tracing::warn!(target: "hookward::audit", segment = number, "a segment of the audit trail was not begun in whole, and is removed");
                disk.remove(&bytes::path(dir, number))?;
                disk.sync_dir(dir)?;
            } else {
                tracing::error!(target: "hookward::audit", segment = number, "a segment of the audit trail has no record that is whole");
            }
            continue;
        };
        let opened = openings.get(&number);
        let trail = match opened {
            Some(opened) => Some(opened.trail),
            None if is_new && number <= HIGHEST => trail(&segment),
            None => ours.get(&number).copied(),
        };
        let Some(trail) = trail else {
            tracing::error!(
                target: "hookward::audit",
                segment = number,
                "a segment of the audit trail holds nothing that was signed for it; it is left where it is, and the trail does not go on behind it"
            );
            continue;
        };
        if end.damaged || (opened.is_none() && !is_new) {
            tracing::error!(target: "hookward::audit", segment = number, "the audit trail is damaged; `hookward audit verify` says where");
        }
        found.torn = copied(disk, dir, number)?;
        if let Some(cut) = end.cut {
            // A copy may be of the same, by a start that came no further.
            found.torn = found.torn.max(cut_off(disk, dir, number, &segment, cut)?);
        }
        disk.rewrite(&bytes::path(dir, number))?;
        if let (records @ 1.., from) = end.behind {
            tracing::warn!(
                target: "hookward::audit",
                segment = number, records, from, upto = last.sequence.0,
                "the audit trail ends with records that no checkpoint vouches for: this start signs them as it finds them"
            );
        }
        let trail = Some(trail);
        return Ok(Found { trail, behind: number, position: last, acts: end.acts, ..found });
    }
    Ok(found)
}

/// How the segments begin that begin as this key has signed it. Those that do not go with the others are told, and
/// taken out of `numbers`.
fn openings(
    disk: &dyn Disk,
    dir: &Path,
    numbers: &mut Vec<u32>,
    key: &PublicKey,
) -> io::Result<BTreeMap<u32, Opening>> {
    let mut openings = BTreeMap::new();
    for &number in &*numbers {
        // What the disk does not give of an old one keeps no trail from going on.
        let opening = bytes::given(Opening::read(disk, dir, number, key))?.flatten();
        openings.extend(opening.map(|opening| (number, opening)));
    }
    let stray = opening::stray(&openings);
    openings.retain(|number, _| !stray.contains(number));
    numbers.retain(|number| !stray.contains(number));
    for segment in stray {
        tracing::error!(
            target: "hookward::audit",
            segment,
            "a segment of the audit trail was signed for another place than it has there, as if the store had been put back to an older state since; it is left where it is, and the trail does not go on behind it"
        );
    }
    Ok(openings)
}

/// Which trail a segment says that it is of, whoever has signed that.
fn trail(segment: &[u8]) -> Option<u64> {
    let noted = || bytes::frames(segment).find_map(|frame| checkpoint(&frame)?.trail());
    SegmentHeader::decode(segment).map(|header| header.trail).or_else(noted)
}

/// How a segment ends.
struct End {
    /// How far the chain goes in it.
    last: Option<Position>,
    acts: u64,
    /// Records behind the last checkpoint that vouches, and the first one's number.
    behind: (u64, u64),
    /// From where on it is what a crash has left.
    cut: Option<usize>,
    damaged: bool,
}

impl End {
    /// What is behind a gap was written after it. A signed checkpoint is on stable storage with all that
    /// is before it, so a gap in front of one is damage; any other is what a crash has left. What does not
    /// follow the record before it, or stands behind the checkpoint of a stop, the gateway has not written:
    /// nothing that was put there is to be signed with the rest.
    fn of(segment: &[u8], key: &PublicKey) -> Self {
        let mut end = Self { last: None, acts: 0, behind: (0, 0), cut: None, damaged: false };
        let (mut acts_behind, mut stopped) = (0, false);
        for walked in bytes::walk(segment, SEGMENT_HEADER) {
            let frame = match walked {
                // There may be records behind it: nothing is cut off.
                Walked::Gap { given_up: true, .. } => {
                    (end.cut, end.damaged) = (None, true);
                    break;
                }
                Walked::Gap { from, .. } => {
                    end.cut = end.cut.or(Some(from));
                    continue;
                }
                Walked::Frame(frame) => frame,
            };
            let follows = end.last.is_none_or(|last| frame.is_behind(last));
            acts_behind = acts_of(&frame).unwrap_or(acts_behind);
            let newest = end.last.map_or(0, |last| last.sequence.0);
            let vouches = checkpoint(&frame).filter(|checkpoint| {
                // An old one that was copied here vouches for nothing.
                let about = checkpoint.position().filter(|_| frame.sequence.0 > newest);
                about.is_some_and(|about| frame.is_behind(about)) && checkpoint.is_signed_by(key)
            });
            if (stopped && vouches.is_none()) || !follows {
                end.cut = end.cut.or(Some(frame.offset));
            }
            if end.cut.is_some() && vouches.is_some() && !stopped {
                (end.cut, end.damaged) = (None, true);
            }
            if end.cut.is_none() {
                let (records, first) = end.behind;
                end.behind = match (&vouches, frame.kind) {
                    (Some(_), _) => (0, 0),
                    (None, Some(Kind::Checkpoint)) => end.behind,
                    (None, _) if records == 0 => (1, frame.sequence.0),
                    (None, _) => (records + 1, first),
                };
                (end.last, end.acts) = (Some(frame.position()), acts_behind);
                stopped |= vouches.is_some_and(|checkpoint| checkpoint.stop);
            }
        }
        end
    }
}

/// The checkpoint that a frame is.
pub(super) fn checkpoint(frame: &Frame<'_>) -> Option<Checkpoint> {
    if frame.kind != Some(Kind::Checkpoint) {
        return None;
    }
    serde_json::from_slice(frame.body).ok()
}

/// How far `acts.jsonl` is in the trail with this frame, if it says so.
fn acts_of(frame: &Frame<'_>) -> Option<u64> {
    let says: Value = serde_json::from_slice(frame.body).ok()?;
    says.get("acts")?.as_u64()
}

/// What was cut off a segment of this number is called like this.
fn copies(number: u32) -> impl Iterator<Item = String> {
    let more = (1..COPIES).map(move |n| format!("{number:010}.torn.{n}"));
    std::iter::once(format!("{number:010}.torn")).chain(more)
}

/// Bytes that were cut off the last segment by starts that have come no further, so that no segment says so.
fn copied(disk: &dyn Disk, dir: &Path, number: u32) -> io::Result<u64> {
    let names = disk.list(dir)?;
    let is_there = |copy: &String| names.contains(copy);
    copies(number).filter(is_there).try_fold(0_u64, |sum, copy| {
        // What somebody else has called so, a directory or a link to nothing, is none.
        let copy = bytes::no_file(disk.open(&dir.join(copy)))?;
        Ok(sum.saturating_add(copy.map_or(Ok(0), |copy| copy.size())?))
    })
}

/// Cuts off what a crash has left, once there is a copy of it. Without one nothing is cut off, but where an
/// earlier start, or somebody else, has taken all names that there are for copies.
fn cut_off(
    disk: &dyn Disk,
    dir: &Path,
    number: u32,
    segment: &[u8],
    cut: usize,
) -> io::Result<u64> {
    let tail = segment.get(cut..).unwrap_or_default();
    let mut kept = false;
    for name in copies(number) {
        match copy(disk, &dir.join(name), tail) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            copied => {
                copied?;
                kept = true;
                break;
            }
        }
    }
    tracing::warn!(
        target: "hookward::audit",
        segment = number, bytes = tail.len(), kept,
        "the audit trail ends with what a crash has left half written; it is cut off"
    );
    disk.truncate(&bytes::path(dir, number), cut as u64)?;
    Ok(tail.len() as u64)
}

/// Makes a copy, whole or not at all.
fn copy(disk: &dyn Disk, path: &Path, tail: &[u8]) -> io::Result<()> {
    let mut file = disk.create(path)?;
    let written = file.append(tail).and_then(|()| file.sync());
    if written.is_err() {
        // Half of one would be taken for one.
        let _ = disk.remove(path);
    }
    written
}
