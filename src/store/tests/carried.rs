//! Retention where not everything is settled: what nobody has taken or decided is carried to the head,
//! and stays the event that it was, whatever happens meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use super::sim_disk::{Fault, Leaves};
use super::*;
use crate::store::backlog::lane::Take;
use crate::store::inspect::{EventState, Journal, stat};

const DAY: Duration = Duration::from_secs(86_400);
/// Longer than a purge takes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than the retention.
const MONTH: Duration = Duration::from_secs(31 * 86_400);

fn number(event: &StoredEvent) -> u32 {
    event.meta.provider_id.as_deref().unwrap()[4..].parse().unwrap()
}

/// Nobody waits for anybody.
fn unordered(dir: &Path) -> Options {
    Options { upstreams: vec![upstream("app", false)], ..options(dir) }
}

fn roomy(disk: &SimDisk) -> Tuning {
    Tuning { segment_bytes: 1500, window: 100, hot_bytes: 0, ..small(disk) }
}

/// Whether nothing older than the retention is left.
fn is_bounded(store: &Store) -> bool {
    let (core, segments) = (&store.core, store.core.segments.lock());
    let later = segments.iter().skip(1);
    later.into_iter().all(|next| core.age(next) <= core.keeping().retention)
}

/// Purges. A lane that is just reading on puts it off.
async fn purge(store: &Store) {
    let bounded = async {
        while !is_bounded(store) {
            retention::purge(&store.core);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, bounded).await.unwrap();
}

/// Events of several segments, of which every third is settled, durably; one is kept back.
struct Aged {
    dir: tempfile::TempDir,
    disk: SimDisk,
    options: Options,
    /// What waits: its id by its number.
    waiting: BTreeMap<u32, EventId>,
    kept_back: EventId,
    /// Whether a power cut left what it liked.
    by_chance: bool,
    store: Option<Store>,
}

impl Aged {
    async fn new() -> Self {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let options = unordered(dir.path());
        let store = Store::open_with(options.clone(), roomy(&disk)).unwrap();
        let mut waiting = BTreeMap::new();
        for n in 0..24 {
            waiting.insert(n, store.accept(event(n), app(&store)).await.unwrap().id());
        }
        let other = event_with(1, "[1]", OnConflict::Quarantine);
        let kept_back = store.accept(other, app(&store)).await.unwrap().id();
        let mut all = Vec::new();
        for _ in 0..24 {
            all.push(claim(&store).await);
        }
        for claimed in all {
            let n = number(&claimed.event);
            let done = n.is_multiple_of(3);
            let verdict = if done { Verdict::Delivered } else { Verdict::RetryAt(START) };
            store.settle(claimed, attempt(verdict));
            if done {
                waiting.remove(&n);
            }
        }
        assert!(store.sync());
        assert!(disk.names().len() > 2, "{:?}", disk.names());
        options.clock.advance(MONTH);
        Self { dir, disk, options, waiting, kept_back, by_chance: false, store: Some(store) }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    async fn close(&mut self) {
        let store = self.store.take().unwrap();
        store.close().await;
    }

    async fn cut_power(&mut self, leaves: Leaves) {
        self.disk.plan(0, Fault::PowerCut);
        self.by_chance = matches!(leaves, Leaves::SomePages(_));
        self.close().await;
        self.disk.reboot(leaves);
    }

    fn reopen(&mut self) {
        let options = Options { path: self.dir.path().to_owned(), ..self.options.clone() };
        let store = Store::open_with(options, roomy(&self.disk)).unwrap();
        // Of a batch that never ended any pages may be there, and of segments that went any names.
        assert!(self.by_chance || store.report().missing.is_empty(), "{:?}", store.report());
        assert_eq!(store.report().unreadable, []);
        self.store = Some(store);
    }

    /// What waits is known, and comes once, as the event that it was.
    async fn check(&self, story: &str) {
        let store = self.store();
        for (n, id) in &self.waiting {
            let again = store.accept(event(*n), app(store)).await.unwrap();
            assert_eq!((again.outcome(), again.id()), (Outcome::Repeat, *id), "{story}: {n}");
        }
        let other = event_with(1, "[1]", OnConflict::Quarantine);
        let again = store.accept(other, app(store)).await.unwrap();
        assert_eq!((again.outcome(), again.id()), (Outcome::Repeat, self.kept_back), "{story}");
        assert_eq!(store.backlog(0), self.waiting.len() as u64, "{story}");
        let mut came = BTreeMap::new();
        while store.backlog(0) > 0 {
            let claimed = claim(store).await;
            let event = Arc::clone(&claimed.event);
            assert_eq!(claimed.attempt, 2, "{story}");
            store.settle(claimed, attempt(Verdict::Delivered));
            let n = number(&event);
            assert_eq!(event.received_at, START, "{story}");
            assert_eq!(&event.body[..], format!("{{\"n\":{n}}}").as_bytes(), "{story}");
            assert_eq!(came.insert(n, event.id), None, "{story}: {n} came twice");
        }
        assert_eq!(came, self.waiting, "{story}");
        assert_eq!(store.core.backlog.quarantine.lock().len(), 1, "{story}");
    }
}

#[tokio::test]
async fn what_is_unsettled_is_carried_and_stays_the_event_that_it_was() {
    for story in ["goes on", "restarts", "loses power", "ages again"] {
        let mut aged = Aged::new().await;
        let before = aged.disk.names();
        assert!(retention::purge(&aged.store().core).is_some());
        let after = aged.disk.names();
        assert!(before[..before.len() - 1].iter().all(|name| !after.contains(name)), "{after:?}");
        match story {
            "restarts" => {
                aged.close().await;
                aged.reopen();
            }
            "loses power" => {
                aged.cut_power(Leaves::Nothing).await;
                aged.reopen();
            }
            "ages again" => {
                aged.options.clock.advance(MONTH);
                retention::purge(&aged.store().core);
                let now = aged.disk.names();
                assert!(after[..after.len() - 1].iter().all(|name| !now.contains(name)));
            }
            _ => {}
        }
        aged.check(story).await;
        let settled = aged.store().accept(event(0), app(aged.store())).await.unwrap();
        assert_eq!(settled.outcome(), Outcome::Stored, "a settled event's key went with it");
        let carried = aged.store().accept(event(1), app(aged.store())).await.unwrap();
        assert_eq!(carried.outcome(), Outcome::Repeat, "the key of one that was carried did not");
    }
}

/// Each operation of a purge is the last before the power goes, and the store may find anything of what
/// was not durable, or everything.
#[tokio::test]
async fn a_power_cut_at_any_operation_of_a_purge_loses_and_doubles_nothing() {
    for at in 0.. {
        let leaves = [Leaves::Nothing, Leaves::Everything, Leaves::SomePages(at as u64)];
        let mut fired = false;
        for leaves in leaves {
            let mut aged = Aged::new().await;
            aged.disk.plan(at, Fault::PowerCut);
            retention::purge(&aged.store().core);
            fired |= aged.disk.fired();
            aged.cut_power(leaves).await;
            aged.reopen();
            if at % 2 == 0 {
                retention::purge(&aged.store().core);
                assert!(is_bounded(aged.store()));
            }
            aged.check(&format!("cut at operation {at}, {leaves:?}")).await;
        }
        if !fired {
            assert!(at > 20, "{at}");
            return;
        }
    }
}

#[tokio::test]
async fn a_purge_that_fails_at_any_operation_loses_and_doubles_nothing() {
    for fault in [Fault::Fails(ErrorKind::Other), Fault::Tears, Fault::FillsUp] {
        for at in 0.. {
            let mut aged = Aged::new().await;
            aged.disk.plan(at, fault);
            retention::purge(&aged.store().core);
            let fired = aged.disk.fired();
            aged.disk.make_room();
            aged.close().await;
            aged.disk.reboot(Leaves::Nothing);
            aged.reopen();
            retention::purge(&aged.store().core);
            assert!(is_bounded(aged.store()));
            aged.check(&format!("{fault:?} at operation {at}")).await;
            if !fired {
                assert!(at > 20, "{at}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_waits_for_an_upstream_that_is_gone_is_carried_until_it_is_back() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = unordered(dir.path());
    let store = Store::open_with(options.clone(), roomy(&disk)).unwrap();
    for n in 0..30 {
        store.accept(event(n), app(&store)).await.unwrap();
    }
    let lab = Options { upstreams: vec![upstream("lab", false)], ..options.clone() };
    store.reconfigure(&lab);
    for _ in 0..3 {
        options.clock.advance(MONTH);
        retention::purge(&store.core);
        assert!(disk.names().len() <= 9, "{:?}", disk.names());
        assert!(is_bounded(&store));
    }
    store.close().await;
    drop(store);
    let store = Store::open_with(lab, roomy(&disk)).unwrap();
    store.reconfigure(&options);
    let numbers: Vec<_> = drain(&store).await.iter().map(|event| number(event)).collect();
    assert_eq!(numbers, (0..30).collect::<Vec<_>>());
}

/// Eight times the window may be held; what waits beyond that keeps its segments, until it is less.
#[tokio::test]
async fn a_backlog_beyond_memory_is_read_on_as_far_as_there_is_room() {
    for (events, all_go) in [(60, true), (200, false)] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let options = unordered(dir.path());
        let store = Store::open_with(options.clone(), small(&disk)).unwrap();
        for n in 0..events {
            store.accept(event(n), app(&store)).await.unwrap();
        }
        options.clock.advance(MONTH);
        retention::purge(&store.core);
        assert_eq!(is_bounded(&store), all_go, "{:?}", disk.names());
        assert!(store.roster().lanes()[0].lane.lock().held() <= 64);
        store.close().await;
        drop(store);
        let store = Store::open_with(options.clone(), small(&disk)).unwrap();
        let numbers: Vec<_> = drain(&store).await.iter().map(|event| number(event)).collect();
        assert_eq!(numbers, (0..events).collect::<Vec<_>>());
        retention::purge(&store.core);
        assert!(is_bounded(&store));
    }
}

/// Who has taken a delivery, or has found a key, before the event was carried, must find it still.
#[tokio::test]
async fn what_is_carried_is_found_by_who_knew_its_old_place() {
    let aged = Aged::new().await;
    let store = aged.store();
    let lane = Arc::clone(store.roster().lane(0).unwrap());
    let taken = lane.lane.lock().take(store.core.backlog.timeline.now());
    let Take::Ready(entry) = taken else { panic!("{taken:?}") };
    let key = event(1).key();
    let fingerprint = store.core.dedupe.fingerprint(&key);
    let places = store.core.dedupe.candidates(fingerprint);
    assert!(retention::purge(&store.core).is_some());
    let read = store.read_event(&lane, entry.sequence, entry.place, 1).await.unwrap();
    assert_eq!(read.id, aged.waiting[&number(&read)]);
    let found = accept::look_up(&store.core, &key, places.clone()).unwrap();
    assert!(found.is_some());
    assert_ne!(store.core.dedupe.candidates(fingerprint), places, "or it was never carried");
}

/// The checkpoint that knows where events have been carried is damaged, or all are.
#[tokio::test]
async fn what_was_carried_is_delivered_even_if_checkpoints_are_damaged() {
    for all in [false, true] {
        let mut aged = Aged::new().await;
        retention::purge(&aged.store().core);
        aged.close().await;
        let names = aged.disk.names();
        assert!(names.len() > 1, "{names:?}");
        for name in names.iter().rev().take(if all { names.len() } else { 1 }) {
            // In the payload of the first lane, behind both headers.
            aged.disk.corrupt(name, |bytes| bytes[64 + 24] ^= 1);
        }
        let options = Options { path: aged.dir.path().to_owned(), ..aged.options.clone() };
        let store = Store::open_with(options, roomy(&aged.disk)).unwrap();
        let came: BTreeSet<_> = drain(&store).await.iter().map(|event| event.id).collect();
        let lost: Vec<_> = aged.waiting.values().filter(|id| !came.contains(id)).collect();
        assert!(lost.is_empty(), "{lost:?}");
        assert_eq!(store.core.backlog.quarantine.lock().len(), 1);
    }
}

/// Headers and checkpoints share a page. Without a header the journal was taken to begin with frame 1, so
/// that each copy's event was thought to stand in it still: none of what had been carried was delivered.
#[tokio::test]
async fn what_was_carried_is_delivered_even_if_no_first_page_is_left() {
    let mut aged = Aged::new().await;
    retention::purge(&aged.store().core);
    aged.close().await;
    let journal = aged.dir.path().join("journal");
    std::fs::create_dir(&journal).unwrap();
    for name in aged.disk.names() {
        // The header, and the first lane behind it.
        aged.disk.corrupt(&name, |bytes| bytes[..100].fill(0));
    }
    let options = Options { path: aged.dir.path().to_owned(), ..aged.options.clone() };
    let store = Store::open_with(options, roomy(&aged.disk)).unwrap();
    store.sync();
    for name in aged.disk.names() {
        let file = journal.join(&name);
        aged.disk.corrupt(&name, |bytes| std::fs::write(file, bytes).unwrap());
    }
    let told = stat(&Journal::open(aged.dir.path(), &Arc::default()).unwrap()).unwrap();
    assert_eq!(told.upstreams["app"].pending, store.backlog(0), "what waits is said to wait");
    assert_eq!(told.states[&EventState::Quarantined], 1);
    let came: Vec<_> = drain(&store).await.iter().map(|event| event.id).collect();
    let ids: BTreeSet<_> = came.iter().copied().collect();
    assert_eq!(ids.len(), came.len(), "nothing comes twice");
    let lost: Vec<_> = aged.waiting.values().filter(|id| !ids.contains(id)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(store.core.backlog.quarantine.lock().len(), 1);
}

/// An ack shares its sync with what is carried, and must not wait for much of it.
#[tokio::test]
async fn what_is_carried_with_one_write_is_bounded() {
    const BODY: usize = 10_000;
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = unordered(dir.path());
    let tuning = Tuning { segment_bytes: 2 << 20, window: 1000, ..small(&disk) };
    let store = Store::open_with(options.clone(), tuning).unwrap();
    let body = format!("\"{}\"", "x".repeat(BODY));
    for n in 0..200 {
        let long = event_with(n, &body, OnConflict::Deliver);
        store.accept(long, app(&store)).await.unwrap();
    }
    options.clock.advance(MONTH);
    // It ends the segment of the others.
    store.accept(event(1000), app(&store)).await.unwrap();
    options.clock.advance(MONTH);
    disk.forget_longest_append();
    assert!(retention::purge(&store.core).is_some());
    assert!(is_bounded(&store));
    let longest = disk.longest_append();
    assert!((BODY..300_000).contains(&longest), "{longest}");
    assert_eq!(drain(&store).await.len(), 201);
}

/// What a model of the store knows.
#[derive(Default)]
struct Model {
    /// What waits, in the order of acceptance.
    waiting: BTreeMap<u64, (u32, EventId)>,
    count: u64,
    /// What was stored last under this number: its id, and when.
    stored: BTreeMap<u32, (EventId, UnixMillis)>,
}

impl Model {
    fn waits(&self, n: u32) -> Option<u64> {
        self.waiting.iter().find(|(_, (other, _))| *other == n).map(|(order, _)| *order)
    }

    /// What waits, or was stored within the retention, is a repeat.
    fn accepted(&mut self, n: u32, accepted: &Accepted, now: UnixMillis) {
        let known = self.stored.get(&n).copied();
        match (accepted.outcome(), known) {
            (Outcome::Repeat, Some((id, _))) => assert_eq!(accepted.id(), id),
            (Outcome::Stored, _) => {
                assert_eq!(self.waits(n), None, "{n} waits and is stored again");
                let young = known.is_some_and(|(_, at)| now.since(at) < DAY * 30);
                assert!(!young, "{n} is young and is stored again");
                self.waiting.insert(self.count, (n, accepted.id()));
                self.stored.insert(n, (accepted.id(), now));
                self.count += 1;
            }
            other => panic!("{n}: {other:?}"),
        }
    }

    /// What came is what waits, and the first of its subject.
    fn came(&self, event: &StoredEvent) -> u64 {
        let n = number(event);
        let order = self.waits(n).unwrap_or_else(|| panic!("{n} came and does not wait"));
        assert_eq!(self.waiting[&order].1, event.id);
        let earlier = self.waiting.range(..order).find(|(_, (other, _))| other % 5 == n % 5);
        assert!(earlier.is_none(), "{n} came before {earlier:?}");
        order
    }
}

/// Any order of what may happen over months, with a purge now and then: nothing is lost, doubled or out
/// of order, what waits is known, and what is past the retention takes no space.
#[tokio::test]
async fn whatever_happens_over_months_agrees_with_a_model() {
    let first = fastrand::u64(..1 << 32);
    for seed in first..first + 60 {
        println!("seed {seed}");
        months(seed).await;
    }
}

async fn months(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
    let options = options(dir.path());
    let open = || Store::open_with(options.clone(), small(&disk)).unwrap();
    let (mut store, mut model) = (open(), Model::default());
    for step in 0..250 {
        let what = rng.u32(..100);
        match what {
            // Eight windows of eight may be held.
            0..45 if model.waiting.len() < 60 => {
                let n = rng.u32(..200);
                let accepted = store.accept(event(n), app(&store)).await.unwrap();
                model.accepted(n, &accepted, options.clock.now());
            }
            0..75 if !model.waiting.is_empty() => {
                let claimed = claim(&store).await;
                let order = model.came(&claimed.event);
                let verdict = *rng
                    .choice(&[Verdict::Delivered, Verdict::Dead, Verdict::RetryAt(START)])
                    .unwrap();
                store.settle(claimed, attempt(verdict));
                if !matches!(verdict, Verdict::RetryAt(_)) {
                    model.waiting.remove(&order);
                }
            }
            75..85 => options.clock.advance(DAY.mul_f64(rng.f64() * 12.0)),
            85..93 => {
                purge(&store).await;
            }
            93..96 => {
                assert!(store.close().await);
                drop(store);
                store = open();
            }
            96.. => {
                assert!(store.sync());
                disk.plan(0, Fault::PowerCut);
                store.close().await;
                drop(store);
                disk.reboot(*rng.choice(&[Leaves::Nothing, Leaves::Everything]).unwrap());
                store = open();
                assert_eq!(store.report().missing, []);
            }
            _ => {}
        }
        let story = format!("step {step} ({what})");
        assert_eq!(store.backlog(0), model.waiting.len() as u64, "{story}");
    }
    while !model.waiting.is_empty() {
        let claimed = claim(&store).await;
        model.waiting.remove(&model.came(&claimed.event));
        store.settle(claimed, attempt(Verdict::Delivered));
    }
}
