//! What waits where the disk does not give the journal, for a moment or for good.

use std::collections::BTreeSet;

use super::sim_disk::{Fault, Leaves};
use super::*;
use crate::store::backlog::LaneSlot;
use crate::store::backlog::replay::{Unread, walk};

const FIRST: &str = "0000000001.journal";
/// Longer than any of this takes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than the retention.
const MONTH: Duration = Duration::from_secs(31 * 86_400);
/// Some pages into a segment.
const SECTOR: std::ops::Range<u64> = 9000..9512;

fn one_segment(disk: &SimDisk) -> Tuning {
    Tuning { segment_bytes: 1 << 20, hot_bytes: 0, ..small(disk) }
}

fn first_lane(store: &Store) -> Arc<LaneSlot> {
    Arc::clone(store.roster().lane(0).unwrap())
}

fn dead(store: &Store) -> u64 {
    store.lanes().next().unwrap().dead_letters
}

/// Whether the lane waits until it may read on again.
fn has_failed(store: &Store, lane: &LaneSlot) -> bool {
    lane.lane.lock().refill_due(store.core.backlog.timeline.now()).is_some()
}

async fn accept(store: &Store, count: u32) -> Vec<EventId> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(store.accept(event(n), app(store)).await.unwrap().id());
    }
    ids
}

/// Delivers what is due until `done`; each time that reading on has failed, `failed` is called.
async fn deliver(store: &Store, done: impl Fn() -> bool, failed: impl Fn()) -> Vec<EventId> {
    let lane = first_lane(store);
    let mut came = Vec::new();
    let all = async {
        while !done() {
            let due = tokio::time::timeout(Duration::from_millis(20), store.claim(&lane)).await;
            if let Ok(claimed) = due {
                came.push(claimed.event.id);
                store.settle(claimed, attempt(Verdict::Delivered));
            } else if has_failed(store, &lane) {
                failed();
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, all).await;
    ended.unwrap_or_else(|_| panic!("{lane:?}"));
    came
}

/// The byte of the file in which this body begins.
fn begin_of(disk: &SimDisk, name: &str, body: &[u8]) -> std::ops::Range<u64> {
    let mut at = 0;
    disk.corrupt(name, |bytes| {
        at = bytes.windows(body.len()).position(|w| w == body).unwrap() as u64;
    });
    at..at + 1
}

fn damage(disk: &SimDisk, name: &str, body: &[u8]) {
    disk.corrupt(name, |bytes| {
        let at = bytes.windows(body.len()).position(|w| w == body).unwrap();
        bytes[at] ^= 1;
    });
}

/// A page that could not be read for a moment, while a lane read on, was taken for damage: the lane went
/// on behind it, and nobody was ever sent what stood there.
#[tokio::test]
async fn a_read_error_that_passes_costs_no_event() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), one_segment(&disk)).unwrap();
    let ids = accept(&store, 100).await;
    disk.set_bad(Some((FIRST, SECTOR)));
    let lane = first_lane(&store);
    let done = || has_failed(&store, &lane) || store.backlog(0) == 0;
    let mut came = deliver(&store, done, || ()).await;
    assert!(has_failed(&store, &lane), "the test is of a page that is needed");
    disk.set_bad(None);
    came.extend(drain(&store).await.iter().map(|event| event.id));
    assert_eq!(came, ids, "all, and in order");
    assert_eq!(dead(&store), 0);
}

/// What the disk never gives again holds up what is good behind it for minutes, not for ever.
#[tokio::test]
async fn a_sector_that_is_bad_for_good_is_stepped_over_at_last_and_its_events_are_dead_letters() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let clock = options.clock.clone();
    let store = Store::open_with(options.clone(), one_segment(&disk)).unwrap();
    let ids = accept(&store, 100).await;
    disk.set_bad(Some((FIRST, SECTOR)));
    let failed = || clock.advance(Duration::from_secs(5));
    let came = deliver(&store, || store.backlog(0) == 0, failed).await;
    let waited = store.core.backlog.timeline.passed();
    assert!(waited > Duration::from_secs(120), "{waited:?}");
    let lost: Vec<_> = ids.iter().filter(|id| !came.contains(id)).collect();
    assert!((1..40).contains(&lost.len()), "{}", lost.len());
    assert!(came.contains(&ids[99]));
    assert_eq!(dead(&store), lost.len() as u64);
    disk.set_bad(None);
    store.close().await;
    drop(store);
    let store = Store::open_with(options, one_segment(&disk)).unwrap();
    assert_eq!((store.backlog(0), dead(&store)), (0, lost.len() as u64), "so they stay");
}

