//! The key that signs is gone: the start makes another one and goes on behind what is there, whatever cuts it short.

use std::path::Path;

use super::foreign::{end, follows};
use super::mended::reasons;
use super::stray::base;
use super::*;
use crate::audit::chain::bytes::SEGMENT_HEADER;
use crate::store::disk::OsDisk;
use crate::store::tests::sim_disk::{Fault, Leaves};

/// What becomes of a start.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// Its process is killed.
    Killed,
    /// The power goes.
    Power(Leaves),
    /// Something fails, and the next process begins.
    Fails,
}

const CUTS: [Cut; 6] = [
    Cut::Killed,
    Cut::Power(Leaves::Nothing),
    Cut::Power(Leaves::Everything),
    Cut::Power(Leaves::SomePages(7)),
    Cut::Power(Leaves::SomePages(8)),
    Cut::Fails,
];

/// A start that meets this at its operation number `at`, and does what it does in its first second. Whether it met it.
fn start(disk: &SimDisk, clock: &Clock, at: usize, cut: Cut) -> bool {
    disk.plan(
        at,
        if matches!(cut, Cut::Fails) {
            Fault::Fails(std::io::ErrorKind::StorageFull)
        } else {
            Fault::PowerCut
        },
    );
    let mut bench = Bench::on(disk.clone(), clock.clone());
    if bench.writer.open().is_ok() {
        let _ = bench.step();
    }
    let met = disk.fired();
    match cut {
        Cut::Killed | Cut::Fails => disk.next_process(),
        Cut::Power(leaves) => disk.reboot(leaves),
    }
    met
}

/// A trail of two segments whose key is gone.
fn lost() -> Bench {
    let bench = base();
    bench.disk.remove(&dir().join("signing.key")).unwrap();
    bench.disk.sync_dir(&dir()).unwrap();
    bench
}

/// The new key was on the disk and no segment yet when the start was killed. The next one found a key, took all
/// segments for somebody else's and began another trail: nothing before was listed any more, and nothing told of it.
#[test]
fn a_start_that_is_cut_short_with_a_new_key_does_not_disown_the_trail() {
    for cut in CUTS {
        let mut met = 0;
        for at in 0.. {
            let bench = lost();
            let before = end(&load(&bench.disk, 2));
            if !start(&bench.disk, &bench.clock, at, cut) {
                break;
            }
            met += 1;
            // The next one may be cut short as well.
            start(&bench.disk, &bench.clock, at + 1, cut);
            let mut bench = Bench::on(bench.disk, bench.clock);
            bench.writer.open().unwrap_or_else(|error| panic!("{cut:?} {at}: {error}"));
            bench.own(9);
            bench.step().unwrap();
            assert_eq!(bench.numbers(), [1, 2, 9], "{cut:?} {at}");
            assert_eq!(follows(&bench, 3), before, "{cut:?} {at}");
            let told = reasons(&bench);
            assert!(told.contains(&"trail_missing".to_owned()), "{cut:?} {at}: {told:?}");
            assert!(!bench.disk.names().contains(&"signing.new".to_owned()), "{cut:?} {at}");
            // From then on it is a key like any other.
            let mut bench = bench.restart();
            bench.stop();
            let again = reasons(&bench).len() - told.len();
            assert_eq!((again, bench.numbers()), (0, vec![1, 2, 9]), "{cut:?} {at}");
        }
        assert!(met > 15, "{cut:?}: {met}");
    }
}

#[test]
fn a_first_start_that_is_cut_short_is_followed_by_one_that_misses_nothing() {
    for cut in CUTS {
        let mut met = 0;
        for at in 0.. {
            let (disk, clock) = (SimDisk::default(), Clock::manual(START));
            if !start(&disk, &clock, at, cut) {
                break;
            }
            met += 1;
            let mut bench = Bench::on(disk, clock);
            bench.writer.open().unwrap_or_else(|error| panic!("{cut:?} {at}: {error}"));
            bench.own(9);
            bench.step().unwrap();
            bench.stop();
            assert_eq!(reasons(&bench), ["started"], "{cut:?} {at}");
            let report = bench.verify(&[]);
            assert!(report.sound && report.first == Some(1), "{cut:?} {at}: {report:?}");
        }
        assert!(met > 10, "{cut:?}: {met}");
    }
}

