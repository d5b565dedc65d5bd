//! Segments that somebody else has put there, and ones of ours that are damaged: what a start goes on behind.

use super::*;
use crate::audit::chain::bytes::{Frame, Position, SEGMENT_HEADER, SegmentHeader};
use crate::audit::chain::keys::Keys;
use crate::audit::chain::opening::Opening;

/// A trail of two segments, the second of which has a checkpoint behind its opening, and was not stopped.
pub(super) fn killed() -> Bench {
    let mut bench = Bench::new();
    bench.own(1);
    bench.step().unwrap();
    bench.stop();
    let mut bench = bench.restart();
    for n in 2..6 {
        bench.own(n);
        if n == 3 {
            bench.clock.advance(MINUTE);
        }
        bench.step().unwrap();
    }
    bench
}

pub(super) fn end(segment: &[u8]) -> Position {
    bytes::frames(segment).last().unwrap().position()
}

pub(super) fn follows(bench: &Bench, number: u32) -> Position {
    SegmentHeader::decode(&load(&bench.disk, number)).unwrap().follows
}

pub(super) fn put(bench: &Bench, number: u32, bytes: &[u8]) {
    let mut file = bench.disk.create(&bytes::path(&dir(), number)).unwrap();
    file.append(bytes).unwrap();
    file.sync().unwrap();
    bench.disk.sync_dir(&dir()).unwrap();
}

/// A segment as anybody can make it who knows the format: all in it fits but for the signatures.
fn made_up(bench: &Bench, number: u32) -> Vec<u8> {
    let before = load(&bench.disk, number - 1);
    let header = SegmentHeader::decode(&before).unwrap();
    let other = Bench::new();
    let keys = Keys::load(&other.disk, &dir(), true).unwrap();
    let noted = checkpoint::Noted { opens: number.into(), ..checkpoint::Noted::default() };
    let mut position = end(&before);
    let opens = Checkpoint::sign(&keys.signer, header.trail, position, START, noted);
    let header = SegmentHeader { number, follows: position, created_at: START, ..header };
    let mut segment = header.encode().to_vec();
    position.push(Kind::Checkpoint, json!(opens).to_string().as_bytes(), &mut segment);
    for n in 0..20 {
        let record = json!({ "reason": "released", "count": 1, "details": { "n": 1_000 + n } });
        position.push(Kind::Record, record.to_string().as_bytes(), &mut segment);
    }
    segment
}

/// A last segment that nobody had signed was gone on behind, and what was made up in it was signed with the rest.
#[test]
fn a_made_up_last_segment_is_left_where_it_is_and_named() {
    let bench = killed();
    let (before, foreign) = (end(&load(&bench.disk, 2)), made_up(&bench, 3));
    put(&bench, 3, &foreign);
    let mut bench = bench.restart();
    assert_eq!((bench.writer.head_number(), follows(&bench, 4)), (4, before));
    assert_eq!(load(&bench.disk, 3), foreign);
    bench.own(9);
    bench.step().unwrap();
    let mut bench = bench.restart();
    bench.stop();
    assert_eq!(follows(&bench, 5), end(&load(&bench.disk, 4)));
    let report = bench.verify(&[]);
    let found: Vec<_> = report.items.iter().map(|found| (found.kind, found.segment)).collect();
    assert_eq!((found, report.unvouched), (vec![("inserted", 3)], 0), "{report:?}");
    // Once somebody has looked, and moved it away.
    bench.disk.remove(&bytes::path(&dir(), 3)).unwrap();
    let report = bench.verify(&[]);
    assert!(
        report.sound && report.notes.iter().any(|note| note.contains("no segment 3,")),
        "{report:?}"
    );
}

/// The same in place of the whole trail, whose key is there still.
#[test]
fn behind_a_foreign_segment_alone_another_trail_begins() {
    let mut bench = Bench::new();
    bench.own(1);
    bench.step().unwrap();
    let foreign = load(&killed().disk, 2);
    bench.disk.remove(&bytes::path(&dir(), 1)).unwrap();
    put(&bench, 1, &foreign);
    let mut bench = bench.restart();
    bench.stop();
    assert_eq!((bench.writer.head_number(), follows(&bench, 2)), (2, Position::START));
    let report = bench.verify(&[]);
    let found: Vec<_> = report.items.iter().map(|found| (found.kind, found.segment)).collect();
    assert_eq!(found, [("inserted", 1)], "{report:?}");
    bench.disk.remove(&bytes::path(&dir(), 1)).unwrap();
    assert!(bench.verify(&[]).sound);
}

