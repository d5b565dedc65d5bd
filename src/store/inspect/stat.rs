//! A store in figures.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use super::history::History;
use super::index::{IndexState, bytes_in};
use super::{DeliveryState, EventState, InspectError, Journal};
use crate::clock::UnixMillis;
use crate::event::Sequence;

/// A store in figures.
#[derive(Debug)]
pub struct Stat {
    /// Whether a process has the store.
    pub in_use: bool,
    /// Segments of the journal.
    pub segments: u64,
    /// The oldest one's number, and the newest one's.
    pub numbers: Option<(u32, u32)>,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the audit trail.
    pub audit_bytes: u64,
    /// The first frame's number, and the last one's.
    pub sequences: Option<(Sequence, Sequence)>,
    /// Events, those included that were given up and cannot be read any more.
    pub events: u64,
    /// Events by source, as far as they can be read.
    pub sources: BTreeMap<String, u64>,
    /// Events by what became of them.
    pub states: BTreeMap<EventState, u64>,
    /// Deliveries by upstream.
    pub upstreams: BTreeMap<String, UpstreamCounts>,
    /// When the oldest event was received, and the newest.
    pub received: Option<(UnixMillis, UnixMillis)>,
    /// Places that are damaged; what they are is for verifying to say.
    pub damages: u64,
    /// The index.
    pub index: IndexState,
    /// Bytes that may still be written to the file system.
    pub free: Option<u64>,
    /// What retention waits for; `None` in a journal without a segment.
    pub expiry: Option<Expiry>,
}

/// Deliveries to one upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamCounts {
    /// Still to be made.
    pub pending: u64,
    /// Made.
    pub delivered: u64,
    /// Given up.
    pub dead: u64,
    /// Given up, and dropped by an operator.
    pub discarded: u64,
    /// Settled, and how is lost.
    pub unknown: u64,
}

impl UpstreamCounts {
    fn of(&mut self, state: DeliveryState) -> &mut u64 {
        match state {
            DeliveryState::Pending => &mut self.pending,
            DeliveryState::Delivered => &mut self.delivered,
            DeliveryState::Dead => &mut self.dead,
            DeliveryState::Discarded => &mut self.discarded,
            DeliveryState::Unknown => &mut self.unknown,
        }
    }
}

/// When the oldest segment goes, and what is carried on then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Its number.
    pub segment: u32,
    /// No event in it was stored later; `None`: it is the head, which new events go into.
    pub ended_at: Option<UnixMillis>,
    /// The first event that is not settled, and the segment it stands in: if it is not by then, it is
    /// copied to the head before that segment goes.
    pub unsettled: Option<(Sequence, u32)>,
}

impl Expiry {
    /// When the segment is past this retention, by the wall clock.
    pub fn due(&self, retention: Duration) -> Option<UnixMillis> {
        self.ended_at.map(|at| at.after(retention))
    }
}

/// Reads all of the store.
///
/// # Errors
/// As the file system says; damage is counted.
pub fn stat(journal: &Journal) -> Result<Stat, InspectError> {
    let index = IndexState::of(journal);
    let mut damages = 0;
    let history = History::read(journal, &mut |finding| {
        damages += u64::from(finding.what.is_damage());
    })?;
    let segments = *history.segments();
    let mut stat = Stat {
        in_use: journal.in_use(),
        segments: segments.count,
        numbers: segments.first.zip(segments.last).map(|(first, last)| (first.number, last.number)),
        bytes: segments.bytes,
        audit_bytes: bytes_in(&journal.store().join("audit")).unwrap_or(0),
        sequences: history.sequences(),
        events: 0,
        sources: BTreeMap::new(),
        states: BTreeMap::new(),
        upstreams: BTreeMap::new(),
        received: None,
        damages,
        index,
        free: journal.free_space(),
        expiry: None,
    };
    let unsettled = stat.count(&history, journal)?;
    stat.expiry = segments.first.map(|first| Expiry {
        segment: first.number,
        ended_at: segments.second.map(|second| second.created_at),
        unsettled,
    });
    Ok(stat)
}

impl Stat {
    /// Counts the events; the first one that is not settled.
    fn count(
        &mut self,
        history: &History,
        journal: &Journal,
    ) -> Result<Option<(Sequence, u32)>, InspectError> {
        let mut unsettled = None;
        let mut given_up = history.given_up()?;
        history.events(journal, |recorded| {
            self.events += 1;
            given_up.remove(&recorded.sequence);
            change(&mut self.sources, recorded.head.source, |events| *events += 1);
            *self.states.entry(recorded.state).or_default() += 1;
            let at = recorded.head.received_at;
            let (oldest, newest) = self.received.unwrap_or((at, at));
            self.received = Some((oldest.min(at), newest.max(at)));
            for delivery in &recorded.deliveries {
                change(&mut self.upstreams, delivery.upstream, |counts: &mut UpstreamCounts| {
                    *counts.of(delivery.state) += 1;
                });
            }
            if matches!(recorded.state, EventState::Pending | EventState::Quarantined) {
                unsettled.get_or_insert((recorded.sequence, recorded.place.segment));
            }
            ControlFlow::Continue(())
        })?;
        // What is left was not come upon: its frame is damaged.
        for upstreams in given_up.into_values() {
            self.events += 1;
            *self.states.entry(EventState::Dead).or_default() += 1;
            for upstream in upstreams {
                change(&mut self.upstreams, upstream, |counts: &mut UpstreamCounts| {
                    counts.dead += 1;
                });
            }
        }
        Ok(unsettled)
    }
}

/// A new name is copied only once.
fn change<V: Default>(map: &mut BTreeMap<String, V>, name: &str, how: impl FnOnce(&mut V)) {
    match map.get_mut(name) {
        Some(value) => how(value),
        None => how(map.entry(name.to_owned()).or_default()),
    }
}
