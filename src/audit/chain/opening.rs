//! How a segment begins: its header, and the checkpoint behind that, which is signed. Of a header alone nothing
//! is believed, for anybody who can write there can make one.

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
