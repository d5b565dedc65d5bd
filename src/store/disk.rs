//! The seam between the store and its file system: the few operations the journal needs, so that
//! a test can count, fail, tear or freeze each of them. No policy lives here.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use crate::regular::{self, Link};

/// A file system as the journal uses it.
pub trait Disk: Debug + Send + Sync {
    /// Makes the directory, private to its owner, if it is not there.
    ///
    /// # Errors
    /// As the file system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names of the directory's files.
    ///
    /// # Errors
    /// As the file system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// A new file to append to, private to its owner; it must not exist yet.
    ///
    /// # Errors
    /// As the file system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>>;

    /// An existing file, for reading.
    ///
    /// # Errors
    /// As the file system says; what is no regular file is one.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>>;

    /// Cuts the file to `len` bytes and makes that durable.
    ///
    /// # Errors
    /// As the file system says.
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;

    /// Writes the file's bytes again where they stand and makes them durable. What is read back
    /// after a failed sync may be in memory only, and marked as clean: no further sync writes it.
    ///
    /// # Errors
    /// As the file system says.
    fn rewrite(&self, path: &Path) -> io::Result<()>;

    /// Writes `bytes` over what stands at `at` and makes them durable.
    ///
    /// # Errors
    /// As the file system says; what stands there is then unknown.
    fn overwrite(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Takes the file's name away.
    ///
    /// # Errors
    /// As the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the directory's entries durable.
    ///
    /// # Errors
    /// As the file system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that an unprivileged process may still write.
    ///
    /// # Errors
    /// As the file system says.
    fn free_space(&self, dir: &Path) -> io::Result<u64>;
}

/// A file that only grows.
pub trait AppendFile: Debug + Send {
    /// Writes all of `bytes` at the end.
    ///
    /// # Errors
    /// As the file system says; how much was written is then unknown.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns once all that was appended is on stable storage.
    ///
    /// # Errors
    /// As the file system says; what is durable is then unknown, for good.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file to nothing and makes that durable. Needs neither room nor a descriptor.
    ///
    /// # Errors
    /// As the file system says.
    fn discard(&mut self) -> io::Result<()>;

    /// Whether this is the file that has this name now.
    ///
    /// # Errors
    /// As the file system says; that there is no such name is none.
    fn stands_at(&self, _path: &Path) -> io::Result<bool> {
        Ok(true)
    }

    /// Its length in bytes now, whoever has changed it; `None`: nobody asks.
    ///
    /// # Errors
    /// As the file system says.
    fn size(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

/// A file that is read at given places.
pub trait ReadFile: Debug + Send + Sync {
    /// Reads into `buf` from `offset` on until it is full or the file ends; returns the count.
    ///
    /// # Errors
    /// As the file system says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Length in bytes.
    ///
    /// # Errors
    /// As the file system says.
    fn size(&self) -> io::Result<u64>;

    /// What changes with what is in the file; `None`: nobody can tell whether that has changed.
    ///
    /// # Errors
    /// As the file system says.
    fn stamp(&self) -> io::Result<Option<Stamp>> {
        Ok(None)
    }
}

/// What a file system says of a file: where two of these are the same, so is what is in the file, but for what
/// was written within one tick of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Numbers of the device and of the file on it.
    pub file: (u64, u64),
    /// Length in bytes.
    pub len: u64,
    /// When it was written to, Unix seconds and nanoseconds. Anybody who may write to it can set that.
    pub modified: (i64, i64),
    /// When anything about it was changed. Nobody can set that.
    pub changed: (i64, i64),
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        Ok(Box::new(OsAppend(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        Ok(Arc::new(OsRead(existing(OpenOptions::new().read(true), path)?)))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let file = existing(OpenOptions::new().write(true), path)?;
        file.set_len(len)?;
        file.sync_all()
    }

    fn rewrite(&self, path: &Path) -> io::Result<()> {
        let file = existing(OpenOptions::new().read(true).write(true), path)?;
        let mut chunk = vec![0; 1 << 20];
        let mut at = 0;
        loop {
            let n = file.read_at(&mut chunk, at)?;
            if n == 0 {
                return file.sync_all();
            }
            file.write_all_at(chunk.get(..n).unwrap_or_default(), at)?;
            at += n as u64;
        }
    }

    fn overwrite(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        let file = existing(OpenOptions::new().write(true), path)?;
        file.write_all_at(bytes, at)?;
        file.sync_data()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// A segment may be a link to another disk.
fn existing(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    regular::open(options, path, Link::Follow)
}

#[derive(Debug)]
struct OsAppend(File);

impl AppendFile for OsAppend {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn discard(&mut self) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.sync_all()
    }

    fn stands_at(&self, path: &Path) -> io::Result<bool> {
        let named = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            named => named?,
        };
        let ours = self.0.metadata()?;
        Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino()))
    }

    fn size(&self) -> io::Result<Option<u64>> {
        Ok(Some(self.0.metadata()?.len()))
    }
}

#[derive(Debug)]
struct OsRead(File);

impl ReadFile for OsRead {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn stamp(&self) -> io::Result<Option<Stamp>> {
        let said = self.0.metadata()?;
        Ok(Some(Stamp {
            file: (said.dev(), said.ino()),
            len: said.len(),
            modified: (said.mtime(), said.mtime_nsec()),
            changed: (said.ctime(), said.ctime_nsec()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// A pipe in the journal held whoever read it up for ever.
    #[test]
    fn a_pipe_is_an_error_and_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0000000001.journal");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for done in [
            OsDisk.open(&path).map(drop),
            OsDisk.truncate(&path, 0),
            OsDisk.rewrite(&path),
            OsDisk.overwrite(&path, 0, b"x"),
        ] {
            let said = done.unwrap_err().to_string();
            assert!(said.contains("0000000001.journal is a pipe"), "{said}");
        }
    }

    /// Whoever has changed a file can put the time back at which it was written to.
    #[test]
    fn a_file_that_was_changed_has_another_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0000000001.journal");
        fs::write(&path, "frames").unwrap();
        let stamp = || OsDisk.open(&path).unwrap().stamp().unwrap().unwrap();
        let before = stamp();
        assert_eq!((stamp(), before.len), (before, 6));
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while stamp() == before {
            assert!(std::time::Instant::now() < until);
            fs::write(&path, "fRames").unwrap();
            File::options().append(true).open(&path).unwrap().set_modified(modified).unwrap();
        }
        let after = stamp();
        assert_eq!((after.file, after.len, after.modified), (before.file, 6, before.modified));
    }

    #[test]
    fn a_segment_may_be_a_link_to_another_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (dir.path().join("0000000001.journal"), dir.path().join("other"));
        fs::write(&elsewhere, "frames").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert_eq!(OsDisk.open(&path).unwrap().size().unwrap(), 6);
    }
}
