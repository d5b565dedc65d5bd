//! Claiming a delivery that is due, and settling it.

use std::sync::Arc;
use std::time::Duration;

use super::backlog::LaneSlot;
use super::backlog::lane::{Cursor, Entry, Known, Settled, Sign, Take, Ticks, Turn};
use super::backlog::replay::{Unread as OnUnread, is_unread, make_entry, tell_lost, walk};
use super::core::Core;
use super::journal::files::ReadError;
use super::journal::record::{EventRecord, decode_event};
use super::journal::segment::Place;
use super::queue::Note;
use super::{Attempt, AttemptResult, Store, StoredEvent, Verdict};
use crate::event::Sequence;
use crate::store::backlog::checkpoint::EntryRecord;

/// How long a lane waits before it looks at its clock again.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// A delivery that is this holder's to attempt. Dropped without [`Store::settle`], it is due again
/// at once.
#[derive(Debug)]
pub struct Claimed {
    /// The event to deliver.
    pub event: Arc<StoredEvent>,
    /// Which attempt this is, counted from 1 over restarts and replays.
    pub attempt: u32,
    /// How long after the claim it is given up. Not a time of day: a clock that is set ahead gives
    /// nothing up early.
    pub left: Duration,
    core: Arc<Core>,
    lane: Arc<LaneSlot>,
    settled: bool,
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if !self.settled {
            release(&self.core, &self.lane, self.event.sequence, Settled::PutBack, None);
        }
    }
}

impl Store {
    /// The next delivery that is due at the upstream with this lane; waits until there is one. Safe
    /// to cancel.
    pub async fn claim(&self, lane: &Arc<LaneSlot>) -> Claimed {
        loop {
            let entry = self.next_entry(lane).await;
            let attempt = entry.attempts.saturating_add(1);
            let left = self.core.backlog.timeline.until(entry.deadline);
            let claimed = |event| Claimed {
                event,
                attempt,
                left,
                core: Arc::clone(&self.core),
                lane: Arc::clone(lane),
                settled: false,
            };
            if let Some(hot) = &entry.hot {
                return claimed(Arc::clone(hot.event()));
            }
            if let Some(event) = self.read_event(lane, entry.sequence, entry.place, attempt).await {
                return claimed(event);
            }
        }
    }

    /// Records an attempt and what follows from it.
    pub fn settle(&self, claimed: Claimed, attempt: Attempt) {
        self.settle_with(claimed, attempt, None);
    }

    /// The same with the beginning of what the upstream answered, for the journal alone.
    pub fn settle_with(&self, mut claimed: Claimed, attempt: Attempt, excerpt: Option<Box<str>>) {
        claimed.settled = true;
        let (lane, sequence) = (Arc::clone(&claimed.lane), claimed.event.sequence);
        let settled = match attempt.verdict {
            Verdict::Delivered => Settled::Done,
            Verdict::Dead => Settled::Dead,
            Verdict::RetryAt(at) => Settled::RetryAt(self.core.backlog.timeline.tick_at(at)),
        };
        let sign = sign_of(attempt.result);
        let (number, note_lane) = (claimed.attempt, Arc::clone(&lane));
        let now = self.core.backlog.timeline.now();
        let carried =
            if settled == Settled::Dead { self.carried_to(&lane, sequence) } else { None };
        let mut inside = lane.lane.lock();
        // A dead letter goes with the segment that it is counted under: not with the one that its event
        // has just been carried out of.
        carried.into_iter().for_each(|place| inside.relocate_taken(sequence, place));
        // Before the lane knows: what is settled there must be durable behind the next sync. And at
        // once for whoever looks into the lane: a checkpoint behind the note must not still name it.
        let segment = inside.taken_place(sequence).map_or(0, |place| place.segment);
        let event = sequence;
        self.core.queue.note(Note { event, lane: note_lane, number, segment, attempt, excerpt });
        let turn = inside.settle(sequence, settled, sign, now);
        let waiting = inside.backlog();
        drop(inside);
        lane.bell.notify_one();
        tell(&lane.name, turn, waiting);
    }

    /// Where the event of a delivery that has been taken has been carried, if the lane does not know yet.
    fn carried_to(&self, lane: &LaneSlot, sequence: Sequence) -> Option<Place> {
        let place = lane.lane.lock().taken_place(sequence)?;
        self.core.backlog.moved.lock().get(&place).copied()
    }

