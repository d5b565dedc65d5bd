//! What is told of a trail that is damaged, or verified with the wrong key: once, and with its place.

use std::ops::ControlFlow;

use super::*;
use crate::audit::chain::bytes::SEGMENT_HEADER;

/// Segments with a checkpoint each minute, the last one of a stop.
fn trail(segments: u64) -> Bench {
    let mut bench = Bench::new();
    for segment in 0..segments {
        if segment > 0 {
            bench = bench.restart();
        }
        for n in 0..8 {
            bench.own(segment * 10 + n);
            if n % 3 == 2 {
                bench.clock.advance(MINUTE);
            }
            bench.step().unwrap();
        }
        bench.stop();
    }
    let report = bench.verify(&[]);
    assert!(report.sound && report.segments == segments, "{report:?}");
    bench
}

fn flip(bench: &Bench, number: u32, at: usize) {
    bench.disk.corrupt(&bytes::name(number), |segment| segment[at] ^= 1);
}

/// In the middle of this frame of a segment.
fn inside(bench: &Bench, number: u32, index: usize) -> (usize, u64) {
    let segment = load(&bench.disk, number);
    let frame = bytes::frames(&segment).nth(index).unwrap();
    (frame.offset + 70, frame.sequence.0)
}

/// The only thing that is wrong.
fn only(report: &Report) -> &Break {
    assert_eq!((report.sound, report.breaks, report.items.len()), (false, 1, 1), "{report:#?}");
    &report.items[0]
}

/// The key of another installation was given, and it said so at each checkpoint, a hundred times over.
#[test]
fn a_key_that_has_signed_nothing_of_a_trail_is_told_once() {
    let (bench, other) = (trail(3), Bench::new().key());
    let verify = |bench: &Bench| verify(&bench.disk, &dir(), &other, &[]).unwrap();
    let report = verify(&bench);
    let found = only(&report);
    assert_eq!((found.kind, found.segment, found.sequence), ("other_key", 1, 1));
    for words in [
        "the trail is not signed with this key".to_owned(),
        format!("the key {} has signed it", bench.key().id()),
        format!("verified with the key {}", other.id()),
    ] {
        assert!(found.message.contains(&words), "{words}: {found}");
    }
    assert!(report.vouched.is_none() && report.records == 24, "{report:?}");
    // What anybody can see is told beside it.
    let (at, sequence) = inside(&bench, 2, 4);
    flip(&bench, 2, at);
    let report = verify(&bench);
    let found: Vec<_> = report.items.iter().map(|found| (found.kind, found.sequence)).collect();
    assert_eq!(found, [("other_key", 1), ("edited", sequence)], "{report:?}");
}

/// Nor are the segments that retention took missed for it.
#[test]
fn a_trail_that_has_let_go_of_its_beginning_misses_nothing_with_another_key() {
    let mut bench = trail(3);
    bench.clock.advance(Duration::from_secs(86_400 * 366));
    bench = bench.restart();
    bench.writer.options.retention.max_bytes = 1;
    bench.clock.advance(Duration::from_secs(3_700));
    bench.own(1);
    bench.step().unwrap();
    bench.stop();
    assert!(bench.verify(&[]).sound && !bench.disk.names().contains(&bytes::name(1)));
    let report = verify(&bench.disk, &dir(), &Bench::new().key(), &[]).unwrap();
    assert_eq!(only(&report).kind, "other_key");
    // Its first header is damaged: what went before it is still accounted for.
    let first = bytes::segments(&bench.disk, &dir()).unwrap()[0];
    flip(&bench, first, 40);
    let report = bench.verify(&[]);
    assert_eq!((only(&report).kind, only(&report).segment), ("edited", first));
}

