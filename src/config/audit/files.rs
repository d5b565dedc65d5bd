//! The files that the trail is written to beside the store. Each is its own: two that append to one spoil
//! each other's lines, what is in the store is the store's, and a key with lines behind it is none any more.

use std::path::PathBuf;

use super::super::context::{Context, Spot};
use super::super::problem::{Contradiction, ProblemKind};
use super::super::same_file::SameFile;
use crate::config::Store;

/// A file that something of the trail is appended to, and the key that names it.
pub(in super::super) struct Written {
    pub(super) spot: Spot,
    pub(super) path: PathBuf,
}

/// Refuses what is in the store, what another key names already, and what the configuration itself was
/// read from. To be called when all of that was read.
pub(in super::super) fn check(all: &[Written], store: &Store, cx: &mut Context<'_>) {
    if all.is_empty() {
        return;
    }
    let store = SameFile::of(&store.path);
    let read: Vec<SameFile> = cx.files().iter().map(|path| SameFile::of(path)).collect();
    let mut before: Vec<(&Spot, SameFile)> = Vec::new();
    for Written { spot, path } in all {
        let file = SameFile::of(path);
        if file.is_below(&store) {
            cx.problem(spot, Contradiction::InTheStore);
        } else if read.iter().any(|known| known.is(&file)) {
            cx.problem(spot, Contradiction::ReadAsWell);
        } else if let Some((other, _)) = before.iter().find(|(_, known)| known.is(&file)) {
            let (found, by) = (super::FILE.to_owned(), other.key.clone());
            cx.problem(spot, ProblemKind::Taken { found, by });
        }
        before.push((spot, file));
    }
}
