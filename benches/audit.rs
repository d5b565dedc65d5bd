//! What a refusal costs whoever records it: into the trail, and into the log alone. And what an accepted
//! request does, lest it be refused after all.
//! `cargo bench --bench audit`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use hookward::admit::Verifier;
use hookward::audit::chain::{Chain, Options, Retention};
use hookward::audit::{Reason, Refusals, Refused};
use hookward::clock::{Clock, UnixMillis};
use hookward::event::SourceName;
use hookward::listen::Origin;
use hookward::store::disk::OsDisk;
use http::{HeaderMap, HeaderName, HeaderValue};

/// All that may stand singly in a minute.
const REFUSALS: u32 = 4_000;
const MINUTES: u32 = 10;
const ACCEPTED: u32 = 5_000_000;

const SOURCE: &str = r#"
[server]
listen = "127.0.0.1:0"

[admin]
listen = "127.0.0.1:0"
token = { file = "lab" }

[store]
path = "data"

[source.lab]
auth = { kind = "hmac", header = "X-Lab-Signature", algorithm = "sha256", encoding = "hex", prefix = "sha256=", signed = "{body}" }
keys = [{ file = "lab" }]

[upstream.app]
url = "http://127.0.0.1:3000/webhooks"
"#;

const HEADERS: [(&str, &str); 6] = [
    ("host", "gateway.example"),
    ("user-agent", "python-requests/2.32"),
    ("accept", "*/*"),
    ("content-type", "application/json"),
    ("content-length", "700"),
    ("x-lab-signature", "sha256=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
];

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(UnixMillis(1_736_937_000_000));
    let chain = Arc::new(Chain::new(clock.clone()));
    let keep = Duration::from_secs(86_400 * 2_192);
    let retention = Retention { keep, max_bytes: 1 << 31, archive: None, min_free: 0 };
    let options = Options { retention, required: false, checkpoints: None };
    let running = chain.start(Arc::new(OsDisk), dir.path(), options).unwrap();
    for body in [700, 1 << 20] {
        let log = Refusals::new(clock.clone());
        measure("log alone (nobody listens)", body, &log, &clock, || true);
        let trail = Refusals::recorded(clock.clone(), Arc::clone(&chain));
        measure("log and trail", body, &trail, &clock, || chain.settle(Duration::from_secs(60)));
    }
    accepted(&chain);
    assert!(running.chain().stop());
}

/// Keeps the credential and the body at hand, as a request does before it is known whether it is refused.
fn accepted(chain: &Chain) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hookward.toml");
    fs::write(&file, SOURCE).unwrap();
    fs::write(dir.path().join("lab"), "a-key-of-more-than-thirty-two-bytes").unwrap();
    fs::set_permissions(dir.path().join("lab"), fs::Permissions::from_mode(0o600)).unwrap();
    let (config, _) = hookward::config::load(&file, &|_| None).unwrap();
    let verifier = Verifier::new(Arc::clone(&config.sources[0])).unwrap();
    let headers: HeaderMap = HEADERS
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .into_iter()
        .collect();
    let body = Bytes::from(vec![b'x'; 700]);
    let began = Instant::now();
    for _ in 0..ACCEPTED {
        let kept = (verifier.presented(black_box(&headers)), black_box(&body).clone());
        black_box(kept);
        assert!(!black_box(chain).blocks());
    }
    let each = began.elapsed().as_secs_f64() * 1e9 / f64::from(ACCEPTED);
    println!("an accepted request, for the trail: {each:.0} ns");
}

/// Refusals of one client and reason each a hundred times, as they come.
fn measure(what: &str, body: usize, refusals: &Refusals, clock: &Clock, settle: impl Fn() -> bool) {
    let source = SourceName::new("lab").unwrap();
    let body = Bytes::from(vec![b'x'; body]);
    let credential = [HeaderValue::from_static(
        "sha256=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    )];
    let mut took = Histogram::<u64>::new(3).unwrap();
    for _ in 0..MINUTES {
        clock.advance(Duration::from_secs(60));
        for n in 0..REFUSALS {
            let [_, a, b, c] = (n / 100).to_be_bytes();
            // Each client in a network of its own: one has a share only.
            let origin = Origin::plain(([10, c, b, a], 443).into());
            let refused = Refused {
                source: Some(&source),
                method: "POST",
                path: "/hooks/lab",
                user_agent: b"python-requests/2.32",
                declared: Some(body.len() as u64),
                body: Some(body.clone()),
                credential: &credential,
                status: 401,
                ..Refused::connection(Reason::SignatureInvalid, "why", &origin)
            };
            let began = Instant::now();
            refusals.record(&refused);
            took.record(u64::try_from(began.elapsed().as_nanos()).unwrap()).unwrap();
        }
        assert!(settle());
    }
    println!(
        "{what}, bodies of {} bytes: mean {:.2} us, p50 {:.2}, p99 {:.2}, p99.9 {:.2}",
        body.len(),
        took.mean() / 1e3,
        took.value_at_quantile(0.5) as f64 / 1e3,
        took.value_at_quantile(0.99) as f64 / 1e3,
        took.value_at_quantile(0.999) as f64 / 1e3,
    );
}
