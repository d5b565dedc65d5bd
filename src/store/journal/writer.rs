//! The writer: the one thread that appends to the journal. It takes all that has queued up, writes
//! it with one write and one sync, makes it known, and only then lets the requests of the batch go.
//!
//! A failed write or sync is final: what is on the disk is unknown from then on, and no later
//! success can change that (a kernel may report a failed sync once and forget it). Only a restart,
//! which reads everything back, can.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::frame::{Batch, Kind};
use super::record::{self, AttemptRecord, NewEvent};
use super::segment::{self, Place, SegmentHeader};
use crate::event::Sequence;
use crate::store::AcceptError;
use crate::store::backlog::{Fresh, checkpoint};
use crate::store::core::{Core, State};
use crate::store::disk::AppendFile;
use crate::store::index::IndexEntry;
use crate::store::indexer::IndexFeed;
use crate::store::queue::{Note, Reply, Submission, Work};

/// How often free space is looked at, and unsynced attempts are synced, when nothing else happens.
const TICK: Duration = Duration::from_millis(250);

/// How long a head may grow while no new segment can be begun: offsets have 32 bits.
const HARD_LIMIT: u32 = 2 << 30;
/// How soon that is tried again.
const ROTATE_AGAIN: Duration = Duration::from_secs(1);

/// The head of the journal.
#[derive(Debug)]
pub struct Head {
    header: SegmentHeader,
    file: Box<dyn AppendFile>,
    /// Where its first batch started, behind the checkpoint.
    begun_at: u32,
    /// Where the next batch starts.
    offset: u32,
    /// Whether something was written and not synced.
    dirty: bool,
}

/// The writer's own state.
#[derive(Debug)]
pub struct Writer {
    core: Arc<Core>,
    head: Head,
    next: Sequence,
    batch: Batch,
    index: IndexFeed,
    looked_at_space: Instant,
    /// A new segment is not begun before.
    rotate_at: Instant,
}

/// An event of the current batch: written, and not yet known to anyone.
struct Written {
    submission: Submission,
    place: Place,
}

impl Writer {
    /// A writer that begins a new segment, with a checkpoint of what is unsettled, and makes all of
    /// it durable.
    ///
    /// # Errors
    /// As the file system says.
    pub fn start(core: Arc<Core>, header: SegmentHeader, index: IndexFeed) -> io::Result<Self> {
        let mut batch = Batch::default();
        let path = segment::path(core.files.dir(), header.number);
        let file = core.files.disk().create(&path)?;
        let (head, next) = begin_segment(&core, file, header, &mut batch)?;
        let now = Instant::now();
        Ok(Self { core, head, next, batch, index, looked_at_space: now, rotate_at: now })
    }

    /// Works until it is told to close.
    pub fn run(mut self) {
        self.look_at_space();
        loop {
            let mut work = self.core.queue.wait(TICK);
            if self.looked_at_space.elapsed() >= TICK / 2 {
                self.look_at_space();
            }
            let close = work.close;
            match self.step(&mut work) {
                // Dropping the others tells those who wait that nothing is certain.
                Ok(()) if self.core.state() != State::Failed => {
                    for done in work.syncs.drain(..) {
                        // Who no longer waits need not know.
                        let _ = done.try_send(());
                    }
                }
                Ok(()) => {}
                Err(error) => self.fail(&error, &mut work),
            }
            if close {
                return self.finish();
            }
        }
    }

