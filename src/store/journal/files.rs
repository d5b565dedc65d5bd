//! The journal's segment files, opened for reading: single frames by their place, and the list of
//! segments that there are.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::frame::{HEADER_LEN, Header};
use super::record;
use super::segment::{self, Place};
use crate::event::Sequence;
use crate::store::disk::{Disk, ReadFile};

/// Files kept open for reading at most.
pub const MAX_OPEN: usize = 64;
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
}

impl ReadError {
    /// Whether no later try can succeed.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Damaged(_) => true,
            Self::Io(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// Reads frames at known places.
#[derive(Debug)]
pub struct SegmentFiles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    open: Mutex<HashMap<u32, Arc<dyn ReadFile>>>,
}

impl SegmentFiles {
    /// The segments in `dir`.
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir, open: Mutex::new(HashMap::new()) }
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
        if let Some(file) = self.open.lock().get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&segment::path(&self.dir, number))?;
        let mut open = self.open.lock();
        if open.len() >= MAX_OPEN {
            open.clear();
        }
        open.insert(number, Arc::clone(&file));
        Ok(file)
    }

    /// Closes the segment's file and takes its name away.
    ///
    /// # Errors
    /// As the file system says.
    pub fn remove(&self, number: u32) -> io::Result<()> {
        self.open.lock().remove(&number);
        self.disk.remove(&segment::path(&self.dir, number))
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
        let file = self.file(place.segment)?;
        let mut bytes = vec![0; FIRST_READ];
        let got = file.read_at(&mut bytes, place.offset.into())?;
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
        let mut frame = Bytes::from(bytes);
        let head = frame.split_to(HEADER_LEN.min(frame.len()));
        if header.verifies(&head, &frame) {
            Ok((header, frame))
        } else {
            Err(ReadError::Damaged(place))
        }
    }
}
