//! Segments that are begun in place of one that is full or gone, and the acts and records that were to be in that.

use std::io::ErrorKind;

use super::mended::{line, put};
use super::*;
use crate::store::tests::sim_disk::{Fault, Leaves};

/// What becomes of the segment that is written to, between two acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meets {
    Nothing,
    /// It has no room for what waits.
    Full,
    /// It is taken away.
    Gone,
    /// It is cut behind an act.
    Cut,
    /// Something is put behind it.
    Grown,
}

const MEETS: [Meets; 5] = [Meets::Nothing, Meets::Full, Meets::Gone, Meets::Cut, Meets::Grown];

fn act(disk: &SimDisk, n: u64) {
    disk.corrupt("acts.jsonl", |bytes| bytes.extend_from_slice(line(n).as_bytes()));
}

fn take_away(disk: &SimDisk, number: u32) {
    let _ = disk.remove(&bytes::path(&dir(), number));
}

fn meet(bench: &mut Bench, meets: Meets) {
    let (number, disk) = (bench.writer.head_number(), &bench.disk);
    let path = bytes::path(&dir(), number);
    if !disk.names().contains(&bytes::name(number)) || disk.is_off() {
        return;
    }
    match meets {
        Meets::Nothing => {}
        Meets::Full => bench.writer.fill_segment(),
        Meets::Gone => take_away(disk, number),
        Meets::Cut => {
            let mut last = None;
            disk.corrupt(&bytes::name(number), |segment| {
                last = bytes::frames(segment).last().map(|last| last.offset);
            });
            let _ = last.map(|last| disk.truncate(&path, last as u64));
        }
        Meets::Grown => disk.corrupt(&bytes::name(number), |segment| segment.extend(b"more")),
    }
}

/// Acts, one after the other, with a checkpoint among them, and an end.
fn live(disk: &SimDisk, meets: Meets) {
    let mut bench = Bench::on(disk.clone(), Clock::manual(START));
    let _ = bench.writer.open();
    if !bench.writer.is_open() && bench.writer.open().is_err() {
        return;
    }
    for n in 0..6 {
        act(disk, n);
        if n == 3 {
            let _ = bench.step();
            act(disk, 100);
            meet(&mut bench, meets);
        }
        if n == 1 || n == 4 {
            bench.clock.advance(MINUTE);
        }
        for _ in 0..2 {
            let _ = bench.step();
        }
    }
    for _ in 0..3 {
        if bench.writer.step(Vec::new(), true).is_ok() {
            break;
        }
    }
}

/// A store with no acts yet.
fn disk() -> SimDisk {
    let disk = SimDisk::default();
    put(&disk, &dir().join("acts.jsonl"), "");
    disk
}

fn operations(meets: Meets) -> usize {
    let disk = disk();
    disk.plan(usize::MAX, Fault::PowerCut);
    live(&disk, meets);
    disk.operations()
}

/// What the next start finds, and how it leaves the trail: all of `acts.jsonl` is in that.
fn next_start(disk: SimDisk) -> (Vec<u64>, Vec<u64>, Bench) {
    let mut bench = Bench::on(disk, Clock::manual(START.after(MINUTE * 60)));
    bench.writer.open().unwrap();
    (0..2).for_each(|_| bench.step().unwrap());
    bench.stop();
    let mut taken = bench.numbers();
    taken.sort_unstable();
    let mut done = Vec::new();
    bench.disk.corrupt("acts.jsonl", |bytes| {
        for line in std::str::from_utf8(bytes).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            done.push(line["n"].as_u64().unwrap());
        }
    });
    done.sort_unstable();
    (taken, done, bench)
}

/// Acts that had been read and were in no segment yet, or in one that was gone, counted as taken in by the next
/// segment's opening, and never were.
#[test]
fn each_act_is_in_the_trail_once_whatever_becomes_of_its_segment() {
    for meets in MEETS {
        let disk = disk();
        live(&disk, meets);
        let (taken, done, bench) = next_start(disk);
        assert_eq!((taken.len(), taken), (7, done), "{meets:?}");
        let report = bench.verify(&[]);
        assert_eq!(report.sound, matches!(meets, Meets::Nothing | Meets::Full), "{report:#?}");
    }
}

