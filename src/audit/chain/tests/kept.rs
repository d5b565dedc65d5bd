//! Checkpoints that were kept elsewhere: what they prove of a cut, and that they prove none where there was none.

use std::io::ErrorKind;
use std::path::Path;

use super::*;
use crate::store::tests::sim_disk::{Fault, Leaves};

/// As they were published.
fn published(file: &Path) -> Vec<Checkpoint> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A start of which each checkpoint goes to this file.
fn start(disk: &SimDisk, clock: &Clock, file: &Path) -> Bench {
    let mut bench = Bench::on(disk.clone(), clock.clone());
    let elsewhere = Elsewhere { file: Some(file.to_owned()), ..Elsewhere::default() };
    bench.writer.options.checkpoints = Some(elsewhere);
    bench.writer.open().unwrap_or_default();
    bench
}

/// Two lives, the second of which was killed within its first minute.
fn killed(file: &Path) -> Bench {
    let mut bench = start(&SimDisk::default(), &Clock::manual(START), file);
    bench.own(1);
    bench.step().unwrap();
    bench.stop();
    bench.writer.finish_files(MINUTE);
    let mut bench = start(&bench.disk, &bench.clock, file);
    bench.own(2);
    bench.step().unwrap();
    bench.writer.finish_files(MINUTE);
    bench
}

fn place(report: &Report) -> Vec<(&'static str, u32, u64)> {
    report.items.iter().map(|found| (found.kind, found.segment, found.sequence)).collect()
}

/// What the last start had begun was removed, and the next start began the same number behind the same record: the
/// kept checkpoint of the one that was gone was taken for met.
#[test]
fn a_segment_that_was_removed_and_begun_anew_is_missed_by_the_checkpoint_that_opened_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let bench = killed(file.path());
    bench.disk.remove(&bytes::path(&dir(), 2)).unwrap();
    let kept = published(file.path());
    assert_eq!(kept.iter().map(|kept| kept.opens).collect::<Vec<_>>(), [1, 0, 2]);
    let gone = &kept[2];
    // Not begun anew yet.
    let report = bench.verify(&kept);
    assert_eq!(place(&report), [("cut_off", 0, 4)], "{report:?}");
    assert!(report.items[0].message.contains(&gone.time), "{report:?}");
    let mut bench = start(&bench.disk, &bench.clock, file.path());
    bench.own(3);
    bench.step().unwrap();
    bench.stop();
    bench.writer.finish_files(MINUTE);
    assert!(bench.verify(&[]).sound);
    let report = bench.verify(&published(file.path()));
    assert_eq!(place(&report), [("cut_off", 2, 4)], "{report:?}");
    assert!(report.items[0].message.contains(&gone.time), "{report:?}");
    assert_eq!(report.vouched.unwrap().sequence, 3);
}

/// Cut directly in front of a checkpoint that was kept, with all that it vouches for left.
#[test]
fn a_trail_that_was_cut_directly_in_front_of_a_kept_checkpoint_is_cut_off() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut bench = killed(file.path());
    bench.stop();
    bench.writer.finish_files(MINUTE);
    let kept = published(file.path());
    assert!(bench.verify(&kept).sound && kept.last().unwrap().stop);
    let segment = load(&bench.disk, 2);
    let stop = bytes::frames(&segment).last().unwrap();
    set(&bench.disk, 2, &segment[..stop.offset]);
    let last = stop.sequence.0;
    assert!(bench.verify(&kept[..3]).sound);
    assert_eq!(place(&bench.verify(&kept)), [("cut_off", 0, last)]);
    // And gone on with.
    let bench = bench.restart();
    assert_eq!(place(&bench.verify(&kept)), [("cut_off", 3, last)]);
}

