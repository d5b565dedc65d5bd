//! Time, as the rest of the crate sees it: milliseconds since the Unix epoch from a [`Clock`]
//! that is handed in. Nothing else in the crate asks the operating system for the wall clock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point in time: whole milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The point `d` later, saturating at the end of time.
    pub fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(millis(d)))
    }

    /// The point `d` earlier, saturating at the epoch.
    pub fn before(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(millis(d)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since the epoch.
    pub fn as_secs(self) -> u64 {
        self.0 / 1000
    }
}

/// RFC 3339 in UTC with milliseconds, such as `2025-01-15T10:30:00.412Z`.
impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
            Some(t) => write!(f, "{t:.3}"),
            None => write!(f, "{}ms", self.0),
        }
    }
}

/// Where the time comes from: the system, or a test's own hand.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The operating system's wall clock.
    #[default]
    System,
    /// A clock that is moved by hand.
    Manual(Arc<Manual>),
}

/// A clock in a test's hand, in milliseconds.
#[derive(Debug, Default)]
pub struct Manual {
    wall: AtomicU64,
    passed: AtomicU64,
    /// Since when it also goes by itself.
    runs_since: Option<Instant>,
}

impl Manual {
    fn wall(&self) -> u64 {
        self.wall.load(Ordering::SeqCst).wrapping_add(self.ran())
    }

    fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst).wrapping_add(self.ran())
    }

    fn ran(&self) -> u64 {
        self.runs_since.map_or(0, |since| millis(since.elapsed()))
    }
}

/// Measures how much time passes, on a clock that never steps.
#[derive(Clone, Debug)]
pub enum Stopwatch {
    /// By the system's monotonic clock, since then.
    System(Instant),
    /// By a manual clock, since it stood there.
    Manual(Arc<Manual>, u64),
}

impl Stopwatch {
    /// How much time has passed since it was made.
    pub fn elapsed(&self) -> Duration {
        match self {
            Self::System(since) => since.elapsed(),
            Self::Manual(clock, since) => {
                Duration::from_millis(clock.passed().saturating_sub(*since))
            }
        }
    }
}

impl Clock {
    /// A clock that stands at `start` until [`Clock::advance`] or [`Clock::step_to`] moves it.
    pub fn manual(start: UnixMillis) -> Self {
        Self::Manual(Arc::new(Manual { wall: AtomicU64::new(start.0), ..Manual::default() }))
    }

    /// A clock that stands at `start`, goes by itself, and can be moved like a manual one.
    pub fn running(start: UnixMillis) -> Self {
        let (wall, runs_since) = (AtomicU64::new(start.0), Some(Instant::now()));
        Self::Manual(Arc::new(Manual { wall, runs_since, ..Manual::default() }))
    }

    /// The time now.
    pub fn now(&self) -> UnixMillis {
        match self {
            Self::System => system_now(),
            Self::Manual(clock) => UnixMillis(clock.wall()),
        }
    }

    /// Starts measuring time.
    pub fn stopwatch(&self) -> Stopwatch {
        match self {
            Self::System => Stopwatch::System(Instant::now()),
            Self::Manual(clock) => Stopwatch::Manual(Arc::clone(clock), clock.passed()),
        }
    }

    /// Lets `d` pass on a manual clock. A system clock is left as it is.
    pub fn advance(&self, d: Duration) {
        if let Self::Manual(clock) = self {
            clock.wall.fetch_add(millis(d), Ordering::SeqCst);
            clock.passed.fetch_add(millis(d), Ordering::SeqCst);
        }
    }

    /// Sets a manual clock without any time passing, as an operator or NTP may. A system clock is
    /// left as it is.
    pub fn step_to(&self, at: UnixMillis) {
        if let Self::Manual(clock) = self {
            clock.wall.store(at.0.wrapping_sub(clock.ran()), Ordering::SeqCst);
        }
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn system_now() -> UnixMillis {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(millis(since_epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_rfc_3339_with_milliseconds() {
        assert_eq!(UnixMillis(1_736_937_000_412).to_string(), "2025-01-15T10:30:00.412Z");
        assert_eq!(UnixMillis(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(UnixMillis(5));
        assert_eq!(clock.now(), UnixMillis(5));
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), UnixMillis(1005));
    }

    #[test]
    fn a_running_clock_goes_by_itself_and_can_be_set() {
        let clock = Clock::running(UnixMillis(5));
        let (since, stopwatch) = (Instant::now(), clock.stopwatch());
        while clock.now() == UnixMillis(5) {
            assert!(since.elapsed() < Duration::from_secs(20), "it stands");
        }
        clock.step_to(UnixMillis(0));
        assert!(clock.now() < UnixMillis(20_000) && stopwatch.elapsed() > Duration::ZERO);
    }

    #[test]
    fn a_step_is_no_time_that_passes() {
        let clock = Clock::manual(UnixMillis(5000));
        let stopwatch = clock.stopwatch();
        clock.step_to(UnixMillis(90_000));
        clock.advance(Duration::from_secs(2));
        clock.step_to(UnixMillis(0));
        assert_eq!((clock.now(), stopwatch.elapsed()), (UnixMillis(0), Duration::from_secs(2)));
    }
}