#[test]
fn each_act_is_in_the_trail_once_whatever_fails_meanwhile() {
    for meets in MEETS {
        for at in 0..operations(meets) {
            for fault in [
                Fault::Fails(ErrorKind::StorageFull),
                Fault::Fails(ErrorKind::Other),
                Fault::Tears,
                Fault::FillsUp,
            ] {
                let disk = disk();
                disk.plan(at, fault);
                live(&disk, meets);
                disk.make_room();
                let (mut taken, done, bench) = next_start(disk);
                if matches!(meets, Meets::Nothing | Meets::Full) {
                    let report = bench.verify(&[]);
                    assert!(report.sound, "{meets:?} {at} {fault:?}: {report:#?}");
                } else {
                    // What is left of a segment could not be read, or not be made durable.
                    taken.dedup();
                }
                assert_eq!(taken, done, "{meets:?} {at} {fault:?}");
            }
        }
    }
}

#[test]
fn each_act_is_in_the_trail_once_after_a_power_cut_or_a_kill_at_any_operation() {
    for meets in MEETS {
        for at in 0..operations(meets) {
            for leaves in [
                None,
                Some(Leaves::Nothing),
                Some(Leaves::Everything),
                Some(Leaves::SomePages(at as u64)),
            ] {
                let disk = disk();
                disk.plan(at, Fault::PowerCut);
                live(&disk, meets);
                // Whoever does an act syncs it first.
                let mut acts = Vec::new();
                disk.corrupt("acts.jsonl", |bytes| acts.clone_from(bytes));
                leaves.map_or_else(|| disk.next_process(), |leaves| disk.reboot(leaves));
                disk.corrupt("acts.jsonl", |bytes| *bytes = acts);
                let (mut taken, done, bench) = next_start(disk);
                if meets == Meets::Gone && matches!(leaves, Some(Leaves::SomePages(_))) {
                    // It may be there again, and what was begun in place of it too.
                    taken.dedup();
                }
                assert_eq!(taken, done, "{meets:?} {at} {leaves:?}");
                if matches!(meets, Meets::Nothing | Meets::Full) {
                    let report = bench.verify(&[]);
                    assert!(report.sound, "{meets:?} {at} {leaves:?}: {report:#?}");
                }
            }
        }
    }
}

/// A write was torn while no other segment could be begun, and what it had left stayed in front of the next one: the
/// trail was not sound, for good.
#[test]
fn a_torn_write_to_a_full_segment_is_cut_off_first() {
    let mut bench = Bench::new();
    bench.own(1);
    bench.step().unwrap();
    bench.disk.plan(0, Fault::Tears);
    bench.own(2);
    bench.step().unwrap_err();
    assert!(bench.disk.fired());
    bench.writer.fill_segment();
    bench.step().unwrap_err();
    bench.step().unwrap();
    bench.stop();
    assert_eq!((bench.numbers(), bench.writer.head_number()), (vec![1, 2], 2));
    let report = bench.verify(&[]);
    assert!(report.sound, "{report:#?}");
}

/// The segment was gone when the end came, and neither that nor what was to be in it was ever recorded.
#[test]
fn an_end_is_written_to_the_segment_that_is_begun_for_it() {
    let (disk, clock) = (disk(), Clock::manual(START));
    let chain = Arc::new(Chain::new(clock.clone()));
    let running = chain.start(Arc::new(disk.clone()), &store(), options()).unwrap();
    assert!(chain.settle(MINUTE));
    take_away(&disk, 1);
    act(&disk, 7);
    chain.own(Own { reason: "stopped", who: "uid 7".into(), details: json!({ "n": 8 }) });
    assert!(chain.stop());
    drop(running);
    let bench = Bench::on(disk, clock);
    assert_eq!(bench.numbers().len(), 2);
    let all = bench.reader().newest(&Filter::default(), None, 9).unwrap().items;
    let reasons: Vec<_> = all.iter().map(|listed| listed.record.reason.as_str()).collect();
    assert!(reasons.contains(&"trail_missing") && reasons.contains(&"exported"), "{reasons:?}");
    assert_eq!(bench.verify(&[]).end, End::Stopped);
}
