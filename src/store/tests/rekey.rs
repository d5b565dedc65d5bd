//! Another key for what is stored: interrupted at any moment, twice, and beside a running gateway.

use super::sim_disk::{Fault, Leaves};
use super::*;
use crate::store::rekey::{Failure, RekeyError, Rekeyed, rekey};

const EVENTS: u32 = 40;

/// A stopped store with a plain segment and several under the first key.
async fn stored(dir: &Path, disk: &SimDisk) {
    for (ring, events) in [(&[][..], 0..2), (&[1], 2..EVENTS)] {
        let store = Store::open_with(with(dir, ring), small(disk)).unwrap();
        for n in events {
            store.accept(event(n), app(&store)).await.unwrap();
        }
        assert!(store.close().await);
    }
}

fn with(dir: &Path, ring: &[u8]) -> Options {
    Options { keys: keys(ring), ..options(dir) }
}

fn run(dir: &Path, disk: &SimDisk, ring: &[u8]) -> Result<Rekeyed, RekeyError> {
    rekey(dir, &keys(ring), Arc::new(disk.clone()))
}

fn counts(done: &Rekeyed) -> (usize, usize, usize, usize) {
    (done.rewrapped, done.current, done.plain, done.failed.len())
}

async fn check(dir: &Path, disk: &SimDisk, ring: &[u8], story: &str) {
    let store = Store::open_with(with(dir, ring), small(disk));
    let store = store.unwrap_or_else(|e| panic!("{story}: the store does not open: {e}"));
    let report = store.report();
    assert_eq!((&report.gaps[..], &report.missing[..]), (&[][..], &[][..]), "{story}");
    assert_eq!(store.backlog(0), u64::from(EVENTS), "{story}");
    for n in 0..EVENTS {
        // Its frame is opened for that.
        let again = store.accept(event(n), app(&store)).await.unwrap();
        assert_eq!(again.outcome(), Outcome::Repeat, "{story}: event {n}");
    }
    assert!(store.close().await, "{story}");
}

#[tokio::test]
async fn after_it_the_old_key_is_not_needed_any_more() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    stored(dir.path(), &disk).await;
    let segments = disk.names().len();
    assert!(segments > 3, "{segments}");
    let done = run(dir.path(), &disk, &[2, 1]).unwrap();
    assert_eq!(counts(&done), (segments - 1, 0, 1, 0));
    let again = run(dir.path(), &disk, &[2]).unwrap();
    assert_eq!(counts(&again), (0, segments - 1, 1, 0), "and again it has nothing to do");
    assert!(matches!(
        Store::open_with(with(dir.path(), &[1]), small(&disk)),
        Err(OpenError::Keys(_))
    ));
    check(dir.path(), &disk, &[2], "under the new key alone").await;
}

/// At every moment one of the slots is whole, whatever a power cut leaves of the other.
#[tokio::test]
async fn a_power_cut_at_any_operation_of_a_rekeying_loses_nothing() {
    let seed = fastrand::u64(..);
    for (fault, leaves) in [
        (Fault::PowerCut, Leaves::Nothing),
        (Fault::PowerCut, Leaves::Everything),
        (Fault::PowerCut, Leaves::SomePages(seed)),
        (Fault::Tears, Leaves::Nothing),
        (Fault::Fails(std::io::ErrorKind::Other), Leaves::Nothing),
    ] {
        for at in 0.. {
            let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
            stored(dir.path(), &disk).await;
            let segments = disk.names().len();
            disk.plan(at, fault);
            let done = run(dir.path(), &disk, &[2, 1]);
            let fired = disk.fired();
            let story = format!("{fault:?} at operation {at}, {leaves:?}, {done:?}");
            if fault != Fault::PowerCut {
                // The same machine goes on, and only then the power goes.
                disk.plan(usize::MAX, Fault::PowerCut);
                let second = run(dir.path(), &disk, &[2, 1]).unwrap();
                assert_eq!(second.failed.len(), 0, "{story}: {second:?}");
                disk.reboot(leaves);
                check(dir.path(), &disk, &[2], &story).await;
            } else {
                disk.reboot(leaves);
                check(dir.path(), &disk, &[2, 1], &story).await;
                let second = run(dir.path(), &disk, &[2, 1]).unwrap();
                let all = second.rewrapped + second.current + second.plain;
                assert!(all >= segments && second.failed.is_empty(), "{story}: {second:?}");
                check(dir.path(), &disk, &[2], &story).await;
            }
            if !fired {
                assert!(at > 5 * segments, "{at} operations");
                break;
            }
        }
    }
}