/// Bits rot: what is behind the opening is still signed.
#[test]
fn a_segment_whose_opening_is_damaged_is_gone_on_behind() {
    for at in [20, SEGMENT_HEADER + 30, SEGMENT_HEADER + 200] {
        let bench = killed();
        let mut segment = load(&bench.disk, 2);
        let before = end(&segment);
        segment[at] ^= 4;
        set(&bench.disk, 2, &segment);
        let mut bench = bench.restart();
        bench.stop();
        assert_eq!((bench.writer.head_number(), follows(&bench, 3)), (3, before), "{at}");
        let report = bench.verify(&[]);
        assert!(!report.sound && report.items[0].segment == 2, "{at}: {report:?}");
    }
}

/// What was signed for one place is copied to another: the chain was wound back to it.
#[test]
fn a_copy_of_an_older_segment_is_not_gone_on_behind() {
    let bench = killed();
    let (before, old) = (end(&load(&bench.disk, 2)), load(&bench.disk, 1));
    let mut without_header = old.clone();
    without_header[..SEGMENT_HEADER].fill(0);
    let header = SegmentHeader::decode(&old).unwrap();
    let mut renumbered = old.clone();
    let of = SegmentHeader { number: 3, ..header };
    renumbered[..SEGMENT_HEADER].copy_from_slice(&of.encode());
    for copy in [old, without_header, renumbered] {
        put(&bench, 3, &copy);
        let next = Bench::on(bench.disk.clone(), bench.clock.clone()).restart();
        assert_eq!((next.writer.head_number(), follows(&next, 4)), (4, before));
        assert!(!next.verify(&[]).sound);
        for number in [3, 4] {
            bench.disk.remove(&bytes::path(&dir(), number)).unwrap();
        }
        bench.disk.sync_dir(&dir()).unwrap();
    }
}

