//! Going through the rows for what a filter wants, newest first. What decides without reading anything
//! comes first: what is known of a block, then its rows, and only then what became of the events. What
//! is found here has yet to be compared with the journal, for digests of different texts may be the same.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use hashbrown::HashMap;

use super::keep::first_event;
use super::question::{Question, Stop};
use super::rows::{
    Block, CARRIED, EventRow, FILTERED, QUARANTINED, Row as _, SOURCE_AT, SUBJECT_AT, What,
    has_digest,
};
use super::states::{Members, States};
use super::{Segment, file};
use crate::config::Pattern;
use crate::event::normalize_type;
use crate::store::journal::segment::Place;
use crate::store::query::{DeliveryState, EventState, Filter};

/// Copies of events that are looked at together.
const COPIES: usize = 1024;
/// Names of events that a pattern is compared with once.
const MAX_NAMES: usize = 262_144;

/// A row that a filter may want.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) row: EventRow,
    pub(super) place: Place,
}

/// A filter, as rows are compared with it.
pub(super) struct Wanted<'f> {
    source: Option<u32>,
    subject: Option<u32>,
    kind: Option<&'f Pattern>,
    /// The digest of the one name that fits, if there is only one.
    exact: Option<u64>,
    /// Which names fit the pattern, by their digests.
    kinds: HashMap<u64, bool>,
    since: u64,
    until: u64,
    state: Option<EventState>,
    upstream: Option<u64>,
}

impl<'f> Wanted<'f> {
    pub(super) fn new(question: &Question<'_>, filter: &'f Filter) -> Self {
        let names = &question.core.catalogue.names;
        let exact = filter.kind.as_ref().filter(|pattern| !pattern.0.contains('*'));
        Self {
            source: filter.source.as_deref().map(|name| names.source(name)),
            subject: filter.subject.as_deref().map(|subject| names.subject(Some(subject))),
            kind: filter.kind.as_ref(),
            exact: exact.map(|pattern| names.kind_named(&pattern.0)),
            kinds: HashMap::new(),
            since: filter.since.map_or(0, |since| since.0),
            until: filter.until.map_or(u64::MAX, |until| until.0),
            state: filter.state,
            upstream: filter.upstream.as_deref().map(|name| names.upstream(name)),
        }
    }

    /// Whether a row of this block may be wanted, whatever became of it.
    fn block(&self, block: &Block) -> bool {
        let (first, last) = block.times;
        let flag = match self.state {
            Some(EventState::Filtered) => FILTERED,
            Some(EventState::Quarantined) => QUARANTINED,
            _ => u8::MAX,
        };
        let has_flag = flag == u8::MAX || block.flags & flag != 0;
        has_flag && first < self.until && last >= self.since
    }

    /// The events of this block that may have become what is wanted, in order; `None`: any.
    fn outcome(&self, states: &States, block: &Block) -> Option<Vec<u64>> {
        let (first, last) = block.numbers;
        let of = states.upstreams.values();
        let sets: Vec<&Members> = match self.state {
            Some(EventState::Unknown) if block.flags & QUARANTINED != 0 => return None,
            Some(EventState::Pending | EventState::Unknown) => of.map(|of| &of.open).collect(),
            Some(EventState::Dead) => of.map(|of| &of.dead).collect(),
            Some(EventState::Discarded) => {
                of.map(|of| &of.discarded).chain([&states.dropped]).collect()
            }
            Some(EventState::Delivered | EventState::Filtered | EventState::Quarantined) | None => {
                return None;
            }
        };
        let mut some = Vec::new();
        sets.into_iter().for_each(|members| members.between(first, last, &mut some));
        some.sort_unstable();
        Some(some)
    }

    /// Whether the row may be what is wanted, as far as can be told without taking it apart.
    fn bytes(&self, row: &[u8]) -> bool {
        self.source.is_none_or(|source| has_digest(row, SOURCE_AT, source))
            && self.subject.is_none_or(|subject| has_digest(row, SUBJECT_AT, subject))
    }

