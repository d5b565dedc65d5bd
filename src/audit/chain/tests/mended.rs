//! What somebody hostile, or an accident, once did to the writer.

use super::going::of_five_lives;
use super::*;
use crate::audit::chain::bytes::load_any;
use crate::store::tests::sim_disk::Fault;

fn acts() -> PathBuf {
    dir().join("acts.jsonl")
}

/// A line as commands write it.
pub(super) fn line(n: u64) -> String {
    let line =
        json!({ "time": START.to_string(), "id": "a", "reason": "exported", "uid": 7, "n": n });
    format!("{line}\n")
}

pub(super) fn put(disk: &SimDisk, path: &std::path::Path, text: &str) {
    if disk.create(path).is_ok() {
        disk.sync_dir(&dir()).unwrap();
    }
    disk.corrupt(path.file_name().unwrap().to_str().unwrap(), |bytes| *bytes = text.into());
}

pub(super) fn reasons(bench: &Bench) -> Vec<String> {
    let all = bench.reader().newest(&Filter::default(), None, 99).unwrap().items;
    all.into_iter().rev().map(|listed| listed.record.reason).collect()
}

/// A reload of a thousand sources made a record that no reader takes, and a crash took all behind it.
#[test]
fn a_record_that_is_too_long_is_written_without_its_details() {
    let mut bench = Bench::new();
    let details = json!({ "changed": vec!["sources.lab.max_body"; 30_000] });
    bench.chain.own(Own { reason: "config_reloaded", who: "uid 7".into(), details });
    bench.own(1);
    bench.step().unwrap();
    let mut bench = bench.restart();
    bench.stop();
    assert_eq!(reasons(&bench), ["config_reloaded", "started"]);
    let all = bench.reader().newest(&Filter::default(), None, 9).unwrap().items;
    let stub = &all[1].record;
    assert_eq!((stub.who.as_deref(), stub.details.as_ref()), (Some("uid 7"), None));
    assert!(stub.detail.as_ref().unwrap().contains("too long") && stub.time == START.to_string());
    let report = bench.verify(&[]);
    assert!(report.sound, "{report:?}");
}

/// Five acts were taken in at once, the write was torn behind the first, and the others never came into
/// the chain: each had said that all of them were there.
#[test]
fn acts_behind_a_torn_write_are_taken_in_again() {
    let mut bench = Bench::new();
    put(&bench.disk, &acts(), &(0..5).map(line).collect::<String>());
    bench.step().unwrap();
    assert_eq!(bench.numbers(), [0, 1, 2, 3, 4]);
    let segment = load(&bench.disk, 1);
    let first = split(&segment)[..2].iter().map(Vec::len).sum::<usize>();
    set(&bench.disk, 1, &segment[..bytes::SEGMENT_HEADER + first + 30]);
    let mut bench = bench.restart();
    bench.step().unwrap();
    assert_eq!(bench.numbers(), [0, 1, 2, 3, 4]);
    bench.stop();
    assert!(bench.verify(&[]).sound);
}

/// Who looked for what had come from an address was not told what had been done from it.
#[test]
fn an_act_is_found_by_who_asked_for_it() {
    let mut bench = Bench::new();
    let line = |peer: &str| {
        let time = START.to_string();
        let act = json!({ "time": time, "id": "a", "reason": "replayed", "peer": peer });
        format!("{act}\n")
    };
    put(&bench.disk, &acts(), &[line("admin.sock"), line("192.0.2.9")].concat());
    bench.step().unwrap();
    let of = |client: &str| {
        let filter = Filter { client: Some(client.to_owned()), ..Filter::default() };
        bench.reader().newest(&filter, None, 9).unwrap().items.len()
    };
    assert_eq!([of("admin.sock"), of("192.0.2.9"), of("192.0.2.8")], [1, 1, 0]);
}

/// An editor took the last line away, and all acts were chained a second time.
#[test]
fn an_acts_file_that_has_become_shorter_is_told_and_no_act_is_taken_in_twice() {
    let mut bench = Bench::new();
    put(&bench.disk, &acts(), &(0..5).map(line).collect::<String>());
    bench.step().unwrap();
    put(&bench.disk, &acts(), &(0..4).map(line).collect::<String>());
    bench.step().unwrap();
    assert_eq!(bench.numbers(), [0, 1, 2, 3, 4]);
    assert_eq!(reasons(&bench).last().unwrap(), "acts_replaced");
    let mut bench = bench.restart();
    bench.disk.corrupt("acts.jsonl", |bytes| bytes.extend_from_slice(line(9).as_bytes()));
    bench.step().unwrap();
    bench.step().unwrap();
    assert_eq!(bench.numbers(), [0, 1, 2, 3, 4, 9]);
}

