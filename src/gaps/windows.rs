//! In which windows of time events may have been lost for good: pure arithmetic over the gaps in which
//! the gateway took none and the schedule on which a provider sends again. No I/O, no clock.
//!
//! An event that first came at `t` is lost if every attempt at it, `t`, `t + w1`, `t + w1 + w2` and so
//! on, falls into a gap; so gaps add up. Nobody keeps to a schedule by the millisecond, so each
//! attempt is looked for in a span, and one that may have failed counts as failed: the windows hold
//! every event that may be lost, and at their edges some that are not.

use std::time::Duration;

use super::spans::Spans;
use crate::clock::UnixMillis;
use crate::provider::Retries;
use crate::provider::caller::TIMEOUT;
use crate::store::journal::presence::{Absence, Cause};

/// A schedule may run so many hundredths faster or slower than it is published.
pub const TOLERANCE_PERCENT: u64 = 10;

/// When events may have come first, of which it is said what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// The provider has given up by now, if it has kept to its schedule.
    pub lost: Spans,
    /// Nobody can tell: how the provider sends again is not known, or whether there was a gap.
    pub unknown: Spans,
    /// The provider will still try.
    pub pending: Spans,
}

/// How long an attempt may take, from connecting to the end of the answer: as published, or what
/// `send` takes where nothing is.
pub fn attempt_time(retries: &Retries) -> Duration {
    retries.timeout.unwrap_or(TIMEOUT)
}

/// What the gaps mean for a provider that sends again like this, as of `now`. All gaps have ended, or
/// end now.
pub fn windows(gaps: &[Absence], retries: &Retries, now: UnixMillis) -> Windows {
    let certain: Vec<_> = gaps.iter().filter(|gap| gap.cause != Cause::Unknown).copied().collect();
    let (lost, _) = judge(&certain, retries, now);
    let (lost_if, pending) = judge(gaps, retries, now);
    // Of an absence whose length nobody knows it is not known either what it bridges.
    let lengthless = gaps.iter().filter(|gap| gap.cause == Cause::Unknown && gap.from == gap.until);
    let judged = lost_if.or(&Spans::new(lengthless.map(span)));
    if Schedule::of(retries).is_none() {
        return Windows { unknown: judged, ..Windows::default() };
    }
    let unknown = judged.without(&lost);
    let pending = pending.without(&judged);
    Windows { lost, unknown, pending }
}

/// The gaps that attempts at events of this window fell into.
pub fn gaps_of<'g>(
    window: (u64, u64),
    gaps: &'g [Absence],
    retries: &Retries,
) -> impl Iterator<Item = &'g Absence> {
    let reaches = match Schedule::of(retries) {
        Some(Schedule::Attempts(reaches)) => reaches,
        Some(Schedule::Until(_)) | None => vec![Reach::FIRST],
    };
    let attempt = millis(attempt_time(retries));
    gaps.iter().filter(move |gap| {
        let fails = |reach: &Reach| {
            let (from, end) = reach.back(gap, attempt);
            from < window.1 && window.0 < end
        };
        reaches.iter().any(fails)
    })
}

/// How a provider sends again, as far as it is known.
enum Schedule {
    /// With these attempts.
    Attempts(Vec<Reach>),
    /// For so long; when in between is not known.
    Until(u64),
}

/// How long after the first attempt another one begins: at the earliest and at the latest.
#[derive(Clone, Copy)]
struct Reach {
    early: u64,
    late: u64,
}

impl Reach {
    const FIRST: Self = Self { early: 0, late: 0 };

    /// `after` the first attempt by the schedule, and behind so many attempts, each of which may have
    /// taken its time.
    fn new(after: u64, attempts: usize, attempt: u64) -> Self {
        let tolerance = after.saturating_mul(TOLERANCE_PERCENT) / 100;
        let taken = attempt.saturating_mul(u64::try_from(attempts).unwrap_or(u64::MAX));
        let late = after.saturating_add(tolerance).saturating_add(taken);
        Self { early: after.saturating_sub(tolerance), late }
    }

    /// When an event may have come first for which this attempt may have met the gap.
    fn back(self, gap: &Absence, attempt: u64) -> (u64, u64) {
        let (from, to) = widened(gap, attempt);
        (from.saturating_sub(self.late), to.saturating_sub(self.early))
    }
}

impl Schedule {
    fn of(retries: &Retries) -> Option<Self> {
        let attempt = millis(attempt_time(retries));
        let horizon = retries.horizon().map(millis)?;
        let Some(waits) = retries.schedule() else { return Some(Self::Until(horizon)) };
        let mut reaches = vec![Reach::FIRST];
        let mut after = 0u64;
        for wait in waits {
            after = after.saturating_add(millis(*wait));
            reaches.push(Reach::new(after, reaches.len(), attempt));
        }
        // Who sends again for longer than that has a last attempt at the end.
        if horizon > after {
            reaches.push(Reach::new(horizon, reaches.len(), attempt));
        }
        Some(Self::Attempts(reaches))
    }
}

/// When events may have come first of which no attempt so far got through: those whose last attempt
/// is over for certain, and those whose is not. Without a schedule all that came in gaps are among
/// the former.
fn judge(gaps: &[Absence], retries: &Retries, now: UnixMillis) -> (Spans, Spans) {
    let attempt = millis(attempt_time(retries));
    let until_now = |spans: &Spans| spans.before(now.0.saturating_add(1));
    let first = Spans::new(gaps.iter().map(|gap| Reach::FIRST.back(gap, attempt)));
    let first = until_now(&first);
    match Schedule::of(retries) {
        None => (first, Spans::default()),
        Some(Schedule::Attempts(reaches)) => {
            // Attempts that are still to come may fail like any other.
            let ahead = Absence { from: now, until: UnixMillis(u64::MAX), cause: Cause::Unknown };
            let mut failed = first;
            for reach in reaches.iter().skip(1) {
                let meets = gaps.iter().chain([&ahead]).map(|gap| reach.back(gap, attempt));
                failed = failed.and(&Spans::new(meets));
            }
            let last = reaches.last().copied().unwrap_or(Reach::FIRST);
            split(&failed, last, attempt, now)
        }
        Some(Schedule::Until(horizon)) => {
            let last = Reach::new(horizon, 1, attempt);
            let bridged = |(from, to): (u64, u64)| (from, to.saturating_sub(last.early));
            // All attempts within one gap; gaps with less than an attempt between them are one.
            let together = Spans::new(gaps.iter().map(|gap| widened(gap, attempt)));
            let lost = until_now(&Spans::new(together.iter().map(bridged)));
            let (lost, _) = split(&lost, last, attempt, now);
            let (_, pending) = split(&first, last, attempt, now);
            (lost, pending)
        }
    }
}

/// Those whose last attempt is over now, and those whose may still come or be under way.
fn split(failed: &Spans, last: Reach, attempt: u64, now: UnixMillis) -> (Spans, Spans) {
    match now.0.checked_sub(last.late.saturating_add(attempt)) {
        Some(over) => (failed.before(over), failed.from(over)),
        None => (Spans::default(), failed.clone()),
    }
}

/// An attempt that begins within this meets the gap, at its begin or before its end.
fn widened(gap: &Absence, attempt: u64) -> (u64, u64) {
    (gap.from.0.saturating_sub(attempt), gap.until.0.saturating_add(1))
}

fn span(gap: &Absence) -> (u64, u64) {
    (gap.from.0, gap.until.0.saturating_add(1))
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
