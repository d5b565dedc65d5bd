//! Verifying: every frame of every segment, whether what is in it is understood, and whether
//! everything is there that should be.

use std::ops::ControlFlow;

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};

use super::index::{IndexContent, IndexState};
use super::walk::{Seen, Walked, walk};
use super::{Finding, InspectError, Journal, What};
use crate::event::{BodyHash, Sequence};
use crate::store::Verdict;
use crate::store::backlog::checkpoint::{LaneRecord, QUARANTINE, decode_end, decode_lane};
use crate::store::journal::act::{ActRecord, decode_act};
use crate::store::journal::frame::Kind;
use crate::store::journal::presence::decode_presence;
use crate::store::journal::record::{
    AttemptRecord, EventRecord, decode_attempt, decode_event, event_in_slice,
};
use crate::store::journal::segment::{Frame, Place};
use crate::store::query::ActKind;

/// What verifying came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segments that were read.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Good frames.
    pub frames: u64,
    /// Events among them.
    pub events: u64,
    /// Copies of events that retention has carried on.
    pub carried: u64,
    /// The first good frame's number, and the last one's.
    pub sequences: Option<(Sequence, Sequence)>,
    /// Findings that are damage.
    pub damages: u64,
    /// Findings that are not.
    pub notes: u64,
}

impl Verified {
    /// Whether nothing is damaged.
    pub fn is_clean(&self) -> bool {
        self.damages == 0
    }
}

/// Reads everything, and tells every finding as it comes, until `tell` says break.
///
/// # Errors
/// As the file system says; damage is told.
pub fn verify(
    journal: &Journal,
    tell: &mut dyn FnMut(&Finding) -> ControlFlow<()>,
) -> Result<Verified, InspectError> {
    // Before the journal, which may grow meanwhile: the index is behind it.
    let index = IndexState::of(journal);
    let (lanes, waiting, others) = (Vec::new(), HashMap::new(), HashSet::new());
    let done = Verified::default();
    let mut verify = Verify { tell, lanes, waiting, others, done, stopped: false };
    let walked = walk(journal, |seen| match seen {
        Seen::Segment(_, bytes) => {
            verify.done.segments += 1;
            verify.done.bytes += bytes;
            ControlFlow::Continue(())
        }
        Seen::Finding(finding) => {
            verify.lanes.clear();
            verify.found(&finding)
        }
        Seen::Frame(segment, frame) => verify.frame(segment, &frame),
    })?;
    if !verify.stopped {
        verify.look_for_waiting(journal)?;
        verify.look_at_end(&index, &walked);
    }
    Ok(verify.done)
}

struct Verify<'t> {
    tell: &'t mut dyn FnMut(&Finding) -> ControlFlow<()>,
    /// Parts of a checkpoint that has not ended yet.
    lanes: Vec<LaneRecord>,
    /// What waited by the last whole checkpoint and has not been settled since, by lane and event.
    waiting: HashMap<(String, Sequence), Place>,
    /// Lanes in which events wait at an operator's word.
    others: HashSet<String>,
    done: Verified,
    stopped: bool,
}

