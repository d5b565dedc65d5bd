//! One event, and all that has happened to it.

use super::listing::Hit;
use super::question::{Question, Stop};
use super::rows::{Block, CARRIED, EventRow, ID_AT, Row as _, What, has_digest};
use super::{Segment, file};
use crate::clock::UnixMillis;
use crate::event::EventId;
use crate::store::journal::act::{ActRecord, decode_act};
use crate::store::journal::frame::Kind;
use crate::store::journal::record::{AttemptRecord, decode_attempt};
use crate::store::journal::segment::Place;
use crate::store::query::{Act, ActKind, Happening, Listed, Moment};

impl Question<'_> {
    /// The event with this id, and all that has happened to it.
    pub(super) fn history_of(&self, id: EventId) -> Result<Option<(Listed, Vec<Moment>)>, Stop> {
        let Some(hit) = self.find_id(id)? else { return Ok(None) };
        let mut places = Vec::new();
        self.deeds(&[hit.row.event], |place, _| places.push(place))?;
        // An act has a row for every upstream.
        places.dedup();
        let received = hit.record.event.received_at;
        let upstreams = hit.record.targets.clone();
        let stored = Happening::Stored { upstreams, quarantined: hit.record.quarantined };
        let mut moments = vec![
            Moment { at: received, what: Happening::Received },
            Moment { at: received, what: stored },
        ];
        for place in places {
            moments.extend(self.moment(place, hit.row.event)?);
        }
        Ok(self.listed(vec![hit])?.pop().map(|listed| (listed, moments)))
    }

    /// Where in the journal something is told of this event, in its order; `None`: what was written last may
    /// be missing.
    pub(super) fn places_of(&self, event: u64) -> Result<Option<Vec<Place>>, Stop> {
        if !self.is_fresh {
            return Ok(None);
        }
        let mut places = Vec::new();
        let may = |block: &Block| {
            let (first, last) = block.numbers;
            (first..=last).contains(&event) || block.flags & CARRIED != 0
        };
        for segment in &self.segments {
            self.events_in(segment, may, |row| {
                if row.event == event {
                    places.push(Place { segment: segment.number, offset: row.offset });
                }
            })?;
        }
        self.deeds(&[event], |place, _| places.push(place))?;
        places.sort_unstable();
        // An act has a row for every upstream.
        places.dedup();
        Ok(Some(places))
    }

    /// The id says when the event was received, so that few blocks may have it; the others are looked
    /// through only if it is not there.
    fn find_id(&self, id: EventId) -> Result<Option<Hit>, Stop> {
        let [a, b, c, d, e, f, ..] = *id.as_bytes();
        let at = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        for hinted in [true, false] {
            for segment in self.segments.iter().rev() {
                let may = |block: &Block| (block.times.0..=block.times.1).contains(&at) == hinted;
                if let Some(hit) = self.find_id_in(segment, id, may)? {
                    return Ok(Some(hit));
                }
            }
        }
        Ok(None)
    }

    fn find_id_in(
        &self,
        segment: &Segment,
        id: EventId,
        may: impl Fn(&Block) -> bool,
    ) -> Result<Option<Hit>, Stop> {
        let catalogue = &self.core.catalogue;
        let digest = catalogue.names.id(id);
        let failed = |error| self.row_error(segment.number, error);
        let path = file::path(&catalogue.dir, segment.number, What::Events);
        let (mut opened, mut bytes) = (None, Vec::new());
        let blocks = segment.events.blocks.iter().enumerate().rev();
        for (at, _) in blocks.filter(|(_, block)| may(block)) {
            let file = match &opened {
                Some(file) => file,
                None => opened.insert(self.core.files.disk().open(&path).map_err(failed)?),
            };
            segment.events.read::<EventRow>(&**file, at, &mut bytes).map_err(failed)?;
            let rows = bytes.chunks_exact(EventRow::LEN);
            for row in rows.filter(|row| has_digest(row, ID_AT, digest)).map(EventRow::take) {
                let place = Place { segment: segment.number, offset: row.offset };
                let record = self.event(place, row.event)?.filter(|record| record.event.id == id);
                if let Some(record) = record {
                    return Ok(Some(Hit { row, record }));
                }
            }
        }
        Ok(None)
    }

    fn moment(&self, place: Place, event: u64) -> Result<Option<Moment>, Stop> {
        let Some((header, payload)) = self.frame(place)? else { return Ok(None) };
        Ok(match header.kind {
            Kind::Attempt => {
                let record = decode_attempt(&payload).filter(|record| record.event.0 == event);
                record.map(|record| attempted(&record))
            }
            Kind::Act => {
                let record = decode_act(&payload).filter(|record| record.event.0 == event);
                record.map(|record| acted(&record))
            }
            _ => None,
        })
    }
}

fn attempted(record: &AttemptRecord<'_>) -> Moment {
    let AttemptRecord { upstream, number, attempt, .. } = *record;
    let what = Happening::Attempt {
        upstream: upstream.to_owned(),
        number,
        duration: attempt.duration,
        result: attempt.result,
        verdict: attempt.verdict,
        excerpt: record.excerpt.map(str::to_owned),
    };
    Moment { at: attempt.started_at, what }
}

fn acted(record: &ActRecord<'_>) -> Moment {
    let at: UnixMillis = record.at;
    let upstream = match record.upstreams.as_slice() {
        [one] if record.what == ActKind::Replayed => Some(one.name.to_owned()),
        _ => None,
    };
    let (who, reason) = (record.who.to_owned(), record.reason.map(str::to_owned));
    Moment { at, what: Happening::Act(Act { what: record.what, who, reason, upstream }) }
}
