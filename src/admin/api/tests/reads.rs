//! Lists, single events, and what is no request for either.

use super::*;

const DEAD: EventState = EventState::Dead;

#[tokio::test]
async fn an_event_has_the_fields_of_the_contract_and_its_payload_only_when_asked() {
    let bench = bench(&[DEAD]);
    let got = bench.get(&path_of(1)).await;
    assert_eq!(got.status, 200);
    let expected = json!({
        "id": id(1).to_string(), "source": "lab", "provider_id": null, "type": "lab.order.done",
        "provider_type": "Order:Done", "subject": null, "state": "dead",
        "received_at": "2025-01-15T10:30:00.412Z", "size": BODY.len(),
        "sha256": hex::encode(BodyHash::of(BODY.as_bytes()).0),
        "deliveries": [
            { "upstream": "app", "state": "dead", "attempts": 2, "last_status": 503, "next_at": null },
        ],
        "timeline": [
            { "at": "2025-01-15T10:30:00.412Z", "what": "received" },
            { "at": "2025-01-15T10:30:00.412Z", "what": "stored", "upstreams": ["app"], "quarantined": false },
            { "at": "2025-01-15T10:30:00.412Z", "what": "attempt", "upstream": "app", "number": 1,
              "duration_ms": 12, "result": "answered", "status": 503, "verdict": "retry",
              "next_at": "2025-01-15T10:30:00.412Z" },
            { "at": "2025-01-15T10:30:00.412Z", "what": "replayed", "who": "alice",
              "reason": "mended", "upstream": null },
        ],
    });
    assert_eq!(got.body, expected);
    assert!(bench.recorded().is_empty());

    let seen = bench.get(&format!("{}?payload=1", path_of(1))).await.body;
    assert_eq!((&seen["payload"], &seen["timeline"][2]["excerpt"]), (&json!(BODY), &json!("busy")));
    let [record] = &bench.recorded()[..] else { panic!("one record") };
    for (member, value) in [
        ("reason", "payload_viewed"),
        ("event", &id(1).to_string()),
        ("who", "uid 7 (ann)"),
        ("peer", "admin.sock"),
    ] {
        assert_eq!(record[member], value, "{record}");
    }
    assert!(!record.to_string().contains("Anaïs"));
}

#[tokio::test]
async fn a_payload_that_cannot_be_recorded_as_seen_is_not_shown() {
    let bench = bench(&[DEAD]);
    bench.lose_trail();
    let got = bench.get(&format!("{}?payload=1", path_of(1))).await;
    assert_eq!(got.status, 503);
    assert!(
        got.headers.contains_key(header::RETRY_AFTER) && !got.body.to_string().contains("Anaïs")
    );
    assert_eq!(bench.get(&path_of(1)).await.status, 200);
}

