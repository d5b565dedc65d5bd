//! The thread that writes the trail: appends what waits, syncs it within a second, signs a checkpoint
//! each minute in which something was new, and begins and lets go of segments.

mod acts;
mod gaps;
mod lost;
mod noted;
mod run;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use self::acts::Intake;
use self::noted::Place;
use super::believed::Believed;
use super::bytes::{self, Kind, MAX_PAYLOAD, MAX_SEGMENT, Position, SEGMENT_LEN, SegmentHeader};
use super::checkpoint::{Checkpoint, Noted};
use super::elsewhere::Files;
use super::entry::Entry;
use super::keys::{Keys, PublicKey};
use super::open;
use super::options::Options;
use super::queue::{Chain, new_id};
use super::record;
use super::resume::{self, Beside};
use super::retain;
use crate::clock::{Clock, Stopwatch, UnixMillis};
use crate::event::Sequence;
use crate::secret;
use crate::store::disk::{AppendFile, Disk};

/// Bytes that wait for a disk that does not take them; what comes behind waits in the queue.
const CARRIED: usize = 4 << 20;
/// How long what is written may not be on stable storage.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How often a checkpoint is signed, if something is new.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked for what is to go.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// A segment is ended after this part of the retention, so that it can go.
const PARTS: u32 = 60;

/// The segment that is written to.
struct Head {
    file: Box<dyn AppendFile>,
    number: u32,
    /// Bytes of whole frames.
    len: u64,
    /// How long it may become.
    most: u64,
    begun: Stopwatch,
    /// Whether an append has failed: there may be part of it.
    torn: bool,
    /// Whether something is not on stable storage yet.
    dirty: bool,
    /// Whether a sync has failed: another one would say nothing.
    unsure: bool,
    /// Whether it was found to be gone, and how: nothing more may be written to it.
    lost: Option<&'static str>,
}

/// What there is once the trail is open.
struct Opened {
    keys: Keys,
    trail: u64,
    head: Head,
}

/// Writes the trail.
pub(super) struct Writer {
    chain: Arc<Chain>,
    pub(super) disk: Arc<dyn Disk>,
    dir: PathBuf,
    pub(super) clock: Clock,
    pub(super) options: Options,
    opened: Option<Opened>,
    /// What is to be appended, and where the chain is behind it.
    unwritten: Vec<u8>,
    /// Records in that.
    pending: u64,
    position: Position,
    /// Where it is with what was appended.
    appended: Position,
    /// Operators' acts that are taken in with what is to be appended.
    intake: Intake,
    /// How far they are with each record of the segment.
    noted: noted::Noted,
    /// Checkpoints on their way elsewhere.
    files: Files,
    /// What a start has not found, and is to be recorded.
    missing: Option<&'static str>,
    /// What is left of a segment whose beginning has failed.
    left_over: Option<PathBuf>,
    /// Whether the key is marked as new still.
    new_key: bool,
    /// Whether it was looked for what is missing.
    looked: bool,
    /// The last record that is no checkpoint, and the last that a checkpoint is about.
    newest: Sequence,
    vouched: Sequence,
    since_sync: Stopwatch,
    since_checkpoint: Stopwatch,
    /// `None`: not yet.
    since_sweep: Option<Stopwatch>,
    since_open: Option<Stopwatch>,
    /// What time it is as far as the clock is believed.
    pub(super) believed: Believed,
    /// The latest time that a record has.
    latest: Option<UnixMillis>,
    failing: bool,
    /// The room that segments take which were read for it.
    pub(super) rooms: retain::Rooms,
    /// Copies of segments on their way to the archive.
    pub(super) copies: retain::Copies,
}