/// Where the key was lost, and the trail has gone on with another one.
#[test]
fn of_a_trail_that_two_keys_have_signed_the_first_bad_checkpoint_is_named() {
    let mut bench = trail(1);
    let old = bench.key();
    bench.disk.remove(&dir().join("signing.key")).unwrap();
    bench.disk.sync_dir(&dir()).unwrap();
    bench = bench.restart();
    bench.stop();
    let new = bench.key();
    assert_ne!(old, new);
    for (key, kind, sequence) in [(new, "deleted", 1), (old, "inserted", 13)] {
        let report = verify(&bench.disk, &dir(), &key, &[]).unwrap();
        let found = &report.items[0];
        let place = (found.kind, found.segment, found.sequence);
        assert_eq!(place, (kind, 2, sequence), "{report:?}");
    }
    // Of neither: both are named.
    let report = verify(&bench.disk, &dir(), &Bench::new().key(), &[]).unwrap();
    let message = &only(&report).message;
    assert!(message.contains(&old.id()) && message.contains(&new.id()), "{message}");
}

/// It was a line for each minute in which something was new.
#[test]
fn kept_checkpoints_of_another_key_are_told_once() {
    let (bench, other) = (trail(2), trail(1));
    let segment = load(&other.disk, 1);
    let kept: Vec<_> = bytes::frames(&segment).filter_map(|f| open::checkpoint(&f)).collect();
    assert!(kept.len() > 3);
    let report = bench.verify(&kept);
    let found = only(&report);
    let more = format!("and {} more are of the key {}", kept.len() - 1, other.key().id());
    assert!(found.kind == "other_key" && found.message.contains(&more), "{found}");
}

/// It was `inserted` at each checkpoint of a trail of one segment; in front of others the trail was said to begin
/// behind it.
#[test]
fn a_damaged_header_is_told_once_with_the_first_record_behind_it() {
    for segments in [1, 3] {
        let bench = trail(segments);
        for number in 1..=u32::try_from(segments).unwrap() {
            let segment = load(&bench.disk, number);
            let record = bytes::frames(&segment).nth(1).unwrap();
            let opening = record.sequence.0 - 1;
            let listed: Vec<_> = bench.reader().oldest(&Filter::default(), None, 99).unwrap().items;
            let first = listed.iter().find(|listed| listed.sequence == record.sequence.0).unwrap();
            for at in [0, 13, 20, 28, 35, 50, 78] {
                flip(&bench, number, at);
                let report = bench.verify(&[]);
                flip(&bench, number, at);
                let found = only(&report);
                let place = (found.kind, found.segment, found.offset, found.sequence);
                assert_eq!(place, ("edited", number, 0, opening), "{at}: {report:?}");
                let words =
                    format!("first record is number {}, {}", first.sequence, first.record.id);
                assert!(found.message.contains("opening is damaged"), "{found}");
                assert!(found.message.contains(&words), "{found}");
                let vouched = report.vouched.as_ref().map(|vouched| vouched.sequence);
                assert_eq!(vouched, (number > 1).then(|| opening - 2), "{report:?}");
            }
        }
    }
}

/// The header was said to have another time than was signed, at the next checkpoint that is whole.
#[test]
fn a_damaged_opening_checkpoint_is_told_once() {
    let bench = trail(3);
    for number in 1..=3 {
        flip(&bench, number, SEGMENT_HEADER + 90);
        let report = bench.verify(&[]);
        flip(&bench, number, SEGMENT_HEADER + 90);
        let found = only(&report);
        assert_eq!((found.kind, found.segment, found.offset), ("edited", number, 80), "{report:?}");
    }
}

/// With its header and the checkpoint behind it both damaged, the first segment hides nothing of the next one.
#[test]
fn what_is_missing_behind_a_first_segment_without_an_opening_is_named() {
    let bench = trail(3);
    for at in [20, SEGMENT_HEADER + 90] {
        flip(&bench, 1, at);
    }
    let kinds = |report: &Report| -> Vec<_> {
        report.items.iter().map(|found| (found.kind, found.segment)).collect()
    };
    let report = bench.verify(&[]);
    assert_eq!(kinds(&report), [("edited", 1), ("edited", 1)], "{report:?}");
    bench.disk.remove(&bytes::path(&dir(), 2)).unwrap();
    let report = bench.verify(&[]);
    assert!(kinds(&report).contains(&("deleted", 3)), "{report:?}");
}

