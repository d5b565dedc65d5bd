//! The writer: the one thread that appends to the journal. It takes all that has queued up, writes
//! it with one write and one sync, makes it known, and only then lets the requests of the batch go.
//!
//! A failed write or sync is final: what is on the disk is unknown from then on, and no later
//! success can change that (a kernel may report a failed sync once and forget it). Only a restart,
//! which reads everything back, can. The one exception is a write for which the disk has no room: it
//! is taken back, and events are refused until there is room again.

mod acts;
mod vigil;

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use self::acts::Asked;
use super::frame::{Batch, Kind};
use super::head::{BeginError, Head, is_full};
use super::record::{self, AttemptRecord, NewEvent};
use super::segment::{Place, SegmentHeader};
use crate::event::Sequence;
use crate::store::AcceptError;
use crate::store::backlog::{Fresh, checkpoint};
use crate::store::catalogue::End;
use crate::store::core::{Core, State};
use crate::store::index::IndexEntry;
use crate::store::indexer::IndexFeed;
use crate::store::queue::{Carry, Note, Reply, Submission, Work};
use crate::store::retention;

/// How often free space is looked at, and unsynced attempts are synced, when nothing else happens.
const TICK: Duration = Duration::from_millis(250);

/// How long a head may grow while no new segment can be begun: offsets have 32 bits.
const HARD_LIMIT: u32 = 2 << 30;
/// How soon that is tried again, and how soon a write after one that the disk had no room for.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// What must be free before events are taken again, once a write has found room: a file system may need
/// as much beside the bytes of the next one.
const KEPT_ASIDE: u64 = 64 << 10;

/// The writer's own state. Its times are on the store's clock that never steps.
#[derive(Debug)]
pub struct Writer {
    core: Arc<Core>,
    head: Head,
    next: Sequence,
    batch: Batch,
    index: IndexFeed,
    looked_at_space: Duration,
    /// A new segment is not begun before.
    rotate_at: Duration,
    /// The disk was full: no event is taken before.
    reopen_at: Duration,
    /// Attempts were not written down, for there was no room: the next batch has a checkpoint.
    lags: bool,
    /// The first segment with an event of which that is so: it and those behind it are still needed
    /// after a crash.
    unwritten: Option<u32>,
}

/// An event of the current batch: written, and not yet known to anyone.
struct Written {
    submission: Submission,
    place: Place,
}

/// Why a batch was not written.
enum WriteError {
    /// There was no room, and the journal is as it was before.
    NoRoom(io::Error),
    /// It is unknown what stands on the disk.
    Failed(io::Error),
}

impl Writer {
    /// A writer that begins a new segment, with a checkpoint of what is unsettled, and makes all of
    /// it durable. If there is no room for that, it takes nothing until there is: what is stored can
    /// be delivered meanwhile.
    ///
    /// # Errors
    /// As the file system says.
    pub fn start(core: Arc<Core>, header: SegmentHeader, index: IndexFeed) -> io::Result<Self> {
        let (head, next, now) =
            (Head::unbegun(header), header.first, core.backlog.timeline.passed());
        let mut writer = Self {
            core,
            head,
            next,
            batch: Batch::default(),
            index,
            looked_at_space: now,
            rotate_at: now,
            reopen_at: now,
            lags: false,
            unwritten: None,
        };
        writer.begin_or_wait()?;
        if !writer.has_begun() && retention::purge_at_start(&writer.core).is_some() {
            writer.begin_or_wait()?;
        }
        Ok(writer)
    }

    fn begin_or_wait(&mut self) -> io::Result<()> {
        self.begin().or_else(|error| match error.wants_room() {
            Some(full) => {
                self.wait_for_room(full);
                Ok(())
            }
            None => Err(error.into()),
        })
    }

    /// Whether there is a segment to write to.
    pub fn has_begun(&self) -> bool {
        self.head.has_begun()
    }

    /// Begins the first segment, if there is room for it by now.
    fn begin(&mut self) -> Result<(), BeginError> {
        self.core.write_again().map_err(BeginError::NotCreated)?;
        (self.head, self.next) = Head::begin(&self.core, self.head.header, &mut self.batch)?;
        self.unwritten = None;
        self.show();
        Ok(())
    }

