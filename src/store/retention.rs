//! Retention: a segment goes when everything in it is older than the retention, and with it the
//! dedupe keys of what was settled, so that the two never part. What is not settled by then is carried
//! to the head first: the event stays what it is, under its number, id and key, and only its place
//! is another. So what an operator has not decided, or an upstream not taken, keeps only itself.
//!
//! A thread of its own does that, a few events at a time: they are read here, and written by the
//! writer together with what comes in. A segment's name goes when its copies are on stable storage
//! and known everywhere. A crash before that leaves both, of which the lanes know one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::backlog::LaneSlot;
use super::claim::{note_lost, pull_lane};
use super::core::Core;
use super::indexer::Forgetting;
use super::journal::files::ReadError;
use super::journal::record::{as_released, decode_event_head};
use super::journal::segment::{Place, SegmentHeader};
use super::queue::Carried;
use super::rekey;
use crate::event::Sequence;

/// What is carried with one write: little enough that the events it shares its sync with hardly
/// wait longer.
const SLICE_EVENTS: usize = 64;
const SLICE_BYTES: usize = 256 << 10;

/// The thread that looks at retention.
#[derive(Debug)]
pub struct Keeper {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(core: Arc<Core>, index: Forgetting) -> io::Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let thread = std::thread::Builder::new()
            .name("retention".to_owned())
            .spawn(move || keep(&core, &index, &stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// Ends the thread. The queue has been closed, so that nothing keeps it waiting.
    pub fn stop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn keep(core: &Arc<Core>, index: &Forgetting, stopped: &Receiver<()>) {
    loop {
        let every = core.segment_age().min(core.tuning.purge_every);
        match stopped.recv_timeout(every) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Some(first) = purge(core) {
            index.forget_before(first);
        }
    }
}

/// Removes the segments that are past the retention, and carries what is unsettled in them to the
/// head before; the number of the first frame that is left, if any went. One at a time: whoever calls
/// it while a [`Keeper`] does must not.
pub fn purge(core: &Arc<Core>) -> Option<Sequence> {
    let mut first_left = None;
    while let Some((old, next)) = oldest_expired(core) {
        let lost = match carry(core, old.number) {
            Some(lost) => lost,
            None => break,
        };
        if !is_free(core, old.number, &lost) {
            break;
        }
        // What is settled in memory may not be so on disk: a crash must not find the events gone that
        // it would deliver again. On a full disk only that of other segments may still be missing.
        if !core.queue.release(old.number) {
            break;
        }
        // From here on no operator takes up anything in it, but one may have before.
        if !is_free(core, old.number, &lost) || !remove(core, &old) {
            core.set_going(old.number.saturating_sub(1));
            break;
        }
        first_left = Some(next);
    }
    if !core.plain_forgotten.load(Ordering::Relaxed) && rekey::forget_plain(core) {
        core.plain_forgotten.store(true, Ordering::Relaxed);
    }
    forget_before(core, first_left)
}

/// Removes what nothing needs when the store is being opened: nothing is settled yet but what the disk
/// says, and nothing can be carried.
pub fn purge_at_start(core: &Core) -> Option<Sequence> {
    let needed = core.backlog.oldest_segment();
    let mut first_left = None;
    while let Some((old, next)) = oldest_expired(core)
        && needed.is_none_or(|needed| needed > old.number)
        && remove(core, &old)
    {
        first_left = Some(next);
    }
    forget_before(core, first_left)
}

/// The oldest segment and the one after it, if the oldest is past the retention. Everything in it
/// was stored before the next one was begun.
fn oldest_expired(core: &Core) -> Option<(SegmentHeader, SegmentHeader)> {
    let (old, next) = match core.segments.lock().as_slice() {
        [old, next, ..] => (*old, *next),
        _ => return None,
    };
    (core.age(&next) > core.keeping().retention).then_some((old.header, next.header))
}

/// Whether nothing unsettled stands in the segment any more, but what is lost.
fn is_free(core: &Core, segment: u32, lost: &[Place]) -> bool {
    let needed = core.backlog.needed_in(segment);
    let all_read = core.backlog.lanes().iter().all(|slot| has_read(slot, segment));
    all_read && needed.iter().all(|(place, _)| lost.binary_search(place).is_ok())
}

/// Carries everything unsettled out of the segment. The places of events that are damaged there, and
/// go with it, in order; `None` if it must stay for now.
fn carry(core: &Arc<Core>, segment: u32) -> Option<Vec<Place>> {
    if !core.backlog.lanes().iter().all(|slot| pull(core, slot, segment)) {
        return None;
    }
    let mut lost = Vec::new();
    let mut unread = 0;
    let mut slice = Vec::new();
    let mut bytes = 0;
    let needed = core.backlog.needed_in(segment);
    for &(place, event) in &needed {
        match read(core, event, place) {
            Ok(carried) => {
                core.patience.given(place);
                bytes += carried.payload.len();
                slice.push(carried);
            }
            Err(error) if core.gives_up(place, &error) => {
                lose(core, event, place, &error, &mut lost)
            }
            // Only this place: the others are carried, and each that is bad has its time together.
            Err(error) if error.is_not_given() => {
                let offset = place.offset;
                tracing::error!(target: "hookward::store", sequence = %event, segment, offset, %error, "an unsettled event in an expired segment cannot be read now");
                unread += 1;
            }
            Err(error) => {
                tracing::error!(target: "hookward::store", segment, %error, "an expired segment stays, for what is unsettled in it cannot be read now");
                return None;
            }
        }
        let full = slice.len() >= SLICE_EVENTS || bytes >= SLICE_BYTES;
        if full && !core.queue.carry(std::mem::take(&mut slice)) {
            return None;
        }
        bytes = if full { 0 } else { bytes };
    }
    if !slice.is_empty() && !core.queue.carry(slice) {
        return None;
    }
    core.backlog.relocate(segment);
    let events = needed.len() - lost.len() - unread;
    if events > 0 {
        tracing::info!(target: "hookward::store", segment, events, "unsettled events are carried beyond the retention");
    }
    (unread == 0).then_some(lost)
}

/// Reads on what the lane does not hold, as far as it stands in the segment. Whether it holds all of
/// that now.
fn pull(core: &Arc<Core>, slot: &Arc<LaneSlot>, segment: u32) -> bool {
    if has_read(slot, segment) {
        return true;
    }
    let begun = slot.lane.lock().begin_pull();
    match begun {
        Some((_, 0)) => {
            let upstream = &slot.name;
            tracing::warn!(target: "hookward::store", segment, upstream, "an expired segment stays: more deliveries wait than memory may hold");
        }
        Some((cursor, room)) => pull_lane(core, Arc::clone(slot), cursor, room, segment),
        None => {}
    }
    has_read(slot, segment)
}

/// Whether what the lane does not hold begins behind the segment.
fn has_read(slot: &LaneSlot, segment: u32) -> bool {
    slot.lane.lock().cursor().is_none_or(|cursor| cursor.place.segment > segment)
}

fn read(core: &Core, event: Sequence, place: Place) -> Result<Carried, ReadError> {
    let (_, payload) = core.files.event(place)?;
    let head = decode_event_head(&payload).ok_or(ReadError::Damaged(place))?;
    let fingerprint = core.dedupe.fingerprint(&head.key);
    // The act that has released it may be gone before the copy is.
    let released = head.quarantined && !core.backlog.quarantine.lock().contains_key(&event);
    let payload = if released { as_released(&payload) } else { payload };
    Ok(Carried { event, place, fingerprint, payload })
}

/// An unsettled event that has been damaged: nobody can deliver it, and nothing keeps its segment. Its
/// deliveries are dead letters, for as long as what is written now is kept. One that somebody has taken
/// just now is given up by who reads it.
fn lose(core: &Core, event: Sequence, place: Place, error: &ReadError, lost: &mut Vec<Place>) {
    let Place { segment, offset } = place;
    tracing::error!(target: "hookward::store", sequence = %event, segment, offset, %error, "an unsettled event is lost with its segment");
    core.backlog.quarantine.lock().remove(&event);
    let newest = core.segments.lock().last().map_or(segment, |s| s.header.number);
    for slot in core.backlog.lanes() {
        let mut lane = slot.lane.lock();
        if let Some(attempts) = lane.give_up(event, newest) {
            note_lost(core, &slot, event, segment, attempts.saturating_add(1));
        }
        drop(lane);
        slot.bell.notify_one();
    }
    lost.push(place);
}

fn remove(core: &Core, old: &SegmentHeader) -> bool {
    let segment = old.number;
    if let Err(error) = core.files.remove(segment) {
        tracing::warn!(target: "hookward::store", segment, %error, "an expired segment stays");
        return false;
    }
    core.segments.lock().retain(|s| s.header.number != segment);
    // One after the other: a power cut that brought this one back, and not the next, would leave a
    // journal with a gap.
    if let Err(error) = core.files.disk().sync_dir(core.files.dir()) {
        tracing::warn!(target: "hookward::store", %error, "syncing the journal's directory failed");
    }
    true
}

/// The segments' files are gone: now what is known of them in memory.
fn forget_before(core: &Core, first_left: Option<SegmentHeader>) -> Option<Sequence> {
    let first_left = first_left?;
    core.dedupe.forget_before(first_left.number);
    core.backlog.forget_before(first_left.number);
    core.catalogue.wake();
    core.patience.forget_before(first_left.number);
    Some(first_left.first)
}
