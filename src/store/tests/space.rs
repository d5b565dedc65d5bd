//! A disk that has no room left, and gets some again.

use std::collections::BTreeSet;

use super::sim_disk::{Fault, Leaves, Short};
use super::*;
use crate::store::indexer::IndexFeed;
use crate::store::open::Opened;
use crate::store::queue::Work;

/// Longer than the store waits before it tries again, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

async fn open_again(store: &Store) {
    let open = async {
        while store.writable().is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, open).await.unwrap();
}

/// A start on a disk without a single free byte failed, for it could not begin a segment: what was
/// stored was not delivered until somebody had made room and started it again.
#[tokio::test]
async fn a_store_opens_on_a_full_disk_delivers_and_takes_up_again_by_itself() {
    // Even if the disk is not said to be full before it is.
    for min_free in [0, 1000] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let options = Options { min_free, ..options(dir.path()) };
        let store = Store::open_with(options.clone(), small(&disk)).unwrap();
        let first = store.accept(event(1), app(&store)).await.unwrap();
        store.accept(event(2), app(&store)).await.unwrap();
        store.close().await;
        drop(store);

        disk.plan(0, Fault::FillsUp);
        let store = Store::open_with(options.clone(), small(&disk)).unwrap();
        assert_eq!(store.report().missing, []);
        assert_eq!(store.writable(), Err(AcceptError::NoRoom));
        let refused = store.accept(event(3), app(&store)).await.unwrap_err();
        assert_eq!(refused, AcceptError::NoRoom);
        let repeat = store.accept(event(1), app(&store)).await.unwrap();
        assert_eq!(repeat.id(), first.id(), "what is stored is known");
        let waiting = store.backlog(0);
        assert_eq!(drain(&store).await.len() as u64, waiting, "what is stored is delivered");

        disk.make_room();
        open_again(&store).await;
        store.accept(event(3), app(&store)).await.unwrap();
        assert!(store.close().await);
        drop(store);
        let store = Store::open_with(options.clone(), small(&disk)).unwrap();
        let report = store.report();
        assert_eq!((&report.gaps[..], &report.missing[..]), (&[][..], &[][..]));
        let ids: Vec<_> = drain(&store).await.iter().map(|e| e.meta.provider_id.clone()).collect();
        assert_eq!(ids, [Some("evt_3".to_owned())], "what was delivered is known");
    }
}

/// Each second the store took up again, for nothing had to be free, and the next write failed: who asked
/// whether it was ready heard yes and no in turn, and that free space was below `min_free`.
#[test]
fn a_store_without_room_says_so_until_a_write_has_found_some() {
    // With a quota there may be as much free as one likes, and all the same not for us.
    for (free, small_fits) in [(u64::MAX, false), (1000, true)] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let clock = Clock::manual(START);
        let options = Options { min_free: 0, clock: clock.clone(), ..options(dir.path()) };
        let feed = |_, _| Ok(IndexFeed::idle());
        let Opened { core, mut writer, .. } = Opened::recover(options, small(&disk), feed).unwrap();
        let said = crate::log::testing::lines(false, || {
            disk.set_free(free);
            disk.plan(0, Fault::FillsUp);
            assert!(writer.turn(Work { checkpoint: true, ..Work::default() }).is_continue());
            for _ in 0..5 {
                assert_eq!(core.writable(), Err(AcceptError::NoRoom), "{free} free");
                if small_fits {
                    disk.make_room();
                }
                clock.advance(Duration::from_secs(2));
                assert!(writer.turn(Work::default()).is_continue());
            }
            disk.make_room();
            disk.set_free(u64::MAX);
            for _ in 0..2 {
                clock.advance(Duration::from_secs(2));
                assert!(writer.turn(Work::default()).is_continue());
            }
        });
        assert_eq!(core.writable(), Ok(()), "{free} free");
        assert_eq!(said.matches("new events are refused").count(), 1, "{said}");
        assert_eq!(said.matches(": there is room again").count(), 1, "{said}");
        assert!(said.contains(&dir.path().display().to_string()), "{said}");
    }
}

