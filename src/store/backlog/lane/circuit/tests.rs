use super::super::tests::{ORDERED, entry, taken};
use super::super::{Entry, Lane, Settled, Take};
use super::*;

const FULL: usize = 8;

/// A lane of an upstream that takes [`FULL`] at once.
fn lane(events: u64) -> Lane {
    let mut lane = Lane::new(ORDERED, 1000);
    lane.presume_up(FULL, Ticks(0));
    for n in 1..=events {
        lane.push(entry(n, None));
    }
    lane
}

fn state(lane: &Lane) -> CircuitState {
    lane.circuit().state()
}

/// Takes the next delivery and settles it: delivered, or to be tried again at `due`.
fn attempt(lane: &mut Lane, sign: Sign, now: u64, due: u64) -> (u64, Option<Turn>) {
    let sequence = taken(lane.take(Ticks(now)));
    let settled = if sign == Sign::Alive { Settled::Done } else { Settled::RetryAt(Ticks(due)) };
    (sequence.0, lane.settle(sequence, settled, Some(sign), Ticks(now)))
}

/// Fails until the circuit opens, all at once or, if it answers, over a while; how often that was.
fn fail_until_open(lane: &mut Lane, sign: Sign, begin: u64) -> (u32, u64) {
    let step = if sign == Sign::Failing { 400 } else { 0 };
    for n in 0..100 {
        let now = begin + step * u64::from(n);
        if attempt(lane, sign, now, 90_000).1 == Some(Turn::Opened) {
            return (n + 1, now);
        }
    }
    panic!("it stays closed: {lane:?}");
}

#[test]
fn failures_in_a_row_at_many_events_open_it() {
    for (sign, after) in [(Sign::Silent, SILENT_AFTER), (Sign::Failing, FAILING_AFTER)] {
        let mut lane = lane(40);
        let (failures, at) = fail_until_open(&mut lane, sign, 0);
        assert_eq!(failures, after, "{sign:?}");
        assert_eq!((state(&lane), lane.circuit().limit()), (CircuitState::Open, 0));
        assert_eq!((lane.circuit().opened(), lane.circuit().since()), (1, Ticks(at)));
        assert!(matches!(lane.take(Ticks(at)), Take::Wait(Ticks(n)) if n == at + PROBE_FIRST));
    }
}

/// An app that refuses the first attempts at each event got the others a second apart.
#[test]
fn answers_that_fail_open_it_only_if_that_goes_on() {
    let mut lane = lane(500);
    for _ in 0..400 {
        attempt(&mut lane, Sign::Failing, FAILING_FOR - 1, 90_000);
    }
    assert_eq!(state(&lane), CircuitState::Closed, "all of them came at once");
    let (_, turn) = attempt(&mut lane, Sign::Failing, 2 * FAILING_FOR - 1, 90_000);
    assert_eq!(turn, Some(Turn::Opened));
}

/// A few events that always fail were taken for an upstream that does.
#[test]
fn a_few_events_that_always_fail_do_not_open_it() {
    for sign in [Sign::Silent, Sign::Failing] {
        let mut lane = lane(7);
        for n in 0..500 {
            attempt(&mut lane, sign, 100 * n, 0);
        }
        assert_eq!(state(&lane), CircuitState::Closed, "{sign:?}");
    }
}

#[test]
fn one_good_answer_among_them_keeps_it_closed() {
    let mut lane = lane(200);
    for n in 0..180 {
        let sign = if n % 15 == 14 { Sign::Alive } else { Sign::Failing };
        attempt(&mut lane, sign, 400 * n, 99_000);
    }
    assert_eq!(state(&lane), CircuitState::Closed);
}

#[test]
fn a_probe_that_fails_as_well_is_followed_by_a_later_one() {
    let silent = [500, 1000, 2000, 4000, 8000, PROBE_MAX, PROBE_MAX];
    let answered = [500, 1000, 1000, 1000];
    for (sign, waits) in [(Sign::Silent, &silent[..]), (Sign::Failing, &answered)] {
        let mut lane = lane(40);
        let (_, opened) = fail_until_open(&mut lane, sign, 0);
        let mut now = opened + PROBE_FIRST;
        for wait in waits {
            let probe = taken(lane.take(Ticks(now)));
            assert_eq!(state(&lane), CircuitState::HalfOpen);
            assert!(matches!(lane.take(Ticks(now)), Take::Wait(_)), "one probe at a time");
            lane.settle(probe, Settled::RetryAt(Ticks(90_000)), Some(sign), Ticks(now));
            assert!(matches!(lane.take(Ticks(now)), Take::Wait(Ticks(at)) if at == now + wait));
            now += wait;
        }
        assert_eq!(lane.circuit().since(), Ticks(opened), "it has been open all the time");
    }
}

