//! What goes after its retention, and what is known of it then.

use super::sim_disk::{Fault, Leaves};
use super::*;

#[tokio::test]
async fn segments_go_when_they_are_old_and_settled_and_their_keys_with_them() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let clock = options.clock.clone();
    let store = Store::open_with(options, small(&disk)).unwrap();
    for n in 0..40 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    drain(&store).await;
    store.accept(event(100), app(&store)).await.unwrap();
    // How many there are before it depends on how many attempts were written at once.
    let with_100 = disk.names().pop().unwrap();
    assert_ne!(with_100, disk.names()[0]);
    clock.advance(Duration::from_secs(31 * 86_400));
    store.accept(event(101), app(&store)).await.unwrap();
    drain(&store).await;
    clock.advance(Duration::from_secs(29 * 86_400));
    retention::purge(&store.core);
    // It ended with event 101, which is not old enough.
    assert_eq!(disk.names()[0], with_100, "{:?}", disk.names());
    let again = store.accept(event(3), app(&store)).await.unwrap();
    assert_eq!(again.outcome(), Outcome::Stored, "the key went with its event");
    assert_eq!(store.accept(event(101), app(&store)).await.unwrap().outcome(), Outcome::Repeat);
}

#[tokio::test]
async fn the_index_saves_reading_the_journal_and_is_rebuilt_when_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let tuning = || Tuning { segment_bytes: 64 * 1024, ..Tuning::default() };
    let store = Store::open_with(options(dir.path()), tuning()).unwrap();
    for n in 0..2000 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    drain(&store).await;
    store.close().await;
    drop(store);

    let store = Store::open_with(options(dir.path()), tuning()).unwrap();
    assert!(!store.report().index_rebuilt);
    // The attempts may all stand in the last segment, but the events do not.
    assert!(store.report().frames_read < 2500, "{:?}", store.report());
    assert_eq!(store.report().events, 2000);
    assert_eq!(store.accept(event(7), app(&store)).await.unwrap().outcome(), Outcome::Repeat);
    store.close().await;
    drop(store);

    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let store = Store::open_with(options(dir.path()), tuning()).unwrap();
    assert!(store.report().index_rebuilt);
    assert_eq!(store.report().events, 2000);
    assert_eq!(store.accept(event(1999), app(&store)).await.unwrap().outcome(), Outcome::Repeat);
    assert_eq!(store.backlog(0), 0);
}

/// An event that had been kept back for its conflict was delivered unseen when it was sent again after
/// retention had let the event go that it conflicted with.
#[tokio::test]
async fn a_conflict_is_known_even_when_its_partner_is_gone() {
    const DAY: u64 = 86_400;
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let clock = options.clock.clone();
    let store = Store::open_with(options, small(&disk)).unwrap();
    store.accept(event(1), app(&store)).await.unwrap();
    drain(&store).await;
    clock.advance(Duration::from_secs(20 * DAY));
    let other = || event_with(1, "[1]", OnConflict::Quarantine);
    let kept_back = store.accept(other(), app(&store)).await.unwrap();
    assert_eq!(kept_back.outcome(), Outcome::ConflictQuarantined);
    clock.advance(Duration::from_secs(31 * DAY));
    retention::purge(&store.core);
    assert!(!disk.names().contains(&"0000000001.journal".to_owned()), "{:?}", disk.names());
    let again = store.accept(other(), app(&store)).await.unwrap();
    assert_eq!((again.id(), again.outcome()), (kept_back.id(), Outcome::Repeat));
    assert_eq!(store.backlog(0), 0);
}

#[tokio::test]
async fn dead_letters_are_counted_over_restarts_until_retention_lets_their_events_go() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let mut options = options(dir.path());
    options.upstreams = vec![upstream("app", false)];
    let clock = options.clock.clone();
    let dead = |store: &Store| store.lanes().next().unwrap().dead_letters;
    let mut expected = 0;
    for round in 0..4 {
        let store = Store::open_with(options.clone(), small(&disk)).unwrap();
        assert_eq!(dead(&store), expected, "round {round}");
        // More than the window holds, so that some are dead beyond the last checkpoint's cursor.
        for n in 0..40 {
            store.accept(event(round * 100 + n), app(&store)).await.unwrap();
        }
        for n in 0..40 {
            let verdict = if n % 4 == 0 { Verdict::Dead } else { Verdict::Delivered };
            store.settle(claim(&store).await, attempt(verdict));
        }
        expected += 10;
        assert_eq!(dead(&store), expected, "round {round}");
        let is_cut_off = round % 2 == 1;
        if is_cut_off {
            assert!(store.core.queue.sync());
            disk.plan(0, Fault::PowerCut);
        }
        store.close().await;
        drop(store);
        disk.reboot(Leaves::Nothing);
    }
    options.upstreams = vec![upstream("other", false)];
    let store = Store::open_with(options.clone(), small(&disk)).unwrap();
    let lanes: Vec<_> = store.lanes().map(|lane| (lane.upstream, lane.dead_letters)).collect();
    assert_eq!(
        lanes,
        [("other".to_owned(), 0), ("app".to_owned(), 40)],
        "one that is configured no more is not forgotten"
    );
    clock.advance(Duration::from_secs(31 * 86_400));
    store.accept(event(1000), app(&store)).await.unwrap();
    clock.advance(Duration::from_secs(31 * 86_400));
    store.accept(event(1001), app(&store)).await.unwrap();
    drain(&store).await;
    retention::purge(&store.core);
    assert_eq!(store.lanes().map(|lane| lane.dead_letters).sum::<u64>(), 0);
}
