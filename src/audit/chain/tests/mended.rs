//! What somebody hostile, or an accident, once did to the writer.

use super::*;
use crate::store::tests::sim_disk::Fault;

const DAY: Duration = Duration::from_secs(86_400);

fn acts() -> PathBuf {
    dir().join("acts.jsonl")
}

/// A line as commands write it.
fn line(n: u64) -> String {
    let line =
        json!({ "time": START.to_string(), "id": "a", "reason": "exported", "uid": 7, "n": n });
    format!("{line}\n")
}

fn put(disk: &SimDisk, path: &std::path::Path, text: &str) {
    if disk.create(path).is_ok() {
        disk.sync_dir(&dir()).unwrap();
    }
    disk.corrupt(path.file_name().unwrap().to_str().unwrap(), |bytes| *bytes = text.into());
}

fn reasons(bench: &Bench) -> Vec<String> {
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

/// Segments of five lives, the last of which runs.
fn of_five_lives() -> Bench {
    let mut bench = Bench::new();
    for n in 0..4 {
        bench.own(n);
        bench.step().unwrap();
        bench.stop();
        bench = bench.restart();
    }
    bench.own(4);
    bench
}

/// The time in the headers, which nobody signs, was set to 1970, and the gateway removed the segments.
#[test]
fn what_a_segment_s_header_says_of_its_age_removes_nothing() {
    let mut bench = of_five_lives();
    for number in 2..=5 {
        let mut segment = load(&bench.disk, number);
        let header = bytes::SegmentHeader::decode(&segment).unwrap();
        let old = bytes::SegmentHeader { created_at: UnixMillis(0), ..header };
        segment[..bytes::SEGMENT_HEADER].copy_from_slice(&old.encode());
        set(&bench.disk, number, &segment);
    }
    bench.step().unwrap();
    assert_eq!(bench.numbers(), [0, 1, 2, 3, 4]);
}

/// The clock of one start was seven years ahead, and all old segments went.
#[test]
fn a_clock_that_is_years_ahead_removes_nothing_until_the_gateway_has_run_so_long() {
    let mut bench = of_five_lives();
    bench.step().unwrap();
    bench.clock.advance(DAY * 7 * 365);
    for _ in 0..3 {
        bench = bench.restart();
        bench.own(5);
        bench.step().unwrap();
        bench.stop();
    }
    assert_eq!(bench.numbers(), [0, 1, 2, 3, 4, 5, 5, 5]);
    // This time it has passed.
    let mut bench = bench.restart();
    bench.clock.advance(DAY * 366);
    bench.step().unwrap();
    assert_eq!(bench.numbers(), [4, 5, 5, 5], "the others were signed by the clock that was ahead");
}

/// Each start believed such a clock thirty days more: a gateway that is started again and again came to believe
/// all of it.
#[test]
fn restarts_do_not_add_up_to_years() {
    let mut bench = of_five_lives();
    bench.step().unwrap();
    bench.clock.advance(DAY * 7 * 365);
    for _ in 0..20 {
        bench = bench.restart();
        bench.own(5);
        bench.step().unwrap();
        bench.stop();
    }
    assert_eq!(bench.numbers()[..5], [0, 1, 2, 3, 4]);
}

/// A hole made an old segment three gigabytes long, and it went with all before it.
#[test]
fn a_segment_that_is_not_what_was_written_stays() {
    let mut bench = of_five_lives();
    bench.disk.corrupt(&bytes::name(2), |bytes| bytes.resize(bytes.len() + 100_000, 0));
    bench.writer.options.retention.max_bytes = 50_000;
    bench.step().unwrap();
    assert_eq!(bench.numbers(), [1, 2, 3, 4], "the first is, and went");
    bench.clock.advance(Duration::from_secs(3_700));
    bench.step().unwrap();
    assert_eq!(bench.numbers(), [1, 2, 3, 4]);
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
    // A first start that was cut off behind its keys misses nothing.
    let bench = Bench::new();
    bench.disk.remove(&bytes::path(&dir(), 1)).unwrap();
    bench.disk.sync_dir(&dir()).unwrap();
    let mut bench = bench.restart();
    bench.step().unwrap();
    assert_eq!(reasons(&bench), [""; 0]);
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
