//! What stands singly, and what is summed.

use std::net::Ipv4Addr;

use super::minute::{FIRST, FIRST_OF_ALL, PAIRS, SHARE, SINGLE, SINGLE_OF_ALL};
use super::*;
use crate::clock::UnixMillis;
use crate::listen::{Listener, Origin};

const START: UnixMillis = UnixMillis(1_736_937_000_000);
const FORGED: Ending = Ending::Refused(Reason::SignatureInvalid);
const MINUTE: Duration = Duration::from_secs(60);

fn refusals() -> (Refusals, Clock) {
    let clock = Clock::manual(START);
    (Refusals::new(clock.clone()), clock)
}

fn client(n: u32) -> Option<IpAddr> {
    Some(Ipv4Addr::from_bits(0x0a00_0000 + n).into())
}

fn name(name: &str) -> SourceName {
    SourceName::new(name).unwrap()
}

/// All that is to be told, the most frequent first.
fn told(refusals: &Refusals) -> Vec<Told> {
    let now = refusals.clock.now();
    refusals.minute.lock().turn(now);
    let mut told: Vec<Told> = Vec::new();
    loop {
        let some = refusals.some_ended();
        if some.is_empty() {
            told.sort_by_key(|told| std::cmp::Reverse(told.sum.count));
            return told;
        }
        told.extend(some);
    }
}

#[test]
fn a_hundred_of_a_client_and_reason_stand_singly_in_a_minute() {
    let (refusals, clock) = refusals();
    let lab = name("lab");
    for n in 0..250 {
        let single = refusals.stands_singly(FORGED, client(1), Some(&lab));
        assert_eq!(single, n < 100, "{n}");
        clock.advance(Duration::from_millis(10));
    }
    assert!(refusals.stands_singly(FORGED, client(2), None));
    assert!(refusals.stands_singly(Ending::Abandoned, client(1), None));
    assert!(refusals.stands_singly(FORGED, None, None));
    assert_eq!(told(&refusals), [], "the minute is not over");
    clock.advance(MINUTE);
    let sum = Sum {
        count: 150,
        first: UnixMillis(START.0 + 1000),
        last: UnixMillis(START.0 + 2490),
        source: Some(lab),
        listener: None,
        client: client(1),
        who: None,
    };
    assert_eq!(told(&refusals), [Told { ending: FORGED, many_clients: false, sum }]);
    assert!(refusals.stands_singly(FORGED, client(1), None), "a new minute");
    clock.advance(MINUTE);
    assert_eq!(told(&refusals), []);
}

#[test]
fn minutes_are_the_clocks() {
    let (refusals, clock) = refusals();
    clock.advance(Duration::from_secs(59));
    for _ in 0..101 {
        refusals.stands_singly(FORGED, client(1), None);
    }
    clock.advance(Duration::from_secs(1));
    assert!(refusals.stands_singly(FORGED, client(1), None));
    assert_eq!(told(&refusals).len(), 1);
}

/// A thread that had looked at the clock at the end of a minute and came late ended the next one, and
/// whoever had used up that one's bounds had them anew, twice.
#[test]
fn a_minute_has_its_bounds_once_although_somebody_is_late() {
    let (refusals, clock) = refusals();
    clock.advance(MINUTE);
    let on_time = clock.now();
    let flood = || (0..SINGLE).filter(|_| refusals.stands_singly(FORGED, client(1), None)).count();
    assert_eq!(flood() as u64, SINGLE);
    for late in [Duration::from_millis(1), MINUTE] {
        clock.step_to(on_time.before(late));
        assert_eq!(flood(), 0, "{late:?}");
        clock.step_to(on_time);
        assert_eq!(flood(), 0, "{late:?}");
    }
    // A clock that was set back by more than that begins anew.
    clock.step_to(on_time.before(2 * MINUTE));
    assert_eq!(flood() as u64, SINGLE);
}