/// What went wrong, in words.
type Failure = (&'static str, io::Error);

impl Writer {
    pub(super) fn new(
        chain: Arc<Chain>,
        disk: Arc<dyn Disk>,
        store: &Path,
        clock: Clock,
        options: Options,
    ) -> Self {
        let watch = || clock.stopwatch();
        Self {
            chain,
            disk,
            dir: store.join(bytes::DIR),
            opened: None,
            unwritten: Vec::new(),
            pending: 0,
            position: Position::START,
            appended: Position::START,
            intake: Intake::default(),
            noted: noted::Noted::none(),
            files: Files::default(),
            missing: None,
            left_over: None,
            new_key: false,
            looked: false,
            newest: Sequence(0),
            vouched: Sequence(0),
            since_sync: watch(),
            since_checkpoint: watch(),
            since_sweep: None,
            since_open: None,
            believed: Believed::at(&clock, None, false),
            latest: None,
            failing: false,
            rooms: retain::Rooms::default(),
            copies: retain::Copies::default(),
            clock,
            options,
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    #[cfg(test)]
    pub(super) fn finish_files(&mut self, most: Duration) {
        self.files.finish(most);
    }

    /// As if no other segment could have been begun for long.
    #[cfg(test)]
    pub(super) fn fill_segment(&mut self) {
        let head = &mut self.opened.as_mut().unwrap().head;
        head.most = head.len;
    }

    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> Option<&Keys> {
        self.opened.as_ref().map(|opened| &opened.keys)
    }

    /// The key that checkpoints are signed with, and the trail's number.
    pub(super) fn identity(&self) -> Option<(PublicKey, u64)> {
        self.opened.as_ref().map(|opened| (*opened.keys.signer.public(), opened.trail))
    }

    /// A sign of life from within what takes long.
    pub(super) fn busy(&self) {
        self.chain.busy();
    }

    /// The number of the segment that is written to.
    pub(super) fn head_number(&self) -> u32 {
        self.opened.as_ref().map_or(0, |opened| opened.head.number)
    }

    /// Bytes of whole frames in it.
    pub(super) fn head_len(&self) -> u64 {
        self.opened.as_ref().map_or(0, |opened| opened.head.len)
    }

    /// Goes on where the trail ends, in a segment of its own.
    pub(super) fn open(&mut self) -> io::Result<()> {
        self.since_open = Some(self.clock.stopwatch());
        self.disk.create_dir(&self.dir)?;
        let begun = self.has_segments()?;
        let keys = Keys::load(&*self.disk, &self.dir, begun)?;
        self.new_key = keys.is_new;
        let found = open::find(&*self.disk, &self.dir, keys.signer.public(), keys.is_new)?;
        if !std::mem::replace(&mut self.looked, true) {
            self.missing = lost::missing(&*self.disk, &self.dir, &found, keys.is_new);
        }
        let trail = match found.trail {
            Some(trail) => trail,
            None => {
                let mut bytes = [0; 8];
                secret::random(&mut bytes)?;
                u64::from_le_bytes(bytes)
            }
        };
        let end = (found.behind, found.acts);
        let resume = resume::find(&*self.disk, &self.dir, keys.signer.public(), end)?;
        self.believed = Believed::at(&self.clock, resume.newest, resume.capped);
        self.latest = resume.latest;
        self.position = found.position;
        self.intake = Intake::at(Place { upto: found.acts, mark: resume.acts_mark });
        // Whoever reads what is on stable storage knows by then whose it is.
        self.chain.opened(&keys);
        let head = self.begin_from(&keys, trail, found.behind, found.torn)?;
        self.opened = Some(Opened { keys, trail, head });
        self.tell_missing();
        self.tell_gaps();
        Ok(())
    }

    /// Makes the segment behind number `last`. It opens with a checkpoint, and is on stable storage.
    fn begin(&mut self, keys: &Keys, trail: u64, last: u32, torn: u64) -> io::Result<Head> {
        self.remove_left_over()?;
        let number = last.checked_add(1).ok_or(io::ErrorKind::StorageFull)?;
        let now = self.clock.now();
        let follows = self.position;
        let header = SegmentHeader { number, trail, created_at: now, follows };
        let place = self.intake.place();
        let noted = Noted { torn, opens: u64::from(number), ..self.noted_at(&place) };
        let checkpoint = Checkpoint::sign(&keys.signer, trail, follows, now, noted);
        let (mut position, mut start) = (follows, header.encode().to_vec());
        let acts_mark = place.mark.as_deref();
        let body = serde_json::to_vec(&Beside { checkpoint: &checkpoint, acts_mark })?;
        position.push(Kind::Checkpoint, &body, &mut start);
        let path = bytes::path(&self.dir, number);
        let mut file = self.disk.create(&path)?;
        let written = file
            .append(&start)
            .and_then(|()| file.sync())
            .and_then(|()| self.disk.sync_dir(&self.dir));
        if let Err(error) = written {
            self.left_over = Some(path);
            let _ = self.remove_left_over();
            return Err(error);
        }
        (self.position, self.appended) = (position, position);
        self.noted = noted::Noted::new(follows, place);
        self.chain.durable.store(position.sequence.0, Ordering::Release);
        (self.newest, self.vouched) = (position.sequence, position.sequence);
        self.since_checkpoint = self.clock.stopwatch();
        self.options.publish(&checkpoint, &mut self.files);
        let begun = self.clock.stopwatch();
        let len = start.len() as u64;
        let (torn, dirty, unsure, lost) = (false, false, false, None);
        let most = MAX_SEGMENT;
        Ok(Head { file, number, len, most, begun, torn, dirty, unsure, lost })
    }

    /// Removes what an attempt to begin a segment has left: another one must not follow the same record.
    fn remove_left_over(&mut self) -> io::Result<()> {
        let Some(path) = &self.left_over else { return Ok(()) };
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => self.disk.sync_dir(&self.dir)?,
        }
        self.left_over = None;
        Ok(())
    }

    /// What every checkpoint says.
    fn noted_at(&self, place: &Place) -> Noted {
        let (believed, latest) = (Some(self.believed.now()), self.latest);
        Noted { acts: place.upto, believed, latest, ..Noted::default() }
    }

    /// Writes these, and whatever else is due.
    pub(super) fn step(&mut self, entries: Vec<Entry>, last: bool) -> Result<(), Failure> {
        if self.opened.is_none() {
            return Ok(());
        }
        let now = self.clock.now();
        self.believed.look();
        for entry in entries {
            self.add(&entry.into_record(new_id(now), now));
        }
        if last {
            // Nobody looks again later.
            self.check_head()?;
        }
        self.append()?;
        self.take_acts(now);
        self.append()?;
        let due = self.since_checkpoint.elapsed() >= CHECKPOINT_EVERY && self.newest > self.vouched;
        if due || last {
            self.checkpoint(last)?;
        } else if self.since_sync.elapsed() >= SYNC_EVERY {
            self.sync()?;
        }
        self.settle_key();
        if !last && self.is_full() {
            self.rotate()?;
        }
        let sweeps = self.since_sweep.as_ref().is_none_or(|since| since.elapsed() >= SWEEP_EVERY);
        match self.copies.look(&self.clock) {
            _ if last => {}
            None if sweeps => self.sweep(retain::Kept::default()),
            None => {}
            Some(kept) => self.sweep(kept),
        }
        Ok(())
    }

    /// Lets go of what is to go, of which these were copied. What keeps it from going keeps nothing from being
    /// written.
    fn sweep(&mut self, kept: retain::Kept) {
        self.since_sweep = Some(self.clock.stopwatch());
        if let Err((what, error)) = retain::sweep(self, kept) {
            let max_size = self.options.retention.max_bytes;
            tracing::error!(
                target: "hookward::audit",
                what, %error, max_size,
                "the oldest segments of the audit trail do not go, and it grows on; it is tried again within an hour"
            );
        }
    }

    /// Adds a record to what is to be appended.
    pub(super) fn add(&mut self, record: &impl Serialize) {
        self.add_as(Kind::Record, record);
    }

    pub(super) fn add_as(&mut self, kind: Kind, record: &impl Serialize) {
        match serde_json::to_vec(record) {
            Ok(mut body) => {
                // No reader takes a longer one, nor what is behind it.
                if body.len() + 32 > MAX_PAYLOAD as usize {
                    body = record::stub(&body);
                }
                self.latest = self.latest.max(resume::time_of(Some(kind), &body));
                self.position.push(kind, &body, &mut self.unwritten);
                self.newest = self.position.sequence;
                self.pending += u64::from(kind != Kind::Checkpoint);
            }
            Err(error) => {
                tracing::error!(target: "hookward::audit", %error, "a record cannot be written down");
            }
        }
    }

    pub(super) fn append(&mut self) -> Result<(), Failure> {
        if self.opened.as_ref().is_some_and(|opened| opened.head.lost.is_some() || opened.head.torn)
        {
            self.check_head()?;
        }
        self.cut_torn()?;
        self.leave_full()?;
        let Some(Opened { head, .. }) = &mut self.opened else { return Ok(()) };
        if self.unwritten.is_empty() {
            return Ok(());
        }
        head.dirty = true;
        if let Err(error) = head.file.append(&self.unwritten) {
            head.torn = true;
            return Err(("writing", error));
        }
        head.len += self.unwritten.len() as u64;
        let written = std::mem::take(&mut self.pending);
        self.chain.written.fetch_add(written, Ordering::Relaxed);
        self.appended = self.position;
        self.unwritten.clear();
        self.unwritten.shrink_to(CARRIED);
        Ok(())
    }

    /// Cuts off what a write that has failed may have left.
    fn cut_torn(&mut self) -> Result<(), Failure> {
        let Some(Opened { head, .. }) = &mut self.opened else { return Ok(()) };
        if head.torn {
            let path = bytes::path(&self.dir, head.number);
            let cut = self.disk.truncate(&path, head.len);
            cut.map_err(|error| ("cutting off a torn write", error))?;
            head.torn = false;
        }
        Ok(())
    }

    /// Makes durable what was appended.
    pub(super) fn sync(&mut self) -> Result<(), Failure> {
        self.since_sync = self.clock.stopwatch();
        self.check_head()?;
        let Some(Opened { head, .. }) = &mut self.opened else { return Ok(()) };
        if !head.dirty && !head.unsure {
            return Ok(());
        }
        let synced = if head.unsure {
            // The system has marked as clean what it could not write.
            self.disk.rewrite(&bytes::path(&self.dir, head.number))
        } else {
            head.file.sync()
        };
        head.unsure = synced.is_err();
        head.dirty = synced.is_err();
        if synced.is_ok() {
            self.chain.durable.store(self.position.sequence.0, Ordering::Release);
        }
        synced.map_err(|error| ("syncing", error))
    }

    /// Signs how far the trail goes. It is on stable storage then, and so is the signature.
    pub(super) fn checkpoint(&mut self, stop: bool) -> Result<(), Failure> {
        let Some(Opened { keys, trail, .. }) = &self.opened else { return Ok(()) };
        let place = self.intake.place();
        let noted = Noted { stop, ..self.noted_at(&place) };
        let now = self.clock.now();
        let checkpoint = Checkpoint::sign(&keys.signer, *trail, self.position, now, noted);
        let acts_mark = place.mark.as_deref();
        let body = serde_json::to_value(Beside { checkpoint: &checkpoint, acts_mark });
        self.add_as(Kind::Checkpoint, &body.unwrap_or_default());
        self.noted.push(self.position, place);
        self.append()?;
        self.sync()?;
        self.vouched = self.position.sequence;
        self.newest = self.vouched;
        self.since_checkpoint = self.clock.stopwatch();
        self.options.publish(&checkpoint, &mut self.files);
        Ok(())
    }

    fn is_full(&self) -> bool {
        let Some(Opened { head, .. }) = &self.opened else { return false };
        let old = head.begun.elapsed() > self.options.retention.keep / PARTS;
        head.len > SEGMENT_LEN || (old && head.len > 4096)
    }

    /// Goes on in another segment.
    fn rotate(&mut self) -> Result<(), Failure> {
        // What only the next segment's opening speaks for, a start has found after a crash.
        if self.newest > self.vouched {
            self.checkpoint(false)?;
        } else {
            self.sync()?;
        }
        let Some(opened) = self.opened.take() else { return Ok(()) };
        let Opened { keys, trail, head } = opened;
        // A file of that number may be there already, which is none of ours.
        let next = self.begin_behind(&keys, trail, head.number);
        let (head, result) = match next {
            Ok(next) => (next, Ok(())),
            Err(error) => (head, Err(("beginning a segment", error))),
        };
        self.opened = Some(Opened { keys, trail, head });
        result?;
        self.sweep(retain::Kept::default());
        Ok(())
    }
}
