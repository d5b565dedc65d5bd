//! How a segment begins: its header, and the checkpoint behind that, which is signed. Of a header alone nothing
//! is believed, for anybody who can write there can make one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::bytes::{self, Frame, Position, SEGMENT_HEADER, SegmentHeader};
use super::keys::PublicKey;
use super::{open, resume};
use crate::clock::UnixMillis;
use crate::store::disk::{Disk, ReadFile};

/// A segment's header and first checkpoint are shorter than this.
const LONGEST: usize = 4096;

/// How a segment begins that this key has opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    /// The trail that it is of.
    pub(super) trail: u64,
    /// The record that its first one follows.
    pub(super) follows: Position,
    /// When it was begun, by the clock.
    pub(super) signed: UnixMillis,
    /// The same as far as the clock was believed.
    pub(super) believed: UnixMillis,
    /// No record in front of it has a later time.
    pub(super) until: UnixMillis,
}

impl Opening {
    /// That of segment `number`, if it is as it was written.
    ///
    /// # Errors
    /// As the file system says.
    pub(super) fn read(
        disk: &dyn Disk,
        dir: &Path,
        number: u32,
        key: &PublicKey,
    ) -> io::Result<Option<Self>> {
        let file = disk.open(&bytes::path(dir, number))?;
        Self::of_file(&*file, number, key)
    }

    /// The same of an open file.
    ///
    /// # Errors
    /// As the file system says.
    pub(super) fn of_file(
        file: &dyn ReadFile,
        number: u32,
        key: &PublicKey,
    ) -> io::Result<Option<Self>> {
        let mut start = vec![0; LONGEST];
        let read = file.read_at(&mut start, 0)?;
        Ok(Self::of(start.get(..read).unwrap_or_default(), number, key))
    }

    /// The same of its bytes.
    pub(super) fn of(segment: &[u8], number: u32, key: &PublicKey) -> Option<Self> {
        let header = SegmentHeader::decode(segment).filter(|header| header.number == number)?;
        let frame = Frame::at(segment, SEGMENT_HEADER)?;
        let checkpoint = open::checkpoint(&frame)?;
        let fits = frame.is_behind(header.follows)
            && checkpoint.opens == u64::from(number)
            && checkpoint.time == header.created_at.to_string()
            && checkpoint.position() == Some(header.follows)
            && checkpoint.trail == format!("{:016x}", header.trail)
            && checkpoint.is_signed_by(key);
        let signed = resume::time(&checkpoint.time).filter(|_| fits)?;
        let SegmentHeader { trail, follows, .. } = header;
        let believed = Some(checkpoint.believed).filter(|believed| *believed > 0);
        let believed = believed.map_or(signed, UnixMillis);
        let until = signed.max(UnixMillis(checkpoint.latest));
        Some(Self { trail, follows, signed, believed, until })
    }
}

/// Those openings, by the numbers of their segments, that do not go with the others of their trail. A segment has at
/// least the record that it begins with, so each one begins behind where any in front of it does: where that is not
/// so, one of the two was signed in another life of the store, which somebody has put back to an older state since.
/// It is the one that does not go with the most of the others; of two, the older.
pub(super) fn stray(openings: &BTreeMap<u32, Opening>) -> BTreeSet<u32> {
    let mut trails: BTreeMap<u64, Vec<(u32, &Opening)>> = BTreeMap::new();
    for (number, opening) in openings {
        trails.entry(opening.trail).or_default().push((*number, opening));
    }
    trails.values().flat_map(|trail| stray_in(trail)).collect()
}

/// The same of the openings of one trail, ascending.
fn stray_in(trail: &[(u32, &Opening)]) -> Vec<u32> {
    let start = |(_, opening): &(u32, &Opening)| opening.follows.sequence.0;
    if trail.is_sorted_by(|a, b| start(a) < start(b)) {
        return Vec::new();
    }
    let mut against = vec![0; trail.len()];
    let mut seen: Vec<u64> = Vec::with_capacity(trail.len());
    for (against, start) in against.iter_mut().zip(trail.iter().map(start)) {
        let before = seen.partition_point(|seen| *seen < start);
        *against += seen.len() - before;
        seen.insert(before, start);
    }
    seen.clear();
    for (against, start) in against.iter_mut().zip(trail.iter().map(start)).rev() {
        let upto = seen.partition_point(|seen| *seen <= start);
        *against += upto;
        seen.insert(upto, start);
    }
    let mut best_first: Vec<_> = against.into_iter().zip(trail).collect();
    best_first.sort_by_key(|(against, (number, opening))| {
        (*against, Reverse(opening.signed), Reverse(*number))
    });
    let (mut kept, mut stray) = (BTreeMap::new(), Vec::new());
    for (_, at) in best_first {
        let (number, start) = (at.0, start(at));
        let before = kept.range(..number).next_back().is_none_or(|(_, before)| *before < start);
        if before && kept.range(number..).next().is_none_or(|(_, next)| start < *next) {
            kept.insert(number, start);
        } else {
            stray.push(number);
        }
    }
    stray
}
