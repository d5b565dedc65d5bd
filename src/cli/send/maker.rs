//! The events that `send` sends: made one after the other, of the preset's samples or of the
//! source's own shape.

use crate::clock::UnixMillis;
use crate::config::Source;
use crate::event::normalize_type;
use crate::provider::generic;
use crate::provider::sample::{self, Outgoing, Sample};

/// When events happen that are made without a preset and with an id of the user's.
const FIXED_TIME: UnixMillis = UnixMillis(1_736_937_000_000);

/// Makes one event after the other.
pub(in crate::cli) struct Maker<'a> {
    source: &'a Source,
    event: Option<&'a str>,
    id: Option<&'a str>,
    samples: Vec<&'static Sample>,
    made: usize,
    rng: fastrand::Rng,
}

impl<'a> Maker<'a> {
    /// Of the events of this type, or of all types in turn, and all known by this id, or each by
    /// its own.
    pub(in crate::cli) fn new(
        source: &'a Source,
        event: Option<&'a str>,
        id: Option<&'a str>,
    ) -> Self {
        let mut samples: Vec<&Sample> = match (source.preset, event) {
            (None, _) => Vec::new(),
            (Some(preset), Some(event)) => sample::find(preset, event)
                .or_else(|| sample::nearest(preset, event))
                .into_iter()
                .collect(),
            (Some(preset), None) => sample::all(preset).filter(|s| !s.handshake).collect(),
        };
        if id.is_some() {
            samples.truncate(1);
        }
        Self { source, event, id, samples, made: 0, rng: fastrand::Rng::new() }
    }

    /// The next event, which happens now.
    pub(in crate::cli) fn next(&mut self, now: UnixMillis) -> Outgoing {
        let sample = self.samples.get(self.made % self.samples.len().max(1)).copied();
        self.made += 1;
        let time = match self.id {
            Some(_) => stable_time(self.source, now),
            None => Some(now),
        };
        let id = match (self.id, sample) {
            (Some(id), _) => id.to_owned(),
            (None, Some(sample)) => sample.new_id(&mut self.rng),
            (None, None) => format!("sample_{:016x}", self.rng.u64(..)),
        };
        match sample {
            Some(sample) => sample.event(self.event.unwrap_or(sample.event_type), &id, time),
            None => {
                let event = self.event.map_or_else(|| wanted_type(self.source), str::to_owned);
                generic::event(self.source, &event, &id, time.unwrap_or(FIXED_TIME))
            }
        }
    }
}

/// When an event happened whose id the user gave: the same bytes again and again are what makes
/// it a repeat, so the time stands still, as far as the source's `max_event_age` lets it.
pub(super) fn stable_time(source: &Source, now: UnixMillis) -> Option<UnixMillis> {
    let age = u64::try_from(source.max_event_age?.as_millis()).unwrap_or(u64::MAX);
    let step = (age / 2).max(1);
    Some(UnixMillis(now.0 - now.0 % step))
}

/// An event name that the source's `events` let through.
fn wanted_type(source: &Source) -> String {
    let pattern = source.events.iter().flatten().next();
    let name = pattern.map_or_else(|| "sample.created".to_owned(), |p| p.0.replace('*', "sample"));
    normalize_type(Some(&name))
}
