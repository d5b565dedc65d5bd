//! Every operation of the disk fails, tears or is the last before a power cut, one after the other,
//! in a scenario that stores, repeats, delivers, rotates, restarts and goes on. Whatever happens:
//! what was acknowledged is delivered, nothing else is, and a repeat of it is known as one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use super::sim_disk::{Fault, Leaves};
use super::*;

/// What the callers of the store saw.
#[derive(Debug, Default)]
struct Seen {
    /// Ids of acknowledged events, by number.
    acked: BTreeMap<u32, EventId>,
    /// Numbers of events that were settled as delivered.
    delivered: BTreeSet<u32>,
}

fn number(event: &StoredEvent) -> u32 {
    event.meta.provider_id.as_deref().unwrap()[4..].parse().unwrap()
}

/// Runs until the store fails or everything is done.
async fn scenario(options: &Options, disk: &SimDisk, seen: &mut Seen) {
    for round in 0..3u32 {
        let Ok(store) = Store::open_with(options.clone(), small(disk)) else { return };
        for n in round * 12..round * 12 + 14 {
            if let Ok(accepted) = store.accept(event(n), app(&store)).await {
                let id = *seen.acked.entry(n).or_insert(accepted.id());
                assert_eq!(id, accepted.id(), "event {n} has two ids");
            }
        }
        for n in 0..8 {
            if store.backlog(0) == 0 || store.writable().is_err() {
                break;
            }
            let lane = Arc::clone(&store.roster().lanes()[0]);
            let next = tokio::time::timeout(Duration::from_millis(200), store.claim(&lane));
            let Ok(claimed) = next.await else { break };
            if n % 4 == 3 {
                store.settle(claimed, attempt(Verdict::RetryAt(START)));
            } else {
                seen.delivered.insert(number(&claimed.event));
                store.settle(claimed, attempt(Verdict::Delivered));
            }
        }
        store.close().await;
    }
}

async fn check(options: &Options, disk: &SimDisk, mut seen: Seen, story: &str) {
    let store = Store::open_with(options.clone(), small(disk))
        .unwrap_or_else(|e| panic!("{story}: the store does not open: {e}"));
    for event in drain(&store).await {
        let n = number(&event);
        assert!(n < 38, "{story}: event {n} was never sent");
        assert_eq!(&event.body[..], format!("{{\"n\":{n}}}").as_bytes(), "{story}");
        seen.delivered.insert(n);
    }
    for (n, id) in &seen.acked {
        assert!(seen.delivered.contains(n), "{story}: event {n} was acknowledged and is lost");
        let again = store.accept(event(*n), app(&store)).await.unwrap();
        assert_eq!(again.outcome(), Outcome::Repeat, "{story}: event {n} is not known any more");
        assert_eq!(again.id(), *id, "{story}");
    }
    store.close().await;
}

/// Lets each operation of the scenario meet `fault` once, with and without encryption, and returns
/// how many there were at least.
async fn loop_over_operations(fault: Fault, leaves: impl Fn(usize) -> Leaves) -> usize {
    let plain = loop_with_keys(keys(&[]), fault, &leaves).await;
    plain.min(loop_with_keys(keys(&[7]), fault, &leaves).await)
}

async fn loop_with_keys(
    keys: Arc<Keyring>,
    fault: Fault,
    leaves: impl Fn(usize) -> Leaves,
) -> usize {
    for at in 0.. {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let options = Options { keys: Arc::clone(&keys), ..options(dir.path()) };
        let mut seen = Seen::default();
        disk.plan(at, fault);
        scenario(&options, &disk, &mut seen).await;
        let fired = disk.fired();
        disk.reboot(leaves(at));
        check(&options, &disk, seen, &format!("{fault:?} at operation {at}, {keys:?}")).await;
        if !fired {
            return at;
        }
    }
    unreachable!("a scenario has an end")
}

#[tokio::test]
async fn a_power_cut_at_any_operation_loses_nothing_that_was_acknowledged() {
    let operations = loop_over_operations(Fault::PowerCut, |_| Leaves::Nothing).await;
    assert!(operations > 100, "{operations}");
}

