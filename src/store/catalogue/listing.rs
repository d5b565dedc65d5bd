//! Lists of events, page by page.

use std::ops::ControlFlow;

use super::question::{Question, Stop};
use super::rows::EventRow;
use super::scan::{Found, Wanted};
use crate::event::{Sequence, normalize_type};
use crate::store::StoredEvent;
use crate::store::journal::record::EventRecord;
use crate::store::query::{Cursor, Filter, Page};

/// A page ends when the bodies on it come to this.
const PAGE_BYTES: usize = 16 << 20;

/// An event that was found and read.
pub(super) struct Hit {
    pub(super) row: EventRow,
    pub(super) record: EventRecord,
}

impl Question<'_> {
    /// At most `limit` events, newest first.
    pub(super) fn page(
        &self,
        filter: &Filter,
        from: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, Stop> {
        let before = from.map_or(u64::MAX, |cursor| cursor.before.0);
        let mut hits: Vec<Hit> = Vec::new();
        let (mut bytes, mut is_more) = (0, false);
        self.find(&mut Wanted::new(self, filter), before, &mut |found| {
            let Some(record) = self.compare(filter, &found)? else {
                return Ok(ControlFlow::Continue(()));
            };
            bytes += record.event.body.len();
            is_more = hits.len() >= limit.max(1) || (bytes > PAGE_BYTES && !hits.is_empty());
            if is_more {
                return Ok(ControlFlow::Break(()));
            }
            hits.push(Hit { row: found.row, record });
            Ok(ControlFlow::Continue(()))
        })?;
        let last = hits.last().filter(|_| is_more);
        let next = last.map(|hit| Cursor { before: Sequence(hit.row.event) });
        Ok(Page { items: self.listed(hits)?, next })
    }

    /// The numbers of all, oldest first.
    pub(super) fn matching(&self, filter: &Filter) -> Result<Vec<Sequence>, Stop> {
        let Filter { source, state: _, kind, subject, since: _, until: _, upstream: _ } = filter;
        let is_digest = source.is_some() || kind.is_some() || subject.is_some();
        let mut events = Vec::new();
        self.find(&mut Wanted::new(self, filter), u64::MAX, &mut |found| {
            if !is_digest || self.compare(filter, &found)?.is_some() {
                events.push(Sequence(found.row.event));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        events.reverse();
        Ok(events)
    }

    /// The event itself, if it is what is wanted by its own words, too.
    fn compare(&self, filter: &Filter, found: &Found) -> Result<Option<EventRecord>, Stop> {
        let record = self.event(found.place, found.row.event)?;
        Ok(record.filter(|record| fits(filter, &record.event)))
    }
}

/// What an event says itself of what is wanted; what became of it is not part of that.
fn fits(filter: &Filter, event: &StoredEvent) -> bool {
    let Filter { source, state: _, kind, subject, since, until, upstream: _ } = filter;
    let name = || normalize_type(event.meta.provider_type.as_deref());
    source.as_ref().is_none_or(|source| source == event.source.as_str())
        && subject.as_ref().is_none_or(|subject| Some(subject) == event.meta.subject.as_ref())
        && kind.as_ref().is_none_or(|pattern| pattern.matches(&name()))
        && since.is_none_or(|since| event.received_at >= since)
        && until.is_none_or(|until| event.received_at < until)
}
