//! What the catalogue tells of events, against what the journal says to somebody who reads all of it.

use std::collections::{BTreeMap, HashMap};

use super::sim_disk::Leaves;
use super::*;
use crate::config::Pattern;
use crate::event::{DedupeKey, KeyKind, normalize_type};
use crate::store::journal::act::{ActRecord, ActUpstream, encode_act};
use crate::store::journal::frame::{Batch, Kind};
use crate::store::journal::record::{
    AttemptRecord, EventRecord, NewEvent, decode_attempt, decode_event, encode_attempt, event_in,
};
use crate::store::journal::segment::{Place, Scanned, SegmentHeader};
use crate::store::query::{
    Act, ActKind, Cursor, Delivery, DeliveryState, EventState, Filter, Happening, Listed, Page,
    QueryError,
};

mod acts;
mod oracle;
mod world;

const PATIENCE: Duration = Duration::from_secs(20);
const UPSTREAMS: [&str; 2] = ["app", "lab-system"];

fn tuning(disk: &SimDisk) -> Tuning {
    Tuning { catalogue: true, ..small(disk) }
}

/// Asks until the catalogue is made.
fn asked<T>(mut ask: impl FnMut() -> Result<T, QueryError>) -> T {
    let begun = std::time::Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(QueryError::NotReady { done, all }) => {
                assert!(begun.elapsed() < PATIENCE, "{done} of {all}");
                std::thread::park_timeout(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn page(store: &Store, filter: &Filter, from: Option<Cursor>, limit: usize) -> Page {
    asked(|| store.list(filter, from, limit))
}

/// All pages of a list.
fn listed(store: &Store, filter: &Filter, limit: usize) -> Vec<Listed> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let Page { items, next } = page(store, filter, from, limit);
        assert!(items.len() <= limit);
        assert!(!items.is_empty() || next.is_none(), "a page without end");
        all.extend(items);
        match next {
            Some(next) => from = Some(next),
            None => return all,
        }
    }
}

fn in_state(state: EventState) -> Filter {
    Filter { state: Some(state), ..Filter::default() }
}

/// Who has had an answer finds it in the next listing: not a moment later.
#[tokio::test]
async fn what_was_accepted_and_settled_is_told_at_once() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), tuning(&disk)).unwrap();
    for n in 0..60 {
        let id = store.accept(event(n), app(&store)).await.unwrap().id();
        let Page { items, .. } = page(&store, &in_state(EventState::Pending), None, 10);
        assert_eq!(items.iter().map(|item| item.event.id).collect::<Vec<_>>(), [id]);
        let verdict = if n % 2 == 0 { Verdict::Delivered } else { Verdict::Dead };
        let state = if n % 2 == 0 { EventState::Delivered } else { EventState::Dead };
        store.settle(claim(&store).await, attempt(verdict));
        let Page { items, .. } = page(&store, &in_state(state), None, 1);
        assert_eq!(items[0].event.id, id);
        assert_eq!(items[0].deliveries[0].attempts, 1);
        assert!(page(&store, &in_state(EventState::Pending), None, 1).items.is_empty());
        assert!(page(&store, &in_state(EventState::Unknown), None, 1).items.is_empty());
    }
}

/// A segment in which only attempts stood was replaced at the next start, and how its deliveries had ended
/// was lost: dead letters were counted, and nobody could say which.
#[tokio::test]
async fn an_attempt_is_told_after_a_restart_though_no_event_came_meanwhile() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let open = || Store::open_with(options(dir.path()), tuning(&disk)).unwrap();
    let store = open();
    let id = store.accept(event(1), app(&store)).await.unwrap().id();
    assert!(store.close().await);
    let store = open();
    store.settle(claim(&store).await, attempt(Verdict::Dead));
    assert!(store.close().await);
    for _ in 0..2 {
        let store = open();
        let Page { items, .. } = page(&store, &in_state(EventState::Dead), None, 10);
        assert_eq!(items.iter().map(|item| item.event.id).collect::<Vec<_>>(), [id]);
        assert_eq!(items[0].deliveries[0].last_status, Some(400));
        assert!(store.close().await);
    }
}

