//! The head of the journal: the segment that is written to. It knows how to begin, how to grow, and
//! how to take back what did not fit the disk.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::frame::Batch;
use super::segment::{self, SegmentHeader};
use crate::event::Sequence;
use crate::store::backlog::checkpoint;
use crate::store::core::{Core, Segment};
use crate::store::disk::AppendFile;

/// The segment that is written to.
#[derive(Debug)]
pub struct Head {
    /// Its header.
    pub header: SegmentHeader,
    /// `None`: it could not be begun so far, for the disk was full at the start.
    file: Option<Box<dyn AppendFile>>,
    /// When it was begun, in time passed since the store was opened.
    begun: Duration,
    /// Where its first batch started, behind the checkpoint.
    pub begun_at: u32,
    /// Where the next batch starts.
    pub offset: u32,
    /// Whether something was written and not synced.
    pub dirty: bool,
}

impl Head {
    /// A segment that still has to be begun.
    pub fn unbegun(header: SegmentHeader) -> Self {
        let begun = Duration::ZERO;
        Self { header, file: None, begun, begun_at: 0, offset: 0, dirty: false }
    }

    /// Begins a segment that opens with a checkpoint, durable before anything is added to it. Also
    /// the number of the frame that comes next.
    ///
    /// # Errors
    /// [`BeginError`].
    pub fn begin(
        core: &Core,
        header: SegmentHeader,
        batch: &mut Batch,
    ) -> Result<(Self, Sequence), BeginError> {
        let path = segment::path(core.files.dir(), header.number);
        let mut file = core.files.disk().create(&path).map_err(BeginError::NotCreated)?;
        let (offset, next) = match Self::write(core, &mut *file, header, batch) {
            Ok(written) => written,
            Err(error) if is_full(&error) || is_shortage(&error) => {
                return Err(Self::take_away(core, &mut *file, header.number, error));
            }
            Err(error) => return Err(BeginError::Failed(error)),
        };
        let begun = core.backlog.timeline.passed();
        core.segments.lock().push(Segment { header, begun: Some(begun) });
        let head = Self { header, file: Some(file), begun, begun_at: offset, offset, dirty: false };
        Ok((head, next))
    }

    /// Nothing was acknowledged from it, and no other segment was touched. It is emptied first: a
    /// power cut may bring its name back, and what its checkpoint says is not the last word any more
    /// once the segment before it goes on.
    fn take_away(
        core: &Core,
        file: &mut dyn AppendFile,
        number: u32,
        error: io::Error,
    ) -> BeginError {
        match file.discard().and_then(|()| core.files.remove(number)) {
            Ok(()) => BeginError::TakenBack(error),
            Err(worse) => BeginError::Failed(worse),
        }
    }

    /// Where its first batch is to start, and the number of the frame that comes next.
    fn write(
        core: &Core,
        file: &mut dyn AppendFile,
        header: SegmentHeader,
        batch: &mut Batch,
    ) -> io::Result<(u32, Sequence)> {
        batch.clear();
        let next = checkpoint::write(&core.backlog, header.first, batch);
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(batch.bytes());
        batch.clear();
        file.append(&bytes)?;
        file.sync()?;
        core.files.disk().sync_dir(core.files.dir())?;
        Ok((u32::try_from(bytes.len()).unwrap_or(u32::MAX), next))
    }

    /// Whether it can be written to.
    pub fn has_begun(&self) -> bool {
        self.file.is_some()
    }

    /// Whether it is long or old enough to be ended.
    pub fn is_due_for_rotation(&self, core: &Core) -> bool {
        let age = core.backlog.timeline.passed().saturating_sub(self.begun);
        let old = age >= core.segment_age() && self.offset > self.begun_at;
        old || self.offset >= self.begun_at.saturating_add(core.tuning.segment_bytes)
    }

    /// Writes `bytes` behind what there is.
    ///
    /// # Errors
    /// As the file system says. Unless [`is_full`] says so of the error and
    /// [`Head::take_back`] succeeds, what stands in the segment is then unknown.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(ErrorKind::StorageFull.into()) };
        file.append(bytes)?;
        self.offset = self.offset.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.dirty = true;
        Ok(())
    }

    /// Cuts off what is left of a write that the disk had no room for.
    ///
    /// # Errors
    /// As the file system says.
    pub fn take_back(&mut self, core: &Core) -> io::Result<()> {
        let path = segment::path(core.files.dir(), self.header.number);
        core.files.disk().truncate(&path, self.offset.into())?;
        self.dirty = false;
        Ok(())
    }

    /// Returns once all that was written is on stable storage.
    ///
    /// # Errors
    /// As the file system says; what is durable is then unknown, for good.
    pub fn sync(&mut self, core: &Core) -> io::Result<()> {
        if let Some(file) = self.file.as_mut().filter(|_| self.dirty) {
            let begun = Instant::now();
            file.sync()?;
            core.metrics.journal_synced(begun.elapsed());
            self.dirty = false;
        }
        Ok(())
    }
}

/// Why a segment could not be begun.
#[derive(Debug)]
pub enum BeginError {
    /// There is no file of it; nothing has changed.
    NotCreated(io::Error),
    /// There was no room for it, or no descriptor for its directory, and its file has been taken
    /// away again.
    TakenBack(io::Error),
    /// It is unknown what stands in its file.
    Failed(io::Error),
}

impl BeginError {
    /// The file system's error, if more room would help.
    pub fn wants_room(&self) -> Option<&io::Error> {
        match self {
            Self::TakenBack(error) | Self::NotCreated(error) => {
                Some(error).filter(|error| is_full(error))
            }
            Self::Failed(_) => None,
        }
    }
}

impl From<BeginError> for io::Error {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::NotCreated(error)
            | BeginError::TakenBack(error)
            | BeginError::Failed(error) => error,
        }
    }
}

/// Whether the error says that there is no room, for this user or for anyone.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Whether the system only had no descriptor to give.
fn is_shortage(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE))
}
