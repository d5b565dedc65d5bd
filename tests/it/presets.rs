//! Every preset end to end: what its provider sends, signed as the provider signs it, through a
//! gateway to the app. What is expected is written out here, out of the providers' guides and the
//! contract, and owes nothing to the presets' own data.

use std::fmt::Write as _;

use hookward::clock::{Clock, UnixMillis};
use hookward::config::Config;
use hookward::provider::sample::{self, Outgoing};
use hookward::provider::{Preset, sign};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::app::{App, Delivery};
use crate::client::{Answer, Post};
use crate::gateway::{Running, Setup, setup};
use crate::lines;

/// What makes the CloudEvents id of an event.
#[derive(Clone, Copy, Debug)]
enum Id {
    /// The provider's own.
    Own(&'static str),
    /// The provider's own, which another event had before.
    Again(&'static str),
    /// The body's hash.
    Body,
    /// The hash of these values.
    Values(&'static str),
}
use Id::{Again, Body, Own, Values};

/// A sample of a provider's, by its place among them, and what the app gets of it.
struct Case {
    preset: Preset,
    id: Id,
    kind: &'static str,
    subject: Option<&'static str>,
    time: Option<&'static str>,
    tenant: Option<&'static str>,
    /// Where in the body the app's data stands; "" is all of it.
    data: &'static str,
}

macro_rules! cases {
    ($($preset:ident $id:expr, $kind:literal, $subject:expr, $time:expr, $tenant:expr, $data:literal;)*) => {
        [$(Case {
            preset: Preset::$preset, id: $id, kind: $kind,
            subject: $subject, time: $time, tenant: $tenant, data: $data,
        }),*]
    };
}

/// When the request was signed, for those providers that say so in a header.
const NOW: &str = "now";
const CLINIC: Option<&str> = Some("550e8400-e29b-41d4-a716-446655440000");
const SHIPMENT: Option<&str> = Some("550e8400-e29b-41d4-a716-446655440000");
const ORDER: Option<&str> = Some("C4H-ORD-2024-001234");
const KIT: Option<&str> = Some("123456789012");
const MEDICATION: &str = "880e8400-e29b-41d4-a716-446655440003";

#[rustfmt::skip]
fn cases() -> impl Iterator<Item = Case> {
    cases![
        NovaMed Own("evt_abc123xyz"), "novamed.order.shipped", Some("ord_12345"), Some("2025-01-15T10:30:00Z"), CLINIC, "/data";
        NovaMed Own("evt_def456xyz"), "novamed.medication_request.approved", Some("med_req_11111"), Some("2025-01-15T09:00:00Z"), CLINIC, "/data";
        NovaMed Body, "novamed.order.shipped", Some("ord_12345"), None, None, "/event_data";
        NovaMed Body, "novamed.medication_request.approved", Some("med_req_11111"), None, None, "/event_data";
        C4hxp Own("wh_abc123"), "c4hxp.order.created", ORDER, Some("2024-01-15T10:30:00Z"), None, "/data";
        C4hxp Again("wh_abc123"), "c4hxp.order.confirmed", ORDER, Some("2024-01-15T10:42:00Z"), None, "/data";
        C4hxp Body, "c4hxp.order.shipped", ORDER, None, None, "/data";
        C4hxp Body, "c4hxp.kit.registered", KIT, None, None, "/data";
        C4hxp Body, "c4hxp.results.available", KIT, None, None, "/data";
        Nimbus Values(r#"["shipment:created","550e8400-e29b-41d4-a716-446655440000","pending","2024-01-15T10:00:00.000Z"]"#), "nimbus.shipment.created", SHIPMENT, Some("2024-01-15T10:00:00Z"), None, "/event_data";
        Nimbus Values(r#"["shipment:cancelled","550e8400-e29b-41d4-a716-446655440000",null,"2024-01-15T11:00:00.000Z"]"#), "nimbus.shipment.cancelled", SHIPMENT, Some("2024-01-15T11:00:00Z"), None, "/event_data";
        Nimbus Values(r#"["medication:updated","880e8400-e29b-41d4-a716-446655440003","shipped","2024-01-15T10:30:00.000Z"]"#), "nimbus.medication.updated", Some(MEDICATION), Some("2024-01-15T10:30:00Z"), None, "/event_data";
        Drx Own("evt_12345"), "drx.prescription.status.changed", Some("rx_67890"), Some("2025-02-19T08:50:00Z"), None, "/data";
        Drx Own("evt_12346"), "drx.waiting.bin", Some("rx_67890"), Some("2025-02-19T08:55:00Z"), None, "/data";
        Drx Own("evt_12347"), "drx.confirm.pickup", None, Some("2025-02-19T16:20:00Z"), None, "/data";
        RxScale Values(r#"["pharmacy_order_created",1711700000,"po_7f3k2m9x"]"#), "rxscale.pharmacy_order_created", Some("po_7f3k2m9x"), Some("2024-03-29T08:13:20Z"), None, "/data";
        RxScale Values(r#"["pharmacy_order_updated",1711700420,"po_7f3k2m9x"]"#), "rxscale.pharmacy_order_updated", Some("po_7f3k2m9x"), Some("2024-03-29T08:20:20Z"), None, "/data";
        // The same second, so the same key, and yet another event.
        RxScale Body, "rxscale.pharmacy_order_updated", Some("po_7f3k2m9x"), Some("2024-03-29T08:20:20Z"), None, "/data";
        StandardWebhooks Own("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"), "standard-webhooks.user.created", None, Some("2025-01-15T10:30:00Z"), None, "/data";
        Stripe Own("evt_1QhXample0000000000001"), "stripe.payment_intent.succeeded", Some("pi_3QhXample0000000000001"), Some("2025-01-15T10:30:00Z"), None, "/data";
        Stripe Own("evt_1QhXample0000000000002"), "stripe.invoice.paid", Some("in_1QhXample0000000000001"), Some("2025-01-15T10:31:00Z"), None, "/data";
        GitHub Own("delivery-0"), "github.push", Some("octocat/Hello-World"), None, None, "";
        GitHub Own("delivery-1"), "github.ping", Some("octocat/Hello-World"), None, None, "";
        Slack Own("Ev0000000001"), "slack.app_mention", Some("C0000000001"), Some("2025-01-15T10:30:00Z"), Some("T0000000001"), "/event";
        Shopify Own("98880550-7158-44d4-b7cd-2c97c8a091b5"), "shopify.orders.create", Some("gid://shopify/Order/820982911946154508"), Some(NOW), Some("example.myshopify.com"), "";
    ]
    .into_iter()
}

/// A source for each preset, as a user would write it.
fn all_presets(app: &App) -> Setup {
    let mut text =
        format!("[upstream.app]\nurl = \"{}\"\nsigning_key = {{ env = \"APP\" }}\n", app.url());
    for preset in Preset::ALL.map(Preset::as_str) {
        writeln!(text, "[source.{preset}]\npreset = \"{preset}\"").unwrap();
        writeln!(text, "keys = [{{ env = \"{}\" }}]", preset.to_uppercase().replace('-', "_"))
            .unwrap();
        text += "allow_ips = [\"127.0.0.1/32\"]\n";
    }
    setup(&text)
}

/// A provider, with the keys of this configuration.
struct Provider {
    config: Config,
    now: UnixMillis,
}

impl Provider {
    fn new(setup: &Setup) -> Self {
        let config = setup.config(std::path::Path::new("/nowhere"));
        Self { config, now: UnixMillis(Clock::System.now().as_secs() * 1000) }
    }

    fn source(&self, preset: Preset) -> &hookward::config::Source {
        self.config.sources.iter().find(|source| source.preset == Some(preset)).unwrap()
    }

    fn signed(&self, preset: Preset, event: &Outgoing) -> Post {
        let source = self.source(preset);
        let headers = sign::sign(source, &source.keys[0], self.now, event).unwrap();
        Post::to(&source.path).headers(&headers).body(event.body.clone())
    }

    fn forged(&self, preset: Preset, event: &Outgoing) -> Post {
        let source = self.source(preset);
        let (headers, body) = sign::forge(source, &source.keys[0], self.now, event).unwrap();
        Post::to(&source.path).headers(&headers).body(body)
    }
}

/// The events of the preset's samples. Those that are known by a header alone get one of their
/// own.
fn events(preset: Preset) -> Vec<Outgoing> {
    let samples = sample::all(preset).filter(|sample| !sample.handshake);
    let mut events: Vec<Outgoing> = samples.map(|sample| sample.verbatim()).collect();
    if preset == Preset::GitHub {
        events.iter_mut().enumerate().for_each(|(n, event)| event.id = format!("delivery-{n}"));
    }
    events
}

#[tokio::test]
async fn what_providers_send_reaches_the_app_once_and_what_others_send_never() {
    let app = App::start().await;
    let setup = all_presets(&app);
    let (gateway, provider) = (setup.start().await, Provider::new(&setup));
    let mut expected = Vec::new();
    let mut cases = cases();
    for preset in Preset::ALL {
        for event in events(preset) {
            let case = cases.next().unwrap();
            assert_eq!(case.preset, preset, "a case for each sample, in their order");
            let what = format!("{} {}", preset.as_str(), event.event_type);
            let forged = provider.forged(preset, &event);
            let (body, reason) = refused_reason(&gateway, &what, &forged).await;
            assert!(body.contains("not authenticated"), "{body}");
            assert!(matches!(&*reason, "credential_invalid" | "signature_invalid"), "{reason}");
            let elsewhere = provider.signed(preset, &event).from("127.0.0.2");
            gateway.refuses(&what, &elsewhere, 403, "ip_not_allowed").await;
            let id = gateway.accepts(&provider.signed(preset, &event)).await;
            let repeat = gateway.accepts(&provider.signed(preset, &event)).await;
            assert_eq!(repeat, id, "{what}");
            expected.push((id, case, event));
        }
    }
    assert!(cases.next().is_none(), "a sample for each case");
    let seen = app.wait(expected.len()).await;
    for (id, case, event) in &expected {
        let of_it: Vec<&Delivery> = seen.iter().filter(|d| d.id() == id).collect();
        let [delivery] = of_it.as_slice() else {
            panic!("{} {id}: {} deliveries", case.kind, of_it.len())
        };
        assert_is(delivery, case, event, provider.now);
    }
    assert_eq!(seen.len(), expected.len());
}

async fn refused_reason(gateway: &Running, case: &str, post: &Post) -> (String, String) {
    let answer: Answer = gateway.send(post).await;
    assert_eq!(answer.status, 401, "{case}");
    answer.assert_well_formed();
    let line = lines::refusal(&post.tag).await;
    (answer.body, line["reason"].as_str().unwrap().to_owned())
}

fn assert_is(delivery: &Delivery, case: &Case, sent: &Outgoing, now: UnixMillis) {
    let source = case.preset.as_str();
    assert_eq!(delivery.header("content-type"), "application/cloudevents+json");
    assert_eq!(delivery.header("hookward-source"), source);
    assert_eq!(delivery.header("hookward-attempt"), "1");
    assert!(delivery.is_signed_with(crate::gateway::decoded("APP").expose()), "{delivery:?}");
    let event = delivery.event();
    let hash = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let id = match case.id {
        Own(id) => id.to_owned(),
        Again(id) => format!("{id}.{}", &hash(&sent.body)[..16]),
        Body => format!("sha256:{}", hash(&sent.body)),
        Values(values) => format!("sha256:{}", hash(values.as_bytes())),
    };
    let now = now.to_string().replace(".000Z", "Z");
    let time = case.time.map(|time| if time == NOW { &now } else { time });
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["source"], format!("urn:hookward:{source}"));
    assert_eq!(event["datacontenttype"], "application/json");
    assert_eq!(event["id"], id, "{event}");
    assert_eq!(event["type"], case.kind);
    assert_eq!(event["providertype"], sent.event_type);
    assert_eq!(event["subject"], json!(case.subject), "{event}");
    assert_eq!(event["partitionkey"], json!(case.subject), "{event}");
    assert_eq!(event["tenant"], json!(case.tenant), "{event}");
    assert_eq!(event["time"], json!(time), "{event}");
    assert_eq!(event["sequence"].as_str().unwrap().len(), 20);
    assert!(event["recordedtime"].as_str().unwrap().ends_with('Z'));
    // The provider's own bytes, and those of the right part.
    let body = str::from_utf8(&sent.body).unwrap();
    assert!(body.contains(delivery.data()));
    let whole: Value = serde_json::from_str(body).unwrap();
    assert_eq!(&event["data"], whole.pointer(case.data).unwrap(), "{event}");
}

#[tokio::test]
async fn slack_gets_its_challenge_back_and_nothing_is_stored() {
    let app = App::start().await;
    let setup = all_presets(&app);
    let (gateway, provider) = (setup.start().await, Provider::new(&setup));
    let handshake = sample::all(Preset::Slack).find(|sample| sample.handshake).unwrap().verbatim();
    for _ in 0..2 {
        let answer = gateway.send(&provider.signed(Preset::Slack, &handshake)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P");
        assert_eq!(answer.header("hookward-event-id"), None);
    }
    let forged = provider.forged(Preset::Slack, &handshake);
    gateway.refuses("forged", &forged, 401, "signature_invalid").await;
    // For any other source it is an event.
    let (post, id) = (provider.signed(Preset::NovaMed, &handshake), "novamed.unknown");
    gateway.accepts(&post).await;
    let seen = app.wait(1).await;
    assert_eq!((seen.len(), &seen[0].event()["type"]), (1, &json!(id)));
}

/// What the guides' own advice on repeats would swallow.
#[tokio::test]
async fn what_looks_like_a_repeat_and_is_none_reaches_the_app() {
    let app = App::start().await;
    let setup = all_presets(&app);
    let (gateway, provider) = (setup.start().await, Provider::new(&setup));
    let medication = |status: &str, at: &str| {
        format!(
            r#"{{"event_name":"medication:updated","event_data":{{"medication_order_id":"m1","status":"{status}","updated_at":"{at}"}}}}"#
        )
    };
    let rxscale = |status: &str| {
        format!(
            r#"{{"event_type":"updated","timestamp":1711700420,"data":{{"uid":"po_1","status":"{status}"}}}}"#
        )
    };
    let subscription = |n: u32| {
        format!(
            r#"{{"event":"order.created","data":{{"order_number":"{n}"}},"meta":{{"webhook_id":"wh_1"}}}}"#
        )
    };
    let traps = [
        (Preset::Nimbus, medication("filled", "2024-01-15T10:30:00.000Z")),
        (Preset::Nimbus, medication("shipped", "2024-01-15T10:30:00.000Z")),
        (Preset::Nimbus, medication("shipped", "2024-01-15T10:31:00.000Z")),
        (Preset::RxScale, rxscale("in-progress")),
        (Preset::RxScale, rxscale("completed")),
        (Preset::C4hxp, subscription(1)),
        (Preset::C4hxp, subscription(2)),
        (Preset::C4hxp, subscription(3)),
    ];
    let mut ids = Vec::new();
    for _ in 0..2 {
        for (preset, body) in &traps {
            let event = Outgoing {
                event_type: String::new(),
                id: "unused".to_owned(),
                body: body.clone().into_bytes(),
            };
            // RxScale's header repeats the type, which is empty here and is not looked at.
            ids.push(gateway.accepts(&provider.signed(*preset, &event)).await);
        }
    }
    let (first, second) = ids.split_at(traps.len());
    assert_eq!(first, second, "the second time they are repeats");
    let seen = app.wait(traps.len()).await;
    assert_eq!(seen.len(), traps.len());
    let mut unique: Vec<String> =
        seen.iter().map(|d| format!("{} {}", d.event()["source"], d.event()["id"])).collect();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), traps.len(), "source and id together are unique");
}