    /// Tells the catalogue how far the journal reaches.
    fn show(&self) {
        let Head { begun_at: from, offset: upto, .. } = self.head;
        self.core.catalogue.publish(End { segment: self.head.header.number, from, upto });
    }

    fn wait_for_room(&mut self, error: &io::Error) {
        self.core.no_room(error);
        self.reopen_at = self.now() + TRY_AGAIN;
    }

    fn now(&self) -> Duration {
        self.core.backlog.timeline.passed()
    }

    /// Works until it is told to close.
    pub fn run(mut self) {
        self.look_at_space();
        loop {
            let work = self.core.queue.wait(TICK);
            if self.turn(work).is_break() {
                return;
            }
        }
    }

    /// Does all that has queued up, and tells those who waited for it. Over when that was to close.
    pub fn turn(&mut self, mut work: Work) -> ControlFlow<()> {
        if work.close {
            // The last chance for what there was no room for so far.
            self.reopen_at = self.now();
        }
        if work.close || self.now().saturating_sub(self.looked_at_space) >= TICK / 2 {
            self.look_at_space();
        }
        // Before anyone is told anything: who goes on then finds the journal at rest.
        let watched = if work.close { Ok(()) } else { self.watch() };
        match watched.and_then(|()| self.step(&mut work)) {
            // Dropping the others tells those who wait that nothing is certain.
            Ok(()) if self.core.state() != State::Failed => {
                // Acts that were decided before have been taken over: retention sees them when it looks
                // at the segment for the last time.
                if let Some(segment) = work.releases.iter().map(|release| release.segment).max() {
                    self.core.set_going(segment);
                }
                let releases = work.releases.drain(..).map(|release| release.done);
                for done in work.syncs.drain(..).chain(releases) {
                    // Who no longer waits need not know.
                    let _ = done.try_send(());
                }
            }
            Ok(()) => {}
            Err(error) => self.fail(&error, &mut work),
        }
        if !work.close {
            return ControlFlow::Continue(());
        }
        self.finish();
        ControlFlow::Break(())
    }

    fn step(&mut self, work: &mut Work) -> io::Result<()> {
        match self.core.state() {
            State::Failed => {
                refuse(work, AcceptError::Failed);
                return Ok(());
            }
            State::Low => refuse(work, AcceptError::Low),
            State::NoRoom => refuse(work, AcceptError::NoRoom),
            State::Open | State::Closing => {}
        }
        if !self.has_begun() || (self.lags && self.now() < self.reopen_at) {
            refuse(work, AcceptError::NoRoom);
            return self.put_off(work);
        }
        if self.head.is_due_for_rotation(&self.core) && self.now() >= self.rotate_at {
            self.rotate()?;
        }
        let before = self.next;
        self.batch.clear();
        let awaited = !work.syncs.is_empty() || !work.releases.is_empty() || !work.acts.is_empty();
        let Asked { acts, looks } = self.decide_acts(work);
        if work.checkpoint || self.lags {
            self.next = checkpoint::write(&self.core.backlog, self.next, &mut self.batch);
        }
        self.add_notes(&work.notes);
        let acts = self.add_acts(acts);
        // Behind acts: whatever takes an act over, then or at a restart, hears of the copy after it.
        let carried = self.add_carried(&work.carries);
        let (written, raced) = self.add_events(std::mem::take(&mut work.submissions));
        let sync = !written.is_empty() || !carried.is_empty() || awaited;
        let refusal = match self.write_batch(sync) {
            Ok(()) => {
                (self.lags, self.unwritten) = (false, None);
                let acted = self.publish_acts(acts);
                self.publish_carried(carried);
                self.publish(written);
                acts::tell_acts(acted);
                for done in looks {
                    let _ = done.try_send(());
                }
                for carry in work.carries.drain(..) {
                    let _ = carry.done.try_send(());
                }
                raced.into_iter().for_each(look_again);
                return Ok(());
            }
            Err(WriteError::NoRoom(error)) => {
                (self.next, self.lags) = (before, true);
                self.wait_for_room(&error);
                self.put_off(work).map(|()| AcceptError::NoRoom)
            }
            Err(WriteError::Failed(error)) => Err(error),
        };
        // A possible repeat is let go only now: what it may repeat is safe, or has failed.
        let answer = *refusal.as_ref().unwrap_or(&AcceptError::Failed);
        let written = written.into_iter().map(|written| written.submission);
        written.chain(raced).for_each(|submission| refuse_one(submission, answer));
        refusal.map(drop)
    }

