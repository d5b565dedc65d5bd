//! What became of every event, as far as the journal says. Two walks: one gathers the attempts and
//! the last checkpoint, the other shows the events, each with its end.

use std::ops::ControlFlow;

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};

use super::spill::{Came, Last, Lasts, Spill, range_of};
use super::walk::{Seen, walk};
use super::{Finding, InspectError, Journal, What};
use crate::clock::UnixMillis;
use crate::event::Sequence;
use crate::store::backlog::checkpoint::{LaneRecord, decode_end, decode_lane};
use crate::store::backlog::lane::Cursor;
use crate::store::journal::act::{ActRecord, decode_act};
use crate::store::journal::frame::Kind;
use crate::store::journal::presence::decode_presence;
use crate::store::journal::record::{
    EventHead, EventRecord, decode_attempt, decode_event, decode_event_head, event_in_slice,
};
use crate::store::journal::segment::{Frame, Place, SegmentHeader};
use crate::store::query::{ActKind, DeliveryState, EventState};

/// An event's delivery to one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The upstream.
    pub upstream: &'a str,
    /// What became of it.
    pub state: DeliveryState,
    /// Attempts that the journal knows of.
    pub attempts: u32,
    /// What the upstream answered to the last one, if it did.
    pub last_status: Option<u16>,
    /// When the next attempt is due, if one has been made.
    pub next_at: Option<UnixMillis>,
}

/// An event with what became of it.
#[derive(Debug)]
pub struct Recorded<'a> {
    /// Its number.
    pub sequence: Sequence,
    /// Where the first frame starts that it stands in.
    pub place: Place,
    /// What was read out of its frame.
    pub head: EventHead<'a>,
    /// What became of it.
    pub state: EventState,
    /// Its deliveries.
    pub deliveries: Vec<Delivery<'a>>,
    payload: &'a [u8],
}

impl Recorded<'_> {
    /// All of it; `None` if its frame is not understood.
    pub fn open(&self) -> Option<EventRecord> {
        decode_event(self.sequence, &Bytes::copy_from_slice(self.payload))
    }

    /// What there is to say if it cannot be opened.
    pub fn not_understood(&self) -> Finding {
        Finding::at(self.place, What::NotUnderstood).of(self.sequence)
    }
}

/// What became of every event up to the moment it was made.
#[derive(Debug, Default)]
pub struct History {
    /// Numbers for the names of upstreams.
    names: HashMap<String, u16>,
    attempts: Spill,
    /// Events of which there are copies: what was not settled within the retention.
    copied: HashSet<Sequence>,
    /// The last whole checkpoint, and what operators have had sent again since.
    lanes: HashMap<String, Waiting>,
    /// Upstreams that events went to at an operator's word, but not at first.
    others: HashMap<Sequence, Vec<String>>,
    /// Events that operators have let go of, or have dropped.
    released: HashSet<Sequence>,
    discarded: HashSet<Sequence>,
    checkpoint: Sequence,
    segments: Segments,
    /// The first frame there was, and the last one.
    first: Option<Sequence>,
    until: Sequence,
}

/// The journal's files.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Segments {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) first: Option<SegmentHeader>,
    pub(super) second: Option<SegmentHeader>,
    pub(super) last: Option<SegmentHeader>,
}