/// All that is read, in pages of so many, and what was missing in them.
fn paged(reader: &Reader, newest: bool, limit: usize) -> (Vec<u64>, Damage) {
    let (mut seen, mut damage, mut cursor) = (Vec::new(), Damage::default(), None);
    loop {
        let filter = Filter::default();
        let page = match newest {
            true => reader.newest(&filter, cursor, limit),
            false => reader.oldest(&filter, cursor, limit),
        };
        let page = page.unwrap();
        let n = |listed: &Listed| listed.record.details.as_ref()?["n"].as_u64();
        seen.extend(page.items.iter().filter_map(n));
        damage.add(page.damage);
        cursor = page.next;
        if cursor.is_none() {
            seen.sort_unstable();
            return (seen, damage);
        }
    }
}

/// Whichever way it is read, and however large the pages.
fn read(bench: &Bench) -> (Vec<u64>, Damage) {
    let reader = bench.reader();
    let mut seen = Vec::new();
    let each = |listed: Listed| {
        seen.extend(listed.record.details.and_then(|details| details["n"].as_u64()));
        std::ops::ControlFlow::Continue(())
    };
    let all = (reader.each(&Filter::default(), each).unwrap(), seen);
    let all = (all.1, all.0);
    for limit in [1, 3, 99] {
        for newest in [true, false] {
            assert_eq!(paged(&reader, newest, limit), all, "{limit} at a time, newest {newest}");
        }
    }
    all
}

/// The record was left out without a word.
#[test]
fn records_that_cannot_be_read_are_told_to_whoever_reads_the_others() {
    let bench = trail(3);
    let whole = read(&bench);
    assert_eq!((whole.0.len(), whole.1), (24, Damage::default()));
    let frames: Vec<usize> =
        (1..=3).map(|number| split(&load(&bench.disk, number)).len()).collect();
    for number in 1..=3 {
        let count = frames[number as usize - 1];
        for index in 0..count {
            let (at, sequence) = inside(&bench, number, index);
            flip(&bench, number, at);
            let (seen, damage) = read(&bench);
            flip(&bench, number, at);
            if number == 3 && index + 1 == count {
                // As a crash may leave it.
                assert!(damage.is_none(), "{damage:?}");
                continue;
            }
            let place =
                Damage { places: 1, missing: 1, segment: number, after: Some(sequence - 1) };
            assert_eq!(damage, place, "segment {number}, frame {index}");
            assert!(seen.len() >= 23, "{seen:?}");
            if index == 0 {
                // Where more than a bit of its opening is damaged, a segment does not say what it follows.
                [at, at + 1].into_iter().for_each(|at| flip(&bench, number, at));
                let (_, damage) = read(&bench);
                [at, at + 1].into_iter().for_each(|at| flip(&bench, number, at));
                assert_eq!(damage, Damage { missing: 0, after: None, ..place }, "segment {number}");
            }
        }
    }
}

#[test]
fn all_places_are_counted_and_the_first_is_named() {
    let bench = trail(3);
    let mut after = 0;
    for (number, index) in [(3, 5), (1, 9), (1, 4), (1, 3)] {
        let (at, sequence) = inside(&bench, number, index);
        flip(&bench, number, at);
        after = sequence - 1;
    }
    let (seen, damage) = read(&bench);
    // Behind two that are missing, nobody can tell what the next one follows.
    assert_eq!(damage, Damage { places: 3, missing: 5, segment: 1, after: Some(after) });
    assert!(seen.len() >= 19 && !seen.contains(&2), "{seen:?}");
    // Only what lies between the records that were asked for.
    let newest = bench.reader().newest(&Filter::default(), None, 2).unwrap();
    assert!(newest.damage.is_none(), "{newest:?}");
    let oldest = bench.reader().oldest(&Filter::default(), None, 4).unwrap();
    assert_eq!(oldest.damage.places, 1, "{oldest:?}");
    // A segment that is not there.
    let second = split(&load(&bench.disk, 2)).len() as u64;
    bench.disk.remove(&bytes::path(&dir(), 2)).unwrap();
    let (_, damage) = read(&bench);
    assert_eq!((damage.places, damage.missing), (4, 5 + second), "{damage:?}");
}

