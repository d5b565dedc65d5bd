//! Whatever is done to a trail by hand is found, and named.

use super::*;
use crate::audit::chain::bytes::{Frame, Position, SEGMENT_HEADER};
use crate::store::journal::frame::{self, HEADER_LEN};

/// A small trail: three segments with checkpoints in between, the last one of a stop.
fn trail() -> Bench {
    let mut bench = Bench::new();
    for segment in 0..3 {
        if segment > 0 {
            bench = bench.restart();
        }
        for n in 0..6 {
            bench.own(segment * 10 + n);
            if n == 2 {
                bench.clock.advance(MINUTE);
            }
            bench.step().unwrap();
        }
    }
    bench.stop();
    let report = bench.verify(&[]);
    assert!(report.sound && report.segments == 3 && report.unvouched == 0, "{report:?}");
    bench
}

/// Puts a changed segment in its place, and says what is found.
fn changed(bench: &Bench, number: u32, segment: &[u8]) -> Report {
    let before = load(&bench.disk, number);
    assert_ne!(before, segment, "nothing was changed");
    set(&bench.disk, number, segment);
    let report = bench.verify(&[]);
    set(&bench.disk, number, &before);
    report
}

fn join(header: &[u8], frames: &[Vec<u8>]) -> Vec<u8> {
    [header.to_vec(), frames.concat()].concat()
}

/// Calls for each record: the segment's number, its header, its frames, and the record's index and number.
fn each_record(bench: &Bench, mut each: impl FnMut(u32, &[u8], &[Vec<u8>], usize, u64)) {
    for number in 1..=3 {
        let segment = load(&bench.disk, number);
        let (header, frames) = (&segment[..SEGMENT_HEADER], split(&segment));
        for index in 0..frames.len() {
            let sequence = Frame::at(&frames[index], 0).unwrap().sequence.0;
            each(number, header, &frames, index, sequence);
        }
    }
}

/// The first break is about this record.
fn names(report: &Report, kind: &str, segment: u32, sequence: u64) {
    let first = report.items.first();
    let found = first.map(|found| (found.kind, found.segment, found.sequence));
    assert!(
        !report.sound && found == Some((kind, segment, sequence)),
        "{kind} {sequence}: {report:?}"
    );
    let vouched = report.vouched.as_ref().map_or(0, |vouched| vouched.sequence);
    assert!(vouched < sequence, "{report:?}");
}

/// The frame with another body, its checksum and, if it is said so, its link made anew.
fn forged(frame: &[u8], follows: Option<Position>) -> Vec<u8> {
    let old = Frame::at(frame, 0).unwrap();
    let body = String::from_utf8(old.body.to_vec())
        .unwrap()
        .replace("uid 7", "uid 0")
        .replace("\"acts\":0", "\"acts\":1");
    let link = follows.map_or(old.link, |p| p.link.next(old.sequence, old.byte, body.as_bytes()));
    let payload = [&link.0[..], body.as_bytes()].concat();
    [frame::encode(old.sequence, old.byte, 0, &payload).to_vec(), payload].concat()
}

#[test]
fn an_edited_record_is_named() {
    let bench = trail();
    each_record(&bench, |number, header, frames, index, sequence| {
        // A byte of it, and nothing else.
        let mut edited = frames.to_vec();
        edited[index][HEADER_LEN + 40] ^= 1;
        let report = changed(&bench, number, &join(header, &edited));
        let last = number == 3 && index + 1 == frames.len();
        if last {
            // As a crash may leave it: then it vouches for nothing.
            assert!(matches!(report.end, End::Torn { .. }) && report.sound, "{report:?}");
        } else {
            names(&report, "edited", number, sequence);
        }
        // With its checksum made anew.
        let mut edited = frames.to_vec();
        edited[index] = forged(&frames[index], None);
        names(&changed(&bench, number, &join(header, &edited)), "edited", number, sequence);
    });
}