impl Segments {
    fn add(&mut self, header: SegmentHeader, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
        self.last = Some(header);
        if self.first.is_none() {
            self.first = Some(header);
        } else if self.second.is_none() {
            self.second = Some(header);
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    entries: HashSet<Sequence>,
    cursor: Option<Cursor>,
}

impl Waiting {
    fn holds(&self, event: Sequence) -> bool {
        let beyond = |c: &Cursor| (c.sequence..=c.last).contains(&event);
        self.entries.contains(&event) || self.cursor.as_ref().is_some_and(beyond)
    }
}

impl History {
    /// Reads all of the journal, and tells what it comes upon that is no frame.
    ///
    /// # Errors
    /// As the file system says; damage is told.
    pub fn read(journal: &Journal, tell: &mut dyn FnMut(&Finding)) -> Result<Self, InspectError> {
        let mut history = Self::default();
        let mut failure = None;
        let mut lanes = Vec::new();
        let walked = walk(journal, |seen| {
            match seen {
                Seen::Segment(header, bytes) => {
                    lanes.clear();
                    history.segments.add(header, bytes);
                }
                Seen::Finding(finding) => {
                    lanes.clear();
                    tell(&finding);
                }
                Seen::Frame(segment, frame) => {
                    history.first.get_or_insert(frame.header.sequence);
                    if let Err(error) = history.frame(segment, &frame, &mut lanes, tell) {
                        failure = Some(error);
                        return ControlFlow::Break(());
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
        history.until = walked.last;
        failure.map_or(Ok(history), Err)
    }

    /// The journal's files.
    pub(super) fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The first frame's number, and the last one's.
    pub(super) fn sequences(&self) -> Option<(Sequence, Sequence)> {
        self.first.map(|first| (first, self.until))
    }

    fn frame(
        &mut self,
        segment: u32,
        frame: &Frame<'_>,
        lanes: &mut Vec<LaneRecord>,
        tell: &mut dyn FnMut(&Finding),
    ) -> Result<(), InspectError> {
        // A checkpoint is one write: what is left of two is none.
        if !matches!(frame.header.kind, Kind::Lane | Kind::CheckpointEnd) {
            lanes.clear();
        }
        let understood = match frame.header.kind {
            Kind::Event | Kind::Carried => self.event(frame).is_some(),
            Kind::Attempt => match decode_attempt(frame.payload) {
                None => false,
                Some(attempt) => {
                    let upstream = self.number_of(attempt.upstream);
                    self.attempts.add(&attempt, upstream)?;
                    true
                }
            },
            Kind::Lane => decode_lane(frame.payload).map(|lane| lanes.push(lane)).is_some(),
            Kind::CheckpointEnd => {
                let found = std::mem::take(lanes);
                let end = decode_end(frame.payload);
                if end.is_some() && end == u32::try_from(found.len()).ok() {
                    self.checkpoint(frame.header.sequence, found);
                }
                end.is_some()
            }
            Kind::Act => match decode_act(frame.payload) {
                None => false,
                Some(act) => {
                    self.act(&act)?;
                    true
                }
            },
            Kind::Presence => decode_presence(frame.payload).is_some(),
        };
        if !understood {
            let at = Place { segment, offset: frame.offset };
            tell(&Finding::at(at, What::NotUnderstood).of(frame.header.sequence));
        }
        Ok(())
    }

    fn event(&mut self, frame: &Frame<'_>) -> Option<()> {
        let (event, payload) = event_in_slice(&frame.header, frame.payload)?;
        decode_event_head(payload)?;
        if frame.header.kind == Kind::Carried {
            self.copied.insert(event);
        }
        Some(())
    }

    fn act(&mut self, act: &ActRecord<'_>) -> Result<(), InspectError> {
        match act.what {
            ActKind::Replayed => {}
            ActKind::Released => drop(self.released.insert(act.event)),
            ActKind::Discarded => drop(self.discarded.insert(act.event)),
        }
        for upstream in &act.upstreams {
            let name = upstream.name.to_owned();
            let number = self.number_of(upstream.name);
            let came = match act.what {
                ActKind::Discarded => Came::Discarded,
                ActKind::Replayed | ActKind::Released => {
                    self.lanes.entry(name.clone()).or_default().entries.insert(act.event);
                    Came::Resumed(act.at)
                }
            };
            self.attempts.add_act(act.event, upstream.attempts, number, came)?;
            let others = self.others.entry(act.event).or_default();
            if upstream.apart && !others.contains(&name) {
                others.push(name);
            }
        }
        Ok(())
    }

    /// The same number for the same name. There are as many names as upstreams were ever configured
    /// within the retention.
    fn number_of(&mut self, upstream: &str) -> u16 {
        if let Some(number) = self.names.get(upstream) {
            return *number;
        }
        let number = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        self.names.insert(upstream.to_owned(), number);
        number
    }

    fn checkpoint(&mut self, at: Sequence, lanes: Vec<LaneRecord>) {
        self.checkpoint = at;
        self.lanes.clear();
        for LaneRecord { name, cursor, entries, .. } in lanes {
            let entries = entries.into_iter().map(|entry| entry.sequence).collect();
            self.lanes.insert(name, Waiting { entries, cursor });
        }
    }

    /// Shows every event up to the moment that the history was read, once each, where it first stands,
    /// until `visit` says break. Segments that have gone since are left out.
    ///
    /// # Errors
    /// As the file system says; damage is stepped over.
    pub fn events(
        &self,
        journal: &Journal,
        mut visit: impl FnMut(Recorded<'_>) -> ControlFlow<()>,
    ) -> Result<(), InspectError> {
        // Copies are of another time than the events they stand between.
        let (mut of_events, mut of_copies) = (Range::default(), Range::default());
        let mut shown = HashSet::new();
        let mut failure = None;
        walk(journal, |seen| {
            let Seen::Frame(segment, frame) = seen else { return ControlFlow::Continue(()) };
            if frame.header.sequence > self.until {
                return ControlFlow::Break(());
            }
            let event = event_in_slice(&frame.header, frame.payload);
            let event =
                event.and_then(|(event, bytes)| Some((event, bytes, decode_event_head(bytes)?)));
            let Some((event, payload, head)) = event else { return ControlFlow::Continue(()) };
            if self.copied.contains(&event) && !shown.insert(event) {
                return ControlFlow::Continue(());
            }
            let is_copy = frame.header.kind == Kind::Carried;
            let range = if is_copy { &mut of_copies } else { &mut of_events };
            if let Err(error) = range.go_to(event, &self.attempts) {
                failure = Some(error);
                return ControlFlow::Break(());
            }
            let deliveries = self.deliveries(event, &head, &range.lasts);
            let kept_back = head.quarantined && !self.released.contains(&event);
            let dropped = kept_back && self.discarded.contains(&event);
            let states = deliveries.iter().map(|delivery| delivery.state);
            let state = EventState::over(kept_back && !dropped, dropped, states);
            let place = Place { segment, offset: frame.offset };
            visit(Recorded { sequence: event, place, head, state, deliveries, payload })
        })?;
        failure.map_or(Ok(()), Err)
    }

    /// Deliveries that were given up, by event, of events that the journal should still have, or had lost
    /// when they were: whoever comes upon the event takes them out.
    pub(super) fn given_up(&self) -> Result<HashMap<Sequence, Vec<&str>>, InspectError> {
        let mut given_up: HashMap<Sequence, Vec<&str>> = HashMap::new();
        let names: HashMap<u16, &str> =
            self.names.iter().map(|(name, number)| (*number, name.as_str())).collect();
        for range in self.attempts.ranges() {
            for ((event, upstream), last) in self.attempts.lasts(range)? {
                let is_kept = || self.first.is_some_and(|first| event >= first);
                let lost = last.came == Came::Unreadable || (last.came == Came::Dead && is_kept());
                if lost && let Some(name) = names.get(&upstream) {
                    given_up.entry(event).or_default().push(name);
                }
            }
        }
        Ok(given_up)
    }

    fn deliveries<'f>(
        &'f self,
        event: Sequence,
        head: &EventHead<'f>,
        lasts: &Lasts,
    ) -> Vec<Delivery<'f>> {
        let of = |upstream| {
            let number = self.names.get(upstream);
            let last = number.and_then(|n| lasts.get(&(event, *n))).copied();
            self.delivery(event, upstream, last)
        };
        let mut deliveries: Vec<_> = head.targets().map(of).collect();
        // Most of these are its own, and stand there already.
        for other in self.others.get(&event).into_iter().flatten() {
            if deliveries.iter().all(|delivery| delivery.upstream != other) {
                deliveries.push(of(other));
            }
        }
        deliveries
    }

    fn delivery<'f>(&self, event: Sequence, upstream: &'f str, last: Option<Last>) -> Delivery<'f> {
        let waits = || {
            let lane = self.lanes.get(upstream);
            event > self.checkpoint || lane.is_some_and(|lane| lane.holds(event))
        };
        let state = match last.map(|last| last.came) {
            Some(Came::Delivered) => DeliveryState::Delivered,
            Some(Came::Dead | Came::Unreadable) => DeliveryState::Dead,
            Some(Came::Discarded) => DeliveryState::Discarded,
            Some(Came::RetryAt(_) | Came::Resumed(_)) | None if waits() => DeliveryState::Pending,
            Some(Came::RetryAt(_) | Came::Resumed(_)) | None => DeliveryState::Unknown,
        };
        let next_at =
            last.filter(|_| state == DeliveryState::Pending).and_then(|last| match last.came {
                Came::RetryAt(at) => Some(at),
                Came::Resumed(at) => Some(at).filter(|_| last.number > 0),
                Came::Delivered | Came::Dead | Came::Unreadable | Came::Discarded => None,
            });
        Delivery {
            upstream,
            state,
            attempts: last.map_or(0, |last| last.number),
            last_status: last.and_then(|last| last.status),
            next_at,
        }
    }
}

/// The last attempts at a range of events.
#[derive(Default)]
struct Range {
    number: Option<u64>,
    lasts: Lasts,
}

impl Range {
    /// Makes sure that it is the one that the event is in.
    fn go_to(&mut self, event: Sequence, attempts: &Spill) -> Result<(), InspectError> {
        let number = Some(range_of(event));
        if self.number != number {
            self.lasts = attempts.lasts(range_of(event))?;
            self.number = number;
        }
        Ok(())
    }
}