    fn step(&mut self, work: &mut Work) -> io::Result<()> {
        match self.core.state() {
            State::Failed => {
                refuse(work, AcceptError::Failed);
                return Ok(());
            }
            State::Full => refuse(work, AcceptError::Full),
            State::Open | State::Closing => {}
        }
        if self.is_due_for_rotation() && Instant::now() >= self.rotate_at {
            self.rotate()?;
        }
        self.batch.clear();
        if work.checkpoint {
            self.next = checkpoint::write(&self.core.backlog, self.next, &mut self.batch);
        }
        self.add_notes(&work.notes);
        let (written, raced) = self.add_events(std::mem::take(&mut work.submissions));
        let result = self.write_batch(!written.is_empty() || !work.syncs.is_empty());
        match result {
            Ok(()) => self.publish(written),
            Err(_) => refuse_written(written),
        }
        // A possible repeat is let go only now: what it may repeat is safe, or has failed.
        for submission in raced {
            let reply = match &result {
                Ok(()) => Reply::Raced(Box::new((submission.event, submission.share))),
                Err(_) => Reply::Refused(AcceptError::Failed),
            };
            drop(submission.reply.send(reply));
        }
        result
    }

    fn add_notes(&mut self, notes: &[Note]) {
        for note in notes {
            let record = AttemptRecord {
                event: note.event,
                upstream: &note.lane.name,
                number: note.number,
                attempt: note.attempt,
            };
            self.batch.push(self.next, Kind::Attempt, |out| record::encode_attempt(&record, out));
            self.next = Sequence(self.next.0 + 1);
        }
    }

    /// Adds the events to the batch; those that may be repeats of one that is stored, or that
    /// stands earlier in the batch, come back.
    fn add_events(&mut self, submissions: Vec<Submission>) -> (Vec<Written>, Vec<Submission>) {
        let mut written: Vec<Written> = Vec::with_capacity(submissions.len());
        let mut raced = Vec::new();
        let mut in_batch = hashbrown::HashSet::with_capacity(submissions.len());
        for mut submission in submissions {
            let stored = self.core.dedupe.candidates(&submission.key);
            let may_repeat = stored.iter().any(|place| !submission.checked.contains(place));
            if may_repeat || !in_batch.insert(submission.key.fingerprint()) {
                raced.push(submission);
                continue;
            }
            submission.event.sequence = self.next;
            let Submission { key, quarantined, ref event, ref to, .. } = submission;
            let new = NewEvent { key, quarantined, event };
            let start = self.batch.push(self.next, Kind::Event, |out| new.encode(to.names(), out));
            let offset = self.head.offset.saturating_add(start);
            let place = Place { segment: self.head.header.number, offset };
            written.push(Written { submission, place });
            self.next = Sequence(self.next.0 + 1);
        }
        (written, raced)
    }

