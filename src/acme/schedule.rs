//! When the next certificate is ordered. Pure but for the waiting itself.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::clock::{Clock, UnixMillis};
use crate::pem::Facts;

/// How long an attempt may take, from the directory to the certificate. Authorities answer within
/// seconds, and the one or other thinks for minutes.
pub(super) const ATTEMPT: Duration = Duration::from_secs(15 * 60);

/// How long after a success that is due for renewal at once (a wrong clock, or an authority that
/// issues what is over already) the next one is tried: Let's Encrypt issues the same names five
/// times a week.
const RELAPSE: Duration = Duration::from_secs(36 * HOUR);

/// The longest that an authority is taken at its word when it asks to be left alone.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * HOUR);

/// How long to sleep at most before the clock is looked at: it may be set, and machines are
/// suspended.
const NAP: Duration = Duration::from_secs(HOUR);

const HOUR: u64 = 3600;

/// When a certificate is to be renewed: as soon as a third of its lifetime is left.
pub(super) fn renew_at(facts: &Facts) -> UnixMillis {
    facts.not_after.before(facts.not_after.since(facts.not_before) / 3)
}

/// When to order next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Now,
    /// At this time of the clock.
    At(UnixMillis),
    /// Once so much time has gone by, whatever the clock says.
    After(Instant),
}

impl Next {
    pub(super) fn after(wait: Duration) -> Self {
        Self::After(Instant::now() + wait)
    }

    /// This, or much later if it is due already.
    pub(super) fn not_at_once(self, clock: &Clock) -> Self {
        match self {
            Self::At(at) if at > clock.now() => self,
            Self::Now | Self::At(_) => Self::after(RELAPSE),
            Self::After(_) => self,
        }
    }

    /// Ready when it is time. Safe to cancel.
    pub(super) async fn come(self, clock: &Clock) {
        match self {
            Self::Now => {}
            Self::After(at) => sleep_until(at).await,
            Self::At(at) => loop {
                let left = at.since(clock.now());
                if left.is_zero() {
                    return;
                }
                sleep(left.min(NAP)).await;
            },
        }
    }
}

/// How long a failure is waited out: doubled each time up to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// The authority was not reached, or could not: that costs it nothing, and passes.
    Unreachable,
    /// It did not like what it saw. Let's Encrypt takes five such failures an hour for a name.
    Refused,
}

impl Patience {
    fn bounds(self) -> (Duration, Duration) {
        let secs = Duration::from_secs;
        match self {
            Self::Unreachable => (secs(30), secs(HOUR)),
            Self::Refused => (secs(15 * 60), secs(12 * HOUR)),
        }
    }

    /// How long to wait after so many failures in a row, at least one: never less than what the
    /// authority has asked for, and up to half as long again at random, so that gateways which have
    /// failed together do not come back together.
    pub(super) fn wait(
        self,
        failures: u32,
        asked: Option<Duration>,
        rng: &mut fastrand::Rng,
    ) -> Duration {
        let (first, most) = self.bounds();
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let own = first.saturating_mul(doubled).min(most);
        let wait = own.max(asked.unwrap_or_default().min(LONGEST_ASKED));
        wait + wait.mul_f64(rng.f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * HOUR;
    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn facts(days: u64) -> Facts {
        Facts {
            names: Vec::new(),
            serial: String::new(),
            not_before: NOW,
            not_after: NOW.after(secs(days * DAY)),
            rsa_bits: None,
        }
    }

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_lifetime_is_left() {
        assert_eq!(renew_at(&facts(90)), NOW.after(secs(60 * DAY)));
        assert_eq!(renew_at(&facts(6)), NOW.after(secs(4 * DAY)));
        assert_eq!(renew_at(&facts(0)), NOW);
    }

    #[test]
    fn failures_are_waited_out_longer_each_time_and_never_forever() {
        let mut rng = fastrand::Rng::with_seed(7);
        for (patience, first, most) in
            [(Patience::Unreachable, 30, HOUR), (Patience::Refused, 900, 12 * HOUR)]
        {
            for failures in 1..=40 {
                let own = secs(most.min(first << (failures - 1).min(20)));
                let wait = patience.wait(failures, None, &mut rng);
                assert!(wait >= own && wait <= own * 3 / 2, "{patience:?} {failures}: {wait:?}");
            }
            assert!(patience.wait(u32::MAX, None, &mut rng) <= secs(most) * 3 / 2);
        }
    }

    #[test]
    fn an_authority_is_left_alone_as_long_as_it_asks_within_a_day() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut wait = |asked| Patience::Unreachable.wait(1, Some(secs(asked)), &mut rng);
        assert!(wait(7200) >= secs(7200));
        assert!(wait(1) >= secs(30));
        assert!(wait(u64::MAX) <= secs(DAY) * 3 / 2);
    }

    #[test]
    fn a_success_that_is_over_already_is_not_tried_again_at_once() {
        let clock = Clock::manual(NOW);
        let later = Next::At(NOW.after(secs(1)));
        assert_eq!(later.not_at_once(&clock), later);
        for due in [Next::Now, Next::At(NOW)] {
            let Next::After(at) = due.not_at_once(&clock) else { panic!("{due:?}") };
            assert!(at > Instant::now() + secs(DAY));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_is_noticed_within_the_hour() {
        let clock = Clock::manual(NOW);
        let due = Next::At(NOW.after(secs(60 * DAY)));
        let begun = Instant::now();
        let mut come = std::pin::pin!(due.come(&clock));
        assert!(tokio::time::timeout(secs(HOUR * 10), &mut come).await.is_err());
        clock.advance(secs(60 * DAY));
        come.await;
        assert!(begun.elapsed() <= secs(HOUR * 11));
    }
}
