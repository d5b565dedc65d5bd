use super::circuit::PROBE_MAX;
use super::*;

const DEADLINE: u64 = 100_000;

pub(super) const ORDERED: LaneRules = LaneRules {
    ordered: true,
    give_up: Duration::from_millis(DEADLINE),
    retry_max: Duration::from_millis(DEADLINE),
};

pub(super) fn entry(n: u64, subject: Option<u64>) -> Entry {
    Entry {
        acted_at: None,
        sequence: Sequence(n),
        place: Place { segment: 1, offset: u32::try_from(n).unwrap() },
        subject,
        received_at: UnixMillis(n),
        deadline: Ticks(DEADLINE + n),
        attempts: 0,
        due: Ticks(n),
        hot: None,
    }
}

fn lane(events: u64) -> Lane {
    let mut lane = Lane::new(ORDERED, 100);
    for n in 1..=events {
        assert!(lane.push(entry(n, None)));
    }
    lane
}

pub(super) fn taken(take: Take) -> Sequence {
    match take {
        Take::Ready(entry) => entry.sequence,
        other => panic!("{other:?}"),
    }
}

/// Takes the next delivery at `now` and lets it fail without an answer.
fn fail_next(lane: &mut Lane, now: u64) {
    let sequence = taken(lane.take(Ticks(now)));
    let retry = Settled::RetryAt(Ticks(now + 50_000));
    lane.settle(sequence, retry, Some(Sign::Silent), Ticks(now));
}

#[test]
fn an_outage_leaves_one_probe_at_growing_distances() {
    let mut lane = lane(20);
    for _ in 0..8 {
        fail_next(&mut lane, 1000);
    }
    assert!(matches!(lane.take(Ticks(1000)), Take::Wait(Ticks(1250))));
    fail_next(&mut lane, 1250);
    assert!(matches!(lane.take(Ticks(1250)), Take::Wait(Ticks(1750))));
    let probe = taken(lane.take(Ticks(1750)));
    assert!(matches!(lane.take(Ticks(1750)), Take::Wait(_)), "one probe at a time");
    lane.settle(probe, Settled::Done, Some(Sign::Alive), Ticks(1760));
    taken(lane.take(Ticks(1760)));
    taken(lane.take(Ticks(1760)));
}

#[test]
fn the_distance_between_probes_is_bounded() {
    let mut lane = lane(60);
    for _ in 0..8 {
        fail_next(&mut lane, 0);
    }
    let (mut now, mut longest) = (0, 0);
    for _ in 0..20 {
        let Take::Wait(Ticks(at)) = lane.take(Ticks(now)) else { panic!("no wait") };
        longest = longest.max(at - now);
        now = at;
        fail_next(&mut lane, now);
    }
    assert_eq!(longest, PROBE_MAX);
}

#[test]
fn an_answer_of_any_kind_ends_the_counting() {
    let mut lane = lane(40);
    for n in 0..30 {
        let sequence = taken(lane.take(Ticks(100)));
        let sign = if n % 7 == 6 { Sign::Alive } else { Sign::Silent };
        lane.settle(sequence, Settled::RetryAt(Ticks(90_000)), Some(sign), Ticks(100));
    }
}

#[test]
fn in_an_outage_a_delivery_still_gets_its_last_attempt_at_its_deadline() {
    let mut lane = lane(10);
    for _ in 0..8 {
        fail_next(&mut lane, 0);
    }
    let probe = taken(lane.take(Ticks(250)));
    assert!(matches!(lane.take(Ticks(DEADLINE)), Take::Wait(_)));
    let last = taken(lane.take(Ticks(DEADLINE + 10)));
    assert_ne!(last, probe);
    lane.settle(last, Settled::Done, Some(Sign::Silent), Ticks(DEADLINE + 10));
}

