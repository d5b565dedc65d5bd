//! Segments that go to an archive: each stays until its copy is on stable storage, whatever happens meanwhile, and
//! nothing waits for that.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::mpsc;

use parking_lot::Mutex;

use super::going::of_five_lives;
use super::*;
use crate::audit::chain::retain::Copies;
use crate::store::tests::sim_disk::{Fault, Leaves};

fn archive() -> PathBuf {
    PathBuf::from("/archive")
}

/// A copy on the same simulated disk; it is not called like a segment.
fn copy_of(name: &str) -> PathBuf {
    archive().join(format!("{name}.kept"))
}

/// Copies a segment as the archive does: whole and durable, or it is an error.
fn keep(disk: &SimDisk, from: &Path, name: &str) -> io::Result<()> {
    let (source, to) = (disk.open(from)?, copy_of(name));
    let mut bytes = vec![0; usize::try_from(source.size()?).unwrap()];
    source.read_at(&mut bytes, 0)?;
    match disk.remove(&to) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => disk.sync_dir(&archive())?,
    }
    let mut file = disk.create(&to)?;
    file.append(&bytes)?;
    file.sync()?;
    disk.sync_dir(&archive())
}

/// Five lives, all but the last of which are to go to the archive.
fn bench() -> Bench {
    let mut bench = of_five_lives();
    bench.writer.options.retention.max_bytes = 1;
    bench.writer.options.retention.archive = Some(archive());
    let disk = bench.disk.clone();
    bench.writer.copies =
        Copies::by(Arc::new(move |from: &Path, _: &Path, name: &str, _: u64, _: &dyn Fn()| {
            keep(&disk, from, name)
        }));
    bench
}

fn live(bench: &mut Bench) {
    for n in 6..10 {
        bench.own(n);
        let _ = bench.step();
        bench.writer.copies.wait();
        if n == 7 {
            // What has failed is tried again.
            bench.clock.advance(Duration::from_secs(3_700));
        }
    }
}

/// Bytes of the segments that are to go.
fn segments(disk: &SimDisk) -> Vec<Vec<u8>> {
    (1..=4).map(|number| load(disk, number)).collect()
}

/// Each is in the trail as it was, or its copy is; and what went is in the trail as a signed record.
fn check(disk: SimDisk, before: &[Vec<u8>], sides: impl std::fmt::Debug) {
    let names = disk.names();
    for (number, before) in (1..).zip(before) {
        let name = bytes::name(number);
        if !names.contains(&name) {
            let copy = bytes::load_any(&disk, &copy_of(&name));
            assert_eq!(copy.len(), before.len(), "{sides:?}: {number}");
            assert!(copy == *before, "{sides:?}: {number}");
        }
    }
    let mut bench = Bench::on(disk, Clock::manual(START.after(MINUTE * 600)));
    bench.writer.open().unwrap();
    bench.step().unwrap();
    bench.stop();
    let report = bench.verify(&[]);
    assert!(report.sound, "{sides:?}: {report:#?}");
}

#[test]
fn a_segment_goes_once_its_copy_is_durable_and_that_is_signed() {
    let mut whole = bench();
    whole.disk.plan(usize::MAX, Fault::PowerCut);
    live(&mut whole);
    let operations = whole.disk.operations();
    let left = |disk: &SimDisk| disk.names().iter().filter(|name| name.ends_with(".audit")).count();
    assert_eq!((left(&whole.disk), whole.numbers()), (1, vec![4, 6, 7, 8, 9]));
    for at in 0..operations {
        for fault in [Fault::Fails(ErrorKind::StorageFull), Fault::Tears] {
            let mut bench = bench();
            let before = segments(&bench.disk);
            bench.disk.plan(at, fault);
            live(&mut bench);
            assert_eq!(left(&bench.disk), 1, "{at} {fault:?}");
            check(bench.disk, &before, (at, fault));
        }
        for leaves in [Leaves::Nothing, Leaves::Everything, Leaves::SomePages(at as u64)] {
            let mut bench = bench();
            let before = segments(&bench.disk);
            bench.disk.plan(at, Fault::PowerCut);
            live(&mut bench);
            bench.disk.reboot(leaves);
            check(bench.disk, &before, (at, leaves));
        }
    }
}

/// The archive was on a file system that did not answer, and so the trail was not written, nor were events taken where
/// that is required.
#[test]
fn an_archive_that_does_not_answer_holds_nothing_up() {
    let mut bench = bench();
    let (go_on, waits) = mpsc::channel::<()>();
    let (disk, waits) = (bench.disk.clone(), Mutex::new(waits));
    bench.writer.copies =
        Copies::by(Arc::new(move |from: &Path, _: &Path, name: &str, _: u64, _: &dyn Fn()| {
            let _ = waits.lock().recv();
            keep(&disk, from, name)
        }));
    for n in 10..13 {
        bench.own(n);
        bench.clock.advance(MINUTE);
        bench.step().unwrap();
        assert!(bench.writer.copies.are_made());
    }
    assert!(bench.writer.copies.was_told());
    assert_eq!(bench.numbers(), [0, 1, 2, 3, 4, 10, 11, 12]);
    drop(go_on);
    bench.writer.copies.wait();
    bench.step().unwrap();
    assert!(!bench.writer.copies.are_made());
    assert_eq!(bench.numbers(), [4, 10, 11, 12]);
    bench.stop();
    assert!(bench.verify(&[]).sound);
}
