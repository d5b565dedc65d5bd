//! Clocks that are ahead, behind, or set: what is listed all the same, and what goes when.

use super::going::of_five_lives;
use super::mended::put;
use super::*;
use crate::audit::chain::bytes::Frame;

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);

/// What the last checkpoint of segment `number` says, without these words, and linked anew: nobody needs a key for that.
fn without(disk: &SimDisk, number: u32, names: [&str; 2]) {
    let segment = load(disk, number);
    let frames: Vec<Frame<'_>> = bytes::frames(&segment).collect();
    let [.., before, last] = &frames[..] else { panic!("two frames") };
    let mut said: serde_json::Value = serde_json::from_slice(last.body).unwrap();
    for name in names {
        said.as_object_mut().unwrap().remove(name);
    }
    let (mut position, mut edited) = (before.position(), segment[..last.offset].to_vec());
    position.push(Kind::Checkpoint, said.to_string().as_bytes(), &mut edited);
    set(disk, number, &edited);
}

/// What was believed stood beside what was signed: without it a clock that was years ahead was believed, and the oldest
/// segments went, in a trail that was sound.
#[test]
fn what_is_believed_of_the_clock_nobody_can_take_away() {
    let mut bench = of_five_lives();
    bench.step().unwrap();
    bench.stop();
    bench.clock.step_to(START.after(7 * 365 * DAY));
    let mut bench = bench.restart();
    bench.own(5);
    bench.step().unwrap();
    bench.stop();
    without(&bench.disk, 6, ["steady", "believed"]);
    let report = bench.verify(&[]);
    let mut bench = bench.restart();
    bench.step().unwrap();
    assert_eq!(bench.numbers()[..5], [0, 1, 2, 3, 4]);
    assert!(!report.sound, "{report:?}");
}

/// Checkpoints of before that was signed are as good as they were, and no clock is believed beyond them.
#[test]
fn checkpoints_that_do_not_say_what_is_believed_stay_good() {
    let mut bench = of_five_lives();
    bench.step().unwrap();
    bench.stop();
    let segment = load(&bench.disk, 5);
    let opening = opening::Opening::of(&segment, 5, &bench.key()).unwrap();
    let mut old = segment;
    let mut position = bytes::frames(&old).last().unwrap().position();
    let keys = bench.writer.keys().unwrap();
    let at = START.after(HOUR);
    let noted = checkpoint::Noted { stop: true, ..checkpoint::Noted::default() };
    let signed = Checkpoint::sign(&keys.signer, opening.trail, position, at, noted);
    assert_eq!((signed.believed, signed.latest), (0, 0));
    position.push(Kind::Checkpoint, &serde_json::to_vec(&signed).unwrap(), &mut old);
    set(&bench.disk, 5, &old);
    let key = bench.key();
    let resume = resume::find(&bench.disk, &dir(), &key, (5, 0)).unwrap();
    assert_eq!((resume.newest, resume.capped), (Some(at), true));
    let report = bench.verify(std::slice::from_ref(&signed));
    assert!(report.sound && report.vouched.is_some(), "{report:?}");
    for other in
        [Checkpoint { believed: 9, ..signed.clone() }, Checkpoint { latest: 9, ..signed.clone() }]
    {
        assert!(!other.is_signed_by(&key));
    }
}

/// The wall clock and the other one differed by a millisecond, as they do, and that counted as the one time that a
/// clock is believed to be ahead: no pause of the gateway's counted any more.
#[test]
fn a_clock_that_is_set_by_a_little_is_believed_after_a_pause() {
    let mut bench = Bench::new();
    bench.own(0);
    bench.step().unwrap();
    bench.clock.step_to(bench.clock.now().after(Duration::from_millis(1)));
    for n in 1..4 {
        bench.stop();
        bench.clock.step_to(bench.clock.now().after(20 * DAY));
        bench = bench.restart();
        bench.writer.options.retention.keep = 30 * DAY;
        bench.own(n);
        bench.step().unwrap();
    }
    assert_eq!(bench.numbers(), [1, 2, 3]);
}

fn found(bench: &Bench, since: UnixMillis) -> [Vec<u64>; 3] {
    let (reader, filter) = (bench.reader(), Filter { since: Some(since), ..Filter::default() });
    let of = |items: Vec<Listed>| -> Vec<u64> {
        items.iter().filter_map(|item| item.record.details.as_ref()?["n"].as_u64()).collect()
    };
    let mut newest = of(reader.newest(&filter, None, 99).unwrap().items);
    newest.reverse();
    let mut each = Vec::new();
    reader
        .each(&filter, |listed| {
            each.push(listed);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    [newest, of(reader.oldest(&filter, None, 99).unwrap().items), of(each)]
}

/// One start with a clock that was behind hid all that was recorded before it on that day, for good.
#[test]
fn records_before_a_start_with_a_clock_that_was_behind_are_found_by_their_time() {
    for stops in [true, false] {
        let mut bench = Bench::new();
        bench.own(0);
        bench.step().unwrap();
        for n in 0..2 {
            if stops {
                bench.stop();
            }
            bench.clock.step_to(START.before(9_000 * DAY));
            bench = bench.restart();
            bench.own(100 + n);
            bench.step().unwrap();
            bench.clock.step_to(START.after(HOUR));
            bench.own(1 + n);
            bench.step().unwrap();
        }
        bench.stop();
        let bench = bench.restart();
        for found in found(&bench, START) {
            assert_eq!(found, [0, 1, 2]);
        }
        assert!(found(&bench, START.after(DAY)).iter().all(Vec::is_empty));
    }
}

/// An act is done by a command with its own clock, whatever the gateway's says when it is taken in.
#[test]
fn acts_are_found_by_the_time_at_which_they_were_done() {
    let bench = Bench::new();
    put(&bench.disk, &dir().join("acts.jsonl"), &super::mended::line(7));
    bench.clock.step_to(START.before(9_000 * DAY));
    let mut bench = bench.restart();
    bench.step().unwrap();
    bench.stop();
    let bench = bench.restart();
    for found in found(&bench, START) {
        assert_eq!(found, [7]);
    }
}

/// From such a start on nothing went for its age any more, whatever the clock said later.
#[test]
fn segments_go_for_their_age_after_a_start_with_a_clock_that_was_behind() {
    let mut bench = Bench::new();
    bench.own(0);
    bench.step().unwrap();
    bench.stop();
    bench.clock.step_to(START.before(9_000 * DAY));
    bench = bench.restart();
    bench.step().unwrap();
    bench.clock.step_to(START.after(2 * DAY));
    bench.own(1);
    bench.step().unwrap();
    bench.clock.advance(HOUR + MINUTE);
    bench.step().unwrap();
    assert_eq!(bench.numbers(), [0, 1], "none is a year old");
    for _ in 0..30 {
        bench.stop();
        bench.clock.step_to(bench.clock.now().after(15 * DAY));
        bench = bench.restart();
        bench.step().unwrap();
    }
    assert_eq!(bench.numbers(), [0; 0]);
}
