//! Where a start goes on: what the last segment says, and what a crash has left at its end.

use std::io;
use std::path::Path;

use serde_json::Value;

use super::bytes::{self, Found as Walked, Frame, Kind, Position, SEGMENT_HEADER, SegmentHeader};
use super::checkpoint::Checkpoint;
use super::keys::PublicKey;
use crate::store::disk::Disk;

/// A segment that its making has not got beyond is no longer than this.
const BARELY_BEGUN: usize = 4096;

/// How many copies of what was cut off one segment are kept.
const COPIES: u32 = 16;

/// What a trail comes to so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its number; `None`: there is none yet.
    pub(super) trail: Option<u64>,
    /// The highest segment's number; 0: there is none.
    pub(super) number: u32,
    /// How far the chain goes.
    pub(super) position: Position,
    /// Bytes of `acts.jsonl` that are in it.
    pub(super) acts: u64,
    /// Bytes that were cut off the last segment.
    pub(super) torn: u64,
}

/// Looks where to go on, cuts off what a crash has left half written, and makes durable what is there.
pub(super) fn find(disk: &dyn Disk, dir: &Path, key: &PublicKey) -> io::Result<Found> {
    let mut found = Found { trail: None, number: 0, position: Position::START, acts: 0, torn: 0 };
    for number in bytes::segments(disk, dir)?.into_iter().rev() {
        let segment = bytes::load(disk, dir, number)?;
        let end = End::of(&segment, key);
        let Some(last) = end.last else {
            if segment.len() <= BARELY_BEGUN {
                tracing::warn!(target: "hookward::audit", segment = number, "a segment of the audit trail was not begun in whole, and is removed");
                disk.remove(&bytes::path(dir, number))?;
                disk.sync_dir(dir)?;
            } else {
                tracing::error!(target: "hookward::audit", segment = number, "a segment of the audit trail has no record that is whole");
                found.number = found.number.max(number);
            }
            continue;
        };
        found.number = found.number.max(number);
        if end.damaged {
            tracing::error!(target: "hookward::audit", segment = number, "the audit trail is damaged; `hookward audit verify` says where");
        }
        if let Some(cut) = end.cut {
            found.torn = cut_off(disk, dir, number, &segment, cut)?;
        }
        disk.rewrite(&bytes::path(dir, number))?;
        let trail = SegmentHeader::decode(&segment).map(|header| header.trail);
        return Ok(Found {
            trail: trail.or_else(|| last.trail(&segment)),
            position: last.position,
            acts: end.acts,
            ..found
        });
    }
    Ok(found)
}

/// How a segment ends.
struct End {
    last: Option<Last>,
    acts: u64,
    /// From where on it is what a crash has left.
    cut: Option<usize>,
    damaged: bool,
}

struct Last {
    position: Position,
}

impl Last {
    /// The trail's number as a checkpoint has it, where the header does not say.
    fn trail(&self, segment: &[u8]) -> Option<u64> {
        let checkpoint = bytes::frames(segment).find_map(|frame| checkpoint(&frame))?;
        u64::from_str_radix(&checkpoint.trail, 16).ok()
    }
}

impl End {
    /// What is behind a gap was written after it. A signed checkpoint is on stable storage with all that
    /// is before it, so a gap in front of one is damage; any other is what a crash has left. What does not
    /// follow the record before it, or stands behind the checkpoint of a stop, the gateway has not written:
    /// nothing that was put there is to be signed with the rest.
    fn of(segment: &[u8], key: &PublicKey) -> Self {
        let mut end = Self { last: None, acts: 0, cut: None, damaged: false };
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
            let follows = end.last.as_ref().is_none_or(|last| frame.is_behind(last.position));
            acts_behind = acts_of(&frame).unwrap_or(acts_behind);
            let newest = end.last.as_ref().map_or(0, |last| last.position.sequence.0);
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
                let last = Last { position: frame.position() };
                (end.last, end.acts) = (Some(last), acts_behind);
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

/// Keeps a copy of what is cut off, as it stood there.
fn cut_off(
    disk: &dyn Disk,
    dir: &Path,
    number: u32,
    segment: &[u8],
    cut: usize,
) -> io::Result<u64> {
    let tail = segment.get(cut..).unwrap_or_default();
    let copy = |name: &str| -> io::Result<()> {
        let mut file = disk.create(&dir.join(name))?;
        file.append(tail)?;
        file.sync()
    };
    // What an earlier start has cut off there stays.
    let names = (1..COPIES).map(|n| format!("{number:010}.torn.{n}"));
    let mut names = std::iter::once(format!("{number:010}.torn")).chain(names);
    let kept = loop {
        let Some(name) = names.next() else { break false };
        match copy(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            copied => break copied.is_ok(),
        }
    };
    tracing::warn!(
        target: "hookward::audit",
        segment = number, bytes = tail.len(), kept,
        "the audit trail ends with what a crash has left half written; it is cut off"
    );
    disk.truncate(&bytes::path(dir, number), cut as u64)?;
    Ok(tail.len() as u64)
}
