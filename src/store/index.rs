//! The index: sled, as a copy of what the journal says about where events stand, so that a restart
//! need not read the whole journal. It holds no payload; deleting it is always safe.
//!
//! One row holds a block of up to [`BLOCK`] events of one segment, written once: key is the number
//! of its first event, value the segment and, for each event, how much further its number is, where
//! its frame starts and its key's fingerprint. A last row says how far the index has come.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::journal::input::Input;
use super::journal::segment::{FEW_SEQUENCES, LAST_SEGMENT, LAST_SEQUENCE, Place};
use crate::event::Sequence;
use crate::panics;

/// Events a row.
pub const BLOCK: usize = 512;
const ENTRY_LEN: usize = 16;
const CACHE_BYTES: u64 = 16 << 20;
/// Bump it when rows change their form: an index of another format is rebuilt.
const FORMAT: u32 = 2;
/// Sorts behind every sequence that will ever be.
const PROGRESS_KEY: [u8; 8] = [0xff; 8];
/// Written after a clean stop, when every file of the index has been synced.
const CLEAN_MARK: &str = "clean";

/// An event, as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The event's number.
    pub sequence: Sequence,
    /// Where its frame starts.
    pub place: Place,
    /// Eight bytes of its dedupe key.
    pub fingerprint: u64,
}

/// How far the index has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The random number of the journal that it is an index of.
    pub journal: u64,
    /// Where to go on reading the journal.
    pub upto: Place,
    /// Every event up to this one is in the index.
    pub last: Sequence,
}

/// Why an index cannot be used. None of these loses anything.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// sled refuses.
    #[error("sled: {0}")]
    Sled(#[from] sled::Error),
    /// The file system refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// sled panicked.
    #[error("sled panicked")]
    Panicked,
    /// sled does not let go of its files.
    #[error("sled does not let go of its files")]
    Held,
    /// A row is not of our form.
    #[error("a row is malformed")]
    Malformed,
}

/// What an index says of itself, whether it can be trusted or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The format of its rows.
    pub format: u32,
    /// How far it has come; `None` in a format that is not known here.
    pub progress: Option<Progress>,
    /// What its fingerprints were made with ([`Fingerprints::mark`]).
    ///
    /// [`Fingerprints::mark`]: super::crypt::Fingerprints::mark
    pub mark: u64,
    /// Whether it was written on this boot of the machine.
    pub this_boot: bool,
    /// Events in it.
    pub events: u64,
}

/// An open index.
#[derive(Debug)]
pub struct Index {
    dir: PathBuf,
    db: sled::Db,
    /// The journal's random number; set before rows are written.
    journal: u64,
    /// What its fingerprints were made with ([`Fingerprints::mark`]).
    mark: u64,
    /// Events that do not fill a row yet.
    block: Vec<IndexEntry>,
}

