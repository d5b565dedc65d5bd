//! Whether a segment that does not begin as it was signed is ours all the same: damaged, and not somebody else's.

use super::bytes::{self, SEGMENT_HEADER};
use super::keys::PublicKey;
use super::open;
use super::opening::Opening;

/// The trail that a segment is of by a checkpoint in it which `key` has signed and which stands where it was written:
/// of the same trail as `before`, a segment in front of it, and about what came after that one was begun. `None`:
/// there is none. What was copied out of another segment speaks for that one only.
pub(super) fn trail(
    segment: &[u8],
    number: u32,
    key: &PublicKey,
    before: Option<&Opening>,
) -> Option<u64> {
    bytes::frames(segment).find_map(|frame| {
        let checkpoint = open::checkpoint(&frame)?;
        let trail = checkpoint.trail()?;
        let opens = if frame.offset == SEGMENT_HEADER { number } else { 0 };
        let is_next = before.is_none_or(|before| {
            trail == before.trail && checkpoint.sequence > before.follows.sequence.0
        });
        let stands = checkpoint.position().is_some_and(|about| frame.is_behind(about));
        let good = is_next
            && stands
            && checkpoint.opens == u64::from(opens)
            && checkpoint.is_signed_by(key);
        good.then_some(trail)
    })
}
