//! `rate_limit`: how often attempts at one upstream begin. A token bucket (GCRA) that the upstream's
//! workers share: one of them at a time waits for a token and then claims, so that no event is held back
//! in anybody's hands while it could not go.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::config::RateLimit;

/// Timers have no finer grain. What a rate lets go within it goes at once, for else no rate beyond a
/// thousand a second could be kept up.
const GRAIN: Duration = Duration::from_millis(1);

/// The bucket of one upstream.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Between two tokens.
    interval: Duration,
    /// How far ahead of its pace it may be.
    ahead: Duration,
    /// When the bucket will be full again (GCRA's theoretical arrival time).
    full_at: Mutex<Instant>,
}

impl Pace {
    /// A full bucket.
    pub(super) fn new(rate: RateLimit) -> Self {
        let interval = Duration::from_secs(1) / rate.per_second.get();
        let ahead = interval.saturating_mul(rate.burst.get() - 1).max(GRAIN);
        Self { interval, ahead, full_at: Mutex::new(Instant::now()) }
    }

    /// What `claim` comes to, once there is a token, which is then gone. Safe to cancel.
    pub(super) async fn claim<F: Future>(&self, claim: impl FnOnce() -> F) -> F::Output {
        let mut full_at = self.full_at.lock().await;
        if let Some(at) = full_at.checked_sub(self.ahead) {
            sleep_until(at).await;
        }
        let claimed = claim().await;
        *full_at = (*full_at).max(Instant::now()) + self.interval;
        claimed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn rate(per_second: u32, burst: u32) -> RateLimit {
        RateLimit { per_second: per_second.try_into().unwrap(), burst: burst.try_into().unwrap() }
    }

    /// When each of the claims went, from the first on.
    async fn went(pace: Pace, workers: usize, claims: usize) -> Vec<Duration> {
        let (pace, begun) = (Arc::new(pace), Instant::now());
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..workers {
            let (pace, tell) = (Arc::clone(&pace), tell.clone());
            tokio::spawn(async move {
                loop {
                    pace.claim(|| std::future::ready(())).await;
                    if tell.send(begun.elapsed()).is_err() {
                        return;
                    }
                }
            });
        }
        let mut all = Vec::new();
        while all.len() < claims {
            all.push(told.recv().await.unwrap());
        }
        all
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        for workers in [1, 8] {
            let went = went(Pace::new(rate(10, 5)), workers, 25).await;
            assert_eq!(went[4], Duration::ZERO);
            for (n, at) in went.iter().enumerate().skip(5) {
                let due = Duration::from_millis(100) * u32::try_from(n - 4).unwrap();
                assert!(*at >= due && *at < due + Duration::from_millis(5), "{n}: {at:?}");
            }
        }
    }

    /// Each token apart would wait for a timer of a millisecond.
    #[tokio::test(start_paused = true)]
    async fn a_rate_finer_than_timers_is_kept_up() {
        let went = went(Pace::new(rate(20_000, 1)), 4, 10_000).await;
        let took = *went.last().unwrap();
        assert!(
            took >= Duration::from_millis(498) && took < Duration::from_millis(560),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn time_without_events_fills_no_more_than_the_bucket() {
        let pace = Pace::new(rate(10, 3));
        pace.claim(|| tokio::time::sleep(Duration::from_secs(60))).await;
        tokio::time::advance(Duration::from_secs(60)).await;
        let went = went(pace, 1, 6).await;
        let at = [0, 0, 0, 100, 200, 300].map(Duration::from_millis);
        assert!(
            went.iter().zip(at).all(|(w, at)| w.abs_diff(at) < Duration::from_millis(3)),
            "{went:?}"
        );
    }
}
