//! When events could be taken and when not, as far as the journal tells: what a start reads out of it, what
//! the running gateway adds, and what is known at any time. Frames of it are never needed to deliver
//! anything; an event that was taken is a sign of life as good as any.

mod read;
mod signs;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::read::{Reader, restore};
pub(super) use self::read::{read_back, read_segment};
pub use self::signs::Signs;
use super::journal::presence::{Absence, Cause, MAX_ABSENCES};
use crate::clock::UnixMillis;

/// How often a sign of life is written while nothing else is. The shortest published pause of a
/// provider that waits at all is a minute: a gap that seems to begin so much earlier than it did
/// hardly changes what its provider bridges. More often would wear the disk of an idle gateway.
pub const EVERY: Duration = Duration::from_secs(10);

/// The writer's turns are a quarter of a second apart: after so long without one, events have been
/// waiting for longer than any of them may.
pub const STALL: Duration = Duration::from_secs(10);

/// By so much the wall clock may run ahead of the time that passes before that counts as a jump.
pub const JUMP: Duration = Duration::from_secs(30);

/// Where the journal is damaged, signs of life that are further apart than this may have had
/// something between them that is lost.
pub const DOUBT: Duration = Duration::from_secs(30);

/// A moment by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the store was opened, by the clock that never steps.
    pub passed: Duration,
    /// By the wall clock.
    pub wall: UnixMillis,
}

/// The last sign of life of a process that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    /// When events could be taken last.
    pub at: UnixMillis,
    /// Whether it was told to stop then.
    pub stopped: bool,
}

/// What is known of when events could be taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// From when on it is known; `None`: no gateway has let anybody in with this store yet, or none
    /// that noted it.
    pub since: Option<UnixMillis>,
    /// When they could not be taken.
    pub absences: Vec<Absence>,
    /// Since when they cannot be taken now, and why; `None`: they can, as far as is known.
    pub away: Option<(UnixMillis, Cause)>,
    /// When they could be taken last.
    pub last: Option<Sign>,
}

/// Adds an absence. There is a bound to how many are known: beyond it the two that are nearest to
/// each other become one, which says of the time between them that nothing could be taken either.
pub(super) fn add(absences: &mut Vec<Absence>, absence: Absence) {
    absences.push(absence);
    if absences.len() <= MAX_ABSENCES {
        return;
    }
    let between = |pair: &[Absence]| match pair {
        [a, b] => b.from.since(a.until).max(a.from.since(b.until)),
        _ => Duration::MAX,
    };
    let nearest = absences.windows(2).enumerate().min_by_key(|(_, pair)| between(pair));
    let Some(at) = nearest.map(|(at, _)| at) else { return };
    let second = absences.remove(at + 1);
    if let Some(first) = absences.get_mut(at) {
        let long = |a: &Absence| a.until.since(a.from);
        let cause = if long(&second) > long(first) { second.cause } else { first.cause };
        let (from, until) = (first.from.min(second.from), first.until.max(second.until));
        *first = Absence { from, until, cause };
    }
}