impl Verify<'_> {
    fn found(&mut self, finding: &Finding) -> ControlFlow<()> {
        if finding.what.is_damage() {
            self.done.damages += 1;
        } else {
            self.done.notes += 1;
        }
        let flow = (self.tell)(finding);
        self.stopped |= flow.is_break();
        flow
    }

    fn frame(&mut self, segment: u32, frame: &Frame<'_>) -> ControlFlow<()> {
        let (sequence, kind) = (frame.header.sequence, frame.header.kind);
        self.done.frames += 1;
        let (first, _) = self.done.sequences.unwrap_or((sequence, sequence));
        self.done.sequences = Some((first, sequence));
        let found = |what| {
            let at = Place { segment, offset: frame.offset };
            Finding::at(at, what).of(sequence)
        };
        let in_checkpoint = matches!(kind, Kind::Lane | Kind::CheckpointEnd);
        if !in_checkpoint && !self.lanes.is_empty() {
            self.lanes.clear();
            self.found(&found(What::PartialCheckpoint))?;
        }
        let finding = match kind {
            Kind::Event | Kind::Carried => {
                self.event(Place { segment, offset: frame.offset }, frame)
            }
            Kind::Attempt => match decode_attempt(frame.payload) {
                Some(attempt) => {
                    self.attempt(&attempt);
                    None
                }
                None => Some(What::NotUnderstood),
            },
            Kind::Lane => match decode_lane(frame.payload) {
                Some(lane) => {
                    self.lanes.push(lane);
                    None
                }
                None => Some(What::NotUnderstood),
            },
            Kind::CheckpointEnd => self.checkpoint(frame.payload),
            Kind::Act => match decode_act(frame.payload) {
                Some(act) => {
                    self.act(&act);
                    None
                }
                None => Some(What::NotUnderstood),
            },
            Kind::Presence => {
                decode_presence(frame.payload).is_none().then_some(What::NotUnderstood)
            }
        };
        finding.map_or(ControlFlow::Continue(()), |what| self.found(&found(what)))
    }

    fn event(&mut self, place: Place, frame: &Frame<'_>) -> Option<What> {
        let is_copy = frame.header.kind == Kind::Carried;
        *if is_copy { &mut self.done.carried } else { &mut self.done.events } += 1;
        let opened = event_in_slice(&frame.header, frame.payload)
            .and_then(|(event, payload)| decode_event(event, &Bytes::copy_from_slice(payload)));
        let Some(record) = opened else { return Some(What::NotUnderstood) };
        if is_copy && !self.waiting.is_empty() {
            self.moved(&record, place);
        }
        let body_hash = BodyHash::of(&record.event.body);
        (body_hash != record.event.body_hash).then_some(What::WrongBody)
    }

    /// What waited for the event has it here from now on.
    fn moved(&mut self, record: &EventRecord, place: Place) {
        let own = record.targets.iter().chain(&self.others).map(String::as_str);
        for lane in own.chain([QUARANTINE]) {
            let waits = self.waiting.get_mut(&(lane.to_owned(), record.event.sequence));
            waits.into_iter().for_each(|known| *known = place);
        }
    }

    fn attempt(&mut self, attempt: &AttemptRecord<'_>) {
        let settled = !matches!(attempt.attempt.verdict, Verdict::RetryAt(_));
        if settled && !self.waiting.is_empty() {
            self.waiting.remove(&(attempt.upstream.to_owned(), attempt.event));
        }
    }

    fn act(&mut self, act: &ActRecord<'_>) {
        let kept_back = match act.what {
            ActKind::Replayed => None,
            ActKind::Released | ActKind::Discarded => {
                self.waiting.remove(&(QUARANTINE.to_owned(), act.event))
            }
        };
        let place = kept_back.map_or(act.place, |place| place.max(act.place));
        for upstream in act.upstreams.iter().filter(|_| act.what != ActKind::Discarded) {
            let name = upstream.name.to_owned();
            self.others.insert(name.clone());
            self.waiting.entry((name, act.event)).or_insert(place);
        }
    }

    fn checkpoint(&mut self, payload: &[u8]) -> Option<What> {
        let lanes = std::mem::take(&mut self.lanes);
        let Some(parts) = decode_end(payload) else { return Some(What::NotUnderstood) };
        if u32::try_from(lanes.len()).ok() != Some(parts) {
            return Some(What::PartialCheckpoint);
        }
        self.waiting.clear();
        self.others.clear();
        for LaneRecord { name, entries, .. } in lanes {
            let key = |sequence| (name.clone(), sequence);
            if entries.iter().any(|entry| entry.acted_at.is_some()) {
                self.others.insert(name.clone());
            }
            self.waiting.extend(entries.iter().map(|e| (key(e.sequence), e.place)));
        }
        None
    }

    /// Everything that still waits must be where the checkpoint says.
    fn look_for_waiting(&mut self, journal: &Journal) -> Result<(), InspectError> {
        let mut waiting: Vec<(Sequence, Place)> =
            self.waiting.drain().map(|((_, sequence), place)| (sequence, place)).collect();
        waiting.sort_unstable();
        waiting.dedup();
        for (sequence, place) in waiting {
            let read = journal.files.event(place);
            let is_there = read.is_ok_and(|(event, _)| event == sequence);
            // A running gateway may have settled or carried it since, and let its segment go.
            let is_gone =
                || journal.numbers().map(|n| n.first().is_none_or(|f| *f > place.segment));
            if is_there || (journal.in_use() && is_gone()?) {
                continue;
            }
            if self.found(&Finding::at(place, What::WaitingLost).of(sequence)).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What the index knows must be in the journal, if the index can be believed.
    fn look_at_end(&mut self, index: &IndexState, walked: &Walked) {
        let Some(IndexContent { progress: Some(known), .. }) = index.content().copied() else {
            return;
        };
        let same = walked.upto.is_none() || walked.journal == known.journal;
        if index.is_trusted() && same && known.last > walked.last {
            let first = Sequence(walked.last.0 + 1);
            let end = walked.upto.unwrap_or(known.upto);
            let finding = Finding::at(end, What::EndMissing).of_frames(first, Some(known.last));
            let _ = self.found(&finding);
        }
    }
}
