//! A disk that fails, or whose power goes, at each of its operations in turn.

use std::io::ErrorKind;

use super::*;
use crate::store::tests::sim_disk::{Fault, Leaves};

/// A life of the trail: two starts, records, a checkpoint and an end. What was on stable storage when the
/// power went or all was done.
fn live(disk: &SimDisk) -> (usize, usize) {
    let clock = Clock::manual(START);
    let (mut safe, mut told) = (0, 0);
    for start in 0..2 {
        let mut bench = Bench::on(disk.clone(), clock.clone());
        for _ in 0..3 {
            if bench.writer.open().is_ok() {
                break;
            }
        }
        if !bench.writer.is_open() {
            return (safe, told);
        }
        for n in 0..4 {
            bench.own(start * 10 + n);
            told += 1;
            if n == 2 {
                clock.advance(MINUTE);
            }
            // A failure is tried again.
            for _ in 0..3 {
                if bench.step().is_ok() {
                    safe = told;
                    break;
                }
            }
        }
        if bench.writer.step(Vec::new(), true).is_err() {
            let _ = bench.writer.step(Vec::new(), true);
        }
    }
    (safe, told)
}

fn operations() -> usize {
    let disk = SimDisk::default();
    disk.plan(usize::MAX, Fault::PowerCut);
    assert_eq!(live(&disk), (8, 8));
    disk.operations()
}

#[test]
fn what_was_synced_outlives_a_power_cut_at_any_operation_and_the_trail_stays_sound() {
    for at in 0..operations() {
        for leaves in [
            Leaves::Nothing,
            Leaves::Everything,
            Leaves::SomePages(at as u64),
            Leaves::SomePages(7),
        ] {
            let disk = SimDisk::default();
            disk.plan(at, Fault::PowerCut);
            let (safe, told) = live(&disk);
            disk.reboot(leaves);
            let mut bench = Bench::on(disk, Clock::manual(START.after(MINUTE * 60)));
            bench.writer.open().unwrap_or_else(|error| panic!("{at} {leaves:?}: {error}"));
            bench.own(99);
            bench.step().unwrap();
            bench.stop();
            let numbers = bench.numbers();
            assert!(
                (safe + 1..=told + 1).contains(&numbers.len()),
                "{at} {leaves:?}: {safe} {told} {numbers:?}"
            );
            let report = bench.verify(&[]);
            assert!(report.sound, "{at} {leaves:?}: {report:#?}");
        }
    }
}

#[test]
fn an_error_at_any_operation_costs_no_record_and_breaks_no_link() {
    for at in 0..operations() {
        for fault in
            [Fault::Fails(ErrorKind::StorageFull), Fault::Fails(ErrorKind::Other), Fault::Tears]
        {
            let disk = SimDisk::default();
            disk.plan(at, fault);
            let (safe, told) = live(&disk);
            assert_eq!(safe, told, "{at} {fault:?}");
            let bench = Bench::on(disk, Clock::manual(START));
            assert_eq!(bench.numbers().len(), 8, "{at} {fault:?}");
            let report = bench.verify(&[]);
            assert!(report.sound, "{at} {fault:?}: {report:#?}");
        }
    }
}

/// Until there is room again nothing is written, and then all of it.
#[test]
fn a_full_disk_is_waited_for() {
    let mut bench = Bench::new();
    bench.own(1);
    bench.step().unwrap();
    bench.disk.plan(0, Fault::FillsUp);
    for n in 2..50 {
        bench.own(n);
        assert!(bench.step().is_err(), "{n}");
    }
    bench.disk.make_room();
    bench.step().unwrap();
    assert_eq!(bench.numbers(), (1..50).collect::<Vec<_>>());
    bench.stop();
    assert!(bench.verify(&[]).sound);
}

#[test]
fn a_trail_that_cannot_be_written_blocks_only_where_it_is_required() {
    for required in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("audit"), "no directory").unwrap();
        let chain = Arc::new(Chain::new(Clock::System));
        let disk = Arc::new(crate::store::disk::OsDisk);
        let started = chain.start(disk, dir.path(), Options { required, ..options() });
        assert_eq!(started.is_err(), required);
        assert!(!chain.blocks());
    }
}
