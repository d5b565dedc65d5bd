//! Who gives way to whom.

use super::super::tests::limits;
use super::*;

fn four_and_two() -> Limits {
    Limits { max_connections: 4, max_connections_per_client: 2, ..limits() }
}

/// As the admin listener has them.
fn sixty_four() -> Limits {
    Limits { max_connections: 64, max_connections_per_client: 16, ..limits() }
}

fn enter_with(seats: &Arc<Seats>, ip: &str, limits: &Limits) -> Option<Entered> {
    seats.enter(SocketAddr::new(ip.parse().unwrap(), 1), limits)
}

fn enter(seats: &Arc<Seats>, ip: &str) -> Option<Entered> {
    enter_with(seats, ip, &four_and_two())
}

fn ips(entered: &Entered) -> Vec<String> {
    entered.displaced.iter().map(|gone| gone.peer.ip().to_string()).collect()
}

fn show(entered: &Entered) -> bool {
    entered.seated.seat.judged(Some(&Withdrawal::default()))
}

/// All places, held by four clients who have shown this token one after another.
fn held_by(token: &Withdrawal) -> (Arc<Seats>, Vec<Entered>) {
    let seats = Arc::new(Seats::default());
    let hold = |n: usize| {
        let ip = format!("192.0.2.{}", n / 16 + 1);
        let entered = enter_with(&seats, &ip, &sixty_four()).unwrap();
        assert!(entered.displaced.is_empty() && entered.seated.seat.judged(Some(token)));
        entered
    };
    let held = (0..64).map(hold).collect();
    (seats, held)
}

#[test]
fn the_oldest_of_the_client_with_most_gives_way_and_who_has_shown_a_token_does_not() {
    let seats = Arc::new(Seats::default());
    let one = enter(&seats, "192.0.2.1").unwrap();
    let held: Vec<_> =
        ["192.0.2.2", "192.0.2.3", "192.0.2.2"].map(|ip| enter(&seats, ip).unwrap()).into();
    let third = enter(&seats, "192.0.2.4").unwrap();
    assert_eq!(ips(&third), ["192.0.2.2"]);
    assert!(!show(&held[0]), "nothing is begun for it any more");
    assert!(show(&one));
    let fourth = enter(&seats, "192.0.2.5").unwrap();
    assert_eq!(ips(&fourth), ["192.0.2.3"], "the oldest but for the first");
    for entered in [&held[2], &third, &fourth] {
        assert!(show(entered));
    }
    assert!(enter(&seats, "192.0.2.6").is_none());
    assert!(one.seated.seat.judged(None), "a wrong token was shown since");
    assert_eq!(ips(&enter(&seats, "192.0.2.6").unwrap()), ["192.0.2.1"]);
    drop((one, held, third, fourth));
    assert_eq!(seats.taken.lock().len(), 0);
}

#[test]
fn who_has_its_share_makes_room_among_its_own() {
    let seats = Arc::new(Seats::default());
    let _held: Vec<_> =
        ["192.0.2.9", "192.0.2.1", "192.0.2.1"].map(|ip| enter(&seats, ip).unwrap()).into();
    let again = enter(&seats, "::ffff:192.0.2.1").unwrap();
    assert_eq!(ips(&again), ["192.0.2.1"]);
    let seats = Arc::new(Seats::default());
    let limits = Limits { max_connections: 9, ..four_and_two() };
    let enter = |n: usize| enter_with(&seats, &format!("2001:db8:1:{n}::1"), &limits).unwrap();
    let _site: Vec<_> = (0..4).map(enter).collect();
    assert_eq!(ips(&enter(4)), ["2001:db8:1::1"]);
}

