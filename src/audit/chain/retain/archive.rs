//! Copies of segments that go, in a directory that may be on another disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::super::super::left_free;
use super::super::bytes::MAX_SEGMENT;
use crate::regular::{self, Link};

/// Bytes of a segment that are copied before another sign of life.
const PIECE: u64 = 1 << 20;

/// Copies a segment to the directory; what was copied in whole before stays. No more of it than a segment can be
/// long: what is behind that may be a hole without an end. Of the file system that the segment is on, which
/// is the store's, so many bytes stay free. `each` is called between pieces.
///
/// # Errors
/// As the file system says, where another file has the name, and where there is no room.
pub(super) fn keep(
    from: &Path,
    dir: &Path,
    name: &str,
    left: u64,
    each: impl Fn(),
) -> io::Result<()> {
    let (to, part) = (dir.join(name), dir.join(format!("{name}.part")));
    let source = regular::open(OpenOptions::new().read(true), from, Link::Follow)?;
    if to.exists() {
        return is_copy(&source, &to, each);
    }
    has_room(&source, dir, left)?;
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o600);
    let mut target = regular::open(&mut open, &part, Link::Refuse)?;
    let mut source = source.take(MAX_SEGMENT);
    // A disk that is slow is none that hangs.
    while io::copy(&mut (&mut source).take(PIECE), &mut target)? > 0 {
        each();
    }
    target.sync_all()?;
    fs::rename(&part, &to)?;
    File::open(dir)?.sync_all()
}

/// Whether the copy leaves so much of the disk that the segment is on. A disk of its own it may fill.
fn has_room(source: &File, dir: &Path, left: u64) -> io::Result<()> {
    let (source, dir) = (source.metadata()?, File::open(dir)?);
    if source.dev() != dir.metadata()?.dev() {
        return Ok(());
    }
    left_free::leaves(&dir, source.len().min(MAX_SEGMENT), left)
}

/// Whether that is the copy of this segment, byte for byte: else the only one there is would be removed.
fn is_copy(source: &File, copy: &Path, each: impl Fn()) -> io::Result<()> {
    let another = |what| {
        let message = format!("{} is {what}", copy.display());
        Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
    };
    let there = regular::open(OpenOptions::new().read(true), copy, Link::Follow)?;
    let (ours, theirs) = (source.metadata()?, there.metadata()?);
    if (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()) {
        return another("the segment itself, and no copy");
    }
    if ours.len().min(MAX_SEGMENT) != theirs.len() {
        return another("another file than the segment of this name");
    }
    let (mut source, mut there) = (source.take(MAX_SEGMENT), there);
    loop {
        each();
        let (ours, theirs) = (piece(&mut source)?, piece(&mut there)?);
        if ours != theirs {
            return another("another file than the segment of this name");
        }
        if ours.is_empty() {
            return Ok(());
        }
    }
}

fn piece(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(PIECE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of the same name and length was believed to be the copy, and the segment was removed.
    #[test]
    fn only_what_is_the_same_byte_for_byte_is_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let (from, archive) = (dir.path().join("1.audit"), dir.path().join("archive"));
        fs::create_dir(&archive).unwrap();
        let segment: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        fs::write(&from, &segment).unwrap();
        let pieces = std::cell::Cell::new(0);
        let keep = || keep(&from, &archive, "1.audit", 0, || pieces.set(pieces.get() + 1));
        keep().unwrap();
        let copy = archive.join("1.audit");
        assert_eq!(fs::read(&copy).unwrap(), segment);
        pieces.set(0);
        keep().unwrap();
        assert!(pieces.get() > 2, "there are signs of life");
        let mut other = segment.clone();
        other[2_999_999] ^= 1;
        for other in [other, segment[1..].to_vec(), Vec::new()] {
            fs::write(&copy, &other).unwrap();
            let said = keep().unwrap_err().to_string();
            assert!(said.contains("1.audit is another file"), "{said}");
            assert_eq!(fs::read(&copy).unwrap(), other);
        }
        fs::remove_file(&copy).unwrap();
        fs::hard_link(&from, &copy).unwrap();
        let said = keep().unwrap_err().to_string();
        assert!(said.contains("itself"), "{said}");
    }

    /// A hole of terabytes is no reason to fill the archive's disk.
    #[test]
    fn no_more_is_copied_than_a_segment_can_be_long() {
        let dir = tempfile::tempdir().unwrap();
        let (from, archive) = (dir.path().join("1.audit"), dir.path().join("archive"));
        fs::create_dir(&archive).unwrap();
        File::create(&from).unwrap().set_len(MAX_SEGMENT + (1 << 40)).unwrap();
        for _ in 0..2 {
            keep(&from, &archive, "1.audit", 0, || {}).unwrap();
            assert_eq!(fs::metadata(archive.join("1.audit")).unwrap().len(), MAX_SEGMENT);
        }
    }

    /// A retention that was made shorter had gigabytes copied before the first segment went, and no event was
    /// taken any more.
    #[test]
    fn a_copy_beside_the_store_leaves_what_events_need() {
        let dir = tempfile::tempdir().unwrap();
        let (from, archive) = (dir.path().join("1.audit"), dir.path().join("archive"));
        fs::create_dir(&archive).unwrap();
        fs::write(&from, "segment").unwrap();
        let stat = rustix::fs::statvfs(dir.path()).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        let refused = keep(&from, &archive, "1.audit", free * 2, || {}).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_dir(&archive).unwrap().count(), 0, "not even a part of it");
        keep(&from, &archive, "1.audit", free / 2, || {}).unwrap();
        // What is there already takes no more.
        keep(&from, &archive, "1.audit", free * 2, || {}).unwrap();
    }
}
