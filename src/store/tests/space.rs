//! A disk that has no room left, and gets some again.

use super::sim_disk::Fault;
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
