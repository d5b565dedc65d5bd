//! Every preset's own samples, signed as `hookward send` signs them, and what became of them.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::config::{Machine, check_text};
use crate::provider::sample::{self, Outgoing};
use crate::provider::{Preset, sign};

pub(super) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// The secret of this name, which no output may show.
pub(super) fn secret(name: &str) -> String {
    base64::prelude::BASE64_STANDARD.encode(Sha256::digest(name))
}

pub(super) fn config(sources: &str) -> Config {
    let env = |name: &str| Some(OsString::from(secret(name)));
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n[store]\n\
         [upstream.app]\nurl = \"http://127.0.0.1:1/\"\n{sources}"
    );
    match check_text(Path::new("/nowhere/hookward.toml"), &text, &Machine { env: &env }) {
        Ok((config, _)) => config,
        Err(invalid) => {
            let problems: Vec<_> = invalid.problems.iter().map(ToString::to_string).collect();
            panic!("{}", problems.join("\n"));
        }
    }
}

fn all_presets() -> Config {
    let mut text = String::new();
    for preset in Preset::ALL.map(Preset::as_str) {
        let key = preset.to_uppercase().replace('-', "_");
        writeln!(text, "[source.{preset}]\npreset = \"{preset}\"").unwrap();
        writeln!(text, "keys = [{{ env = \"{key}_OLD\" }}, {{ env = \"{key}\" }}]").unwrap();
    }
    config(&text)
}

pub(super) fn source<'c>(config: &'c Config, name: &str) -> &'c Arc<Source> {
    find_source(config, name).unwrap()
}

pub(super) fn args(source: &str) -> Args {
    Args {
        source: source.to_owned(),
        config: None,
        request: "-".into(),
        at: None,
        client: None,
        payload: false,
        json: true,
    }
}

/// What is said of this capture, for programs and for people. Neither may show a secret.
pub(super) fn told(config: &Config, args: Args, capture: &[u8]) -> (Value, String) {
    let said = |json: bool| {
        let mut out = Vec::new();
        let args = Args { json, ..args.clone() };
        let capture = |config: &Config| {
            capture::of(capture.to_vec(), &config.server, Path::new("/nowhere"), &[])
        };
        let taken = verify(config, &args, capture, NOW, &mut out).unwrap();
        (taken, String::from_utf8(out).unwrap())
    };
    let ((taken, json), (_, words)) = (said(true), said(false));
    for source in &config.sources {
        for key in &source.keys {
            let key = std::str::from_utf8(key.expose()).unwrap();
            assert!(!json.contains(key) && !words.contains(key), "a key is shown: {words}");
        }
    }
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["accepted"], taken);
    let would = words.contains("would take it") || words.contains("would have taken it at");
    assert_eq!(would, taken, "{words}");
    (json, words)
}

/// A request as it goes over the wire.
pub(super) fn raw(path: &str, headers: &http::HeaderMap, body: &[u8]) -> Vec<u8> {
    let mut head =
        format!("POST {path} HTTP/1.1\r\nHost: gw.example\r\nContent-Type: application/json\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {}\r\n", value.to_str().unwrap()).unwrap();
    }
    write!(head, "Content-Length: {}\r\n\r\n", body.len()).unwrap();
    [head.as_bytes(), body].concat()
}

/// The same as a browser or a dashboard shows it.
fn curl(path: &str, headers: &http::HeaderMap, body: &[u8]) -> Vec<u8> {
    let mut text =
        format!("curl 'https://gw.example{path}' \\\n  -H 'Content-Type: application/json'");
    for (name, value) in headers {
        write!(text, " \\\n  -H '{name}: {}'", value.to_str().unwrap()).unwrap();
    }
    let body = std::str::from_utf8(body).unwrap().replace('\'', r"'\''");
    write!(text, " \\\n  --data-raw '{body}'\n").unwrap();
    text.into_bytes()
}

fn samples() -> Vec<(Preset, Outgoing)> {
    let of = |preset| {
        let samples = sample::all(preset).filter(|sample| !sample.handshake);
        samples.map(move |sample| (preset, sample.verbatim())).collect::<Vec<_>>()
    };
    Preset::ALL.into_iter().flat_map(of).collect()
}

/// One of each preset: every one that is refused is searched for what would make it pass.
fn first_samples() -> Vec<(Preset, Outgoing)> {
    let mut samples = samples();
    samples.dedup_by_key(|(preset, _)| *preset);
    samples
}

fn client(preset: Preset) -> Option<IpAddr> {
    (preset == Preset::C4hxp).then(|| "127.0.0.1".parse().unwrap())
}