/// Whoever knows the format can make all links anew, but not sign.
#[test]
fn a_record_that_was_edited_with_all_links_behind_it_is_found_at_the_next_checkpoint() {
    let bench = trail();
    each_record(&bench, |number, header, frames, index, sequence| {
        let before = |index: usize| match index {
            0 => bytes::SegmentHeader::decode(header).unwrap().follows,
            index => Frame::at(&frames[index - 1], 0).unwrap().position(),
        };
        let mut edited = frames.to_vec();
        edited[index] = forged(&frames[index], Some(before(index)));
        for next in index + 1..frames.len() {
            let position = Frame::at(&edited[next - 1], 0).unwrap().position();
            let old = Frame::at(&frames[next], 0).unwrap();
            let mut out = Vec::new();
            let mut position = position;
            position.push(old.kind.unwrap(), old.body, &mut out);
            edited[next] = out;
        }
        let report = changed(&bench, number, &join(header, &edited));
        let is_last = number == 3 && index + 1 == frames.len();
        let first = report.items.first();
        assert!(
            is_last || (!report.sound && first.is_some_and(|found| found.sequence <= sequence + 1)),
            "{sequence}: {report:?}"
        );
        let vouched = report.vouched.as_ref().map_or(0, |vouched| vouched.sequence);
        assert!(vouched < sequence, "{report:?}");
    });
}

#[test]
fn a_deleted_record_is_named() {
    let bench = trail();
    each_record(&bench, |number, header, frames, index, sequence| {
        let mut left = frames.to_vec();
        left.remove(index);
        let report = changed(&bench, number, &join(header, &left));
        if number == 3 && index + 1 == frames.len() {
            // What is behind the last checkpoint nobody can miss but by a kept one.
            assert!(report.sound && report.end == End::Open, "{report:?}");
        } else {
            let segment = if index + 1 == frames.len() { number + 1 } else { number };
            names(&report, "deleted", segment, sequence);
        }
    });
}

