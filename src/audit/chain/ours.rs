//! Whether a segment that does not begin as it was signed is ours all the same: damaged, and not somebody else's.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::bytes::{self, Frame, Position, SEGMENT_HEADER};
use super::checkpoint::Checkpoint;
use super::keys::PublicKey;
use super::open;
use super::opening::Opening;
use super::read::gone;
use crate::store::disk::Disk;

/// What a segment stands behind.
struct Before {
    trail: u64,
    /// The last record that is known to be in front of it.
    end: u64,
}

/// Of segments one behind the other none of which begins as it was signed, those that are ours, with the trail that
/// each is of. `before`: the segment in front of them that begins so.
///
/// # Errors
/// As the file system says.
pub(super) fn damaged(
    disk: &dyn Disk,
    dir: &Path,
    numbers: &[u32],
    before: Option<(u32, &Opening)>,
    key: &PublicKey,
) -> io::Result<BTreeMap<u32, u64>> {
    let mut ours = BTreeMap::new();
    let mut before = match before {
        Some((number, opening)) if !numbers.is_empty() => {
            let segment = segment(disk, dir, number)?.unwrap_or_default();
            let end = end(&segment, number, Some(opening.follows), key);
            // It has at least the record that it begins with.
            Some(Before { trail: opening.trail, end: end.max(opening.follows.sequence.0 + 1) })
        }
        _ => None,
    };
    for &number in numbers {
        let Some(segment) = segment(disk, dir, number)? else { continue };
        if let Some(trail) = trail(&segment, number, key, before.as_ref()) {
            before = Some(Before { trail, end: end(&segment, number, None, key) });
            ours.insert(number, trail);
        }
    }
    Ok(ours)
}

/// `None`: it has gone meanwhile, or the disk does not give it.
fn segment(disk: &dyn Disk, dir: &Path, number: u32) -> io::Result<Option<Vec<u8>>> {
    Ok(gone(bytes::given(bytes::load(disk, dir, number)))?.flatten())
}

/// The trail that a segment is of by a checkpoint in it which `key` has signed and which stands where it was written:
/// of the same trail as what is in front of it, and about what came behind the end of that. What was copied out of
/// another segment speaks for that one only, and so does what was copied out of the one in front.
fn trail(segment: &[u8], number: u32, key: &PublicKey, before: Option<&Before>) -> Option<u64> {
    bytes::frames(segment).find_map(|frame| {
        let checkpoint = open::checkpoint(&frame)?;
        let trail = checkpoint.trail()?;
        let is_next =
            before.is_none_or(|before| trail == before.trail && checkpoint.sequence >= before.end);
        (is_next && stands(&checkpoint, &frame, number, key)).then_some(trail)
    })
}

/// The number of the last record of a segment that follows, link by link, its beginning or something signed in it.
fn end(segment: &[u8], number: u32, follows: Option<Position>, key: &PublicKey) -> u64 {
    let (mut at, mut end) = (follows, 0);
    for frame in bytes::frames(segment) {
        let linked = at.is_some_and(|at| frame.is_behind(at));
        let is_known = linked || signed(&frame, number, key).is_some();
        at = is_known.then(|| frame.position());
        end = at.map_or(end, |at| end.max(at.sequence.0));
    }
    end
}

/// What a frame follows that is a checkpoint which `key` has signed, and which stands where it was written.
pub(super) fn signed(frame: &Frame<'_>, number: u32, key: &PublicKey) -> Option<Position> {
    let checkpoint = open::checkpoint(frame)?;
    stands(&checkpoint, frame, number, key).then(|| checkpoint.position()).flatten()
}

fn stands(checkpoint: &Checkpoint, frame: &Frame<'_>, number: u32, key: &PublicKey) -> bool {
    let opens = if frame.offset == SEGMENT_HEADER { u64::from(number) } else { 0 };
    checkpoint.opens == opens
        && checkpoint.position().is_some_and(|about| frame.is_behind(about))
        && checkpoint.is_signed_by(key)
}
