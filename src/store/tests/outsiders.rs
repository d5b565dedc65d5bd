//! What somebody can do who writes to the journal's directory and has no key: destroy what stands
//! there, and nothing else.

use super::sim_disk::{Fault, Leaves};
use super::*;
use crate::store::crypt::{FRAMES_AT, Fingerprints, SLOTS_AT};
use crate::store::disk::Disk as _;
use crate::store::index::{Index, Progress};
use crate::store::journal::segment::SegmentHeader;

const FIRST: &str = "0000000001.journal";
const DAY: Duration = Duration::from_secs(86_400);

fn with(options: &Options, ring: &[u8]) -> Options {
    Options { keys: keys(ring), ..options.clone() }
}

/// Starts the store, stores events with these numbers, and stops it.
async fn store_events(options: Options, disk: &SimDisk, events: std::ops::Range<u32>) {
    let store = Store::open_with(options, small(disk)).unwrap();
    for n in events {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    assert!(store.close().await);
}

fn header_of(disk: &SimDisk, name: &str) -> SegmentHeader {
    let mut header = None;
    disk.corrupt(name, |bytes| header = Some(SegmentHeader::decode(bytes).unwrap()));
    header.unwrap()
}

/// A plain first segment with events from `evt_0` to `evt_2`, as anybody could write it.
fn plant(options: &Options, disk: &SimDisk, journal: u64) {
    let header = SegmentHeader {
        number: 1,
        journal,
        follows: Sequence(0),
        first: Sequence(1),
        created_at: START,
        encrypted: false,
    };
    let mut file = disk.create(&options.path.join("journal").join(FIRST)).unwrap();
    file.append(&header.encode()).unwrap();
    file.append(super::damage::plain_batch(Sequence(1)).bytes().unwrap()).unwrap();
}

fn planted(delivered: &[Arc<StoredEvent>]) -> usize {
    let planted = [0, 1, 2].map(|n| Some(format!("evt_{n}")));
    delivered.iter().filter(|event| planted.contains(&event.meta.provider_id)).count()
}

/// A store whose plain segment is past the retention, and two encrypted ones that were begun while it was
/// there, the second of them open. Nothing waits.
async fn plain_one_expires(options: &Options, disk: &SimDisk) -> Store {
    store_events(with(options, &[]), disk, 100..102).await;
    store_events(with(options, &[7]), disk, 102..104).await;
    options.clock.advance(DAY * 20);
    let store = Store::open_with(with(options, &[7]), small(disk)).unwrap();
    store.accept(event(104), app(&store)).await.unwrap();
    assert_eq!(drain(&store).await.len(), 5);
    options.clock.advance(DAY * 11);
    store
}

/// What the journal says when it must be read as a whole.
fn spoil_checkpoints(disk: &SimDisk) {
    for name in disk.names() {
        disk.corrupt(&name, |bytes| bytes[FRAMES_AT as usize + 30] ^= 1);
    }
}

/// The segments that were begun while there were plain ones went on saying so, authenticated, when those had
/// gone: with the newer ones away, a plain one that anybody had written was delivered.
#[tokio::test]
async fn when_the_last_plain_segment_goes_no_older_one_speaks_for_it_any_more() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let store = plain_one_expires(&options, &disk).await;
    retention::purge(&store.core);
    assert!(!disk.names().contains(&FIRST.to_owned()), "{:?}", disk.names());
    assert!(store.close().await);
    drop(store);
    let journal = header_of(&disk, &disk.names()[0]).journal;
    spoil_checkpoints(&disk);
    plant(&options, &disk, journal);
    let store = Store::open_with(with(&options, &[7]), small(&disk)).unwrap();
    assert_eq!(planted(&drain(&store).await), 0);
    assert_eq!(store.report().survey.foreign, [1]);
    assert!(store.report().survey.keyless.is_empty());
}

/// The same, cut short anywhere: nothing is lost, and the next start completes it.
#[tokio::test]
async fn a_power_cut_while_they_stop_to_speak_for_it_loses_nothing() {
    let seed = fastrand::u64(..);
    for leaves in [Leaves::Nothing, Leaves::Everything, Leaves::SomePages(seed)] {
        for at in 0.. {
            let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
            let options = options(dir.path());
            let store = plain_one_expires(&options, &disk).await;
            let kept = store.accept(event(105), app(&store)).await.unwrap().id();
            disk.plan(at, Fault::PowerCut);
            retention::purge(&store.core);
            let fired = disk.fired();
            store.close().await;
            drop(store);
            disk.reboot(leaves);
            let story = format!("cut at operation {at}, {leaves:?}");
            let store = Store::open_with(with(&options, &[7]), small(&disk));
            let store = store.unwrap_or_else(|error| panic!("{story}: {error}"));
            assert!(store.report().gaps.is_empty(), "{story}: {:?}", store.report());
            assert!(drain(&store).await.iter().any(|event| event.id == kept), "{story}");
            retention::purge(&store.core);
            for segment in store.core.segments.lock().iter() {
                let preamble = store.core.files.preamble(segment.header.number).unwrap();
                let upto = preamble.slot().unwrap().plain_upto();
                assert_eq!(upto, 0, "{story}: segment {}", segment.header.number);
            }
            store.close().await;
            if !fired {
                assert!(at > 5, "{at}");
                break;
            }
        }
    }
}

