//! What waits for the journal's writer: events and who waits for them, attempts, and what else it is
//! asked to do. Bounded by the [`Share`] that each event brings, and by the attempts in flight.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::act::{Answer, Planned};
use super::backlog::LaneSlot;
use super::journal::segment::Place;
use super::shares::Share;
use super::{AcceptError, Attempt, Recipients, StoredEvent};
use crate::event::{DedupeKey, EventId, Sequence};

/// An event that waits to be written.
#[derive(Debug)]
pub struct Submission {
    /// The event; its sequence is given when it is written.
    pub event: StoredEvent,
    /// What makes it one with its repeats.
    pub key: DedupeKey,
    /// What the dedupe table knows the key by.
    pub fingerprint: u64,
    /// What it knows the other key by that the same content may have: as a conflict, or as none.
    pub other_fingerprint: u64,
    /// Kept back until an operator decides.
    pub quarantined: bool,
    /// Whom it goes to.
    pub to: Recipients,
    /// Places with either's fingerprint that are known to hold others.
    pub checked: Vec<Place>,
    /// Its part of what the store may have in hand.
    pub share: Share,
    /// Who waits.
    pub reply: oneshot::Sender<Reply>,
}

/// What became of a submission.
#[derive(Debug)]
pub enum Reply {
    /// It is on stable storage.
    Stored(EventId),
    /// An event that may be the same was written meanwhile: look again.
    Raced(Box<(StoredEvent, Share)>),
    /// It was not written, or it is unknown whether it was.
    Refused(AcceptError),
}

/// An attempt that waits to be written.
pub struct Note {
    /// The event's number.
    pub event: Sequence,
    /// The upstream's lane.
    pub lane: Arc<LaneSlot>,
    /// Which attempt it was, counted from 1.
    pub number: u32,
    /// The segment that the event stands in.
    pub segment: u32,
    /// What happened.
    pub attempt: Attempt,
    /// The beginning of what the upstream answered, if it is kept.
    pub excerpt: Option<Box<str>>,
}

/// Without the excerpt, which may hold a patient's data.
impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Note");
        shown.field("event", &self.event).field("lane", &self.lane.name);
        shown.field("number", &self.number).field("segment", &self.segment);
        shown.field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

/// Events that are to be carried to the head of the journal.
#[derive(Debug)]
pub struct Carry {
    /// Which, a few at a time.
    pub events: Vec<Carried>,
    /// Who waits until they are on stable storage there, and known to stand there. Dropped if they
    /// are not.
    pub done: SyncSender<()>,
}

/// An event that is to be carried.
#[derive(Debug)]
pub struct Carried {
    /// Its number.
    pub event: Sequence,
    /// Where it stands.
    pub place: Place,
    /// What the dedupe table knows it by.
    pub fingerprint: u64,
    /// As it was stored.
    pub payload: Bytes,
}

/// A segment that nothing unsettled stands in any more, and that is to go.
#[derive(Debug)]
pub struct Release {
    /// Its number.
    pub segment: u32,
    /// Who waits until that is durable too. Dropped if it is not.
    pub done: SyncSender<()>,
}

/// What an operator's act asks for.
#[derive(Debug)]
pub enum Acting {
    /// To hear when every attempt before is written down and on stable storage.
    Look(SyncSender<()>),
    /// To have it done. Dropped if that cannot be written.
    Do(Box<Planned>, SyncSender<Answer>),
}

/// What has queued up for the writer.
#[derive(Debug, Default)]
pub struct Work {
    /// Events, in the order of arrival.
    pub submissions: Vec<Submission>,
    /// Attempts, in the order they were settled.
    pub notes: Vec<Note>,
    /// Events that retention has to carry.
    pub carries: Vec<Carry>,
    /// A lane has read on: write down what is unsettled, so that a restart need not read as far.
    pub checkpoint: bool,
    /// Who wants to hear when everything before is on stable storage.
    pub syncs: Vec<SyncSender<()>>,
    /// Segments that retention would let go.
    pub releases: Vec<Release>,
    /// What operators want.
    pub acts: Vec<Acting>,
    /// Finish and stop.
    pub close: bool,
}

/// What waits for the writer.
#[derive(Debug, Default)]
pub struct Queue {
    inner: Mutex<Queued>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Queued {
    work: Work,
    closed: bool,
}

impl Queue {
    /// Queues an event.
    ///
    /// # Errors
    /// [`AcceptError::Closing`] when the writer has been told to stop.
    pub fn submit(&self, submission: Submission) -> Result<(), AcceptError> {
        let mut queued = self.inner.lock();
        if queued.closed {
            return Err(AcceptError::Closing);
        }
        let first = queued.work.submissions.is_empty();
        queued.work.submissions.push(submission);
        drop(queued);
        if first {
            self.bell.notify_one();
        }
        Ok(())
    }