    /// Nothing of this is written, so nothing is durable; the next checkpoint will tell. But segments
    /// may go of which all has been written before.
    fn put_off(&mut self, work: &mut Work) -> io::Result<()> {
        work.syncs.clear();
        work.carries.clear();
        work.acts.clear();
        let settled = work.notes.iter().map(|note| note.segment);
        self.unwritten = settled.chain(self.unwritten).min();
        work.releases.retain(|release| self.unwritten.is_none_or(|first| release.segment < first));
        if work.releases.is_empty() { Ok(()) } else { self.head.sync(&self.core) }
    }

    fn add_notes(&mut self, notes: &[Note]) {
        for note in notes {
            let record = AttemptRecord {
                event: note.event,
                upstream: &note.lane.name,
                number: note.number,
                attempt: note.attempt,
                excerpt: note.excerpt.as_deref(),
            };
            self.batch.push(self.next, Kind::Attempt, |out| record::encode_attempt(&record, out));
            self.next = Sequence(self.next.0 + 1);
        }
    }

    /// Adds copies of events to the batch; their old places, and what the index is to know of them.
    fn add_carried(&mut self, carries: &[Carry]) -> Vec<(Place, IndexEntry)> {
        let mut carried = Vec::new();
        for event in carries.iter().flat_map(|carry| &carry.events) {
            let start = self.batch.push(self.next, Kind::Carried, |out| {
                record::encode_carried(event.event, &event.payload, out);
            });
            let offset = self.head.offset.saturating_add(start);
            let place = Place { segment: self.head.header.number, offset };
            let (sequence, fingerprint) = (self.next, event.fingerprint);
            carried.push((event.place, IndexEntry { sequence, place, fingerprint }));
            self.next = Sequence(self.next.0 + 1);
        }
        carried
    }

