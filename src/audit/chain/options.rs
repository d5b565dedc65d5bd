//! What the configuration says of the trail, and the file elsewhere that checkpoints go to.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checkpoint::Checkpoint;
use crate::regular::{self, Link};

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
    pub(super) fn publish(&self, checkpoint: &Checkpoint) {
        let Some(path) = &self.checkpoints else { return };
        if let Err(error) = append(path, checkpoint) {
            let file = path.display();
            tracing::error!(target: "hookward::audit", %error, %file, "a checkpoint cannot be appended");
        }
    }
}

fn append(path: &Path, checkpoint: &Checkpoint) -> io::Result<()> {
    let mut line = serde_json::to_vec(checkpoint)?;
    line.push(b'\n');
    let mut open = OpenOptions::new();
    open.append(true).create(true).mode(0o600);
    let mut file = regular::open(&mut open, path, Link::Follow)?;
    file.write_all(&line)?;
    file.sync_data()
}
