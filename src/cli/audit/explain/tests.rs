//! What is said of records, with and without a configuration.

use std::path::Path;
use std::slice::from_ref;

use serde_json::json;

use super::setup::Setup;
use super::*;
use crate::audit::chain::Record;
use crate::config::{Placeholders, check_text};

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
trusted_proxies = ["10.9.0.0/16"]
max_body = "1KiB"
[source.lab]
auth = { kind = "hmac", header = "X-Sig", signed = "{timestamp}.{body}", timestamp = "t", signature = "v1", tolerance = "5m" }
keys = [{ env = "LAB" }]
allow_ips = ["203.0.113.0/24"]
[source.other]
auth = { kind = "api-key", header = "X-API-Key" }
keys = [{ env = "OTHER" }, { env = "OTHER_OLD" }]
[upstream.app]
url = "http://127.0.0.1:1/"
"#;

fn setup() -> Setup {
    let (config, _) = check_text(Path::new("hookward.toml"), CONFIG, &Placeholders).unwrap();
    Setup { config, keys: false }
}

fn record(reason: &str) -> Record {
    let text = |text: &str| Some(text.to_owned());
    Record {
        id: "i".into(),
        time: "2025-01-15T10:30:00.000Z".into(),
        reason: reason.into(),
        source: text("lab"),
        client: text("203.0.113.9"),
        peer: text("203.0.113.9"),
        method: text("POST"),
        path: text("/hooks/lab"),
        count: 1,
        ..Record::default()
    }
}

fn near(record: &Record, others: &[Record]) -> Near {
    let mut near = Near::default();
    others.iter().for_each(|other| near.add(record, other));
    near
}

fn said(record: &Record, others: &[Record], setup: Option<&Setup>) -> Explanation {
    let near = near(record, others);
    explain(&Case { record, near: &near, setup, store: None })
}

fn all(said: &Explanation) -> String {
    [from_ref(&said.meaning), &said.known[..], &said.check[..]].concat().join("\n")
}

#[test]
fn every_reason_is_explained_with_and_without_a_configuration() {
    let setup = setup();
    for reason in Reason::ALL {
        let record = record(reason.as_str());
        let bare = Record { reason: reason.as_str().into(), ..Record::default() };
        for said in [
            said(&record, from_ref(&record), Some(&setup)),
            said(&record, from_ref(&record), None),
            said(&bare, &[], None),
        ] {
            assert!(said.meaning.ends_with('.') && !said.check.is_empty(), "{reason:?}: {said:?}");
            assert!(all(&said).lines().all(|line| line.len() > 10), "{reason:?}: {said:?}");
        }
    }
}

#[test]
fn a_proxy_that_is_not_believed_is_named() {
    let setup = setup();
    let from = |client: &str, peer: &str| Record {
        client: Some(client.into()),
        peer: Some(peer.into()),
        ..record("ip_not_allowed")
    };
    for (client, peer, words) in [
        ("10.0.0.7", "10.0.0.7", "server.trusted_proxies does not hold"),
        ("10.9.0.7", "10.9.0.7", "is one of server.trusted_proxies and was taken for the client"),
        ("unknown", "10.9.0.7", "who called cannot be told"),
        ("198.51.100.1", "10.9.0.7", "is what the trusted proxy 10.9.0.7 has"),
        ("198.51.100.1", "198.51.100.1", "the allowlist is 203.0.113.0/24"),
        ("203.0.113.9", "203.0.113.9", "the allowlist holds 203.0.113.9 now"),
    ] {
        let said = all(&said(&from(client, peer), &[], Some(&setup)));
        assert!(said.contains(words), "{client} {peer}: {said}");
    }
    let without = all(&said(&from("10.0.0.7", "10.0.0.7"), &[], None));
    assert!(without.contains("most likely a proxy"), "{without}");
}

/// Two requests with an API key and the same body were "the same body with another signature".
#[test]
fn only_what_was_signed_was_signed_again() {
    let one = |reason: &str, source: &str, credential: &str| Record {
        source: Some(source.into()),
        credential: Some(credential.into()),
        sha256: Some("ab".into()),
        ..record(reason)
    };
    let refused = one("signature_invalid", "lab", "first");
    for (other, again) in [
        (one("signature_invalid", "lab", "second"), true),
        (one("signature_invalid", "api", "second"), false),
        (one("unsupported_media_type", "lab", "second"), false),
    ] {
        let said = all(&said(&refused, from_ref(&other), None));
        assert_eq!(said.contains("signed again with each attempt"), again, "{other:?}: {said}");
    }
}