/// A record with another body and its checksum made anew, and what was put between two others.
#[test]
fn what_is_not_the_trail_s_is_a_hole_only_where_something_is_missing() {
    let bench = trail(2);
    let segment = load(&bench.disk, 1);
    let frames = split(&segment);
    let mut position = bytes::frames(&segment).nth(2).unwrap().position();
    let mut forged = Vec::new();
    position.push(Kind::Record, br#"{"reason":"made up","count":1}"#, &mut forged);
    let join = |frames: Vec<&[u8]>| [&segment[..SEGMENT_HEADER], &frames.concat()].concat();
    let mut replaced: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    replaced[3] = &forged;
    set(&bench.disk, 1, &join(replaced));
    let (_, damage) = read(&bench);
    assert_eq!((damage.places, damage.segment, damage.after), (1, 1, Some(4)), "{damage:?}");
    let mut more: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    more.insert(4, b"junk between two records");
    set(&bench.disk, 1, &join(more));
    let (seen, damage) = read(&bench);
    assert!(damage.is_none() && seen.len() == 16, "{damage:?}");
}

/// A write that goes on, or that a crash has cut off, is no damage; records behind it are.
#[test]
fn the_end_of_a_trail_that_is_written_to_is_no_damage() {
    let mut bench = trail(1).restart();
    bench.own(77);
    bench.step().unwrap();
    let whole = load(&bench.disk, 2);
    for len in (SEGMENT_HEADER..whole.len()).step_by(41) {
        set(&bench.disk, 2, &whole[..len]);
        assert!(read(&bench).1.is_none(), "{len}");
    }
    set(&bench.disk, 2, &whole);
    for n in 78..80 {
        bench.own(n);
        bench.step().unwrap();
    }
    let (at, sequence) = inside(&bench, 2, 2);
    flip(&bench, 2, at);
    let (_, damage) = read(&bench);
    assert_eq!((damage.places, damage.after), (1, Some(sequence - 1)), "{damage:?}");
}

/// Beside a copy lay another installation's key, and the trail looked like one in which nothing was ever recorded.
#[test]
fn with_another_public_key_beside_it_a_copy_is_not_empty_without_a_word() {
    let (bench, other) = (trail(2), Bench::new().key());
    let reader = Reader::new(Arc::new(bench.disk.clone()), &store());
    let all = |reader: &Reader| {
        let mut seen = 0;
        let count = |_| {
            seen += 1;
            ControlFlow::Continue(())
        };
        let damage = reader.each(&Filter::default(), count).unwrap();
        let newest = reader.newest(&Filter::default(), None, 99).unwrap();
        let oldest = reader.oldest(&Filter::default(), None, 99).unwrap();
        assert_eq!((newest.damage, oldest.damage), (damage, damage));
        assert_eq!((newest.items.len(), oldest.items.len()), (seen, seen));
        (seen, damage)
    };
    assert_eq!(all(&reader), (16, Damage::default()));
    let public = dir().join("signing.pub");
    bench.disk.remove(&public).unwrap();
    let mut file = bench.disk.create(&public).unwrap();
    file.append(format!("{other}\n").as_bytes()).unwrap();
    assert_eq!(all(&reader), (0, Damage { places: 1, segment: 1, ..Damage::default() }));
}
