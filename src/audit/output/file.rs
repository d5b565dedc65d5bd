//! A file that records are appended to, a line of JSON each. Whoever rotates it moves it away: the next
//! record goes to a new one. It is for our own eyes, and never takes the disk's last space: that is for
//! events. What is there already and not an output's is not touched: as root, a name that was mistyped
//! could be that of any file.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::geteuid;

use super::super::left_free;
use super::ours;
use crate::regular::{self, Link};

/// Who alone may read and write it.
const MODE: u32 = 0o600;

/// Bytes of a file system that no output takes. Shared: a reload changes them for all files.
#[derive(Clone, Debug, Default)]
pub(super) struct Room(Arc<AtomicU64>);

impl Room {
    /// From here on what [`left_free`] says stays free with this `store.min_free`.
    pub(super) fn keep(&self, min_free: u64) {
        self.0.store(left_free::of(min_free), Ordering::Relaxed);
    }

    /// Whether so many bytes more leave that much where the file is.
    fn has(&self, file: &File, bytes: usize) -> io::Result<()> {
        left_free::leaves(file, bytes as u64, self.0.load(Ordering::Relaxed))
    }
}

/// A file that is appended to. All of it blocks.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    file: File,
    /// Whether its last line is cut off.
    cut: bool,
    room: Room,
}

impl Lines {
    /// Opens the file, or makes it, for its owner alone, who must be who we are; never through a link, not
    /// one that holds something else, and not while there is no room for it.
    pub(super) fn open(path: &Path, room: &Room) -> io::Result<Self> {
        let (file, cut) = open(path, geteuid().as_raw())?;
        room.has(&file, 0)?;
        Ok(Self { path: path.to_owned(), file, cut, room: room.clone() })
    }

    /// Appends these bytes, which are whole lines.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if !self.is_in_place() {
            // What went to the one that was moved away is to stay.
            self.file.sync_data()?;
            (self.file, self.cut) = open(&self.path, geteuid().as_raw())?;
        }
        self.room.has(&self.file, lines.len())?;
        if self.cut {
            self.file.write_all(b"\n")?;
        }
        self.cut = true;
        self.file.write_all(lines)?;
        self.cut = false;
        Ok(())
    }

    /// Returns once all that was appended is on stable storage.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Whether the name still leads to it.
    fn is_in_place(&self) -> bool {
        let (named, open) = (fs::symlink_metadata(&self.path), self.file.metadata());
        named
            .ok()
            .zip(open.ok())
            .is_some_and(|(named, open)| (named.dev(), named.ino()) == (open.dev(), open.ino()))
    }
}

fn open(path: &Path, user: u32) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(MODE);
    let mut file = regular::open(&mut options, path, Link::Refuse)?;
    own(&mut file, path, user)?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok((file, last != [b'\n']))
}

/// One that was there before may be open to others. What is ours is closed to them; in somebody else's, who
/// could open it again, nothing is written. Nor in what is something else's: nothing of that is changed.
fn own(file: &mut File, path: &Path, user: u32) -> io::Result<()> {
    let found = file.metadata()?;
    let shown = path.display();
    let refused = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if found.uid() != user {
        let owner = found.uid();
        return refused(format!(
            "{shown} belongs to user {owner}, who could read it, and not to user {user}"
        ));
    }
    if found.nlink() > 1 {
        return refused(format!(
            "{shown} has another name as well (a hard link), which may be something else's"
        ));
    }
    if !ours::is(file, found.len())? {
        return refused(format!(
            "{shown} is there and holds no line that an output has written; move it away, or name another file"
        ));
    }
    if found.mode() & 0o7777 & !MODE != 0 {
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A line of an output.
    const OURS: &str = "{\"id\":\"a\",\"reason\":\"started\",\"sequence\":1}\n";

    fn opened(path: &Path) -> io::Result<Lines> {
        Lines::open(path, &Room::default())
    }

    #[test]
    fn a_file_that_was_moved_away_is_followed_by_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut lines = opened(&path).unwrap();
        lines.append(b"1\n").unwrap();
        fs::rename(&path, dir.path().join("audit.jsonl.1")).unwrap();
        lines.append(b"2\n").unwrap();
        fs::remove_file(&path).unwrap();
        lines.append(b"3\n").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("audit.jsonl.1")).unwrap(), "1\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_line_that_a_crash_has_cut_off_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        fs::write(&path, format!("{OURS}{{\"id")).unwrap();
        opened(&path).unwrap().append(b"2\n").unwrap();
        opened(&path).unwrap().append(b"3\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{OURS}{{\"id\n2\n3\n"));
    }

    /// One with mode 0644 kept that, and everybody on the machine read the trail.
    #[test]
    fn a_file_that_others_can_read_is_closed_to_them_and_one_of_theirs_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        for found in [0o644, 0o660, 0o4700] {
            fs::write(&path, OURS).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(found)).unwrap();
            opened(&path).unwrap();
            assert_eq!(mode(), 0o600, "{found:o}");
        }
        let us = geteuid().as_raw();
        let said = open(&path, us + 1).unwrap_err().to_string();
        let says = format!("belongs to user {us}, who could read it, and not to user {}", us + 1);
        assert!(said.ends_with(&says), "{said}");
    }

    /// Root's gateway closed `/etc/passwd` to everybody and appended to it.
    #[test]
    fn what_is_something_else_s_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("passwd"), dir.path().join("other"));
        let users = "root:x:0:0:root:/root:/bin/bash\n";
        fs::write(&path, users).unwrap();
        fs::write(&other, OURS).unwrap();
        fs::hard_link(&other, dir.path().join("second-name")).unwrap();
        for (path, text, says) in
            [(&path, users, "no line that an output"), (&other, OURS, "a hard link")]
        {
            fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
            let said = opened(path).unwrap_err().to_string();
            assert!(said.contains(says), "{said}");
            assert_eq!(fs::read_to_string(path).unwrap(), text);
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o644);
        }
        fs::write(&path, "").unwrap();
        opened(&path).unwrap();
    }

    /// A flood that went through an output filled the disk, until no event was taken any more.
    #[test]
    fn the_last_space_is_left_for_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let room = Room::default();
        let mut lines = Lines::open(&path, &room).unwrap();
        lines.append(OURS.as_bytes()).unwrap();
        let stat = rustix::fs::statvfs(dir.path()).unwrap();
        // Each of the others on this disk may take or give some meanwhile.
        let free = stat.f_bavail * stat.f_frsize;
        room.keep(free * 3 / 4);
        let refused = [lines.append(b"2\n").unwrap_err(), Lines::open(&path, &room).unwrap_err()];
        for error in refused {
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert!(error.to_string().contains("times store.min_free"), "{error}");
        }
        room.keep(free / 4);
        lines.append(b"3\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{OURS}3\n"));
    }

    #[test]
    fn a_link_in_its_place_is_not_followed_at_first_nor_later() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("audit.jsonl"), dir.path().join("other"));
        let mut lines = opened(&path).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&other, &path).unwrap();
        assert!(lines.append(b"1\n").is_err());
        assert!(opened(&path).is_err());
        assert!(!other.exists());
    }
}