#[tokio::test]
async fn a_store_that_is_closed_before_there_is_room_opens_again() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    store.accept(event(1), app(&store)).await.unwrap();
    store.close().await;
    drop(store);
    for _ in 0..3 {
        disk.plan(0, Fault::FillsUp);
        let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
        assert_eq!(claim(&store).await.attempt, 1);
        store.close().await;
    }
    disk.make_room();
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    assert_eq!(drain(&store).await.len(), 1);
}

/// A write that the disk had no room for was final, although nothing is uncertain about it: after
/// the room was back, events were refused until somebody came and restarted the gateway. Attempts
/// were enough to bring it about, with events refused long before.
#[tokio::test]
async fn what_does_not_fit_is_taken_back_and_the_store_goes_on() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    for n in 0..4 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    disk.plan(0, Fault::FillsUp);
    let refused = store.accept(event(4), app(&store)).await.unwrap_err();
    assert_eq!(refused, AcceptError::NoRoom);
    assert_eq!(store.writable(), Err(AcceptError::NoRoom));
    for _ in 0..2 {
        store.settle(claim(&store).await, attempt(Verdict::Delivered));
    }
    assert!(!store.core.queue.sync(), "they are not on the disk");
    disk.make_room();
    open_again(&store).await;
    store.accept(event(4), app(&store)).await.unwrap();
    // As after a crash: nothing more is written.
    disk.plan(0, Fault::PowerCut);
    store.close().await;
    drop(store);
    disk.reboot(sim_disk::Leaves::Nothing);
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    let report = store.report();
    assert_eq!((&report.gaps[..], &report.missing[..]), (&[][..], &[][..]));
    let ids: Vec<_> = drain(&store).await.iter().map(|e| e.meta.provider_id.clone()).collect();
    assert_eq!(ids, ["evt_2", "evt_3", "evt_4"].map(|id| Some(id.to_owned())));
}

/// A store that was closed soon after the disk had been full did not try again to write down what had
/// been settled meanwhile, although there was room by then: all of it was delivered once more.
#[tokio::test]
async fn what_did_not_fit_is_written_at_the_latest_when_the_store_is_closed() {
    for full_from_the_start in [false, true] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let options = Options { clock: Clock::manual(START), ..options(dir.path()) };
        let mut store = Store::open_with(options.clone(), small(&disk)).unwrap();
        store.accept(event(1), app(&store)).await.unwrap();
        if full_from_the_start {
            store.close().await;
            drop(store);
            disk.plan(0, Fault::FillsUp);
            store = Store::open_with(options.clone(), small(&disk)).unwrap();
        }
        disk.plan(0, Fault::FillsUp);
        assert_eq!(drain(&store).await.len(), 1);
        assert!(!store.core.queue.sync(), "there is no room");
        disk.make_room();
        assert!(store.close().await);
        drop(store);
        let store = Store::open_with(options.clone(), small(&disk)).unwrap();
        assert_eq!(store.backlog(0), 0, "{full_from_the_start}");
    }
}

/// After a write that had found no room, as much had to be free as that one would have taken, for as
/// long as the process ran: smaller events were refused although they would have fitted.
#[tokio::test]
async fn events_that_fit_are_taken_after_one_that_did_not() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    let long = event_with(1, &format!("\"{}\"", "x".repeat(400_000)), OnConflict::Deliver);
    disk.plan(0, Fault::FillsUp);
    assert_eq!(store.accept(long, app(&store)).await.unwrap_err(), AcceptError::NoRoom);
    disk.set_free(200_000);
    disk.make_room();
    open_again(&store).await;
    store.accept(event(2), app(&store)).await.unwrap();
}

