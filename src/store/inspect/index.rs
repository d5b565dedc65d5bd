//! The index, as an operator wants to know of it. sled changes what it opens, and a gateway may have
//! it: a copy is opened, in the directory for temporary files, and removed again.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

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
    let copy = Temporary::new()?;
    copy_tree(dir, &copy.0)?;
    index::look(&copy.0)
}

/// A directory of ours alone, removed when it is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> io::Result<Self> {
        let name = format!("hookward-{:016x}", fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // There is nobody to tell, and nothing private in it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Files that go meanwhile are left out: sled does without them, or says so.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let copied = if entry.file_type()?.is_dir() {
            DirBuilder::new().mode(0o700).create(&target)?;
            copy_tree(&source, &target)
        } else {
            fs::copy(&source, &target).map(drop)
        };
        match copied {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => copied?,
        }
    }
    Ok(())
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
