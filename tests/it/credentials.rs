//! Who is calling: every way in which a credential can be missing or wrong, and that a caller
//! cannot tell one from the other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use hookward::clock::{Clock, UnixMillis};
use sha2::{Sha256, Sha512};

use crate::client::{Answer, Post};
use crate::gateway::{Running, decoded, secret, setup};

const SOURCES: &str = r#"
[source.key]
auth = { kind = "api-key", header = "X-API-Key" }
keys = [{ env = "NEW" }, { env = "OLD" }]

[source.lab]
auth = { kind = "hmac", header = "X-Lab-Signature", prefix = "sha256=" }
keys = [{ env = "NEW" }, { env = "OLD" }]

[source.long]
auth = { kind = "hmac", header = "X-Long", algorithm = "sha512", encoding = "base64", signed = "{header:X-Nonce}:{body}" }
keys = [{ env = "NEW" }]

[source.stamped]
auth = { kind = "hmac", header = "X-Signature", signed = "{timestamp}.{body}", timestamp = "header:X-Time", tolerance = "5m" }
keys = [{ env = "NEW" }]

[source.stripe]
preset = "stripe"
keys = [{ env = "NEW" }]

[source.std]
preset = "standard-webhooks"
keys = [{ env = "NEW" }, { env = "OLD" }]

[upstream.app]
url = "http://127.0.0.1:1/"
"#;

const BODY: &str = r#"{"a":1}"#;

