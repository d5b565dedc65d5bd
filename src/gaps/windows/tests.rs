use proptest::prelude::*;

use super::*;

const MINUTE: u64 = 60_000;

fn gap(from: u64, until: u64) -> Absence {
    Absence { from: UnixMillis(from), until: UnixMillis(until), cause: Cause::Stopped }
}

fn retries(waits: Option<&[u64]>, horizon: Option<u64>, timeout: u64) -> Retries {
    let ms = Duration::from_millis;
    Retries {
        waits: waits.map(|waits| waits.iter().map(|wait| ms(*wait)).collect()),
        horizon: horizon.map(ms),
        timeout: Some(ms(timeout)),
        ..Retries::default()
    }
}

fn listed(spans: &Spans) -> Vec<(u64, u64)> {
    spans.iter().collect()
}

/// NovaMed's: 81 minutes.
const WAITS: [u64; 4] = [MINUTE, 5 * MINUTE, 15 * MINUTE, 60 * MINUTE];

#[test]
fn what_came_first_so_early_in_a_long_gap_that_all_attempts_fell_into_it_is_lost() {
    let retries = retries(Some(&WAITS), None, 0);
    let (from, until) = (1000 * MINUTE, 1180 * MINUTE);
    let later = UnixMillis(2000 * MINUTE);
    let found = windows(&[gap(from, until)], &retries, later);
    // A tenth of 81 minutes sooner than published is the last attempt at the earliest.
    let end = until - 81 * MINUTE * 9 / 10;
    assert_eq!(listed(&found.lost), [(from, end + 1)]);
    assert_eq!((found.unknown, found.pending), (Spans::default(), Spans::default()));
    // A gap that the provider bridges for certain loses nothing.
    let found = windows(&[gap(from, from + 72 * MINUTE)], &retries, later);
    assert_eq!(found, Windows::default());
}

#[test]
fn gaps_add_up() {
    let retries = retries(Some(&WAITS), None, 0);
    // Each alone is bridged; the last attempt of what came early in the first meets the second.
    let gaps = [gap(1000 * MINUTE, 1030 * MINUTE), gap(1080 * MINUTE, 1083 * MINUTE)];
    for one in gaps {
        assert_eq!(windows(&[one], &retries, UnixMillis(2000 * MINUTE)).lost, Spans::default());
    }
    let found = windows(&gaps, &retries, UnixMillis(2000 * MINUTE));
    let [(from, end)] = listed(&found.lost)[..] else { panic!("{found:?}") };
    assert!(from == 1000 * MINUTE && end > 1002 * MINUTE && end < 1011 * MINUTE, "{found:?}");
}

#[test]
fn what_is_still_tried_is_pending_and_then_either_lost_or_forgotten() {
    let retries = retries(Some(&WAITS), None, 0);
    let (from, until) = (1000 * MINUTE, 1085 * MINUTE);
    let at = |now| windows(&[gap(from, until)], &retries, UnixMillis(now));
    // The gateway has just come back.
    let found = at(until);
    assert_eq!(found.lost, Spans::default());
    assert_eq!(listed(&found.pending)[0].0, from);
    // Late enough for the slowest schedule of those that were lost, and of the others.
    let found = at(until + 20 * MINUTE);
    assert_eq!(listed(&found.lost)[0].0, from);
    assert_eq!(at(until + 300 * MINUTE).pending, Spans::default());
}

#[test]
fn who_never_sends_again_loses_all_that_came_in_a_gap() {
    let found = windows(&[gap(5000, 9000)], &retries(Some(&[]), None, 100), UnixMillis(99_000));
    assert_eq!(listed(&found.lost), [(4900, 9001)]);
}

#[test]
fn with_nothing_but_a_horizon_a_gap_must_be_as_long() {
    let retries = retries(None, Some(60 * MINUTE), 0);
    let later = UnixMillis(5000 * MINUTE);
    let found = windows(&[gap(1000 * MINUTE, 1090 * MINUTE)], &retries, later);
    assert_eq!(listed(&found.lost), [(1000 * MINUTE, 1036 * MINUTE + 1)]);
    let two = [gap(1000 * MINUTE, 1040 * MINUTE), gap(1050 * MINUTE, 1090 * MINUTE)];
    assert_eq!(windows(&two, &retries, later), Windows::default());
    // Until the horizon is over the provider may try, nobody knows when.
    let found = windows(&[gap(1000 * MINUTE, 1010 * MINUTE)], &retries, UnixMillis(1011 * MINUTE));
    assert_eq!(listed(&found.pending), [(1000 * MINUTE, 1010 * MINUTE + 1)]);
}

#[test]
fn without_any_schedule_nobody_can_tell() {
    let found = windows(&[gap(5000, 9000)], &retries(None, None, 100), UnixMillis(9000));
    assert_eq!(listed(&found.unknown), [(4900, 9001)]);
    assert_eq!((found.lost, found.pending), (Spans::default(), Spans::default()));
}

#[test]
fn a_doubtful_gap_makes_doubtful_windows() {
    let doubtful = |from, until| Absence { cause: Cause::Unknown, ..gap(from, until) };
    let retries = retries(Some(&[1000]), None, 0);
    let found = windows(&[doubtful(5000, 9000)], &retries, UnixMillis(99_000));
    assert_eq!(listed(&found.unknown), [(5000, 8101)]);
    assert_eq!(found.lost, Spans::default());
    // One of which only the end is known, however long the provider tries.
    let found = windows(&[doubtful(9000, 9000)], &retries, UnixMillis(99_000));
    assert_eq!(listed(&found.unknown), [(9000, 9001)]);
}

