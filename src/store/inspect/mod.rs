//! A store as an operator looks at it, without a gateway: what is damaged, what it holds, what became
//! of each event. Reads the journal's files and changes none of them, whether a gateway has the
//! store or not; only [`rebuild_index`] writes, and says so.
//!
//! All of it goes through `walk`, the one place that turns segments into frames and findings.

mod finding;
mod history;
mod index;
mod presence;
mod rebuild;
mod spill;
mod stat;
#[cfg(test)]
mod tests;
mod verify;
mod walk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::finding::{Finding, What};
pub use self::history::{Delivery, History, Recorded};
pub use self::index::IndexState;
pub use self::presence::presence;
pub use self::rebuild::{Rebuilt, rebuild_index};
pub use self::stat::{Expiry, Stat, UpstreamCounts, stat};
pub use self::verify::{Verified, verify};
use super::OpenError;
use super::crypt::{Fingerprints, Keyring};
use super::disk::{Disk, OsDisk};
use super::index::IndexError;
use super::journal::files::SegmentFiles;
use super::open;
use super::private::NotOwner;
pub use super::query::{DeliveryState, EventState};
use super::survey::Survey;

/// Why a store cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// There is no journal there.
    #[error("there is no store in {}: it has no directory \"journal\"", .path.display())]
    NoStore {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// Files that are made here would be out of the gateway's reach.
    #[error(transparent)]
    NotOwner(#[from] NotOwner),
    /// As when a store is opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The index cannot be written.
    #[error("the index cannot be written: {0}")]
    Index(#[from] IndexError),
    /// What has to be remembered on disk for a while cannot be.
    #[error("a temporary file in {} fails: {source}", .path.display())]
    Temporary {
        /// The directory for temporary files.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A journal that is looked at.
#[derive(Debug)]
pub struct Journal {
    store: PathBuf,
    files: SegmentFiles,
    fingerprints: Fingerprints,
    live_copy: bool,
}

impl Journal {
    /// The journal of the store in this directory, read with these keys where it is encrypted.
    ///
    /// # Errors
    /// [`InspectError::NoStore`], [`OpenError::Keys`], or as the file system says.
    pub fn open(store: &Path, keys: &Arc<Keyring>) -> Result<Self, InspectError> {
        let dir = store.join("journal");
        match std::fs::metadata(&dir) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(InspectError::NoStore { path: store.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(InspectError::NoStore { path: store.to_owned() });
            }
            Err(error) => return Err(failed("looking at", &dir)(error)),
        }
        Self::on(Arc::new(OsDisk), store, keys)
    }

    /// The same, of a store that is there.
    fn on(disk: Arc<dyn Disk>, store: &Path, keys: &Arc<Keyring>) -> Result<Self, InspectError> {
        let files = SegmentFiles::new(disk, store.join("journal"), Arc::clone(keys));
        let read = |error| failed("reading", files.dir())(error);
        let survey = Survey::of_files(&files, keys).map_err(read)?;
        survey.check(keys).map_err(OpenError::from)?;
        files.set_plain_upto(survey.plain_upto);
        let fingerprints = fingerprints(&files, keys).map_err(read)?;
        Ok(Self { store: store.to_owned(), files, fingerprints, live_copy: false })
    }

    /// It was copied while a gateway was writing to it: its last write may not be whole.
    #[must_use]
    pub fn of_live_copy(self) -> Self {
        Self { live_copy: true, ..self }
    }

    /// The store's directory.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Whether a process has the store now.
    pub fn in_use(&self) -> bool {
        open::is_in_use(&self.store)
    }

    /// The numbers of all segments, ascending.
    fn numbers(&self) -> Result<Vec<u32>, InspectError> {
        self.files.numbers().map_err(failed("reading", self.files.dir()))
    }

    fn free_space(&self) -> Option<u64> {
        OsDisk.free_space(self.files.dir()).ok()
    }
}

/// How the index digests dedupe keys: the newest encrypted segment has the key for it.
fn fingerprints(files: &SegmentFiles, keys: &Keyring) -> io::Result<Fingerprints> {
    for number in files.numbers()?.into_iter().rev() {
        let preamble = match files.preamble_if_given(number) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            preamble => preamble?,
        };
        let Some(preamble) = preamble else { continue };
        if let Ok(Some((_, secret))) = preamble.secret(keys) {
            return Ok(Fingerprints::keyed(&secret.index_key()));
        }
    }
    Ok(Fingerprints::plain())
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InspectError {
    let path = path.to_owned();
    move |source| InspectError::Open(OpenError::Io { what, path, source })
}
