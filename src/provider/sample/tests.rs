use std::collections::HashSet;

use super::*;

const NOW: UnixMillis = UnixMillis(1_800_000_000_123);

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

#[test]
fn every_pointer_of_the_table_points_at_something() {
    for sample in table::SAMPLES {
        let doc = json(sample.body().as_bytes());
        if let Some(kind) = sample.kind {
            assert_eq!(doc.pointer(kind), Some(&Value::from(sample.event_type)), "{sample:?}");
        }
        if let IdPlace::Body(id) = sample.id {
            assert!(doc.pointer(id).is_some_and(Value::is_string), "{sample:?}");
        }
        for time in sample.times {
            assert!(doc.pointer(time).is_some(), "{sample:?} {time}");
        }
        assert!(sample.note.len() <= 20, "{sample:?}");
    }
}

#[test]
fn every_preset_has_a_sample() {
    use Preset::*;
    for preset in
        [NovaMed, C4hxp, Nimbus, Drx, RxScale, StandardWebhooks, Stripe, GitHub, Slack, Shopify]
    {
        assert!(all(preset).any(|s| !s.handshake), "{preset:?}");
    }
}

#[test]
fn the_guides_own_values_make_the_guides_own_text() {
    for sample in table::SAMPLES {
        let own = sample.verbatim();
        assert_eq!(own.body, sample.body().as_bytes());
        let same = sample.event(sample.event_type, &own.id, None);
        assert_eq!(same.body, own.body, "{sample:?}");
    }
}

#[test]
fn a_fresh_event_differs_in_its_id_and_times_only() {
    let sample = find(Preset::NovaMed, "medication_request:approved").unwrap();
    let fresh = sample.event(sample.event_type, "evt_new", Some(NOW));
    let expected = sample
        .body()
        .replace("evt_def456xyz", "evt_new")
        .replace("2025-01-15T09:00:00.000Z", "2027-01-15T08:00:00.123Z");
    assert_eq!(String::from_utf8(fresh.body).unwrap(), expected);
}

#[test]
fn times_keep_the_form_they_have_in_the_guide() {
    let of = |preset, kind, pointer| {
        let sample = find(preset, kind).unwrap();
        let event = sample.event(kind, "x", Some(NOW));
        json(&event.body).pointer(pointer).cloned().unwrap()
    };
    let seconds = "2027-01-15T08:00:00Z";
    assert_eq!(of(Preset::C4hxp, "order.created", "/meta/timestamp"), seconds);
    assert_eq!(of(Preset::Drx, "Confirm Pickup", "/data/1/changed_at"), seconds);
    assert_eq!(of(Preset::RxScale, "pharmacy_order_updated", "/timestamp"), 1_800_000_000);
    assert_eq!(
        of(Preset::Nimbus, "medication:updated", "/event_data/updated_at"),
        "2027-01-15T08:00:00.123Z"
    );
}

#[test]
fn new_ids_differ_and_keep_the_shape_of_the_guides() {
    let mut rng = fastrand::Rng::with_seed(7);
    for sample in table::SAMPLES {
        let ids: HashSet<String> = (0..1000).map(|_| sample.new_id(&mut rng)).collect();
        assert_eq!(ids.len(), 1000, "{sample:?}");
    }
    let id = |preset, kind, rng: &mut _| find(preset, kind).unwrap().new_id(rng);
    assert!(id(Preset::NovaMed, "order:shipped", &mut rng).starts_with("evt_"));
    assert!(id(Preset::C4hxp, "order.shipped", &mut rng).starts_with("C4H-ORD-2024-"));
    let barcode = id(Preset::C4hxp, "kit.registered", &mut rng);
    assert!(barcode.bytes().all(|b| b.is_ascii_digit()), "{barcode}");
    let shipment = id(Preset::Nimbus, "shipment:created", &mut rng);
    assert!(uuid::Uuid::try_parse(&shipment).is_ok(), "{shipment}");
}

#[test]
fn every_fresh_event_has_a_body_or_an_id_of_its_own() {
    let mut rng = fastrand::Rng::with_seed(7);
    for sample in table::SAMPLES.iter().filter(|s| !s.handshake) {
        let mut fresh = || sample.event(sample.event_type, &sample.new_id(&mut rng), Some(NOW));
        let (a, b) = (fresh(), fresh());
        assert_ne!(a.id, b.id);
        let in_body = matches!(sample.id, IdPlace::Body(_));
        assert_eq!(a.body != b.body, in_body, "{sample:?}");
    }
}

#[test]
fn an_event_type_without_a_sample_takes_the_most_similar_one() {
    let near = |kind| nearest(Preset::C4hxp, kind).map(|s| s.event_type);
    assert_eq!(near("order.cancelled"), Some("order.created"));
    assert_eq!(near("results.reviewed"), Some("results.available"));
    assert_eq!(near("system.maintenance_scheduled"), Some("order.created"));
    let sample = nearest(Preset::C4hxp, "order.cancelled").unwrap();
    let event = sample.event("order.cancelled", "wh_1", None);
    assert_eq!(json(&event.body)["event"], "order.cancelled");
    assert_eq!(event.event_type, "order.cancelled");
}

#[test]
fn ids_are_escaped_as_json_wants_it() {
    let sample = find(Preset::Drx, "Waiting Bin").unwrap();
    let event = sample.event("Waiting Bin", "a\"b\\c\u{e9}", None);
    assert_eq!(json(&event.body)["id"], "a\"b\\c\u{e9}");
}

#[test]
fn values_that_only_contain_the_old_one_stay() {
    let text = r#"{"a":17,"b":170,"c":-17,"d":17.5,"e":"17","f":[17]}"#;
    let new = r#"{"a":99,"b":170,"c":-17,"d":17.5,"e":"17","f":[99]}"#;
    assert_eq!(replace_value(text, "17", "99"), new);
}
