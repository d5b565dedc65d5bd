//! Headers that are kept with an event: over a restart, and beside frames from before there were any.

use super::*;
use crate::event::KeptHeader;

fn with_headers(id: u32) -> Identified {
    let header = |name: &str, value: &str, signature| KeptHeader {
        name: name.parse().unwrap(),
        value: value.parse().unwrap(),
        signature,
    };
    let body = format!("{{\"n\":{id}}}");
    let meta = EventMeta {
        provider_id: Some(format!("evt_{id}")),
        data: 0..u32::try_from(body.len()).unwrap(),
        headers: vec![header("x-event", "made", false), header("x-signature", "ab", true)],
        ..EventMeta::default()
    };
    identified("lab", START, &body, meta, OnConflict::Deliver)
}

#[tokio::test]
async fn headers_come_back_with_their_event() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let open = || Store::open_with(options(dir.path()), small(&disk)).unwrap();
    let store = open();
    for event in [event(1), with_headers(2), event(3)] {
        store.accept(event, app(&store)).await.unwrap();
    }
    store.close().await;
    drop(store);
    let delivered = drain(&open()).await;
    let kept: Vec<_> = delivered.iter().map(|event| event.meta.headers.clone()).collect();
    assert_eq!(kept, [vec![], with_headers(2).meta().headers.clone(), vec![]]);
    for (event, body) in delivered.iter().zip([r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]) {
        assert_eq!(event.body, body);
    }
}

/// An event without headers is written as it always was, and read: these are the bytes of a frame from
/// before there were any. A flag that nobody knows is not guessed at.
#[test]
fn frames_from_before_are_read_as_they_are_written_now() {
    use crate::store::journal::record::{NewEvent, decode_event, decode_event_head};

    let identified = event(7);
    let key = identified.key();
    let (meta, body) = identified.into_parts();
    let stored = StoredEvent {
        sequence: Sequence(9),
        id: EventId::new(START, [1; 10]),
        received_at: START,
        source: SourceName::new("lab").unwrap(),
        body_hash: BodyHash::of(&body),
        conflict: true,
        meta,
        body,
    };
    let mut frame = Vec::new();
    let new = NewEvent { key, quarantined: false, event: &stored };
    new.encode(["app"].into_iter(), &mut frame);

    let mut before = vec![1];
    before.extend_from_slice(stored.id.as_bytes());
    before.extend_from_slice(&START.0.to_le_bytes());
    before.extend_from_slice(&key.0);
    before.extend_from_slice(&stored.body_hash.0);
    before.extend_from_slice(b"\x03lab\x01\x03app\x07\x00order_2\x05\x00evt_7");
    before.extend_from_slice(&[0xff; 6]);
    before.extend_from_slice(&[0; 32]);
    before.extend_from_slice(b"\x00\x00\x00\x00\x07\x00\x00\x00\x00{\"n\":7}");
    assert_eq!(frame, before);
    let read = decode_event(Sequence(9), &Bytes::from(before.clone())).unwrap();
    assert_eq!(read.event, stored);

    before[0] = 8;
    assert_eq!(decode_event(Sequence(9), &Bytes::from(before.clone())), None);
    assert_eq!(decode_event_head(&before), None);
}
