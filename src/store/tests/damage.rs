//! A journal that has been damaged while it was closed.

use super::sim_disk::{Fault, Leaves};
use super::*;
use crate::store::journal::frame::{Batch, Kind};
use crate::store::journal::record::NewEvent;
use crate::store::journal::segment::GapKind;

const FIRST: &str = "0000000001.journal";

/// A store with one segment of ten events, closed; their ids.
async fn ten_events(dir: &Path, disk: &SimDisk) -> Vec<EventId> {
    let tuning = Tuning { segment_bytes: 1 << 20, window: 100, ..small(disk) };
    let store = Store::open_with(options(dir), tuning).unwrap();
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(store.accept(event(n), app(&store)).await.unwrap().id());
    }
    store.close().await;
    ids
}

fn reopen(dir: &Path, disk: &SimDisk) -> Store {
    Store::open_with(options(dir), Tuning { window: 100, ..small(disk) }).unwrap()
}

fn find(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).position(|w| w == needle).unwrap()
}

#[tokio::test]
async fn a_torn_tail_is_cut_off_and_told() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let ids = ten_events(dir.path(), &disk).await;
    disk.corrupt(FIRST, |bytes| bytes.truncate(bytes.len() - 3));
    let store = reopen(dir.path(), &disk);
    let gaps = &store.report().gaps;
    assert_eq!(gaps.iter().map(|(s, g)| (*s, g.kind)).collect::<Vec<_>>(), [(1, GapKind::Tail)]);
    let delivered: Vec<_> = drain(&store).await.iter().map(|e| e.id).collect();
    assert_eq!(delivered, ids[..9]);
    store.close().await;
    drop(store);
    assert_eq!(reopen(dir.path(), &disk).report().gaps, [], "it is told once");
}

#[tokio::test]
async fn damage_in_the_middle_is_told_and_what_lies_behind_it_is_delivered() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let ids = ten_events(dir.path(), &disk).await;
    disk.corrupt(FIRST, |bytes| {
        let at = find(bytes, br#"{"n":4}"#);
        bytes[at] ^= 1;
    });
    let store = reopen(dir.path(), &disk);
    let [(1, gap)] = store.report().gaps[..] else { panic!("{:?}", store.report()) };
    assert_eq!(gap.kind, GapKind::Damage);
    assert_eq!(store.report().missing.len(), 1);
    let delivered: Vec<_> = drain(&store).await.iter().map(|e| e.id).collect();
    assert_eq!(delivered.len(), 9);
    assert!(!delivered.contains(&ids[4]));
}

#[tokio::test]
async fn every_damaged_byte_costs_at_most_the_frame_it_is_in() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let ids = ten_events(dir.path(), &disk).await;
    let mut bytes = Vec::new();
    disk.corrupt(FIRST, |b| bytes.clone_from(b));
    for at in (0..bytes.len()).step_by(7) {
        let (dir, copy) = (tempfile::tempdir().unwrap(), SimDisk::default());
        ten_events(dir.path(), &copy).await;
        copy.corrupt(FIRST, |b| {
            b.clone_from(&bytes);
            b[at] ^= 0x40;
        });
        let store = reopen(dir.path(), &copy);
        let delivered: Vec<_> = drain(&store).await.iter().map(|e| e.id).collect();
        let lost = ids.iter().filter(|id| !delivered.contains(id)).count();
        assert!(lost <= 1, "byte {at}: {lost} events lost");
        let told = store.report();
        assert!(lost == 0 || !told.gaps.is_empty(), "byte {at} is not told");
    }
}

#[tokio::test]
async fn a_missing_segment_is_told() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    for n in 0..80 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    store.close().await;
    drop(store);
    let names = disk.names();
    assert!(names.len() >= 4, "{names:?}");
    use crate::store::disk::Disk as _;
    disk.remove(&dir.path().join("journal").join(&names[1])).unwrap();
    let store = reopen(dir.path(), &disk);
    assert_eq!(store.report().missing.len(), 1, "{:?}", store.report());
    let delivered = drain(&store).await.len();
    assert!((40..80).contains(&delivered), "{delivered}: all but what stood in the segment");
}

