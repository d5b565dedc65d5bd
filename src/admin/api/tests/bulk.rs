//! Many dead letters at once.

use super::*;

const DEAD: EventState = EventState::Dead;
const REPLAY: &str = "/api/v1/dead-letters/replay";

#[tokio::test]
async fn a_dry_run_counts_and_the_real_one_does() {
    let bench = bench(&[DEAD, EventState::Delivered, DEAD, DEAD]);
    let dry = bench.post(REPLAY, r#"{"dry_run":true,"per_second":2.0}"#).await;
    assert_eq!((dry.status, dry.body), (200, json!({ "matched": 3, "replayed": 0 })));
    assert!(bench.fake.acts.lock().is_empty() && bench.recorded().is_empty());

    let real = bench
        .post(REPLAY, r#"{"source":"lab","subject":"o-1","reason":"mended","upstream":"app"}"#)
        .await;
    assert_eq!((real.status, real.body), (200, json!({ "matched": 3, "replayed": 3 })));
    let done: Vec<_> = bench.fake.acts.lock().iter().map(|(event, _)| event.0).collect();
    assert_eq!(done, [1, 3, 4], "the oldest first");
    let records = bench.recorded();
    assert_eq!(records.len(), 4, "one of the request, and one of each event");
    assert_eq!(
        (&records[0]["matched"], &records[0]["filter"]["source"]),
        (&json!(3), &json!("lab"))
    );
    assert_eq!(records[0]["filter"]["subject"], true, "and not which");
    for (record, number) in records[1..].iter().zip([1, 3, 4]) {
        assert_eq!((&record["reason"], &record["why"]), (&json!("replayed"), &json!("mended")));
        assert_eq!(
            (&record["event"], &record["id"]),
            (&json!(id(number).to_string()), &records[0]["id"])
        );
    }
    let again = bench.post(REPLAY, "{}").await;
    assert_eq!(again.body, json!({ "matched": 0, "replayed": 0 }));
}

#[tokio::test]
async fn what_is_asked_for_must_be_right() {
    let bench = bench(&[DEAD]);
    for (body, status) in [
        ("", 415),
        ("[]", 400),
        ("null", 400),
        (r#"{"limit":1}"#, 400),
        (r#"{"state":"pending"}"#, 400),
        (r#"{"per_second":0}"#, 400),
        (r#"{"per_second":1001}"#, 400),
        (r#"{"per_second":1.5}"#, 400),
        (r#"{"dry_run":"yes"}"#, 400),
        (r#"{"since":"never"}"#, 400),
        (r#"{"upstream":"gone"}"#, 422),
        (r#"{"upstream":"gone","dry_run":true}"#, 422),
    ] {
        let kind = (!body.is_empty()).then_some("application/json");
        let got = bench.ask(request(Method::POST, REPLAY, kind, body)).await;
        assert_eq!(got.status, status, "{body}: {}", got.body);
    }
    assert!(bench.fake.acts.lock().is_empty());
}

#[tokio::test]
async fn a_journal_that_takes_nothing_ends_it_with_what_was_done() {
    let bench = bench(&[DEAD, DEAD]);
    bench.fake.unwritable.store(true, Ordering::SeqCst);
    let got = bench.post(REPLAY, "{}").await;
    assert_eq!(
        (got.status, &got.body["matched"], &got.body["replayed"]),
        (503, &json!(2), &json!(0))
    );
}

/// Waits until this holds: blocking threads are at work while the clock is paused.
async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never came to hold");
}

#[tokio::test(start_paused = true)]
async fn a_long_one_goes_on_by_itself_at_its_rate_and_alone() {
    let bench = bench(&[DEAD; 20]);
    let began = tokio::time::Instant::now();
    let got = bench.post(REPLAY, r#"{"per_second":2}"#).await;
    assert_eq!((got.status, &got.body["matched"]), (202, &json!(20)));
    let so_far = got.body["replayed"].as_u64().unwrap();
    assert!((7..=9).contains(&so_far), "two a second for four seconds: {so_far}");
    let other = bench.post(REPLAY, "{}").await;
    assert_eq!((other.status, &other.body["matched"]), (409, &json!(20)));
    assert_eq!(bench.post(REPLAY, r#"{"dry_run":true}"#).await.status, 200);
    until(|| bench.fake.acts.lock().len() == 20).await;
    assert!(began.elapsed() >= Duration::from_millis(9_500), "{:?}", began.elapsed());
    until(|| bench.api.bulk.place().is_ok()).await;
}

/// What an operator had discarded while it went on was sent, and what had been delivered was sent again,
/// to all its upstreams.
#[tokio::test(start_paused = true)]
async fn what_has_changed_since_it_began_is_left_alone() {
    let bench = bench(&[DEAD; 20]);
    assert_eq!(bench.post(REPLAY, r#"{"per_second":2}"#).await.status, 202);
    bench.fake.events.lock()[18].0 = EventState::Discarded;
    bench.fake.events.lock()[19].0 = EventState::Delivered;
    until(|| bench.api.bulk.place().is_ok()).await;
    let done: Vec<_> = bench.fake.acts.lock().iter().map(|(event, _)| event.0).collect();
    assert_eq!(done, (1..=18).collect::<Vec<_>>());
}

/// The oldest dead letter was of an upstream that was configured no more, and no other could be replayed
/// until the retention had let it go.
#[tokio::test]
async fn one_whose_upstream_is_gone_keeps_no_other_waiting() {
    let bench = bench(&[DEAD, DEAD, DEAD]);
    bench.fake.of_gone.lock().push(Sequence(1));
    let got = bench.post(REPLAY, "{}").await;
    assert_eq!((got.status, got.body), (200, json!({ "matched": 3, "replayed": 2 })));
}

/// A disk had stood still, and what was missed meanwhile was sent as fast as it could be.
#[tokio::test(start_paused = true)]
async fn what_was_missed_is_not_made_up_for() {
    let bench = bench(&[DEAD; 40]);
    let asked = async { bench.post(REPLAY, r#"{"per_second":10}"#).await };
    let stall = async {
        until(|| !bench.fake.acts.lock().is_empty()).await;
        tokio::time::advance(Duration::from_secs(60)).await;
        let (began, before) = (tokio::time::Instant::now(), bench.fake.acts.lock().len());
        until(|| bench.fake.acts.lock().len() == 40).await;
        let least = Duration::from_millis(100) * u32::try_from(40 - before - 3).unwrap();
        assert!(began.elapsed() >= least, "{:?} for all but {before}", began.elapsed());
    };
    tokio::join!(asked, stall);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_it_early() {
    let bench = bench(&[DEAD; 1000]);
    let got = bench.post(REPLAY, r#"{"per_second":1}"#).await;
    assert_eq!(got.status, 202);
    bench.api.drain();
    until(|| bench.api.bulk.place().is_ok()).await;
    assert!(bench.fake.acts.lock().len() < 20);
    let after = bench.post(REPLAY, "{}").await;
    assert_eq!((after.status, &after.body["replayed"]), (503, &json!(0)));
}

/// It went on for as long as it took, with a token that somebody had taken back because it was stolen.
#[tokio::test(start_paused = true)]
async fn it_goes_no_further_once_its_token_is_withdrawn() {
    let bench = bench(&[DEAD; 20]);
    assert_eq!(bench.post(REPLAY, r#"{"per_second":2}"#).await.status, 202);
    bench.withdrawal.take_effect();
    until(|| bench.api.bulk.place().is_ok()).await;
    let done = bench.fake.acts.lock().len();
    assert!((7..=9).contains(&done), "those of the first four seconds: {done}");
    let got = bench.post(REPLAY, "{}").await;
    assert_eq!((got.status, &got.body["replayed"]), (409, &json!(0)));
}