    fn write_batch(&mut self, sync: bool) -> io::Result<()> {
        let bytes = self.batch.bytes();
        if !bytes.is_empty() {
            self.head.file.append(bytes)?;
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            self.head.offset = self.head.offset.saturating_add(len);
            self.head.dirty = true;
        }
        if sync && self.head.dirty { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        self.head.file.sync()?;
        self.core.metrics.journal_synced(begun.elapsed());
        self.head.dirty = false;
        Ok(())
    }

    /// Makes durable events known: first to look-ups, then to the lanes, then to who waits.
    fn publish(&mut self, written: Vec<Written>) {
        if written.is_empty() {
            return;
        }
        let mut entries = Vec::with_capacity(written.len());
        for Written { submission, place } in &written {
            let fingerprint = submission.key.fingerprint();
            self.core.dedupe.insert(fingerprint, *place);
            let sequence = submission.event.sequence;
            entries.push(IndexEntry { sequence, place: *place, fingerprint });
        }
        self.index.add(entries);
        let mut fresh = Vec::with_capacity(written.len());
        let mut replies = Vec::with_capacity(written.len());
        for Written { submission, place } in written {
            let Submission { mut event, to, reply, quarantined, .. } = submission;
            replies.push((reply, event.id));
            if quarantined {
                self.core.backlog.quarantine.lock().insert(event.sequence, place);
                continue;
            }
            event.body = self.core.backlog.body_to_keep(&event.body, &to);
            fresh.push(Fresh { place, to, event: Arc::new(event) });
        }
        self.core.backlog.push(&fresh);
        for (reply, id) in replies {
            // Who no longer waits has been answered, or has gone away; the event is stored.
            drop(reply.send(Reply::Stored(id)));
        }
    }

    fn is_due_for_rotation(&self) -> bool {
        let age = self.core.backlog.timeline.wall().since(self.head.header.created_at);
        let old = age >= self.core.segment_age() && self.head.offset > self.head.begun_at;
        old || self.head.offset >= self.head.begun_at.saturating_add(self.core.tuning.segment_bytes)
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.head.dirty {
            self.sync()?;
        }
        let header = SegmentHeader {
            number: self.head.header.number + 1,
            follows: Sequence(self.next.0 - 1),
            first: self.next,
            created_at: self.core.backlog.timeline.wall().max(self.head.header.created_at),
            ..self.head.header
        };
        let path = segment::path(self.core.files.dir(), header.number);
        match self.core.files.disk().create(&path) {
            Ok(file) => match begin_segment(&self.core, file, header, &mut self.batch) {
                Ok(begun) => {
                    (self.head, self.next) = begun;
                    Ok(())
                }
                // The new segment took the last descriptor, and there was none for its directory.
                // Nothing in it was promised to anybody.
                Err(error) if is_shortage(&error) => {
                    self.core.files.disk().remove(&path)?;
                    self.rotate_later(error)
                }
                Err(error) => Err(error),
            },
            Err(error) => self.rotate_later(error),
        }
    }

    /// Nothing is uncertain yet, and the head will do for a while: descriptors may be short.
    fn rotate_later(&mut self, error: io::Error) -> io::Result<()> {
        if self.head.offset >= HARD_LIMIT {
            return Err(error);
        }
        tracing::warn!(target: "hookward::store", %error, "no new segment can be begun; trying again");
        self.rotate_at = Instant::now() + ROTATE_AGAIN;
        Ok(())
    }

    fn look_at_space(&mut self) {
        self.looked_at_space = Instant::now();
        if self.head.dirty
            && self.core.state() != State::Failed
            && let Err(error) = self.sync()
        {
            return self.fail(&error, &mut Work::default());
        }
        self.core.look_at_space();
    }

    fn fail(&self, error: &io::Error, work: &mut Work) {
        self.core.fail();
        tracing::error!(
            target: "hookward::store",
            segment = self.head.header.number,
            %error,
            "writing the journal failed; no event is accepted until a restart has verified it"
        );
        refuse(work, AcceptError::Failed);
    }

    fn finish(mut self) {
        if self.head.dirty && self.core.state() != State::Failed && self.sync().is_err() {
            self.core.fail();
        }
        let place = Place { segment: self.head.header.number, offset: self.head.offset };
        let clean = self.core.state() != State::Failed;
        self.index.close(clean.then_some((place, Sequence(self.next.0 - 1))));
    }
}

/// Whether the system only had no descriptor to give.
fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE))
}

fn refuse(work: &mut Work, error: AcceptError) {
    for submission in work.submissions.drain(..) {
        drop(submission.reply.send(Reply::Refused(error)));
    }
}

fn refuse_written(written: Vec<Written>) {
    for Written { submission, .. } in written {
        drop(submission.reply.send(Reply::Refused(AcceptError::Failed)));
    }
}

/// Begins a segment that opens with a checkpoint, durable before anything is added to it.
fn begin_segment(
    core: &Core,
    mut file: Box<dyn AppendFile>,
    header: SegmentHeader,
    batch: &mut Batch,
) -> io::Result<(Head, Sequence)> {
    batch.clear();
    let next = checkpoint::write(&core.backlog, header.first, batch);
    let mut bytes = header.encode().to_vec();
    bytes.extend_from_slice(batch.bytes());
    file.append(&bytes)?;
    file.sync()?;
    core.files.disk().sync_dir(core.files.dir())?;
    core.segments.lock().push(header);
    batch.clear();
    let offset = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    Ok((Head { header, file, begun_at: offset, offset, dirty: false }, next))
}