#[test]
fn every_presets_samples_pass_with_the_key_that_signed_them() {
    let config = all_presets();
    for (preset, event) in samples() {
        let source = source(&config, preset.as_str());
        for (number, key) in source.keys.iter().enumerate() {
            let headers = sign::sign(source, key, NOW, &event).unwrap();
            for capture in [
                raw(&source.path, &headers, &event.body),
                curl(&source.path, &headers, &event.body),
            ] {
                let (said, words) = told(&config, args(preset.as_str()), &capture);
                assert_eq!(said["accepted"], true, "{words}");
                assert_eq!(said["keys"].as_array().unwrap().len(), 1, "{words}");
                assert_eq!(said["keys"][0]["number"], number + 1);
                let place = said["keys"][0]["place"].as_str().unwrap();
                assert_eq!(place.ends_with("_OLD"), number == 0, "{place}");
                assert_eq!(said["request"]["size"], event.body.len());
                assert_eq!(said["upstreams"][0], "app");
                assert_eq!(said["event"]["type"]["found"], true, "{words}");
            }
        }
    }
}

#[test]
fn a_tampered_sample_is_refused_and_nothing_is_guessed_of_it() {
    let config = all_presets();
    for (preset, event) in first_samples() {
        let source = source(&config, preset.as_str());
        let (headers, body) = sign::forge(source, &source.keys[1], NOW, &event).unwrap();
        let (said, words) =
            told(&config, args(preset.as_str()), &raw(&source.path, &headers, &body));
        assert_eq!((&said["accepted"], &said["status"]), (&false.into(), &401.into()), "{words}");
        let reason = said["reason"].as_str().unwrap();
        assert!(["signature_invalid", "credential_invalid"].contains(&reason), "{words}");
        assert_eq!(said["would_pass"], serde_json::json!([]), "{words}");
        assert_eq!(said["keys"], serde_json::json!([]));
    }
}

/// Whoever has a body and no key must not get its signature out of this.
#[test]
fn a_right_signature_is_never_shown() {
    let config = all_presets();
    for (preset, event) in first_samples() {
        let source = source(&config, preset.as_str());
        if preset == Preset::NovaMed || preset == Preset::Drx {
            continue;
        }
        let right = sign::sign(source, &source.keys[0], NOW, &event).unwrap();
        let wrong =
            sign::sign(source, &crate::secret::Secret::new(b"bm9ib2R5".to_vec()), NOW, &event)
                .unwrap();
        let (said, words) =
            told(&config, args(preset.as_str()), &raw(&source.path, &wrong, &event.body));
        assert_eq!(said["accepted"], false);
        let both = said.to_string() + &words;
        for (name, value) in &right {
            let value = value.to_str().unwrap();
            let signature = value.rsplit(['=', ',']).find(|part| part.len() > 20).unwrap_or(value);
            let credential = name.as_str().contains("signature") || name.as_str().contains("hmac");
            assert!(!credential || !both.contains(signature), "{name}: {both}");
        }
    }
}

#[test]
fn payload_is_shown_only_where_it_is_asked_for() {
    let config = all_presets();
    for (preset, event) in samples() {
        let source = source(&config, preset.as_str());
        let headers = sign::sign(source, &source.keys[0], NOW, &event).unwrap();
        let capture = raw(&source.path, &headers, &event.body);
        let args = Args { client: client(preset), ..args(preset.as_str()) };
        let (said, words) = told(&config, Args { payload: true, ..args.clone() }, &capture);
        let shown = |part: &str| said["event"][part]["value"].as_str().map(str::to_owned);
        assert_eq!(said["event"]["data"]["size"], shown("data").unwrap().len());
        assert!(words.contains(&shown("data").unwrap().replace('\r', "")), "{words}");
        let (said, words) = told(&config, args, &capture);
        let both = said.to_string() + &words;
        for part in ["subject", "id", "data"] {
            let value = shown(part).unwrap_or_else(|| "\u{1}".to_owned());
            assert!(!both.contains(&value), "{part} of {preset:?}: {both}");
        }
    }
}

fn checks(said: &Value, result: &str) -> Vec<String> {
    let steps = said["steps"].as_array().unwrap().iter();
    let named = steps.filter(|step| step["result"] == result);
    named.map(|step| step["check"].as_str().unwrap().to_owned()).collect()
}

const LAB: &str = "[source.lab]\nkeys = [{ env = \"LAB\" }]\nallow_ips = [\"203.0.113.0/24\"]\n\
    auth = { kind = \"api-key\", header = \"X-API-Key\" }\nevent.id = [\"/a\", \"/id\"]\nevent.type = \"/b\"\n\
    event.time = \"/at\"\nmax_event_age = \"1h\"\n\
    [source.other]\npath = \"/elsewhere\"\nkeys = [{ env = \"OTHER\" }]\nauth = { kind = \"api-key\", header = \"X-Other\" }\n";

