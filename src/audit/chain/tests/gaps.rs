//! Segments that a start does not find, and those that it does not miss.

use super::going::of_five_lives;
use super::mended::put;
use super::*;

/// What starts have said is missing, oldest first.
fn told(bench: &Bench) -> Vec<serde_json::Value> {
    let mut told = Vec::new();
    let each = |listed: Listed| {
        if listed.record.reason == "trail_missing" {
            told.extend(listed.record.details.map(|details| details["segments"].clone()));
        }
        std::ops::ControlFlow::Continue(())
    };
    bench.reader().each(&Filter::default(), each).unwrap();
    told
}

fn remove(bench: &Bench, number: u32) {
    bench.disk.remove(&bytes::path(&dir(), number)).unwrap();
}

/// A start that writes something down and is stopped.
fn life(bench: Bench) -> Bench {
    let mut bench = bench.restart();
    bench.step().unwrap();
    bench.stop();
    bench
}

/// Whichever was taken away: the log said nothing, and the trail had no record of it.
#[test]
fn segments_that_are_gone_are_told_by_the_next_start_and_once() {
    for (gone, named) in [
        (vec![1], json!(["1"])),
        (vec![2], json!(["2"])),
        (vec![4], json!(["4"])),
        (vec![1, 2, 4], json!(["1-2", "4"])),
    ] {
        let mut bench = of_five_lives();
        bench.step().unwrap();
        bench.stop();
        gone.iter().for_each(|number| remove(&bench, *number));
        let bench = life(life(bench));
        assert_eq!(told(&bench), [named], "{gone:?}");
        assert!(!bench.verify(&[]).sound);
    }
}

#[test]
fn a_gap_that_has_become_wider_is_told_again() {
    let mut bench = of_five_lives();
    bench.step().unwrap();
    bench.stop();
    remove(&bench, 2);
    let bench = life(bench);
    remove(&bench, 3);
    let bench = life(life(bench));
    assert_eq!(told(&bench), [json!(["2"]), json!(["2-3"])]);
}

/// The gateway has told of it as it happened.
#[test]
fn the_segment_that_was_taken_from_a_running_gateway_is_not_told_again() {
    let mut bench = of_five_lives();
    bench.step().unwrap();
    remove(&bench, 5);
    bench.own(6);
    while bench.step().is_err() {}
    bench.stop();
    let bench = life(bench);
    assert_eq!(told(&bench), [json!(null)]);
}

#[test]
fn what_went_by_its_age_is_not_missed_and_what_was_taken_behind_it_is() {
    let mut bench = Bench::new();
    for n in 0..5 {
        bench.own(n);
        bench.step().unwrap();
        bench.clock.advance(Duration::from_secs(86_400 * 100));
        bench.stop();
        bench = bench.restart();
    }
    bench.clock.advance(Duration::from_secs(3_700));
    bench.step().unwrap();
    bench.stop();
    let mut left = bench.disk.names();
    left.sort();
    assert!(!left.contains(&bytes::name(1)) && left.contains(&bytes::name(2)), "{left:?}");
    let bench = life(life(bench));
    assert_eq!(told(&bench), [json!(null); 0]);
    remove(&bench, 2);
    let bench = life(life(bench));
    assert_eq!(told(&bench), [json!(["2"])]);
    // With the record of what went nobody knows any more that it did.
    remove(&bench, 6);
    let bench = life(life(bench));
    assert_eq!(told(&bench), [json!(["2"]), json!(["1-2", "6"])]);
}

/// A number that some other file had when the trail came to it.
#[test]
fn a_number_that_the_trail_has_left_out_is_not_missed() {
    let bench = of_five_lives();
    put(&bench.disk, &bytes::path(&dir(), 6), &"none of the trail's".repeat(1_000));
    let bench = life(bench);
    assert_eq!(bench.writer.head_number(), 7);
    remove(&bench, 6);
    let bench = life(bench);
    assert_eq!(told(&bench), [json!(null); 0]);
    assert!(bench.verify(&[]).sound);
}
