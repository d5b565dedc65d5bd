use http::StatusCode;

use super::*;
use crate::cli::sender::Last;

/// A day that begins now, with every hour a second.
fn dial() -> Dial {
    Dial { begin: Instant::now(), scale: NonZeroU32::new(3600).unwrap() }
}

fn at(dial: Dial, hour: u64) -> Instant {
    dial.begin + Duration::from_secs(hour)
}

fn journey(id: &str, tries: usize, outcome: Outcome) -> Journey {
    let delivered = outcome == Outcome::Delivered;
    Journey {
        event_type: "t".into(),
        id: id.into(),
        event_id: delivered.then(|| format!("0193-{id}")),
        tries,
        last: Last::Status(if delivered { 200 } else { 503 }),
        outcome,
    }
}

/// Three events at 05:00, 12:00 and 13:00: one at once, one later, one given up.
fn sent(dial: Dial, failed: Vec<(Instant, Instant, String)>) -> Vec<Sent> {
    let events = vec![
        journey("a", 1, Outcome::Delivered),
        journey("b", 3, Outcome::Delivered),
        journey("c", 5, Outcome::GivenUp),
    ];
    let first = [("a", 5), ("b", 12), ("c", 13)].map(|(id, hour)| (id.to_owned(), at(dial, hour)));
    let horizon = Some(Duration::from_secs(81 * 60));
    vec![Sent { name: "novamed", horizon, events, first: first.into(), failed }]
}

fn took(id: &str) -> Arrival {
    Arrival::made_up(id, StatusCode::OK, true)
}

/// What came of it, when the gateway was down from 12:00 to 15:00.
pub(in crate::cli::demo) fn day(failed_at: u64, arrivals: &[Arrival]) -> Day {
    let dial = dial();
    let failed = (at(dial, failed_at), at(dial, failed_at), "no answer".to_owned());
    let gap = (at(dial, 12), at(dial, 15));
    judge(sent(dial, vec![failed]), &[gap], arrivals, dial)
}

/// All that was acknowledged, once.
pub(in crate::cli::demo) fn good_day() -> Day {
    day(13, &[took("0193-a"), took("0193-b")])
}

#[test]
fn what_is_acknowledged_is_in_the_app_and_what_fails_fails_while_the_gateway_is_down() {
    let day = good_day();
    assert_eq!(day.differences, [""; 0]);
    let [novamed] = &day.providers[..] else { panic!("{day:?}") };
    assert_eq!((novamed.first_try, novamed.later, novamed.in_app), (1, 1, 2));
    assert_eq!(novamed.given_up, [HOUR * 13]);
    assert_eq!(day.gaps, [(HOUR * 12, HOUR * 15)]);
}

#[test]
fn a_loss_is_found_out() {
    let lost = day(13, &[took("0193-a")]).differences;
    assert_eq!(lost, ["novamed: b of 12:00, acknowledged, is in the app 0 times"]);
    let refused = Arrival::made_up("0193-b", StatusCode::SERVICE_UNAVAILABLE, true);
    assert_eq!(day(13, &[took("0193-a"), refused]).differences, lost);
}

#[test]
fn a_double_and_a_stranger_are_found_out() {
    let doubled = day(13, &[took("0193-a"), took("0193-b"), took("0193-a")]).differences;
    assert_eq!(doubled, ["novamed: a of 05:00, acknowledged, is in the app 2 times"]);
    let unsigned = Arrival::made_up("0193-b", StatusCode::UNAUTHORIZED, false);
    let all = [took("0193-a"), took("0193-b"), took("0193-x"), unsigned];
    assert_eq!(day(13, &all).differences, ["2 deliveries that nobody sent or signed"]);
}

#[test]
fn a_refusal_while_the_gateway_is_up_is_found_out() {
    let found = day(8, &[took("0193-a"), took("0193-b")]).differences;
    assert_eq!(found, ["novamed: refused at 08:00, with the gateway up: no answer"]);
}