    /// Adds the events to the batch; those that may be repeats of one that is stored, or that
    /// stands earlier in the batch, come back.
    fn add_events(&mut self, submissions: Vec<Submission>) -> (Vec<Written>, Vec<Submission>) {
        let mut written: Vec<Written> = Vec::with_capacity(submissions.len());
        let mut raced = Vec::new();
        let mut in_batch = hashbrown::HashSet::with_capacity(submissions.len());
        for mut submission in submissions {
            let stored = self.core.dedupe.candidates(submission.fingerprint);
            let others = self.core.dedupe.candidates(submission.other_fingerprint);
            let mut stored = stored.iter().chain(&others);
            let may_repeat = stored.any(|place| !submission.checked.contains(place))
                || in_batch.contains(&submission.other_fingerprint);
            if may_repeat || !in_batch.insert(submission.fingerprint) {
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

    fn write_batch(&mut self, sync: bool) -> Result<(), WriteError> {
        let bytes = self.batch.bytes().map_err(|e| WriteError::Failed(io::Error::other(e)))?;
        if !bytes.is_empty()
            && let Err(error) = self.head.append(bytes)
        {
            return Err(match is_full(&error).then(|| self.head.take_back(&self.core)) {
                Some(Ok(())) => WriteError::NoRoom(error),
                Some(Err(worse)) => WriteError::Failed(worse),
                None => WriteError::Failed(error),
            });
        }
        if sync { self.head.sync(&self.core).map_err(WriteError::Failed) } else { Ok(()) }
    }

    /// Makes durable events known: first to look-ups, then to the lanes, then to who waits.
    fn publish(&mut self, written: Vec<Written>) {
        if written.is_empty() {
            return self.show();
        }
        let mut entries = Vec::with_capacity(written.len());
        for Written { submission, place } in &written {
            let fingerprint = submission.fingerprint;
            self.core.dedupe.insert(fingerprint, *place);
            let sequence = submission.event.sequence;
            entries.push(IndexEntry { sequence, place: *place, fingerprint });
        }
        self.index.add(entries);
        self.core.signs.event(self.core.backlog.timeline.moment());
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
        // After the lanes know, and before anyone has an answer: who has one finds it in the next listing.
        self.show();
        for (reply, id) in replies {
            // Who no longer waits has been answered, or has gone away; the event is stored.
            drop(reply.send(Reply::Stored(id)));
        }
    }

    /// Makes known where events stand by now: to look-ups, and to the next checkpoint.
    fn publish_carried(&mut self, carried: Vec<(Place, IndexEntry)>) {
        if carried.is_empty() {
            return;
        }
        let mut moved = self.core.backlog.moved.lock();
        for (old, entry) in &carried {
            self.core.dedupe.insert(entry.fingerprint, entry.place);
            moved.insert(*old, entry.place);
        }
        drop(moved);
        self.index.add(carried.into_iter().map(|(_, entry)| entry));
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.head.sync(&self.core)?;
        let number = self.head.header.number.checked_add(1);
        let header = SegmentHeader {
            number: number.ok_or_else(|| io::Error::other("there is no segment number left"))?,
            follows: Sequence(self.next.0 - 1),
            first: self.next,
            created_at: self.core.backlog.timeline.wall(),
            ..self.head.header
        };
        match Head::begin(&self.core, header, &mut self.batch) {
            Ok((head, next)) => {
                (self.head, self.next) = (head, next);
                (self.lags, self.unwritten) = (false, None);
                self.show();
                Ok(())
            }
            // Nothing is uncertain, and the head will do for a while: descriptors may be short, or
            // room.
            Err(BeginError::NotCreated(error) | BeginError::TakenBack(error))
                if self.head.offset < HARD_LIMIT =>
            {
                tracing::warn!(target: "hookward::store", %error, "no new segment can be begun; trying again");
                self.rotate_at = self.now() + TRY_AGAIN;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn look_at_space(&mut self) {
        self.looked_at_space = self.now();
        let failed = self.core.state() == State::Failed;
        if !failed && let Err(error) = self.head.sync(&self.core) {
            return self.fail(&error, &mut Work::default());
        }
        if self.looked_at_space < self.reopen_at {
            return;
        }
        if !failed && !self.has_begun() {
            match self.begin() {
                Ok(()) => {}
                Err(BeginError::Failed(error)) => return self.fail(&error, &mut Work::default()),
                // Nothing is uncertain: it may be descriptors that are short now.
                Err(BeginError::NotCreated(error) | BeginError::TakenBack(error)) => {
                    if !is_full(&error) {
                        tracing::warn!(target: "hookward::store", %error, "no segment can be begun; trying again");
                    }
                    self.wait_for_room(&error);
                }
            }
        }
        // What lags behind is written before anything new is let in.
        if self.has_begun() && !self.lags {
            self.core.look_at_space(KEPT_ASIDE);
        }
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

    fn finish(&mut self) {
        if self.core.state() != State::Failed && self.sign_off().is_err() {
            self.core.fail();
        }
        let place = Place { segment: self.head.header.number, offset: self.head.offset };
        let clean = self.core.state() != State::Failed && self.has_begun();
        self.index.close(clean.then_some((place, Sequence(self.next.0 - 1))));
    }
}

fn refuse(work: &mut Work, error: AcceptError) {
    work.submissions.drain(..).for_each(|submission| refuse_one(submission, error));
}

fn refuse_one(submission: Submission, error: AcceptError) {
    // Who no longer waits need not know.
    drop(submission.reply.send(Reply::Refused(error)));
}

fn look_again(submission: Submission) {
    let again = Reply::Raced(Box::new((submission.event, submission.share)));
    drop(submission.reply.send(again));
}
