//! Upstreams that come, go and change while the store is open, and after it was not closed.

use std::collections::{BTreeMap, BTreeSet};

use super::sim_disk::{Fault, Leaves};
use super::*;

const BOTH: Targets = Targets(0b11);

fn with(dir: &Path, names: &[&str]) -> Options {
    let upstreams = names.iter().map(|name| upstream(name, true)).collect();
    Options { upstreams, ..options(dir) }
}

fn number(event: &StoredEvent) -> u32 {
    event.meta.provider_id.as_deref().unwrap()[4..].parse().unwrap()
}

/// Delivers all that waits for the upstream with this index; the events' numbers, in order.
async fn drain_numbers(store: &Store, upstream: usize) -> Vec<u32> {
    let mut delivered = Vec::new();
    while store.backlog(upstream) > 0 {
        let claimed = claim_of(store, upstream).await;
        delivered.push(number(&claimed.event));
        store.settle(claimed, attempt(Verdict::Delivered));
    }
    delivered.sort_unstable();
    delivered
}

/// As after `kill -9`: nothing is closed, and what was not synced is gone.
async fn kill(store: Store, disk: &SimDisk, leaves: Leaves) {
    disk.plan(0, Fault::PowerCut);
    store.close().await;
    drop(store);
    disk.reboot(leaves);
}

#[tokio::test]
async fn an_event_goes_where_its_own_configuration_said() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(with(dir.path(), &["app", "lab"]), small(&disk)).unwrap();
    let before = store.roster();
    // The other way round: the numbers mean the others.
    let now = store.reconfigure(&with(dir.path(), &["lab", "app"]));
    store.accept(event(1), before.select(Targets::NONE.with(0))).await.unwrap();
    store.accept(event(2), now.select(Targets::NONE.with(0))).await.unwrap();
    assert_eq!(drain_numbers(&store, 0).await, [2], "lab");
    assert_eq!(drain_numbers(&store, 1).await, [1], "app");
}

#[tokio::test]
async fn a_removed_upstream_keeps_what_waits_until_it_comes_back_by_its_name() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(with(dir.path(), &["app"]), small(&disk)).unwrap();
    let app = store.roster();
    // More than the window of eight holds.
    for n in 0..20 {
        store.accept(event(n), app.select(Targets::NONE.with(0))).await.unwrap();
    }
    let held = claim_of(&store, 0).await;
    let lab = store.reconfigure(&with(dir.path(), &["lab"]));
    store.accept(event(20), lab.select(Targets::NONE.with(0))).await.unwrap();
    // On its way since before.
    store.accept(event(21), app.select(Targets::NONE.with(0))).await.unwrap();
    assert_eq!(drain_numbers(&store, 0).await, [20]);
    assert_eq!(number(&held.event), 0);
    store.settle(held, attempt(Verdict::Delivered));
    store.reconfigure(&with(dir.path(), &["lab", "app"]));
    let expected: Vec<u32> = (1..20).chain([21]).collect();
    assert_eq!(drain_numbers(&store, 1).await, expected);
    assert_eq!(store.backlog(0), 0);
}

#[tokio::test]
async fn a_lane_that_nobody_needs_is_let_go() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(with(dir.path(), &["app"]), small(&disk)).unwrap();
    for n in 0..200 {
        let name = format!("u{n}");
        store.reconfigure(&with(dir.path(), &[&name]));
    }
    assert!(store.core.backlog.lanes().len() <= 2, "{:?}", store.core.backlog.lanes());
}

/// Segments and checkpoints that were begun before an upstream existed say nothing of it.
#[tokio::test]
async fn what_was_accepted_for_a_new_upstream_survives_a_kill() {
    for leaves in [Leaves::Nothing, Leaves::Everything] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let store = Store::open_with(with(dir.path(), &["app"]), small(&disk)).unwrap();
        let app = store.roster();
        store.accept(event(0), app.select(Targets::NONE.with(0))).await.unwrap();
        let both = store.reconfigure(&with(dir.path(), &["lab", "app"]));
        for n in 1..4 {
            store.accept(event(n), both.select(BOTH)).await.unwrap();
        }
        let done = claim_of(&store, 0).await;
        store.settle(done, attempt(Verdict::Delivered));
        let lab = store.reconfigure(&with(dir.path(), &["lab"]));
        store.accept(event(4), lab.select(Targets::NONE.with(0))).await.unwrap();
        kill(store, &disk, leaves).await;

        let store = Store::open_with(with(dir.path(), &["new", "app", "lab"]), small(&disk));
        let store = store.unwrap();
        assert_eq!(drain_numbers(&store, 0).await, [0; 0], "{leaves:?}");
        assert_eq!(drain_numbers(&store, 1).await, [0, 1, 2, 3], "{leaves:?}");
        // Event 4's sync came after the attempt at event 1.
        assert_eq!(drain_numbers(&store, 2).await, [2, 3, 4], "{leaves:?}");
    }
}