/// A store that had been opened on a full disk failed for good when there was room again and, for a
/// moment, no descriptor.
#[test]
fn a_start_without_room_goes_on_after_a_shortage_of_descriptors() {
    for short in [Short::Create, Short::SyncDir] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let clock = Clock::manual(START);
        let options = Options { clock: clock.clone(), ..options(dir.path()) };
        let feed = |_, _| Ok(IndexFeed::idle());
        disk.plan(0, Fault::FillsUp);
        let Opened { core, mut writer, .. } = Opened::recover(options, small(&disk), feed).unwrap();
        assert_eq!(core.writable(), Err(AcceptError::NoRoom));
        disk.make_room();
        disk.set_short(Some(short));
        for _ in 0..2 {
            clock.advance(Duration::from_secs(2));
            assert!(writer.turn(Work::default()).is_continue());
            assert_eq!(core.writable(), Err(AcceptError::NoRoom), "{short:?}");
        }
        disk.set_short(None);
        clock.advance(Duration::from_secs(2));
        assert!(writer.turn(Work::default()).is_continue());
        assert_eq!(core.writable(), Ok(()), "{short:?}");
    }
}

#[tokio::test]
async fn a_segment_that_finds_no_room_to_begin_leaves_the_one_before_in_use() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    let mut n = 0;
    while disk.names().len() == 1 {
        store.accept(event(n), app(&store)).await.unwrap();
        n += 1;
    }
    // The next one begins a third.
    while store.core.segments.lock().len() == 2 && n < 1000 {
        disk.plan(0, Fault::FillsUp);
        assert_eq!(store.accept(event(n), app(&store)).await.unwrap_err(), AcceptError::NoRoom);
        disk.make_room();
        open_again(&store).await;
        store.accept(event(n), app(&store)).await.unwrap();
        n += 20;
        for more in n..n + 20 {
            store.accept(event(more), app(&store)).await.unwrap();
        }
        n += 20;
    }
    let waiting = store.backlog(0);
    assert!(store.close().await);
    drop(store);
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    let report = store.report();
    assert_eq!((&report.gaps[..], &report.missing[..]), (&[][..], &[][..]));
    assert_eq!(drain(&store).await.len() as u64, waiting);
}

/// What retention could let go stayed, for that waits for a sync, which waited for room.
#[tokio::test]
async fn retention_makes_room_at_a_start_on_a_full_disk() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let store = Store::open_with(options.clone(), small(&disk)).unwrap();
    for n in 0..40 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    drain(&store).await;
    store.close().await;
    drop(store);
    let before = disk.names();
    assert!(before.len() > 2, "{before:?}");
    options.clock.advance(Duration::from_secs(31 * 86_400));
    disk.plan(0, Fault::FillsUp);
    let store = Store::open_with(options, small(&disk)).unwrap();
    assert_eq!(disk.names(), before[before.len() - 1..], "only the newest is left");
    disk.make_room();
    open_again(&store).await;
    assert_eq!(store.accept(event(3), app(&store)).await.unwrap().outcome(), Outcome::Stored);
}

/// A store of several segments on a disk that is full, all of them past the retention. Everything is
/// delivered, but that of the second half is written down nowhere; the ids of those.
struct Full {
    dir: tempfile::TempDir,
    disk: SimDisk,
    options: Options,
    unwritten: BTreeSet<EventId>,
    store: Store,
}

impl Full {
    async fn new() -> Self {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let upstreams = vec![upstream("app", false)];
        let options = Options { upstreams, ..options(dir.path()) };
        let store = Store::open_with(options.clone(), Self::tuning(&disk)).unwrap();
        let mut all = Vec::new();
        for n in 0..40 {
            store.accept(event(n), app(&store)).await.unwrap();
            all.push(claim(&store).await);
        }
        let second = all.split_off(20);
        for claimed in all {
            store.settle(claimed, attempt(Verdict::Delivered));
        }
        assert!(store.sync());
        options.clock.advance(Duration::from_secs(31 * 86_400));
        disk.plan(0, Fault::FillsUp);
        let refused = store.accept(event(100), app(&store)).await.unwrap_err();
        assert_eq!(refused, AcceptError::NoRoom);
        let unwritten = second.iter().map(|claimed| claimed.event.id).collect();
        for claimed in second {
            store.settle(claimed, attempt(Verdict::Delivered));
        }
        Self { dir, disk, options, unwritten, store }
    }

