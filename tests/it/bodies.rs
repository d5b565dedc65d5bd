//! What a body must be: JSON as I-JSON (RFC 7493) has it, in UTF-8, unencoded; and that the app
//! gets the bytes that were sent.

use crate::app::App;
use crate::client::Post;
use crate::gateway::setup;

const SOURCES: &str = r#"
[source.open]
auth = { kind = "none-dangerous" }

[source.aged]
auth = { kind = "none-dangerous" }
event.time = "/time"
max_event_age = "1d"

[source.timed]
auth = { kind = "none-dangerous" }
event.time = "/time"
require_event_time = true

[source.parts]
auth = { kind = "none-dangerous" }
event.id = ["/id", "header:X-Id", "/other"]
event.type = "/type"
event.subject = "/subject"
event.tenant = "/tenant"
event.time = "/time"
event.data = "/data"
"#;

fn with_app(app: &App) -> String {
    format!("{SOURCES}\n[upstream.app]\nurl = \"{}\"\nconcurrency = 1\n", app.url())
}

fn nowhere() -> String {
    format!("{SOURCES}\n[upstream.app]\nurl = \"http://127.0.0.1:1/\"\n")
}

#[tokio::test]
async fn any_i_json_value_is_an_event_and_its_bytes_are_the_apps_data() {
    let app = App::start().await;
    let gateway = setup(&with_app(&app)).start().await;
    let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
    let bodies = [
        r#"{"b":1,"a":{"b":2}}"#,
        "  { \"b\" : 1.10 ,\r\n\t\"a\" : 1E+2 }\n",
        "[]",
        "\"text\"",
        "true",
        "null",
        "0",
        "-0.0",
        "1e400",
        "123456789012345678901234567890.0000000000000000000001",
        r#""\u00e9\ud83c\udfe5\n\/ ü 🏥""#,
        r#"{"a":1,"\u0062":2,"A":3,"":4}"#,
        r#""\u0000""#,
        deep.as_str(),
    ];
    for (n, body) in bodies.iter().enumerate() {
        let id = gateway.accepts(&Post::to("/hooks/open").body(*body)).await;
        let seen = app.wait(n + 1).await;
        let delivery = &seen[n];
        assert_eq!(delivery.id(), id, "{body}");
        assert_eq!(delivery.data(), body.trim_matches([' ', '\n']), "{body}");
    }
}

