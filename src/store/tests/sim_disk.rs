//! A disk in memory that knows what is durable and what is not, and that can fail, tear or freeze
//! any one of its operations.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::store::disk::{AppendFile, Disk, ReadFile};

mod handle;

use handle::Handle;

/// What happens to the operation with a given number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails and changes nothing.
    Fails(io::ErrorKind),
    /// It fails with this number of the system's and changes nothing.
    Errno(i32),
    /// It fails after it has been done in part; a write, for want of room.
    Tears,
    /// It fails for good after it has been done in part.
    Breaks,
    /// The power goes: it and every later one fails.
    PowerCut,
    /// The disk is full from then on: what is appended fits in part at most, and nothing is created.
    FillsUp,
}

/// What there is no descriptor for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// A new file.
    Create,
    /// A directory, to sync it.
    SyncDir,
}

/// What a power cut leaves of what was not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// Any of its pages, by chance.
    SomePages(u64),
}

#[derive(Clone, Debug, Default)]
struct SimFile {
    bytes: Vec<u8>,
    /// How many of them, from the start, have been synced.
    durable: usize,
    /// What a failed sync has dropped: marked as clean, so that no later sync writes it.
    dropped: Vec<std::ops::Range<usize>>,
    /// What was written over something else and is not durable.
    overwritten: Vec<Overwritten>,
    /// Whether its name is.
    named: bool,
    /// Whether its name has been taken away since.
    removed: bool,
}

#[derive(Clone, Debug)]
struct Overwritten {
    at: usize,
    /// What stands there durably.
    before: Vec<u8>,
    /// A failed sync has dropped it: no later sync writes it, only another write.
    dropped: bool,
}

#[derive(Debug, Default)]
struct Sim {
    files: BTreeMap<PathBuf, SimFile>,
    operations: usize,
    fault: Option<(usize, Fault)>,
    fired: bool,
    off: bool,
    full: bool,
    /// Reads beyond this place in any file fail.
    bad_from: Option<u64>,
    /// Reads of these bytes of the file with this name fail.
    bad: Vec<(String, std::ops::Range<u64>)>,
    /// How often such a read has failed.
    met_bad: usize,
    /// No file is found by its name.
    away: bool,
    free: Option<u64>,
    /// Whether files share their blocks with copies, so that writing over them needs room.
    shared: bool,
    /// What there is no descriptor for.
    short: Option<Short>,
    longest_append: usize,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk(Arc<Mutex<Sim>>);

impl SimDisk {
    /// Until what this returns is dropped, every operation waits.
    pub(crate) fn hold(&self) -> impl Drop + '_ {
        self.0.lock()
    }

    /// The operation with number `at`, counted from now on, will meet `fault`.
    pub(crate) fn plan(&self, at: usize, fault: Fault) {
        let mut sim = self.0.lock();
        (sim.operations, sim.fault, sim.fired) = (0, Some((at, fault)), false);
    }

    /// How many operations there were since the last plan.
    pub(crate) fn operations(&self) -> usize {
        self.0.lock().operations
    }

    /// Whether the planned fault has happened.
    pub(crate) fn fired(&self) -> bool {
        self.0.lock().fired
    }

    /// How much space is said to be free.
    pub(crate) fn set_free(&self, bytes: u64) {
        self.0.lock().free = Some(bytes);
    }

    /// From here on reads beyond `offset` fail in every file, until it is `None`.
    pub(super) fn set_bad_from(&self, offset: Option<u64>) {
        self.0.lock().bad_from = offset;
    }

    /// From here on reads of these bytes fail in the file with this name, until it is `None`.
    pub(crate) fn set_bad(&self, bad: Option<(&str, std::ops::Range<u64>)>) {
        self.0.lock().bad = bad.map(|(name, range)| (name.to_owned(), range)).into_iter().collect();
    }

    /// How often a read of bytes that are bad has failed.
    pub(super) fn met_bad(&self) -> usize {
        self.0.lock().met_bad
    }

    /// Reads of these fail as well.
    pub(super) fn add_bad(&self, name: &str, range: std::ops::Range<u64>) {
        self.0.lock().bad.push((name.to_owned(), range));
    }

    /// From here on files share their blocks with copies, or do not.
    pub(super) fn set_shared(&self, shared: bool) {
        self.0.lock().shared = shared;
    }

    /// The directory is away, or back: who has a file open keeps it.
    pub(super) fn set_away(&self, away: bool) {
        self.0.lock().away = away;
    }

    /// From here on there is no descriptor for this, until it is `None`.
    pub(super) fn set_short(&self, of: Option<Short>) {
        self.0.lock().short = of;
    }

