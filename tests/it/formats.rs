//! What the app gets of a provider's request in each format, from the socket to the socket.

use crate::app::{App, Delivery, reply};
use crate::client::Post;
use crate::gateway::{Setup, decoded, secret, setup};

const BODY: &str =
    "{ \"type\":\"order:made\",\r\n \"id\":\"e-\u{20ac} 1\", \"data\":{\"n\" : 1.10}}";

const SOURCES: &str = r#"
[source.lab]
auth = { kind = "hmac", header = "X-Lab-Signature", prefix = "sha256=", signed = "{header:X-Nonce}.{body}" }
keys = [{ env = "LAB" }]
event.type = "/type"
event.id = "/id"
event.subject = "/id"
event.data = "/data"
forward_headers = ["X-Lab-Event"]

[source.keyed]
auth = { kind = "api-key", header = "X-API-Key" }
keys = [{ env = "KEYED" }]
"#;

fn to(url: &str, keys: &str) -> Setup {
    let retry = "retry = { first = \"1ms\", max = \"2ms\", give_up = \"1h\" }";
    setup(&format!("{SOURCES}\n[upstream.app]\nurl = \"{url}\"\n{retry}\n{keys}\n"))
}

fn hmac(key: &[u8], content: &[u8]) -> String {
    use ::hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(content);
    hex::encode(mac.finalize().into_bytes())
}

fn signature(key: &[u8]) -> String {
    format!("sha256={}", hmac(key, format!("n-1.{BODY}").as_bytes()))
}

fn lab() -> Post {
    Post::to("/hooks/lab")
        .header("X-Nonce", "n-1")
        .header("X-Lab-Signature", &signature(secret("LAB").as_bytes()))
        .header("X-Lab-Event", "order:made")
        .header("X-Other", "not chosen")
        .header("Authorization", "Bearer hunter2")
        .content_type("application/json; charset=UTF-8")
        .body(BODY)
}

fn header<'d>(delivery: &'d Delivery, name: &str) -> Option<&'d str> {
    delivery.headers.get(name).map(|value| value.to_str().unwrap())
}

/// The provider's bytes, content type and chosen headers come out as they went in, also when the
/// event was read back from the journal by another process.
#[tokio::test]
async fn what_is_passed_through_is_what_the_provider_sent() {
    for (keep, resign) in [(false, false), (true, false), (true, true)] {
        // Taken only after a restart.
        let app = App::answering(|d, _| reply(if d.attempt() < 3 { 503 } else { 200 })).await;
        let mut keys = "format = \"passthrough\"\nsigning_key = { env = \"APP\" }\n".to_owned();
        if keep {
            keys += "original_signature = \"keep\"\n";
        }
        if resign {
            keys += "resign = { lab = { env = \"HANDLER\" }, keyed = { env = \"HANDLER\" } }\n";
        }
        let setup = to(&app.url(), &keys);
        let gateway = setup.start().await;
        let id = gateway.accepts(&lab()).await;
        app.wait(1).await;
        let gateway = setup.start_in(gateway.stop().await).await;
        let seen = app.wait_for(|seen| seen.iter().any(|d| d.status == 200)).await;
        for delivery in &seen {
            assert_eq!(delivery.body, BODY);
            assert_eq!(delivery.header("content-type"), "application/json; charset=UTF-8");
            assert_eq!(delivery.header("x-lab-event"), "order:made");
            assert_eq!(delivery.header("x-nonce"), "n-1", "the signature covers it");
            assert_eq!(delivery.header("hookward-source"), "lab");
            assert_eq!(delivery.id(), id);
            assert!(delivery.is_signed_with(decoded("APP").expose()));
            assert_eq!(
                (header(delivery, "x-other"), header(delivery, "authorization")),
                (None, None)
            );
            let expected = match (keep, resign) {
                (_, true) => Some(signature(secret("HANDLER").as_bytes())),
                (true, false) => Some(signature(secret("LAB").as_bytes())),
                (false, false) => None,
            };
            assert_eq!(header(delivery, "x-lab-signature"), expected.as_deref());
        }
        let key = Post::to("/hooks/keyed").header("X-API-Key", &secret("KEYED")).body("[1 ]");
        let id = gateway.accepts(&key).await;
        let seen = app.wait_for(|seen| seen.iter().any(|d| d.id() == id)).await;
        let keyed = seen.iter().find(|d| d.id() == id).unwrap();
        assert_eq!(keyed.body, "[1 ]");
        let handlers = secret("HANDLER");
        let key = resign.then_some(&*handlers);
        assert_eq!(header(keyed, "x-api-key"), key, "the provider's own key goes nowhere");
    }
}

#[tokio::test]
async fn binary_cloudevents_have_their_attributes_in_headers() {
    let app = App::start().await;
    let keys =
        "format = \"cloudevents-binary\"\nsigning_key = [{ env = \"APP\" }, { env = \"OLD\" }]";
    let gateway = to(&app.url(), keys).start().await;
    gateway.accepts(&lab()).await;
    let seen = app.wait(1).await;
    assert_eq!(seen[0].body, "{\"n\" : 1.10}");
    for (name, value) in [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "e-%E2%82%AC%201"),
        ("ce-subject", "e-%E2%82%AC%201"),
        ("ce-source", "urn:hookward:lab"),
        ("ce-type", "lab.order.made"),
        ("ce-providertype", "order:made"),
    ] {
        assert_eq!(seen[0].header(name), value, "{name}");
    }
    assert_eq!(header(&seen[0], "x-lab-event"), None);
    let signatures = seen[0].header("webhook-signature").to_owned();
    for (key, signature) in ["APP", "OLD"].into_iter().zip(signatures.split(' ')) {
        let mut single = seen[0].clone();
        single.headers.insert("webhook-signature", signature.parse().unwrap());
        assert!(single.is_signed_with(decoded(key).expose()), "{key}: {signatures}");
    }
    assert_eq!(signatures.split(' ').count(), 2);
}
