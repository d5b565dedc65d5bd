//! What time it is as far as the trail believes the clock. One that is far ahead would have its oldest segments go; one
//! that was behind for a moment must not keep them for good.

use std::time::Duration;

use crate::clock::{Clock, Stopwatch, UnixMillis};

/// A clock may be so far ahead of what was believed before: a gateway that was off so long.
const MOST_AHEAD: Duration = Duration::from_secs(30 * 86_400);

/// What is believed. It never goes back.
#[derive(Debug)]
pub(super) struct Believed {
    clock: Clock,
    /// The newest time that was believed.
    newest: UnixMillis,
    /// What was believed when this began, and time that has passed since.
    from: UnixMillis,
    passed: Stopwatch,
    /// Whether the clock has been behind that since, as before it is set at a start: then it may come forward.
    is_behind: bool,
    ahead: Duration,
}

impl Believed {
    /// Goes on from what was believed before. `capped`: the clock was further ahead of that already.
    pub(super) fn at(clock: &Clock, before: Option<UnixMillis>, capped: bool) -> Self {
        let (now, ahead) = (clock.now(), if capped { Duration::ZERO } else { MOST_AHEAD });
        let newest = before.unwrap_or(now);
        let is_behind = now < newest;
        let from = if is_behind { newest } else { now.min(newest.after(ahead)) };
        let passed = clock.stopwatch();
        Self { clock: clock.clone(), newest: from, from, passed, is_behind, ahead }
    }

    /// Looks at the clock, as is done at every step.
    pub(super) fn look(&mut self) {
        let (now, passed) = (self.clock.now(), self.from.after(self.passed.elapsed()));
        if self.is_behind && now >= passed {
            (self.from, self.passed) = (now.min(passed.after(self.ahead)), self.clock.stopwatch());
            self.is_behind = false;
        }
        self.newest = self.now();
    }

    /// What is signed. No step of the clock makes it later, but one by which it is no more behind.
    pub(super) fn now(&self) -> UnixMillis {
        let passed = self.from.after(self.passed.elapsed());
        let believed = if self.is_behind { passed } else { passed.min(self.clock.now()) };
        believed.max(self.newest)
    }

    /// What segments age by: a clock that is behind removes nothing either.
    pub(super) fn at_most(&self) -> UnixMillis {
        self.now().min(self.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixMillis = UnixMillis(1_736_937_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_clock_is_believed_thirty_days_ahead_at_a_start_and_no_step_of_it_later() {
        for (off, capped, believed) in [
            (HOUR, false, START.after(HOUR)),
            (400 * DAY, false, START.after(30 * DAY)),
            (400 * DAY, true, START),
        ] {
            let clock = Clock::manual(START.after(off));
            let mut time = Believed::at(&clock, Some(START), capped);
            assert_eq!((time.now(), time.at_most()), (believed, believed));
            clock.advance(HOUR);
            clock.step_to(clock.now().after(700 * DAY));
            time.look();
            assert_eq!(time.now(), believed.after(HOUR));
        }
    }

    #[test]
    fn a_clock_that_was_behind_is_believed_once_it_has_come_forward() {
        let clock = Clock::manual(START.before(9_000 * DAY));
        let mut time = Believed::at(&clock, Some(START), false);
        clock.advance(HOUR);
        time.look();
        assert_eq!((time.now(), time.at_most()), (START.after(HOUR), clock.now()));
        clock.step_to(START.after(3 * DAY));
        time.look();
        assert_eq!((time.now(), time.at_most()), (clock.now(), clock.now()));
        clock.step_to(START.after(9 * DAY));
        time.look();
        assert_eq!(time.now(), START.after(3 * DAY), "once");
    }

    #[test]
    fn what_is_believed_never_goes_back() {
        let clock = Clock::manual(START);
        let mut time = Believed::at(&clock, None, false);
        clock.advance(DAY);
        time.look();
        clock.step_to(START.before(DAY));
        time.look();
        assert_eq!((time.now(), time.at_most()), (START.after(DAY), clock.now()));
    }
}
