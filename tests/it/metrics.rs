//! `GET /metrics`: who gets it, and whether it says what has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tokio::time::{Instant, timeout};

use crate::app::{App, Down, reply};
use crate::client::{Answer, BOUND, Connection, Post};
use crate::gateway::{Running, Setup, secret, setup};
use crate::lines;

const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\ntoken = { env = \"ADMIN\" }\n";

const SOURCES: &str = "
[source.lab]
auth = { kind = \"api-key\", header = \"X-API-Key\" }
keys = [{ env = \"LAB\" }]
event.id = \"/id\"
on_conflict = \"drop\"

[source.silent]
auth = { kind = \"none-dangerous\" }
";

fn with(admin: &str, url: &str) -> Setup {
    let retry = "retry = { first = \"1ms\", max = \"2ms\", give_up = \"1h\" }";
    setup(&format!("{admin}\n{SOURCES}\n[upstream.app]\nurl = \"{url}\"\n{retry}\n"))
}

fn lab(body: &str) -> Post {
    Post::to("/hooks/lab").header("X-API-Key", &secret("LAB")).body(body)
}

fn get(path: &str) -> Post {
    Post::to(path).method("GET").without("content-type").body("")
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn admin(gateway: &Running) -> SocketAddr {
    gateway.gateway.admin_addr().unwrap()
}

async fn ask(gateway: &Running) -> Answer {
    let token = bearer(&secret("ADMIN"));
    let answer = get("/metrics").header("Authorization", &token).send(admin(gateway)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// What was scraped: each series, as it is written, and its value.
#[derive(Debug)]
struct Scrape {
    families: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    /// Reads the text strictly: a family is announced before its samples, stands in one piece, and
    /// no series comes twice.
    fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line is whole");
        let (mut families, mut samples) = (BTreeMap::new(), BTreeMap::new());
        let mut family = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(help.ends_with('.'), "{line}");
                name.clone_into(&mut family);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(name, family, "{line}");
                assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                let ending = name.strip_prefix(&*family).unwrap_or_else(|| panic!("{line}"));
                let histogram = families[&family] == "histogram";
                assert_eq!(histogram, ["_bucket", "_sum", "_count"].contains(&ending), "{line}");
                let value: f64 = value.parse().unwrap();
                assert!(value.is_finite() && value >= 0.0, "{line}");
                assert!(samples.insert(series.to_owned(), value).is_none(), "{line}");
            }
        }
        Self { families, samples }
    }

    fn value(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("no {series}: {self:#?}"))
    }
}

async fn scrape(gateway: &Running) -> Scrape {
    Scrape::read(&ask(gateway).await.body)
}

/// Scrapes until these series have these values.
async fn eventually(gateway: &Running, expected: &[(&str, f64)]) -> Scrape {
    let begun = Instant::now();
    loop {
        let scrape = scrape(gateway).await;
        let wrong = expected.iter().find(|(series, value)| scrape.value(series) != *value);
        let Some((series, value)) = wrong else { return scrape };
        assert!(begun.elapsed() < BOUND, "{series} is not {value}: {scrape:#?}");
    }
}

fn requests(source: &str, status: u16, reason: &str) -> String {
    format!(
        "hookward_requests_total{{source=\"{source}\",status=\"{status}\",reason=\"{reason}\"}}"
    )
}

#[tokio::test]
async fn every_answer_is_counted_with_its_source_status_and_reason() {
    let app = App::start().await;
    let gateway = with(ADMIN, &app.url()).start().await;
    let before = scrape(&gateway).await;
    for (status, reason) in [(200, ""), (401, "credential_invalid"), (500, "internal_error")] {
        assert_eq!(before.value(&requests("lab", status, reason)), 0.0, "there from the start");
    }
    gateway.accepts(&lab(r#"{"id":1}"#)).await;
    gateway.accepts(&lab(r#"{"id":2}"#)).await;
    gateway.accepts(&lab(r#"{"id":2}"#)).await;
    gateway.accepts(&lab(r#"{"id":2,"other":true}"#)).await;
    let wrong = || Post::to("/hooks/lab").header("X-API-Key", "wrong");
    assert_eq!(gateway.send(&wrong()).await.status, 401);
    assert_eq!(gateway.send(&wrong()).await.status, 401);
    assert_eq!(gateway.send(&Post::to("/hooks/lab")).await.status, 401);
    assert_eq!(gateway.send(&lab("{")).await.status, 400);
    assert_eq!(gateway.send(&lab("{}").method("PUT")).await.status, 405);
    assert_eq!(gateway.send(&Post::to("/Jane-Doe?born=1970")).await.status, 404);
    assert_eq!(gateway.send(&Post::to("/hooks/Jane-Doe")).await.status, 404);
    let mut malformed = Connection::open(gateway.address, None).await;
    malformed.write(b"Jane-Doe\r\n\r\n").await;
    assert_eq!(malformed.answer().await.status, 400);
    drop(malformed);
    let text = ask(&gateway).await.body;
    assert!(!text.contains("Jane-Doe") && !text.contains("1970"), "{text}");
    let scrape = eventually(&gateway, &[(&requests("", 400, "protocol_error"), 1.0)]).await;
    let expected = [
        (requests("lab", 200, ""), 4.0),
        (requests("lab", 401, "credential_invalid"), 2.0),
        (requests("lab", 401, "credential_missing"), 1.0),
        (requests("lab", 400, "malformed_json"), 1.0),
        (requests("lab", 405, "method_not_allowed"), 1.0),
        (requests("", 404, "unknown_route"), 2.0),
        (requests("silent", 200, ""), 0.0),
        ("hookward_events_accepted_total{source=\"lab\"}".to_owned(), 2.0),
        ("hookward_events_filtered_total{source=\"lab\"}".to_owned(), 0.0),
        ("hookward_events_duplicate_total{source=\"lab\"}".to_owned(), 1.0),
        ("hookward_events_conflict_total{source=\"lab\"}".to_owned(), 1.0),
        ("hookward_ack_duration_seconds_count{source=\"lab\"}".to_owned(), 4.0),
        ("hookward_ack_duration_seconds_bucket{source=\"lab\",le=\"+Inf\"}".to_owned(), 4.0),
        ("hookward_ack_duration_seconds_count{source=\"silent\"}".to_owned(), 0.0),
    ];
    for (series, value) in expected {
        assert_eq!(scrape.value(&series), value, "{series}");
    }
    assert!(scrape.value("hookward_ack_duration_seconds_sum{source=\"lab\"}") > 0.0);
    assert!(scrape.value("hookward_journal_sync_duration_seconds_count") >= 2.0);
    assert_eq!(scrape.value("hookward_store_writable"), 1.0);
    assert!(scrape.value("hookward_store_bytes{part=\"journal\"}") > 0.0);
    let version = format!("hookward_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(scrape.value(&version), 1.0);
    for (family, kind) in &scrape.families {
        assert!(kind != "histogram" || family.ends_with("_seconds"), "{family}");
    }
}

#[tokio::test]
async fn deliveries_are_counted_and_dead_letters_outlast_a_restart() {
    let app = App::answering(|delivery, before| {
        let body = String::from_utf8_lossy(&delivery.body);
        let again = before.iter().filter(|b| b.id() == delivery.id()).count();
        reply(if body.contains("\"dead\"") {
            410
        } else if again < 2 {
            503
        } else {
            200
        })
    });
    let app = app.await;
    let setup = with(ADMIN, &app.url());
    let gateway = setup.start().await;
    for id in ["\"late\"", "\"dead\""] {
        gateway.accepts(&lab(&format!("{{\"id\":{id}}}"))).await;
    }
    let outcome =
        |of: &str| format!("hookward_delivery_attempts_total{{upstream=\"app\",outcome=\"{of}\"}}");
    let dead = "hookward_dead_letters{upstream=\"app\"}";
    let backlog = "hookward_backlog_events{upstream=\"app\"}";
    let took = "hookward_delivery_duration_seconds_count{upstream=\"app\"}";
    let expected = [
        (&*outcome("delivered"), 1.0),
        (&*outcome("retry"), 2.0),
        (&*outcome("dead"), 1.0),
        (dead, 1.0),
        (backlog, 0.0),
        (took, 4.0),
    ];
    eventually(&gateway, &expected).await;
    let gateway = setup.start_in(gateway.stop().await).await;
    eventually(&gateway, &[(dead, 1.0), (backlog, 0.0), (took, 0.0)]).await;
}

#[tokio::test]
async fn what_waits_and_who_is_connected_is_told() {
    let down = Down::new();
    let gateway = with(ADMIN, &down.url()).start().await;
    let (backlog, connections) =
        ("hookward_backlog_events{upstream=\"app\"}", "hookward_connections");
    eventually(&gateway, &[(backlog, 0.0), (connections, 0.0)]).await;
    let open = Connection::open(gateway.address, None).await;
    eventually(&gateway, &[(connections, 1.0)]).await;
    drop(open);
    for id in 0..3 {
        gateway.accepts(&lab(&format!("{{\"id\":{id}}}"))).await;
    }
    let age = "hookward_backlog_oldest_age_seconds{upstream=\"app\"}";
    let begun = Instant::now();
    while scrape(&gateway).await.value(age) <= 0.05 {
        assert!(begun.elapsed() < BOUND, "it does not get older");
    }
    let scrape = eventually(&gateway, &[(backlog, 3.0), (connections, 0.0)]).await;
    assert!(scrape.value(age) <= begun.elapsed().as_secs_f64() + BOUND.as_secs_f64());
    let app = down.come_up();
    app.wait(3).await;
    eventually(&gateway, &[(backlog, 0.0), (age, 0.0)]).await;
}

/// Eight events without an answer open the circuit; the first good answer closes it.
#[tokio::test]
async fn where_the_circuit_breaker_stands_is_told() {
    let down = Down::new();
    let gateway = with(ADMIN, &down.url()).start().await;
    let state =
        |state: &str| format!("hookward_circuit_state{{upstream=\"app\",state=\"{state}\"}}");
    let [closed, open] = ["closed", "open"].map(state);
    let opened = "hookward_circuit_opened_total{upstream=\"app\"}";
    let limit = "hookward_circuit_limit{upstream=\"app\"}";
    eventually(&gateway, &[(&closed, 1.0), (&open, 0.0), (opened, 0.0), (limit, 16.0)]).await;
    for id in 0..60 {
        gateway.accepts(&lab(&format!("{{\"id\":{id}}}"))).await;
    }
    eventually(&gateway, &[(&closed, 0.0), (&open, 1.0), (opened, 1.0), (limit, 0.0)]).await;
    let app = down.come_up();
    app.wait(60).await;
    eventually(&gateway, &[(&closed, 1.0), (&open, 0.0), (opened, 1.0), (limit, 16.0)]).await;
}

#[tokio::test]
async fn only_the_token_opens_what_is_not_health() {
    let gateway = with(ADMIN, "http://127.0.0.1:1/").start().await;
    let at = admin(&gateway);
    let right = bearer(&secret("ADMIN"));
    let with_token = |path: &str| get(path).header("Authorization", &right);
    for (case, post, status) in [
        ("health", get("/healthz"), 200),
        ("readiness", get("/readyz"), 200),
        ("no token", get("/metrics"), 401),
        ("a path that is not there, without a token", get("/nothing"), 401),
        ("a wrong token", get("/metrics").header("Authorization", "Bearer wrong"), 401),
        ("two tokens", with_token("/metrics").header("Authorization", &right), 401),
        ("the token", with_token("/metrics"), 200),
        ("a query", with_token("/metrics?name=x"), 200),
        ("a path that is not there", with_token("/nothing"), 404),
        ("another case", with_token("/Metrics"), 404),
        ("another method", with_token("/metrics").method("POST"), 405),
        ("another method, without a token", get("/metrics").method("POST"), 401),
        ("another method for health", get("/readyz").method("POST"), 405),
    ] {
        let answer = post.send(at).await;
        assert_eq!(answer.status, status, "{case}: {answer:?}");
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, (status == 401).then_some("Bearer"), "{case}");
        assert_eq!(answer.header("allow"), (status == 405).then_some("GET, HEAD"), "{case}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{case}");
        if status != 200 {
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{case}");
            let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(problem["status"], status, "{case}");
        }
    }
    let answer = ask(&gateway).await;
    let content_type = answer.header("content-type");
    assert_eq!(content_type, Some("text/plain; version=0.0.4; charset=utf-8"));
}

#[tokio::test]
async fn without_a_token_nothing_but_health_is_served() {
    let gateway = with("[admin]\nlisten = \"127.0.0.1:0\"\n", "http://127.0.0.1:1/").start().await;
    let at = admin(&gateway);
    assert_eq!(get("/healthz").send(at).await.status, 200);
    for post in [get("/metrics"), get("/metrics").header("Authorization", "Bearer ")] {
        let answer = post.send(at).await;
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(answer.body.contains("admin.token"), "{answer:?}");
    }
    assert_eq!(get("/nothing").send(at).await.status, 404);
}

#[tokio::test]
async fn who_is_not_let_in_is_logged_and_what_was_shown_is_not() {
    let gateway = with(ADMIN, "http://127.0.0.1:1/").start().await;
    let shown = get("/metrics").header("Authorization", "Bearer near-miss");
    assert_eq!(shown.send(admin(&gateway)).await.status, 401);
    let line = lines::refusal(&shown.tag).await;
    for (name, value) in [
        ("level", "WARN"),
        ("listener", "admin"),
        ("reason", "credential_invalid"),
        ("detail", "a wrong token"),
    ] {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    assert!(!line.to_string().contains("near-miss"), "{line}");
}

/// What is documented is there, and what is there is documented. The certificate's end is absent
/// without TLS.
#[tokio::test]
async fn every_metric_is_documented() {
    let gateway = with(ADMIN, "http://127.0.0.1:1/").start().await;
    let families = scrape(&gateway).await.families;
    let there: BTreeSet<&str> = families.keys().map(String::as_str).collect();
    let documented: BTreeSet<&str> = include_str!("../../docs/metrics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next())
        .filter(|name| name.starts_with("hookward_") || name.starts_with("process_"))
        .collect();
    let only_documented: Vec<_> = documented.difference(&there).copied().collect();
    assert_eq!(only_documented, ["hookward_tls_certificate_expiry_timestamp_seconds"]);
    let only_there: Vec<_> = there.difference(&documented).copied().collect();
    assert_eq!(only_there, [""; 0]);
}

/// A scrape reads the store's state and directories: the roads must not wait for it.
#[tokio::test]
async fn requests_are_answered_while_others_scrape() {
    let gateway = with(ADMIN, "http://127.0.0.1:1/").start().await;
    let at = admin(&gateway);
    let scrapers: Vec<_> = (0..8)
        .map(|_| {
            let scrape = get("/metrics").header("Authorization", &bearer(&secret("ADMIN")));
            tokio::spawn(async move {
                loop {
                    scrape.send(at).await;
                }
            })
        })
        .collect();
    for id in 0..50 {
        let post = lab(&format!("{{\"id\":{id}}}"));
        timeout(BOUND, gateway.accepts(&post)).await.unwrap();
    }
    for scraper in scrapers {
        scraper.abort();
    }
    let accepted = "hookward_events_accepted_total{source=\"lab\"}";
    eventually(&gateway, &[(accepted, 50.0)]).await;
}