fn lab(path: &str, key: &str, more: &str, body: &str) -> Vec<u8> {
    let (key, length) = (secret(key), body.len());
    format!("{path} HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n{more}Content-Length: {length}\r\n\r\n{body}").into()
}

#[test]
fn checks_are_told_in_the_order_of_the_road_and_all_of_them() {
    let config = config(LAB);
    let order = [
        "http",
        "route",
        "method",
        "address",
        "rate",
        "size",
        "credential",
        "content type",
        "json",
        "identity",
        "store",
    ];
    let (said, _) = told(&config, args("lab"), &lab("POST /hooks/lab", "LAB", "", "{}"));
    let named: Vec<_> =
        said["steps"].as_array().unwrap().iter().map(|step| step["check"].clone()).collect();
    assert_eq!(named, order);
    assert_eq!(checks(&said, "not_judged"), ["address", "rate", "store"]);
    let bad = lab("GET /elsewhere", "LABOR", "Content-Type: text/plain\r\n", "{}");
    let client = "203.0.114.1".parse().ok();
    let (said, words) = told(&config, Args { client, ..args("lab") }, &bad);
    assert_eq!(
        checks(&said, "fail"),
        ["route", "method", "address", "credential", "content type"],
        "{words}"
    );
    assert_eq!((&said["status"], &said["reason"]), (&404.into(), &"unknown_route".into()));
    let (said, _) =
        told(&config, args("lab"), &lab("POST /hooks/lab", "LAB", "", "{\"a\":1,\"a\":2}"));
    assert_eq!((checks(&said, "fail"), &said["status"]), (vec!["json".to_owned()], &400.into()));
    let (said, words) = told(&config, args("lab"), b"{}");
    assert_eq!(
        (checks(&said, "fail"), &said["status"]),
        (vec!["http".to_owned()], &400.into()),
        "{words}"
    );
}

#[test]
fn the_caller_is_told_as_the_gateway_tells_it() {
    let config = config(LAB);
    for (client, forwarded, passes) in [
        ("203.0.113.9", "", true),
        ("::ffff:203.0.113.9", "", true),
        ("203.0.114.9", "X-Forwarded-For: 203.0.113.9\r\n", false),
        ("10.1.1.1", "X-Forwarded-For: 203.0.113.9\r\n", true),
        ("10.1.1.1", "X-Forwarded-For: 203.0.113.9, nobody\r\n", false),
        ("10.1.1.1", "", false),
    ] {
        let args = Args { client: client.parse().ok(), ..args("lab") };
        let (said, words) = told(&config, args, &lab("POST /hooks/lab", "LAB", forwarded, "{}"));
        assert_eq!(said["accepted"], passes, "{client} {forwarded}: {words}");
        // A proxy's own request, as a check of its health is, was told as one that it had forwarded.
        let through = client.starts_with("10.") && !forwarded.is_empty();
        assert_eq!(words.contains("of a trusted proxy"), through, "{words}");
    }
}

/// Of a request without any it was said that no key fits its credential.
#[test]
fn where_no_credential_was_presented_none_is_searched_for() {
    let config = config(LAB);
    let capture = b"POST /hooks/lab HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
    let (said, words) = told(&config, args("lab"), capture);
    assert_eq!(said["reason"], "credential_missing");
    assert!(!words.contains("no configured key fits"), "{words}");
    let (_, words) = told(&config, args("lab"), &lab("POST /hooks/lab", "LABOR", "", "{}"));
    assert!(words.contains("no configured key fits"), "{words}");
}

#[test]
fn it_is_told_where_the_parts_of_an_event_stand() {
    let config = config(LAB);
    let body = "{\"id\":\"e1\",\"b\":7}";
    let (said, _) = told(&config, args("lab"), &lab("POST /hooks/lab", "LAB", "", body));
    let event = &said["event"];
    assert_eq!((&event["id"]["place"], &event["type"]["place"]), (&"/id".into(), &Value::Null));
    assert_eq!((&event["dedupe"]["by"], &event["data"]["place"]), (&"id".into(), &Value::Null));
    let (said, _) = told(&config, args("lab"), &lab("POST /hooks/lab", "LAB", "", "{}"));
    assert_eq!(said["event"]["dedupe"]["by"], "body");
}

/// Without a signed timestamp, the event's own time is the request's.
#[test]
fn an_old_event_is_judged_at_its_own_time_unless_told_otherwise() {
    let config = config(LAB);
    let capture = lab("POST /hooks/lab", "LAB", "", "{\"at\":\"2025-01-15T10:30:00Z\"}");
    let (said, _) = told(&config, args("lab"), &capture);
    assert_eq!((&said["accepted"], &said["time"]["from"]), (&true.into(), &"event".into()));
    assert_eq!(said["sent_now"]["reason"], "event_too_old");
    let (said, _) = told(&config, Args { at: Some(Given::Now), ..args("lab") }, &capture);
    assert_eq!((&said["reason"], &said["status"]), (&"event_too_old".into(), &400.into()));
}

