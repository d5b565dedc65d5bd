//! Segments that were signed, and stand where they were not written: out of another life of the store, or copied out
//! of the newest one.

use super::foreign::{end, follows, killed, put, read_on};
use super::*;
use crate::audit::chain::bytes::SEGMENT_HEADER;

/// A trail of two segments that was stopped.
pub(super) fn base() -> Bench {
    let mut bench = Bench::new();
    for n in 1..3 {
        bench.own(n);
        bench.step().unwrap();
        bench.stop();
        if n == 1 {
            bench = bench.restart();
        }
    }
    bench
}

/// What a start on a copy of this has begun, where the names up to `number` were taken, with these records.
fn other_life(bench: &Bench, number: u32, records: std::ops::Range<u64>) -> Vec<u8> {
    let on = Bench::on(bench.disk.clone(), bench.clock.clone());
    let head = (1..).find(|number| !bench.disk.names().contains(&bytes::name(*number))).unwrap();
    (head..number).for_each(|number| put(bench, number, &[b'J'; 5_000]));
    let mut other = on.restart();
    assert_eq!(other.writer.head_number(), number);
    for n in records {
        other.own(n);
        other.step().unwrap();
    }
    let segment = load(&bench.disk, number);
    for number in head..=number {
        bench.disk.remove(&bytes::path(&dir(), number)).unwrap();
    }
    bench.disk.sync_dir(&dir()).unwrap();
    bench.clock.advance(MINUTE);
    segment
}

/// Starts with a record each.
fn lives(mut bench: Bench, records: std::ops::Range<u64>) -> Bench {
    for n in records {
        bench = bench.restart();
        bench.own(n);
        bench.step().unwrap();
    }
    bench
}

/// All records are listed and sent, `verify` names that segment, and the next start goes on behind `newest`.
fn only_it_is_passed_over(mut bench: Bench, stray: u32, newest: u32, records: &[u64]) {
    let start = Tail::mark(&bench.reader(), 0).unwrap().unwrap();
    assert_eq!((bench.numbers(), read_on(&bench, &start)), (records.to_vec(), records.to_vec()));
    bench.stop();
    let before = end(&load(&bench.disk, newest));
    let next = Bench::on(bench.disk, bench.clock).restart();
    let mut bench = next;
    bench.own(99);
    bench.step().unwrap();
    bench.stop();
    let head = bench.writer.head_number();
    assert_eq!(follows(&bench, head), before);
    let records = [records, &[99]].concat();
    assert_eq!((bench.numbers(), read_on(&bench, &start)), (records.clone(), records));
    let report = bench.verify(&[]);
    let named: Vec<_> = report.items.iter().map(|found| (found.kind, found.segment)).collect();
    assert_eq!((named, report.unvouched), (vec![("inserted", stray)], 0), "{report:?}");
    assert!(report.items[0].message.contains("another place"), "{report:?}");
    bench.disk.remove(&bytes::path(&dir(), stray)).unwrap();
    assert!(bench.verify(&[]).sound);
}

/// The store was put back, and a segment from before that was laid behind the newest one: records in front of it were
/// not listed any more, and the next start wound the chain back to it without a word.
#[test]
fn a_segment_of_another_life_of_the_store_hides_nothing_and_is_not_gone_on_behind() {
    for records in [0..0, 50..52] {
        let bench = base();
        let stray = other_life(&bench, 9, records);
        let bench = lives(bench, 3..6);
        put(&bench, 9, &stray);
        only_it_is_passed_over(bench, 9, 5, &[1, 2, 3, 4, 5]);
    }
}

/// Of two that follow the same record the one that was signed last is the trail's, whichever number it has.
#[test]
fn of_two_that_follow_the_same_record_the_older_one_is_passed_over() {
    for records in [0..0, 50..52] {
        let bench = base();
        let stray = other_life(&bench, 9, records.clone());
        let bench = lives(bench, 3..4);
        put(&bench, 9, &stray);
        only_it_is_passed_over(bench, 9, 3, &[1, 2, 3]);

        // The name was taken when the trail went on.
        let bench = base();
        let stray = other_life(&bench, 3, records);
        put(&bench, 3, &[b'J'; 5_000]);
        let bench = lives(bench, 3..4);
        set(&bench.disk, 3, &stray);
        only_it_is_passed_over(bench, 3, 4, &[1, 2, 3]);
    }
}

