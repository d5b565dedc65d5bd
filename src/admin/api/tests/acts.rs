//! What operators do with single events.

use super::*;

#[tokio::test]
async fn an_act_is_done_recorded_and_told() {
    let bench = bench(&[EventState::Dead, EventState::Quarantined, EventState::Dead]);
    for (number, act, what, body, why) in [
        (1, "replay", "replayed", r#"{"reason":"mended","upstream":"app"}"#, json!("mended")),
        (2, "release", "released", "", Value::Null),
        (3, "discard", "discarded", r#"{"reason":null}"#, Value::Null),
    ] {
        let got = bench.post(&format!("{}/{act}", path_of(number)), body).await;
        let expected = json!({ "id": id(number).to_string(), "what": what, "upstreams": ["app"] });
        assert_eq!((got.status, got.body), (200, expected));
        let record = bench.recorded().pop().unwrap();
        assert_eq!(record["reason"], what);
        assert_eq!((&record["event"], &record["why"]), (&json!(id(number).to_string()), &why));
        assert_eq!(record["source"], "lab");
        assert_eq!(
            (&record["who"], &record["peer"]),
            (&json!("uid 7 (ann)"), &json!("admin.sock"))
        );
    }
    let acts = bench.fake.acts.lock();
    let (event, act) = &acts[0];
    assert_eq!((*event, act.who.as_str()), (Sequence(1), "uid 7 (ann)"));
    assert_eq!((act.reason.as_deref(), act.upstream.as_deref()), (Some("mended"), Some("app")));
    assert_eq!(bench.recorded().len(), 3);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_and_leaves_no_record() {
    let bench = bench(&[EventState::Pending, EventState::Dead]);
    let missing = format!("{}/replay", path_of(9));
    for (path, body, status, words) in [
        (&*format!("{}/release", path_of(1)), "{}", 409, "The event is pending"),
        (&*format!("{}/discard", path_of(1)), "{}", 409, "only that or a dead one discarded"),
        (&*missing, "{}", 404, "no such event"),
        (
            &*format!("{}/replay", path_of(2)),
            r#"{"upstream":"gone"}"#,
            422,
            "no upstream of that name",
        ),
        (&*format!("{}/replay", path_of(2)), r#"{"upstream":"a b"}"#, 400, "upstream: 1 to 64"),
        (
            &*format!("{}/release", path_of(2)),
            r#"{"upstream":"app"}"#,
            400,
            "unknown field `upstream`",
        ),
        (
            &*format!("{}/replay", path_of(2)),
            r#"{"reason":"a\nb"}"#,
            400,
            "without control characters",
        ),
        (&*format!("{}/replay", path_of(2)), r#"{"reason":1}"#, 400, "expected a string"),
        (
            &*format!("{}/replay", path_of(2)),
            r#"{"reason":"a","reason":"b"}"#,
            400,
            "duplicate field",
        ),
        (&*format!("{}/replay", path_of(2)), "[null,null]", 400, "JSON object"),
    ] {
        let got = bench.post(path, body).await;
        assert_eq!(got.status, status, "{path} {body}: {}", got.body);
        assert!(
            got.body["detail"].as_str().unwrap().contains(words),
            "{path} {body}: {}",
            got.body
        );
    }
    assert!(bench.fake.acts.lock().is_empty() && bench.recorded().is_empty());
}

#[tokio::test]
async fn bodies_are_json_and_short() {
    let bench = bench(&[EventState::Dead]);
    let path = format!("{}/replay", path_of(1));
    for (kind, body, status) in [
        (None, "{}", 415),
        (Some("application/x-www-form-urlencoded"), "{}", 415),
        (Some("text/plain"), "{}", 415),
        (Some("application/json"), &*" ".repeat((64 << 10) + 1), 413),
        (Some("application/json"), "\u{feff}{}", 400),
        (None, "", 200),
    ] {
        let got = bench.ask(request(Method::POST, &path, kind, body)).await;
        assert_eq!(got.status, status, "{kind:?}: {}", got.body);
    }
}

#[tokio::test]
async fn nothing_is_done_that_cannot_be_recorded_or_written() {
    let bench = bench(&[EventState::Dead]);
    let path = format!("{}/replay", path_of(1));
    bench.fake.unwritable.store(true, Ordering::SeqCst);
    assert_eq!(bench.post(&path, "{}").await.status, 503);
    bench.fake.unwritable.store(false, Ordering::SeqCst);
    bench.lose_trail();
    let got = bench.post(&path, "{}").await;
    assert!(got.status == 503 && got.headers.contains_key(header::RETRY_AFTER), "{got:?}");
    assert!(bench.fake.acts.lock().is_empty());
}