/// It said that the gateway would take what it would refuse by then.
#[test]
fn what_would_be_refused_by_now_for_its_time_is_told_beside_the_verdict() {
    let config = all_presets();
    let preset = Preset::StandardWebhooks;
    let source = source(&config, preset.as_str());
    let (_, event) = first_samples().into_iter().find(|(of, _)| *of == preset).unwrap();
    for (ago, status) in [(0, None), (1_000, Some(200)), (3_600_000, Some(401))] {
        let at = UnixMillis(NOW.0 - ago);
        let headers = sign::sign(source, &source.keys[0], at, &event).unwrap();
        let capture = raw(&source.path, &headers, &event.body);
        let (said, words) = told(&config, args(preset.as_str()), &capture);
        assert_eq!(said["accepted"], true, "{words}");
        assert_eq!(said["sent_now"]["status"], serde_json::json!(status), "{words}");
        let late = format!(
            "The gateway would have taken it at {at}; sent now it is 401 timestamp_out_of_range."
        );
        assert_eq!(words.contains(&late), status == Some(401), "{words}");
    }
}

#[test]
fn lengths_that_do_not_fit_are_named() {
    let config = config(LAB);
    let whole = lab("POST /hooks/lab", "LAB", "", "{}\n");
    let (said, words) = told(&config, args("lab"), &whole[..whole.len() - 1]);
    assert_eq!(
        (&said["reason"], &said["status"]),
        (&"body_timeout".into(), &408.into()),
        "{words}"
    );
    assert!(words.contains("an editor may have taken a newline away"), "{words}");
    let (said, words) = told(&config, args("lab"), &[&whole[..], b"\n"].concat());
    assert_eq!(
        (&said["accepted"], &said["notes"][0]["note"]),
        (&true.into(), &"newline_behind".into()),
        "{words}"
    );
    let long = lab("POST /hooks/lab", "LAB", "", &format!("\"{}\"", "a".repeat(1 << 20)));
    let (said, _) = told(&config, args("lab"), &long);
    assert_eq!((&said["reason"], &said["status"]), (&"body_too_large".into(), &413.into()));
}

/// It said 408 where the gateway, asked over a socket, said these.
#[test]
fn a_broken_body_is_judged_when_the_gateway_would_read_it() {
    let config = config(LAB);
    let (right, wrong) = (secret("LAB"), secret("LABOR"));
    let large = format!("110000\r\n{}", "a".repeat(0x11_0000));
    for (key, framing, body, status, reason) in [
        (&right, "Content-Length: 2000000", "{}", 413, "body_too_large"),
        (&wrong, "Content-Length: 2000000", "{}", 413, "body_too_large"),
        (&right, "Content-Length: 10", "{}", 408, "body_timeout"),
        (&wrong, "Content-Length: 10", "{}", 401, "credential_invalid"),
        (&right, "Transfer-Encoding: chunked", "2\r\n{}\r\n", 408, "body_timeout"),
        (&wrong, "Transfer-Encoding: chunked", "2\r\n{}\r\n", 401, "credential_invalid"),
        (&right, "Transfer-Encoding: chunked", &large, 413, "body_too_large"),
        (&wrong, "Transfer-Encoding: chunked", &large, 401, "credential_invalid"),
        (&right, "Transfer-Encoding: chunked", "110000\r\n{}", 408, "body_timeout"),
        (&right, "Transfer-Encoding: chunked", "2x\r\n{}", 400, "protocol_error"),
        (&wrong, "Transfer-Encoding: chunked", "2x\r\n{}", 401, "credential_invalid"),
    ] {
        let capture = format!(
            "POST /hooks/lab HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n{framing}\r\n\r\n{body}"
        );
        let (said, words) = told(&config, args("lab"), capture.as_bytes());
        let told = (&said["status"], &said["reason"]);
        assert_eq!(told, (&status.into(), &reason.into()), "{framing}: {words}");
        let depends = "400 protocol_error where the sender has ended the connection";
        assert!(status != 408 || words.contains(depends), "{words}");
    }
}

#[test]
fn nothing_reaches_the_terminal_as_more_than_text() {
    let config = config(LAB);
    let body = "{\"id\":\"\\u001b[2J\",\"b\":\"\u{202e}x\"}";
    let capture = lab("POST /hooks/lab", "LAB", "", body);
    let (_, words) = told(&config, Args { payload: true, ..args("lab") }, &capture);
    assert!(!words.contains(['\u{1b}', '\u{202e}', '\r']), "{words:?}");
}
