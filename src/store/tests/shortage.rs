//! A process that has no descriptor left when a segment should end. Connections take what there is,
//! and the journal must go on with what it has.

use super::sim_disk::{Fault, Leaves, Short};
use super::*;

/// Longer than the store waits before it tries again, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Several segments' worth.
const EVENTS: u32 = 40;

/// A store with a few events, in its first segment.
async fn begun(dir: &Path, disk: &SimDisk) -> Store {
    let store = Store::open_with(options(dir), small(disk)).unwrap();
    for n in 0..5 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    assert_eq!(disk.names().len(), 1, "{:?}", disk.names());
    store
}

#[tokio::test]
async fn a_segment_goes_on_until_there_is_a_descriptor_for_the_next() {
    for short in [Short::Create, Short::SyncDir] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let store = begun(dir.path(), &disk).await;
        disk.set_short(Some(short));
        for n in 5..EVENTS {
            store.accept(event(n), app(&store)).await.unwrap();
        }
        assert_eq!(disk.names(), ["0000000001.journal"], "{short:?}");
        assert_eq!(store.writable(), Ok(()));
        disk.set_short(None);
        let mut n = EVENTS;
        let rotated = async {
            while disk.names().len() == 1 {
                store.accept(event(n), app(&store)).await.unwrap();
                n += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, rotated).await.unwrap();
        assert!(store.close().await, "{short:?}");
        drop(store);
        let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
        let report = store.report();
        assert_eq!((&report.gaps[..], &report.missing[..]), (&[][..], &[][..]));
        assert_eq!(drain(&store).await.len(), n as usize, "{short:?}");
    }
}

/// The segment that was taken away again came back with a power cut, and its checkpoint, which had
/// been synced, was believed: what had been acknowledged since in the segment before was not delivered.
#[tokio::test]
async fn a_segment_that_was_taken_away_is_nothing_even_if_a_power_cut_brings_it_back() {
    let mut came_back = 0;
    for seed in 0..16 {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let store = begun(dir.path(), &disk).await;
        disk.set_short(Some(Short::SyncDir));
        for n in 5..EVENTS {
            store.accept(event(n), app(&store)).await.unwrap();
        }
        disk.plan(0, Fault::PowerCut);
        store.close().await;
        drop(store);
        disk.reboot(Leaves::SomePages(seed));
        came_back += usize::from(disk.names().len() > 1);
        let store = Store::open_with(options(dir.path()), small(&disk)).unwrap();
        assert_eq!(drain(&store).await.len(), EVENTS as usize, "seed {seed}");
    }
    assert!(came_back > 0, "or this has shown nothing");
}
