//! What stands singly, and what is summed.

use std::net::Ipv4Addr;

use super::*;
use crate::listen::Origin;

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
    assert_eq!(single, PAIRS as u64);
    {
        let minute = refusals.minute.lock();
        assert_eq!((minute.pairs.len(), minute.others.len()), (PAIRS, 1));
        assert_eq!(minute.networks.len(), PAIRS / 256);
    }
    clock.advance(MINUTE);
    let told = told(&refusals);
    assert_eq!(told[0].sum.count, 1_000_000 - PAIRS as u64);
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
    assert_eq!(single, (SINGLE_OF_ALL + FIRST_OF_ALL) / SHARE);
    assert_eq!(refusals.minute.lock().pairs.len() as u64, PAIRS as u64 / SHARE);
    let elsewhere = from(0x2001_0db8_0002, 1);
    assert!((0..SINGLE).all(|_| refusals.stands_singly(FORGED, elsewhere, None)));
}

#[test]
fn sums_that_nobody_tells_are_bounded_and_not_lost() {
    let (refusals, clock) = refusals();
    for _ in 0..10 {
        for n in 0..2 * 4_096 {
            refusals.stands_singly(FORGED, client(n), None);
        }
        clock.advance(MINUTE);
    }
    let now = refusals.clock.now();
    refusals.minute.lock().turn(now);
    assert!(refusals.minute.lock().ended.len() <= 2 * PAIRS);
    let early: u64 = told(&refusals).iter().map(|told| told.sum.count).sum();
    clock.advance(MINUTE);
    let late: u64 = told(&refusals).iter().map(|told| told.sum.count).sum();
    assert_eq!(early + late, 10 * (2 * 4_096 - PAIRS as u64));
}