    /// The upstream's configuration has changed: that it did not answer before says nothing of it. As
    /// many as `concurrency` deliver to it.
    pub fn presume_up(&self, lane: &LaneSlot, concurrency: usize) {
        lane.lane.lock().presume_up(concurrency, self.core.backlog.timeline.now());
        lane.bell.notify_one();
    }

    async fn next_entry(&self, slot: &Arc<LaneSlot>) -> Entry {
        loop {
            let bell = slot.bell.notified();
            let (take, refill) = {
                let mut lane = slot.lane.lock();
                let now = self.core.backlog.timeline.now();
                let take = match (lane.take(now), lane.refill_due(now)) {
                    (Take::Idle, Some(at)) => Take::Wait(at),
                    (Take::Wait(until), Some(at)) => Take::Wait(until.min(at)),
                    (take, _) => take,
                };
                (take, lane.begin_refill(now))
            };
            if let Some((cursor, room)) = refill {
                let (core, slot) = (Arc::clone(&self.core), Arc::clone(slot));
                let refill = move || refill_lane(&core, slot, cursor, room);
                drop(self.core.tuning.blocking.begin(refill));
            }
            match take {
                Take::Ready(entry) => {
                    // There may be more: whoever waits next finds out, and rings on.
                    slot.bell.notify_one();
                    return entry;
                }
                Take::Idle => bell.await,
                Take::Wait(until) => {
                    let now = self.core.backlog.timeline.now();
                    let wait = Duration::from_millis(until.0.saturating_sub(now.0).max(1));
                    drop(tokio::time::timeout(wait.min(LONGEST_SLEEP), bell).await);
                }
            }
        }
    }

    /// The event of a delivery that has been taken. One that is damaged is given up, loudly, and is a
    /// dead letter: no `attempt` at it can ever succeed. One that cannot be read now is put back to
    /// rest, and given up when the disk has not given it for minutes. One of which nothing was known is
    /// put back to where it belongs.
    pub(super) async fn read_event(
        &self,
        lane: &Arc<LaneSlot>,
        sequence: Sequence,
        place: Place,
        attempt: u32,
    ) -> Option<Arc<StoredEvent>> {
        let core = Arc::clone(&self.core);
        let guard = Unread { core, lane: Arc::clone(lane), sequence, armed: true };
        let (core, slot) = (Arc::clone(&self.core), Arc::clone(lane));
        let read = move || {
            let (place, read) = read_taken(&core, &slot, sequence, place);
            let is_lost = match &read {
                Ok(_) => {
                    core.patience.given(place);
                    false
                }
                Err(error) => core.gives_up(place, error),
            };
            (place, read, is_lost)
        };
        let read = self.core.tuning.blocking.begin(read).done().await;
        guard.disarm();
        let (Place { segment, offset }, read, is_lost) = match read {
            Some((place, read, is_lost)) => (place, Some(read), is_lost),
            None => (place, None, false),
        };
        let settled = match read {
            Some(Ok(record)) if learn(&self.core, lane, &record.event) => return None,
            Some(Ok(record)) => return Some(Arc::new(record.event)),
            Some(Err(error)) if is_lost => {
                let upstream = &lane.name;
                tracing::error!(target: "hookward::store", %sequence, segment, offset, upstream, %error, "an event that waits for delivery is lost and given up: it is a dead letter");
                give_up(&self.core, lane, sequence, segment, attempt);
                return None;
            }
            Some(Err(error)) => {
                tracing::error!(target: "hookward::store", %sequence, segment, offset, %error, "an event that waits for delivery cannot be read now");
                Settled::RestUntil(self.rest())
            }
            None => Settled::RestUntil(self.rest()),
        };
        release(&self.core, lane, sequence, settled, None);
        None
    }

    fn rest(&self) -> Ticks {
        let rest = u64::try_from(self.core.tuning.unreadable_rest.as_millis()).unwrap_or(u64::MAX);
        Ticks(self.core.backlog.timeline.now().0.saturating_add(rest))
    }
}

