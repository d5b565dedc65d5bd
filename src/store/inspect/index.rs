//! The index, as an operator wants to know of it. sled changes what it opens, and a gateway may have
//! it: a copy is opened, in the directory for temporary files, and removed again. A run that is killed
//! leaves it there, its user's alone, until the next run removes it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;

use super::Journal;
pub use crate::store::index::Look as IndexContent;
use crate::store::index::{self, IndexError};

/// What can be said of the index.
#[derive(Debug)]
pub struct IndexState {
    /// Bytes of its files; `None`: there is no index.
    pub bytes: Option<u64>,
    /// Whether it was closed at a clean stop, and not opened since.
    pub is_clean: bool,
    /// What it says of itself; `None` if it is empty.
    pub content: Result<Option<IndexContent>, IndexError>,
    /// What its fingerprints should have been made with.
    mark: u64,
    /// Bytes of an index that was set aside before.
    pub set_aside: Option<u64>,
}

impl IndexState {
    /// Looks at the index of this journal's store.
    pub fn of(journal: &Journal) -> Self {
        let dir = journal.store.join("index");
        let bytes = bytes_in(&dir).ok();
        Self {
            bytes,
            is_clean: index::is_clean(&dir),
            content: if bytes.is_some() { look_at_copy(&dir) } else { Ok(None) },
            mark: journal.fingerprints.mark(),
            set_aside: bytes_in(&dir.with_extension("unusable")).ok(),
        }
    }

    /// What it says of itself, if it could be read.
    pub fn content(&self) -> Option<&IndexContent> {
        self.content.as_ref().ok().and_then(Option::as_ref)
    }

    /// Whether a start would go on with it here and now, rather than make it again.
    pub fn is_trusted(&self) -> bool {
        let known =
            |content: &IndexContent| content.progress.is_some() && content.mark == self.mark;
        self.content().is_some_and(|c| known(c) && (self.is_clean || c.this_boot))
    }
}

fn look_at_copy(dir: &Path) -> Result<Option<IndexContent>, IndexError> {
    look_at_copy_in(&std::env::temp_dir(), dir)
}

fn look_at_copy_in(parent: &Path, dir: &Path) -> Result<Option<IndexContent>, IndexError> {
    let copy = Temporary::new(parent)?;
    let room = rustix::fs::statvfs(parent).map_err(io::Error::from)?;
    let room = room.f_bavail.saturating_mul(room.f_frsize);
    // The index itself may be a link to another disk.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = File::from(rustix::fs::open(dir, flags, Mode::empty()).map_err(io::Error::from)?);
    let mut copying = Copy { room };
    copying.files(&dir, &copy.path, is_of_sled)?;
    if let Ok(blobs) = opened(&dir, c"blobs", OFlags::DIRECTORY) {
        let target = copy.path.join("blobs");
        DirBuilder::new().mode(0o700).create(&target)?;
        copying.files(&blobs, &target, |_| true)?;
    }
    index::look(&copy.path)
}

/// A directory of ours alone, removed when it is dropped.
struct Temporary {
    path: PathBuf,
    /// As long as it is locked somebody is at it.
    _lock: File,
}

const TEMPORARY: &str = "hookward-index-";
/// Between making the directory and locking it nobody takes this long.
const ABANDONED: Duration = Duration::from_secs(60);

