//! The mapping. Whether it is as the schema has it, `tests/ocsf` checks.

use super::super::{ACTS, Reason};
use super::*;

fn refused() -> Record {
    Record {
        id: "01946953-e0ac-7000-8000-000000000001".into(),
        time: "2025-01-15T10:30:00.412Z".into(),
        reason: "signature_invalid".into(),
        detail: Some("no signature was made with a key of the source".into()),
        source: Some("lab".into()),
        listener: Some("public".into()),
        peer: Some("10.0.0.1".into()),
        client: Some("203.0.113.9".into()),
        tls: Some("TLSv1.3".into()),
        server_name: Some("hooks.clinic.example".into()),
        method: Some("POST".into()),
        path: Some("/hooks/lab".into()),
        user_agent: Some("lab/1".into()),
        declared: Some(33),
        size: Some(33),
        sha256: Some("ab".repeat(32)),
        credential: Some("cd".repeat(16)),
        status: Some(401),
        count: 1,
        ..Record::default()
    }
}

fn of(record: Record) -> Value {
    event(&Listed { sequence: 7, record })
}

#[test]
fn a_refusal_is_a_failed_create_with_who_and_why() {
    let event = of(refused());
    for (pointer, value) in [
        ("/class_uid", json!(6003)),
        ("/category_uid", json!(6)),
        ("/activity_id", json!(1)),
        ("/type_uid", json!(600_301)),
        ("/type_name", json!("API Activity: Create")),
        ("/severity_id", json!(3)),
        ("/status_id", json!(2)),
        ("/status_code", json!("401")),
        ("/action_id", json!(2)),
        ("/disposition_id", json!(26)),
        ("/metadata/profiles", json!(["security_control"])),
        ("/metadata/version", json!("1.8.0")),
        ("/metadata/event_code", json!("signature_invalid")),
        ("/metadata/sequence", json!(7)),
        ("/time", json!(1_736_937_000_412_i64)),
        ("/count", json!(1)),
        ("/actor/session/credential_uid", json!("cd".repeat(16))),
        ("/api/operation", json!("POST /hooks/lab")),
        ("/src_endpoint/ip", json!("203.0.113.9")),
        ("/src_endpoint/intermediate_ips", json!(["10.0.0.1"])),
        ("/dst_endpoint/hostname", json!("hooks.clinic.example")),
        ("/http_request/http_method", json!("POST")),
        ("/http_request/url/path", json!("/hooks/lab")),
        ("/http_response/code", json!(401)),
        ("/unmapped/tls", json!("TLSv1.3")),
        ("/unmapped/declared", json!(33)),
    ] {
        assert_eq!(event.pointer(pointer), Some(&value), "{pointer}: {event}");
    }
    let seen = event["observables"].as_array().unwrap();
    let kinds: Vec<u64> = seen.iter().map(|seen| seen["type_id"].as_u64().unwrap()).collect();
    assert_eq!(kinds, [2, 2, 16, 19, 8]);
    assert!(event.get("start_time").is_none());
}

#[test]
fn a_sum_has_its_count_and_when_it_began_and_ended() {
    let sum = Record {
        id: "i".into(),
        time: "2025-01-15T10:31:00.000Z".into(),
        reason: "rate_limited".into(),
        client: Some("many".into()),
        count: 4000,
        first: Some("2025-01-15T10:30:00.000Z".into()),
        last: Some("2025-01-15T10:30:59.000Z".into()),
        ..Record::default()
    };
    let event = of(sum);
    let times = ["start_time", "end_time", "time"].map(|name| event[name].as_i64().unwrap());
    assert_eq!(times, [1_736_937_000_000, 1_736_937_059_000, 1_736_937_060_000]);
    assert_eq!((&event["count"], &event["activity_id"]), (&json!(4000), &json!(0)));
    assert_eq!(event["src_endpoint"], json!({ "name": "many" }));
    assert!(event.get("http_request").is_none() && event.get("unmapped").is_none());
}

