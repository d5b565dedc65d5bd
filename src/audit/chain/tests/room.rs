//! What makes the oldest segments go, and what is told of those that were not what was written.

use super::going::of_five_lives;
use super::*;
use crate::audit::chain::bytes::{Frame, Position, SEGMENT_HEADER};
use crate::event::Sequence;

/// As many bytes of records behind this position, each as long as it may be.
fn records(mut behind: Position, len: usize) -> Vec<u8> {
    let mut records = Vec::new();
    while records.len() < len {
        behind.push(Kind::Record, &[b'1'; 50_000], &mut records);
    }
    records
}

fn put(bench: &Bench, number: u32, bytes: &[u8]) {
    let mut file = bench.disk.create(&bytes::path(&dir(), number)).unwrap();
    file.append(bytes).unwrap();
    bench.disk.sync_dir(&dir()).unwrap();
}

/// Only what is signed or followed by what is counts: with holes, with records that fit but nobody has signed, with
/// copies or junk one could have the oldest segments removed, and nothing told of it.
#[test]
fn what_nobody_has_vouched_for_makes_no_segment_go() {
    for growth in ["holes", "records", "other records", "copies"] {
        let mut bench = of_five_lives();
        bench.step().unwrap();
        bench.stop();
        let of = |number| load(&bench.disk, number);
        let ours: usize = (1..=5).map(|number| of(number).len()).sum();
        let end = |number| bytes::frames(&of(number)).last().unwrap().position();
        match growth {
            "holes" => (3..5).for_each(|number| {
                set(&bench.disk, number, &[of(number), vec![0; 100_000]].concat());
            }),
            "records" => (3..5).for_each(|number| {
                set(&bench.disk, number, &[of(number), records(end(number), 100_000)].concat());
            }),
            // In place of what was behind the opening.
            "other records" => (3..5).for_each(|number| {
                let segment = of(number);
                let opening = Frame::at(&segment, SEGMENT_HEADER).unwrap();
                let made_up = records(opening.position(), 100_000);
                set(&bench.disk, number, &[&segment[..opening.end()], &made_up].concat());
            }),
            _ => (6..8).for_each(|number| {
                let junk = Position { sequence: Sequence(1), ..Position::START };
                put(&bench, number, &[of(5), records(junk, 100_000)].concat());
            }),
        }
        let mut bench = bench.restart();
        bench.writer.options.retention.max_bytes = ours as u64 + 5_000;
        bench.step().unwrap();
        assert!(
            (1..=5).all(|number| bench.disk.names().contains(&bytes::name(number))),
            "{growth}"
        );
    }
}

fn shortened(bench: &Bench) -> serde_json::Value {
    let all = bench.reader().newest(&Filter::default(), None, 99).unwrap().items;
    let found = all.into_iter().find(|listed| listed.record.reason == "trail_shortened");
    found.unwrap().record.details.unwrap()
}

/// Behind a segment that was cut off stood one whose opening was damaged, and only that one was named.
#[test]
fn a_damaged_segment_hides_no_other() {
    let mut bench = of_five_lives();
    let second = load(&bench.disk, 2);
    let record = bytes::frames(&second).nth(1).unwrap();
    set(&bench.disk, 2, &second[..record.end()]);
    bench.disk.corrupt(&bytes::name(3), |bytes| bytes[SEGMENT_HEADER + 100] ^= 1);
    bench.writer.options.retention.max_bytes = 1;
    bench.step().unwrap();
    assert_eq!(shortened(&bench)["damaged"], json!([2, 3]));
}

/// Only a thousand of them are named, and as many and no more were told.
#[test]
fn all_damaged_segments_that_went_are_counted() {
    let mut bench = of_five_lives();
    bench.step().unwrap();
    bench.stop();
    (6..=1_010).for_each(|number| put(&bench, number, &[7; 5_000]));
    let mut bench = bench.restart();
    bench.writer.options.retention.max_bytes = 1;
    bench.step().unwrap();
    bench.stop();
    assert_eq!(shortened(&bench)["damaged"].as_array().unwrap().len(), 1_000);
    let report = bench.verify(&[]);
    let told = report.notes.iter().any(|note| note.contains("segment 6 and 1004 more went"));
    assert!(report.sound && told, "{:?}", report.notes);
}
