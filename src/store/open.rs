//! Opening the store: its directory, its lock, what recovery finds, and its threads.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::backlog::Backlog;
use super::backlog::replay::Replay;
use super::core::{Core, Parts, Tuning};
use super::disk::{Disk as _, OsDisk};
use super::index::Index;
use super::indexer::IndexFeed;
use super::journal::files::SegmentFiles;
use super::journal::segment::SegmentHeader;
use super::journal::writer::Writer;
use super::private;
use super::recover::{self, Report};
use super::survey::{MissingKeys, Survey};
use super::{Options, Store};
use crate::clock::UnixMillis;
use crate::event::Sequence;
use crate::regular::{self, Link};

/// A directory that was made with the wrong mode would be so again after the next start.
const MADE_BY_SYSTEMD: &str =
    " (and where systemd makes the directory, set StateDirectoryMode=0700)";

/// Why the store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the store {} is in use by another process", .path.display())]
    Locked {
        /// The store's directory.
        path: PathBuf,
    },
    /// Others than its owner may read or change it.
    #[error("the store is not private: {} has mode {mode:04o}; run: chmod -R go-rwx {}{}",
        .path.display(), .store.display(), MADE_BY_SYSTEMD)]
    Exposed {
        /// The store's directory.
        store: PathBuf,
        /// The directory or file in it that they may.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Something in it is another user's, and was probably written by a start as that user.
    #[error("the store is not all one user's: {} belongs to {}, and {} cannot open it; run: chown -R {user} {}",
        .path.display(), User(*.owner), User(*.user), .store.display())]
    Foreign {
        /// The store's directory.
        store: PathBuf,
        /// What belongs to somebody else, the directory or something in it.
        path: PathBuf,
        /// Whom it belongs to.
        owner: u32,
        /// Who wants to open it.
        user: u32,
    },
    /// Root would open another user's store, and leave files there that this user cannot open.
    #[error(
        "the store {} belongs to {owner}, and this runs as root, whose files that user could not open \
         afterwards; start it as that user (systemd: User=), or, to go on as root, run: chown -R root {}",
        .store.display(), .store.display(), owner = User(*.owner)
    )]
    AsRoot {
        /// The store's directory.
        store: PathBuf,
        /// Whom it belongs to.
        owner: u32,
    },
    /// There are hardly any numbers for other segments. At one a second that takes a hundred years.
    #[error(
        "{} has a segment numbered {number}, and too few numbers are left behind that. If somebody else has put \
         it there, move it away; not so if it holds events of this store: \"hookward store verify\" tells \
         what does not belong to it", .path.display()
    )]
    LastNumber {
        /// The journal's directory.
        path: PathBuf,
        /// The largest number.
        number: u32,
    },
    /// There are hardly any numbers for other frames. Hookward does not get that far in a million years.
    #[error(
        "{} has a frame numbered {last}, and too few numbers are left behind that; Hookward has not written \
         it: find it with \"hookward store verify\", and put a copy of its segment in its place",
        .path.display()
    )]
    LastSequence {
        /// The journal's directory.
        path: PathBuf,
        /// The largest number.
        last: Sequence,
    },
    /// Plain segments in front of encrypted ones that nobody can open: anybody may have written them.
    #[error(
        "{plain} of the segments in {} stand in clear, and no encrypted one behind them has a key slot that \
         is whole, which alone could tell whether they are from before the encryption or somebody without \
         the key has put them there. Put a copy of one of the encrypted segments in its place; or, if nobody \
         else can have written there, move the encrypted ones away, which nobody can read any more",
        .path.display()
    )]
    Unvouched {
        /// The journal's directory.
        path: PathBuf,
        /// How many.
        plain: usize,
    },
    /// A segment's file cannot be opened. What waits in it may be all that is left of an event.
    #[error(
        "opening the segment {} failed: {source}. Mend what keeps it from being opened (its owner and mode, or its \
         file system); or put a copy of it in its place; or, if there is none, move it away: what stood in it is \
         then told as missing, and everything else is delivered",
        .path.display()
    )]
    Segment {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A newer version of Hookward wrote it.
    #[error("the journal was written by a newer version of Hookward (format {version})")]
    Newer {
        /// The format's version.
        version: u16,
    },
    /// Segments are encrypted under keys that are not configured.
    #[error("{0}")]
    Keys(#[from] MissingKeys),
    /// It was not wanted any more ([`Tuning::cancel`]). The journal is as good as it was.
    #[error("opening the store was given up")]
    Cancelled,
    /// The file system refuses.
    #[error("{what} {} failed: {source}", .path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A user by number: names may come from anywhere.
pub(super) struct User(pub(super) u32);

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == 0 { f.write_str("root") } else { write!(f, "uid {}", self.0) }
    }
}

