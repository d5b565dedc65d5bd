//! What is told of events' deliveries: attempts so far, the last answer, when the next attempt is due.

use hashbrown::HashMap;

use super::listing::Hit;
use super::question::{Question, Stop};
use super::rows::{Block, Deed, DeedRow, EventRow, Row as _, What};
use super::{Segment, file};
use crate::clock::UnixMillis;
use crate::store::Verdict;
use crate::store::journal::act::decode_act;
use crate::store::journal::frame::Kind;
use crate::store::journal::record::decode_attempt;
use crate::store::journal::segment::Place;
use crate::store::query::{Delivery, DeliveryState, Listed};

/// What was done last about a delivery.
#[derive(Clone, Copy, Debug)]
struct Last {
    /// Where the first frame stands that is about it.
    first: Place,
    /// Where the last attempt stands.
    attempt: Option<Place>,
    /// Whether that is the last of all.
    is_attempt: bool,
}

/// By an event's number and the digest of the upstream's name.
type Lasts = HashMap<(u64, u64), Last>;

/// What an attempt's frame says of the delivery.
#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    attempts: u32,
    last_status: Option<u16>,
    next_at: Option<UnixMillis>,
}

impl Question<'_> {
    /// The events with what became of them.
    pub(super) fn listed(&self, hits: Vec<Hit>) -> Result<Vec<Listed>, Stop> {
        let mut events: Vec<u64> = hits.iter().map(|hit| hit.row.event).collect();
        events.sort_unstable();
        let mut lasts = Lasts::new();
        self.deeds(&events, |place, row| {
            let fresh = Last { first: place, attempt: None, is_attempt: false };
            let last = lasts.entry((row.event, row.upstream)).or_insert(fresh);
            last.is_attempt = row.deed.is_some_and(Deed::is_attempt);
            if last.is_attempt {
                last.attempt = Some(place);
            }
        })?;
        hits.into_iter().map(|hit| self.one(hit, &lasts)).collect()
    }

    fn one(&self, hit: Hit, lasts: &Lasts) -> Result<Listed, Stop> {
        let Hit { row, record } = hit;
        let names = &self.core.catalogue.names;
        let mut upstreams: Vec<(u64, String)> =
            record.targets.into_iter().map(|name| (names.upstream(&name), name)).collect();
        let of_event =
            lasts.iter().filter(|((event, digest), _)| *event == row.event && *digest != 0);
        let mut others: Vec<(Place, u64)> = of_event
            .filter(|((_, digest), _)| upstreams.iter().all(|(own, _)| own != digest))
            .map(|((_, digest), last)| (last.first, *digest))
            .collect();
        others.sort_unstable();
        for (place, digest) in others {
            if let Some(name) = self.name_at(place, digest)? {
                upstreams.push((digest, name));
            }
        }
        let (state, states) = self.states(|states| {
            let each =
                |(digest, _): &(u64, String)| self.delivery_state(states, *digest, row.event);
            let has_deliveries = !Self::is_kept_back(states, &row);
            let each = has_deliveries.then(|| upstreams.iter().map(each).collect::<Vec<_>>());
            (self.state(states, &row), each)
        });
        let mut deliveries = Vec::new();
        for ((digest, upstream), state) in upstreams.into_iter().zip(states.unwrap_or_default()) {
            let last = lasts.get(&(row.event, digest));
            let tried = match last.and_then(|last| last.attempt) {
                Some(place) => self.tried(place, row.event, digest)?,
                None => Tried::default(),
            };
            let waits = state == DeliveryState::Pending && last.is_some_and(|last| last.is_attempt);
            deliveries.push(Delivery {
                upstream,
                state,
                attempts: tried.attempts,
                last_status: tried.last_status,
                next_at: tried.next_at.filter(|_| waits),
            });
        }
        Ok(Listed { event: record.event, state, deliveries })
    }

    /// The upstream's name, as a frame says it that is about it.
    fn name_at(&self, place: Place, digest: u64) -> Result<Option<String>, Stop> {
        let Some((header, payload)) = self.frame(place)? else { return Ok(None) };
        let is_it = |name: &&str| self.core.catalogue.names.upstream(name) == digest;
        Ok(match header.kind {
            Kind::Attempt => {
                let record = decode_attempt(&payload);
                record.map(|record| record.upstream).filter(is_it).map(str::to_owned)
            }
            Kind::Act => decode_act(&payload).and_then(|record| {
                let mut names = record.upstreams.iter().map(|upstream| upstream.name);
                names.find(is_it).map(str::to_owned)
            }),
            _ => None,
        })
    }

    fn tried(&self, place: Place, event: u64, upstream: u64) -> Result<Tried, Stop> {
        let Some((header, payload)) = self.frame(place)? else { return Ok(Tried::default()) };
        let record = decode_attempt(&payload).filter(|record| {
            let is_of = self.core.catalogue.names.upstream(record.upstream) == upstream;
            header.kind == Kind::Attempt && record.event.0 == event && is_of
        });
        Ok(record.map_or_else(Tried::default, |record| Tried {
            attempts: record.number,
            last_status: record.attempt.result.status(),
            next_at: match record.attempt.verdict {
                Verdict::RetryAt(at) => Some(at),
                Verdict::Delivered | Verdict::Dead => None,
            },
        }))
    }

    /// Shows `each` the rows of events in the blocks of a segment that it `may` want.
    pub(super) fn events_in(
        &self,
        segment: &Segment,
        may: impl Fn(&Block) -> bool,
        mut each: impl FnMut(EventRow),
    ) -> Result<(), Stop> {
        let mut blocks = segment.events.blocks.iter().enumerate().filter(|(_, block)| may(block));
        let Some(first) = blocks.next() else { return Ok(()) };
        let failed = |error| self.row_error(segment.number, error);
        let path = file::path(&self.core.catalogue.dir, segment.number, What::Events);
        let file = self.core.files.disk().open(&path).map_err(failed)?;
        let mut bytes = Vec::new();
        for (at, _) in std::iter::once(first).chain(blocks) {
            segment.events.read::<EventRow>(&*file, at, &mut bytes).map_err(failed)?;
            bytes.chunks_exact(EventRow::LEN).map(EventRow::take).for_each(&mut each);
        }
        Ok(())
    }

    /// Shows `each` what was done with these events, which are in order, in the order of the journal.
    pub(super) fn deeds(
        &self,
        events: &[u64],
        mut each: impl FnMut(Place, DeedRow),
    ) -> Result<(), Stop> {
        let may = |block: &Block| {
            let (first, last) = block.numbers;
            events.get(events.partition_point(|event| *event < first)).is_some_and(|e| *e <= last)
        };
        let mut bytes = Vec::new();
        for segment in &self.segments {
            let mut blocks =
                segment.deeds.blocks.iter().enumerate().filter(|(_, block)| may(block));
            let Some(first) = blocks.next() else { continue };
            let failed = |error| self.row_error(segment.number, error);
            let path = file::path(&self.core.catalogue.dir, segment.number, What::Deeds);
            let file = self.core.files.disk().open(&path).map_err(failed)?;
            for (at, _) in std::iter::once(first).chain(blocks) {
                segment.deeds.read::<DeedRow>(&*file, at, &mut bytes).map_err(failed)?;
                for row in bytes.chunks_exact(DeedRow::LEN).map(DeedRow::take) {
                    if events.binary_search(&row.event).is_ok() {
                        each(Place { segment: segment.number, offset: row.offset }, row);
                    }
                }
            }
        }
        Ok(())
    }
}
