//! What the configuration says of the trail, and the file elsewhere that checkpoints go to.

use std::path::PathBuf;
use std::time::Duration;

use super::checkpoint::Checkpoint;
use super::elsewhere::Files;

/// What the configuration says of the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long records are kept.
    pub retention: Retention,
    /// Whether the gateway must not take events while the trail cannot be written.
    pub required: bool,
    /// A file elsewhere that checkpoints are appended to.
    pub checkpoints: Option<PathBuf>,
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
}

impl Options {
    /// Appends a checkpoint to the file elsewhere, if there is one. The trail does without it.
    pub(super) fn publish(&self, checkpoint: &Checkpoint, files: &mut Files) {
        let Some(path) = &self.checkpoints else { return };
        files.append(path, checkpoint);
    }
}
