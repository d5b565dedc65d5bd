//! What follows from an attempt: delivered, again at some time, or dead. Pure functions of what
//! the upstream did, the configuration, the time and a source of randomness.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;

use crate::clock::UnixMillis;
use crate::config::Retry;
use crate::store::{AttemptResult, Verdict};

/// The attempt that is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// What the upstream did.
    pub(super) result: AttemptResult,
    /// How long it asked to be left alone, by [`retry_after`].
    pub(super) retry_after: Option<Duration>,
    /// Which attempt it was, counted from 1.
    pub(super) attempt: u32,
    /// When it ended.
    pub(super) at: UnixMillis,
    /// When the event is given up.
    pub(super) deadline: UnixMillis,
}

/// What follows from the attempt. The last one is made at the deadline, not skipped because the
/// wait before it would go past it; one that fails at the deadline or later is the end.
pub(super) fn judge(ended: Ended, retry: &Retry, rng: &mut fastrand::Rng) -> Verdict {
    let deadline = ended.deadline;
    match disposition(ended.result) {
        Disposition::Done => Verdict::Delivered,
        Disposition::Refused => Verdict::Dead,
        Disposition::Again if ended.at >= deadline => Verdict::Dead,
        Disposition::Again => {
            let backoff = backoff(retry, ended.attempt, rng);
            let asked = ended.retry_after.unwrap_or_default().min(retry.max);
            Verdict::RetryAt(ended.at.after(backoff.max(asked)).min(deadline))
        }
    }
}