fn sha256(key: &str, content: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(content.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex256(key: &str, content: &str) -> String {
    hex::encode(sha256(key, content))
}

fn long(key: &str, content: &str) -> String {
    let mut mac = Hmac::<Sha512>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(content.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// A Standard Webhooks signature.
fn std256(name: &str, content: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(decoded(name).expose()).unwrap();
    mac.update(content.as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

fn now() -> UnixMillis {
    Clock::System.now()
}

/// The Unix seconds this many seconds from now.
fn seconds(from_now: i64) -> String {
    now().as_secs().checked_add_signed(from_now).unwrap().to_string()
}

type Headers = Vec<(&'static str, String)>;

fn post(source: &str, headers: &Headers) -> Post {
    let post = Post::to(&format!("/hooks/{source}")).body(BODY);
    headers.iter().fold(post, |post, (name, value)| post.header(name, value))
}

#[tokio::test]
async fn the_holder_of_any_key_gets_in() {
    let gateway = setup(SOURCES).start().await;
    let (new, old) = (secret("NEW"), secret("OLD"));
    let (new_hex, old_hex) = (hex256(&new, BODY), hex256(&old, BODY));
    let time = seconds(0);
    let stripe = |time: &str| hex256(&new, &format!("{time}.{BODY}"));
    let content = format!("msg_1.{time}.{BODY}");
    let stamps = |time: &str, signature: String| -> Headers {
        vec![
            ("webhook-id", "msg_1".to_owned()),
            ("webhook-timestamp", time.to_owned()),
            ("webhook-signature", signature),
        ]
    };
    let cases: Vec<(&str, &str, Headers)> = vec![
        ("key", "the new key", vec![("X-API-Key", new.clone())]),
        ("key", "the old key", vec![("x-api-key", old.clone())]),
        ("lab", "the new key", vec![("X-Lab-Signature", format!("sha256={new_hex}"))]),
        ("lab", "the old key", vec![("X-Lab-Signature", format!("sha256={old_hex}"))]),
        (
            "lab",
            "upper-case digits",
            vec![("X-Lab-Signature", format!("sha256={}", new_hex.to_uppercase()))],
        ),
        (
            "lab",
            "several signatures",
            vec![(
                "X-Lab-Signature",
                format!("sha1=00, sha256={}, sha256={old_hex}", "0".repeat(64)),
            )],
        ),
        (
            "long",
            "a header that is signed too",
            vec![("X-Nonce", "n1".to_owned()), ("X-Long", long(&new, &format!("n1:{BODY}")))],
        ),
        (
            "stamped",
            "a timestamp in a header",
            vec![
                ("X-Time", time.clone()),
                ("X-Signature", hex256(&new, &format!("{time}.{BODY}"))),
            ],
        ),
        (
            "stripe",
            "timestamp and signature",
            vec![("Stripe-Signature", format!("t={time},v1={}", stripe(&time)))],
        ),
        (
            "stripe",
            "signatures of another key and another version",
            vec![(
                "Stripe-Signature",
                format!(
                    "t={time},v1={},v0={},v1={}",
                    "0".repeat(64),
                    "1".repeat(64),
                    stripe(&time)
                ),
            )],
        ),
        (
            "stripe",
            "nearly too old",
            vec![("Stripe-Signature", {
                let time = seconds(-290);
                format!("t={time},v1={}", stripe(&time))
            })],
        ),
        ("std", "the new key", stamps(&time, std256("NEW", &content))),
        ("std", "the old key", stamps(&time, std256("OLD", &content))),
        (
            "std",
            "several signatures",
            stamps(
                &time,
                format!("v1a,AAAA {} {}", std256("OTHER", &content), std256("OLD", &content)),
            ),
        ),
    ];
    for (source, case, headers) in cases {
        let answer = gateway.send(&post(source, &headers)).await;
        assert_eq!(answer.status, 200, "{source}: {case}: {answer:?}");
    }
}

#[tokio::test]
async fn everyone_else_is_told_the_same_to_the_byte() {
    let gateway = setup(SOURCES).start().await;
    let answers = refused(&gateway).await;
    let first = &answers[0];
    for answer in &answers {
        assert_eq!(answer.body, first.body);
        let comparable = |answer: &Answer| {
            let headers = answer.headers.iter().filter(|(name, _)| name != "date");
            headers.cloned().collect::<Vec<_>>()
        };
        assert_eq!(comparable(answer), comparable(first));
    }
}

async fn refused(gateway: &Running) -> Vec<Answer> {
    let (new, other) = (secret("NEW"), secret("OTHER"));
    let (right, time) = (hex256(&new, BODY), seconds(0));
    let lab = |value: &str| vec![("X-Lab-Signature", value.to_owned())];
    let stripe = |value: String| vec![("Stripe-Signature", value)];
    let signed = |time: &str| hex256(&new, &format!("{time}.{BODY}"));
    let stamped = |time: &str| {
        vec![("X-Time", time.to_owned()), ("X-Signature", hex256(&new, &format!("{time}.{BODY}")))]
    };
    let std = |id: &str, time: &str, signature: &str| {
        vec![
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", time.to_owned()),
            ("webhook-signature", signature.to_owned()),
        ]
    };
    let standard = std256("NEW", &format!("msg_1.{time}.{BODY}"));
    let mut twice = std("msg_1", &time, &standard);
    twice.push(("webhook-timestamp", time.clone()));
    let mut two_ids = std("msg_1", &time, &standard);
    two_ids.push(("webhook-id", "msg_1".to_owned()));
    let old = seconds(-310);
    let early = seconds(310);
    let cases: Vec<(&str, &str, Headers, &str)> = vec![
        ("key", "no key", vec![], "credential_missing"),
        ("key", "an empty key", vec![("X-API-Key", String::new())], "credential_invalid"),
        ("key", "an unknown key", vec![("X-API-Key", other.clone())], "credential_invalid"),
        (
            "key",
            "the key's beginning",
            vec![("X-API-Key", new[..new.len() - 1].to_owned())],
            "credential_invalid",
        ),
        ("key", "the key and more", vec![("X-API-Key", format!("{new}a"))], "credential_invalid"),
        ("key", "another case", vec![("X-API-Key", new.to_lowercase())], "credential_invalid"),
        (
            "key",
            "the key twice",
            vec![("X-API-Key", new.clone()), ("X-API-Key", new.clone())],
            "credential_invalid",
        ),
        (
            "key",
            "a wrong key and the right one",
            vec![("X-API-Key", other.clone()), ("X-API-Key", new.clone())],
            "credential_invalid",
        ),
        ("key", "a list", vec![("X-API-Key", format!("{new}, {new}"))], "credential_invalid"),
        ("key", "not ASCII", vec![("X-API-Key", format!("{new}ä"))], "credential_invalid"),
        ("key", "a tab", vec![("X-API-Key", format!("{new}\t{new}"))], "credential_invalid"),
        ("key", "another header", vec![("Authorization", new.clone())], "credential_missing"),
        ("lab", "no signature", vec![], "signature_missing"),
        ("lab", "an empty one", lab(""), "signature_malformed"),
        ("lab", "no prefix", lab(&right), "signature_malformed"),
        ("lab", "another prefix", lab(&format!("sha512={right}")), "signature_malformed"),
        ("lab", "too short", lab(&format!("sha256={}", &right[..62])), "signature_malformed"),
        ("lab", "too long", lab(&format!("sha256={right}00")), "signature_malformed"),
        ("lab", "no digits", lab(&format!("sha256={}", "x".repeat(64))), "signature_malformed"),
        (
            "lab",
            "the key itself",
            lab(&format!("sha256={}", hex256(&other, BODY))),
            "signature_invalid",
        ),
        (
            "lab",
            "of another body",
            lab(&format!("sha256={}", hex256(&new, r#"{"a":2}"#))),
            "signature_invalid",
        ),
        (
            "lab",
            "twice",
            vec![
                ("X-Lab-Signature", format!("sha256={right}")),
                ("X-Lab-Signature", format!("sha256={right}")),
            ],
            "signature_malformed",
        ),
        ("lab", "not ASCII", lab(&format!("sha256={right},é")), "signature_malformed"),
        (
            "long",
            "without the header that is signed",
            vec![("X-Long", long(&new, &format!(":{BODY}")))],
            "signature_missing",
        ),
        (
            "long",
            "of another header",
            vec![("X-Nonce", "n2".to_owned()), ("X-Long", long(&new, &format!("n1:{BODY}")))],
            "signature_invalid",
        ),
        (
            "stamped",
            "no timestamp",
            vec![("X-Signature", hex256(&new, &format!(".{BODY}")))],
            "timestamp_missing",
        ),
        ("stamped", "a timestamp that is none", stamped("yesterday"), "timestamp_invalid"),
        ("stamped", "too old", stamped(&old), "timestamp_out_of_range"),
        ("stamped", "too early", stamped(&early), "timestamp_out_of_range"),
        (
            "stamped",
            "two timestamps",
            [stamped(&time), vec![("X-Time", time.clone())]].concat(),
            "timestamp_invalid",
        ),
        (
            "stripe",
            "two timestamps",
            stripe(format!("t={time},t={time},v1={}", signed(&time))),
            "timestamp_invalid",
        ),
        ("stripe", "no timestamp", stripe(format!("v1={}", signed(&time))), "timestamp_missing"),
        (
            "stripe",
            "another time than the signed one",
            stripe(format!("t={},v1={}", seconds(-1), signed(&time))),
            "signature_invalid",
        ),
        (
            "stripe",
            "too old",
            stripe(format!("t={old},v1={}", signed(&old))),
            "timestamp_out_of_range",
        ),
        ("stripe", "no signature", stripe(format!("t={time}")), "signature_malformed"),
        (
            "stripe",
            "another version",
            stripe(format!("t={time},v0={}", signed(&time))),
            "signature_malformed",
        ),
        ("std", "nothing", vec![], "signature_missing"),
        (
            "std",
            "of another key",
            std("msg_1", &time, &std256("OTHER", &format!("msg_1.{time}.{BODY}"))),
            "signature_invalid",
        ),
        ("std", "of another id", std("msg_2", &time, &standard), "signature_invalid"),
        (
            "std",
            "too old",
            std("msg_1", &old, &std256("NEW", &format!("msg_1.{old}.{BODY}"))),
            "timestamp_out_of_range",
        ),
        (
            "std",
            "another version",
            std("msg_1", &time, &standard.replace("v1", "v2")),
            "signature_malformed",
        ),
        ("std", "two timestamps", twice, "timestamp_invalid"),
        ("std", "two ids", two_ids, "signature_malformed"),
    ];
    let mut answers = Vec::new();
    for (source, case, headers, reason) in cases {
        let case = format!("{source}: {case}");
        answers.push(gateway.refuses(&case, &post(source, &headers), 401, reason).await);
    }
    answers
}

/// Whoever has a key gets in to its own source only.
#[tokio::test]
async fn a_key_opens_its_own_source_only() {
    let sources = r#"
[source.one]
auth = { kind = "api-key", header = "X-API-Key" }
keys = [{ env = "ONE" }]

[source.two]
auth = { kind = "api-key", header = "X-API-Key" }
keys = [{ env = "TWO" }]

[upstream.app]
url = "http://127.0.0.1:1/"
"#;
    let gateway = setup(sources).start().await;
    let (one, two) = (secret("ONE"), secret("TWO"));
    gateway.accepts(&Post::to("/hooks/one").header("X-API-Key", &one)).await;
    gateway.accepts(&Post::to("/hooks/two").header("X-API-Key", &two)).await;
    let post = Post::to("/hooks/two").header("X-API-Key", &one);
    gateway.refuses("the other source's key", &post, 401, "credential_invalid").await;
}