    /// Whether the row itself says what is wanted.
    fn row(&self, row: &EventRow) -> bool {
        (self.since..self.until).contains(&row.received_at)
    }

    /// Whether the event's name fits.
    fn kind(&mut self, question: &Question<'_>, found: &Found) -> Result<bool, Stop> {
        let Some(pattern) = self.kind else { return Ok(true) };
        let digest = found.row.kind;
        if let Some(exact) = self.exact {
            return Ok(digest == exact);
        }
        if let Some(fits) = self.kinds.get(&digest) {
            return Ok(*fits);
        }
        let fits = match question.core.catalogue.names.kind_of(digest) {
            Some(name) => pattern.matches(&name),
            None => match question.event(found.place, found.row.event)? {
                Some(record) => {
                    let provider_type = record.event.meta.provider_type.as_deref();
                    // From here on it is kept, if there is room.
                    question.core.catalogue.names.kind(provider_type);
                    pattern.matches(&normalize_type(provider_type))
                }
                // Nobody is shown it; another event of that name may be whole.
                None => return Ok(false),
            },
        };
        if self.kinds.len() < MAX_NAMES {
            self.kinds.insert(digest, fits);
        }
        Ok(fits)
    }

    /// Whether the event has become what is wanted. `own`: the upstream that is meant is among those that
    /// it was stored for. `is_plain`: it is in none of the sets.
    fn state(
        &self,
        question: &Question<'_>,
        states: &States,
        row: &EventRow,
        own: bool,
        is_plain: bool,
    ) -> bool {
        let Some(upstream) = self.upstream else {
            let Some(wanted) = self.state else { return true };
            return wanted
                == match is_plain && !row.is(QUARANTINED) {
                    true if row.is(FILTERED) => EventState::Filtered,
                    true => EventState::Delivered,
                    false => question.state(states, row),
                };
        };
        let acted = states.upstreams.get(&upstream).is_some_and(|of| of.acted.contains(row.event));
        if !own && !acted {
            return false;
        }
        let Some(wanted) = self.state else { return true };
        if Question::is_kept_back(states, row) {
            return wanted == question.state(states, row);
        }
        let state = question.delivery_state(states, upstream, row.event);
        wanted
            == match state {
                DeliveryState::Pending => EventState::Pending,
                DeliveryState::Delivered => EventState::Delivered,
                DeliveryState::Dead => EventState::Dead,
                DeliveryState::Discarded => EventState::Discarded,
                DeliveryState::Unknown => EventState::Unknown,
            }
    }
}

/// What is done with what is found.
pub(super) type Visit<'v> = &'v mut dyn FnMut(Found) -> Result<ControlFlow<()>, Stop>;