/// Rekeyed to one key, cut short, and then to a third: both slots are taken.
#[tokio::test]
async fn a_rekeying_that_was_cut_short_may_be_followed_by_one_to_another_key() {
    for at in 0..40 {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        stored(dir.path(), &disk).await;
        disk.plan(at, Fault::PowerCut);
        drop(run(dir.path(), &disk, &[2, 1]));
        disk.reboot(Leaves::Everything);
        let done = run(dir.path(), &disk, &[3, 2, 1]).unwrap();
        assert_eq!((done.current, done.failed.len()), (0, 0), "{at}: {done:?}");
        check(dir.path(), &disk, &[3], &format!("cut at {at}")).await;
    }
}

#[tokio::test]
async fn what_cannot_be_rekeyed_is_named_and_the_others_are() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    stored(dir.path(), &disk).await;
    let names = disk.names();
    let (second, third) = (&names[1], &names[2]);
    disk.corrupt(second, |bytes| bytes[4096..4224].fill(0));
    let done = run(dir.path(), &disk, &[2, 1]).unwrap();
    assert_eq!(counts(&done), (names.len() - 2, 0, 1, 1));
    assert!(matches!(done.failed[..], [(2, Failure::Keyless)]), "{done:?}");
    // Back to a key from before, without the one between.
    let done = run(dir.path(), &disk, &[1]).unwrap();
    let missing = keys(&[2]).current().unwrap().id();
    assert_eq!(done.rewrapped, 0, "{third}");
    let is_missing = |f: &(u32, Failure)| matches!(f.1, Failure::Missing(id) if id == missing);
    assert_eq!(done.failed.iter().filter(|f| is_missing(f)).count(), names.len() - 2);
}

#[tokio::test]
async fn without_a_key_or_a_store_nothing_is_done() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    stored(dir.path(), &disk).await;
    assert!(matches!(run(dir.path(), &disk, &[]), Err(RekeyError::NoKey)));
    let nowhere = dir.path().join("nowhere");
    assert!(matches!(run(&nowhere, &disk, &[1]), Err(RekeyError::NoStore(_))));
    let lock = std::fs::File::create(dir.path().join("rekey.lock")).unwrap();
    lock.lock().unwrap();
    assert!(matches!(run(dir.path(), &disk, &[1]), Err(RekeyError::Busy(_))));
}

/// Its lock was root's from then on, and the service did not start any more.
#[tokio::test]
async fn root_does_not_rekey_another_user_s_store() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a directory away");
        return;
    }
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    stored(dir.path(), &disk).await;
    std::os::unix::fs::chown(dir.path(), Some(990), Some(990)).unwrap();
    let error = run(dir.path(), &disk, &[2, 1]).unwrap_err();
    assert!(matches!(error, RekeyError::NotOwner(_)), "{error}");
    let said = error.to_string();
    assert!(said.contains("belongs to uid 990, and only that user can do this"), "{said}");
    assert!(said.contains("could not open what root writes there; run it as that user"), "{said}");
    assert!(!dir.path().join("rekey.lock").exists(), "nothing was made");
}

/// Opened, they made or locked a file that somebody else had chosen.
#[tokio::test]
async fn locks_that_are_links_are_refused() {
    for name in ["lock", "rekey.lock"] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        stored(dir.path(), &disk).await;
        let (lock, target) = (dir.path().join(name), dir.path().join("target"));
        drop(std::fs::remove_file(&lock));
        std::os::unix::fs::symlink(&target, &lock).unwrap();
        let said = run(dir.path(), &disk, &[2, 1]).unwrap_err().to_string();
        assert!(said.contains(&format!("{name} is a symbolic link")), "{said}");
        assert!(!target.exists(), "{name}");
    }
}

/// The running gateway could not read what was put under a key that it does not know.
#[tokio::test]
async fn beside_a_running_store_it_waits_for_the_new_key_to_be_in_use() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    stored(dir.path(), &disk).await;
    let store = Store::open_with(with(dir.path(), &[1]), small(&disk)).unwrap();
    let error = run(dir.path(), &disk, &[2, 1]).unwrap_err();
    assert!(matches!(error, RekeyError::NotInUse { .. }), "{error}");
    assert!(error.to_string().contains("nothing was changed"), "{error}");
    let segments = disk.names().len();
    store.reconfigure(&with(dir.path(), &[2, 1]));
    let ended = async {
        while disk.names().len() == segments {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    // The new head is being written while its file is there already.
    let done = run(dir.path(), &disk, &[2, 1]).unwrap();
    assert_eq!(counts(&done), (segments - 1, 1, 1, 0));
    store.check_keys(&keys(&[2])).unwrap();
    store.reconfigure(&with(dir.path(), &[2]));
    assert_eq!(drain(&store).await.len(), EVENTS as usize, "all of it can still be read");
    assert!(store.close().await);
}