impl Store {
    /// Makes the store's directory if it is not there, mode 0700, and refuses one that others than
    /// its owner may read or change, or that holds anything of ours that they may, and one that is
    /// another user's.
    ///
    /// [`Store::open`] does not look at modes and owners. Call this first, and before a sandbox that leaves
    /// no access to the directory's parent.
    ///
    /// # Errors
    /// [`OpenError::Exposed`], [`OpenError::Foreign`], [`OpenError::AsRoot`] or [`OpenError::Io`].
    pub fn prepare(path: &Path) -> Result<(), OpenError> {
        make(path)?;
        sync_parent(path).map_err(io_error("syncing the directory of", path))?;
        private::check(path)
    }

    /// What [`Store::prepare`] would find wrong with a store that is there; for root, what it would for
    /// the store's owner. Makes nothing; what this user cannot look at is not told.
    pub fn complaint(path: &Path) -> Option<OpenError> {
        private::look(path).err().filter(|error| !matches!(error, OpenError::Io { .. }))
    }

    /// Opens the store, or makes a new one. Blocks while the journal is read.
    ///
    /// # Errors
    /// [`OpenError`]. Damage in the journal is not one: it is told in the log and in
    /// [`Store::report`].
    pub fn open(options: Options) -> Result<Self, OpenError> {
        Self::open_with(options, Tuning::default())
    }

    /// Opens the store with sizes and a disk of the caller's choice.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(options: Options, tuning: Tuning) -> Result<Self, OpenError> {
        let lock = lock(&options.path)?;
        let Opened { core, writer, report } = Opened::recover(options, tuning, IndexFeed::start)?;
        let writer = spawn(Arc::clone(&core), writer);
        let writer = writer.map_err(|source| {
            let (what, path) = ("starting the writer of", core.files.dir().to_owned());
            OpenError::Io { what, path, source }
        })?;
        tell(&report);
        tell_encryption(&core, &report.survey);
        Ok(Self { core, writer: Mutex::new(Some(writer)), report, lock: Some(lock) })
    }
}

/// A store whose writer has not been started.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) core: Arc<Core>,
    pub(super) writer: Writer,
    pub(super) report: Report,
}

impl Opened {
    /// Reads what is there, and begins a segment to go on with. The caller has the lock.
    pub(super) fn recover(
        options: Options,
        tuning: Tuning,
        feed: impl FnOnce(Arc<Core>, Option<Index>) -> io::Result<IndexFeed>,
    ) -> Result<Self, OpenError> {
        let dir = options.path.join("journal");
        let failed = |what| io_error(what, &dir);
        tuning.disk.create_dir(&dir).map_err(failed("creating"))?;
        tuning.disk.sync_dir(&options.path).map_err(failed("syncing the directory of"))?;
        let keys = Arc::clone(&options.keys);
        let files = SegmentFiles::new(Arc::clone(&tuning.disk), dir.clone(), keys);
        let index_dir = options.path.join("index");
        let mut found = recover::scan(&files, &index_dir, &tuning)?;
        let mut report = found.report;
        let backlog = backlog(&options, &tuning, &found.replay);
        recover::restore(found.replay, &backlog, &files, &tuning.cancel, &mut report)?;
        if let Some(first) = found.segments.first() {
            backlog.forget_before(first.number);
        }
        let created_at = backlog.timeline.wall();
        put_in_order(&mut found.segments, created_at);
        let next = SegmentHeader { created_at, ..found.next };
        let core = Arc::new(Core::new(Parts {
            journal: next.journal,
            index_key: found.index_key,
            options,
            tuning,
            files,
            segments: found.segments,
            unwritten: found.unwritten,
            dedupe: found.dedupe,
            backlog,
            known: found.known,
        }));
        core.look_at_space(0);
        let feed = feed(Arc::clone(&core), found.index);
        let feed = feed.map_err(failed("starting the indexer of"))?;
        let writer = Writer::start(Arc::clone(&core), next, feed);
        let writer = writer.map_err(failed("beginning a segment in"))?;
        if let Some(number) = found.superseded.filter(|_| writer.has_begun()) {
            core.files.remove(number).map_err(failed("removing an empty segment in"))?;
            core.segments.lock().retain(|s| s.header.number != number);
        }
        Ok(Self { core, writer, report })
    }
}