impl Index {
    /// Opens the index in `dir` if it can be trusted: same boot of the machine, or stopped
    /// cleanly, and made with fingerprints that have this `mark`. Shows `each` every event in it.
    ///
    /// # Errors
    /// [`IndexError`]; the caller sets the directory aside and starts a new one.
    pub fn open(
        dir: &Path,
        mark: u64,
        mut each: impl FnMut(IndexEntry),
    ) -> Result<(Self, Option<Progress>), IndexError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let clean_mark = dir.join(CLEAN_MARK);
        let clean = clean_mark.exists();
        if clean {
            fs::remove_file(&clean_mark)?;
            File::open(dir)?.sync_all()?;
        }
        guard(|| {
            let db = open_db(dir)?;
            let index = Self { dir: dir.to_owned(), db, journal: 0, mark, block: Vec::new() };
            let progress = match index.db.get(PROGRESS_KEY)? {
                None => None,
                Some(row) => decode_progress(&row, mark, clean)?,
            };
            if progress.is_some() {
                // From here on it is of this boot.
                if let Some(progress) = progress {
                    index.db.insert(PROGRESS_KEY, encode_progress(progress, mark))?;
                }
                for row in index.db.range(..PROGRESS_KEY.as_slice()) {
                    let (key, value) = row?;
                    decode_block(&key, &value, &mut each).ok_or(IndexError::Malformed)?;
                }
            }
            Ok((index, progress))
        })
    }

    /// Says which journal the events to come are from.
    pub fn set_journal(&mut self, journal: u64) {
        self.journal = journal;
    }

    /// Adds an event; rows are written when they are full.
    ///
    /// # Errors
    /// [`IndexError`]; the index is then of no use until the next start.
    pub fn add(&mut self, entry: IndexEntry) -> Result<(), IndexError> {
        let new_segment =
            self.block.first().is_some_and(|f| f.place.segment != entry.place.segment);
        if new_segment || self.block.len() >= BLOCK {
            self.write_block()?;
        }
        self.block.push(entry);
        Ok(())
    }

    /// Forgets the events before `first`.
    ///
    /// # Errors
    /// [`IndexError`]; the index is then of no use until the next start.
    pub fn forget_before(&mut self, first: Sequence) -> Result<(), IndexError> {
        let db = &self.db;
        guard(|| {
            for key in db.range(..first.0.to_be_bytes().as_slice()).keys() {
                db.remove(key?)?;
            }
            Ok(())
        })
    }

    /// Writes out everything up to `progress`, syncs every file and marks the index as clean.
    ///
    /// # Errors
    /// [`IndexError`]; then it is rebuilt at the next start.
    pub fn close(mut self, progress: Progress) -> Result<(), IndexError> {
        self.write_block()?;
        let Self { dir, db, mark, .. } = self;
        guard(|| {
            db.insert(PROGRESS_KEY, encode_progress(progress, mark))?;
            db.flush()?;
            drop(db);
            Ok(())
        })?;
        // sled's own threads let go of its files a little later.
        wait_until_released(&dir.join("db"))?;
        sync_tree(&dir)?;
        File::create(dir.join(CLEAN_MARK))?.sync_all()?;
        File::open(&dir)?.sync_all()?;
        Ok(())
    }

    /// A full row goes to sled together with how far the index has come by it, atomically.
    fn write_block(&mut self) -> Result<(), IndexError> {
        let (Some(first), Some(last)) = (self.block.first(), self.block.last()) else {
            return Ok(());
        };
        let (journal, upto) = (self.journal, last.place);
        let progress = Progress { journal, upto, last: last.sequence };
        let key = first.sequence.0.to_be_bytes();
        let value = encode_block(first, &self.block);
        let mut batch = sled::Batch::default();
        batch.insert(&key, value);
        batch.insert(&PROGRESS_KEY, encode_progress(progress, self.mark));
        let db = &self.db;
        guard(|| Ok(db.apply_batch(batch)?))?;
        self.block.clear();
        Ok(())
    }
}

/// What the index in `dir` says of itself; `None` if nothing was ever written to it. sled changes
/// what it opens: `dir` is to be a copy.
///
/// # Errors
/// [`IndexError`].
pub fn look(dir: &Path) -> Result<Option<Look>, IndexError> {
    guard(|| {
        let db = open_db(dir)?;
        let Some(row) = db.get(PROGRESS_KEY)? else { return Ok(None) };
        let format = Input(&row).u32().ok_or(IndexError::Malformed)?;
        let Some(ProgressRow { progress, mark, this_boot }) = parse_progress(&row)? else {
            let (progress, this_boot) = (None, false);
            return Ok(Some(Look { format, progress, mark: 0, this_boot, events: 0 }));
        };
        let mut events = 0;
        for row in db.range(..PROGRESS_KEY.as_slice()) {
            let (key, value) = row?;
            decode_block(&key, &value, &mut |_| events += 1).ok_or(IndexError::Malformed)?;
        }
        Ok(Some(Look { format, progress: Some(progress), mark, this_boot, events }))
    })
}

/// Whether the index in `dir` was closed at a clean stop, and not opened since.
pub fn is_clean(dir: &Path) -> bool {
    dir.join(CLEAN_MARK).exists()
}

/// Lets go of an index that has failed: sled may panic once more.
pub fn abandon(index: Index) {
    let _ = panics::expected(|| drop(index));
}

