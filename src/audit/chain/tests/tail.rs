//! Reading on in a trail, as outputs do.

use super::*;
use crate::event::Sequence;

/// What was read: the numbers that `own` was given, and in between which were missing.
#[derive(Debug, PartialEq)]
enum Seen {
    Own(u64),
    Missing(u64, u64),
}

use Seen::{Missing, Own as Given};

fn behind(bench: &Bench, mark: &Mark) -> Tail {
    Tail::behind(&bench.reader(), mark)
}

fn beginning(bench: &Bench) -> Mark {
    Tail::beginning(&bench.reader()).unwrap()
}

fn durable(bench: &Bench) -> u64 {
    bench.chain.durable().load(std::sync::atomic::Ordering::Acquire)
}

/// All that can be read, in pieces of `most` bytes, and how far that leads.
fn all(bench: &Bench, tail: &mut Tail, most: usize) -> (Vec<Seen>, Mark) {
    let mut seen = Vec::new();
    loop {
        let Piece { items, upto } = tail.next(durable(bench), most).unwrap();
        let done = items.is_empty();
        seen.extend(items.into_iter().filter_map(|item| match item {
            Item::Record(listed) => Some(Given(listed.record.details?["n"].as_u64()?)),
            Item::Missing { from, upto } => Some(Missing(from, upto)),
            Item::Checkpoint { .. } => panic!("nobody has asked for them"),
        }));
        if done && upto.sequence >= durable(bench) || seen.len() > 10_000 {
            return (seen, upto);
        }
    }
}

fn given(numbers: std::ops::Range<u64>) -> Vec<Seen> {
    numbers.map(Given).collect()
}

/// Some records, on stable storage.
fn record(bench: &mut Bench, numbers: std::ops::Range<u64>) {
    numbers.for_each(|n| bench.own(n));
    bench.step().unwrap();
    bench.step().unwrap();
}

#[test]
fn all_is_read_once_and_in_order_while_more_comes_and_starts_pass() {
    for most in [1, 300, 1 << 20] {
        let mut bench = Bench::new();
        let mut tail = behind(&bench, &beginning(&bench));
        assert_eq!(all(&bench, &mut tail, most).0, []);
        record(&mut bench, 0..20);
        assert_eq!(all(&bench, &mut tail, most).0, given(0..20));
        let mut bench = bench.restart();
        record(&mut bench, 20..30);
        let (seen, mark) = all(&bench, &mut tail, most);
        assert_eq!(seen, given(20..30));
        let mut bench = bench.restart();
        record(&mut bench, 30..40);
        // From what was kept, by another process.
        let kept: Mark = serde_json::from_str(&serde_json::to_string(&mark).unwrap()).unwrap();
        assert_eq!(Tail::knows(&bench.reader(), &kept).unwrap(), Known::Held);
        assert_eq!(all(&bench, &mut behind(&bench, &kept), most).0, given(30..40));
        assert_eq!(all(&bench, &mut tail, most).0, given(30..40));
        assert_eq!(all(&bench, &mut behind(&bench, &beginning(&bench)), most).0, given(0..40));
    }
}

/// What a power cut takes back must not have been sent: others would get its numbers.
#[test]
fn nothing_is_read_before_it_is_on_stable_storage() {
    let mut bench = Bench::new();
    record(&mut bench, 0..3);
    bench.own(3);
    // Written, and not synced yet.
    let taken = bench.chain.take_now(1000).entries;
    bench.writer.step(taken, false).unwrap();
    assert_eq!(bench.numbers(), [0, 1, 2, 3]);
    let mut tail = behind(&bench, &beginning(&bench));
    assert_eq!(all(&bench, &mut tail, 1 << 20).0, given(0..3));
    record(&mut bench, 4..5);
    assert_eq!(all(&bench, &mut tail, 1 << 20).0, given(3..5));
}

#[test]
fn what_retention_took_before_it_was_read_is_told_with_its_numbers() {
    let mut bench = Bench::new();
    let start = beginning(&bench);
    for n in 0..5 {
        record(&mut bench, n * 10..n * 10 + 10);
        bench = bench.restart();
    }
    bench.writer.options.retention.max_bytes = 6_000;
    bench.clock.advance(Duration::from_secs(3_700));
    bench.step().unwrap();
    bench.step().unwrap();
    let oldest = beginning(&bench);
    assert!(oldest.sequence > 10, "{oldest:?}");
    assert_eq!(Tail::knows(&bench.reader(), &start).unwrap(), Known::Held, "in front of all");
    let (seen, _) = all(&bench, &mut behind(&bench, &start), 100);
    assert_eq!(seen[0], Missing(1, oldest.sequence));
    let left: Vec<Seen> = bench.numbers().into_iter().map(Given).collect();
    assert_eq!(seen[1..], left);
}

#[test]
fn what_is_damaged_is_missing_and_what_is_behind_it_is_read() {
    let mut bench = Bench::new();
    record(&mut bench, 0..9);
    bench.stop();
    let frames = split(&load(&bench.disk, 1));
    let at: usize = bytes::SEGMENT_HEADER + frames[..4].iter().map(Vec::len).sum::<usize>();
    bench.disk.corrupt(&bytes::name(1), |file| file[at + 70] ^= 1);
    let (seen, _) = all(&bench, &mut behind(&bench, &beginning(&bench)), 1 << 20);
    let expected: Vec<Seen> =
        [given(0..3), vec![Missing(5, 5)], given(4..9)].into_iter().flatten().collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_mark_of_another_trail_or_of_what_was_cut_off_is_strange() {
    let mut bench = Bench::new();
    record(&mut bench, 0..9);
    let mark = |n| Tail::mark(&bench.reader(), n).unwrap();
    let (third, last) = (mark(3).unwrap(), mark(10).unwrap());
    assert_eq!(mark(99), None);
    let mut other = Bench::new();
    record(&mut other, 0..9);
    assert_eq!(Tail::knows(&other.reader(), &third).unwrap(), Known::Strange);
    let frames = split(&load(&bench.disk, 1));
    let left: usize = bytes::SEGMENT_HEADER + frames[..6].iter().map(Vec::len).sum::<usize>();
    bench.disk.corrupt(&bytes::name(1), |file| file.truncate(left));
    assert_eq!(Tail::knows(&bench.reader(), &third).unwrap(), Known::Held);
    assert_eq!(Tail::knows(&bench.reader(), &last).unwrap(), Known::Strange);
}

/// A trail of megabytes is read in chunks, of which the end of each cuts a frame in two.
#[test]
fn frames_that_a_chunk_cuts_in_two_are_read_whole() {
    let mut bench = Bench::new();
    let long = "x".repeat(100_000);
    for n in 0..40 {
        let details = json!({ "n": n, "long": long });
        bench.chain.own(Own { reason: "started", who: "uid 7".into(), details });
        bench.step().unwrap();
        bench.step().unwrap();
    }
    let (seen, mark) = all(&bench, &mut behind(&bench, &beginning(&bench)), 1 << 20);
    assert_eq!(seen, given(0..40));
    assert_eq!(Sequence(mark.sequence), Sequence(durable(&bench)));
}