impl Temporary {
    fn new(parent: &Path) -> io::Result<Self> {
        remove_abandoned(parent, ABANDONED);
        let path = parent.join(format!("{TEMPORARY}{:016x}", fastrand::u64(..)));
        DirBuilder::new().mode(0o700).create(&path)?;
        let lock = File::open(&path)?;
        lock.lock()?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // There is nobody to tell; the next run tries again.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes what runs of this user have left that were killed. What cannot be removed stays.
fn remove_abandoned(parent: &Path, age: Duration) {
    let user = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_named = entry.file_name().to_str().is_some_and(|name| name.starts_with(TEMPORARY));
        if !is_named {
            continue;
        }
        let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
        let dir = OpenOptions::new().read(true).custom_flags(flags).open(entry.path());
        let Ok((dir, found)) = dir.and_then(|dir| dir.metadata().map(|found| (dir, found))) else {
            continue;
        };
        let old = found.modified().ok().and_then(|then| then.elapsed().ok());
        if found.uid() == user && old.is_some_and(|old| old >= age) && dir.try_lock().is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The files that sled makes; whatever else somebody has put there is of no use to it.
fn is_of_sled(name: &str) -> bool {
    name == "db" || name == "conf" || name.starts_with("snap.")
}

/// Copies regular files as long as they are when they are opened. Who runs this may be root, and the
/// files are the service's: no link is followed, and no more is copied than there is room for.
struct Copy {
    /// Bytes that there is still room for.
    room: u64,
}

impl Copy {
    /// Files that go meanwhile are left out, as is what is no file: sled does without them, or says so.
    fn files(&mut self, from: &File, to: &Path, wanted: fn(&str) -> bool) -> io::Result<()> {
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().ok().filter(|name| wanted(name)) else {
                continue;
            };
            let source = match opened(from, entry.file_name(), OFlags::empty()) {
                Ok(source) => source,
                Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => continue,
                Err(error) => return Err(error.into()),
            };
            let found = source.metadata()?;
            if found.is_file() {
                self.file(&source, found.len(), &to.join(name))?;
            }
        }
        Ok(())
    }

    fn file(&mut self, source: &File, len: u64, to: &Path) -> io::Result<()> {
        self.room = self.room.checked_sub(len).ok_or_else(|| {
            let message = format!("no room in {} to copy the index there", to.display());
            io::Error::new(io::ErrorKind::StorageFull, message)
        })?;
        let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        io::copy(&mut source.take(len), &mut target).map(drop)
    }
}

fn opened(dir: &File, name: &std::ffi::CStr, more: OFlags) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | more;
    openat(dir, name, flags, Mode::empty()).map(|file: OwnedFd| File::from(file))
}

/// Bytes of the files in a directory.
pub(super) fn bytes_in(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path())?,
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;
    use crate::event::Sequence;
    use crate::store::index::{Index, Progress};
    use crate::store::journal::segment::Place;

    /// An index that was closed, and a directory for temporary files.
    fn index() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (index, temporary) = (dir.path().join("index"), dir.path().join("tmp"));
        fs::create_dir(&temporary).unwrap();
        let upto = Place { segment: 1, offset: 64 };
        let (opened, _) = Index::open(&index, 0, |_| {}).unwrap();
        opened.close(Progress { journal: 0, upto, last: Sequence(0) }).unwrap();
        (dir, index, temporary)
    }

    #[test]
    fn pipes_and_links_in_the_index_are_left_out_and_nothing_stays_behind() {
        let (dir, index, temporary) = index();
        let secret = dir.path().join("secret");
        fs::write(&secret, "root's").unwrap();
        symlink("/dev/zero", index.join("snap.1")).unwrap();
        symlink(&secret, index.join("blobs/1")).unwrap();
        mknodat(CWD, index.join("snap.2"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        mknodat(CWD, index.join("other"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let content = look_at_copy_in(&temporary, &index).unwrap().unwrap();
        assert_eq!(content.progress.unwrap().upto, Place { segment: 1, offset: 64 });
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    }

    #[test]
    fn an_index_for_which_there_is_no_room_is_not_copied() {
        let (_dir, index, temporary) = index();
        // Sparse: it takes nothing here, and would take all there is in a copy.
        File::create(index.join("snap.1")).unwrap().set_len(4 << 40).unwrap();
        let error = look_at_copy_in(&temporary, &index).unwrap_err().to_string();
        assert!(error.contains("no room in "), "{error}");
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    }

    /// A run that was killed left its copy for good.
    #[test]
    fn what_a_killed_run_has_left_goes_with_the_next() {
        let (_dir, index, temporary) = index();
        let left = temporary.join("hookward-index-1");
        let other = temporary.join("hookward-2");
        for path in [&left, &other] {
            fs::create_dir(path).unwrap();
        }
        fs::write(left.join("db"), "x").unwrap();
        remove_abandoned(&temporary, ABANDONED);
        assert!(left.exists(), "it has just been made");
        let at_work = File::open(&left).unwrap();
        at_work.lock().unwrap();
        remove_abandoned(&temporary, Duration::ZERO);
        assert!(left.exists(), "somebody is at it");
        at_work.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        drop(at_work);
        look_at_copy_in(&temporary, &index).unwrap();
        assert!(!left.exists() && other.exists());
    }
}
