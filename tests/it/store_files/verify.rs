//! `hookward store verify`

use std::fs::OpenOptions;
use std::io::Write as _;

use serde_json::Value;

use super::{flip, post, segments, snapshot, stopped, store, store_json};
use crate::gateway::setup;

#[tokio::test]
async fn a_sound_store_is_clean_and_stays_as_it_is() {
    let (dir, ids, _down) = stopped(3, 4).await;
    let before = snapshot(dir.path());
    let said = store(dir.path(), &["verify"]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.out.starts_with("3 segments of "), "{said:?}");
    assert!(said.out.contains("12 events") && said.out.contains("nothing is damaged"), "{said:?}");
    let (code, verified) = store_json(dir.path(), &["verify"]).await;
    assert_eq!((code, &verified["items"]), (Some(0), &Value::Array(Vec::new())), "{verified}");
    assert_eq!((&verified["clean"], &verified["next"]), (&true.into(), &Value::Null));
    assert_eq!(verified["events"], ids.len());
    assert_eq!(store(dir.path(), &["stat"]).await.code, Some(0));
    assert_eq!(snapshot(dir.path()), before, "looking changes nothing");
}

/// It takes no lock away, and does not call damage what is only being written.
#[tokio::test]
async fn a_store_can_be_verified_while_a_gateway_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    // Nothing is delivered, so that nothing but events is written.
    let text = "[source.lab]\nauth = { kind = \"none-dangerous\" }\nevents = [\"none\"]\n\
                [upstream.app]\nurl = \"http://127.0.0.1:1/\"\n";
    let gateway = setup(text).start_in(dir).await;
    for n in 0..5 {
        gateway.accepts(&post(n)).await;
    }
    let (code, verified) = store_json(&path, &["verify"]).await;
    assert_eq!((code, &verified["events"]), (Some(0), &5.into()), "{verified}");
    gateway.accepts(&post(5)).await;

    let head = segments(&path).pop().unwrap();
    OpenOptions::new().append(true).open(&head).unwrap().write_all(&[7; 99]).unwrap();
    let (code, verified) = store_json(&path, &["verify"]).await;
    assert_eq!((code, &verified["clean"]), (Some(0), &true.into()), "{verified}");
    assert_eq!(verified["items"][0]["kind"], "being_written", "{verified}");
    let said = store(&path, &["verify"]).await;
    assert!(said.out.starts_with("note: segment 1, offset "), "{said:?}");

    // Once nobody writes any more, nobody knows.
    let dir = gateway.stop().await;
    let (code, verified) = store_json(dir.path(), &["verify"]).await;
    assert_eq!(code, Some(1), "{verified}");
}

#[tokio::test]
async fn a_flipped_bit_is_named_by_segment_offset_and_sequence() {
    let (dir, _, _down) = stopped(3, 4).await;
    let at = flip(&segments(dir.path())[1], r#""n":5}"#);
    let (code, verified) = store_json(dir.path(), &["verify"]).await;
    assert_eq!((code, &verified["damages"]), (Some(1), &2.into()), "{verified}");
    let damaged = &verified["items"][0];
    assert_eq!((&damaged["kind"], &damaged["segment"]), (&"damaged".into(), &2.into()));
    let place = |name: &str| usize::try_from(damaged[name].as_u64().unwrap()).unwrap();
    assert!((place("offset")..place("until")).contains(&at), "{damaged} {at}");
    assert_eq!(damaged["sequence"], damaged["last_sequence"]);
    // It still had to be delivered.
    let waiting = &verified["items"][1];
    assert_eq!(waiting["kind"], "waiting_lost", "{waiting}");
    assert_eq!(
        [&waiting["segment"], &waiting["offset"], &waiting["sequence"]],
        [&damaged["segment"], &damaged["offset"], &damaged["sequence"]]
    );
    let said = store(dir.path(), &["verify"]).await;
    let start = format!("damage: segment 2, offset {} to ", damaged["offset"]);
    assert!(said.out.starts_with(&start), "{said:?}");
    assert!(said.out.contains(&format!("sequence {}: damaged", damaged["sequence"])), "{said:?}");
    assert!(said.out.contains("2 places of damage"), "{said:?}");
}

#[tokio::test]
async fn segments_that_are_cut_short_or_gone_are_named() {
    for (what, segment, kinds) in [
        ("cut", 2, ["damaged", "missing"]),
        ("gone", 2, ["missing", "missing"]),
        ("gone", 1, ["waiting_lost", "waiting_lost"]),
        ("gone", 3, ["end_missing", "end_missing"]),
        ("cut", 3, ["end_missing", "torn_tail"]),
        ("header", 2, ["header", "header"]),
    ] {
        let (dir, _, _down) = stopped(3, 4).await;
        let path = segments(dir.path())[segment - 1].clone();
        let mut bytes = std::fs::read(&path).unwrap();
        match what {
            "cut" => bytes.truncate(bytes.len() * 2 / 3),
            "header" => bytes[20] ^= 1,
            _ => {}
        }
        if what == "gone" {
            std::fs::remove_file(&path).unwrap();
        } else {
            std::fs::write(&path, bytes).unwrap();
        }
        let (code, verified) = store_json(dir.path(), &["verify"]).await;
        assert_eq!((code, &verified["clean"]), (Some(1), &false.into()), "{what}: {verified}");
        let items = verified["items"].as_array().unwrap();
        let named = |kind: &str| items.iter().any(|item| item["kind"] == kind);
        assert!(named(kinds[0]) || named(kinds[1]), "{what} {segment}: {verified}");
        for item in items.iter().filter(|item| item["kind"] != "header") {
            assert!(item["sequence"].is_u64(), "{what} {segment}: {item}");
        }
        assert_eq!(store(dir.path(), &["verify"]).await.code, Some(1));
    }
}
