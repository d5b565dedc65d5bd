//! What stands behind the last checkpoint when a crash comes: the start after it signs it, and that is told.

use super::*;
use crate::audit::chain::bytes::Position;

/// Killed with two records behind the last checkpoint, which is record 4.
fn killed() -> Bench {
    let mut bench = Bench::new();
    bench.own(1);
    bench.step().unwrap();
    bench.clock.advance(MINUTE);
    bench.own(2);
    bench.step().unwrap();
    for n in [3, 4] {
        bench.own(n);
        bench.step().unwrap();
    }
    bench
}

fn stopped(bench: Bench) -> Report {
    let mut bench = bench.restart();
    bench.stop();
    bench.verify(&[])
}

/// Puts a record behind the others, as anybody can who may write there.
fn put(bench: &Bench, time: UnixMillis) {
    let mut segment = load(&bench.disk, 1);
    let mut position: Position = bytes::frames(&segment).last().unwrap().position();
    let record = json!({ "time": time.to_string(), "reason": "released", "count": 1 });
    position.push(Kind::Record, record.to_string().as_bytes(), &mut segment);
    set(&bench.disk, 1, &segment);
}

#[test]
fn what_only_a_start_vouches_for_is_told_with_its_times() {
    let bench = killed();
    bench.clock.advance(MINUTE * 60);
    let report = stopped(bench);
    assert!(report.sound && report.taken_over == 1, "{report:?}");
    let range = &report.taken_over_ranges[0];
    assert_eq!((range.first_sequence, range.last_sequence, range.records), (5, 6, 2), "{report:?}");
    assert_eq!((range.segment, range.unusual), (2, false));
    let time =
        |after: u64| Some(START.after(MINUTE + SECOND * u32::try_from(after).unwrap()).to_string());
    assert_eq!((range.first_time.clone(), range.last_time.clone()), (time(2), time(3)));
}

/// Records that were put behind the last checkpoint between a crash and a start are signed by it: nothing told
/// that they were other than those of any crash.
#[test]
fn records_that_no_running_gateway_leaves_behind_a_checkpoint_are_unusual() {
    let signed = START.after(MINUTE);
    for (time, unusual) in [
        (signed.before(Duration::from_secs(30)), false),
        (signed.before(MINUTE * 3), true),
        (signed.after(MINUTE), false),
        (signed.after(MINUTE * 5), true),
    ] {
        let bench = killed();
        put(&bench, time);
        bench.clock.advance(MINUTE * 10);
        let report = stopped(bench);
        assert!(report.sound, "{report:?}");
        assert_eq!(report.taken_over_ranges[0].unusual, unusual, "{time}: {report:?}");
    }
    // One from after the start that has signed it.
    let bench = killed();
    put(&bench, signed.after(MINUTE * 2));
    assert!(stopped(bench).taken_over_ranges[0].unusual);
}

/// What an operator did while no gateway ran has the time at which it was done.
#[test]
fn an_act_is_as_old_as_it_is() {
    let mut bench = killed();
    let line = json!({ "time": START.before(MINUTE * 600).to_string(), "id": "a", "reason": "exported", "uid": 7 });
    bench
        .disk
        .create(&dir().join("acts.jsonl"))
        .unwrap()
        .append(format!("{line}\n").as_bytes())
        .unwrap();
    bench.step().unwrap();
    let report = stopped(bench);
    let range = &report.taken_over_ranges[0];
    assert_eq!((range.records, range.unusual), (3, false), "{report:?}");
}

/// A segment that was full ended with records that only the next one's opening signed, as after a crash.
#[test]
fn a_full_segment_ends_with_a_checkpoint() {
    let mut bench = Bench::new();
    bench.writer.options.retention.keep = Duration::from_secs(60 * 90);
    (0..30).for_each(|n| bench.own(n));
    bench.step().unwrap();
    bench.clock.advance(MINUTE);
    bench.step().unwrap();
    bench.clock.advance(Duration::from_secs(30));
    bench.own(30);
    bench.step().unwrap();
    assert_eq!(bench.writer.head_number(), 2);
    bench.stop();
    let report = bench.verify(&[]);
    assert!(report.sound && report.taken_over == 0, "{report:?}");
}

#[test]
fn a_kept_checkpoint_of_another_key_is_told_with_both_keys() {
    let mut bench = killed();
    bench.stop();
    let other = killed();
    let kept = other.reader().checkpoint().unwrap().unwrap();
    let report = bench.verify(&[kept]);
    let found = &report.items[0];
    assert!(!report.sound && found.kind == "other_key", "{report:?}");
    for id in [bench.key().id(), other.key().id()] {
        assert!(found.message.contains(&id), "{report:?}");
    }
    let said = found.to_string();
    assert!(said.starts_with("other key: record ") && !said.contains("offset"), "{said}");
    // One that was changed where it was kept.
    let kept = bench.reader().checkpoint().unwrap().unwrap();
    let report = bench.verify(&[Checkpoint { acts: 9, ..kept }]);
    assert_eq!((report.items[0].kind, report.items[0].segment), ("edited", 0), "{report:?}");
}

/// Records were put in place of those that the start had found, with all links made anew: it was said to have signed
/// these.
#[test]
fn what_the_start_has_not_signed_it_does_not_vouch_for() {
    let mut bench = killed().restart();
    bench.stop();
    assert_eq!(bench.verify(&[]).taken_over, 1);
    let segment = load(&bench.disk, 1);
    let frames: Vec<_> = bytes::frames(&segment).collect();
    let mut position = frames[3].position();
    let mut made = segment[..frames[3].end()].to_vec();
    for _ in 5..=6 {
        position.push(Kind::Record, br#"{"reason":"made up"}"#, &mut made);
    }
    set(&bench.disk, 1, &made);
    let report = bench.verify(&[]);
    assert_eq!((report.sound, report.items[0].kind), (false, "edited"), "{report:?}");
    assert_eq!(report.taken_over, 0, "{report:?}");
}
