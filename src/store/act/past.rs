//! What the journal says of one event: where it stands, and what was attempted and done with it. The
//! catalogue says where to look; if it cannot, the journal is read from the event on.

use std::collections::BTreeMap;
use std::io;

use crate::event::Sequence;
use crate::store::Verdict;
use crate::store::catalogue;
use crate::store::core::Core;
use crate::store::journal::act::{ActRecord, decode_act};
use crate::store::journal::files::ReadError;
use crate::store::journal::frame::{Header, Kind};
use crate::store::journal::record::{
    AttemptRecord, EventRecord, decode_attempt, decode_event, event_in_slice,
};
use crate::store::journal::segment::{Place, Scanned};
use crate::store::query::{ActKind, DeliveryState};

/// An event as the journal tells of it.
#[derive(Debug)]
pub(super) struct Past {
    /// Where it stands, the last copy if there are any.
    pub(super) place: Place,
    /// Whether the frame that it was stored in is there still.
    pub(super) is_first: bool,
    /// The segments it stands in, the last one first.
    pub(super) segments: Vec<u32>,
    /// The event.
    pub(super) record: EventRecord,
    /// What is known of its deliveries, by upstream.
    pub(super) deliveries: BTreeMap<String, Known>,
    /// Whether an operator has dropped it while it was kept back.
    pub(super) discarded: bool,
}

/// What is known of a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Attempts made so far.
    pub(super) attempts: u32,
    /// How it came to its end; `None`: it was still to be made.
    pub(super) end: Option<DeliveryState>,
    /// The segment that the event stood in when it was given up.
    pub(super) dead_in: Option<u32>,
}

impl Past {
    /// The event with this number; `None`: it is not there (any more). What has not been written when it
    /// is called is not seen.
    ///
    /// # Errors
    /// As the file system says, or when what may be the event cannot be read.
    pub(super) fn read(core: &Core, event: Sequence) -> io::Result<Option<Self>> {
        if let Some(places) = catalogue::places_of(core, event)
            && let Ok(Some(past)) = Self::at(core, event, &places)
        {
            return Ok(Some(past));
        }
        Self::scan(core, event)
    }

    /// By what stands in these places.
    fn at(core: &Core, event: Sequence, places: &[Place]) -> Result<Option<Self>, ReadError> {
        let mut reading = Reading::default();
        for &place in places {
            let (header, payload) = core.files.frame(place)?;
            reading.frame(event, place, &header, &payload);
        }
        Ok(reading.finish())
    }

    fn scan(core: &Core, event: Sequence) -> io::Result<Option<Self>> {
        let mut reading = Reading::default();
        let mut unread = None;
        for number in segments_from(core, event) {
            let scanner = match core.files.scan(number, 0, Sequence(0)) {
                Ok(scanner) => scanner,
                // Retention has let it go meanwhile.
                Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            let mut scanner = scanner;
            while let Some(scanned) = scanner.step()? {
                if let Scanned::Frame(frame) = scanned {
                    let place = Place { segment: number, offset: frame.offset };
                    reading.frame(event, place, &frame.header, frame.payload);
                }
            }
            // What stands in a segment that retention lets go is as good as gone.
            if scanner.has_unread() && !core.is_going(number) {
                unread.get_or_insert(number);
            }
        }
        match (reading.finish(), unread) {
            (None, Some(segment)) => {
                Err(io::Error::other(format!("segment {segment} cannot be read in places")))
            }
            (past, _) => Ok(past),
        }
    }
}

/// The segments that may tell of the event: from the last one that began before it on.
fn segments_from(core: &Core, event: Sequence) -> Vec<u32> {
    let segments = core.segments.lock();
    let behind = segments.partition_point(|segment| segment.header.first <= event);
    // One with a damaged header is taken to begin where the one before it does.
    let first = segments.get(behind.saturating_sub(1)).map(|segment| segment.header.first);
    let from = first.map_or(0, |first| segments.partition_point(|s| s.header.first < first));
    segments.iter().skip(from).map(|segment| segment.header.number).collect()
}

#[derive(Default)]
struct Reading {
    places: Vec<Place>,
    is_first: bool,
    record: Option<EventRecord>,
    deliveries: BTreeMap<String, Known>,
    released: bool,
    discarded: bool,
}

impl Reading {
    fn frame(&mut self, event: Sequence, place: Place, header: &Header, payload: &[u8]) {
        match header.kind {
            Kind::Event | Kind::Carried => {
                if let Some((_, payload)) =
                    event_in_slice(header, payload).filter(|(sequence, _)| *sequence == event)
                    && let Some(record) = decode_event(event, &payload.to_vec().into())
                {
                    self.places.push(place);
                    self.is_first |= header.kind == Kind::Event;
                    self.record = Some(record);
                }
            }
            Kind::Attempt => {
                if let Some(attempt) = decode_attempt(payload).filter(|a| a.event == event) {
                    self.attempt(&attempt);
                }
            }
            Kind::Act => {
                if let Some(act) = decode_act(payload).filter(|act| act.event == event) {
                    self.act(&act);
                }
            }
            Kind::Lane | Kind::CheckpointEnd | Kind::Presence => {}
        }
    }

    fn attempt(&mut self, attempt: &AttemptRecord<'_>) {
        let known = self.deliveries.entry(attempt.upstream.to_owned()).or_default();
        known.attempts = known.attempts.max(attempt.number);
        (known.end, known.dead_in) = match attempt.attempt.verdict {
            Verdict::Delivered => (Some(DeliveryState::Delivered), None),
            Verdict::RetryAt(_) => (None, None),
            Verdict::Dead => {
                (Some(DeliveryState::Dead), self.places.last().map(|place| place.segment))
            }
        };
    }

    fn act(&mut self, act: &ActRecord<'_>) {
        match act.what {
            ActKind::Replayed => {}
            ActKind::Released => self.released = true,
            ActKind::Discarded => {
                let kept_back = self.record.as_ref().is_some_and(|record| record.quarantined);
                self.discarded |= kept_back && !self.released;
            }
        }
        let end = (act.what == ActKind::Discarded).then_some(DeliveryState::Discarded);
        for upstream in &act.upstreams {
            let known = self.deliveries.entry(upstream.name.to_owned()).or_default();
            known.attempts = known.attempts.max(upstream.attempts);
            (known.end, known.dead_in) = (end, None);
        }
    }

    fn finish(self) -> Option<Past> {
        let Self { places, is_first, record, deliveries, discarded, .. } = self;
        let segments = places.iter().rev().map(|place| place.segment).collect();
        let place = *places.last()?;
        Some(Past { place, is_first, segments, record: record?, deliveries, discarded })
    }
}
