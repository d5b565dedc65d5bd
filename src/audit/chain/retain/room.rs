//! The room that a segment takes of the trail's: only what somebody has vouched for. Anything else, whoever can
//! write there could make as long as they like, and have good segments removed for it.

use std::collections::BTreeMap;
use std::io;

use super::super::bytes::{Frame, Kind, Position, SEGMENT_HEADER};
use super::super::keys::PublicKey;
use super::super::open;
use super::super::opening::Opening;
use crate::store::disk::Stamp;

/// A segment that begins as it was signed.
pub(super) struct Opened<'a> {
    pub(super) number: u32,
    pub(super) opening: &'a Opening,
    pub(super) key: &'a PublicKey,
}

impl Opened<'_> {
    /// Bytes up to the last record that is vouched for: by what the next segment follows, else by the last of the
    /// checkpoints in it up to which all is signed.
    pub(super) fn vouched(&self, segment: &[u8], next: Option<Position>) -> u64 {
        if let Some(next) = next {
            let upto = |frame: &Frame<'_>| frame.sequence <= next.sequence;
            let last = linked(segment, self.opening.follows).take_while(upto).last();
            if let Some(last) = last.filter(|last| last.position() == next) {
                return last.end() as u64;
            }
        }
        let (mut before, mut vouched) = (self.opening.follows, 0);
        for frame in linked(segment, self.opening.follows) {
            if frame.kind == Some(Kind::Checkpoint) {
                if self.signed(&frame, before).is_none() {
                    break;
                }
                vouched = frame.end();
            }
            before = frame.position();
        }
        vouched as u64
    }

    /// Where the chain is at the segment's end, and whether a checkpoint says that a stop was there, behind which
    /// nothing is written. `None`: something in it is not linked.
    pub(super) fn end(&self, segment: &[u8]) -> Option<(Position, bool)> {
        let (mut before, mut last) = (self.opening.follows, None);
        for frame in linked(segment, self.opening.follows) {
            before = last.map_or(before, |last: Frame<'_>| last.position());
            last = Some(frame);
        }
        let last = last.filter(|last| last.end() == segment.len())?;
        let stop = self.signed(&last, before).is_some_and(|stop| stop);
        Some((last.position(), stop))
    }

    /// Of a checkpoint that is about this position and stands where it was signed: whether it is that of a stop.
    fn signed(&self, frame: &Frame<'_>, about: Position) -> Option<bool> {
        let checkpoint = open::checkpoint(frame)?;
        let opens = if frame.offset == SEGMENT_HEADER { self.number } else { 0 };
        let good = checkpoint.position() == Some(about)
            && checkpoint.opens == u64::from(opens)
            && checkpoint.trail() == Some(self.opening.trail)
            && checkpoint.is_signed_by(self.key);
        good.then_some(checkpoint.stop)
    }
}

/// The frames of a segment up to the first that does not follow the one before.
fn linked(segment: &[u8], follows: Position) -> impl Iterator<Item = Frame<'_>> {
    let (mut at, mut position) = (SEGMENT_HEADER, follows);
    std::iter::from_fn(move || {
        let frame = Frame::at(segment, at).filter(|frame| frame.is_behind(position))?;
        (at, position) = (frame.end(), frame.position());
        Some(frame)
    })
}

/// The room of segments that were read before: they are not written to any more.
#[derive(Debug, Default)]
pub(in super::super) struct Rooms(BTreeMap<u32, Room>);

#[derive(Debug)]
struct Room {
    stamp: Stamp,
    /// What the next segment followed.
    next: Option<Position>,
    bytes: u64,
}

impl Rooms {
    /// That of a segment; `read` finds it out, if the file or what follows it is another than it was.
    pub(super) fn of(
        &mut self,
        number: u32,
        stamp: Option<Stamp>,
        next: Option<Position>,
        read: impl FnOnce() -> io::Result<u64>,
    ) -> io::Result<u64> {
        let known = self.0.get(&number).filter(|known| Some(known.stamp) == stamp);
        if let Some(known) = known.filter(|known| known.next == next) {
            return Ok(known.bytes);
        }
        let bytes = read()?;
        if let Some(stamp) = stamp {
            self.0.insert(number, Room { stamp, next, bytes });
        }
        Ok(bytes)
    }

    /// Forgets those that are not there any more.
    pub(super) fn keep(&mut self, is_there: impl Fn(u32) -> bool) {
        self.0.retain(|number, _| is_there(*number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each sweep of a trail that is as large as it may be would read all of it.
    #[test]
    fn a_segment_is_read_again_only_where_something_has_changed() {
        let stamp = Stamp { file: (1, 2), len: 3, modified: (4, 5), changed: (6, 7) };
        let (mut rooms, next) = (Rooms::default(), Some(Position::START));
        assert_eq!(rooms.of(1, Some(stamp), next, || Ok(9)).unwrap(), 9);
        let mut known = |stamp, next| {
            let mut read = false;
            let of = rooms.of(1, stamp, next, || {
                read = true;
                Ok(9)
            });
            assert_eq!(of.unwrap(), 9);
            !read
        };
        assert!(known(Some(stamp), next));
        assert!(!known(None, next), "nobody knows whether it has changed");
        assert!(!known(Some(stamp), None) && known(Some(stamp), None));
        assert!(!known(Some(Stamp { changed: (6, 8), ..stamp }), None));
        rooms.keep(|number| number != 1);
        assert_eq!(rooms.of(1, Some(stamp), None, || Ok(8)).unwrap(), 8);
    }
}
