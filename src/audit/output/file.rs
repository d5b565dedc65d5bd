//! A file that records are appended to, a line of JSON each. Whoever rotates it moves it away: the next
//! record goes to a new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::regular::{self, Link};

/// A file that is appended to. All of it blocks.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    file: File,
    /// Whether its last line is cut off.
    cut: bool,
}

impl Lines {
    /// Opens the file, or makes it, for its owner alone; never through a link.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (file, cut) = open(path)?;
        Ok(Self { path: path.to_owned(), file, cut })
    }

    /// Appends these bytes, which are whole lines.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if !self.is_in_place() {
            // What went to the one that was moved away is to stay.
            self.file.sync_data()?;
            (self.file, self.cut) = open(&self.path)?;
        }
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

fn open(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    let mut file = regular::open(&mut options, path, Link::Refuse)?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok((file, last != [b'\n']))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_that_was_moved_away_is_followed_by_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut lines = Lines::open(&path).unwrap();
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
        fs::write(&path, "1\n{\"id").unwrap();
        Lines::open(&path).unwrap().append(b"2\n").unwrap();
        Lines::open(&path).unwrap().append(b"3\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n{\"id\n2\n3\n");
    }

    #[test]
    fn a_link_in_its_place_is_not_followed_at_first_nor_later() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("audit.jsonl"), dir.path().join("other"));
        let mut lines = Lines::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&other, &path).unwrap();
        assert!(lines.append(b"1\n").is_err());
        assert!(Lines::open(&path).is_err());
        assert!(!other.exists());
    }
}
