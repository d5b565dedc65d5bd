//! The journal's segment files, opened for reading: single frames by their place, and the list of
//! segments that there are. What is encrypted is opened here, so that nobody else needs to know.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
use rustix::io::Errno;

use super::frame::{HEADER_LEN, Header};
use super::preamble::Preamble;
use super::record;
use super::segment::{self, Place, Scanner, Seal};
use crate::event::Sequence;
use crate::store::crypt::{KeyId, Keyring};
use crate::store::disk::{Disk, ReadFile};

/// Files kept open for reading at most.
pub const MAX_OPEN: usize = 64;
/// Bytes of a torn tail that are kept at most.
const MAX_TORN: usize = 16 << 20;
/// First read of a frame: most frames fit, and one system call is then enough.
const FIRST_READ: usize = 4096;

/// Why a frame that was stored could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system failed.
    #[error("reading the journal failed: {0}")]
    Io(#[from] io::Error),
    /// What stands there is not the frame that was written.
    #[error("the journal is damaged in segment {} at offset {}", .0.segment, .0.offset)]
    Damaged(Place),
    /// The checksum fits and the cipher refuses: somebody has changed it.
    #[error("the frame in segment {} at offset {} is not authentic", .0.segment, .0.offset)]
    Forged(Place),
    /// No key slot of the segment is whole: nobody can read it any more.
    #[error("segment {} is encrypted and both of its key slots are damaged", .0.segment)]
    Keyless(Place),
    /// The segment is under a key that is not configured.
    #[error("segment {segment} needs the key {key}, which is not in store.encryption_key")]
    NoKey {
        /// The segment's number.
        segment: u32,
        /// The key's name.
        key: KeyId,
    },
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => error,
            other => Self::other(other),
        }
    }
}

impl ReadError {
    /// Whether no later try can succeed. A file that is not there may come back, as far as this knows.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Forged(_) | Self::Keyless(_) => true,
            Self::NoKey { .. } | Self::Io(_) => false,
        }
    }

    /// Whether the disk itself does not give what is asked for, which may pass or not. That there is no
    /// file, or no descriptor for it, is something else.
    pub fn is_not_given(&self) -> bool {
        let number = match self {
            Self::Io(error) => error.raw_os_error(),
            _ => None,
        };
        // The last is what XFS and ext4 say of a file whose extents they cannot make out any more.
        let said = [Errno::IO, Errno::NODATA, Errno::BADMSG, Errno::UCLEAN];
        said.iter().any(|e| number == Some(e.raw_os_error()))
    }
}

/// Reads frames at known places.
#[derive(Debug)]
pub struct SegmentFiles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    keys: ArcSwap<Keyring>,
    /// The number of the last segment that may be in clear.
    plain_upto: AtomicU32,
    open: Mutex<Cache>,
}

/// Files that are kept open.
#[derive(Debug, Default)]
struct Cache {
    files: HashMap<u32, Open>,
    /// How many names have been taken away: a file that was opened before the last of them may have no
    /// name any more, and another one may have it by now.
    removed: u64,
}

/// A segment's file that is kept open.
#[derive(Clone, Debug)]
struct Open {
    file: Arc<dyn ReadFile>,
    /// How its frames are sealed, once somebody has asked.
    seal: Option<Seal>,
}