/// A start with the journal hidden recorded `trail_missing` of a trail that was removed, or nothing; what it had recorded
/// was cut off, the journal put back, and nothing told that there had ever been another trail.
#[test]
fn a_trail_that_was_removed_is_missed_until_that_is_recorded() {
    let mut bench = Bench::new();
    bench.own(1);
    bench.step().unwrap();
    bench.stop();
    bench.disk.remove(&bytes::path(&dir(), 1)).unwrap();
    bench.disk.sync_dir(&dir()).unwrap();
    for number in 1..4 {
        bench = bench.restart();
        bench.step().unwrap();
        assert_eq!(reasons(&bench), ["trail_missing"], "{number}");
        bench = Bench::on(bench.disk, bench.clock);
        let segment = load(&bench.disk, number);
        let opening = split(&segment)[0].len();
        set(&bench.disk, number, &segment[..SEGMENT_HEADER + opening]);
    }
    // The same of the record that the key was lost.
    let mut bench = lost().restart();
    bench.step().unwrap();
    let segment = load(&bench.disk, 3);
    let opening = split(&segment)[0].len();
    set(&bench.disk, 3, &segment[..SEGMENT_HEADER + opening]);
    let mut bench = bench.restart();
    bench.step().unwrap();
    assert_eq!(reasons(&bench), ["started", "started", "trail_missing"]);
}

/// The key and the newest segment went from under a running gateway, and nothing was left that it had opened.
#[test]
fn a_key_that_is_put_back_is_marked_until_a_segment_of_it_stands() {
    for at in 0.. {
        let bench = lost();
        let before = end(&load(&bench.disk, 2));
        let mut bench = bench.restart();
        bench.own(3);
        bench.step().unwrap();
        for gone in ["signing.key", "0000000003.audit"] {
            bench.disk.remove(&dir().join(gone)).unwrap();
        }
        bench.disk.sync_dir(&dir()).unwrap();
        bench.disk.plan(at, Fault::PowerCut);
        let _ = bench.step();
        let met = bench.disk.fired();
        bench.disk.next_process();
        let mut bench = Bench::on(bench.disk, bench.clock);
        bench.writer.open().unwrap();
        let head = bench.writer.head_number();
        assert!(follows(&bench, head).sequence >= before.sequence, "{at}: disowned");
        if !met {
            assert!(at > 5, "{at}");
            break;
        }
    }
}

/// A mark that stays does not make a start go on behind what it has not signed.
#[test]
fn a_mark_beside_a_key_that_has_opened_segments_means_nothing() {
    let mut bench = Bench::new();
    bench.own(1);
    bench.step().unwrap();
    let before = end(&load(&bench.disk, 1));
    super::mended::put(&bench.disk, &dir().join("signing.new"), "");
    let foreign = load(&lost().disk, 2);
    super::foreign::put(&bench, 2, &foreign);
    let mut bench = bench.restart();
    bench.step().unwrap();
    assert_eq!((follows(&bench, 3), reasons(&bench)), (before, vec!["started".to_owned()]));
}

/// A start in this directory, which has no more time than to open the trail.
fn begin(store: &Path) {
    let clock = Clock::System;
    let chain = Arc::new(Chain::new(clock.clone()));
    Writer::new(chain, Arc::new(OsDisk), store, clock, options()).open().unwrap();
}

/// A directory that is called like what was cut off kept the trail from being opened.
#[test]
fn what_is_called_like_a_copy_and_is_no_file_keeps_no_trail_shut() {
    let store = tempfile::tempdir().unwrap();
    begin(store.path());
    let audit = store.path().join("audit");
    for number in 1..4 {
        let segment = bytes::path(&audit, number);
        let mut file = std::fs::OpenOptions::new().append(true).open(segment).unwrap();
        std::io::Write::write_all(&mut file, b"half a record").unwrap();
        let copy = audit.join(format!("{number:010}.torn"));
        match number {
            1 => std::fs::create_dir(&copy).unwrap(),
            2 => std::os::unix::fs::symlink(&copy, &copy).unwrap(),
            _ => std::os::unix::fs::symlink("/nonexistent", &copy).unwrap(),
        }
        begin(store.path());
        let kept = std::fs::read(audit.join(format!("{number:010}.torn.1"))).unwrap();
        assert_eq!(kept, b"half a record", "{number}");
    }
}