/// Who had shown a token that was then taken back kept all places for as long as it asked for health.
#[test]
fn a_token_that_is_taken_back_keeps_no_place() {
    let token = Withdrawal::default();
    let (seats, held) = held_by(&token);
    token.take_effect();
    let operator = enter_with(&seats, "198.51.100.1", &sixty_four()).unwrap();
    assert_eq!(ips(&operator), ["192.0.2.1"]);
    assert_eq!(operator.displaced[0].why, STRANGER);
    assert!(show(&operator) && !held[0].seated.seat.judged(None));
    let others: Vec<_> = (0..63)
        .map(|n| enter_with(&seats, &format!("198.51.100.{}", n + 2), &sixty_four()).unwrap())
        .collect();
    assert!(others.iter().all(|other| ips(other)[0].starts_with("192.0.2.")));
}

/// It kept it for good, and a request for health was enough for that.
#[tokio::test(start_paused = true)]
async fn a_token_keeps_a_place_for_a_minute() {
    let seats = Arc::new(Seats::default());
    let held: Vec<_> = (1..=4)
        .map(|n| enter(&seats, &format!("192.0.2.{n}")).unwrap())
        .inspect(|e| assert!(show(e)))
        .collect();
    tokio::time::advance(KEEPS - Duration::from_millis(1)).await;
    assert!(enter(&seats, "192.0.2.9").is_none());
    assert!(show(&held[0]), "once more");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(ips(&enter(&seats, "192.0.2.9").unwrap()), ["192.0.2.2"]);
    assert!(show(&held[2]), "that it lapsed does not close it");
}

/// Sixteen connections from each of four addresses, on which a viewer's token was shown, shut out
/// everybody else, probes too.
#[test]
fn right_tokens_never_keep_all_places() {
    let (seats, held) = held_by(&Withdrawal::default());
    assert!(show(&held[0]), "then the second is the one that was shown longest ago");
    let probe = enter_with(&seats, "198.51.100.1", &sixty_four()).unwrap();
    assert_eq!(ips(&probe), ["192.0.2.1"]);
    assert_eq!(probe.displaced[0].why, ONE_OF_MANY);
    assert!(!show(&held[1]) && show(&held[0]));
    // An eighth is for whoever shows none; beyond that the oldest of those goes.
    let probes: Vec<_> = (2..=9)
        .map(|n| enter_with(&seats, &format!("198.51.100.{n}"), &sixty_four()).unwrap())
        .collect();
    let gone: Vec<_> = probes.iter().map(|probe| probe.displaced[0].why).collect();
    assert_eq!(gone, [[ONE_OF_MANY; 7].as_slice(), &[STRANGER]].concat());
    assert_eq!(ips(&probes[7]), ["198.51.100.1"]);
}

/// The same for one address, behind which there may be many.
#[test]
fn right_tokens_never_keep_all_places_of_a_client() {
    let seats = Arc::new(Seats::default());
    let enter = || enter_with(&seats, "192.0.2.1", &sixty_four()).unwrap();
    let held: Vec<_> = (0..16).map(|_| enter()).inspect(|e| assert!(show(e))).collect();
    let [first, second, third] = [enter(), enter(), enter()];
    let gone = [&first, &second, &third].map(|entered| entered.displaced[0].why);
    assert_eq!(gone, [ONE_OF_MANY, ONE_OF_MANY, STRANGER]);
    assert!(!show(&first) && show(&second) && show(&third) && show(&held[2]));
}

/// One machine with two /48s, and a connection from each of many /64s of those, could displace whoever
/// had come before them.
#[test]
fn a_site_with_many_pays_before_a_client_with_one() {
    let seats = Arc::new(Seats::default());
    let enter = |ip: &str| enter_with(&seats, ip, &sixty_four()).unwrap();
    let operator = enter("192.0.2.1");
    let other = enter("2001:db8:9::1");
    let at = |n: usize| format!("2001:db8:{}:{n}::1", n % 2 + 1);
    let mut flood: Vec<_> = (0..62).map(|n| enter(&at(n))).collect();
    for n in 62..1_000 {
        let more = enter(&at(n));
        let gone = ips(&more).remove(0);
        assert!(gone.starts_with(&format!("2001:db8:{}:", n % 2 + 1)), "{n}: {gone}");
        flood.push(more);
    }
    assert!(show(&operator) && show(&other));
}