#[test]
fn acts_are_the_activities_that_they_are() {
    for (act, activity, name) in [
        ("payload_viewed", 2, "Read"),
        ("exported", 2, "Read"),
        ("replayed", 3, "Update"),
        ("released", 3, "Update"),
        ("config_reloaded", 3, "Update"),
        ("discarded", 4, "Delete"),
        ("started", 99, "Start"),
        ("stopped", 99, "Stop"),
        ("output_gap", 4, "Delete"),
        ("checkpoint", 1, "Create"),
    ] {
        let event = of(Record {
            reason: act.into(),
            who: Some("uid 7 (clinic)".into()),
            peer: Some("admin.sock".into()),
            details: Some(json!({ "event": "e" })),
            ..refused_by_nobody()
        });
        assert_eq!(
            (&event["activity_id"], &event["activity_name"]),
            (&json!(activity), &json!(name))
        );
        assert_eq!((&event["status_id"], event.get("disposition_id")), (&json!(1), None), "{act}");
        assert_eq!(event["actor"]["user"], json!({ "name": "uid 7 (clinic)", "uid": "7" }));
        assert_eq!(event["resources"], json!([{ "uid": "e", "type": "event" }]));
        assert_eq!(event["src_endpoint"], json!({ "name": "admin.sock" }));
    }
}

#[test]
fn evidence_that_went_damaged_is_grave() {
    let severity = |details| {
        let shortened = Record { reason: "trail_shortened".into(), ..refused_by_nobody() };
        of(Record { details: Some(details), ..shortened })["severity_id"].clone()
    };
    assert_eq!(severity(json!({ "segment": 7 })), 1);
    assert_eq!(severity(json!({ "segment": 7, "damaged": [6] })), 4);
}

fn refused_by_nobody() -> Record {
    Record {
        id: "i".into(),
        time: "2025-01-15T10:30:00.000Z".into(),
        count: 1,
        ..Record::default()
    }
}

#[test]
fn every_reason_and_act_is_an_event() {
    let reasons = Reason::ALL.map(Reason::as_str);
    for reason in reasons.into_iter().chain(ACTS) {
        let event = of(Record { reason: reason.into(), ..refused_by_nobody() });
        let failed = reasons.contains(&reason);
        assert_eq!(event["status_id"] == 2, failed, "{reason}");
        assert_eq!(event["actor"]["app_name"], if failed { "unknown" } else { "hookward" });
        let id = event["activity_id"].as_u64().unwrap();
        assert_eq!(event["type_uid"].as_u64(), Some(600_300 + id), "{reason}");
    }
}

#[test]
fn what_the_schema_does_not_take_is_unmapped() {
    let odd = Record {
        method: Some("PURGE".into()),
        server_name: Some("a..b".into()),
        client: Some("unknown".into()),
        ..refused()
    };
    let event = of(odd);
    assert!(event["http_request"].get("http_method").is_none());
    assert!(event["dst_endpoint"].get("hostname").is_none());
    assert_eq!(event["unmapped"]["method"], "PURGE");
    assert_eq!(event["unmapped"]["server_name"], "a..b");
    assert_eq!(
        event["src_endpoint"],
        json!({ "name": "unknown", "intermediate_ips": ["10.0.0.1"] })
    );
}

/// What outputs send beside records.
const OF_OUTPUTS: [&str; 2] = ["output_gap", "checkpoint"];

/// Of every reason and act, whole, bare and as a sum.
fn samples() -> Vec<Value> {
    let names = Reason::ALL.map(Reason::as_str).into_iter().chain(ACTS).chain(OF_OUTPUTS);
    let shapes = |name: &str| {
        let reason = name.to_owned();
        let sum = Record {
            client: Some("many".into()),
            count: 12,
            first: Some("2025-01-15T10:29:00.000Z".into()),
            last: Some("2025-01-15T10:29:59.000Z".into()),
            ..refused_by_nobody()
        };
        let act = Record {
            who: Some("uid 0 (root)".into()),
            peer: Some("admin.sock".into()),
            details: Some(
                json!({ "event": "01946953-e0ac-7000-8000-000000000002", "why": "asked for" }),
            ),
            ..refused_by_nobody()
        };
        let odd =
            Record { method: Some("PURGE".into()), server_name: Some("a..b".into()), ..refused() };
        let shapes = [refused(), refused_by_nobody(), sum, act, odd];
        shapes.map(|shape| of(Record { reason: reason.clone(), ..shape }))
    };
    names.flat_map(shapes).collect()
}

/// `tests/ocsf` says where to, and holds them against the schema.
#[test]
fn samples_of_every_kind_are_written_for_the_schema_s_check() {
    let samples = samples();
    assert_eq!(samples.len(), 5 * (Reason::ALL.len() + ACTS.len() + OF_OUTPUTS.len()));
    if let Some(file) = std::env::var_os("HOOKWARD_OCSF_SAMPLES") {
        let lines: String = samples.iter().map(|sample| format!("{sample}\n")).collect();
        std::fs::write(file, lines).unwrap();
    }
}
