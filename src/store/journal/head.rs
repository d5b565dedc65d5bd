//! The head of the journal: the segment that is written to. It knows how to begin, how to grow, and
//! how to take back what did not fit the disk.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::frame::Batch;
use super::presence::Presence;
use super::segment::{self, SegmentHeader};
use crate::event::Sequence;
use crate::store::backlog::checkpoint;
use crate::store::core::{Core, Segment};
use crate::store::crypt::{FRAMES_AT, KeyId, MasterKey, SLOTS_AT, Sealer, SegmentSecret, Slot};
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
    /// The configured key that its own key was put under when it was begun.
    key: Option<KeyId>,
}

/// The key of a segment that is to be begun: as it stands in the file, and as it is used.
struct NewKey {
    slot: Slot,
    sealer: Sealer,
}

impl NewKey {
    /// A random key, kept under the first configured one; `None` if the segment is to be in clear.
    fn for_segment(core: &Core, header: &SegmentHeader) -> io::Result<Option<Self>> {
        let Some(index_key) = core.index_key.as_ref().filter(|_| header.encrypted) else {
            return Ok(None);
        };
        let keys = core.files.keys();
        let key = keys.current().ok_or_else(|| io::Error::other("no key is configured"))?;
        let secret = SegmentSecret::generate(index_key)?;
        let cipher = secret.cipher(header.journal, header.number).map_err(io::Error::other)?;
        let plain_upto = core.plain_upto();
        core.files.set_plain_upto(plain_upto);
        let slot = Slot::wrap(&secret, header.journal, header.number, plain_upto, key)?;
        Ok(Some(Self { slot, sealer: Sealer::new(cipher) }))
    }
}

impl Head {
    /// A segment that still has to be begun.
    pub fn unbegun(header: SegmentHeader) -> Self {
        let begun = Duration::ZERO;
        Self { header, file: None, begun, begun_at: 0, offset: 0, dirty: false, key: None }
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
        let key = NewKey::for_segment(core, &header).map_err(BeginError::NotCreated)?;
        let path = segment::path(core.files.dir(), header.number);
        let mut file = core.files.disk().create(&path).map_err(BeginError::NotCreated)?;
        let (slot, sealer) = key.map(|key| (key.slot, key.sealer)).unzip();
        let before = batch.turn_to(sealer);
        let (offset, next) = match Self::write(core, &mut *file, header, slot.as_ref(), batch) {
            Ok(written) => written,
            Err(error) => {
                // The head stays the one before, if that will do.
                batch.turn_to(before);
                let passes = is_full(&error) || is_shortage(&error);
                return Err(match passes {
                    true => Self::take_away(core, &mut *file, header.number, error),
                    false => BeginError::Failed(error),
                });
            }
        };
        let begun = core.backlog.timeline.passed();
        core.segments.lock().push(Segment { header, begun: Some(begun) });
        let (file, key) = (Some(file), slot.map(|slot| slot.key()));
        let head = Self { header, file, begun, begun_at: offset, offset, dirty: false, key };
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
        slot: Option<&Slot>,
        batch: &mut Batch,
    ) -> io::Result<(u32, Sequence)> {
        let next = checkpoint::write(&core.backlog, header.first, batch);
        let (now, retention) = (core.backlog.timeline.wall(), core.keeping().retention);
        let next = match core.signs.log(now, retention) {
            Some(log) => batch.push_presence(next, &Presence::Log(log)),
            None => next,
        };
        let mut bytes = preamble(&header, slot);
        bytes.extend_from_slice(batch.bytes().map_err(io::Error::other)?);
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

    /// Whether it is long or old enough to be ended, or under a key that is not the first any more.
    pub fn is_due_for_rotation(&self, core: &Core) -> bool {
        if self.key.is_some() && self.key != core.files.keys().current().map(MasterKey::id) {
            return true;
        }
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

/// What stands in front of the frames: the header and, in an encrypted segment, a slot that is taken
/// and one that is free.
fn preamble(header: &SegmentHeader, slot: Option<&Slot>) -> Vec<u8> {
    let mut bytes = header.encode().to_vec();
    if let Some(slot) = slot {
        let [first, _] = SLOTS_AT;
        bytes.resize(first as usize, 0);
        bytes.extend_from_slice(slot.bytes());
        bytes.resize(FRAMES_AT as usize, 0);
    }
    bytes
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