/// Retention read on in the same way, and then took the segment.
#[tokio::test]
async fn an_expired_segment_stays_while_it_cannot_be_read() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let clock = options.clock.clone();
    let tuning = Tuning { segment_bytes: 1500, hot_bytes: 0, ..small(&disk) };
    let store = Store::open_with(options, tuning).unwrap();
    let mut ids = accept(&store, 40).await;
    let names = disk.names();
    let bad = &names[names.len() / 2];
    disk.set_bad(Some((bad, 600..1112)));
    clock.advance(MONTH);
    ids.push(store.accept(event(40), app(&store)).await.unwrap().id());
    retention::purge(&store.core);
    assert!(disk.names().contains(bad), "{bad}: {:?}", disk.names());
    disk.set_bad(None);
    retention::purge(&store.core);
    assert!(!disk.names().contains(bad), "{bad}: {:?}", disk.names());
    let came: Vec<_> = drain(&store).await.iter().map(|event| event.id).collect();
    assert_eq!(came, ids);
}

/// A lane reads what it was asked for: what comes behind was looked at too, and a batch that was just
/// being written was told as damage.
#[tokio::test]
async fn what_is_just_being_written_is_not_told_as_damage() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), one_segment(&disk)).unwrap();
    accept(&store, 20).await;
    assert!(store.sync());
    let lane = first_lane(&store);
    let cursor = lane.lane.lock().cursor().unwrap();
    disk.corrupt(FIRST, |bytes| bytes.extend_from_slice(b"half of a frame"));
    let files = &store.core.files;
    let log = Arc::new(tempfile::tempfile().unwrap());
    let subscriber = tracing_subscriber::fmt().with_writer(Arc::clone(&log)).finish();
    let mut seen = 0;
    let walked = tracing::subscriber::with_default(subscriber, || {
        walk(files, &[1], cursor, Unread::Fails, |_, _, _| {
            seen += 1;
            true
        })
    });
    assert_eq!((seen, walked.unwrap().0), (cursor.count, Sequence(cursor.last.0 + 1)));
    assert_eq!(log.metadata().unwrap().len(), 0);
}

/// The journal's directory was away for some seconds, and what was due meanwhile was given up as lost.
#[tokio::test]
async fn a_file_that_is_not_there_for_a_moment_is_waited_for() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), one_segment(&disk)).unwrap();
    let ids = accept(&store, 3).await;
    disk.set_away(true);
    let lane = first_lane(&store);
    let due = tokio::time::timeout(Duration::from_millis(200), store.claim(&lane)).await;
    assert!(due.is_err());
    assert_eq!((store.backlog(0), dead(&store)), (3, 0));
    let again = store.accept(event(1), app(&store)).await.unwrap_err();
    assert_eq!(again, AcceptError::Unreadable, "nor is its repeat a new event");
    disk.set_away(false);
    let came = drain(&store).await.into_iter().map(|event| event.id);
    assert_eq!(BTreeSet::from_iter(came), BTreeSet::from_iter(ids));
}

/// An event that was damaged while it waited was settled without a trace: neither delivered nor a dead
/// letter. And it is one still after a power cut.
#[tokio::test]
async fn a_waiting_event_that_is_damaged_is_a_dead_letter() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let open =
        || Store::open_with(options(dir.path()), Tuning { window: 100, ..one_segment(&disk) });
    let store = open().unwrap();
    let ids = accept(&store, 10).await;
    store.close().await;
    drop(store);
    // Its checkpoint is all that the next start goes by.
    let store = open().unwrap();
    damage(&disk, FIRST, br#"{"n":4}"#);
    let came: Vec<_> = drain(&store).await.iter().map(|event| event.id).collect();
    assert!(came.len() == 9 && !came.contains(&ids[4]));
    assert_eq!(dead(&store), 1);
    assert!(store.sync());
    disk.plan(0, Fault::PowerCut);
    store.close().await;
    drop(store);
    disk.reboot(Leaves::Nothing);
    let store = open().unwrap();
    assert_eq!((store.backlog(0), dead(&store)), (0, 1));
}

