//! Reloading: when the files that the configuration was made from change, and what is tried then.
//!
//! Files are looked at once a second rather than waited for with inotify: that reports nothing of
//! network file systems, and it watches names in directories, each link on the way to a mounted
//! secret included, so that every replaced directory means new watches and a moment unseen. A look
//! is a `stat` for each of a few files, and compares what is at the end of all links.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use crate::clock::{Clock, UnixMillis};
use crate::config::{self, Problem};
use crate::gateway::{Next, Obstacle, Running};

/// How often the files are looked at. A change is acted on when two looks have seen the same:
/// what is half-written changes on.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How far a file's change time may lag behind the clock: file systems take it from the kernel's
/// timer tick. Two changes within one cannot be told apart.
const TICK: Duration = Duration::from_millis(10);

/// How often files are read that change while they are read. A later change is a change like any
/// other.
const READS: usize = 3;

/// What became of a reload's first half, and what the files were when it read them.
#[derive(Debug)]
pub struct Attempt {
    /// A configuration that is ready, with its warnings.
    pub result: Result<(Next, Vec<Problem>), Rejected>,
    /// What the files were, for [`Watch::acted_on`].
    pub sight: Sight,
}

/// Why the old configuration goes on.
#[derive(Debug)]
pub enum Rejected {
    /// The new one is invalid.
    Invalid(Vec<Problem>),
    /// It is valid, and cannot take over.
    Unfit(Vec<Obstacle>),
}

/// Reads the configuration file anew and makes ready what it needs; `seen` is what the files were
/// when they were last acted on. Nothing changes yet. Blocks.
pub fn attempt(file: &Path, running: &Running, seen: &Sight) -> Attempt {
    let (result, sight) = read(seen, || match config::load(file, &config::process_env) {
        Ok((config, warnings)) => {
            let files = config.files.clone();
            let next = running.prepare(config).map_err(Rejected::Unfit);
            (next.map(|next| (next, warnings)), files)
        }
        Err(invalid) => (Err(Rejected::Invalid(invalid.problems)), invalid.files),
    });
    Attempt { result, sight }
}

/// Reads something that says out of which files it was read, and what these were before. Those in
/// `seen` are known beforehand; when another one has changed about when it was read, it is read
/// again.
pub fn read<T>(seen: &Sight, load: impl Fn() -> (T, Vec<PathBuf>)) -> (T, Sight) {
    let mut before = Sight::of(seen.files());
    let mut reads = 0;
    loop {
        let began = Clock::System.now();
        let (loaded, files) = load();
        let sight = before.narrowed_to(&files, began);
        reads += 1;
        if reads == READS || sight.is_clear() {
            return (loaded, sight);
        }
        std::thread::park_timeout(TICK * 2);
        before = Sight::of(&files);
    }
}

/// What files were when they were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight(BTreeMap<PathBuf, Seen>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    As(Fingerprint),
    /// Not there, or out of reach.
    Missing,
    /// It has changed about when it was read: whatever it is by now counts as a change.
    Unclear,
}

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    mode: u32,
    modified: (i64, i64),
    /// The inode's own change, such as by a copy that keeps the file's times.
    changed: (i64, i64),
}

impl Sight {
    /// A look at these files. Blocks.
    pub fn of<'f>(files: impl IntoIterator<Item = &'f PathBuf>) -> Self {
        Self(files.into_iter().map(|file| (file.clone(), look(file))).collect())
    }

    /// A first look at files that were read from `began` on.
    fn since<'f>(files: impl IntoIterator<Item = &'f PathBuf>, began: UnixMillis) -> Self {
        let seen = |file| match look(file) {
            Seen::As(fingerprint) if fingerprint.changed_since(began) => Seen::Unclear,
            seen => seen,
        };
        Self(files.into_iter().map(|file| (file.clone(), seen(file))).collect())
    }

    /// The files.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }

    fn is_clear(&self) -> bool {
        self.0.values().all(|seen| *seen != Seen::Unclear)
    }

    /// The same look, at these files alone; those that it did not see were read from `began` on.
    fn narrowed_to(mut self, files: &[PathBuf], began: UnixMillis) -> Self {
        let new = files.iter().filter(|file| !self.0.contains_key(*file));
        let new = Self::since(new, began);
        self.0.retain(|file, _| files.contains(file));
        self.0.extend(new.0);
        self
    }
}

impl Fingerprint {
    fn changed_since(&self, began: UnixMillis) -> bool {
        let (seconds, nanos) = self.changed;
        let changed = seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000);
        u64::try_from(changed).is_ok_and(|changed| UnixMillis(changed) >= began.before(TICK))
    }
}