/// Where no key slot of any encrypted segment is whole, nobody can say whether a plain segment in front of
/// them is Hookward's: it was taken for one from before the encryption.
#[tokio::test]
async fn a_plain_segment_that_no_encrypted_one_can_speak_for_is_not_read() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = with(&options(dir.path()), &[7]);
    for n in 100..103 {
        store_events(options.clone(), &disk, n..n + 1).await;
    }
    let names = disk.names();
    let journal = header_of(&disk, &names[0]).journal;
    disk.remove(&options.path.join("journal").join(FIRST)).unwrap();
    disk.sync_dir(dir.path()).unwrap();
    plant(&options, &disk, journal);
    let flip = |name: &String| {
        disk.corrupt(name, |bytes| bytes[SLOTS_AT[0] as usize + 60] ^= 1);
    };
    names[1..].iter().for_each(flip);
    let before = disk.names();
    match Store::open_with(options.clone(), small(&disk)) {
        Err(error) => assert!(error.to_string().contains("stand in clear"), "{error}"),
        Ok(store) => {
            panic!("it is open, and {} of theirs delivered", planted(&drain(&store).await))
        }
    }
    assert_eq!(disk.names(), before, "nothing has changed");
    // With one of them whole it is known that there never were plain ones.
    flip(&names[1]);
    let store = Store::open_with(options, small(&disk)).unwrap();
    assert_eq!(store.report().survey.foreign, [1]);
    assert_eq!(planted(&drain(&store).await), 0);
}

/// A header's numbers were believed, which need no key: those of the frames behind it wrapped, or were taken
/// for old ones, and what had been acknowledged was cut off.
#[tokio::test]
async fn a_header_with_large_numbers_costs_no_event() {
    let plain: &[u8] = &[];
    for (ring, first) in [
        (plain, u64::MAX - 3),
        (&[7], u64::MAX - 3),
        (&[7], 1 << 62),
        (&[7], 1 << 33),
        (&[7], 5000),
    ] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let options = with(&options(dir.path()), ring);
        store_events(options.clone(), &disk, 0..3).await;
        let header = SegmentHeader { first: Sequence(first), ..header_of(&disk, FIRST) };
        disk.corrupt(FIRST, |bytes| bytes[..64].copy_from_slice(&header.encode()));
        let story = format!("{ring:?}, {first}");
        let mut acked = 3;
        for _ in 0..2 {
            let store = Store::open_with(options.clone(), small(&disk));
            let store = store.unwrap_or_else(|error| panic!("{story}: {error}"));
            for n in acked..acked + 3 {
                store.accept(event(n), app(&store)).await.unwrap();
            }
            acked += 3;
            disk.plan(0, Fault::PowerCut);
            store.close().await;
            drop(store);
            disk.reboot(Leaves::Nothing);
        }
        let store = Store::open_with(options, small(&disk)).unwrap();
        assert_eq!(store.report().gaps, [], "{story}");
        assert_eq!(drain(&store).await.len(), 9, "{story}");
        for n in 0..9 {
            let again = store.accept(event(n), app(&store)).await.unwrap();
            assert_eq!(again.outcome(), Outcome::Repeat, "{story}: event {n}");
        }
    }
}

/// The same with what the index says of itself.
#[tokio::test]
async fn an_index_with_large_numbers_costs_no_event() {
    for (last, segment) in [(u64::MAX - 3, 1), (1 << 62, 1), (3, u32::MAX - 1)] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let options = with(&options(dir.path()), &[7]);
        let open = || {
            Store::open_with(options.clone(), Tuning { index: true, ..small(&disk) })
                .unwrap_or_else(|error| panic!("{last}, {segment}: {error}"))
        };
        let store = open();
        for n in 0..3 {
            store.accept(event(n), app(&store)).await.unwrap();
        }
        let key = store.core.index_key.clone().unwrap();
        assert!(store.close().await);
        drop(store);
        let index_dir = dir.path().join("index");
        let mark = Fingerprints::keyed(&key).mark();
        let (index, progress) = Index::open(&index_dir, mark, |_| {}).unwrap();
        let progress = progress.unwrap();
        let upto = crate::store::journal::segment::Place { segment, ..progress.upto };
        index.close(Progress { last: Sequence(last), upto, ..progress }).unwrap();
        let store = open();
        for n in 3..6 {
            store.accept(event(n), app(&store)).await.unwrap();
        }
        disk.plan(0, Fault::PowerCut);
        store.close().await;
        drop(store);
        disk.reboot(Leaves::Nothing);
        let store = open();
        assert_eq!(store.report().gaps, [], "{last}, {segment}");
        assert_eq!(drain(&store).await.len(), 6, "{last}, {segment}");
    }
}