#[test]
fn after_an_outage_each_good_answer_lets_one_more_go_at_once() {
    let mut lane = lane(100);
    fail_until_open(&mut lane, Sign::Silent, 0);
    assert_eq!(attempt(&mut lane, Sign::Alive, 250, 0).1, Some(Turn::Answered));
    let mut in_flight: Vec<Sequence> = Vec::new();
    for limit in 1..FULL {
        assert_eq!((state(&lane), lane.circuit().limit()), (CircuitState::SlowStart, limit));
        while let Take::Ready(Entry { sequence, .. }) = lane.take(Ticks(300)) {
            in_flight.push(sequence);
        }
        assert_eq!(in_flight.len(), limit);
        let turn = lane.settle(in_flight.remove(0), Settled::Done, Some(Sign::Alive), Ticks(300));
        assert_eq!(turn, (limit + 1 == FULL).then_some(Turn::Recovered));
    }
    assert_eq!((state(&lane), lane.circuit().limit()), (CircuitState::Closed, FULL));
    for _ in 0..20 {
        taken(lane.take(Ticks(300)));
    }
}

#[test]
fn a_failure_halves_what_goes_at_once_and_an_outage_opens_it_again() {
    let mut lane = lane(100);
    fail_until_open(&mut lane, Sign::Silent, 0);
    for _ in 0..6 {
        attempt(&mut lane, Sign::Alive, 250, 0);
    }
    assert_eq!(lane.circuit().limit(), 6);
    for limit in [3, 1, 1, 1] {
        attempt(&mut lane, Sign::Failing, 300, 50_000);
        assert_eq!(lane.circuit().limit(), limit);
    }
    assert!(fail_until_open(&mut lane, Sign::Silent, 300).0 <= SILENT_AFTER);
    assert_eq!(lane.circuit().opened(), 2);
}

/// Events that always fail must not be all that an upstream is judged by: among those that failed in an
/// outage and those that came since, each gets its turn as a probe.
#[test]
fn events_that_always_fail_do_not_keep_it_open() {
    for (failing, good) in [(1..=16, 17_u64), (2..=16_u64, 1)] {
        let mut lane = lane(17);
        // A good one that failed once, in the outage, is held back with the others.
        let fail = |lane: &mut Lane, n: u64, now: u64| {
            let sequence = taken(lane.take(Ticks(now)));
            assert_eq!(sequence, Sequence(n));
            let due = Settled::RetryAt(Ticks(FAILING_FOR + 1));
            lane.settle(sequence, due, Some(Sign::Failing), Ticks(now))
        };
        if good == 1 {
            fail(&mut lane, 1, 0);
        }
        for n in failing.clone() {
            // The last one is at the time when it opens.
            let now = if n == *failing.end() { FAILING_FOR } else { 0 };
            fail(&mut lane, n, now);
        }
        // Whatever its backoff is, what fails is always due again by the next probe.
        let (mut now, mut probes) = (FAILING_FOR, 0);
        while state(&lane) != CircuitState::SlowStart && state(&lane) != CircuitState::Closed {
            let Take::Wait(Ticks(at)) = lane.take(Ticks(now)) else { panic!("{lane:?}") };
            now = at;
            let probe = taken(lane.take(Ticks(now)));
            let (settled, sign) = if probe == Sequence(good) {
                (Settled::Done, Sign::Alive)
            } else {
                (Settled::RetryAt(Ticks(now + 1)), Sign::Failing)
            };
            lane.settle(probe, settled, Some(sign), Ticks(now));
            probes += 1;
            assert!(probes <= 2 * 17, "event {good} is never the probe");
        }
        assert!(good == 1 || probes <= 2, "what was never tried is the first or second probe");
    }
}

#[test]
fn a_good_answer_that_comes_late_counts_as_well() {
    let mut lane = lane(40);
    let late = taken(lane.take(Ticks(0)));
    fail_until_open(&mut lane, Sign::Silent, 0);
    let turn = lane.settle(late, Settled::Done, Some(Sign::Alive), Ticks(100));
    assert_eq!((turn, state(&lane)), (Some(Turn::Answered), CircuitState::SlowStart));
}

#[test]
fn another_upstream_does_not_begin_with_an_open_one() {
    let mut lane = lane(40);
    fail_until_open(&mut lane, Sign::Silent, 0);
    lane.presume_up(3, Ticks(70));
    let circuit = lane.circuit();
    assert_eq!((circuit.state(), circuit.limit()), (CircuitState::SlowStart, 1));
    assert_eq!((circuit.opened(), circuit.since()), (1, Ticks(70)));
}

#[test]
fn a_backlog_meets_an_upstream_of_which_nothing_is_known_slowly() {
    let mut lane = lane(FULL as u64 + 10);
    lane.presume_up(FULL, Ticks(0));
    assert_eq!((state(&lane), lane.circuit().limit()), (CircuitState::SlowStart, 1));
    for n in 1..FULL {
        assert_eq!(lane.circuit().limit(), n);
        let (_, turn) = attempt(&mut lane, Sign::Alive, 1, 0);
        assert_eq!(turn, (n + 1 == FULL).then_some(Turn::Recovered));
    }
    assert_eq!(state(&lane), CircuitState::Closed);
    lane.presume_up(FULL + 100, Ticks(2));
    assert_eq!(state(&lane), CircuitState::Closed, "no more than it takes at once waits");
}