/// The file was rotated while the gateway was stopped; the new one was longer, and its first acts were
/// never taken in.
#[test]
fn an_acts_file_that_is_another_one_is_taken_in_from_its_start() {
    let mut bench = Bench::new();
    put(&bench.disk, &acts(), &(0..5).map(line).collect::<String>());
    bench.step().unwrap();
    bench.stop();
    let mut bench = bench.restart();
    put(&bench.disk, &acts(), &(100..112).map(line).collect::<String>());
    bench.step().unwrap();
    assert_eq!(bench.numbers(), (0..5).chain(100..112).collect::<Vec<_>>());
    assert!(reasons(&bench).contains(&"acts_replaced".to_owned()));
}

/// An unreadable acts.jsonl kept checkpoints, syncs and new segments from being made, and events out.
#[test]
fn acts_that_cannot_be_read_keep_nothing_else_from_being_written() {
    let mut bench = Bench::new();
    put(&bench.disk, &acts(), &line(0));
    bench.disk.set_bad(Some(("acts.jsonl", 0..9)));
    bench.own(1);
    bench.clock.advance(MINUTE);
    bench.step().unwrap();
    assert_eq!((bench.numbers(), bench.verify(&[]).checkpoints), (vec![1], 2));
    bench.disk.set_bad(None);
    bench.step().unwrap();
    assert_eq!(bench.numbers(), [1, 0]);
}

/// The files were removed under a running gateway; it wrote on into nothing, and nobody noticed.
#[test]
fn a_segment_that_is_taken_away_is_told_and_another_one_begun_behind_it() {
    let mut bench = Bench::new();
    bench.own(1);
    bench.step().unwrap();
    for name in bench.disk.names() {
        bench.disk.remove(&dir().join(name)).unwrap();
    }
    bench.disk.sync_dir(&dir()).unwrap();
    let (what, _) = bench.step().unwrap_err();
    assert_eq!(what, "the segment that was written to");
    bench.own(2);
    bench.step().unwrap();
    assert_eq!(
        (reasons(&bench), bench.numbers()),
        (vec!["trail_missing".into(), "started".into()], vec![2])
    );
    let key = bench.key();
    let mut bench = bench.restart();
    assert_eq!(bench.key(), key, "it is put back");
    bench.stop();
    let report = bench.verify(&[]);
    assert!(!report.sound && report.first.unwrap() > 2, "what went is missed: {report:?}");
}

/// It was cut in place, or something was put behind it, and the gateway wrote on.
#[test]
fn a_segment_that_is_cut_or_grows_by_another_s_hand_is_told() {
    type Change = fn(&mut Vec<u8>);
    let changes: [Change; 3] = [
        |bytes| bytes.truncate(bytes.len() - 9),
        Vec::clear,
        |bytes| bytes.extend_from_slice(b"more"),
    ];
    for change in changes {
        let mut bench = Bench::new();
        bench.own(1);
        bench.step().unwrap();
        bench.disk.corrupt(&bytes::name(1), change);
        let (what, _) = bench.step().unwrap_err();
        assert_eq!(what, "the segment that was written to");
        bench.own(2);
        bench.step().unwrap();
        bench.step().unwrap();
        assert_eq!(bench.writer.head_number(), 2);
        assert!(reasons(&bench).contains(&"trail_missing".to_owned()));
        assert_eq!(bench.numbers().last(), Some(&2));
        bench.stop();
        assert!(!bench.verify(&[]).sound);
    }
}

/// The same while the disk is full: what waits is written behind the new beginning.
#[test]
fn what_waits_while_a_segment_is_taken_away_is_not_lost() {
    let mut bench = Bench::new();
    bench.own(1);
    bench.step().unwrap();
    bench.disk.plan(0, Fault::FillsUp);
    bench.own(2);
    bench.step().unwrap_err();
    bench.disk.remove(&bytes::path(&dir(), 1)).unwrap();
    bench.own(3);
    bench.step().unwrap_err();
    bench.disk.make_room();
    bench.step().unwrap_err();
    bench.own(4);
    bench.step().unwrap();
    assert_eq!(bench.numbers(), [2, 3, 4]);
}

