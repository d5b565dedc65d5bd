//! Whether two paths lead to one file, however they are written, and whether it is there yet or not.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What tells a file from others.
#[derive(Debug)]
pub(super) struct SameFile {
    /// Its name in the directory that it is in, without links on the way there.
    place: PathBuf,
    /// Without links at all.
    target: PathBuf,
    /// Device and inode, where it is there: a second name (hard link) leads to the same.
    node: Option<(u64, u64)>,
}

impl SameFile {
    /// Looks at the file system; makes nothing there.
    pub(super) fn of(path: &Path) -> Self {
        let place = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => resolved(parent).join(name),
            _ => resolved(path),
        };
        let node = fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        Self { place, target: resolved(path), node }
    }

    /// Whether both are one.
    pub(super) fn is(&self, other: &Self) -> bool {
        let one_node = self.node.is_some() && self.node == other.node;
        one_node || self.place == other.place || self.target == other.target
    }

    /// Whether it is in this directory, or is it.
    pub(super) fn is_below(&self, dir: &Self) -> bool {
        self.is(dir) || self.place.starts_with(&dir.target) || self.target.starts_with(&dir.target)
    }
}

/// The path without links, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    let path = if path == Path::new("") { Path::new(".") } else { path };
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(path), _, _) => path,
        (Err(_), Some(parent), Some(name)) => resolved(parent).join(name),
        (Err(_), _, _) => path.to_owned(),
    }
}
