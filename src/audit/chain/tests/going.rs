//! Which segments go, whatever clocks say and whoever has touched them, and which stay.

use super::mended::put;
use super::*;

const DAY: Duration = Duration::from_secs(86_400);

/// Segments of five lives, the last of which runs.
pub(super) fn of_five_lives() -> Bench {
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
    assert_eq!(bench.numbers(), [0; 0], "and for all of them, whatever the clock said");
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
    bench.step().unwrap();
    bench.clock.advance(DAY * 400);
    bench.step().unwrap();
    assert_eq!(bench.numbers(), [1, 2, 3, 4], "the first is, and went");
    bench.clock.advance(Duration::from_secs(3_700));
    bench.step().unwrap();
    assert_eq!(bench.numbers(), [1, 2, 3, 4]);
}

/// The hole was in a later segment, and those in front of it went for it.
#[test]
fn a_hole_in_a_segment_makes_no_others_go() {
    let mut bench = of_five_lives();
    bench.disk.corrupt(&bytes::name(4), |bytes| bytes.resize(30 << 20, 0));
    bench.writer.options.retention.max_bytes = 1 << 20;
    bench.step().unwrap();
    assert_eq!(bench.numbers(), [0, 1, 2, 3, 4]);
}

/// Such a segment, or a page of one that the disk did not give any more, kept all behind it from ever going, and
/// the trail grew beyond its size.
#[test]
fn a_damaged_segment_goes_where_there_is_no_room_and_that_is_signed() {
    let flip = |bench: &Bench, at: usize| {
        bench.disk.corrupt(&bytes::name(2), |bytes| bytes[at] ^= 1);
    };
    let of_second = load(&of_five_lives().disk, 2);
    let record = bytes::frames(&of_second).nth(1).unwrap().offset + 60;
    for damage in ["record", "opening", "all", "sector"] {
        let mut bench = of_five_lives();
        match damage {
            "record" => flip(&bench, record),
            "opening" => flip(&bench, bytes::SEGMENT_HEADER + 100),
            "all" => bench.disk.corrupt(&bytes::name(2), |bytes| bytes.fill(7)),
            _ => bench.disk.set_bad(Some((bytes::name(2).as_str(), 0..9))),
        }
        bench.step().unwrap();
        assert_eq!(bench.disk.names().iter().filter(|name| name.ends_with(".audit")).count(), 5);
        bench.writer.options.retention.max_bytes = 1;
        bench.clock.advance(Duration::from_secs(3_700));
        bench.step().unwrap();
        bench.stop();
        let all = bench.reader().newest(&Filter::default(), None, 9).unwrap().items;
        let shortened: Vec<_> =
            all.iter().filter_map(|listed| listed.record.details.as_ref()).collect();
        assert_eq!(shortened[0]["damaged"], json!([2]), "{damage}: {all:?}");
        assert_eq!(shortened[0]["segment"], 4);
        let report = bench.verify(&[]);
        let told = report.notes.iter().any(|note| note.contains("segment 2 went"));
        assert!(report.sound && report.segments == 1 && told, "{damage}: {report:?}");
    }
}

/// By its age alone it stays, and so does what is behind it.
#[test]
fn a_damaged_segment_does_not_go_for_its_age() {
    let mut bench = of_five_lives();
    bench.disk.corrupt(&bytes::name(2), |bytes| bytes[bytes::SEGMENT_HEADER + 100] ^= 1);
    bench.step().unwrap();
    bench.clock.advance(DAY * 400);
    bench.step().unwrap();
    assert!(bench.disk.names().contains(&bytes::name(2)));
    assert_eq!(bench.numbers(), [0, 1, 2, 3, 4]);
}

/// What somebody put between two segments took no room, and kept those in front of it from going.
#[test]
fn a_foreign_segment_goes_with_those_around_it_and_makes_none_go() {
    let mut bench = of_five_lives();
    let mut foreign = load(&of_five_lives().disk, 4);
    foreign.extend_from_within(bytes::SEGMENT_HEADER..);
    set(&bench.disk, 5, &[]);
    bench.disk.remove(&bytes::path(&dir(), 5)).unwrap();
    put(&bench.disk, &bytes::path(&dir(), 5), "");
    set(&bench.disk, 5, &foreign);
    bench = bench.restart();
    assert_eq!(bench.writer.head_number(), 6);
    let ours: usize = [1, 2, 3, 4, 6].iter().map(|number| load(&bench.disk, *number).len()).sum();
    bench.writer.options.retention.max_bytes = ours as u64 + 1_000;
    bench.own(5);
    bench.step().unwrap();
    assert_eq!(bench.disk.names().iter().filter(|name| name.ends_with(".audit")).count(), 6);
    bench.writer.options.retention.max_bytes = 1;
    bench.clock.advance(Duration::from_secs(3_700));
    bench.step().unwrap();
    bench.stop();
    let report = bench.verify(&[]);
    assert!(report.sound && report.segments == 1, "{report:?}");
}

/// What could not be archived kept all before it from going, also what had been copied: beside the store there
/// was never room again.
#[test]
fn what_stands_in_front_of_a_segment_that_cannot_be_archived_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, disk) = (dir.path().join("archive"), Arc::new(crate::store::disk::OsDisk));
    std::fs::create_dir(&archive).unwrap();
    let clock = Clock::manual(START);
    let segments = || bytes::segments(&*disk, &dir.path().join(DIR)).unwrap();
    for life in 0..5 {
        let chain = Arc::new(Chain::new(clock.clone()));
        let on: Arc<dyn Disk> = Arc::<crate::store::disk::OsDisk>::clone(&disk);
        let mut writer = Writer::new(Arc::clone(&chain), on, dir.path(), clock.clone(), options());
        writer.open().unwrap();
        chain.own(Own { reason: "started", who: "uid 7".into(), details: json!({ "n": life }) });
        if life == 4 {
            std::fs::write(archive.join(bytes::name(3)), "another").unwrap();
            writer.options.retention.archive = Some(archive.clone());
            writer.options.retention.max_bytes = 1;
        }
        clock.advance(SECOND);
        writer.step(chain.take_now(1000).entries, false).unwrap();
        writer.copies.wait();
        writer.step(Vec::new(), life < 4).unwrap();
    }
    assert_eq!(segments(), [3, 4, 5]);
    for number in [1, 2] {
        assert!(archive.join(bytes::name(number)).exists());
    }
    let reader = Reader::new(disk.clone(), dir.path());
    assert_eq!(numbers(&reader), [2, 3, 4], "the first two went, and nothing else");
}