impl Question<'_> {
    /// Shows `visit` what may be wanted of the events before this number, newest first, until it says
    /// break.
    pub(super) fn find(
        &self,
        wanted: &mut Wanted<'_>,
        before: u64,
        visit: Visit<'_>,
    ) -> Result<(), Stop> {
        for segment in self.segments.iter().rev() {
            if self.find_in(segment, wanted, before, visit)?.is_break() {
                return Ok(());
            }
        }
        self.find_copies(wanted, before, visit)
    }

    /// The events that were stored in this segment first.
    fn find_in(
        &self,
        segment: &Segment,
        wanted: &mut Wanted<'_>,
        before: u64,
        visit: Visit<'_>,
    ) -> Result<ControlFlow<()>, Stop> {
        let mut rows = Rows::new(self, segment);
        for (at, block) in segment.events.blocks.iter().enumerate().rev() {
            let (first, last) = block.numbers;
            let may = first <= last && first < before && wanted.block(block);
            if !may {
                continue;
            }
            let only = self.states(|states| wanted.outcome(states, block));
            if only.as_ref().is_some_and(Vec::is_empty) {
                continue;
            }
            let is_native = |row: &EventRow| {
                let is_one = |only: &Vec<u64>| only.binary_search(&row.event).is_ok();
                !row.is(CARRIED) && row.event < before && only.as_ref().is_none_or(is_one)
            };
            let candidates = rows.candidates(at, wanted, is_native)?;
            let plain = wanted.state.is_none();
            let found = self.states(|states| {
                let special = if plain { Vec::new() } else { states.special(first, last) };
                let fits = |(found, own): &(Found, bool)| {
                    let is_plain = special.binary_search(&found.row.event).is_err();
                    wanted.state(self, states, &found.row, *own, is_plain)
                };
                candidates.into_iter().filter(fits).collect::<Vec<_>>()
            });
            for (found, _) in found.into_iter().rev() {
                if visit(found)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Copies of events whose first frames are gone: they come before all others by their numbers, and
    /// stand anywhere. Of several copies the last one counts.
    fn find_copies(
        &self,
        wanted: &mut Wanted<'_>,
        before: u64,
        visit: Visit<'_>,
    ) -> Result<(), Stop> {
        let mut before = before.min(first_event(&self.segments));
        loop {
            let mut newest: BTreeMap<u64, Found> = BTreeMap::new();
            for segment in &self.segments {
                let mut rows = Rows::new(self, segment);
                for (at, block) in segment.events.blocks.iter().enumerate() {
                    if block.flags & CARRIED == 0 || !wanted.block(block) {
                        continue;
                    }
                    let is_copy = |row: &EventRow| row.is(CARRIED) && row.event < before;
                    let candidates = rows.candidates(at, wanted, is_copy)?;
                    self.states(|states| {
                        for (found, own) in candidates {
                            if wanted.state(self, states, &found.row, own, false) {
                                newest.insert(found.row.event, found);
                            }
                        }
                    });
                    while newest.len() > COPIES {
                        newest.pop_first();
                    }
                }
            }
            let Some((first, _)) = newest.first_key_value() else { return Ok(()) };
            before = *first;
            let is_all = newest.len() < COPIES;
            for found in newest.into_values().rev() {
                if visit(found)?.is_break() {
                    return Ok(());
                }
            }
            if is_all {
                return Ok(());
            }
        }
    }
}

/// The rows of a segment's events. Its file is opened when it is needed.
struct Rows<'q> {
    question: &'q Question<'q>,
    segment: &'q Segment,
    file: Option<std::sync::Arc<dyn crate::store::disk::ReadFile>>,
    bytes: Vec<u8>,
}

impl<'q> Rows<'q> {
    fn new(question: &'q Question<'q>, segment: &'q Segment) -> Self {
        Self { question, segment, file: None, bytes: Vec::new() }
    }

    /// The rows of a block that may be wanted, whatever became of their events, in order; and whether the
    /// upstream that is meant is among those that the event was stored for.
    fn candidates(
        &mut self,
        block: usize,
        wanted: &mut Wanted<'_>,
        is_meant: impl Fn(&EventRow) -> bool,
    ) -> Result<Vec<(Found, bool)>, Stop> {
        let (question, segment) = (self.question, self.segment);
        let catalogue = &question.core.catalogue;
        let failed = |error| question.row_error(segment.number, error);
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let path = file::path(&catalogue.dir, segment.number, What::Events);
                none.insert(question.core.files.disk().open(&path).map_err(failed)?)
            }
        };
        let read = segment.events.read::<EventRow>(&**file, block, &mut self.bytes);
        read.map_err(failed)?;
        let mut candidates = Vec::new();
        let rows = self.bytes.chunks_exact(EventRow::LEN).filter(|bytes| wanted.bytes(bytes));
        let rows: Vec<EventRow> = rows.map(EventRow::take).collect();
        for row in rows {
            if !is_meant(&row) || !wanted.row(&row) {
                continue;
            }
            let place = Place { segment: segment.number, offset: row.offset };
            let found = Found { row, place };
            if !wanted.kind(question, &found)? {
                continue;
            }
            let own = match wanted.upstream {
                Some(upstream) => {
                    let recipients = catalogue.recipients(question.core, segment.number, &row);
                    recipients
                        .map_err(|error| question.journal_error(place, error))?
                        .contains(&upstream)
                }
                None => false,
            };
            candidates.push((found, own));
        }
        Ok(candidates)
    }
}