    /// The most that was appended at once since it was asked to forget.
    pub(super) fn longest_append(&self) -> usize {
        self.0.lock().longest_append
    }

    /// What was appended before does not count.
    pub(super) fn forget_longest_append(&self) {
        self.0.lock().longest_append = 0;
    }

    /// The disk is not full any more.
    pub(crate) fn make_room(&self) {
        let mut sim = self.0.lock();
        (sim.fault, sim.full) = (None, false);
    }

    /// The power comes back. What was not durable is left as `leaves` says.
    pub(crate) fn reboot(&self, leaves: Leaves) {
        let mut sim = self.0.lock();
        (sim.fault, sim.off, sim.full, sim.short) = (None, false, false, None);
        let mut random = match leaves {
            Leaves::SomePages(seed) => fastrand::Rng::with_seed(seed),
            Leaves::Nothing | Leaves::Everything => fastrand::Rng::with_seed(0),
        };
        sim.files.retain(|_, file| match leaves {
            Leaves::Everything => !file.removed,
            Leaves::Nothing => file.named,
            Leaves::SomePages(_) => {
                if file.named && !file.removed {
                    true
                } else {
                    random.bool()
                }
            }
        });
        for file in sim.files.values_mut() {
            file.removed = false;
            file.named = true;
            for over in std::mem::take(&mut file.overwritten).into_iter().rev() {
                let Overwritten { at, before, .. } = over;
                let back = match leaves {
                    Leaves::Everything => 0..0,
                    Leaves::Nothing => 0..before.len(),
                    // Even a write within a sector is torn here, which no disk should do.
                    Leaves::SomePages(_) => match random.u8(..4) {
                        0 => 0..0,
                        1 => 0..before.len(),
                        2 => 0..random.usize(0..=before.len()),
                        _ => random.usize(0..=before.len())..before.len(),
                    },
                };
                file.bytes[at..][back.clone()].copy_from_slice(&before[back]);
            }
            for dropped in std::mem::take(&mut file.dropped) {
                if leaves != Leaves::Everything {
                    file.bytes[dropped].fill(0);
                }
            }
            match leaves {
                Leaves::Everything => {}
                Leaves::Nothing => file.bytes.truncate(file.durable),
                Leaves::SomePages(_) => file.lose_pages(&mut random),
            }
            file.durable = file.bytes.len();
        }
    }

    /// The power goes, or the process is killed: whatever it still tries fails.
    pub(crate) fn cut(&self) {
        self.0.lock().off = true;
    }

    /// Another process goes on after one that was killed: what was written is there, durable or not.
    pub(crate) fn next_process(&self) {
        let mut sim = self.0.lock();
        (sim.fault, sim.off) = (None, false);
    }

    /// Whether the power is off.
    pub(crate) fn is_off(&self) -> bool {
        self.0.lock().off
    }

    /// Whether nothing more fits.
    pub(crate) fn is_full(&self) -> bool {
        self.0.lock().full
    }

    /// What a power cut would leave of each file in any case.
    pub(crate) fn durable(&self) -> Vec<(PathBuf, usize)> {
        let sim = self.0.lock();
        let there = sim.files.iter().filter(|(_, file)| file.named && !file.removed);
        there.map(|(path, file)| (path.clone(), file.safe())).collect()
    }

    /// Bytes of a file, without an operation that could fail.
    pub(crate) fn peek(&self, path: &Path, range: std::ops::Range<usize>) -> Vec<u8> {
        self.0.lock().files.get(path).map_or_else(Vec::new, |file| file.bytes[range].to_vec())
    }

    /// Changes a file behind everyone's back.
    pub(crate) fn corrupt(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut sim = self.0.lock();
        let found = sim.files.iter_mut().find(|(path, _)| path.ends_with(name));
        change(&mut found.expect("such a file").1.bytes);
    }