/// So was one whose segment retention let go of.
#[tokio::test]
async fn a_waiting_event_that_is_lost_with_its_segment_is_a_dead_letter() {
    for attempts in [0, 1] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let options = options(dir.path());
        let clock = options.clock.clone();
        let tuning = Tuning { segment_bytes: 1500, window: 100, hot_bytes: 0, ..small(&disk) };
        let store = Store::open_with(options, tuning).unwrap();
        let ids = accept(&store, 20).await;
        for _ in 0..attempts * 5 {
            // One of each subject: the others wait for it.
            store.settle(claim(&store).await, attempt(Verdict::RetryAt(START.after(MONTH))));
        }
        damage(&disk, FIRST, br#"{"n":1}"#);
        clock.advance(MONTH);
        store.accept(event(20), app(&store)).await.unwrap();
        retention::purge(&store.core);
        assert!(!disk.names().contains(&FIRST.to_owned()), "{:?}", disk.names());
        assert_eq!((store.backlog(0), dead(&store)), (20, 1));
        let came: Vec<_> = drain(&store).await.iter().map(|event| event.id).collect();
        assert!(came.len() == 20 && !came.contains(&ids[1]));
        assert_eq!(dead(&store), 1);
    }
}

/// A start read an older segment for its lanes, because later checkpoints were damaged, and stepped over
/// what the disk did not give just then. Who puts a copy in its place goes on with the rest.
#[tokio::test]
async fn a_start_that_cannot_read_what_waits_in_an_older_segment_is_refused() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let open = || Store::open_with(options(dir.path()), Tuning { window: 100, ..small(&disk) });
    let store = open().unwrap();
    let ids = accept(&store, 80).await;
    store.close().await;
    drop(store);
    let names = disk.names();
    let [.., older, later, newest] = names.as_slice() else { panic!("{names:?}") };
    for name in [later, newest] {
        disk.corrupt(name, |bytes| bytes[100] ^= 1);
    }
    disk.set_bad(Some((older, 3500..3512)));
    let refused = open().map(drop).unwrap_err().to_string();
    let number: u32 = older[..10].parse().unwrap();
    assert!(refused.contains(&format!("segment {number} cannot be read at offset")), "{refused}");
    assert_eq!(disk.names(), names, "nothing has changed");
    disk.set_bad(None);
    disk.corrupt(older, |bytes| bytes[3500..3512].fill(0));
    let store = open().unwrap();
    let came: Vec<_> = drain(&store).await.iter().map(|event| event.id).collect();
    let lost = ids.iter().filter(|id| !came.contains(id)).count();
    assert!((1..3).contains(&lost), "{lost}");
}

/// While an index was made again, the disk did not give some of an old segment for a moment. What stood there
/// was missing from the index for good, and its repeats were new events for the whole retention.
#[tokio::test]
async fn an_index_that_is_made_while_something_cannot_be_read_is_not_gone_on_with() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let tuning = || Tuning { index: true, ..one_segment(&disk) };
    let open = || Store::open_with(options(dir.path()), tuning()).unwrap();
    for n in 0..2 {
        let store = open();
        store.accept(event(n), app(&store)).await.unwrap();
        assert_eq!(drain(&store).await.len(), 1);
        assert!(store.close().await);
    }
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    disk.set_bad(Some((FIRST, 200..300)));
    let store = open();
    assert_eq!(store.report().gaps.len(), 1, "the test is of a page that is needed");
    let known = store.accept(event(1), app(&store)).await.unwrap();
    assert_eq!(known.outcome(), Outcome::Repeat);
    store.accept(event(2), app(&store)).await.unwrap();
    assert!(store.close().await);
    drop(store);
    disk.set_bad(None);
    let store = open();
    for n in 0..3 {
        let known = store.accept(event(n), app(&store)).await.unwrap();
        assert_eq!(known.outcome(), Outcome::Repeat, "event {n}");
    }
    assert!(store.close().await);
    drop(store);
    assert!(!open().report().index_rebuilt, "and then it is whole");
}

