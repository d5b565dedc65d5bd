//! Copies of segments that are to go, on their way to the archive. A thread of its own makes them: the directory may be
//! on another machine, and the trail must not wait for that.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;

use super::super::bytes;
use super::archive;
use crate::clock::{Clock, Stopwatch};
use crate::store::disk::{Disk, Stamp};

/// An archive that takes longer than this for a piece, hangs.
const HANGS: Duration = Duration::from_secs(30);

/// How one segment is copied: out of this file, to this directory, under this name, leaving so many bytes free, with
/// signs of life.
type Keep = dyn Fn(&Path, &Path, &str, u64, &dyn Fn()) -> io::Result<()> + Send + Sync;

/// Copies that are being made.
pub(in super::super) struct Copies {
    keep: Arc<Keep>,
    at_work: Option<Work>,
}

/// Segments that are on stable storage in a directory, as they were when they were copied.
#[derive(Debug, Default)]
pub(in super::super) struct Kept {
    dir: PathBuf,
    stamps: BTreeMap<u32, Option<Stamp>>,
    /// Why the next one is not.
    pub(super) failed: Option<io::Error>,
}

struct Work {
    ended: Receiver<Kept>,
    signs: Arc<AtomicU64>,
    /// The last sign of life that was seen, and since when there was none.
    seen: (u64, Stopwatch),
    told: bool,
}

impl Default for Copies {
    fn default() -> Self {
        let keep = |from: &Path, dir: &Path, name: &str, left: u64, each: &dyn Fn()| {
            archive::keep(from, dir, name, left, each)
        };
        Self { keep: Arc::new(keep), at_work: None }
    }
}

impl Copies {
    #[cfg(test)]
    pub(in super::super) fn by(keep: Arc<Keep>) -> Self {
        Self { keep, ..Self::default() }
    }

    /// Whether some are being made.
    pub(in super::super) fn are_made(&self) -> bool {
        self.at_work.is_some()
    }

    /// Begins to copy these segments of `from` to `archive`.
    pub(super) fn begin(
        &mut self,
        (disk, clock): (Arc<dyn Disk>, &Clock),
        from: &Path,
        (archive, left): (&Path, u64),
        numbers: Vec<u32>,
    ) -> io::Result<()> {
        let (end, ended) = mpsc::channel();
        let signs = Arc::new(AtomicU64::new(0));
        let (keep, alive) = (Arc::clone(&self.keep), Arc::clone(&signs));
        let (from, archive) = (from.to_owned(), archive.to_owned());
        let run = move || {
            let each = || {
                alive.fetch_add(1, Ordering::Relaxed);
            };
            // Whoever wanted them may have ended.
            let _ = end.send(copy(&*keep, &*disk, (&from, &archive, left), &numbers, &each));
        };
        std::thread::Builder::new().name("archive".to_owned()).spawn(run)?;
        self.at_work = Some(Work { ended, signs, seen: (0, clock.stopwatch()), told: false });
        Ok(())
    }

    /// Looks how it goes. `Some`: it has come to its end, and how.
    pub(in super::super) fn look(&mut self, clock: &Clock) -> Option<Kept> {
        let work = self.at_work.as_mut()?;
        let ended = match work.ended.try_recv() {
            Ok(ended) => ended,
            Err(TryRecvError::Disconnected) => {
                let failed = Some(io::Error::other("its thread has ended"));
                Kept { failed, ..Kept::default() }
            }
            Err(TryRecvError::Empty) => {
                work.look(clock);
                return None;
            }
        };
        if work.told {
            tracing::info!(target: "hookward::audit", "audit.archive answers again");
        }
        self.at_work = None;
        Some(ended)
    }

    #[cfg(test)]
    pub(in super::super) fn was_told(&self) -> bool {
        self.at_work.as_ref().is_some_and(|work| work.told)
    }

    /// Waits for that.
    #[cfg(test)]
    pub(in super::super) fn wait(&mut self) {
        let Some(work) = &mut self.at_work else { return };
        let ended = work.ended.recv().unwrap();
        let (end, again) = mpsc::channel();
        end.send(ended).unwrap();
        work.ended = again;
    }
}

impl Kept {
    /// Whether this archive has the segment of `from` with this number as it is now.
    pub(super) fn has(&self, disk: &dyn Disk, from: &Path, archive: &Path, number: u32) -> bool {
        let now = || disk.open(&bytes::path(from, number))?.stamp();
        let known = self.stamps.get(&number).filter(|_| self.dir == archive);
        known.is_some_and(|known| now().is_ok_and(|now| now == *known))
    }
}

impl Work {
    fn look(&mut self, clock: &Clock) {
        let signs = self.signs.load(Ordering::Relaxed);
        if self.seen.0 != signs {
            self.seen = (signs, clock.stopwatch());
        }
        if self.seen.1.elapsed() > HANGS && !std::mem::replace(&mut self.told, true) {
            tracing::error!(
                target: "hookward::audit",
                "audit.archive does not answer: the oldest segments of the audit trail do not go, and it grows on"
            );
        }
    }
}

fn copy(
    keep: &Keep,
    disk: &dyn Disk,
    (from, archive, left): (&Path, &Path, u64),
    numbers: &[u32],
    each: &dyn Fn(),
) -> Kept {
    let mut kept = Kept { dir: archive.to_owned(), ..Kept::default() };
    for number in numbers {
        let path = bytes::path(from, *number);
        let copied = disk.open(&path).and_then(|file| file.stamp()).and_then(|stamp| {
            keep(&path, archive, &bytes::name(*number), left, each)?;
            Ok(stamp)
        });
        match copied {
            Ok(stamp) => drop(kept.stamps.insert(*number, stamp)),
            Err(error) => {
                kept.failed = Some(error);
                break;
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::disk::OsDisk;

    /// What was put in place of a segment behind its copy would have gone without one.
    #[test]
    fn what_is_another_than_it_was_when_it_was_copied_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let (from, archive) = (dir.path().join("audit"), dir.path().join("archive"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&archive).unwrap();
        fs::write(bytes::path(&from, 1), "segment").unwrap();
        fs::write(bytes::path(&from, 2), "segment").unwrap();
        let (mut copies, clock) = (Copies::default(), Clock::System);
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        copies.begin((Arc::clone(&disk), &clock), &from, (&archive, 0), vec![1]).unwrap();
        copies.wait();
        let kept = copies.look(&clock).unwrap();
        assert_eq!(fs::read(bytes::path(&archive, 1)).unwrap(), b"segment");
        let has = |archive: &Path, number| kept.has(&*disk, &from, archive, number);
        assert!(has(&archive, 1) && !has(&archive, 2) && !has(dir.path(), 1));
        fs::write(bytes::path(&from, 1), "another").unwrap();
        fs::remove_file(bytes::path(&from, 1)).unwrap();
        fs::write(bytes::path(&from, 1), "segment, and another").unwrap();
        assert!(!has(&archive, 1));
        copies.begin((disk, &clock), &from, (&archive, 0), vec![1]).unwrap();
        copies.wait();
        assert!(copies.look(&clock).unwrap().failed.is_some(), "the copy of it stays");
        assert!(!copies.are_made());
    }
}