/// The same one, kept in a file and by a receiver, and many behind one cut.
#[test]
fn each_thing_that_is_wrong_is_told_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut bench = killed(file.path());
    for n in 0..6 {
        bench.clock.advance(MINUTE);
        bench.own(n);
        bench.step().unwrap();
    }
    bench.stop();
    bench.writer.finish_files(MINUTE);
    let kept = published(file.path());
    let twice: Vec<Checkpoint> = kept.iter().chain(&kept).cloned().collect();
    assert!(kept.len() > 8 && bench.verify(&twice).sound);
    let whole = load(&bench.disk, 2);
    let third = bytes::frames(&whole).nth(3).unwrap().offset;
    set(&bench.disk, 2, &whole[..third]);
    let report = bench.verify(&twice);
    assert_eq!(place(&report), [("cut_off", 0, 7)], "{report:?}");
    assert!(report.items[0].message.contains(&kept.last().unwrap().time), "{report:?}");
    // A segment is missing in between.
    set(&bench.disk, 2, &whole);
    let bench = bench.restart();
    bench.disk.remove(&bytes::path(&dir(), 2)).unwrap();
    let kinds: Vec<_> = bench.verify(&twice).items.iter().map(|found| found.kind).collect();
    assert_eq!(kinds, ["deleted"; 3], "by its number, by its records, and once by what was kept");
}

/// What went by the retention, and what opens the first segment that is left.
#[test]
fn what_the_trail_has_let_go_of_is_missed_by_no_kept_checkpoint() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (disk, clock) = (SimDisk::default(), Clock::manual(START));
    for n in 0..5 {
        let mut bench = start(&disk, &clock, file.path());
        bench.own(n);
        bench.step().unwrap();
        clock.advance(Duration::from_secs(86_400 * 100));
        bench.stop();
        bench.writer.finish_files(MINUTE);
    }
    let mut bench = start(&disk, &clock, file.path());
    clock.advance(Duration::from_secs(3_700));
    bench.own(5);
    bench.step().unwrap();
    bench.stop();
    bench.writer.finish_files(MINUTE);
    let report = bench.verify(&published(file.path()));
    assert!(report.first.unwrap() > 1 && report.sound, "{report:?}");
    assert!(report.notes.iter().any(|note| note.contains("older than what is left")), "{report:?}");
}

/// A life with rotations and a segment that is full, on a disk that fails or whose power goes.
fn live(disk: &SimDisk, clock: &Clock, file: &Path) {
    for round in 0..2 {
        let mut bench = start(disk, clock, file);
        for _ in 0..3 {
            if !bench.writer.is_open() {
                bench.writer.open().unwrap_or_default();
            }
        }
        if !bench.writer.is_open() {
            bench.writer.finish_files(MINUTE);
            return;
        }
        for n in 0..6 {
            bench.own(round * 10 + n);
            clock.advance(if n % 2 == 0 { MINUTE } else { SECOND });
            match n {
                3 => bench.writer.fill_segment(),
                4 => bench.writer.options.retention.keep = MINUTE,
                _ => bench.writer.options.retention.keep = MINUTE * 60 * 24 * 365,
            }
            for _ in 0..3 {
                if bench.step().is_ok() {
                    break;
                }
            }
        }
        if round == 0 && bench.writer.step(Vec::new(), true).is_err() {
            bench.writer.step(Vec::new(), true).unwrap_or_default();
        }
        bench.writer.finish_files(MINUTE);
    }
}

/// No checkpoint leaves before it is on stable storage: whatever the disk does, each that was published is there.
#[test]
fn whatever_a_disk_does_no_published_checkpoint_is_missed() {
    let clock = || Clock::manual(START);
    let disk = SimDisk::default();
    disk.plan(usize::MAX, Fault::PowerCut);
    live(&disk, &clock(), tempfile::NamedTempFile::new().unwrap().path());
    let all = disk.operations();
    let faults = [
        (Fault::PowerCut, Leaves::Nothing),
        (Fault::Tears, Leaves::Nothing),
        (Fault::PowerCut, Leaves::SomePages(7)),
        (Fault::Fails(ErrorKind::Other), Leaves::Nothing),
    ];
    // Not each with each: what it costs is signatures.
    for (at, (fault, leaves)) in (0..all).zip(faults.into_iter().cycle()) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (disk, clock) = (SimDisk::default(), clock());
        disk.plan(at, fault);
        live(&disk, &clock, file.path());
        disk.reboot(leaves);
        for _ in 0..2 {
            let mut bench = start(&disk, &clock, file.path());
            bench.own(99);
            bench.step().unwrap();
            bench.writer.finish_files(MINUTE);
            let report = bench.verify(&published(file.path()));
            assert!(report.sound, "{at} {fault:?} {leaves:?}: {report:#?}");
        }
    }
}