/// The first record's number and link were believed as they stood, and all behind it could be made anew.
#[test]
fn an_opening_counts_only_where_the_chain_goes_through_it() {
    let mut bench = Bench::new();
    bench.own(1);
    bench.step().unwrap();
    let segment = load(&bench.disk, 1);
    let key = bench.key();
    assert!(Opening::of(&segment, 1, &key).is_some());
    let first = Frame::at(&segment, SEGMENT_HEADER).unwrap();
    let mut elsewhere = Position { sequence: crate::event::Sequence(1_000), ..Position::START };
    let mut changed = segment[..SEGMENT_HEADER].to_vec();
    elsewhere.push(Kind::Checkpoint, first.body, &mut changed);
    assert!(Opening::of(&changed, 1, &key).is_none());
    elsewhere.push(Kind::Record, br#"{"reason":"made up"}"#, &mut changed);
    set(&bench.disk, 1, &changed);
    let bench = bench.restart();
    assert_eq!((bench.writer.head_number(), follows(&bench, 2)), (2, Position::START));
}

/// Another key signs from there on, and the chain is the same.
#[test]
fn where_the_key_is_gone_the_trail_goes_on_with_another() {
    let bench = killed();
    let before = end(&load(&bench.disk, 2));
    bench.disk.remove(&dir().join("signing.key")).unwrap();
    bench.disk.sync_dir(&dir()).unwrap();
    let bench = bench.restart();
    assert_eq!(follows(&bench, 3), before);
    let bench = bench.restart();
    assert_eq!(follows(&bench, 4), end(&load(&bench.disk, 3)));
}

/// One file with a number near 100 million made all later segments ones that nobody listed once it was moved away.
#[test]
fn a_foreign_number_decides_no_number_of_ours_and_hides_nothing() {
    for (number, junk) in [(4, &b""[..]), (100_000_003, &[b'x'; 5_000]), (u32::MAX, &[7; 5_000])] {
        let bench = killed();
        put(&bench, number, junk);
        let mut bench = bench.restart();
        assert_eq!(bench.writer.head_number(), 3);
        bench.own(9);
        bench.step().unwrap();
        bench.stop();
        let report = bench.verify(&[]);
        let named = report.items.iter().map(|found| (found.kind, found.segment));
        if !junk.is_empty() {
            assert_eq!(named.collect::<Vec<_>>(), [("inserted", number)], "{report:?}");
            assert_eq!((report.unvouched, report.end), (0, End::Stopped), "{report:?}");
            bench.disk.remove(&bytes::path(&dir(), number)).unwrap();
            bench.disk.sync_dir(&dir()).unwrap();
        }
        assert_eq!(bench.numbers(), [1, 2, 3, 4, 5, 9]);
        let bench = bench.restart();
        assert_eq!((bench.writer.head_number(), bench.verify(&[]).sound), (4, true), "{number}");
    }
}

/// What was opened by our key is a segment, whatever is missing in front of it.
#[test]
fn a_segment_of_ours_is_one_whatever_its_number() {
    let mut bench = Bench::new();
    for number in 2..12 {
        put(&bench, number, &[b'x'; 5_000]);
    }
    bench = bench.restart();
    bench.own(1);
    bench.step().unwrap();
    assert_eq!((bench.writer.head_number(), bench.numbers()), (12, vec![1]));
    assert!(bench.verify(&[]).items.iter().all(|found| found.kind == "inserted"));
}

pub(super) fn read_on(bench: &Bench, mark: &Mark) -> Vec<u64> {
    let durable = bench.chain.durable().load(std::sync::atomic::Ordering::Acquire);
    let reader = Reader::of(&bench.chain, Arc::new(bench.disk.clone()), &store());
    let items = Tail::behind(&reader, mark).next(durable, 1 << 20).unwrap().items;
    let number = |item: &Item| match item {
        Item::Record(listed) => listed.record.details.as_ref()?["n"].as_u64(),
        Item::Missing { .. } => Some(0),
        Item::Checkpoint { .. } => None,
    };
    items.iter().filter_map(number).collect()
}

/// A made-up segment that begins where an output stood was sent in place of what was recorded.
#[test]
fn what_nobody_has_signed_is_neither_sent_nor_listed() {
    let bench = killed();
    let mut bench = bench.restart();
    bench.own(6);
    bench.step().unwrap();
    bench.stop();
    let reader = bench.reader();
    let marks: Vec<Mark> = (0..9).filter_map(|n| Tail::mark(&reader, n).unwrap()).collect();
    let before: Vec<_> =
        marks.iter().map(|mark| Tail::record_before(&reader, mark).unwrap()).collect();
    let sent: Vec<_> = marks.iter().map(|mark| read_on(&bench, mark)).collect();
    assert_eq!((marks.len(), &sent[0][..], bench.numbers().len()), (9, &[1, 2, 3, 4, 5, 6][..], 6));
    let first = SegmentHeader::decode(&load(&bench.disk, 1)).unwrap();
    let frames = load(&bench.disk, 2);
    for frame in bytes::frames(&frames).take(3) {
        let follows = frame.position();
        let mut forged = SegmentHeader { number: 900, follows, ..first }.encode().to_vec();
        let mut position = follows;
        for n in 1_000..1_020 {
            let record = json!({ "reason": "released", "count": 1, "details": { "n": n } });
            position.push(Kind::Record, record.to_string().as_bytes(), &mut forged);
        }
        put(&bench, 900, &forged);
        let now: Vec<_> = marks.iter().map(|mark| read_on(&bench, mark)).collect();
        assert_eq!((now, bench.numbers()), (sent.clone(), vec![1, 2, 3, 4, 5, 6]));
        for (mark, before) in marks.iter().zip(&before) {
            assert_eq!(Tail::record_before(&reader, mark).unwrap(), *before);
            assert_eq!(Tail::knows(&reader, mark).unwrap(), Known::Held);
        }
        bench.disk.remove(&bytes::path(&dir(), 900)).unwrap();
    }
    // Behind the end of a segment that is not written to any more.
    let mut longer = load(&bench.disk, 1);
    let mut position = end(&longer);
    for _ in 0..3 {
        position.push(Kind::Record, br#"{"count":1,"details":{"n":77}}"#, &mut longer);
    }
    set(&bench.disk, 1, &longer);
    assert_eq!(
        (read_on(&bench, &marks[0]), bench.numbers()),
        (sent[0].clone(), vec![1, 2, 3, 4, 5, 6])
    );
}

/// With another signing.pub and a segment of its key that says 2020, nothing was newer than a day any more.
#[test]
fn another_public_key_beside_the_trail_hides_nothing_from_the_gateway() {
    let bench = killed();
    let other = Bench::new();
    let keys = Keys::load(&other.disk, &dir(), true).unwrap();
    let public = dir().join("signing.pub");
    bench.disk.remove(&public).unwrap();
    let mut file = bench.disk.create(&public).unwrap();
    file.append(format!("{}\n", keys.signer.public()).as_bytes()).unwrap();
    let follows = Position { sequence: crate::event::Sequence(1_000_000), ..Position::START };
    let header = SegmentHeader::decode(&load(&bench.disk, 1)).unwrap();
    let created_at = UnixMillis(1_577_836_800_000);
    let noted = checkpoint::Noted { opens: 900, ..checkpoint::Noted::default() };
    let opens = Checkpoint::sign(&keys.signer, header.trail, follows, created_at, noted);
    let mut segment =
        SegmentHeader { number: 900, follows, created_at, ..header }.encode().to_vec();
    let mut position = follows;
    position.push(Kind::Checkpoint, json!(opens).to_string().as_bytes(), &mut segment);
    put(&bench, 900, &segment);
    let reader = Reader::of(&bench.chain, Arc::new(bench.disk.clone()), &store());
    let filter = Filter { since: Some(START), ..Filter::default() };
    assert_eq!(reader.newest(&filter, None, 99).unwrap().items.len(), 5);
    assert_eq!(reader.oldest(&filter, None, 99).unwrap().items.len(), 5);
}