fn look(file: &Path) -> Seen {
    let Ok(found) = std::fs::metadata(file) else { return Seen::Missing };
    Seen::As(Fingerprint {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        mode: found.mode(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

/// Watches the configuration's files.
#[derive(Debug)]
pub struct Watch {
    acted_on: Sight,
    last: Sight,
    next_look: Instant,
}

impl Watch {
    /// For files that were what `sight` says when they were last acted on.
    pub fn new(sight: Sight) -> Self {
        let next_look = Instant::now() + LOOK_EVERY;
        Self { last: sight.clone(), acted_on: sight, next_look }
    }

    /// What the files were when they were last acted on.
    pub fn seen(&self) -> &Sight {
        &self.acted_on
    }

    /// The files were acted on, whatever came of it: only what differs from this is a change.
    pub fn acted_on(&mut self, sight: Sight) {
        self.last = sight.clone();
        self.acted_on = sight;
    }

    /// Nothing came of acting: it is not tried again until they change again.
    pub fn pass_over(&mut self) {
        self.acted_on = self.last.clone();
    }

    /// Ready when files have changed since they were last acted on, and have been the same for two
    /// looks. Safe to cancel.
    pub async fn changed(&mut self) {
        loop {
            sleep_until(self.next_look).await;
            let last = self.last.clone();
            let look = spawn_blocking(move || Sight::of(last.files())).await;
            self.next_look = Instant::now() + LOOK_EVERY;
            if look.is_ok_and(|sight| self.has_changed(sight)) {
                return;
            }
        }
    }

    fn has_changed(&mut self, sight: Sight) -> bool {
        let settled = sight == self.last;
        self.last = sight;
        settled && self.last != self.acted_on
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// Looks at the files until nothing moves any more; whether that is a change.
    fn change(watch: &mut Watch) -> bool {
        let sight = || Sight::of(&watch.last.files().cloned().collect::<Vec<_>>());
        let (first, second) = (sight(), sight());
        assert!(!watch.has_changed(first.clone()) || first == watch.acted_on, "one look is enough");
        let changed = watch.has_changed(second.clone());
        watch.acted_on(second);
        changed
    }

    fn watch(file: &Path) -> Watch {
        Watch::new(Sight::of([&file.to_owned()]))
    }

    #[test]
    fn every_way_of_replacing_a_file_is_a_change_and_no_way_of_leaving_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        fs::write(&file, "one").unwrap();
        let mut watch = watch(&file);
        assert!(!change(&mut watch));
        fs::read(&file).unwrap();
        assert!(!change(&mut watch), "it was only read");
        fs::write(&file, "three").unwrap();
        assert!(change(&mut watch), "written in place");
        fs::write(dir.path().join("new"), "three").unwrap();
        fs::rename(dir.path().join("new"), &file).unwrap();
        assert!(change(&mut watch), "renamed over, as editors do");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(change(&mut watch), "made readable for others");
        fs::remove_file(&file).unwrap();
        assert!(change(&mut watch), "removed");
        assert!(!change(&mut watch), "and not again every second");
        fs::write(&file, "four").unwrap();
        assert!(change(&mut watch), "back");
    }

    #[test]
    fn a_link_that_is_turned_elsewhere_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for version in ["v1", "v2"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("key"), "same length").unwrap();
        }
        symlink("v1", path("..data")).unwrap();
        symlink("..data/key", path("key")).unwrap();
        let mut watch = watch(&path("key"));
        assert!(!change(&mut watch));
        symlink("v2", path("..next")).unwrap();
        fs::rename(path("..next"), path("..data")).unwrap();
        assert!(change(&mut watch));
    }

    #[test]
    fn what_is_still_being_written_is_left_to_settle() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hookward.toml");
        fs::write(&file, "").unwrap();
        let mut watch = watch(&file);
        for n in 1..5 {
            fs::write(&file, "x".repeat(n)).unwrap();
            assert!(!watch.has_changed(Sight::of([&file])), "{n}");
        }
        assert!(watch.has_changed(Sight::of([&file])));
    }

    #[test]
    fn what_has_just_been_written_is_read_again_and_then_known() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hookward.toml");
        fs::write(&file, "one").unwrap();
        let (text, sight) = read(&Sight::default(), || {
            let text = fs::read_to_string(&file).unwrap();
            // Right behind the first reader's back.
            if text == "one" {
                fs::write(&file, "two").unwrap();
            }
            (text, vec![file.clone()])
        });
        assert_eq!(text, "two");
        assert!(!change(&mut Watch::new(sight)));
    }

    #[test]
    fn a_file_that_never_stands_still_is_left_to_the_watch() {
        let dir = tempfile::tempdir().unwrap();
        let (file, reads) = (dir.path().join("hookward.toml"), std::cell::Cell::new(0));
        let (_, sight) = read(&Sight::default(), || {
            reads.set(reads.get() + 1);
            fs::write(&file, "x".repeat(reads.get())).unwrap();
            ((), vec![file.clone()])
        });
        assert!(reads.get() <= READS);
        assert!(change(&mut Watch::new(sight)));
    }
}