#[test]
fn clocks_are_compared_by_who_else_was_too_late() {
    let late = record("timestamp_out_of_range");
    let setup = setup();
    let alone = all(&said(&late, from_ref(&late), Some(&setup)));
    assert!(alone.contains("no other source had this"), "{alone}");
    assert!(alone.contains("at most 5m from now"), "{alone}");
    let other = Record { source: Some("other".into()), ..late.clone() };
    let all_late = all(&said(&late, &[late.clone(), other], Some(&setup)));
    assert!(all_late.contains("this machine's clock is the first suspect"), "{all_late}");
}

#[test]
fn one_signature_over_several_bodies_means_that_something_changes_them() {
    let signed = |body: &str| Record {
        credential: Some("ab".repeat(16)),
        sha256: Some(body.repeat(32)),
        ..record("signature_invalid")
    };
    let first = signed("aa");
    let changed = all(&said(&first, &[first.clone(), signed("bb")], None));
    assert!(changed.contains("came with 2 different bodies"), "{changed}");
    let again = Record { credential: Some("cd".repeat(16)), ..signed("aa") };
    let rekeyed = all(&said(&first, &[first.clone(), again], None));
    assert!(rekeyed.contains("the key is the first suspect"), "{rekeyed}");
}

#[test]
fn what_happened_around_it_is_told() {
    let wrong = record("credential_invalid");
    let other = Record { reason: "unknown_route".into(), count: 3, ..wrong.clone() };
    let reloaded = Record {
        reason: "config_reloaded".into(),
        time: "2025-01-15T10:25:00.000Z".into(),
        details: Some(json!({ "changed": ["source.lab.keys"] })),
        ..Record::default()
    };
    let later = Record { time: "2025-01-15T10:35:00.000Z".into(), ..reloaded.clone() };
    let said = all(&said(&wrong, &[wrong.clone(), wrong.clone(), other, reloaded, later], None));
    for words in [
        "2 credential_invalid at lab in the day before and after it, from one client",
        "203.0.113.9 was refused for other reasons as well: 3 unknown_route",
        "taken over 5m before; changed: source.lab.keys",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// What was tried at the admin listener was counted with what was sent to sources, and the other way round.
#[test]
fn what_happened_at_another_listener_is_counted_apart() {
    let listener = |listener: &str, source: Option<&str>| Record {
        listener: Some(listener.into()),
        source: source.map(str::to_owned),
        credential: Some("ab".repeat(16)),
        ..record("rate_limited")
    };
    let (admin, public) = (listener("admin", None), listener("public", None));
    let others = [admin.clone(), admin.clone(), public.clone(), public.clone(), public.clone()];
    let told = all(&said(&admin, &others, None));
    assert!(told.contains("2 rate_limited at the admin listener in the day"), "{told}");
    let told = all(&said(&public, &others, None));
    assert!(told.contains("3 rate_limited in the day"), "{told}");
    let wrong = Record { reason: "credential_invalid".into(), ..listener("public", Some("lab")) };
    let tried = Record { reason: "credential_invalid".into(), ..admin };
    let told = all(&said(&wrong, &[wrong.clone(), tried.clone(), tried], None));
    assert!(told.contains("presented elsewhere as well: the admin listener"), "{told}");
    assert!(!told.contains("times in the day") && !told.contains("other reasons"), "{told}");
}

/// It said `refused  200`, and the same of what is gone and of what waits.
#[test]
fn a_conflict_was_answered_and_its_explanation_says_what_became_of_it() {
    for (detail, words, not) in [
        (
            "kept back: the key of a stored event with other content",
            "waits in quarantine",
            "dropped",
        ),
        (
            "dropped: the key of a stored event with other content",
            "It was dropped",
            "events release",
        ),
    ] {
        let record =
            Record { status: Some(200), detail: Some(detail.into()), ..record("conflict") };
        let explanation = said(&record, &[], None);
        let told = all(&explanation);
        assert!(told.contains(words) && !told.contains(not), "{told}");
        let mut out = Vec::new();
        super::words(Listed { sequence: 3, record }, &explanation, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(&format!("\n  answered 200, {detail}\n")), "{text}");
        assert!(!text.contains("refused"), "{text}");
    }
}

#[test]
fn a_conflict_s_events_are_named() {
    let details = json!({ "event": "e-1", "conflicts_with": "e-0" });
    let detail = Some("kept back: why".to_owned());
    let record = Record { detail, details: Some(details), ..record("conflict") };
    let told = all(&said(&record, &[], None));
    for words in ["it is event e-1", "whose key it has is e-0", "`hookward events show e-1`"] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

/// It said `refused  the segment that was written to was taken away`.
#[test]
fn what_was_done_or_found_was_not_refused() {
    let detail = Some("the segment was taken away".to_owned());
    let record = Record { detail, ..record("trail_missing") };
    let explanation = said(&record, &[], None);
    let mut out = Vec::new();
    super::words(Listed { sequence: 3, record }, &explanation, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("\n  what     the segment was taken away\n"), "{text}");
    assert!(!text.contains("refused"), "{text}");
}

#[test]
fn segments_that_are_missing_are_named() {
    let details = Some(json!({ "segments": ["2", "5-7"] }));
    let told = all(&said(&Record { details, ..record("trail_missing") }, &[], None));
    assert!(told.contains("2, 5-7") && !told.contains("begun anew"), "{told}");
}

/// Of a limit that all clients share it said that the client may be a proxy.
#[test]
fn a_limit_of_the_source_s_own_says_nothing_of_proxies() {
    let setup = setup();
    let limited = |detail: &str| {
        let at = Some("10.0.0.7".to_owned());
        let detail = Some(detail.to_owned());
        let record = Record { client: at.clone(), peer: at, detail, ..record("rate_limited") };
        all(&said(&record, &[], Some(&setup)))
    };
    for (detail, proxies) in [
        ("more requests than the source may send", false),
        ("too many failed authentications with this source", false),
        ("more requests than one client may send", true),
    ] {
        let told = limited(detail);
        assert_eq!(told.contains("trusted_proxies"), proxies, "{detail}: {told}");
    }
}

#[test]
fn an_event_without_a_time_is_told_from_one_that_is_too_old() {
    let without = "no readable event time, and one is required";
    for (detail, none) in [(without, true), ("the event is older than max_event_age", false)] {
        let record = Record { detail: Some(detail.into()), ..record("event_too_old") };
        let told = said(&record, &[], None);
        assert_eq!(told.meaning.contains("takes none without a time"), none, "{told:?}");
        assert!(told.meaning.contains("require_event_time"), "{told:?}");
    }
}

#[test]
fn tls_on_a_plain_listener_is_told_as_such() {
    let detail = Some("TLS on a plain listener".to_owned());
    let told = said(&Record { detail, ..record("protocol_error") }, &[], None);
    assert!(told.meaning.contains("speaks TLS to a listener that does not"), "{told:?}");
}

#[test]
fn what_is_refused_at_the_admin_listener_is_no_source_s() {
    let setup = setup();
    for reason in ["credential_missing", "credential_invalid", "rate_limited", "overloaded"] {
        let listener = Some("admin".to_owned());
        let record = Record { listener, source: None, ..record(reason) };
        let said = said(&record, &[], Some(&setup));
        assert!(said.meaning.contains("admin listener"), "{said:?}");
        assert!(!all(&said).contains("provider") && !all(&said).contains("server."), "{said:?}");
    }
}

#[test]
fn paths_and_lengths_are_compared_with_the_configuration() {
    let setup = setup();
    let path =
        |path: &str| Record { path: Some(path.into()), source: None, ..record("unknown_route") };
    for (sent, words) in [
        ("/hooks/Lab", "source lab has the path /hooks/lab"),
        ("/hooks/lab/", "source lab has the path /hooks/lab"),
        ("/api/hooks/other", "source other has the path /hooks/other"),
        ("/hooks/lab", "source lab has exactly this path now"),
        ("/wp-login.php", "there are /hooks/lab, /hooks/other"),
    ] {
        let said = all(&said(&path(sent), &[], Some(&setup)));
        assert!(said.contains(words), "{sent}: {said}");
    }
    let long = |declared| Record { declared: Some(declared), ..record("body_too_large") };
    assert!(all(&said(&long(1025), &[], Some(&setup))).contains("it would not fit now either"));
    assert!(all(&said(&long(1024), &[], Some(&setup))).contains("it would fit now"));
    // Of one without, what was read until it was refused was taken for its length.
    let chunked = Record { size: Some(1024), ..record("body_too_large") };
    let told = all(&said(&chunked, &[], Some(&setup)));
    assert!(told.contains("it declared no length") && !told.contains("would fit"), "{told}");
    let gone = Record { source: Some("gone".into()), ..record("signature_missing") };
    assert!(all(&said(&gone, &[], Some(&setup))).contains("has no source gone any more"));
}

#[test]
fn the_screen_has_the_record_and_what_is_said_and_nothing_that_steers_it() {
    let mut refused = record("signature_invalid");
    refused.user_agent = Some("\u{1b}[2Jevil".into());
    refused.status = Some(401);
    let explanation = said(&refused, &[refused.clone()], None);
    let mut out = Vec::new();
    words(Listed { sequence: 3, record: refused }, &explanation, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    for part in [
        "signature_invalid  i\n",
        "  record   number 3, 2025-01-15 10:30:00 UTC\n",
        "  request  POST, /hooks/lab, source lab\n",
        "\\u{1b}[2Jevil",
        "\nWhat to check\n  - ",
    ] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
    assert!(!text.contains('\u{1b}'));
}