/// A sector under a delivery that a lane held was asked for without end: what came after it for its
/// subject was never delivered, and its segment never went.
#[tokio::test]
async fn a_held_delivery_whose_event_is_bad_for_good_is_a_dead_letter_at_last() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let clock = options.clock.clone();
    let tuning = Tuning { window: 100, ..one_segment(&disk) };
    let store = Store::open_with(options, tuning).unwrap();
    let ids = accept(&store, 10).await;
    disk.set_bad(Some((FIRST, begin_of(&disk, FIRST, br#"{"n":0}"#))));
    let (lane, mut came, mut after) = (first_lane(&store), Vec::new(), None);
    let all = async {
        while store.backlog(0) > 0 {
            let due = tokio::time::timeout(Duration::from_millis(50), store.claim(&lane)).await;
            let Ok(claimed) = due else {
                clock.advance(Duration::from_secs(10));
                continue;
            };
            if claimed.event.id == ids[5] {
                after = Some(store.core.backlog.timeline.passed());
            }
            came.push(claimed.event.id);
            store.settle(claimed, attempt(Verdict::Delivered));
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("{lane:?}"));
    assert!(came.len() == 9 && !came.contains(&ids[0]));
    assert_eq!(dead(&store), 1);
    let after = after.unwrap().as_secs();
    assert!((120..300).contains(&after), "the next of its subject came after {after} s");
}

/// Nor did a segment go in which such a sector stood under something that is kept back.
#[tokio::test]
async fn a_kept_back_event_that_is_bad_for_good_does_not_keep_its_segment() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let clock = options.clock.clone();
    let tuning = Tuning { segment_bytes: 1500, window: 100, hot_bytes: 0, ..small(&disk) };
    let store = Store::open_with(options, tuning).unwrap();
    accept(&store, 2).await;
    let other = event_with(1, "[1]", OnConflict::Quarantine);
    store.accept(other, app(&store)).await.unwrap();
    for n in 2..20 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    disk.set_bad(Some((FIRST, begin_of(&disk, FIRST, b"[1]"))));
    clock.advance(MONTH);
    store.accept(event(20), app(&store)).await.unwrap();
    let is_there = || disk.names().contains(&FIRST.to_owned());
    for second in (0..120).step_by(10) {
        retention::purge(&store.core);
        assert!(is_there(), "after {second} s");
        clock.advance(Duration::from_secs(10));
    }
    retention::purge(&store.core);
    assert!(!is_there(), "{:?}", disk.names());
    assert_eq!(drain(&store).await.len(), 21);
}

/// Retention tried every ten seconds, and each try made the lane more impatient: what passed after a
/// minute had cost events. And what could be read again stood still until a wait was over.
#[tokio::test]
async fn retention_makes_no_lane_impatient() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let clock = options.clock.clone();
    let tuning = Tuning { segment_bytes: 1500, hot_bytes: 0, ..small(&disk) };
    let store = Store::open_with(options, tuning).unwrap();
    let mut ids = accept(&store, 120).await;
    let bad = disk.names()[4].clone();
    disk.set_bad(Some((&bad, 600..1112)));
    clock.advance(MONTH);
    ids.push(store.accept(event(120), app(&store)).await.unwrap().id());
    for second in (0..110).step_by(10) {
        retention::purge(&store.core);
        assert!(disk.names().contains(&bad), "after {second} s");
        clock.advance(Duration::from_secs(10));
    }
    assert!(has_failed(&store, &first_lane(&store)), "the test is of a lane that waits");
    disk.set_bad(None);
    retention::purge(&store.core);
    let came: Vec<_> = drain(&store).await.iter().map(|event| event.id).collect();
    assert_eq!((came.len(), dead(&store)), (ids.len(), 0));
    assert_eq!(came, ids);
}

/// A lane that had waited long for one place stepped over the next as soon as that failed, too.
#[tokio::test]
async fn every_place_has_its_own_time() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let clock = options.clock.clone();
    let tuning = Tuning { window: 100, ..one_segment(&disk) };
    let store = Store::open_with(options, tuning).unwrap();
    let ids = accept(&store, 400).await;
    let [first, second] =
        [150, 200].map(|n| begin_of(&disk, FIRST, format!("{{\"n\":{n}}}").as_bytes()));
    let between = u32::try_from((first.start + second.start) / 2).unwrap();
    disk.set_bad(Some((FIRST, first)));
    let lane = first_lane(&store);
    let waited = || store.core.backlog.timeline.passed().as_secs();
    let failed = || clock.advance(Duration::from_secs(5));
    let mut came = deliver(&store, || waited() >= 100, failed).await;
    disk.add_bad(FIRST, second);
    let at_second = || {
        let cursor = lane.lane.lock().cursor();
        cursor.is_none_or(|c| c.place.offset > between) && has_failed(&store, &lane)
    };
    came.extend(deliver(&store, || at_second() || store.backlog(0) == 0, failed).await);
    assert!((120..200).contains(&waited()), "{} s", waited());
    disk.set_bad(None);
    came.extend(drain(&store).await.iter().map(|event| event.id));
    let lost: Vec<_> = (0..400).filter(|n| !came.contains(&ids[*n])).collect();
    assert!(lost.contains(&150) && lost.iter().all(|n| (130..180).contains(n)), "{lost:?}");
    assert_eq!(dead(&store), lost.len() as u64);
}

/// A start that could not read an event for a moment knew nothing of its subject, and delivered what came
/// after it first; and it took the event for a new one, which was to be tried for as long again.
#[tokio::test]
async fn what_a_start_cannot_read_for_a_moment_keeps_its_place_and_its_age() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let clock = options.clock.clone();
    let open =
        || Store::open_with(options.clone(), Tuning { window: 100, ..one_segment(&disk) }).unwrap();
    let store = open();
    let ids = accept(&store, 10).await;
    store.close().await;
    drop(store);
    // Its checkpoint is all that the next start goes by.
    open().close().await;
    clock.advance(Duration::from_secs(3600));
    disk.set_bad(Some((FIRST, begin_of(&disk, FIRST, br#"{"n":3}"#))));
    let store = open();
    let lane = first_lane(&store);
    let mut came = Vec::new();
    while let Ok(claimed) =
        tokio::time::timeout(Duration::from_millis(500), store.claim(&lane)).await
    {
        came.push(claimed.event.id);
        store.settle(claimed, attempt(Verdict::Delivered));
    }
    assert_eq!(came, ids[..3], "what may be about the same waits for it");
    disk.set_bad(None);
    let third = claim(&store).await;
    assert_eq!(third.event.id, ids[3]);
    assert!(third.left <= Duration::from_secs(71 * 3600), "{:?}", third.left);
    store.settle(third, attempt(Verdict::Delivered));
    let others: Vec<_> = drain(&store).await.iter().map(|event| event.id).collect();
    assert_eq!((others, dead(&store)), (ids[4..].to_vec(), 0));
}

/// A first page that the disk never gives was asked for without end, and all that waited behind its segment
/// stood still with it.
#[tokio::test]
async fn a_first_page_that_is_bad_for_good_is_stepped_over_at_last() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let clock = options.clock.clone();
    let tuning = Tuning { segment_bytes: 1500, hot_bytes: 0, ..small(&disk) };
    let store = Store::open_with(options, tuning).unwrap();
    let ids = accept(&store, 120).await;
    disk.set_bad(Some((&disk.names()[4], 0..64)));
    let failed = || clock.advance(Duration::from_secs(5));
    let came = deliver(&store, || store.backlog(0) == 0, failed).await;
    assert!(store.core.backlog.timeline.passed() > Duration::from_secs(120));
    let lost: Vec<_> = ids.iter().filter(|id| !came.contains(id)).collect();
    assert!((1..20).contains(&lost.len()), "{}", lost.len());
    assert!(came.contains(&ids[119]));
    assert_eq!(dead(&store), lost.len() as u64);
}