#[tokio::test]
async fn a_power_cut_that_leaves_any_pages_loses_nothing_that_was_acknowledged() {
    let seed = fastrand::u64(..);
    let operations =
        loop_over_operations(Fault::PowerCut, |at| Leaves::SomePages(seed ^ at as u64)).await;
    assert!(operations > 100, "{operations}, seed {seed}");
}

#[tokio::test]
async fn a_crash_of_the_process_at_any_operation_loses_nothing_that_was_acknowledged() {
    loop_over_operations(Fault::PowerCut, |_| Leaves::Everything).await;
}

#[tokio::test]
async fn any_operation_may_fail() {
    loop_over_operations(Fault::Fails(ErrorKind::Other), |_| Leaves::Nothing).await;
}

#[tokio::test]
async fn any_operation_may_be_done_in_part() {
    loop_over_operations(Fault::Tears, |_| Leaves::Nothing).await;
}

#[tokio::test]
async fn the_disk_may_be_full_from_any_operation_on() {
    let operations = loop_over_operations(Fault::FillsUp, |_| Leaves::Nothing).await;
    assert!(operations > 100, "{operations}");
}

/// The descriptors were used up when a segment was begun: its file, a whole checkpoint in it, was
/// removed again, and events went on to the segment before it. A power cut brought the file back, and
/// a restart believed its checkpoint, which knew nothing of those events: they were never delivered.
#[tokio::test]
async fn a_segment_that_was_taken_back_hides_nothing_when_a_power_cut_brings_it_back() {
    const EMFILE: i32 = 24;
    let mut taken_back = 0;
    for fault in [Fault::Errno(EMFILE), Fault::Tears, Fault::Fails(ErrorKind::StorageFull)] {
        for (at, seed) in (0..9).flat_map(|at| (0..6).map(move |seed| (at, seed))) {
            let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
            let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
            let mut n = 0;
            while !store.core.segments.lock().iter().any(|s| s.header.number > 1) {
                store.accept(event(n), app(&store)).await.unwrap();
                n += 1;
            }
            for more in n..n * 2 - 2 {
                store.accept(event(more), app(&store)).await.unwrap();
            }
            // The next one, or the one after it, begins a third segment.
            disk.plan(at, fault);
            let mut acked = BTreeSet::new();
            for n in 100..103 {
                if store.accept(event(n), app(&store)).await.is_ok() {
                    acked.insert(n);
                }
            }
            taken_back += usize::from(disk.fired() && !acked.is_empty());
            disk.cut();
            store.close().await;
            drop(store);
            disk.reboot(Leaves::SomePages(seed));
            let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
            let delivered: BTreeSet<_> = drain(&store).await.iter().map(|e| number(e)).collect();
            let story = format!("{fault:?} at operation {at}, seed {seed}");
            assert!(delivered.is_superset(&acked), "{story}: {acked:?} of {delivered:?}");
        }
    }
    assert!(taken_back > 20, "{taken_back}");
}

/// After a failed sync a later one may succeed although the data is gone: no 200 may follow.
#[tokio::test]
async fn after_a_failed_write_nothing_is_accepted_until_a_restart() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    store.accept(event(1), app(&store)).await.unwrap();
    disk.plan(0, Fault::Fails(ErrorKind::Other));
    assert_eq!(store.accept(event(2), app(&store)).await.unwrap_err(), AcceptError::Failed);
    assert_eq!(store.accept(event(3), app(&store)).await.unwrap_err(), AcceptError::Failed);
    assert_eq!(store.writable(), Err(AcceptError::Failed));
    assert_eq!(store.accept(event(1), app(&store)).await.unwrap().outcome(), Outcome::Repeat);
    assert_eq!(drain(&store).await.len(), 1, "what is stored is delivered all the same");
    assert!(!store.close().await);
    drop(store);
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    assert_eq!(store.accept(event(3), app(&store)).await.unwrap().outcome(), Outcome::Stored);
}