/// The event of a delivery that has been taken, from where it was or from where it has been carried
/// since; and where that is.
fn read_taken(
    core: &Core,
    slot: &LaneSlot,
    sequence: Sequence,
    mut place: Place,
) -> (Place, Result<EventRecord, ReadError>) {
    loop {
        let read = core.files.event(place);
        if read.is_err()
            && let Some(carried) = slot.lane.lock().taken_place(sequence).filter(|p| *p != place)
        {
            place = carried;
            continue;
        }
        let opened = read.and_then(|(sequence, payload)| {
            decode_event(sequence, &payload).ok_or(ReadError::Damaged(place))
        });
        return (place, opened);
    }
}

/// Puts a taken delivery back if its claim is cancelled while its event is being read.
struct Unread {
    core: Arc<Core>,
    lane: Arc<LaneSlot>,
    sequence: Sequence,
    armed: bool,
}

impl Unread {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if self.armed {
            release(&self.core, &self.lane, self.sequence, Settled::PutBack, None);
        }
    }
}

fn release(core: &Core, slot: &LaneSlot, sequence: Sequence, settled: Settled, sign: Option<Sign>) {
    let now = core.backlog.timeline.now();
    let (turn, waiting) = {
        let mut lane = slot.lane.lock();
        (lane.settle(sequence, settled, sign, now), lane.backlog())
    };
    slot.bell.notify_one();
    tell(&slot.name, turn, waiting);
}

/// What is known of an event now that it has been read. Whether nothing was before, and its delivery has
/// been put back to where it belongs.
fn learn(core: &Core, slot: &LaneSlot, event: &StoredEvent) -> bool {
    let (now, received_at) = (core.backlog.timeline.now(), event.received_at);
    let subject = core.backlog.subject(event.source.as_str(), event.meta.subject.as_deref());
    let mut lane = slot.lane.lock();
    let deadline = core.backlog.deadline(received_at, lane.rules());
    let learned = lane.learn(event.sequence, Known { subject, received_at, deadline }, now);
    drop(lane);
    if learned {
        slot.bell.notify_one();
    }
    learned
}

/// Ends a delivery that was taken and whose event is lost. It counts as a dead letter for as long as what
/// is written now is kept: the event's own segment may be just going.
fn give_up(core: &Core, slot: &Arc<LaneSlot>, sequence: Sequence, segment: u32, number: u32) {
    let now = core.backlog.timeline.now();
    let newest = core.segments.lock().last().map_or(segment, |s| s.header.number);
    let mut lane = slot.lane.lock();
    note_lost(core, slot, sequence, segment, number);
    lane.move_taken(sequence, newest);
    let turn = lane.settle(sequence, Settled::Dead, None, now);
    let waiting = lane.backlog();
    drop(lane);
    slot.bell.notify_one();
    tell(&slot.name, turn, waiting);
}

/// Records that a delivery is a dead letter because its event is lost. The caller has the lane: a
/// checkpoint behind the note must not still name it.
pub(super) fn note_lost(
    core: &Core,
    slot: &Arc<LaneSlot>,
    event: Sequence,
    segment: u32,
    number: u32,
) {
    let attempt = Attempt {
        started_at: core.backlog.timeline.wall(),
        duration: Duration::ZERO,
        result: AttemptResult::Unreadable,
        verdict: Verdict::Dead,
    };
    let lane = Arc::clone(slot);
    core.queue.note(Note { event, lane, number, segment, attempt, excerpt: None });
}

/// What operators should hear of an upstream for which so many deliveries wait.
fn tell(upstream: &str, turn: Option<Turn>, waiting: u64) {
    match turn {
        None => {}
        Some(Turn::Opened) => {
            tracing::warn!(target: "hookward::delivery", upstream, waiting, "circuit opened: the upstream fails, and only probes go to it");
        }
        Some(Turn::Answered) => {
            tracing::info!(target: "hookward::delivery", upstream, waiting, "circuit closed: the upstream answers again, and gets one more at once with each good answer");
        }
        Some(Turn::Recovered) => {
            tracing::info!(target: "hookward::delivery", upstream, waiting, "slow start over: the upstream gets as much at once as is configured");
        }
    }
}