#[test]
fn a_sum_names_the_listener_if_it_is_one() {
    let (refusals, clock) = refusals();
    let refuse = |listener, n: u8| {
        let peer = ([192, 0, 2, n], 9).into();
        let origin = Origin { listener, ..Origin::plain(peer) };
        refusals.record(&Refused::connection(Reason::CredentialInvalid, "why", &origin));
    };
    for _ in 0..101 {
        refuse(Listener::Admin, 1);
        refuse(Listener::Admin, 2);
    }
    refuse(Listener::Socket, 2);
    clock.advance(MINUTE);
    let mut sums = told(&refusals);
    sums.sort_by_key(|told| told.sum.client);
    let named: Vec<_> = sums.iter().map(|told| told.record().unwrap().listener).collect();
    assert_eq!(named, [Some(Listener::Admin), None]);
}

#[test]
fn a_sum_names_the_source_if_it_is_one() {
    let (refusals, clock) = refusals();
    for source in ["lab", "pharmacy"] {
        for _ in 0..101 {
            refusals.stands_singly(FORGED, client(1), Some(&name(source)));
        }
    }
    clock.advance(MINUTE);
    assert_eq!(told(&refusals)[0].sum.source, None);
}

#[test]
fn a_million_clients_take_no_more_room_than_a_few_thousand() {
    let (refusals, clock) = refusals();
    let mut single = 0;
    for n in 0..1_000_000 {
        single += u64::from(refusals.stands_singly(FORGED, client(n), None));
    }
    // With what is kept for 2,048 networks.
    assert!((PAIRS as u64..=2 * PAIRS as u64 + 8 * 2_048).contains(&single), "{single}");
    {
        let [pairs, networks, others, _] = refusals.minute.lock().sizes();
        assert_eq!((pairs, others), (2 * PAIRS, 1));
        assert!(networks <= PAIRS / 256 + 2_048, "{networks}");
    }
    clock.advance(MINUTE);
    let told = told(&refusals);
    assert!(told[0].sum.count > 900_000);
    assert!(told[0].many_clients);
    let counted: u64 = told.iter().map(|told| told.sum.count).sum();
    assert_eq!(counted + single, 1_000_000, "nothing is lost");
}

/// Forty addresses had used up all single lines, and a forged request from another one had no
/// record of its own.
#[test]
fn the_first_few_of_a_client_stand_singly_whatever_others_send() {
    let (refusals, clock) = refusals();
    let mut single = 0;
    for n in 0..100 {
        for _ in 0..100 {
            // Each in a network of its own.
            single += u64::from(refusals.stands_singly(FORGED, client(n << 8), None));
        }
    }
    assert_eq!(single, SINGLE_OF_ALL + 100 * FIRST, "bounded for all together");
    let other = client(1000 << 8);
    for n in 0..5 {
        assert_eq!(refusals.stands_singly(FORGED, other, None), n < FIRST, "{n}");
    }
    clock.advance(MINUTE);
    let told = told(&refusals);
    let sum = told.iter().find(|told| told.sum.client == other);
    assert_eq!(sum.map(|told| told.sum.count), Some(2));
}

/// 4,200 addresses of one IPv6 network had used up all pairs, and who came from elsewhere was one of
/// "many", without an address.
#[test]
fn a_network_takes_no_more_than_its_share() {
    let (refusals, _clock) = refusals();
    let from = |site: u128, n: u128| {
        Some(IpAddr::from(std::net::Ipv6Addr::from_bits(site << 80 | n << 64 | 1)))
    };
    let mut single = 0;
    for n in 0..5_000 {
        for _ in 0..5 {
            single += u64::from(refusals.stands_singly(FORGED, from(0x2001_0db8_0001, n), None));
        }
    }
    // And what is kept for each.
    let share = |all: u64| all / SHARE..=all / SHARE + 8;
    assert!(share(SINGLE_OF_ALL + FIRST_OF_ALL).contains(&single), "{single}");
    let pairs = refusals.minute.lock().sizes()[0] as u64;
    assert!(share(PAIRS as u64).contains(&pairs), "{pairs}");
    let elsewhere = from(0x2001_0db8_0002, 1);
    assert!((0..SINGLE).all(|_| refusals.stands_singly(FORGED, elsewhere, None)));
}

