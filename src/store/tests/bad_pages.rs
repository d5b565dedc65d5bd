//! Pages that the disk does not give, at a start and for good, and what they must not take with them.

use super::*;
use crate::store::query::{Filter, QueryError};

const FIRST: &str = "0000000001.journal";
const SECOND: &str = "0000000002.journal";
const HEADER: std::ops::Range<u64> = 0..64;
const DAY: Duration = Duration::from_secs(86_400);
/// Longer than any of this takes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes and delivers an event, and ends.
async fn run(open: impl Fn() -> Store, n: u32) {
    let store = open();
    store.accept(event(n), app(&store)).await.unwrap();
    assert_eq!(drain(&store).await.len(), 1);
    assert!(store.close().await);
}

/// Two first pages at the journal's begin that a start could not read, or that were damaged, had their
/// segments count as begun in 1970: the first went at once, with its keys and its dead letters.
#[tokio::test]
async fn segments_are_not_old_because_nobody_knows_when_they_were_begun() {
    for (ring, damaged) in [(&[][..], false), (&[][..], true), (&[7][..], false), (&[7], true)] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let options = Options { keys: keys(ring), ..options(dir.path()) };
        let open = || Store::open_with(options.clone(), small(&disk)).unwrap();
        for n in 0..4 {
            run(open, n).await;
        }
        if damaged {
            for name in [FIRST, SECOND] {
                disk.corrupt(name, |bytes| bytes[16] ^= 1);
            }
        } else {
            disk.set_bad(Some((FIRST, HEADER)));
            disk.add_bad(SECOND, HEADER);
        }
        let store = open();
        retention::purge(&store.core);
        assert_eq!(disk.names()[0], FIRST, "{ring:?}, {damaged}");
        assert!(store.close().await);
        drop(store);
        disk.set_bad(None);
        let store = open();
        let known = store.accept(event(0), app(&store)).await.unwrap();
        assert_eq!(known.outcome(), Outcome::Repeat, "{ring:?}, {damaged}");
        options.clock.advance(DAY * 31);
        retention::purge(&store.core);
        assert!(!disk.names().iter().any(|name| name == FIRST), "{ring:?}, {damaged}");
        assert!(store.close().await);
    }
}

/// What had come late into a segment that was begun early went with the date of that.
#[tokio::test]
async fn a_segment_is_kept_from_its_last_event_on_though_the_next_one_s_date_is_not_known() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let open = || Store::open_with(options.clone(), small(&disk)).unwrap();
    let store = open();
    options.clock.advance(DAY * 20);
    store.accept(event(0), app(&store)).await.unwrap();
    assert_eq!(drain(&store).await.len(), 1);
    assert!(store.close().await);
    drop(store);
    for n in 1..3 {
        run(open, n).await;
    }
    options.clock.advance(DAY * 15);
    disk.set_bad(Some((SECOND, HEADER)));
    let store = open();
    retention::purge(&store.core);
    assert_eq!(disk.names()[0], FIRST);
    assert!(store.close().await);
}

/// One bad sector, under an event or in front of a segment's, kept the whole catalogue from being made, and
/// every question waited for it until its segment went.
#[tokio::test]
async fn a_sector_that_is_bad_for_good_keeps_nobody_from_asking_for_the_others() {
    for at_event in [false, true] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let options = options(dir.path());
        let tuning = || Tuning { catalogue: true, ..small(&disk) };
        let open = || Store::open_with(options.clone(), tuning()).unwrap();
        for n in 0..3 {
            run(open, n).await;
        }
        let mut bad = HEADER;
        if at_event {
            disk.corrupt(FIRST, |bytes| {
                let at = bytes.windows(7).position(|bytes| bytes == b"{\"n\":0}").unwrap() as u64;
                bad = at..at + 7;
            });
        }
        disk.set_bad(Some((FIRST, bad)));
        let store = open();
        let names = |store: &Store| -> Result<Vec<_>, QueryError> {
            let page = store.list(&Filter::default(), None, 10)?;
            let name = |listed: crate::store::query::Listed| listed.event.meta.provider_id.clone();
            Ok(page.items.into_iter().filter_map(name).collect())
        };
        let asked = |store: &Store| {
            let begun = std::time::Instant::now();
            let mut in_vain = 0;
            loop {
                match names(store) {
                    Ok(names) => return (names, in_vain),
                    Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
                }
                in_vain += 1;
                options.clock.advance(Duration::from_secs(20));
                store.core.catalogue.wake();
                std::thread::park_timeout(Duration::from_millis(20));
            }
        };
        let (told, in_vain) = asked(&store);
        assert_eq!(told, ["evt_2", "evt_1"], "{at_event}");
        assert!(in_vain > 2, "an error that passes hides nothing");
        assert!(store.close().await);
        drop(store);
        disk.set_bad(None);
        let store = open();
        assert_eq!(asked(&store).0, ["evt_2", "evt_1", "evt_0"], "{at_event}");
        assert!(store.close().await);
    }
}