/// Moves an index that cannot be used out of the way, replacing an older one set aside.
///
/// # Errors
/// As the file system says.
pub fn set_aside(dir: &Path) -> io::Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let aside = dir.with_extension("unusable");
    if aside.exists() {
        fs::remove_dir_all(&aside)?;
    }
    fs::rename(dir, &aside)
}

/// Removes an index and what was set aside of earlier ones: where events are encrypted nothing may
/// stay that was made of them in clear.
///
/// # Errors
/// As the file system says.
pub fn remove(dir: &Path) -> io::Result<()> {
    remove_all(dir)?;
    remove_set_aside(dir)
}

/// Removes what was set aside of earlier indexes of the one in `dir`, if there is any.
///
/// # Errors
/// As the file system says.
pub fn remove_set_aside(dir: &Path) -> io::Result<()> {
    remove_all(&dir.with_extension("unusable"))
}

fn remove_all(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn open_db(dir: &Path) -> Result<sled::Db, IndexError> {
    Ok(sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(Some(1000))
        .mode(sled::Mode::HighThroughput)
        .open()?)
}

/// sled is known to panic on damaged files, such as a power cut leaves.
fn guard<T>(work: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    panics::expected(work).unwrap_or(Err(IndexError::Panicked))
}

/// Waits until nobody holds the lock on the file any more; not for ever.
fn wait_until_released(file: &Path) -> Result<(), IndexError> {
    let file = File::open(file)?;
    for _ in 0..400 {
        if file.try_lock().is_ok() {
            return Ok(());
        }
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    Err(IndexError::Held)
}

fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else if entry.file_type()?.is_file() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(dir)?.sync_all()
}

/// The kernel's id of this boot: files that were not synced can be trusted as long as it lasts.
fn boot_id() -> Vec<u8> {
    fs::read("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| Vec::new(), |id| id.trim_ascii().to_vec())
}

fn encode_progress(progress: Progress, mark: u64) -> Vec<u8> {
    let mut out = FORMAT.to_le_bytes().to_vec();
    out.extend_from_slice(&progress.journal.to_le_bytes());
    out.extend_from_slice(&progress.upto.pack().to_le_bytes());
    out.extend_from_slice(&progress.last.0.to_le_bytes());
    out.extend_from_slice(&mark.to_le_bytes());
    out.extend_from_slice(&boot_id());
    out
}

/// How far an index has come, as it says itself.
struct ProgressRow {
    progress: Progress,
    mark: u64,
    this_boot: bool,
}

/// `None`: in another format.
fn parse_progress(row: &[u8]) -> Result<Option<ProgressRow>, IndexError> {
    let mut input = Input(row);
    if input.u32().ok_or(IndexError::Malformed)? != FORMAT {
        return Ok(None);
    }
    let fields = (|| Some((input.u64()?, input.u64()?, input.u64()?, input.u64()?)))();
    let (journal, upto, last, mark) = fields.ok_or(IndexError::Malformed)?;
    // No start goes on behind that: it is not believed.
    if last > LAST_SEQUENCE - FEW_SEQUENCES || Place::unpack(upto).segment > LAST_SEGMENT {
        return Err(IndexError::Malformed);
    }
    let this_boot = !input.0.is_empty() && input.0 == boot_id();
    let progress = Progress { journal, upto: Place::unpack(upto), last: Sequence(last) };
    Ok(Some(ProgressRow { progress, mark, this_boot }))
}

/// `None`: written on an earlier boot that did not end cleanly, in another format, or with other
/// fingerprints than those with this `mark`.
fn decode_progress(row: &[u8], mark: u64, clean: bool) -> Result<Option<Progress>, IndexError> {
    let row = parse_progress(row)?;
    let trusted = row.filter(|row| row.mark == mark && (clean || row.this_boot));
    Ok(trusted.map(|row| row.progress))
}

fn encode_block(first: &IndexEntry, entries: &[IndexEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + entries.len() * ENTRY_LEN);
    out.extend_from_slice(&first.place.segment.to_le_bytes());
    for entry in entries {
        let further = u32::try_from(entry.sequence.0 - first.sequence.0).unwrap_or(u32::MAX);
        out.extend_from_slice(&further.to_le_bytes());
        out.extend_from_slice(&entry.place.offset.to_le_bytes());
        out.extend_from_slice(&entry.fingerprint.to_le_bytes());
    }
    out
}

fn decode_block(key: &[u8], value: &[u8], each: &mut impl FnMut(IndexEntry)) -> Option<()> {
    let first = u64::from_be_bytes(key.try_into().ok()?);
    let mut input = Input(value);
    let segment = input.u32()?;
    while !input.0.is_empty() {
        let (further, offset, fingerprint) = (input.u32()?, input.u32()?, input.u64()?);
        let sequence = Sequence(first.checked_add(further.into())?);
        each(IndexEntry { sequence, place: Place { segment, offset }, fingerprint });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u64) -> IndexEntry {
        let segment = 1 + u32::try_from(n / 1000).unwrap();
        let place = Place { segment, offset: 64 + u32::try_from(n % 1000).unwrap() * 100 };
        IndexEntry { sequence: Sequence(n), place, fingerprint: n * 7 }
    }

    fn fill(dir: &Path, upto: u64) -> Index {
        let (mut index, progress) = Index::open(dir, 0, |_| panic!("it is empty")).unwrap();
        assert_eq!(progress, None);
        for n in 1..=upto {
            index.add(entry(n)).unwrap();
        }
        index
    }

    fn read(dir: &Path) -> (Vec<IndexEntry>, Option<Progress>) {
        let mut found = Vec::new();
        let (_, progress) = Index::open(dir, 0, |e| found.push(e)).unwrap();
        (found, progress)
    }

    #[test]
    fn a_clean_stop_keeps_everything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let progress = Progress { journal: 0, upto: entry(2500).place, last: Sequence(2500) };
        fill(&path, 2500).close(progress).unwrap();
        let (found, read_progress) = read(&path);
        assert_eq!(found, (1..=2500).map(entry).collect::<Vec<_>>());
        assert_eq!(read_progress, Some(progress));
    }

    #[test]
    fn a_crash_keeps_whole_rows_and_says_how_far_they_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        drop(fill(&path, 700));
        File::open(path.join("db")).unwrap().lock().unwrap();
        let (found, progress) = read(&path);
        assert_eq!(found, (1..=512).map(entry).collect::<Vec<_>>());
        assert_eq!(progress.unwrap().last, Sequence(512));
    }

    #[test]
    fn another_boot_is_trusted_only_after_a_clean_stop() {
        let mut row =
            encode_progress(Progress { journal: 0, upto: entry(1).place, last: Sequence(1) }, 7);
        assert!(decode_progress(&row, 7, false).unwrap().is_some());
        row.truncate(36);
        row.extend_from_slice(b"another boot");
        assert!(decode_progress(&row, 7, false).unwrap().is_none());
        assert!(decode_progress(&row, 7, true).unwrap().is_some());
        assert!(decode_progress(&row, 8, true).unwrap().is_none(), "other fingerprints");
    }

    #[test]
    fn events_before_a_sequence_are_forgotten_by_whole_rows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let mut index = fill(&path, 2500);
        index.forget_before(Sequence(1000)).unwrap();
        index
            .close(Progress { journal: 0, upto: entry(2500).place, last: Sequence(2500) })
            .unwrap();
        let (found, _) = read(&path);
        assert_eq!(found.first(), Some(&entry(1000)));
        assert_eq!(found.last(), Some(&entry(2500)));
    }

    #[test]
    fn garbage_is_refused_and_can_be_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        fill(&path, 2500)
            .close(Progress { journal: 0, upto: entry(1).place, last: Sequence(1) })
            .unwrap();
        for file in fs::read_dir(&path).unwrap().map(|f| f.unwrap().path()) {
            if file.is_file() {
                fs::write(file, [0x5a; 9000]).unwrap();
            }
        }
        assert!(Index::open(&path, 0, |_| {}).is_err());
        set_aside(&path).unwrap();
        assert_eq!(read(&path).1, None);
    }
}