impl SegmentFiles {
    /// The segments in `dir`, opened with `keys` where they are encrypted.
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf, keys: Arc<Keyring>) -> Self {
        let (keys, open) = (ArcSwap::new(keys), Mutex::default());
        Self { disk, dir, keys, plain_upto: AtomicU32::new(u32::MAX), open }
    }

    /// The keys by which segments are opened, and begun.
    pub fn keys(&self) -> Arc<Keyring> {
        self.keys.load_full()
    }

    /// The last segment that may be in clear, from before the encryption.
    pub fn plain_upto(&self) -> u32 {
        self.plain_upto.load(Ordering::Relaxed)
    }

    /// A plain segment behind this one is not opened: anybody who can write to the journal's directory
    /// can make one.
    pub fn set_plain_upto(&self, number: u32) {
        self.plain_upto.store(number, Ordering::Relaxed);
    }

    /// From here on these are the keys.
    pub fn set_keys(&self, keys: Arc<Keyring>) {
        self.keys.store(keys);
    }

    /// Where they are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file system they are on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The numbers of all segments, ascending.
    ///
    /// # Errors
    /// As the file system says.
    pub fn numbers(&self) -> io::Result<Vec<u32>> {
        let names = self.disk.list(&self.dir)?;
        let mut numbers: Vec<u32> = names.iter().filter_map(|n| segment::number_of(n)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The segment's file.
    ///
    /// # Errors
    /// As the file system says.
    pub fn file(&self, number: u32) -> io::Result<Arc<dyn ReadFile>> {
        Ok(self.opened(number)?.file)
    }

    fn opened(&self, number: u32) -> io::Result<Open> {
        let removed = {
            let open = self.open.lock();
            if let Some(opened) = open.files.get(&number) {
                return Ok(opened.clone());
            }
            open.removed
        };
        let file = self.disk.open(&segment::path(&self.dir, number))?;
        let opened = Open { file, seal: None };
        let mut open = self.open.lock();
        if open.removed == removed {
            if open.files.len() >= MAX_OPEN {
                open.files.clear();
            }
            open.files.insert(number, opened.clone());
        }
        Ok(opened)
    }

    /// What stands in front of the segment's frames.
    ///
    /// # Errors
    /// As the file system says.
    pub fn preamble(&self, number: u32) -> io::Result<Preamble> {
        Preamble::read(&*self.file(number)?, number)
    }

    /// The same; `None` if the file is there and the disk does not give what is asked for, twice.
    ///
    /// # Errors
    /// When there is no file that can be opened.
    pub fn preamble_if_given(&self, number: u32) -> io::Result<Option<Preamble>> {
        let file = self.file(number)?;
        let read = || Preamble::read(&*file, number);
        Ok(read().or_else(|_| read()).ok())
    }

    /// How the segment's frames are sealed, and what opens them.
    ///
    /// # Errors
    /// [`ReadError::Io`] and [`ReadError::NoKey`].
    pub fn seal(&self, number: u32) -> Result<Seal, ReadError> {
        let opened = self.opened(number)?;
        if let Some(seal) = opened.seal {
            return Ok(seal);
        }
        let (seal, is_certain) = match self.read_seal(number, &*opened.file)? {
            // The slots may be changed while they are read: the new one was there before the old
            // one went.
            (Seal::Lost, _) => self.read_seal(number, &*opened.file)?,
            read => read,
        };
        if is_certain
            && let Some(kept) = self.open.lock().files.get_mut(&number)
            && Arc::ptr_eq(&kept.file, &opened.file)
        {
            kept.seal = Some(seal.clone());
        }
        Ok(seal)
    }

    /// Also whether it stays so: what is missing may be just being written.
    fn read_seal(&self, number: u32, file: &dyn ReadFile) -> Result<(Seal, bool), ReadError> {
        let preamble = Preamble::read(file, number)?;
        let foreign = number > self.plain_upto();
        Ok(match preamble.seal(number, &self.keys())? {
            Seal::Plain if foreign => (Seal::Foreign, preamble.header.is_ok()),
            Seal::Plain => (Seal::Plain, preamble.header.is_ok()),
            Seal::Lost => (Seal::Lost, false),
            seal => (seal, true),
        })
    }

    /// Walks the segment's frames, from the one at `offset` on or, if that is 0, from the first;
    /// frames up to `last` have been seen.
    ///
    /// # Errors
    /// [`ReadError::Io`] and [`ReadError::NoKey`].
    pub fn scan(&self, number: u32, offset: u32, last: Sequence) -> Result<Scanner, ReadError> {
        let seal = self.seal(number)?;
        Ok(Scanner::opening(self.file(number)?, offset, last, seal)?)
    }

    /// Closes the segment's file and takes its name away.
    ///
    /// # Errors
    /// As the file system says.
    pub fn remove(&self, number: u32) -> io::Result<()> {
        // It goes with its segment, if there is one.
        let _ = self.disk.remove(&segment::torn_path(&self.dir, number));
        let removed = self.disk.remove(&segment::path(&self.dir, number));
        let mut open = self.open.lock();
        open.removed += 1;
        open.files.remove(&number);
        removed
    }

    /// Copies what is to be cut off the segment's end to a file of its own, as it stands there; of much
    /// of it only the beginning. What was kept of that segment before is replaced.
    ///
    /// # Errors
    /// As the file system says.
    pub fn keep_torn(&self, number: u32, from: u32, to: u32) -> io::Result<()> {
        let mut bytes = vec![0; (to.saturating_sub(from) as usize).min(MAX_TORN)];
        let got = self.file(number)?.read_at(&mut bytes, from.into())?;
        bytes.truncate(got);
        let path = segment::torn_path(&self.dir, number);
        match self.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = self.disk.create(&path)?;
        let written = file.append(&bytes).and_then(|()| file.sync());
        if written.is_err() {
            let _ = self.disk.remove(&path);
        }
        written.and_then(|()| self.disk.sync_dir(&self.dir))
    }

    /// The event at `place`: its number, and the payload that it was stored with.
    ///
    /// # Errors
    /// As [`SegmentFiles::frame`].
    pub fn event(&self, place: Place) -> Result<(Sequence, Bytes), ReadError> {
        let (header, payload) = self.frame(place)?;
        record::event_in(&header, &payload).ok_or(ReadError::Damaged(place))
    }

    /// The frame at `place`.
    ///
    /// # Errors
    /// [`ReadError`]; a frame that was damaged since is an error, never a wrong answer.
    pub fn frame(&self, place: Place) -> Result<(Header, Bytes), ReadError> {
        let seal = self.seal(place.segment)?;
        let file = self.file(place.segment)?;
        let mut bytes = vec![0; FIRST_READ];
        let got = match file.read_at(&mut bytes, place.offset.into()) {
            Ok(got) => got,
            // It may be what stands behind the frame that the disk does not give.
            Err(_) => {
                let header = bytes.get_mut(..HEADER_LEN).unwrap_or_default();
                file.read_at(header, place.offset.into())?
            }
        };
        bytes.truncate(got);
        let header = Header::parse(&bytes).ok_or(ReadError::Damaged(place))?;
        let whole = usize::try_from(header.frame_len()).unwrap_or(usize::MAX);
        if whole > got {
            let left = file.size()?.saturating_sub(place.offset.into());
            if header.frame_len() > left {
                return Err(ReadError::Damaged(place));
            }
            bytes.resize(whole, 0);
            let rest = bytes.get_mut(got..).unwrap_or_default();
            file.read_at(rest, u64::from(place.offset) + got as u64)?;
        }
        bytes.truncate(whole);
        let (head, payload) = bytes.split_at_mut(HEADER_LEN.min(whole));
        if !header.verifies(head, payload) {
            return Err(ReadError::Damaged(place));
        }
        let content = match seal {
            Seal::Plain => 0..payload.len(),
            Seal::Sealed(cipher) => {
                let opened = cipher.open(header.clear(), payload);
                opened.map_err(|_| ReadError::Forged(place))?
            }
            Seal::Lost => return Err(ReadError::Keyless(place)),
            Seal::Foreign => return Err(ReadError::Forged(place)),
        };
        let frame = Bytes::from(bytes);
        Ok((header, frame.slice(HEADER_LEN + content.start..HEADER_LEN + content.end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_damaged_file_system_says_is_not_given() {
        let is_not_given = |errno: Errno| ReadError::Io(errno.into()).is_not_given();
        // EIO, and "Structure needs cleaning".
        assert!(is_not_given(Errno::IO) && is_not_given(Errno::UCLEAN));
        assert!(!is_not_given(Errno::NOENT) && !is_not_given(Errno::MFILE));
    }
}