    /// The names of all files, ascending.
    pub(crate) fn names(&self) -> Vec<String> {
        let sim = self.0.lock();
        let live = sim.files.iter().filter(|(_, f)| !f.removed);
        live.map(|(p, _)| p.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    /// Counts an operation; `Err` if it is to fail before it does anything, `Ok(true)` if after
    /// doing part of it.
    fn step(&self) -> io::Result<bool> {
        let mut sim = self.0.lock();
        if sim.off {
            return Err(io::Error::other("power is off"));
        }
        let number = sim.operations;
        sim.operations += 1;
        match sim.fault {
            Some((at, fault)) if at == number => {
                sim.fired = true;
                match fault {
                    Fault::Fails(kind) => Err(kind.into()),
                    Fault::Errno(number) => Err(io::Error::from_raw_os_error(number)),
                    Fault::Tears | Fault::Breaks => Ok(true),
                    Fault::FillsUp => {
                        sim.full = true;
                        Ok(false)
                    }
                    Fault::PowerCut => {
                        sim.off = true;
                        Err(io::Error::other("power is off"))
                    }
                }
            }
            _ => Ok(false),
        }
    }

    fn descriptor(&self, of: Short) -> io::Result<()> {
        self.whole()?;
        let short = self.0.lock().short == Some(of);
        if short { Err(rustix::io::Errno::MFILE.into()) } else { Ok(()) }
    }

    fn change<T>(&self, path: &Path, change: impl FnOnce(&mut SimFile) -> T) -> io::Result<T> {
        let mut sim = self.0.lock();
        sim.files.get_mut(path).map(change).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn whole(&self) -> io::Result<()> {
        if self.step()? { Err(io::Error::other("torn")) } else { Ok(()) }
    }
}

impl SimFile {
    /// How many bytes from the start a power cut leaves in any case.
    fn safe(&self) -> usize {
        self.dropped.iter().map(|range| range.start).min().unwrap_or(self.durable).min(self.durable)
    }

    /// Writes over the first of `len` bytes, all of which count as touched.
    fn overwrite(&mut self, at: usize, len: usize, bytes: &[u8]) {
        let earlier = self.overwritten.iter().position(|o| o.at == at && o.before.len() == len);
        let before = match earlier {
            Some(earlier) => self.overwritten.remove(earlier).before,
            None => self.bytes[at..at + len].to_vec(),
        };
        self.overwritten.push(Overwritten { at, before, dropped: false });
        self.bytes[at..][..bytes.len()].copy_from_slice(bytes);
    }

    fn lose_pages(&mut self, random: &mut fastrand::Rng) {
        const PAGE: usize = 512;
        let len = random.usize(self.durable..=self.bytes.len());
        self.bytes.truncate(len);
        let mut at = self.durable;
        while at < len {
            let end = (at / PAGE * PAGE + PAGE).min(len);
            if random.u8(..4) == 0 {
                self.bytes[at..end].fill(0);
            }
            at = end;
        }
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        self.whole()
    }

    fn list(&self, _dir: &Path) -> io::Result<Vec<String>> {
        self.whole()?;
        Ok(self.names())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        self.descriptor(Short::Create)?;
        let mut sim = self.0.lock();
        if sim.files.get(path).is_some_and(|f| !f.removed) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if sim.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        sim.files.insert(path.to_owned(), SimFile::default());
        Ok(Box::new(Handle { disk: self.clone(), path: path.to_owned() }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        self.whole()?;
        let sim = self.0.lock();
        if sim.away || sim.files.get(path).is_none_or(|f| f.removed) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Arc::new(Handle { disk: self.clone(), path: path.to_owned() }))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.whole()?;
        let mut sim = self.0.lock();
        let file = sim.files.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        file.bytes.truncate(usize::try_from(len).unwrap());
        file.durable = file.bytes.len();
        Ok(())
    }

    fn rewrite(&self, path: &Path) -> io::Result<()> {
        self.whole()?;
        let mut sim = self.0.lock();
        if sim.full && sim.shared {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = sim.files.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        file.dropped.clear();
        file.overwritten.clear();
        file.durable = file.bytes.len();
        Ok(())
    }

    fn overwrite(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        let torn = self.step()?;
        let from = usize::try_from(at).unwrap();
        let written = if torn { bytes.len() * 2 / 3 } else { bytes.len() };
        self.change(path, |file| file.overwrite(from, bytes.len(), &bytes[..written]))?;
        if torn {
            return Err(io::Error::other("torn"));
        }
        // The sync is an operation of its own.
        let synced = self.whole();
        self.change(path, |file| match &synced {
            Ok(()) => file.overwritten.retain(|over| over.dropped),
            Err(_) => file.overwritten.iter_mut().for_each(|over| over.dropped = true),
        })?;
        synced
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.whole()?;
        let mut sim = self.0.lock();
        sim.files.get_mut(path).ok_or(io::ErrorKind::NotFound)?.removed = true;
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        self.descriptor(Short::SyncDir)?;
        let mut sim = self.0.lock();
        sim.files.retain(|_, file| !file.removed);
        sim.files.values_mut().for_each(|file| file.named = true);
        Ok(())
    }

    fn free_space(&self, _dir: &Path) -> io::Result<u64> {
        self.whole()?;
        Ok(self.0.lock().free.unwrap_or(u64::MAX))
    }
}