/// What was acknowledged, by upstream.
type Acked = BTreeMap<&'static str, BTreeSet<u32>>;

/// Upstreams come, go and come back, over rotations and restarts, until the disk fails.
async fn scenario(dir: &Path, disk: &SimDisk, acked: &mut Acked) {
    let turns: [&[&'static str]; 4] = [&["app"], &["lab", "app"], &["lab"], &["app", "new"]];
    let mut n = 0;
    for _ in 0..2 {
        let Ok(store) = Store::open_with(with(dir, turns[0]), small(disk)) else { return };
        for names in turns {
            let roster = store.reconfigure(&with(dir, names));
            for _ in 0..4 {
                let targets = if n % 3 == 0 { Targets(0b01) } else { BOTH };
                if store.accept(event(n), roster.select(targets)).await.is_ok() {
                    for name in names.iter().take(if n % 3 == 0 { 1 } else { 2 }) {
                        acked.entry(name).or_default().insert(n);
                    }
                }
                n += 1;
            }
        }
        store.close().await;
    }
}

#[tokio::test]
async fn a_power_cut_at_any_operation_loses_nothing_of_any_upstream() {
    for at in 0.. {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let mut acked = Acked::new();
        disk.plan(at, Fault::PowerCut);
        scenario(dir.path(), &disk, &mut acked).await;
        let fired = disk.fired();
        disk.reboot(if at % 2 == 0 { Leaves::Nothing } else { Leaves::SomePages(at as u64) });
        let names = ["new", "lab", "app"];
        let store = Store::open_with(with(dir.path(), &names), small(&disk)).unwrap();
        for (upstream, name) in names.iter().enumerate() {
            let delivered: BTreeSet<u32> =
                drain_numbers(&store, upstream).await.into_iter().collect();
            let acked = acked.remove(name).unwrap_or_default();
            let lost: Vec<_> = acked.difference(&delivered).collect();
            assert!(lost.is_empty(), "cut at operation {at}: {name} lost {lost:?}");
        }
        if !fired {
            assert!(at > 50, "{at}");
            return;
        }
    }
}

#[tokio::test]
async fn retention_and_free_space_change_while_it_is_open() {
    const DAY: u64 = 86_400;
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let store = Store::open_with(options.clone(), small(&disk)).unwrap();
    store.accept(event(1), app(&store)).await.unwrap();
    drain(&store).await;
    options.clock.advance(Duration::from_secs(2 * DAY));
    store.accept(event(2), app(&store)).await.unwrap();
    drain(&store).await;
    retention::purge(&store.core);
    assert_eq!(disk.names()[0], "0000000001.journal");
    let day = Duration::from_secs(DAY);
    store.reconfigure(&Options { retention: day, min_free: 2000, ..options.clone() });
    options.clock.advance(Duration::from_secs(DAY + 1));
    retention::purge(&store.core);
    assert_eq!(disk.names()[0], "0000000002.journal");

    disk.set_free(1500);
    store.core.look_at_space(0);
    assert_eq!(store.writable(), Err(AcceptError::Low));
    store.reconfigure(&options);
    store.core.look_at_space(0);
    assert_eq!(store.writable(), Ok(()));
}

#[tokio::test]
async fn an_opening_that_is_cancelled_leaves_the_journal_as_it_was() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    for n in 0..20 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    store.close().await;
    drop(store);
    let before = disk.names();
    let tuning = small(&disk);
    tuning.cancel.cancel();
    let cancelled = Store::open_with(options(dir.path()), tuning).unwrap_err();
    assert!(matches!(cancelled, OpenError::Cancelled), "{cancelled}");
    assert_eq!(disk.names(), before);
    let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
    assert_eq!(drain(&store).await.len(), 20);
}
