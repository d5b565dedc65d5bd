//! What the configuration says of the trail, and where checkpoints go beside it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::checkpoint::Checkpoint;
use super::elsewhere::Files;

/// What the configuration says of the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long records are kept.
    pub retention: Retention,
    /// Whether the gateway must not take events while the trail cannot be written.
    pub required: bool,
    /// Where checkpoints go as well.
    pub checkpoints: Option<Elsewhere>,
}

/// How long records are kept, and where they go then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long.
    pub keep: Duration,
    /// Bytes of segments; beyond that the oldest go as well.
    pub max_bytes: u64,
    /// A directory that segments are moved to when they go; `None`: they are removed.
    pub archive: Option<PathBuf>,
    /// `store.min_free`: of the store's own file system, copies in the archive leave some of it.
    pub min_free: u64,
}

/// Where checkpoints go beside the trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// A file that they are appended to.
    pub file: Option<PathBuf>,
    /// Where the newest one lies for whoever sends it on.
    pub newest: Newest,
}

/// The newest checkpoint. Whoever puts one there waits for nobody; one that nobody has taken by then is
/// gone, for the newer one vouches for all that it did.
#[derive(Clone, Debug)]
pub struct Newest(Arc<watch::Sender<Option<Checkpoint>>>);

impl Default for Newest {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

/// Whether they are one place.
impl PartialEq for Newest {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Newest {}

impl Newest {
    /// Tells of each newer one.
    pub fn watch(&self) -> watch::Receiver<Option<Checkpoint>> {
        self.0.subscribe()
    }
}

impl Options {
    /// Hands a checkpoint to whom it may concern. The trail does without them.
    pub(super) fn publish(&self, checkpoint: &Checkpoint, files: &mut Files) {
        let Some(Elsewhere { file, newest }) = &self.checkpoints else { return };
        newest.0.send_replace(Some(checkpoint.clone()));
        if let Some(path) = file {
            files.append(path, checkpoint);
        }
    }
}