    fn tuning(disk: &SimDisk) -> Tuning {
        Tuning { segment_bytes: 1500, window: 100, ..small(disk) }
    }
}

/// Letting go waited for a sync, which waited for room: a full disk stayed full until a restart, even if
/// all there was on it was past the retention.
#[tokio::test]
async fn retention_makes_room_on_a_full_disk_while_the_store_runs() {
    let full = Full::new().await;
    let before = full.disk.names();
    assert!(before.len() > 4, "{before:?}");
    assert!(retention::purge(&full.store.core).is_some());
    let left = full.disk.names();
    assert!(!left.contains(&before[0]) && !left.contains(&before[1]), "{left:?}");
    assert!(left.len() > 1, "what is not known to be settled after a crash is there: {left:?}");
    full.disk.make_room();
    open_again(&full.store).await;
    full.store.accept(event(100), app(&full.store)).await.unwrap();
    assert!(retention::purge(&full.store.core).is_some());
    assert!(full.disk.names().iter().all(|name| !left[..left.len() - 1].contains(name)));
}

/// What goes is nothing that a restart would look for, wherever the power is cut.
#[tokio::test]
async fn a_power_cut_at_any_operation_of_a_purge_on_a_full_disk_loses_and_doubles_nothing() {
    for at in 0.. {
        let mut fired = false;
        for leaves in [Leaves::Nothing, Leaves::Everything, Leaves::SomePages(at as u64)] {
            let Full { dir: _dir, disk, options, unwritten, store } = Full::new().await;
            disk.plan(at, Fault::PowerCut);
            retention::purge(&store.core);
            fired |= disk.fired();
            disk.cut();
            store.close().await;
            drop(store);
            disk.reboot(leaves);
            let story = format!("cut at operation {at}, {leaves:?}");
            let store = Store::open_with(options, Full::tuning(&disk)).unwrap();
            let report = store.report();
            let by_chance = matches!(leaves, Leaves::SomePages(_));
            assert!(by_chance || report.missing.is_empty(), "{story}: {report:?}");
            assert_eq!(report.unreadable, [], "{story}");
            let came: Vec<_> = drain(&store).await.iter().map(|event| event.id).collect();
            assert_eq!(came.len(), unwritten.len(), "{story}");
            assert_eq!(came.into_iter().collect::<BTreeSet<_>>(), unwritten, "{story}");
        }
        if !fired {
            assert!(at > 3, "{at}");
            return;
        }
    }
}

/// Writing the newest segment again needs room where its blocks are shared with a copy, as a backup leaves
/// them: a start on a full disk was refused, and nothing delivered. Until there is room, no repeat out of that
/// segment is acknowledged.
#[tokio::test]
async fn a_store_whose_files_share_blocks_with_a_backup_opens_on_a_full_disk() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let open = || Store::open_with(options.clone(), small(&disk));
    let store = open().unwrap();
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(store.accept(event(n), app(&store)).await.unwrap().id());
    }
    assert!(store.close().await);
    drop(store);
    disk.set_shared(true);
    disk.plan(0, Fault::FillsUp);
    let store = open().unwrap_or_else(|error| panic!("{error}"));
    for n in [1, 9] {
        let refused = store.accept(event(n), app(&store)).await.map(|_| ()).unwrap_err();
        assert_eq!(refused, AcceptError::NoRoom, "event {n}");
    }
    let came: Vec<_> = drain(&store).await.iter().map(|event| event.id).collect();
    assert_eq!(came, ids);
    disk.make_room();
    open_again(&store).await;
    let again = store.accept(event(1), app(&store)).await.unwrap();
    assert_eq!((again.outcome(), again.id()), (Outcome::Repeat, ids[1]));
    store.accept(event(9), app(&store)).await.unwrap();
    assert!(store.close().await);
    drop(store);
    assert_eq!(drain(&open().unwrap()).await.len(), 1);
}