    /// Queues an attempt. Bounded by the attempts in flight; lost if the writer has stopped, which
    /// costs one more delivery after the restart.
    pub fn note(&self, note: Note) {
        let mut queued = self.inner.lock();
        if !queued.closed {
            queued.work.notes.push(note);
            drop(queued);
            self.bell.notify_one();
        }
    }

    /// Asks for a checkpoint.
    pub fn request_checkpoint(&self) {
        self.inner.lock().work.checkpoint = true;
        self.bell.notify_one();
    }

    /// Returns once everything that was queued before is on stable storage. Blocks. Whether it is:
    /// not when the writer has failed or stopped.
    pub fn sync(&self) -> bool {
        self.ask(|work, done| work.syncs.push(done))
    }

    /// Has events carried, and returns once that is on stable storage. Blocks. Whether it is: not when
    /// the writer has no room for it, has failed or stopped.
    pub fn carry(&self, events: Vec<Carried>) -> bool {
        self.ask(|work, done| work.carries.push(Carry { events, done }))
    }

    /// Returns once all that was settled before in this segment, and in those before it, is so on
    /// stable storage. Blocks. Whether it is: not when there was no room to write some of it down, or
    /// the writer has failed or stopped.
    pub fn release(&self, segment: u32) -> bool {
        self.ask(|work, done| work.releases.push(Release { segment, done }))
    }

    /// Returns once every attempt that was settled before is written down and on stable storage. Blocks.
    /// Whether it is.
    pub fn look(&self) -> bool {
        self.ask(|work, done| work.acts.push(Acting::Look(done)))
    }

    /// Has an act written, and returns once it is on stable storage and known to the lanes, or the writer
    /// has found that it cannot be done so. Blocks. `None`: it cannot be written.
    pub fn act(&self, planned: Planned) -> Option<Answer> {
        self.ask_for(|work, answer| work.acts.push(Acting::Do(Box::new(planned), answer)))
    }

    /// Takes the attempts that are queued.
    pub fn take_notes(&self) -> Vec<Note> {
        std::mem::take(&mut self.inner.lock().work.notes)
    }

    /// Has the writer do something, and waits until it has, or will not.
    fn ask(&self, queue: impl FnOnce(&mut Work, SyncSender<()>)) -> bool {
        self.ask_for(queue).is_some()
    }

    fn ask_for<T>(&self, queue: impl FnOnce(&mut Work, SyncSender<T>)) -> Option<T> {
        let (done, wait) = sync_channel(1);
        let mut queued = self.inner.lock();
        if queued.closed {
            return None;
        }
        queue(&mut queued.work, done);
        drop(queued);
        self.bell.notify_one();
        wait.recv().ok()
    }

    /// Has the writer turn, though there is nothing to do.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    /// Tells the writer to finish what is queued and stop.
    pub fn close(&self) {
        let mut queued = self.inner.lock();
        queued.closed = true;
        queued.work.close = true;
        drop(queued);
        self.bell.notify_one();
    }

    /// Whether an operator waits for the writer's next turn.
    #[cfg(test)]
    pub fn is_asked_to_act(&self) -> bool {
        !self.inner.lock().work.acts.is_empty()
    }

    /// Whether someone else waits for the writer's next turn.
    #[cfg(test)]
    pub fn is_awaited(&self) -> bool {
        let queued = self.inner.lock();
        let Work { syncs, carries, releases, .. } = &queued.work;
        !syncs.is_empty() || !carries.is_empty() || !releases.is_empty()
    }

    /// Takes all that is queued, or waits for something, at most for `timeout`.
    pub fn wait(&self, timeout: Duration) -> Work {
        let mut queued = self.inner.lock();
        let idle = |work: &Work| {
            let nobody =
                work.submissions.is_empty() && work.syncs.is_empty() && work.releases.is_empty();
            let idle = nobody && work.notes.is_empty() && work.carries.is_empty();
            let idle = idle && work.acts.is_empty();
            idle && !work.checkpoint && !work.close
        };
        if idle(&queued.work) {
            self.bell.wait_for(&mut queued, timeout);
        }
        std::mem::take(&mut queued.work)
    }
}