/// A first segment without events came back with a power cut after the next start had replaced it;
/// the segment that replaced that one in turn was said to miss frames.
#[tokio::test]
async fn an_empty_segment_that_comes_back_is_no_sign_of_missing_ones() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    for _ in 0..2 {
        let store = reopen(dir.path(), &disk);
        disk.plan(0, Fault::PowerCut);
        store.close().await;
        drop(store);
        disk.reboot(Leaves::Nothing);
    }
    assert_eq!(disk.names().len(), 2, "the first has come back: {:?}", disk.names());
    let store = reopen(dir.path(), &disk);
    store.accept(event(1), app(&store)).await.unwrap();
    store.close().await;
    drop(store);
    let store = reopen(dir.path(), &disk);
    assert_eq!(store.report().missing, [], "{:?}", disk.names());
    assert_eq!(drain(&store).await.len(), 1);
}

/// Three events in clear, the first with this number, as anybody could write them.
pub(super) fn plain_batch(first: Sequence) -> Batch {
    let mut batch = Batch::default();
    for n in 0..3u64 {
        let identified = event(u32::try_from(n).unwrap());
        let key = identified.key();
        let (meta, body) = identified.into_parts();
        let (body_hash, sequence) = (BodyHash::of(&body), Sequence(first.0 + n));
        let id = EventId::new(START, [u8::try_from(n).unwrap(); 10]);
        let source = SourceName::new("lab").unwrap();
        let conflict = false;
        let stored = StoredEvent {
            sequence,
            id,
            received_at: START,
            source,
            body_hash,
            conflict,
            meta,
            body,
        };
        let new = NewEvent { key, quarantined: false, event: &stored };
        batch.push(sequence, Kind::Event, |out| new.encode(["app"].into_iter(), out));
    }
    batch
}

/// A scan that began without a number to go by refused every frame beyond 2^32 as too far ahead,
/// took the segment for a torn tail and cut it off.
#[tokio::test]
async fn sequences_may_be_larger_than_32_bits() {
    use crate::store::disk::Disk as _;
    use crate::store::journal::segment::SegmentHeader;

    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let first = Sequence(u64::from(u32::MAX) * 3);
    let header = SegmentHeader {
        number: 7,
        journal: 1,
        follows: Sequence(0),
        first,
        created_at: START,
        encrypted: false,
    };
    let batch = plain_batch(first);
    let path = dir.path().join("journal").join("0000000007.journal");
    let mut file = disk.create(&path).unwrap();
    file.append(&header.encode()).unwrap();
    file.append(batch.bytes().unwrap()).unwrap();
    let store = reopen(dir.path(), &disk);
    assert_eq!(store.report().gaps, []);
    assert_eq!(drain(&store).await.len(), 3);
    assert_eq!(store.accept(event(1), app(&store)).await.unwrap().outcome(), Outcome::Repeat);
}

/// Two frames, the only event damaged: the segment counted as empty and was removed.
#[tokio::test]
async fn a_damaged_segment_is_not_taken_for_an_empty_one() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = reopen(dir.path(), &disk);
    store.accept(event(1), app(&store)).await.unwrap();
    store.settle(claim(&store).await, attempt(Verdict::RetryAt(START)));
    store.close().await;
    drop(store);
    disk.corrupt(FIRST, |bytes| {
        let at = find(bytes, br#"{"n":1}"#);
        bytes[at] ^= 1;
    });
    drop(reopen(dir.path(), &disk));
    assert!(disk.names().contains(&FIRST.to_owned()), "{:?}", disk.names());
}

/// The pages that the disk would not give at a start were taken for a write that had never ended,
/// and cut off: what had been acknowledged in them was lost for good, although the next read would
/// have found it.
#[tokio::test]
async fn what_cannot_be_read_at_a_start_is_not_cut_off() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let tuning = || Tuning { segment_bytes: 1 << 20, window: 100, ..small(&disk) };
    let store = Store::open_with(options(dir.path()), tuning()).unwrap();
    for n in 0..40 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    store.close().await;
    drop(store);
    disk.set_bad_from(Some(5000));
    let refused = Store::open_with(options(dir.path()), tuning()).map(drop).unwrap_err();
    assert!(refused.to_string().contains("cannot be read"), "{refused}");
    disk.set_bad_from(None);
    let store = Store::open_with(options(dir.path()), tuning()).unwrap();
    assert_eq!(store.report().gaps, []);
    assert_eq!(drain(&store).await.len(), 40);
}