/// How long `value` of a Retry-After header (RFC 9110, 10.2.3) asks to wait: seconds or an HTTP
/// date; a past date is no wait at all. `None` for anything else.
pub(crate) fn retry_after(value: &HeaderValue, now: UnixMillis) -> Option<Duration> {
    let value = value.to_str().ok()?;
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // All digits and yet no u64: longer than any bound that it will meet.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date: SystemTime = httpdate::parse_http_date(value).ok()?;
    let since_epoch = date.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(since_epoch.saturating_sub(Duration::from_millis(now.0)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disposition {
    Done,
    Refused,
    Again,
}

/// The status rules: any 2xx settles it; 410 and the 4xx that say that the event itself is wrong
/// are final; what may be different next time (408, 409, 425, 429, redirects, 5xx, no answer) is
/// tried again.
fn disposition(result: AttemptResult) -> Disposition {
    match result {
        AttemptResult::Answered(200..=299) => Disposition::Done,
        AttemptResult::Answered(408 | 409 | 425 | 429) => Disposition::Again,
        AttemptResult::Answered(400..=499) | AttemptResult::Unreadable => Disposition::Refused,
        AttemptResult::Answered(_)
        | AttemptResult::ConnectFailed
        | AttemptResult::TimedOut
        | AttemptResult::Broken
        | AttemptResult::Panicked => Disposition::Again,
    }
}

/// Exponential backoff with full jitter: anything from nothing to `first` after the first attempt,
/// to twice that after the second, and so on up to `max`.
fn backoff(retry: &Retry, attempt: u32, rng: &mut fastrand::Rng) -> Duration {
    let [first, max] = [retry.first, retry.max].map(millis);
    let doublings = attempt.saturating_sub(1).min(63);
    let bound = first.saturating_mul(1 << doublings).min(max);
    Duration::from_millis(rng.u64(0..=bound))
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const RETRY: Retry = Retry {
        first: Duration::from_secs(1),
        max: Duration::from_secs(600),
        give_up: Duration::from_secs(72 * 3600),
    };
    const RECEIVED: UnixMillis = UnixMillis(1_736_937_000_000);

    fn ended(result: AttemptResult) -> Ended {
        Ended {
            result,
            retry_after: None,
            attempt: 1,
            at: RECEIVED.after(Duration::from_secs(1)),
            deadline: RECEIVED.after(RETRY.give_up),
        }
    }

    /// The wait before the next attempt, if there is one.
    fn wait(ended: Ended, seed: u64) -> Option<Duration> {
        match judge(ended, &RETRY, &mut fastrand::Rng::with_seed(seed)) {
            Verdict::RetryAt(at) => Some(at.since(ended.at)),
            Verdict::Delivered | Verdict::Dead => None,
        }
    }

    #[test]
    fn every_status_has_its_rule() {
        for status in 100..=999 {
            let expected = match status {
                200..=299 => Disposition::Done,
                408 | 409 | 425 | 429 => Disposition::Again,
                400..=499 => Disposition::Refused,
                _ => Disposition::Again,
            };
            assert_eq!(disposition(AttemptResult::Answered(status)), expected, "{status}");
        }
        for result in [AttemptResult::ConnectFailed, AttemptResult::TimedOut, AttemptResult::Broken]
        {
            assert_eq!(disposition(result), Disposition::Again, "{result:?}");
        }
    }

    #[test]
    fn a_success_and_a_refusal_are_final_at_any_time() {
        for at in [RECEIVED, RECEIVED.after(HOUR * 100)] {
            for (status, verdict) in
                [(204, Verdict::Delivered), (410, Verdict::Dead), (400, Verdict::Dead)]
            {
                let ended = Ended { at, ..ended(AttemptResult::Answered(status)) };
                let got = judge(ended, &RETRY, &mut fastrand::Rng::with_seed(1));
                assert_eq!(got, verdict, "{status}");
            }
        }
    }

    #[test]
    fn backoff_doubles_from_first_to_max_and_never_overflows() {
        for (attempt, bound) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 4),
            (10, 512),
            (11, 600),
            (64, 600),
            (65, 600),
            (4_000_000_000, 600),
            (u32::MAX, 600),
        ] {
            let bound = Duration::from_secs(bound);
            let waits: Vec<_> = (0..2000)
                .map(|seed| backoff(&RETRY, attempt, &mut fastrand::Rng::with_seed(seed)))
                .collect();
            let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
            assert!(*most <= bound, "attempt {attempt}: {most:?} is over {bound:?}");
            // Full jitter: the whole span is used, at both ends.
            assert!(*least < bound / 50 && *most > bound / 50 * 49, "attempt {attempt}");
        }
    }

    #[test]
    fn extreme_configurations_do_not_overflow() {
        let longest = Retry { first: Duration::MAX, max: Duration::MAX, give_up: Duration::MAX };
        let mut rng = fastrand::Rng::with_seed(1);
        for attempt in [1, 2, 64, u32::MAX] {
            let ended = Ended {
                attempt,
                retry_after: Some(Duration::MAX),
                deadline: UnixMillis(u64::MAX),
                ..ended(AttemptResult::TimedOut)
            };
            let at = judge(ended, &longest, &mut rng);
            assert_eq!(at, Verdict::RetryAt(UnixMillis(u64::MAX)));
        }
        let none = Retry { first: Duration::ZERO, max: Duration::ZERO, give_up: HOUR };
        let ended = ended(AttemptResult::TimedOut);
        assert_eq!(judge(ended, &none, &mut rng), Verdict::RetryAt(ended.at));
    }

    #[test]
    fn the_same_seed_gives_the_same_wait() {
        let ended = Ended { attempt: 9, ..ended(AttemptResult::Broken) };
        assert_eq!(wait(ended, 7), wait(ended, 7));
        assert_ne!(wait(ended, 7), wait(ended, 8));
    }

    #[test]
    fn retry_after_is_honoured_between_the_own_backoff_and_max() {
        for seed in 0..200 {
            let plain = Ended { attempt: 8, ..ended(AttemptResult::Answered(503)) };
            let own = wait(plain, seed).unwrap();
            for (asked, expected) in [
                (Duration::ZERO, own),
                (Duration::from_secs(64), own.max(Duration::from_secs(64))),
                (Duration::from_secs(300), Duration::from_secs(300)),
                (Duration::from_secs(601), RETRY.max),
                (Duration::MAX, RETRY.max),
            ] {
                let ended = Ended { retry_after: Some(asked), ..plain };
                assert_eq!(wait(ended, seed), Some(expected), "asked {asked:?}, own {own:?}");
            }
        }
    }

    #[test]
    fn the_last_attempt_is_made_at_the_deadline() {
        let deadline = RECEIVED.after(RETRY.give_up);
        let asked = Some(Duration::from_secs(600));
        for (before, expected) in [
            (Duration::from_secs(601), Verdict::RetryAt(deadline.before(Duration::from_secs(1)))),
            (Duration::from_secs(599), Verdict::RetryAt(deadline)),
            (Duration::from_millis(1), Verdict::RetryAt(deadline)),
            (Duration::ZERO, Verdict::Dead),
        ] {
            let at = deadline.before(before);
            let ended = Ended { at, retry_after: asked, ..ended(AttemptResult::Answered(503)) };
            let got = judge(ended, &RETRY, &mut fastrand::Rng::with_seed(3));
            assert_eq!(got, expected, "{before:?} before the deadline");
        }
        let late = Ended { at: deadline.after(HOUR), ..ended(AttemptResult::TimedOut) };
        assert_eq!(judge(late, &RETRY, &mut fastrand::Rng::with_seed(3)), Verdict::Dead);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_nothing_else() {
        // 2025-01-15T10:30:00Z
        let now = RECEIVED;
        for (value, expected) in [
            ("120", Some(Duration::from_secs(120))),
            ("0", Some(Duration::ZERO)),
            ("18446744073709551616", Some(Duration::from_secs(u64::MAX))),
            ("Wed, 15 Jan 2025 10:31:00 GMT", Some(Duration::from_secs(60))),
            ("Wednesday, 15-Jan-25 10:31:00 GMT", Some(Duration::from_secs(60))),
            ("Wed Jan 15 10:31:00 2025", Some(Duration::from_secs(60))),
            ("Wed, 15 Jan 2025 10:29:00 GMT", Some(Duration::ZERO)),
            ("", None),
            ("+5", None),
            ("-1", None),
            ("1.5", None),
            ("5s", None),
            ("soon", None),
            ("Wed, 15 Jan 2025 10:31:00", None),
        ] {
            let header = HeaderValue::from_str(value).unwrap();
            assert_eq!(retry_after(&header, now), expected, "{value:?}");
        }
        assert_eq!(retry_after(&HeaderValue::from_bytes(b"\xff").unwrap(), now), None);
    }
}