/// One that was signed last does not count for more than all segments that it contradicts.
#[test]
fn a_newer_life_of_an_older_store_hides_no_more_than_one_segment() {
    let bench = base();
    let all = lives(bench, 3..7);
    let newest: Vec<_> = (3..=6).map(|number| (number, load(&all.disk, number))).collect();
    for (number, _) in &newest {
        all.disk.remove(&bytes::path(&dir(), *number)).unwrap();
    }
    all.disk.sync_dir(&dir()).unwrap();
    all.clock.advance(MINUTE);
    let stray = other_life(&all, 9, 50..52);
    for (number, segment) in &newest {
        put(&all, *number, segment);
    }
    put(&all, 9, &stray);
    let bench = Bench::on(all.disk, all.clock).restart();
    assert_eq!(
        (bench.numbers(), follows(&bench, 7)),
        (vec![1, 2, 3, 4, 5, 6], end(&load(&bench.disk, 6)))
    );
}

/// What goes with the oldest is named as not written there.
#[test]
fn a_segment_of_another_life_goes_as_a_damaged_one() {
    let bench = base();
    let stray = other_life(&bench, 4, 50..52);
    let bench = lives(bench, 3..4);
    put(&bench, 4, &[b'J'; 5_000]);
    let mut bench = lives(bench, 5..8);
    set(&bench.disk, 4, &stray);
    bench.writer.options.retention.max_bytes = 1;
    bench.clock.advance(Duration::from_secs(3_700));
    bench.step().unwrap();
    bench.stop();
    assert!(!bench.disk.names().contains(&bytes::name(4)));
    let report = bench.verify(&[]);
    assert!(
        report.sound && report.notes.iter().any(|note| note.contains("segment 4 went")),
        "{report:?}"
    );
}

/// A file behind the newest segment, with a checkpoint of that one and what is in front of it.
fn copied(bench: &Bench, number: u32, frames: std::ops::Range<usize>) -> Vec<u8> {
    let mut copy = vec![0; SEGMENT_HEADER];
    copy.extend(split(&load(&bench.disk, number))[frames].concat());
    copy
}

/// A file with frames out of the newest segment was ours, damaged: records were listed twice, and the next start
/// went on behind the copy and gave the numbers behind it once more.
#[test]
fn what_was_copied_out_of_the_newest_segment_is_no_segment() {
    let bench = killed();
    let frames = split(&load(&bench.disk, 2)).len();
    for range in [1..frames, 1..4, 2..4, 3..4] {
        for opening_is_damaged in [false, true] {
            let bench = killed();
            if opening_is_damaged {
                bench.disk.corrupt(&bytes::name(2), |segment| segment[SEGMENT_HEADER + 200] ^= 4);
            }
            let before = end(&load(&bench.disk, 2));
            // Where the opening is no frame, there is one less.
            let less = usize::from(opening_is_damaged);
            let copy = copied(&bench, 2, range.start - less..range.end - less);
            let is_signed = |frame: bytes::Frame<'_>| frame.kind == Some(Kind::Checkpoint);
            assert!(bytes::frames(&copy).any(is_signed), "{range:?}");
            put(&bench, 3, &copy);
            assert_eq!(bench.numbers(), [1, 2, 3, 4, 5], "{range:?}");
            let mut bench = bench.restart();
            assert_eq!((bench.writer.head_number(), follows(&bench, 4)), (4, before), "{range:?}");
            bench.own(9);
            bench.step().unwrap();
            bench.stop();
            assert_eq!(bench.numbers(), [1, 2, 3, 4, 5, 9], "{range:?}");
            let report = bench.verify(&[]);
            let named: Vec<_> =
                report.items.iter().map(|found| (found.kind, found.segment)).collect();
            let (last, others) = named.split_last().unwrap();
            assert_eq!(*last, ("inserted", 3), "{range:?}: {report:?}");
            let damaged = others.iter().all(|(_, segment)| *segment == 2);
            assert!(damaged && others.is_empty() != opening_is_damaged, "{range:?}: {report:?}");
        }
    }
}

/// Begun one record further, it hid what the real segment in front of it had from there on, and readers said nothing.
#[test]
fn what_a_segment_of_another_life_hides_is_missed_by_who_reads() {
    let bench = base();
    let on = Bench::on(bench.disk.clone(), bench.clock.clone());
    let other = on.restart().restart();
    let (first, head) = (3, other.writer.head_number());
    let stray = load(&bench.disk, head);
    for number in first..=head {
        bench.disk.remove(&bytes::path(&dir(), number)).unwrap();
    }
    bench.disk.sync_dir(&dir()).unwrap();
    let mut bench = Bench::on(bench.disk, bench.clock).restart();
    for n in 3..30 {
        bench.own(n);
    }
    bench.step().unwrap();
    bench.stop();
    let damage =
        |bench: &Bench| bench.reader().newest(&Filter::default(), None, 99).unwrap().damage;
    assert!(damage(&bench).is_none());
    put(&bench, head, &stray);
    let found = damage(&bench);
    assert!(found.places == 1 && found.missing > 20 && found.segment == first, "{found:?}");
    assert!(!bench.verify(&[]).sound);
}