/// What an attempt shows of the upstream. A 4xx is about the event, but for those that say that the
/// upstream is too busy.
fn sign_of(result: AttemptResult) -> Option<Sign> {
    match result {
        AttemptResult::Answered(408 | 429) => Some(Sign::Failing),
        AttemptResult::Answered(200..=299 | 400..=499) => Some(Sign::Alive),
        AttemptResult::Answered(_) => Some(Sign::Failing),
        AttemptResult::ConnectFailed | AttemptResult::TimedOut | AttemptResult::Broken => {
            Some(Sign::Silent)
        }
        AttemptResult::Panicked | AttemptResult::Unreadable => None,
    }
}

/// Reads the next events of a lane that had no room for them.
fn refill_lane(core: &Arc<Core>, slot: Arc<LaneSlot>, cursor: Cursor, room: usize) {
    read_on(core, slot, cursor, room, u32::MAX);
}

/// The same for those that stand in a segment that is to go.
pub(super) fn pull_lane(
    core: &Arc<Core>,
    slot: Arc<LaneSlot>,
    cursor: Cursor,
    room: usize,
    segment: u32,
) {
    read_on(core, slot, cursor, room, segment);
}

/// Reads on from the cursor to the end of the segment `upto`, as far as there is room.
fn read_on(core: &Arc<Core>, slot: Arc<LaneSlot>, cursor: Cursor, room: usize, upto: u32) {
    let mut refill = Refill { core: Arc::clone(core), lane: Arc::clone(&slot), done: false };
    let rules = slot.lane.lock().rules();
    let waited_long = core.patience.is_over(cursor.place, core.backlog.timeline.now());
    // While the disk cannot be written either, nothing says that what it does not give is bad for good.
    let policy =
        if waited_long && core.queue.sync() { OnUnread::SteppedOver } else { OnUnread::Ends };
    // Not what is found in the directory: a segment that is missing there has not been read.
    let numbers: Vec<u32> = core.segments.lock().iter().map(|s| s.header.number).collect();
    let mut entries = Vec::new();
    let walked = walk(&core.files, &numbers, cursor, policy, |sequence, place, head| {
        if entries.len() >= room || place.segment > upto {
            return false;
        }
        if !head.quarantined && head.targets().any(|name| name == slot.name) {
            let record = EntryRecord::untried(sequence, place);
            entries.push(make_entry(&core.backlog, rules, &record, head));
        }
        true
    });
    match walked {
        Ok((sequence, place)) => {
            core.patience.given(cursor.place);
            let now = core.backlog.timeline.now();
            let mut lane = slot.lane.lock();
            // The rules may have changed while this was reading.
            let rules = lane.rules();
            for entry in &mut entries {
                entry.deadline = core.backlog.deadline(entry.received_at, rules);
            }
            let lost = lane.refilled(entries, sequence, place, now);
            drop(lane);
            tell_lost(&slot.name, lost);
            refill.done = true;
            core.queue.request_checkpoint();
        }
        Err(error) => {
            let upstream = &slot.name;
            if is_unread(&error) {
                core.patience.failed(cursor.place, core.backlog.timeline.now());
            }
            tracing::error!(target: "hookward::store", upstream, %error, "reading the backlog failed; it is tried again");
        }
    }
}

/// A refill under way: unless it is done, even if it panics, the lane is told to try again.
struct Refill {
    core: Arc<Core>,
    lane: Arc<LaneSlot>,
    done: bool,
}

impl Drop for Refill {
    fn drop(&mut self) {
        let slot = &self.lane;
        if !self.done {
            slot.lane.lock().refill_failed(self.core.backlog.timeline.now());
        }
        slot.bell.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_about_the_event_is_a_good_answer() {
        for status in [200, 202, 204, 299, 400, 401, 404, 409, 410, 422, 425, 499] {
            assert_eq!(sign_of(AttemptResult::Answered(status)), Some(Sign::Alive), "{status}");
        }
        for status in [100, 301, 308, 408, 429, 500, 502, 503, 504, 599, 999] {
            assert_eq!(sign_of(AttemptResult::Answered(status)), Some(Sign::Failing), "{status}");
        }
        for result in [AttemptResult::ConnectFailed, AttemptResult::TimedOut, AttemptResult::Broken]
        {
            assert_eq!(sign_of(result), Some(Sign::Silent), "{result:?}");
        }
        assert_eq!(sign_of(AttemptResult::Panicked), None);
        assert_eq!(sign_of(AttemptResult::Unreadable), None);
    }
}