/// One bit had turned in the first segment of a new key, or in one before it, and all that the older key had signed
/// was listed no more.
#[test]
fn a_bit_that_has_turned_hides_no_older_key_s_records() {
    let bench = lost();
    let mut bench = bench.restart();
    bench.own(3);
    bench.step().unwrap();
    bench.stop();
    let bench = bench.restart();
    assert_eq!(bench.numbers(), [1, 2, 3]);
    let opening = split(&load(&bench.disk, 3))[0].len();
    for at in (0..SEGMENT_HEADER + opening).step_by(13) {
        let before = load(&bench.disk, 3);
        bench.disk.corrupt(&bytes::name(3), |segment| segment[at] ^= 4);
        assert_eq!(bench.numbers(), [1, 2, 3], "{at}");
        set(&bench.disk, 3, &before);
    }
    let before = load(&bench.disk, 2);
    for at in (SEGMENT_HEADER..before.len()).step_by(13) {
        bench.disk.corrupt(&bytes::name(2), |segment| segment[at] ^= 4);
        let numbers = bench.numbers();
        assert!(numbers == [1, 2, 3] || numbers == [1, 3], "{at}: {numbers:?}");
        set(&bench.disk, 2, &before);
    }
    // More than a bit: what is behind it is what is signed all the same.
    bench.disk.corrupt(&bytes::name(3), |segment| segment[..SEGMENT_HEADER].fill(0));
    assert_eq!(bench.numbers(), [1, 2, 3]);
    bench.disk.corrupt(&bytes::name(2), |segment| segment[SEGMENT_HEADER + 90..][..40].fill(0));
    assert_eq!(bench.numbers(), [2, 3]);
    // Nothing is believed that does not fit.
    let mut position = end(&load(&bench.disk, 1));
    let mut forged = load(&bench.disk, 1);
    position.push(Kind::Record, br#"{"count":1,"details":{"n":77}}"#, &mut forged);
    set(&bench.disk, 1, &forged);
    assert_eq!(bench.numbers(), [2, 3]);
}

/// Whoever put an empty `signing.new` there had a trail that was removed go without a word, and a start go on behind
/// somebody else's.
#[test]
fn only_the_key_itself_can_say_that_it_is_new() {
    let other = Bench::new().key();
    for claim in [String::new(), "ab".repeat(64), other.to_string()] {
        let mut bench = Bench::new();
        bench.own(1);
        bench.step().unwrap();
        bench.stop();
        bench.disk.remove(&bytes::path(&dir(), 1)).unwrap();
        let mut marker = bench.disk.create(&dir().join("signing.new")).unwrap();
        marker.append(claim.as_bytes()).unwrap();
        bench.disk.sync_dir(&dir()).unwrap();
        bench = bench.restart();
        bench.step().unwrap();
        assert_eq!(reasons(&bench), ["trail_missing"], "{claim}");
    }
}

/// A first start that was killed in its first second had taken events by then, and the next one missed a trail.
#[test]
fn what_a_first_start_has_taken_in_before_it_was_cut_off_misses_no_trail() {
    let bench = Bench::new();
    for number in 1..3 {
        let segment = store().join(format!("journal/000000000{number}.journal"));
        super::mended::put(&bench.disk, &segment, "");
    }
    assert!(bench.disk.names().contains(&"signing.new".to_owned()));
    let mut bench = Bench::on(bench.disk, bench.clock).restart();
    bench.step().unwrap();
    assert_eq!(reasons(&bench), [""; 0]);
    bench.own(1);
    bench.step().unwrap();
    assert!(!bench.disk.names().contains(&"signing.new".to_owned()));
}