/// The newest segment was taken away, and nobody was told: the index, which knew better, was set
/// aside as if it were of another journal.
#[tokio::test]
async fn missing_segments_at_the_end_are_told() {
    for keep in [1, 0] {
        let dir = tempfile::tempdir().unwrap();
        let tuning = || Tuning { segment_bytes: 4096, ..Tuning::default() };
        let store = Store::open_with(options(dir.path()), tuning()).unwrap();
        for n in 0..80 {
            store.accept(event(n), app(&store)).await.unwrap();
        }
        store.close().await;
        drop(store);
        let journal = dir.path().join("journal");
        let mut segments: Vec<_> =
            std::fs::read_dir(&journal).unwrap().map(|entry| entry.unwrap().path()).collect();
        segments.sort();
        segments.drain(..keep);
        assert!(segments.len() > 1, "{segments:?}");
        segments.iter().for_each(|path| std::fs::remove_file(path).unwrap());
        let store = Store::open_with(options(dir.path()), tuning()).unwrap();
        let [(found, indexed)] = store.report().missing[..] else {
            panic!("{keep}: {:?}", store.report())
        };
        assert!(found < indexed && store.report().index_rebuilt);
        let left = drain(&store).await.len();
        assert_eq!(left == 0, keep == 0);
        let again = store.accept(event(79), app(&store)).await.unwrap();
        assert_eq!(again.outcome(), Outcome::Stored);
        store.close().await;
        drop(store);
        let store = Store::open_with(options(dir.path()), tuning()).unwrap();
        assert_eq!(store.report().missing, [], "{keep}: it is told once");
        assert_eq!(drain(&store).await.len(), 1);
    }
}

/// The number behind the largest was 0, whose segment nobody lists: events went there and were lost.
#[tokio::test]
async fn a_segment_with_the_largest_number_is_refused() {
    use crate::store::disk::Disk as _;

    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = reopen(dir.path(), &disk);
    store.accept(event(1), app(&store)).await.unwrap();
    store.close().await;
    drop(store);
    let mut first = Vec::new();
    disk.corrupt(FIRST, |bytes| first.clone_from(bytes));
    // Nor one from which it is not far to there: Hookward itself went on to the last number.
    for number in [u32::MAX, u32::MAX - 1, u32::MAX - 1000] {
        let planted = dir.path().join("journal").join(format!("{number:010}.journal"));
        disk.create(&planted).unwrap().append(&first).unwrap();
        let error = Store::open_with(options(dir.path()), small(&disk)).map(drop).unwrap_err();
        assert!(matches!(error, OpenError::LastNumber { .. }), "{error}");
        assert!(error.to_string().contains(&format!("numbered {number}")), "{error}");
        assert!(!error.to_string().contains("never written"), "{error}");
        disk.remove(&planted).unwrap();
        disk.sync_dir(dir.path()).unwrap();
    }
    assert_eq!(drain(&reopen(dir.path(), &disk)).await.len(), 1);
}

/// A bad first page of a segment that nobody needs any more kept the store from opening; and where it is
/// needed, nobody was told which one it was.
#[tokio::test]
async fn a_first_page_that_cannot_be_read_is_stepped_over_where_nothing_waits() {
    for ring in [&[][..], &[7]] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let options = Options { keys: keys(ring), ..options(dir.path()) };
        let open = || Store::open_with(options.clone(), Tuning { window: 100, ..small(&disk) });
        for n in 0..4 {
            let store = open().unwrap();
            store.accept(event(n), app(&store)).await.unwrap();
            assert_eq!(drain(&store).await.len(), 1);
            assert!(store.close().await);
        }
        let names = disk.names();
        assert_eq!(names.len(), 4);
        disk.set_bad(Some((FIRST, 0..4096)));
        let store = open().unwrap_or_else(|error| panic!("{ring:?}: {error}"));
        assert!(store.report().survey.foreign.is_empty(), "{ring:?}");
        assert_eq!(store.report().missing, [], "{ring:?}");
        let known = store.accept(event(2), app(&store)).await.unwrap();
        assert_eq!(known.outcome(), Outcome::Repeat, "{ring:?}");
        assert!(store.close().await);
        drop(store);
        if ring.is_empty() {
            let newest = disk.names().pop().unwrap();
            disk.set_bad(Some((&newest, 0..4096)));
            let refused = open().map(drop).unwrap_err().to_string();
            let number: u32 = newest[..10].parse().unwrap();
            let said = format!("segment {number} cannot be read at offset 0");
            assert!(refused.contains(&said), "{refused}");
        }
        disk.set_bad(None);
        let store = open().unwrap();
        let known = store.accept(event(0), app(&store)).await.unwrap();
        assert_eq!(known.outcome(), Outcome::Repeat, "{ring:?}");
    }
}

