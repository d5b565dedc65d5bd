//! What the trail is written to beside the store. Each file is its own: two that append to one spoil each
//! other's lines, what is in the store is the store's, and a key with lines behind it is none any more.

use std::path::PathBuf;

use super::super::context::{Context, Spot};
use super::super::problem::{Contradiction, ProblemKind};
use super::super::same_file::SameFile;
use crate::config::Store;

/// What something of the trail is written to, and the key that names it.
pub(in super::super) struct Named {
    pub(super) spot: Spot,
    pub(super) path: PathBuf,
    pub(super) what: What,
}

/// What it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Is appended to.
    File,
    /// Gets segments that go.
    Directory,
    /// Somebody listens at it.
    Socket,
}

impl What {
    fn in_the_store(self) -> Contradiction {
        match self {
            Self::File => Contradiction::InTheStore,
            Self::Directory => Contradiction::ArchiveInTheStore,
            Self::Socket => Contradiction::SocketInTheStore,
        }
    }
}

/// Refuses what is in the store; and of files what another key names already, and what the configuration
/// itself was read from. To be called when all of that was read.
pub(in super::super) fn check(all: &[Named], store: &Store, cx: &mut Context<'_>) {
    if all.is_empty() {
        return;
    }
    let store = in_the_store(store);
    let read: Vec<SameFile> = cx.files().iter().map(|path| SameFile::of(path)).collect();
    let mut before: Vec<(&Spot, SameFile)> = Vec::new();
    for Named { spot, path, what } in all {
        let file = SameFile::of(path);
        if store.iter().any(|dir| file.is_below(dir)) {
            cx.problem(spot, what.in_the_store());
        } else if *what != What::File {
            continue;
        } else if read.iter().any(|known| known.is(&file)) {
            cx.problem(spot, Contradiction::ReadAsWell);
        } else if let Some((other, _)) = before.iter().find(|(_, known)| known.is(&file)) {
            let (found, by) = (super::FILE.to_owned(), other.key.clone());
            cx.problem(spot, ProblemKind::Taken { found, by });
        }
        before.push((spot, file));
    }
}

/// The store's directory, and those in it that may be links to another disk.
fn in_the_store(store: &Store) -> Vec<SameFile> {
    let parts = ["audit", "journal", "index", "catalogue"].map(|part| store.path.join(part));
    std::iter::once(&store.path).chain(&parts).map(|path| SameFile::of(path)).collect()
}