/// What arrives while somebody turns pages neither moves nor repeats anything.
#[tokio::test]
async fn every_event_is_on_one_page_while_others_arrive() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), tuning(&disk)).unwrap();
    let mut wanted = Vec::new();
    for n in 0..100 {
        wanted.push(store.accept(event(n), app(&store)).await.unwrap().id());
    }
    let (mut seen, mut from, mut n) = (Vec::new(), None, 100);
    loop {
        let Page { items, next } = page(&store, &Filter::default(), from, 7);
        seen.extend(items.iter().map(|item| item.event.id));
        for _ in 0..5 {
            store.accept(event(n), app(&store)).await.unwrap();
            n += 1;
        }
        store.settle(claim(&store).await, attempt(Verdict::Delivered));
        match next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    wanted.reverse();
    assert_eq!(seen, wanted);
}

/// Each event whose name was not in memory was read, of a million a million.
#[tokio::test]
async fn what_has_another_name_is_not_read() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let store = Store::open_with(options.clone(), tuning(&disk)).unwrap();
    for n in 0..10 {
        let meta = EventMeta {
            provider_id: Some(format!("evt_{n}")),
            provider_type: Some(format!("Order {n}")),
            ..EventMeta::default()
        };
        let event = identified("lab", START, "{}", meta, OnConflict::Deliver);
        store.accept(event, app(&store)).await.unwrap();
    }
    store.close().await;
    drop(store);
    let store = Store::open_with(options, tuning(&disk)).unwrap();
    assert_eq!(listed(&store, &Filter::default(), 50).len(), 10);
    let is_journal = |name: &String| !name.ends_with(".events") && !name.ends_with(".deeds");
    for name in disk.names().iter().filter(|name| is_journal(name)) {
        disk.add_bad(name, 0..u64::MAX);
    }
    let another = Filter { kind: Some(Pattern("order.77".into())), ..Filter::default() };
    assert_eq!(listed(&store, &another, 50).len(), 0);
}

/// Files are made again if anything is wrong with them, and are left alone if nothing is.
#[tokio::test]
async fn files_of_the_catalogue_are_believed_or_made_again() {
    use std::os::unix::fs::MetadataExt as _;

    let dir = tempfile::tempdir().unwrap();
    let tuning = || Tuning { segment_bytes: 4096, ..Tuning::default() };
    let catalogue = dir.path().join("catalogue");
    let open = || Store::open_with(options(dir.path()), tuning()).unwrap();
    let told = |store: &Store| {
        let all = listed(store, &Filter::default(), 50).into_iter();
        all.map(|item| (item.event.id, item.state, item.deliveries)).collect::<Vec<_>>()
    };
    let store = open();
    for n in 0..60 {
        store.accept(event(n), app(&store)).await.unwrap();
        if n % 3 == 0 {
            let verdict = if n % 2 == 0 { Verdict::Delivered } else { Verdict::Dead };
            store.settle(claim(&store).await, attempt(verdict));
        }
    }
    let wanted = told(&store);
    assert_eq!(wanted.len(), 60);
    assert!(store.close().await);
    drop(store);
    let look = || {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(&catalogue).unwrap() {
            let entry = entry.unwrap();
            let found = entry.metadata().unwrap();
            let made = (found.ino(), found.mtime(), found.mtime_nsec());
            files.insert(entry.file_name().into_string().unwrap(), made);
        }
        files
    };
    let before = look();
    assert!(before.len() > 6, "{before:?}");
    let store = open();
    assert_eq!(told(&store), wanted);
    let after = look();
    assert!(before.iter().all(|(name, made)| after[name] == *made), "{before:?} {after:?}");
    assert!(store.close().await);
    drop(store);
    let (events, deeds) = ("0000000001.events", "0000000002.deeds");
    let rewrite = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let path = catalogue.join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    };
    let huge = |name: &str| {
        let file = std::fs::OpenOptions::new().write(true).open(catalogue.join(name)).unwrap();
        file.set_len(64 + 52 * 24 * (1 << 30)).unwrap();
    };
    let changes: [(&str, &dyn Fn()); 8] = [
        ("removed", &|| std::fs::remove_file(catalogue.join(events)).unwrap()),
        ("all removed", &|| std::fs::remove_dir_all(&catalogue).unwrap()),
        ("cut short", &|| rewrite(events, &|bytes| bytes.truncate(bytes.len() / 2))),
        ("without its end", &|| rewrite(deeds, &|bytes| bytes.truncate(bytes.len() - 24))),
        ("a bit", &|| rewrite(events, &|bytes| bytes[60] ^= 1)),
        ("another segment's", &|| {
            let from = catalogue.join("0000000003.events");
            std::fs::copy(from, catalogue.join(events)).map(drop).unwrap();
        }),
        ("a terabyte", &|| huge(events)),
        ("a terabyte of the other", &|| huge(deeds)),
    ];
    for (what, change) in changes {
        change();
        let store = open();
        assert_eq!(told(&store), wanted, "{what}");
        assert!(store.close().await);
        drop(store);
        for name in [events, deeds] {
            assert!(std::fs::metadata(catalogue.join(name)).unwrap().len() < 10_000, "{what}");
        }
    }
}

