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