/// The log said that nothing in a torn tail had been acknowledged, which nobody can know: a disk that has
/// lost its end looks the same. What is cut off is kept beside the segment, as it stood there.
#[tokio::test]
async fn what_is_cut_off_is_kept_until_its_segment_goes() {
    for ring in [&[][..], &[7]] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let options = Options { keys: keys(ring), ..options(dir.path()) };
        let clock = options.clock.clone();
        let open = || Store::open_with(options.clone(), small(&disk)).unwrap();
        let store = open();
        for n in 0..3 {
            store.accept(event(n), app(&store)).await.unwrap();
        }
        assert!(store.close().await);
        drop(store);
        let mut tail = Vec::new();
        disk.corrupt(FIRST, |bytes| {
            let at = bytes.len() - 40;
            bytes[at..].fill(0);
            bytes.extend_from_slice(&[0; 100]);
        });
        let mut whole = Vec::new();
        disk.corrupt(FIRST, |bytes| whole.clone_from(bytes));
        let store = open();
        assert_eq!(drain(&store).await.len(), 2);
        disk.corrupt(FIRST, |bytes| tail.extend_from_slice(&whole[bytes.len()..]));
        assert!(tail.len() > 140);
        let beside = "0000000001.torn";
        assert!(disk.names().iter().any(|name| name == beside), "{:?}", disk.names());
        disk.corrupt(beside, |bytes| assert_eq!(*bytes, tail));
        store.accept(event(9), app(&store)).await.unwrap();
        assert_eq!(drain(&store).await.len(), 1);
        clock.advance(Duration::from_secs(31 * 86_400));
        assert!(store.close().await);
        drop(store);
        let store = open();
        retention::purge(&store.core);
        assert!(!disk.names().iter().any(|name| name == FIRST), "{:?}", disk.names());
        drop(store);
        drop(open());
        assert!(!disk.names().iter().any(|name| name == beside), "{:?}", disk.names());
    }
}

/// A segment that is a link to a disk that is not there: the start failed without saying which.
#[tokio::test]
async fn a_segment_that_cannot_be_opened_is_named() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    ten_events(dir.path(), &disk).await;
    disk.set_away(true);
    let refused = Store::open_with(options(dir.path()), small(&disk)).map(drop).unwrap_err();
    assert!(refused.to_string().contains(FIRST), "{refused}");
    disk.set_away(false);
    assert_eq!(drain(&reopen(dir.path(), &disk)).await.len(), 10);
}

/// The last parts of one checkpoint and the first part of the next were damaged: what was left counted as
/// a whole one, and what had been stored between them was forgotten.
#[tokio::test]
async fn what_is_left_of_two_checkpoints_is_none() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let tuning = Tuning { segment_bytes: 1 << 20, window: 100, ..small(&disk) };
    let store = Store::open_with(options(dir.path()), tuning).unwrap();
    write_checkpoint(&store);
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(store.accept(event(n), app(&store)).await.unwrap().id());
        if n == 2 {
            write_checkpoint(&store);
        }
    }
    let [_, kept_back, end, lane, _, _] = two_checkpoints(&store);
    disk.plan(0, Fault::PowerCut);
    store.close().await;
    drop(store);
    disk.reboot(Leaves::Everything);
    disk.corrupt(FIRST, |bytes| {
        for part in [kept_back, end, lane] {
            bytes[part as usize + 4] ^= 1;
        }
    });
    let store = reopen(dir.path(), &disk);
    let came: Vec<_> = drain(&store).await.iter().map(|event| event.id).collect();
    assert_eq!(came, ids);
}
