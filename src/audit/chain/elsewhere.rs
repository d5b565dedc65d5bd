//! The file elsewhere that checkpoints are appended to, from a thread of its own: it may be on another
//! machine, and the trail must not wait for that.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::Duration;

use super::checkpoint::Checkpoint;
use crate::regular::{self, Link};

/// Checkpoints that wait for a file that does not take them: those of an hour.
const WAITING: usize = 64;

/// Files that checkpoints are appended to, in the order in which they come.
#[derive(Debug, Default)]
pub(super) struct Files {
    thread: Option<Appender>,
    /// Whether it was told that one was left out.
    told: bool,
}

#[derive(Debug)]
struct Appender {
    queue: SyncSender<(PathBuf, Checkpoint)>,
    /// Nothing comes here: its other end goes with the thread.
    ended: Receiver<()>,
}

impl Files {
    /// Appends a checkpoint to this file. Does not wait for that: one for which there is no room any more
    /// is left out, and that is told.
    pub(super) fn append(&mut self, path: &Path, checkpoint: &Checkpoint) {
        if self.thread.is_none() {
            self.thread = Appender::start().inspect_err(|error| tell(path, error)).ok();
        }
        let Some(Appender { queue, .. }) = &self.thread else { return };
        let sent = queue.try_send((path.to_owned(), checkpoint.clone())).is_ok();
        if !sent && !self.told {
            let file = path.display();
            tracing::error!(target: "hookward::audit", %file, "checkpoints are left out: the file does not take them");
        }
        self.told = !sent;
    }

    /// Waits until the last one is there, so long at most.
    pub(super) fn finish(&mut self, most: Duration) {
        let Some(Appender { queue, ended }) = self.thread.take() else { return };
        drop(queue);
        if ended.recv_timeout(most) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::error!(target: "hookward::audit", "the last checkpoints are not in audit.checkpoints: the file does not take them");
        }
    }
}

impl Appender {
    fn start() -> io::Result<Self> {
        let (queue, waiting) = mpsc::sync_channel::<(PathBuf, Checkpoint)>(WAITING);
        let (end, ended) = mpsc::channel();
        let run = move || {
            let _end = end;
            for (path, checkpoint) in waiting {
                if let Err(error) = append(&path, &checkpoint) {
                    tell(&path, &error);
                }
            }
        };
        std::thread::Builder::new().name("checkpoints".to_owned()).spawn(run)?;
        Ok(Self { queue, ended })
    }
}

fn tell(path: &Path, error: &io::Error) {
    let file = path.display();
    tracing::error!(target: "hookward::audit", %error, %file, "a checkpoint cannot be appended");
}

fn append(path: &Path, checkpoint: &Checkpoint) -> io::Result<()> {
    let mut open = OpenOptions::new();
    open.read(true).append(true).create(true).mode(0o600);
    let mut file = regular::open(&mut open, path, Link::Follow)?;
    let mut end = [b'\n'];
    if let Some(last) = file.metadata()?.len().checked_sub(1) {
        file.read_exact_at(&mut end, last)?;
    }
    // What a full disk has cut off must not take this one along.
    let mut line = if end == *b"\n" { Vec::new() } else { b"\n".to_vec() };
    serde_json::to_writer(&mut line, checkpoint)?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file on a file system that did not answer stopped the writer, and with it the trail.
    #[test]
    fn a_file_that_does_not_answer_holds_nothing_up() {
        let (queue, waiting) = mpsc::sync_channel(WAITING);
        let (end, ended) = mpsc::channel();
        let mut files = Files { thread: Some(Appender { queue, ended }), told: false };
        let line =
            r#"{"trail":"","sequence":1,"hash":"","time":"","key":"","acts":0,"signature":""}"#;
        let checkpoint = serde_json::from_str(line).unwrap();
        for n in 0..WAITING + 2 {
            assert_eq!(files.told, n > WAITING, "{n}");
            files.append(Path::new("/kept"), &checkpoint);
        }
        files.finish(Duration::from_millis(1));
        assert_eq!(waiting.iter().count(), WAITING);
        drop(end);
    }
}
