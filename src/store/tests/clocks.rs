//! Clocks that are set while the store is open. What has really passed is what counts.

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

/// The wall clock was set a month ahead, by mistake or for the better: everything that was settled
/// went at once, and with it every key, so that the providers' repeats were events again.
#[tokio::test]
async fn a_clock_that_is_set_ahead_makes_nothing_old() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let clock = options.clock.clone();
    let store = Store::open_with(options.clone(), small(&disk)).unwrap();
    for n in 0..40 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    drain(&store).await;
    store.close().await;
    drop(store);
    // Some segments are from before the start, some from after it.
    clock.advance(DAY);
    let store = Store::open_with(options, small(&disk)).unwrap();
    for n in 40..80 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    drain(&store).await;
    let before = disk.names();
    clock.step_to(START.after(DAY * 400));
    retention::purge(&store.core);
    assert_eq!(disk.names(), before);
    for n in [3, 43] {
        let again = store.accept(event(n), app(&store)).await.unwrap();
        assert_eq!(again.outcome(), Outcome::Repeat);
    }
    // Set right again, and the time of retention really over.
    clock.step_to(START.after(DAY));
    clock.advance(DAY * 29 + Duration::from_secs(3600));
    store.accept(event(100), app(&store)).await.unwrap();
    retention::purge(&store.core);
    assert_ne!(disk.names()[0], before[0], "what is older than the retention goes");
    assert!(disk.names().len() > 2, "and nothing else: {:?}", disk.names());
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_everything_for_as_long() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let clock = options.clock.clone();
    let store = Store::open_with(options, small(&disk)).unwrap();
    for n in 0..40 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    drain(&store).await;
    let before = disk.names();
    clock.step_to(UnixMillis(START.0 - 86_400_000));
    clock.advance(DAY * 30 + Duration::from_secs(3600));
    retention::purge(&store.core);
    assert_eq!(disk.names(), before, "by the wall clock it is a day too early");
    clock.advance(DAY);
    retention::purge(&store.core);
    assert!(disk.names().len() < before.len(), "{:?}", disk.names());
}

/// A clock that was set ahead by more than `give_up` made a dead letter of everything that was
/// waiting, at its next attempt.
#[tokio::test]
async fn a_clock_that_is_set_gives_nothing_up_early_or_late() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let clock = options.clock.clone();
    let store = Store::open_with(options, small(&disk)).unwrap();
    store.accept(event(1), app(&store)).await.unwrap();
    let give_up = Duration::from_secs(72 * 3600);
    for at in [START.after(DAY * 10), UnixMillis(START.0 - 86_400_000), START] {
        clock.step_to(at);
        let claimed = claim(&store).await;
        let left = claimed.left;
        assert!(left <= give_up && left > give_up - Duration::from_secs(60), "{at}: {left:?}");
        drop(claimed);
    }
}

/// The clock was ten years ahead when a segment was begun: every later one was dated behind it, and none
/// went before that day.
#[tokio::test]
async fn one_start_with_the_clock_ahead_does_not_end_retention() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let clock = options.clock.clone();
    let run = async |events: std::ops::Range<u32>| {
        let store = Store::open_with(options.clone(), small(&disk)).unwrap();
        for n in events {
            store.accept(event(n), app(&store)).await.unwrap();
        }
        drain(&store).await;
        retention::purge(&store.core);
        assert!(store.close().await);
    };
    run(0..10).await;
    clock.step_to(START.after(DAY * 3650));
    run(20..30).await;
    clock.step_to(START.after(DAY));
    run(40..50).await;
    let before = disk.names();
    assert_eq!(before[0], "0000000001.journal", "nothing is old yet");
    clock.advance(DAY * 20);
    run(60..70).await;
    assert_eq!(disk.names()[0], before[0], "nor now");
    clock.advance(DAY * 20);
    run(80..81).await;
    let left = disk.names();
    assert!(left[0] >= before[before.len() - 2], "{left:?}, and before {before:?}");
}

/// Nor does a clock that is set right while it runs.
#[tokio::test]
async fn a_clock_that_is_set_right_goes_on_with_retention_without_a_restart() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let clock = options.clock.clone();
    clock.step_to(START.after(DAY * 3650));
    let store = Store::open_with(options, small(&disk)).unwrap();
    for n in 0..40 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    drain(&store).await;
    clock.step_to(START);
    let before = disk.names();
    clock.advance(DAY * 29);
    retention::purge(&store.core);
    assert_eq!(disk.names(), before);
    clock.advance(DAY * 2);
    retention::purge(&store.core);
    assert!(disk.names().len() < before.len(), "{:?}", disk.names());
}

/// One that was decades behind at a start, as without a battery, does not make old what was stored before.
#[tokio::test]
async fn one_start_with_the_clock_behind_makes_nothing_old() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let clock = options.clock.clone();
    for at in [START, UnixMillis(86_400_000), START.after(DAY)] {
        clock.step_to(at);
        let store = Store::open_with(options.clone(), small(&disk)).unwrap();
        for n in 0..40 {
            let stored = store.accept(event(n), app(&store)).await.unwrap();
            assert_eq!(stored.outcome() == Outcome::Stored, at == START, "{at}");
        }
        // So that each has a segment.
        store.accept(event(u32::try_from(at.0 / 1000).unwrap()), app(&store)).await.unwrap();
        drain(&store).await;
        retention::purge(&store.core);
        assert!(disk.names().contains(&"0000000001.journal".to_owned()), "{at}");
        assert!(store.close().await);
    }
}

/// Between its reception and its being stored the clock was set ahead: the event had one attempt, and was
/// given up.
#[tokio::test]
async fn a_clock_that_is_set_ahead_while_an_event_is_stored_takes_none_of_its_time() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let store = Store::open_with(options.clone(), small(&disk)).unwrap();
    options.clock.step_to(START.after(DAY * 30));
    store.accept(event(0), app(&store)).await.unwrap();
    let claimed = claim(&store).await;
    assert!(claimed.left + Duration::from_secs(6) > options.upstreams[0].give_up);
}
