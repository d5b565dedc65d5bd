//! The circuit breaker of an upstream: whether it is called, and by how many at once. Pure state.
//!
//! Closed, everything may go. When attempts fail in a row, at many different events, the circuit opens:
//! from then on a single event at a time is tried as a probe (half-open), at growing distances. Once one
//! gets a good answer, attempts go out again, first one at a time and with each good answer one more
//! (slow start), so that what has piled up does not knock the app over again.
//!
//! An event that fails by itself, however often, says nothing of the upstream: only failures at several
//! events count.

use super::Ticks;
use crate::event::Sequence;

/// Failures in a row without any answer, after which the circuit opens.
const SILENT_AFTER: u32 = 8;
/// Failures in a row of whatever kind, after which it opens.
const FAILING_AFTER: u32 = 16;
/// Over how many milliseconds they must have been at least: an upstream that answers may take at the
/// second attempt what it refused at the first, and waiting would only put that off.
const FAILING_FOR: u64 = 5_000;
/// At how many events they must have been.
const EVENTS: usize = 8;
/// The first and the longest wait between two probes, in milliseconds.
pub(super) const PROBE_FIRST: u64 = 250;
pub(super) const PROBE_MAX: u64 = 10_000;
/// The longest one after a probe that was answered: an answer costs the upstream little, and it may be
/// that the events are to blame.
const PROBE_MAX_ANSWERED: u64 = 1_000;

/// What an attempt showed of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It answered, and took the event or refused that event alone.
    Alive,
    /// It answered that it cannot take it now, or something that no app should.
    Failing,
    /// It did not answer.
    Silent,
}

/// Where the circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Everything may go.
    Closed,
    /// Nothing goes until the next probe.
    Open,
    /// A probe is on its way.
    HalfOpen,
    /// The upstream is back, or we are, and it gets more at once with each good answer.
    SlowStart,
}

impl CircuitState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Closed, Self::Open, Self::HalfOpen, Self::SlowStart];

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::SlowStart => "slow_start",
        }
    }
}

/// A change that operators should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The circuit has opened.
    Opened,
    /// A good answer has come while it was open.
    Answered,
    /// The slow start is over.
    Recovered,
}

/// What may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// Anything.
    Any,
    /// Nothing, until what is taken is settled.
    Full,
    /// One delivery, as a probe.
    Probe,
    /// Only what has reached its deadline. The next probe is due then, if none is on its way.
    LastChance(Option<Ticks>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { probe_at: Ticks, wait: u64 },
    HalfOpen { probe: Sequence, wait: u64 },
    SlowStart { limit: usize },
}

/// Failures in a row.
#[derive(Clone, Debug, Default)]
struct Run {
    silent: u32,
    failures: u32,
    since: Ticks,
    /// The events that they were at, as far as they count.
    events: Vec<Sequence>,
}

impl Run {
    fn add(&mut self, event: Sequence, silent: bool, now: Ticks) {
        if self.failures == 0 {
            self.since = now;
        }
        self.silent = if silent { self.silent.saturating_add(1) } else { 0 };
        self.failures = self.failures.saturating_add(1);
        if self.events.len() < EVENTS && !self.events.contains(&event) {
            self.events.push(event);
        }
    }

    fn is_outage(&self, now: Ticks) -> bool {
        let sustained = now.0.saturating_sub(self.since.0) >= FAILING_FOR;
        let failing = sustained && self.failures >= FAILING_AFTER;
        (failing || self.silent >= SILENT_AFTER) && self.events.len() >= EVENTS
    }
}

/// One upstream's circuit.
#[derive(Clone, Debug)]
pub struct Circuit {
    state: State,
    run: Run,
    /// Where a slow start ends: as many as ever go at once.
    full: usize,
    since: Ticks,
    opened: u64,
    probes: u64,
}

impl Circuit {
    /// A closed one, of an upstream that takes `full` deliveries at once.
    pub fn new(full: usize, now: Ticks) -> Self {
        let (state, run) = (State::Closed, Run::default());
        Self { state, run, full, since: now, opened: 0, probes: 0 }
    }

    /// It lets everything go, at once or by a slow start, as for an upstream of which nothing is known.
    pub(super) fn reset(&mut self, full: usize, slowly: bool, now: Ticks) {
        let (opened, probes) = (self.opened, self.probes);
        let state = if slowly && full > 1 { State::SlowStart { limit: 1 } } else { State::Closed };
        *self = Self { opened, probes, state, ..Self::new(full, now) };
    }