/// What came to the front in an outage after a dead one of its subject stood in a line, so that one with
/// a late deadline kept those behind it for as long.
#[test]
fn in_an_outage_what_comes_after_a_dead_one_is_given_up_in_its_own_time() {
    let mut lane = lane(4);
    let late = |n, subject| Entry { deadline: Ticks(2 * DEADLINE + n), ..entry(n, subject) };
    for waiting in [
        entry(5, Some(1)),
        entry(6, Some(2)),
        entry(7, Some(2)),
        late(8, Some(1)),
        late(9, None),
        late(10, None),
    ] {
        lane.push(waiting);
    }
    for _ in 0..8 {
        fail_next(&mut lane, 100);
    }
    let now = Ticks(DEADLINE + 20);
    let mut gone = Vec::new();
    while let Take::Ready(entry) = lane.take(now) {
        gone.push(entry.sequence.0);
        lane.settle(entry.sequence, Settled::Dead, Some(Sign::Silent), now);
    }
    assert_eq!(gone, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!((lane.held(), lane.entries().count()), (3, 3));
}

#[test]
fn a_probe_that_is_put_back_lets_another_one_go() {
    let mut lane = lane(20);
    for _ in 0..8 {
        fail_next(&mut lane, 0);
    }
    let probe = taken(lane.take(Ticks(250)));
    lane.settle(probe, Settled::PutBack, None, Ticks(251));
    assert_eq!(taken(lane.take(Ticks(251))), probe);
}

/// A look at the lane while a probe was on its way put every retry that was due off by ten seconds,
/// so that an app that had been away for a moment got its events that much later.
#[test]
fn what_became_due_in_an_outage_goes_as_soon_as_the_upstream_is_back() {
    let mut lane = lane(10);
    for n in 1..=8 {
        let sequence = taken(lane.take(Ticks(10)));
        assert_eq!(sequence, Sequence(n));
        lane.settle(sequence, Settled::RetryAt(Ticks(20 + n)), Some(Sign::Silent), Ticks(10));
    }
    assert!(matches!(lane.take(Ticks(100)), Take::Wait(Ticks(260))));
    let probe = taken(lane.take(Ticks(260)));
    assert!(matches!(lane.take(Ticks(261)), Take::Wait(_)), "one probe at a time");
    assert_eq!((lane.held(), lane.entries().count()), (10, 10));
    lane.settle(probe, Settled::Done, Some(Sign::Alive), Ticks(262));
    let mut back: Vec<u64> = (0..9).map(|_| taken(lane.take(Ticks(262))).0).collect();
    back.push(probe.0);
    back.sort_unstable();
    assert_eq!(back, (1..=10).collect::<Vec<_>>());
}

#[test]
fn retries_that_are_due_go_before_events_that_came_later() {
    let mut lane = lane(3);
    let first = taken(lane.take(Ticks(3)));
    lane.settle(first, Settled::RetryAt(Ticks(3)), Some(Sign::Alive), Ticks(3));
    assert_eq!(taken(lane.take(Ticks(3))), Sequence(2), "it has been due for longer");
    assert_eq!(taken(lane.take(Ticks(3))), first);
    assert_eq!(taken(lane.take(Ticks(3))), Sequence(3));
    assert!(matches!(lane.take(Ticks(3)), Take::Idle));
}

#[test]
fn one_subject_goes_one_at_a_time_and_in_order() {
    let mut lane = Lane::new(ORDERED, 100);
    for n in 1..=6 {
        lane.push(entry(n, Some(n % 2)));
    }
    let (odd, even) = (taken(lane.take(Ticks(9))), taken(lane.take(Ticks(9))));
    assert_eq!((odd, even), (Sequence(1), Sequence(2)));
    assert!(matches!(lane.take(Ticks(9)), Take::Idle));
    lane.settle(odd, Settled::RetryAt(Ticks(20)), Some(Sign::Alive), Ticks(9));
    assert!(matches!(lane.take(Ticks(9)), Take::Wait(Ticks(20))), "a retry holds its subject");
    lane.settle(even, Settled::Done, Some(Sign::Alive), Ticks(9));
    assert_eq!(taken(lane.take(Ticks(9))), Sequence(4));
    assert_eq!(taken(lane.take(Ticks(20))), Sequence(1));
    lane.settle(Sequence(1), Settled::Done, Some(Sign::Alive), Ticks(20));
    assert_eq!(taken(lane.take(Ticks(20))), Sequence(3));
    assert_eq!(lane.backlog(), 4);
}

fn rules(ordered: bool) -> LaneRules {
    LaneRules { ordered, ..ORDERED }
}

fn switch(lane: &mut Lane, rules: LaneRules, now: u64) {
    lane.reconfigure(rules, Ticks(now), |at| Ticks(DEADLINE + at.0));
}

#[test]
fn what_waits_behind_its_subject_goes_when_order_is_given_up() {
    let mut lane = Lane::new(ORDERED, 100);
    for n in 1..=3 {
        lane.push(entry(n, Some(7)));
    }
    assert_eq!(taken(lane.take(Ticks(9))), Sequence(1));
    assert!(matches!(lane.take(Ticks(9)), Take::Idle));
    switch(&mut lane, rules(false), 9);
    assert_eq!(taken(lane.take(Ticks(9))), Sequence(2));
    assert_eq!(taken(lane.take(Ticks(9))), Sequence(3));
}

#[test]
fn a_shorter_longest_wait_holds_for_what_waits_already() {
    let mut lane = lane(1);
    let sequence = taken(lane.take(Ticks(10)));
    lane.settle(sequence, Settled::RetryAt(Ticks(50_000)), Some(Sign::Alive), Ticks(10));
    let short = LaneRules { retry_max: Duration::from_millis(100), ..ORDERED };
    switch(&mut lane, short, 10);
    assert!(matches!(lane.take(Ticks(10)), Take::Wait(Ticks(110))));
    let sequence = taken(lane.take(Ticks(110)));
    lane.settle(sequence, Settled::RetryAt(Ticks(50_000)), Some(Sign::Alive), Ticks(110));
    assert!(matches!(lane.take(Ticks(110)), Take::Wait(Ticks(210))), "an old attempt's verdict");
}

#[test]
fn an_upstream_that_was_out_is_tried_at_once_when_it_is_another_one() {
    let mut lane = lane(20);
    for _ in 0..8 {
        fail_next(&mut lane, 1000);
    }
    assert!(matches!(lane.take(Ticks(1000)), Take::Wait(_)));
    lane.presume_up(1, Ticks(0));
    taken(lane.take(Ticks(1000)));
    taken(lane.take(Ticks(1000)));
}

/// Whatever happens between: every delivery is done once, and while the lane is ordered none
/// begins before those of its subject that came before it are done.
#[test]
fn order_can_be_turned_on_and_off_at_any_time() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut lane = Lane::new(rules(random.bool()), 1000);
        let (mut open, mut flying) = (Vec::<u64>::new(), Vec::<u64>::new());
        let (mut pushed, mut now) = (0, 0);
        while pushed < 80 || !open.is_empty() {
            now += random.u64(..20);
            match random.u8(..10) {
                0..3 if pushed < 80 => {
                    pushed += 1;
                    lane.push(Entry { due: Ticks(now), ..entry(pushed, Some(pushed % 5)) });
                    open.push(pushed);
                }
                3..6 => {
                    if let Take::Ready(entry) = lane.take(Ticks(now)) {
                        let n = entry.sequence.0;
                        assert!(!flying.contains(&n), "seed {seed}: {n} is out twice");
                        let first = open.iter().find(|other| *other % 5 == n % 5);
                        let in_order = !lane.rules().ordered || first == Some(&n);
                        assert!(in_order, "seed {seed}: {n} before {first:?}");
                        flying.push(n);
                    }
                }
                6..9 if !flying.is_empty() => {
                    let n = flying.swap_remove(random.usize(..flying.len()));
                    let (settled, sign) = match random.u8(..8) {
                        0 => (Settled::PutBack, None),
                        1..3 => (Settled::RetryAt(Ticks(now + 30)), Some(Sign::Alive)),
                        3 => (Settled::RetryAt(Ticks(now + 30)), Some(Sign::Silent)),
                        _ => (Settled::Done, Some(Sign::Alive)),
                    };
                    if settled == Settled::Done {
                        open.retain(|other| *other != n);
                    }
                    lane.settle(Sequence(n), settled, sign, Ticks(now));
                }
                9 if random.u8(..4) == 0 => {
                    let ordered = !lane.rules().ordered;
                    switch(&mut lane, rules(ordered), now);
                }
                _ => {}
            }
            assert_eq!(lane.held(), open.len(), "seed {seed}");
            assert_eq!(lane.entries().count(), open.len(), "seed {seed}");
        }
    }
}