#[test]
fn a_moved_record_and_one_that_was_put_in_are_named() {
    let bench = trail();
    each_record(&bench, |number, header, frames, index, sequence| {
        if index + 1 < frames.len() {
            let mut moved = frames.to_vec();
            moved.swap(index, index + 1);
            let report = changed(&bench, number, &join(header, &moved));
            // The first of a segment is its checkpoint.
            let kind = if index == 0 { "deleted" } else { "reordered" };
            names(&report, kind, number, sequence);
        }
        // A copy of it behind it.
        let mut more = frames.to_vec();
        more.insert(index + 1, frames[index].clone());
        let report = changed(&bench, number, &join(header, &more));
        names(&report, "inserted", number, sequence);
        if index + 1 == frames.len() && number < 3 {
            let mut position = Frame::at(&frames[index], 0).unwrap().position();
            let mut more = join(header, frames);
            position.push(Kind::Record, br#"{"reason":"made up"}"#, &mut more);
            let report = changed(&bench, number, &more);
            names(&report, "inserted", number + 1, sequence + 1);
        }
        // Another one before it, with the number and the link that belong there.
        let mut position = match index {
            0 => bytes::SegmentHeader::decode(header).unwrap().follows,
            index => Frame::at(&frames[index - 1], 0).unwrap().position(),
        };
        let mut made = Vec::new();
        position.push(Kind::Record, br#"{"reason":"made up"}"#, &mut made);
        let mut more = frames.to_vec();
        more.insert(index, made);
        let report = changed(&bench, number, &join(header, &more));
        let first = report.items.first().map(|found| found.sequence);
        assert!(!report.sound && first == Some(sequence), "{sequence}: {report:?}");
    });
}

#[test]
fn no_bit_of_it_can_be_turned_without_being_found() {
    let bench = trail();
    for number in 1..=2 {
        let segment = load(&bench.disk, number);
        for at in (0..segment.len()).step_by(5) {
            let mut turned = segment.clone();
            turned[at] ^= 1 << (at % 8);
            let report = changed(&bench, number, &turned);
            assert!(!report.sound, "segment {number}, byte {at}");
        }
    }
}

/// Cut anywhere, it looks as after a crash, until somebody has kept a checkpoint elsewhere.
#[test]
fn a_trail_that_was_cut_off_is_told_from_one_after_a_crash_by_a_kept_checkpoint() {
    let bench = trail();
    let kept = bench.reader().checkpoint().unwrap().unwrap();
    assert!(bench.verify(std::slice::from_ref(&kept)).sound);
    let segment = load(&bench.disk, 3);
    for len in 0..segment.len() {
        set(&bench.disk, 3, &segment[..len]);
        let report = bench.verify(&[]);
        assert!(report.sound && report.end != End::Stopped, "{len}: {report:?}");
        let report = bench.verify(std::slice::from_ref(&kept));
        assert!(!report.sound, "{len}: {report:?}");
        assert_eq!(report.items.last().unwrap().kind, "cut_off", "{len}: {report:?}");
    }
}

/// Cut, and then the gateway has gone on: nothing is missing in what it writes, but the kept one knows.
#[test]
fn a_gateway_that_goes_on_behind_a_cut_does_not_hide_it() {
    let bench = trail();
    let kept = bench.reader().checkpoint().unwrap().unwrap();
    let segment = load(&bench.disk, 3);
    let frames = split(&segment);
    set(&bench.disk, 3, &join(&segment[..SEGMENT_HEADER], &frames[..3]));
    let mut bench = bench.restart();
    for n in 0..20 {
        bench.own(n);
        bench.step().unwrap();
    }
    bench.stop();
    assert!(bench.verify(&[]).sound);
    let report = bench.verify(&[kept]);
    assert!(!report.sound, "{report:?}");
}

#[test]
fn segments_that_are_missing_renamed_or_another_trail_s_are_named() {
    let bench = trail();
    let segments = [1, 2, 3].map(|number| load(&bench.disk, number));
    let first = |report: &Report| report.items[0].kind;
    assert_eq!(first(&changed(&bench, 2, &segments[0])), "reordered");
    let other = trail();
    assert_eq!(first(&changed(&bench, 2, &load(&other.disk, 2))), "inserted");
    bench.disk.remove(&bytes::path(&dir(), 2)).unwrap();
    let report = bench.verify(&[]);
    names(&report, "deleted", 3, 9);
    bench.disk.remove(&bytes::path(&dir(), 1)).unwrap();
    let report = bench.verify(&[]);
    let first = &report.items[0];
    assert_eq!((report.sound, first.kind, first.sequence), (false, "deleted", 1), "{report:?}");
    let another = Bench::new();
    assert!(!verify(&bench.disk, &dir(), &another.key(), &[]).unwrap().sound, "another's key");
}

/// What was left out at the beginning was excused by a record that nobody had signed: the trail could be
/// cut off in front, or invented, and was still sound.
#[test]
fn a_record_that_nobody_has_signed_lets_go_of_nothing() {
    let bench = trail();
    let third = bytes::SegmentHeader::decode(&load(&bench.disk, 3)).unwrap();
    let details = serde_json::json!({
        "segment": 2, "sequence": third.follows.sequence.0, "hash": third.follows.link.to_string(),
    });
    let body = serde_json::json!({ "reason": "trail_shortened", "details": details }).to_string();
    let segment = load(&bench.disk, 3);
    let last = bytes::frames(&segment).last().unwrap().position();
    let all = [load(&bench.disk, 1), load(&bench.disk, 2), segment.clone()];
    let put = |number: u32, bytes: Option<&[u8]>| {
        let path = bytes::path(&dir(), number);
        bench.disk.remove(&path).unwrap_or_default();
        if let Some(bytes) = bytes {
            bench.disk.create(&path).unwrap().append(bytes).unwrap();
        }
    };
    put(1, None);
    put(2, None);
    let report = bench.verify(&[]);
    assert_eq!((report.sound, report.items[0].kind), (false, "deleted"), "{report:?}");
    let mut forged = segment.clone();
    let mut position = last;
    position.push(bytes::Kind::Shortened, body.as_bytes(), &mut forged);
    put(3, Some(&forged));
    let report = bench.verify(&[]);
    assert!(
        !report.sound && report.items.iter().any(|found| found.kind == "deleted"),
        "{report:?}"
    );
    // Behind the checkpoint of a stop the gateway writes nothing at all.
    for (number, bytes) in (1..).zip(&all) {
        put(number, Some(bytes));
    }
    assert!(bench.verify(&[]).sound);
    put(3, Some(&forged));
    names(&bench.verify(&[]), "inserted", 3, last.sequence.0 + 1);
}

/// The next start signed what had been put behind the checkpoint of a stop.
#[test]
fn what_was_put_behind_a_stop_is_not_signed_by_the_next_start() {
    let bench = trail();
    let mut segment = load(&bench.disk, 3);
    let whole = segment.len();
    let mut position = bytes::frames(&segment).last().unwrap().position();
    let forged = br#"{"reason":"discarded","who":"uid 0","count":1}"#;
    position.push(bytes::Kind::Record, forged, &mut segment);
    set(&bench.disk, 3, &segment);
    let bench = bench.restart();
    assert_eq!(load(&bench.disk, 3).len(), whole);
    let torn = bytes::load_any(&bench.disk, &dir().join("0000000003.torn"));
    assert!(torn.windows(forged.len()).any(|bytes| bytes == forged));
    let report = bench.verify(&[]);
    assert!(report.sound && report.notes.iter().any(|note| note.contains("cut off")), "{report:?}");
}

/// Texts of a checkpoint were signed one behind the other: with bytes moved from one to the next it was still
/// signed, for another record.
#[test]
fn no_checkpoint_can_be_read_in_another_way_than_it_was_signed() {
    let bench = trail();
    let reader = Reader::new(Arc::new(bench.disk.clone()), &store());
    let good = reader.checkpoint().unwrap().unwrap();
    let key = PublicKey::beside(&bench.disk, &dir()).unwrap();
    assert!(good.is_signed_by(&key));
    let moved = |from: &str, to: &str| {
        let (from, last) = from.split_at(from.len() - 1);
        (from.to_owned(), format!("{last}{to}"))
    };
    let (trail, hash) = moved(&good.trail, &good.hash);
    let (key_id, time) = moved(&good.key, &good.time);
    let changed = [
        Checkpoint { trail, hash, ..good.clone() },
        Checkpoint { key: key_id, time, ..good.clone() },
        Checkpoint { sequence: good.sequence + 1, ..good.clone() },
        Checkpoint { stop: !good.stop, ..good.clone() },
        Checkpoint { acts: good.acts + 1, ..good.clone() },
        Checkpoint { torn: good.torn + 1, ..good.clone() },
        Checkpoint { believed: good.believed + 1, ..good.clone() },
        Checkpoint { believed: 0, ..good.clone() },
        Checkpoint { believed: 0, latest: good.believed, ..good.clone() },
        Checkpoint { latest: good.latest + 1, ..good.clone() },
    ];
    for other in changed {
        assert!(!other.is_signed_by(&key), "{other:?}");
    }
}

/// A segment's header says when it was begun, and nobody had signed that: retention went by it.
#[test]
fn a_header_with_another_time_than_was_signed_is_named() {
    let bench = trail();
    let mut segment = load(&bench.disk, 2);
    let header = bytes::SegmentHeader::decode(&segment).unwrap();
    let older = bytes::SegmentHeader { created_at: UnixMillis(0), ..header };
    segment[..SEGMENT_HEADER].copy_from_slice(&older.encode());
    let report = changed(&bench, 2, &segment);
    assert!(!report.sound && report.items[0].segment == 2, "{report:?}");
}

/// Bytes of which each looks like the start of a frame took hours, and so did copies of one frame.
#[test]
fn crafted_segments_take_no_long_time() {
    let bench = trail();
    let good = load(&bench.disk, 3);
    let mut resync = good.clone();
    resync.extend([0, 0, 3, 0, 0, 0].repeat(1 << 18));
    let first = split(&good).remove(1);
    let mut copies = good[..SEGMENT_HEADER].to_vec();
    let mut frames = split(&good);
    frames[0][HEADER_LEN + 40] ^= 1;
    for _ in 0..20_000 {
        copies.extend_from_slice(&first);
        copies.push(0);
    }
    copies.extend(frames.concat());
    let begun = std::time::Instant::now();
    for crafted in [resync, copies] {
        changed(&bench, 3, &crafted);
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

/// A trail of which nothing was signed was sound.
#[test]
fn where_nothing_is_signed_nothing_is_sound() {
    let bench = trail();
    for number in [2, 3] {
        bench.disk.remove(&bytes::path(&dir(), number)).unwrap();
    }
    let header = load(&bench.disk, 1)[..SEGMENT_HEADER].to_vec();
    for rest in [&b""[..], b"junk that is no record"] {
        set(&bench.disk, 1, &[&header, rest].concat());
        let report = bench.verify(&[]);
        assert!(!report.sound && report.vouched.is_none(), "{report:?}");
    }
}

/// A header that said 1970, or none at all, hid what was in its segment from whoever listed it.
#[test]
fn no_header_hides_records_from_a_list() {
    let bench = trail();
    let reader = Reader::new(Arc::new(bench.disk.clone()), &store());
    let since = Some(START);
    let filter = Filter { since, ..Filter::default() };
    let count = || {
        let mut all = 0;
        reader
            .each(&filter, |_| {
                all += 1;
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        (reader.newest(&filter, None, 1_000).unwrap().items.len(), all)
    };
    let good = count();
    assert!(good.0 == good.1 && good.0 >= 18, "{good:?}");
    for number in 1..=3 {
        let before = load(&bench.disk, number);
        let header = bytes::SegmentHeader::decode(&before).unwrap();
        let older = bytes::SegmentHeader { created_at: UnixMillis(0), ..header }.encode();
        for changed in [older, [0; SEGMENT_HEADER]] {
            let mut segment = before.clone();
            segment[..SEGMENT_HEADER].copy_from_slice(&changed);
            set(&bench.disk, number, &segment);
            assert_eq!(count(), good, "{number}");
        }
        set(&bench.disk, number, &before);
    }
}

/// A start signs what it finds behind the last checkpoint, and that signature was moved to where it spoke for
/// a record that let go of everything before.
#[test]
fn what_a_start_signs_speaks_for_nothing_in_another_place() {
    let bench = Bench::new();
    let mut bench = bench.restart();
    bench.own(1);
    bench.step().unwrap();
    let mut segment = load(&bench.disk, 2);
    let follows = bytes::SegmentHeader::decode(&segment).unwrap().follows;
    let details = serde_json::json!({
        "segment": 1, "sequence": follows.sequence.0, "hash": follows.link.to_string(),
    });
    let body = serde_json::json!({ "reason": "trail_shortened", "details": details }).to_string();
    let mut position = bytes::frames(&segment).last().unwrap().position();
    position.push(Kind::Shortened, body.as_bytes(), &mut segment);
    set(&bench.disk, 2, &segment);
    // Killed, and started again.
    let bench = bench.restart();
    let third = load(&bench.disk, 3);
    segment.extend_from_slice(&third[SEGMENT_HEADER..]);
    set(&bench.disk, 2, &segment);
    for number in [1, 3] {
        bench.disk.remove(&bytes::path(&dir(), number)).unwrap();
    }
    let report = bench.verify(&[]);
    assert!(!report.sound, "{report:?}");
}

/// A few kilobytes that use up what is spent on looking for frames hid the records behind them, and the next
/// start cut those off.
#[test]
fn records_behind_what_nobody_looks_through_are_neither_left_out_nor_cut_off() {
    let bench = trail();
    let good = load(&bench.disk, 3);
    let frames = split(&good);
    let junk = [0, 0, 3, 0, 0, 0].repeat(64 << 10);
    let mut hidden = [&good[..SEGMENT_HEADER], &frames[..2].concat(), &junk].concat();
    hidden.extend(frames[2..].concat());
    set(&bench.disk, 3, &hidden);
    let report = bench.verify(&[]);
    assert!(!report.sound, "{report:?}");
    let bench = bench.restart();
    assert_eq!(load(&bench.disk, 3), hidden);
    assert!(!bench.verify(&[]).sound);
}