    /// Where it stands.
    pub fn state(&self) -> CircuitState {
        match self.state {
            State::Closed => CircuitState::Closed,
            State::Open { .. } => CircuitState::Open,
            State::HalfOpen { .. } => CircuitState::HalfOpen,
            State::SlowStart { .. } => CircuitState::SlowStart,
        }
    }

    /// How many may go at once now.
    pub fn limit(&self) -> usize {
        match self.state {
            State::Closed => self.full,
            State::Open { .. } => 0,
            State::HalfOpen { .. } => 1,
            State::SlowStart { limit } => limit,
        }
    }

    /// Since when it has been open, half-open or not: a probe under way changes nothing of that.
    pub fn since(&self) -> Ticks {
        self.since
    }

    /// How often it has opened.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// What may be taken while `in_flight` deliveries are.
    pub(super) fn permit(&self, in_flight: usize, now: Ticks) -> Permit {
        match self.state {
            State::Closed => Permit::Any,
            State::SlowStart { limit } if in_flight < limit => Permit::Any,
            State::SlowStart { .. } => Permit::Full,
            State::Open { probe_at, .. } if probe_at <= now => Permit::Probe,
            State::Open { probe_at, .. } => Permit::LastChance(Some(probe_at)),
            State::HalfOpen { .. } => Permit::LastChance(None),
        }
    }

    /// Whether it is the turn of what was never tried to be the probe. It takes turns with what has
    /// failed before, so that events which always fail do not keep the circuit open.
    pub(super) fn prefers_untried(&self) -> bool {
        self.probes % 2 == 1
    }

    /// This delivery is the probe.
    pub(super) fn probe(&mut self, sequence: Sequence) {
        if let State::Open { wait, .. } = self.state {
            self.state = State::HalfOpen { probe: sequence, wait };
            self.probes = self.probes.wrapping_add(1);
        }
    }

    /// A delivery that was taken is not any more. `None`: nothing was attempted, or it says nothing
    /// of the upstream.
    pub(super) fn note(&mut self, event: Sequence, sign: Option<Sign>, now: Ticks) -> Option<Turn> {
        match sign {
            None => {
                if self.is_probe(event) {
                    self.state = State::Open { probe_at: now, wait: PROBE_FIRST };
                }
                None
            }
            Some(Sign::Alive) => self.good(now),
            Some(Sign::Failing) => self.bad(event, false, now),
            Some(Sign::Silent) => self.bad(event, true, now),
        }
    }

    fn is_probe(&self, event: Sequence) -> bool {
        matches!(self.state, State::HalfOpen { probe, .. } if probe == event)
    }

    fn good(&mut self, now: Ticks) -> Option<Turn> {
        self.run = Run::default();
        let (limit, turn) = match self.state {
            State::Closed => return None,
            State::Open { .. } | State::HalfOpen { .. } => (1, Turn::Answered),
            State::SlowStart { limit } => (limit.saturating_add(1), Turn::Recovered),
        };
        if turn == Turn::Recovered && limit < self.full {
            self.state = State::SlowStart { limit };
            return None;
        }
        self.since = now;
        self.state = if limit < self.full { State::SlowStart { limit } } else { State::Closed };
        Some(turn)
    }

    fn bad(&mut self, event: Sequence, silent: bool, now: Ticks) -> Option<Turn> {
        match self.state {
            State::Closed | State::SlowStart { .. } => {
                self.run.add(event, silent, now);
                if self.run.is_outage(now) {
                    return Some(self.open(now));
                }
                if let State::SlowStart { limit } = &mut self.state {
                    *limit = (*limit / 2).max(1);
                }
            }
            State::HalfOpen { probe, wait } if probe == event => {
                let most = if silent { PROBE_MAX } else { PROBE_MAX_ANSWERED };
                let wait = (wait * 2).min(most);
                self.state = State::Open { probe_at: Ticks(now.0 + wait), wait };
            }
            // Begun before it opened, or a last chance.
            State::HalfOpen { .. } | State::Open { .. } => {}
        }
        None
    }

    fn open(&mut self, now: Ticks) -> Turn {
        self.state = State::Open { probe_at: Ticks(now.0 + PROBE_FIRST), wait: PROBE_FIRST };
        self.run = Run::default();
        self.since = now;
        self.opened += 1;
        Turn::Opened
    }
}

#[cfg(test)]
mod tests;