/// Segments, or the key, were gone at a start, and it began another trail without a word.
#[test]
fn a_start_that_misses_a_part_of_the_trail_records_it() {
    for gone in ["0000000001.audit", "signing.key"] {
        let mut bench = Bench::new();
        bench.own(1);
        bench.step().unwrap();
        bench.stop();
        bench.disk.remove(&dir().join(gone)).unwrap();
        bench.disk.sync_dir(&dir()).unwrap();
        for number in [2, 3] {
            put(&bench.disk, &store().join(format!("journal/000000000{number}.journal")), "");
        }
        let mut bench = bench.restart();
        bench.step().unwrap();
        assert_eq!(reasons(&bench).last().unwrap(), "trail_missing", "{gone}");
    }
    let disk = SimDisk::default();
    put(&disk, &store().join("journal/0000000002.journal"), "");
    put(&disk, &store().join("journal/0000000003.journal"), "");
    let mut bench = Bench::on(disk, Clock::manual(START));
    bench.writer.open().unwrap();
    bench.step().unwrap();
    assert_eq!(reasons(&bench), ["trail_missing"]);
    // A first start that was cut off behind its keys misses nothing; one that was not does, whatever the store has.
    for (cut_off, told) in [(true, &[][..]), (false, &["trail_missing"][..])] {
        let mut bench = Bench::new();
        let mut claim = String::new();
        bench.disk.corrupt("signing.new", |bytes| {
            claim = String::from_utf8(bytes.clone()).unwrap();
        });
        bench.own(1);
        bench.step().unwrap();
        bench.disk.remove(&bytes::path(&dir(), 1)).unwrap();
        if cut_off {
            put(&bench.disk, &dir().join("signing.new"), &claim);
        }
        bench.disk.sync_dir(&dir()).unwrap();
        let mut bench = bench.restart();
        bench.step().unwrap();
        assert_eq!(reasons(&bench), told);
    }
}

/// The disk failed once while a start looked for its trail, and the second try missed nothing, or began another
/// trail.
#[test]
fn what_a_start_misses_is_told_whatever_fails_at_first() {
    let mut failed = 0;
    for at in 0..60 {
        let mut bench = Bench::new();
        bench.own(1);
        bench.step().unwrap();
        bench.stop();
        bench.disk.remove(&dir().join("signing.key")).unwrap();
        bench.disk.sync_dir(&dir()).unwrap();
        let mut bench = Bench::on(bench.disk, bench.clock);
        bench.disk.plan(at, Fault::Fails(std::io::ErrorKind::Other));
        for _ in 0..2 {
            if bench.writer.open().is_ok() {
                break;
            }
            failed += 1;
        }
        // It may fail here as well, and is tried again.
        (0..3).for_each(|_| drop(bench.step()));
        bench.disk.plan(usize::MAX, Fault::PowerCut);
        let told = reasons(&bench);
        assert_eq!(told.first().unwrap(), "started", "{at}: {told:?}");
        assert!(told.contains(&"trail_missing".to_owned()), "{at}: {told:?}");
        let follows = load(&bench.disk, 2);
        let follows = bytes::SegmentHeader::decode(&follows).unwrap().follows;
        assert!(follows.sequence.0 > 1, "{at}");
    }
    assert!(failed > 5, "{failed}");
}

/// A file with the last number there is kept the trail shut.
#[test]
fn a_file_with_a_number_near_the_end_is_no_segment() {
    let bench = Bench::new();
    put(&bench.disk, &dir().join("4294967295.audit"), "");
    let mut bench = bench.restart();
    bench.own(1);
    bench.step().unwrap();
    assert_eq!((bench.writer.head_number(), bench.numbers()), (2, vec![1]));
}

/// The archive could not be written to, and events were refused for it.
#[test]
fn an_archive_that_fails_keeps_nothing_from_being_written() {
    let mut bench = of_five_lives();
    bench.writer.options.retention.max_bytes = 1;
    bench.writer.options.retention.archive = Some(PathBuf::from("/dev/null/archive"));
    bench.step().unwrap();
    assert_eq!(bench.numbers(), [0, 1, 2, 3, 4]);
}

/// A disk that answers nothing at all was no trouble that anybody knew of.
#[test]
fn a_writer_that_hangs_blocks_where_the_trail_is_required() {
    let (disk, clock) = (SimDisk::default(), Clock::manual(START));
    let chain = Arc::new(Chain::new(clock.clone()));
    let required = Options { required: true, ..options() };
    let _running = chain.start(Arc::new(disk.clone()), &store(), required).unwrap();
    assert!(chain.settle(MINUTE) && !chain.blocks());
    let held = disk.hold();
    chain.own(Own { reason: "started", who: "uid 7".into(), details: json!({}) });
    let until = std::time::Instant::now() + MINUTE;
    while !chain.blocks() {
        assert!(std::time::Instant::now() < until);
        // The writer may not have come to it yet.
        clock.advance(SECOND);
        chain.settle(Duration::from_millis(10));
    }
    assert!(!chain.status().writable);
    drop(held);
    assert!(chain.settle(MINUTE));
    assert!(!chain.blocks() && chain.stop());
}