/// Retention goes by when segments were begun, and each was after the one before it, whatever the clock said.
/// One that was begun while the clock was behind is no older than the one before it; of one that is dated in
/// the future only that is certain that it was begun before those behind it.
fn put_in_order(segments: &mut [SegmentHeader], now: UnixMillis) {
    let mut before = UnixMillis(0);
    for segment in segments.iter_mut().filter(|segment| segment.created_at <= now) {
        before = before.max(segment.created_at);
        segment.created_at = before;
    }
    let mut behind = now;
    for segment in segments.iter_mut().rev() {
        segment.created_at = segment.created_at.min(behind);
        behind = segment.created_at;
    }
}

fn make(path: &Path) -> Result<(), OpenError> {
    OsDisk.create_dir(path).map_err(io_error("creating", path))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => OsDisk.sync_dir(parent),
        Some(_) => OsDisk.sync_dir(Path::new(".")),
        None => Ok(()),
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { what, path, source }
}

/// How often the lock is tried for: who only looks at a store ([`is_in_use`]) has it for an instant.
const LOCK_TRIES: u32 = 10;
const LOCK_REST: std::time::Duration = std::time::Duration::from_millis(10);

/// Makes the store's directory and takes the lock on it, which ends with the process.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    make(path)?;
    match sync_parent(path) {
        // In a sandbox, and then the parent was synced before.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        synced => synced.map_err(io_error("syncing the directory of", path))?,
    }
    let failed = io_error("locking", path);
    for _ in 0..LOCK_TRIES {
        match try_lock(&path.join(LOCK)) {
            Ok(Some(file)) => return Ok(file),
            Ok(None) => std::thread::park_timeout(LOCK_REST),
            Err(error) => return Err(failed(error)),
        }
    }
    Err(OpenError::Locked { path: path.to_owned() })
}

/// The lock that a process holds as long as it has the store.
pub(super) const LOCK: &str = "lock";

/// Takes the lock that is this file, which ends with the process; `None`: another has it. A link is
/// not followed: it could name, or make, a file outside of the store.
pub(super) fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true).mode(0o600);
    let file = regular::open(options, path, Link::Refuse)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a process has the store. Changes nothing: the lock is only asked for as a reader, and let
/// go at once.
pub(super) fn is_in_use(path: &Path) -> bool {
    let file = regular::open(OpenOptions::new().read(true), &path.join(LOCK), Link::Refuse);
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn backlog(options: &Options, tuning: &Tuning, replay: &Replay) -> Backlog {
    let configured = |name: &String| options.upstreams.iter().any(|u| u.name.as_str() == *name);
    let mut others = replay.names();
    others.retain(|name| !configured(name));
    for upstream in others.iter().filter(|name| replay.waits(name)) {
        tracing::warn!(target: "hookward::store", upstream, "deliveries wait for an upstream that is not configured");
    }
    let clock = options.clock.clone();
    Backlog::new(&options.upstreams, &others, tuning.window, tuning.hot_bytes, clock)
}

/// The writer's thread. If it panics nothing is accepted any more, and who waits is told so.
fn spawn(core: Arc<Core>, writer: Writer) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
            core.fail();
            core.queue.close();
            // What is still queued is dropped, which answers who waits.
            drop(core.queue.wait(std::time::Duration::ZERO));
            tracing::error!(target: "hookward::store", "the journal's writer panicked; restart to go on");
        }
    })
}

fn tell(report: &Report) {
    let harmed = report.missing.len() + report.unreadable.len();
    if harmed > 0 {
        tracing::error!(target: "hookward::store", harmed, "the journal has lost frames or cannot be read in places; see above");
    }
    tracing::info!(
        target: "hookward::store",
        events = report.events,
        frames_read = report.frames_read,
        index_rebuilt = report.index_rebuilt,
        gaps = report.gaps.len(),
        missing = report.missing.len(),
        unreadable = report.unreadable.len(),
        "store opened"
    );
}

/// Under which key new segments are, and what is left that nobody encrypted.
fn tell_encryption(core: &Core, survey: &Survey) {
    let keys = core.files.keys();
    let Some(key) = keys.current() else { return };
    let (key, segments) = (key.id(), survey.encrypted);
    tracing::info!(target: "hookward::store", %key, segments, "the journal is encrypted");
    if survey.plain > 0 {
        let plain = survey.plain;
        let goes = survey.plain_goes(core.keeping().retention, core.backlog.timeline.wall());
        tracing::warn!(target: "hookward::store", plain, until = %goes, "segments from before the encryption are readable to whoever has the disk; they go with the retention, if nothing in them waits any more");
    }
}