#[test]
fn sums_that_nobody_tells_are_bounded_and_not_lost() {
    let (refusals, clock) = refusals();
    let mut single = 0;
    for _ in 0..10 {
        for n in 0..2 * 4_096 {
            single += u64::from(refusals.stands_singly(FORGED, client(n), None));
        }
        clock.advance(MINUTE);
    }
    let now = refusals.clock.now();
    refusals.minute.lock().turn(now);
    assert!(refusals.minute.lock().sizes()[3] <= 2 * PAIRS);
    let early: u64 = told(&refusals).iter().map(|told| told.sum.count).sum();
    clock.advance(MINUTE);
    let late: u64 = told(&refusals).iter().map(|told| told.sum.count).sum();
    assert_eq!(single + early + late, 10 * 2 * 4_096);
}

const GIB: u64 = 1 << 30;

/// What the trail gets in a minute of so many clients who each send so many for every one of these reasons.
fn recorded_in_a_minute(refusals: &Refusals, clock: &Clock, clients: u32, each: u64) -> u64 {
    const REASONS: [Reason; 3] =
        [Reason::SignatureInvalid, Reason::UnknownRoute, Reason::BodyTooLarge];
    let all = (0..clients).flat_map(|n| REASONS.map(|reason| (client(n << 8), reason)));
    let send = |(client, reason)| {
        let ending = Ending::Refused(reason);
        (0..each).filter(|_| refusals.stands_singly(ending, client, None)).count() as u64
    };
    let single: u64 = all.map(send).sum();
    clock.advance(MINUTE);
    single + told(refusals).len() as u64
}

/// One client with a few reasons had pushed years of records out of the trail within days, and a few
/// thousand within hours.
#[test]
fn however_long_a_flood_goes_on_weeks_of_records_stay() {
    const DAY: u64 = 24 * 60;
    for (clients, each) in [(1, 101), (6, 101), (400, 2)] {
        let (refusals, clock) = refusals();
        refusals.resize(GIB);
        let minute = || recorded_in_a_minute(&refusals, &clock, clients, each);
        let in_advance = (0..DAY).find(|_| minute() < 100).expect("it gets less");
        assert!(in_advance > 5, "{clients}: {in_advance}");
        let later: Vec<_> = (0..DAY / 3).map(|_| minute()).collect();
        assert!(!later.contains(&0), "{clients}: each minute has some");
        let in_a_day: u64 = later.iter().sum::<u64>() * 3;
        // With what is kept for those of whom little was recorded.
        assert!(in_a_day * 14 * 2048 <= GIB * 12 / 10, "{clients}: {in_a_day}");
    }
}

#[test]
fn who_has_flooded_for_hours_takes_no_line_from_others() {
    let (refusals, clock) = refusals();
    refusals.resize(GIB);
    let flood = || (0..SINGLE).filter(|_| refusals.stands_singly(FORGED, client(1), None)).count();
    let mut minutes = 0;
    while flood() as u64 == SINGLE {
        minutes += 1;
        assert!(minutes < 24 * 60, "no end");
        clock.advance(MINUTE);
    }
    assert!(minutes > 60, "an hour of it is recorded as ever: {minutes}");
    assert!((0..SINGLE).all(|_| refusals.stands_singly(FORGED, client(1 << 8), None)));
    let sums = told(&refusals);
    clock.advance(MINUTE);
    assert_eq!(sums, [], "of the minutes before none");
    let sum: u64 = told(&refusals).iter().map(|told| told.sum.count).sum();
    assert_eq!(sum, SINGLE - FIRST, "what does not stand singly is counted");
    // Two days without it, and all is as it was.
    clock.advance(2 * 24 * 60 * MINUTE);
    assert_eq!(flood() as u64, SINGLE);
}