#[tokio::test]
async fn pages_lead_through_all_events_while_others_arrive() {
    let bench = bench(&[EventState::Delivered; 130]);
    let (mut path, mut seen) = ("/api/v1/events?limit=60".to_owned(), Vec::new());
    loop {
        let body = bench.get(&path).await.body;
        seen.extend(body["items"].as_array().unwrap().iter().map(|item| item["id"].clone()));
        bench.fake.events.lock().push((EventState::Pending, 0));
        let Some(next) = body["next"].as_str() else { break };
        path = format!("/api/v1/events?limit=60&cursor={next}");
    }
    let expected: Vec<Value> = (1..=130).rev().map(|n| id(n).to_string().into()).collect();
    assert_eq!(seen, expected);
    let fifty = bench.get("/api/v1/events").await.body;
    assert_eq!(fifty["items"].as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn large_events_are_taken_into_memory_a_few_at_a_time() {
    let large = vec![(EventState::Delivered, 1 << 20); 80];
    let bench = sized(&large);
    let body = bench.get("/api/v1/events?limit=80").await.body;
    assert_eq!((body["items"].as_array().unwrap().len(), &body["next"]), (80, &Value::Null));
    assert_eq!(*bench.fake.asked.lock(), [32, 16, 8, 4, 2, 4, 2, 4, 2, 4, 2]);
    let small = super::bench(&[EventState::Delivered; 300]);
    small.get("/api/v1/events?limit=300").await;
    assert_eq!(*small.fake.asked.lock(), [32, 64, 128, 76]);
}

#[tokio::test]
async fn dead_letters_are_the_dead_ones() {
    let bench = bench(&[DEAD, EventState::Delivered, DEAD, EventState::Quarantined]);
    for path in
        ["/api/v1/dead-letters", "/api/v1/dead-letters?state=dead", "/api/v1/events?state=dead"]
    {
        let body = bench.get(path).await.body;
        let ids: Vec<_> = body["items"].as_array().unwrap().iter().map(|i| &i["id"]).collect();
        assert_eq!(ids, [&json!(id(3).to_string()), &json!(id(1).to_string())], "{path}");
    }
    let got = bench.get("/api/v1/dead-letters?state=pending").await;
    assert_eq!(got.status, 400);
}

#[tokio::test]
async fn what_is_no_request_for_anything_is_told_so() {
    let bench = bench(&[DEAD]);
    for (path, status, words) in [
        ("/api/v1/events?payload=1", 400, "one event at a time"),
        ("/api/v1/dead-letters?payload=1", 400, "one event at a time"),
        ("/api/v1/events?limit=501", 400, "from 1 to 500"),
        ("/api/v1/events?cursor=zz", 400, "what an answer has in next"),
        ("/api/v1/events?status=dead", 400, "accepted are source, state"),
        ("/api/v1/sources?x=1", 400, "no parameters here"),
        ("/api/v1/events/not-an-id", 404, "no such event"),
        (&path_of(2), 404, "no such event"),
        (&format!("{}?payload=yes", path_of(1)), 400, "payload: 1, or 0"),
        (&format!("{}?limit=1", path_of(1)), 400, "accepted are payload"),
        ("/api/v1/nothing", 404, "openapi.json"),
    ] {
        let got = bench.get(path).await;
        assert_eq!(got.status, status, "{path}");
        assert!(got.body["detail"].as_str().unwrap().contains(words), "{path}: {}", got.body);
    }
    for (method, path, allow) in [
        (Method::POST, "/api/v1/events", "GET, HEAD"),
        (Method::DELETE, &*path_of(1), "GET, HEAD"),
        (Method::GET, &*format!("{}/replay", path_of(1)), "POST"),
        (Method::OPTIONS, "/api/v1/dead-letters/replay", "POST"),
    ] {
        let got = bench.ask(request(method, path, None, "")).await;
        assert_eq!((got.status, &got.headers[header::ALLOW]), (405, &allow.parse().unwrap()));
    }
}

#[tokio::test]
async fn a_catalogue_that_is_being_made_is_told_with_how_far_it_is() {
    let bench = bench(&[DEAD]);
    bench.fake.not_ready.store(true, Ordering::SeqCst);
    for path in ["/api/v1/events", "/api/v1/dead-letters", &*path_of(1)] {
        let got = bench.get(path).await;
        assert_eq!((got.status, &got.body["done"], &got.body["all"]), (503, &json!(2), &json!(7)));
        assert_eq!(got.headers[header::RETRY_AFTER], "5");
    }
    // The sources are known all the same.
    assert_eq!(bench.get("/api/v1/sources").await.status, 200);
}

#[tokio::test]
async fn sources_are_listed_with_their_last_events() {
    let bench = bench(&[DEAD]);
    let body = bench.get("/api/v1/sources").await.body;
    assert_eq!(body["next"], Value::Null);
    let last =
        |n: usize| (body["items"][n]["name"].clone(), body["items"][n]["last_event_at"].clone());
    assert_eq!(last(0), (json!("lab"), json!("2025-01-15T10:30:00.412Z")));
    assert_eq!(last(1), (json!("silent"), Value::Null));
    assert!(!body.to_string().contains("secret"), "{body}");
}

#[tokio::test]
async fn a_head_request_is_answered_as_the_get_is() {
    let bench = bench(&[DEAD]);
    assert_eq!(bench.ask(request(Method::HEAD, "/api/v1/events", None, "")).await.status, 200);
}