/// Somebody may delete the directory under a running gateway: the next question finds out.
#[tokio::test]
async fn a_catalogue_that_vanishes_is_made_again_while_the_store_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    for n in 0..10 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    assert_eq!(listed(&store, &Filter::default(), 3).len(), 10);
    std::fs::remove_dir_all(dir.path().join("catalogue")).unwrap();
    let not_ready = store.list(&Filter::default(), None, 3);
    assert!(matches!(not_ready, Err(QueryError::NotReady { .. })), "{not_ready:?}");
    store.accept(event(10), app(&store)).await.unwrap();
    assert_eq!(listed(&store, &Filter::default(), 3).len(), 11);
    assert!(store.close().await);
}

/// The journal's head had no room: the catalogue has none either, and gets it when there is some.
#[tokio::test]
async fn a_disk_without_room_for_the_catalogue_costs_no_event() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let store = Store::open_with(options(dir.path()), tuning(&disk)).unwrap();
    for n in 0..10 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    assert_eq!(listed(&store, &Filter::default(), 20).len(), 10);
    disk.plan(0, super::sim_disk::Fault::FillsUp);
    let mut n = 10;
    while store.accept(event(n), app(&store)).await.is_ok() {
        n += 1;
        assert!(n < 1000);
    }
    let full = store.list(&Filter::default(), None, 2000);
    disk.make_room();
    let items = listed(&store, &Filter::default(), 20);
    assert!(items.len() >= n as usize, "{} of {n}, {full:?}", items.len());
}

/// Nobody would have noticed if it were tried again and again without a pause; and each event that arrived
/// cut the pause short.
#[tokio::test]
async fn a_catalogue_that_cannot_be_read_is_tried_more_and_more_seldom() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = Options { clock: Clock::manual(START), ..options(dir.path()) };
    let open = || Store::open_with(options.clone(), tuning(&disk)).unwrap();
    let store = open();
    for n in 0..40 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    assert_eq!(listed(&store, &Filter::default(), 50).len(), 40);
    assert!(store.close().await);
    drop(store);
    // Its rows, not its header.
    disk.set_bad(Some(("0000000001.events", 40..41)));
    let store = open();
    // When it is tried again, after so many tries.
    let rests = |times: usize| {
        let begun = std::time::Instant::now();
        loop {
            let until = store.core.catalogue.rests_until().filter(|_| disk.met_bad() == times);
            match until {
                Some(until) => return until.saturating_sub(store.core.backlog.timeline.passed()),
                None => std::thread::park_timeout(Duration::from_millis(1)),
            }
            assert!(begun.elapsed() < PATIENCE, "{} of {times}", disk.met_bad());
        }
    };
    for (times, rest) in (1..).zip([2, 4, 8, 16, 32, 60, 60]) {
        assert_eq!(rests(times), Duration::from_secs(rest), "after {times} tries");
        options.clock.advance(Duration::from_millis(rest * 1000 - 1));
        store.accept(event(100 + u32::try_from(times).unwrap()), app(&store)).await.unwrap();
        std::thread::park_timeout(Duration::from_millis(250));
        assert_eq!(rests(times), Duration::from_millis(1), "whatever arrives");
        options.clock.advance(Duration::from_millis(1));
    }
    rests(8);
    disk.set_bad(None);
    options.clock.advance(Duration::from_secs(60));
    assert_eq!(listed(&store, &Filter::default(), 50).len(), 47);
    assert!(store.close().await);
}