/// A full disk had cut a line off in the file of checkpoints, and the next one was glued to it.
#[test]
fn a_checkpoint_that_was_cut_off_does_not_take_the_next_one_along() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kept.jsonl");
    std::fs::write(&file, "{\"torn").unwrap();
    let mut bench = Bench::on(SimDisk::default(), Clock::manual(START));
    bench.writer.options.checkpoints =
        Some(Elsewhere { file: Some(file.clone()), ..Elsewhere::default() });
    bench.writer.open().unwrap();
    bench.own(1);
    bench.step().unwrap();
    bench.stop();
    bench.writer.finish_files(MINUTE);
    let text = std::fs::read_to_string(&file).unwrap();
    let kept: Vec<Checkpoint> =
        text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kept.iter().map(|kept| kept.sequence).collect::<Vec<_>>(), [0, 2]);
    assert!(bench.verify(&kept).sound);
}

/// Where one short file was left of a trail, the start said nothing of all that was gone; and where something
/// had been cut off a segment before, what was cut off it next was kept nowhere.
#[test]
fn a_short_file_in_place_of_a_trail_and_a_second_torn_end_are_told() {
    let mut bench = Bench::new();
    bench.own(1);
    bench.step().unwrap();
    bench.stop();
    bench.disk.remove(&bytes::path(&dir(), 1)).unwrap();
    put(&bench.disk, &bytes::path(&dir(), 1), "");
    for number in [2, 3] {
        put(&bench.disk, &store().join(format!("journal/000000000{number}.journal")), "");
    }
    let mut bench = bench.restart();
    bench.step().unwrap();
    assert_eq!(reasons(&bench), ["trail_missing"]);
    put(&bench.disk, &dir().join("0000000001.torn"), "before");
    bench.disk.corrupt("0000000001.audit", |file| file.extend_from_slice(b"half a record"));
    let bench = bench.restart();
    let kept = bytes::load_any(&bench.disk, &dir().join("0000000001.torn.1"));
    assert_eq!(kept, b"half a record");
}

/// No other segment could be begun for long, and this one was written to beyond what any reader looks at: a start
/// cut off what was there, signed as it was.
#[test]
fn nothing_is_written_where_no_reader_looks() {
    let mut bench = Bench::new();
    bench.own(1);
    bench.step().unwrap();
    bench.writer.fill_segment();
    bench.own(2);
    let (_, error) = bench.step().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
    bench.step().unwrap();
    bench.stop();
    assert_eq!((bench.numbers(), bench.writer.head_number()), (vec![1, 2], 2));
    let report = bench.verify(&[]);
    assert!(report.sound, "{report:#?}");
}

#[test]
fn of_a_segment_that_was_not_looked_at_in_whole_nothing_is_cut_off() {
    let mut bench = Bench::new();
    bench.own(1);
    bench.step().unwrap();
    let len = usize::try_from(bytes::MAX_SEGMENT).unwrap() + 9;
    bench.disk.corrupt(&bytes::name(1), |segment| segment.resize(len, 7));
    let bench = bench.restart();
    assert_eq!(load_any(&bench.disk, &bytes::path(&dir(), 1)).len(), len);
    assert!(!bench.verify(&[]).sound);
}

/// One bit of a short segment's opening was changed, and a start removed the segment with its records, without
/// a copy: the trail was sound again.
#[test]
fn records_behind_a_damaged_opening_stay() {
    let mut bench = Bench::new();
    bench.stop();
    let mut bench = bench.restart();
    bench.own(1);
    bench.step().unwrap();
    let before = load(&bench.disk, 2);
    bench.disk.corrupt(&bytes::name(2), |segment| segment[bytes::SEGMENT_HEADER + 40] ^= 1);
    let bench = bench.restart();
    assert_eq!(load(&bench.disk, 2).len(), before.len());
    assert!(!bench.verify(&[]).sound);
}

/// Half a copy was taken for one, and what was cut off was noted nowhere where the start came no further: it
/// looked like a trail that nobody had touched.
#[test]
fn what_is_cut_off_has_a_copy_and_is_noted_whatever_fails_at_first() {
    const TORN: &[u8] = b"half a frame";
    let mut fired = 0;
    for at in 0..100 {
        let mut bench = Bench::new();
        bench.own(1);
        bench.step().unwrap();
        let whole = load(&bench.disk, 1);
        set(&bench.disk, 1, &[&whole[..], TORN].concat());
        let mut next = Bench::on(bench.disk, bench.clock);
        next.disk.plan(at, Fault::Tears);
        if next.writer.open().is_err() {
            next.writer.open().unwrap();
        }
        if !next.disk.fired() {
            break;
        }
        fired += 1;
        next.stop();
        let report = next.verify(&[]);
        let noted = report.notes.iter().any(|note| note.contains("cut off 12 bytes"));
        assert!(report.sound && noted, "{at}: {report:#?}");
        let copy = load_any(&next.disk, &dir().join("0000000001.torn"));
        assert_eq!(copy, TORN, "{at}");
    }
    assert!(fired > 5, "{fired}");
}