#[test]
fn what_says_nothing_about_the_upstream_does_not_make_it_count_as_out() {
    let mut lane = lane(20);
    for _ in 0..19 {
        let sequence = taken(lane.take(Ticks(1000)));
        lane.settle(sequence, Settled::RetryAt(Ticks(60_000)), None, Ticks(1000));
    }
    assert_eq!(taken(lane.take(Ticks(1000))), Sequence(20));
}

#[test]
fn the_oldest_is_known_wherever_the_lane_keeps_it() {
    let mut lane = Lane::new(ORDERED, 3);
    assert_eq!(lane.oldest_received(), None);
    for n in 1..=5 {
        lane.push(entry(n, Some(1)));
    }
    let first = taken(lane.take(Ticks(10)));
    assert_eq!(lane.oldest_received(), Some(UnixMillis(1)), "taken");
    lane.settle(first, Settled::RetryAt(Ticks(20)), Some(Sign::Alive), Ticks(10));
    assert!(matches!(lane.take(Ticks(11)), Take::Wait(_)), "the others wait for their subject");
    assert_eq!(lane.oldest_received(), Some(UnixMillis(1)), "to be tried again");
    let first = taken(lane.take(Ticks(20)));
    lane.settle(first, Settled::Dead, Some(Sign::Alive), Ticks(20));
    assert_eq!(lane.oldest_received(), Some(UnixMillis(2)));
    assert_eq!((lane.dead().count(), lane.backlog()), (1, 4));
    let place = Place { segment: 1, offset: 99 };
    lane.refilled(vec![entry(4, None), entry(5, None)], Sequence(6), place, Ticks(21));
    for _ in 2..=5 {
        assert_eq!(lane.oldest_received().map(|at| at.0), Some(6 - lane.backlog()));
        let sequence = taken(lane.take(Ticks(30)));
        lane.settle(sequence, Settled::Done, Some(Sign::Alive), Ticks(30));
    }
    assert_eq!((lane.oldest_received(), lane.dead().count()), (None, 1));
}