#[tokio::test]
async fn what_is_not_i_json_is_400() {
    let gateway = setup(&nowhere()).start().await;
    let too_deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    for (case, body) in [
        ("empty", "".as_bytes()),
        ("space", b" "),
        ("text", b"hello"),
        ("cut off", b"{\"a\":1"),
        ("two values", b"{}{}"),
        ("a trailing comma", b"{\"a\":1,}"),
        ("a comment", b"{}//"),
        ("single quotes", b"{'a':1}"),
        ("NaN", b"NaN"),
        ("a leading zero", b"01"),
        ("a bare point", b"1."),
        ("a plus", b"+1"),
        ("hexadecimal", b"0x1"),
        ("a repeated member", br#"{"a":1,"a":1}"#),
        ("a repeated member in disguise", br#"{"a":1,"\u0061":1}"#),
        ("a repeated member inside", br#"[{"b":{"a":1,"a":2}}]"#),
        ("a lone high surrogate", br#""\ud83c""#),
        ("a lone low surrogate", br#"{"\udfe5":1}"#),
        ("surrogates the wrong way round", br#""\udfe5\ud83c""#),
        ("invalid UTF-8", b"\"\xff\""),
        ("overlong UTF-8", b"\"\xc0\xaf\""),
        ("a surrogate in UTF-8", b"\"\xed\xa0\x80\""),
        ("UTF-8 cut off", b"\"\xe2\x82\""),
        ("a byte order mark", b"\xef\xbb\xbf{}"),
        ("UTF-16", b"\xff\xfe{\0}\0"),
        ("a control character", b"\"a\nb\""),
        ("an unknown escape", br#""\x41""#),
        ("too deep", too_deep.as_bytes()),
    ] {
        let post = Post::to("/hooks/open").body(body);
        gateway.refuses(case, &post, 400, "malformed_json").await;
    }
}

#[tokio::test]
async fn content_types_are_json_or_absent() {
    let gateway = setup(&nowhere()).start().await;
    for good in [
        "application/json",
        "Application/JSON; Charset=\"UTF-8\"",
        "application/json;charset=utf-8",
        "application/cloudevents+json",
        "application/vnd.lab.v2+json; profile=x",
    ] {
        gateway.accepts(&Post::to("/hooks/open").content_type(good)).await;
    }
    gateway.accepts(&Post::to("/hooks/open").without("content-type")).await;
    for bad in [
        "",
        "text/json",
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "application/json; charset=iso-8859-1",
        "application/json, application/json",
    ] {
        let post = Post::to("/hooks/open").content_type(bad);
        gateway.refuses(bad, &post, 415, "unsupported_media_type").await;
    }
    let twice = Post::to("/hooks/open").header("Content-Type", "application/json");
    gateway.refuses("twice", &twice, 415, "unsupported_media_type").await;
}

#[tokio::test]
async fn bodies_come_unencoded() {
    let gateway = setup(&nowhere()).start().await;
    for good in ["identity", "Identity", ""] {
        gateway.accepts(&Post::to("/hooks/open").header("Content-Encoding", good)).await;
    }
    for bad in ["gzip", "br", "identity, gzip", "x"] {
        let post = Post::to("/hooks/open").header("Content-Encoding", bad);
        gateway.refuses(bad, &post, 415, "unsupported_media_type").await;
    }
}

#[tokio::test]
async fn events_that_are_too_old_or_have_no_time_are_400_where_that_is_asked_for() {
    let gateway = setup(&nowhere()).start().await;
    let now = hookward::clock::Clock::System.now();
    let hours = |n: u64| now.before(std::time::Duration::from_secs(n * 3600));
    let at = |time: String| format!(r#"{{"time":{time}}}"#);
    for body in [
        at(format!("\"{}\"", hours(23))),
        at(hours(23).as_secs().to_string()),
        at(hours(23).0.to_string()),
        at("\"no time\"".to_owned()),
        "{}".to_owned(),
    ] {
        gateway.accepts(&Post::to("/hooks/aged").body(body)).await;
    }
    for body in [
        at(format!("\"{}\"", hours(25))),
        at(hours(25).as_secs().to_string()),
        at(hours(25).0.to_string()),
    ] {
        let post = Post::to("/hooks/aged").body(body.clone());
        gateway.refuses(&body, &post, 400, "event_too_old").await;
    }
    gateway.accepts(&Post::to("/hooks/timed").body(at(format!("\"{now}\"")))).await;
    for body in ["{}".to_owned(), at("\"no time\"".to_owned()), at("null".to_owned())] {
        let answer = gateway.send(&Post::to("/hooks/timed").body(body.clone())).await;
        assert_eq!(answer.status, 400, "{body}");
        answer.assert_well_formed();
    }
}

/// What the app sees of an event's parts: those that cannot be used are left out, and the next
/// place is tried.
#[tokio::test]
async fn parts_are_read_where_the_source_says() {
    let app = App::start().await;
    let gateway = setup(&with_app(&app)).start().await;
    let long = "x".repeat(257);
    let sha = |body: &str| {
        use sha2::Digest;
        format!("sha256:{}", hex::encode(sha2::Sha256::digest(body)))
    };
    let all = r#"{"id":"a1","type":"Order:Shipped","subject":7,"tenant":"t","time":1736937000,"data":{"n":1.50}}"#;
    let odd = r#"{"id":{"x":1},"other":12,"type":"  ","subject":"","tenant":1.5,"time":"soon"}"#;
    let control = r#"{"id":"a\u0007b","data":null}"#;
    let long_id = format!(r#"{{"id":"{long}"}}"#);
    let cases: [(&str, Option<&str>, String, serde_json::Value); 6] = [
        (
            all,
            None,
            r#"{"n":1.50}"#.to_owned(),
            serde_json::json!({"id": "a1", "type": "parts.order.shipped", "providertype": "Order:Shipped",
                "subject": "7", "partitionkey": "7", "tenant": "t", "time": "2025-01-15T10:30:00Z"}),
        ),
        (
            odd,
            None,
            odd.to_owned(),
            serde_json::json!({"id": "12", "type": "parts.unknown", "subject": null,
                "partitionkey": null, "tenant": null, "time": null}),
        ),
        (
            "{}",
            Some("h 1"),
            "{}".to_owned(),
            serde_json::json!({"id": "h 1", "type": "parts.unknown"}),
        ),
        (control, None, "null".to_owned(), serde_json::json!({"id": sha(control)})),
        (&long_id, None, long_id.clone(), serde_json::json!({"id": sha(&long_id)})),
        ("[1]", None, "[1]".to_owned(), serde_json::json!({"id": sha("[1]")})),
    ];
    for (n, (body, header, data, expected)) in cases.into_iter().enumerate() {
        let post = Post::to("/hooks/parts").body(body);
        gateway.accepts(&header.iter().fold(post, |post, id| post.header("X-Id", id))).await;
        let delivery = app.wait(n + 1).await.remove(n);
        let event = delivery.event();
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(
                event.get(name).unwrap_or(&serde_json::Value::Null),
                value,
                "{name}: {event}"
            );
        }
        assert_eq!(delivery.data(), data);
        assert_eq!(event["source"], "urn:hookward:parts");
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["datacontenttype"], "application/json");
    }
}