#[test]
fn a_window_names_the_gaps_that_its_events_met() {
    let crashed = Absence { cause: Cause::Crashed, ..gap(1080 * MINUTE, 1083 * MINUTE) };
    let full = Absence { cause: Cause::Unwritable, ..gap(4000 * MINUTE, 4003 * MINUTE) };
    let gaps = [gap(1000 * MINUTE, 1030 * MINUTE), crashed, full];
    let retries = retries(Some(&WAITS), None, 0);
    let found = windows(&gaps, &retries, UnixMillis(9000 * MINUTE));
    let [window] = listed(&found.lost)[..] else { panic!("{found:?}") };
    let causes: Vec<_> = gaps_of(window, &gaps, &retries).map(|gap| gap.cause).collect();
    assert_eq!(causes, [Cause::Stopped, Cause::Crashed]);
}

#[derive(Clone, Debug)]
struct Case {
    gaps: Vec<Absence>,
    waits: Vec<u64>,
    timeout: u64,
    now: u64,
}

/// On a line of few moments, so that each can be tried.
fn case() -> impl Strategy<Value = Case> {
    let gaps = prop::collection::vec((0u64..300, 0u64..80), 0..5);
    let waits = prop::collection::vec(0u64..60, 0..5);
    (gaps, waits, 0u64..6, 300u64..800).prop_map(|(gaps, waits, timeout, now)| {
        let gaps = gaps.iter().map(|(from, long)| gap(*from, from + long)).collect();
        Case { gaps, waits, timeout, now }
    })
}

fn has(spans: &Spans, at: u64) -> bool {
    spans.iter().any(|(from, to)| (from..to).contains(&at))
}

impl Case {
    fn fails(&self, attempt: u64) -> bool {
        self.gaps.iter().any(|g| attempt <= g.until.0 && attempt + self.timeout >= g.from.0)
    }

    /// When attempt number `k` of an event that came at `t` may begin.
    fn reach(&self, k: usize) -> (u64, u64) {
        let sum: u64 = self.waits[..k].iter().sum();
        let late = sum + sum * TOLERANCE_PERCENT / 100 + self.timeout * k as u64;
        (sum - sum * TOLERANCE_PERCENT / 100, late)
    }

    /// Whether an attempt may have failed, or is still to come.
    fn may_fail(&self, t: u64, k: usize) -> bool {
        let (early, late) = self.reach(k);
        (t + early..=t + late).any(|at| self.fails(at) || (k > 0 && at + self.timeout >= self.now))
    }

    fn is_over(&self, t: u64) -> bool {
        let (_, late) = self.reach(self.waits.len());
        t + late + self.timeout < self.now
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Moment by moment, attempt by attempt.
    #[test]
    fn windows_are_what_trying_every_moment_comes_to(case in case()) {
        let retries = retries(Some(&case.waits), None, case.timeout);
        let found = windows(&case.gaps, &retries, UnixMillis(case.now));
        prop_assert!(found.unknown.is_empty());
        for t in 0..=case.now + 5 {
            let failed = t <= case.now && (0..=case.waits.len()).all(|k| case.may_fail(t, k));
            prop_assert_eq!(has(&found.lost, t), failed && case.is_over(t), "lost at {}", t);
            prop_assert_eq!(has(&found.pending, t), failed && !case.is_over(t), "pending at {}", t);
        }
    }

    /// Providers that keep to their schedule as well as they can: whatever one has given up is named.
    #[test]
    fn no_event_that_a_provider_gives_up_is_left_out(case in case(), seed in any::<u64>()) {
        let retries = retries(Some(&case.waits), None, case.timeout);
        let found = windows(&case.gaps, &retries, UnixMillis(case.now));
        let mut rng = fastrand::Rng::with_seed(seed);
        for t in 0..=case.now {
            let mut at = t;
            let mut failed = case.fails(at) && at <= case.now;
            let mut over = true;
            for wait in &case.waits {
                let jitter = wait * TOLERANCE_PERCENT / 100;
                at += rng.u64(0..=case.timeout) + wait - jitter + rng.u64(0..=2 * jitter);
                let is_over = at + case.timeout < case.now;
                failed &= !is_over || case.fails(at);
                over &= is_over;
            }
            if failed && over {
                let named = has(&found.lost, t) || has(&found.pending, t);
                prop_assert!(named, "{} is given up: {:?}", t, found);
            } else if failed {
                prop_assert!(has(&found.pending, t), "{} is still tried: {:?}", t, found);
            }
        }
    }

    /// Whoever sends again for a time, nobody knows when: all within a gap is lost.
    #[test]
    fn with_a_horizon_alone_what_lies_within_one_gap_is_named(case in case(), horizon in 0u64..100) {
        let retries = retries(None, Some(horizon), case.timeout);
        let found = windows(&case.gaps, &retries, UnixMillis(case.now));
        for t in 0..=case.now {
            let within = case.gaps.iter().any(|g| g.from.0 <= t && t + horizon <= g.until.0);
            let named = has(&found.lost, t) || has(&found.pending, t);
            prop_assert!(!within || named, "{}: {:?}", t, found);
            prop_assert!(!named || case.fails(t), "{}: {:?}", t, found);
        }
    }

    #[test]
    fn more_gaps_never_lose_less(case in case(), from in 0u64..300, long in 0u64..80) {
        let retries = retries(Some(&case.waits), None, case.timeout);
        let fewer = windows(&case.gaps, &retries, UnixMillis(case.now));
        let mut gaps = case.gaps.clone();
        gaps.push(gap(from, from + long));
        let more = windows(&gaps, &retries, UnixMillis(case.now));
        prop_assert!(fewer.lost.without(&more.lost).is_empty());
        prop_assert!(fewer.pending.without(&more.pending).is_empty());
    }
}