/// Requests whose clients went away used up what refusals may take of the trail, which has nothing of them.
#[test]
fn what_leaves_no_record_takes_none_from_refusals() {
    let (refusals, clock) = refusals();
    refusals.resize(GIB);
    let send = |ending, n: u32| {
        (0..2 * SINGLE).filter(|_| refusals.stands_singly(ending, client(n << 8), None)).count()
    };
    for _ in 0..120 {
        for ending in [Ending::Abandoned, Ending::CutOff] {
            (1..8).for_each(|n| assert!(send(ending, n) > 0));
        }
        clock.advance(MINUTE);
        told(&refusals);
    }
    for n in [1, 2, 1_000] {
        assert_eq!(send(FORGED, n) as u64, SINGLE, "{n}");
    }
}

/// Nor what is kept for those of whom little was recorded.
#[test]
fn what_leaves_no_record_takes_nothing_that_is_kept_for_refusals() {
    let (refusals, _clock) = refusals();
    for n in 0..10_000 {
        refusals.stands_singly(Ending::Abandoned, client(n << 8), None);
    }
    assert!(refusals.stands_singly(FORGED, client(20_000 << 8), None));
}

/// Whether there is a record with this client's address, of a minute in which it was refused this often.
fn is_named(refusals: &Refusals, clock: &Clock, client: Option<IpAddr>, times: usize) -> bool {
    let single = (0..times).filter(|_| refusals.stands_singly(FORGED, client, None)).count();
    clock.advance(MINUTE);
    let sums: Vec<_> = told(refusals).into_iter().filter(|told| !told.many_clients).collect();
    let sum = sums.iter().find(|told| told.sum.client == client);
    single > 0 && (single == times || sum.is_some())
}

/// 412 addresses in four networks, refused for ten reasons each, had taken all that is counted apart:
/// whoever guessed meanwhile was one of many, without address, path or fingerprint.
#[test]
fn a_flood_from_a_few_networks_hides_nobody() {
    let (refusals, clock) = refusals();
    for reason in Reason::ALL.into_iter().take(10) {
        for n in 0..4 {
            for host in 0..103 {
                let ending = Ending::Refused(reason);
                refusals.stands_singly(ending, client(n << 8 | host), None);
            }
        }
    }
    assert!(is_named(&refusals, &clock, client(1_000 << 8), 60));
}

/// After a short flood from six networks had used up the day's records, who came from elsewhere was hidden
/// for hours: of 120 networks with an attack each 52 had no record.
#[test]
fn a_flood_that_is_over_hides_nobody_either() {
    let (refusals, clock) = refusals();
    refusals.resize(GIB);
    for _ in 0..20 {
        recorded_in_a_minute(&refusals, &clock, 400, 5);
    }
    for n in 0..120 {
        // The flood goes on with what it gets.
        for host in 0..100 {
            refusals.stands_singly(FORGED, client(host << 8), None);
        }
        assert!(is_named(&refusals, &clock, client((1_000 + n) << 8), 30), "{n}");
    }
}

/// All operators behind one proxy have its address, and the first hundred lines of one took those of all.
#[test]
fn operators_are_counted_by_name() {
    let (refusals, clock) = refusals();
    let origin = Origin { listener: Listener::Admin, ..Origin::plain(([192, 0, 2, 1], 9).into()) };
    let refuse = |who: &str| {
        let connection = Refused::connection(Reason::NotPermitted, "why", &origin);
        refusals.refused_singly(&Refused { who: Some(who), ..connection })
    };
    let of_vera = (0..130).filter(|_| refuse("vera")).count();
    assert_eq!((of_vera as u64, refuse("olga")), (SINGLE, true));
    clock.advance(MINUTE);
    let told = told(&refusals);
    let named: Vec<_> = told.iter().map(|told| told.record().unwrap().who).collect();
    assert_eq!(named, [Some("vera".to_owned())]);
}
