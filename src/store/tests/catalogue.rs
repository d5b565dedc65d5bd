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

/// What the journal says, to who reads all of it each time.
#[derive(Default)]
struct Oracle {
    events: BTreeMap<u64, EventRecord>,
    /// Attempts at each delivery that still stand somewhere.
    attempts: HashMap<(u64, String), Vec<(u32, Attempt)>>,
    /// The last ones of all, also of those that went with their segments since the store was opened.
    last: HashMap<(u64, String), Verdict>,
}

impl Oracle {
    fn read(&mut self, store: &Store) {
        assert!(store.sync());
        self.events.clear();
        self.attempts.clear();
        let files = &store.core.files;
        let numbers: Vec<u32> =
            store.core.segments.lock().iter().map(|s| s.header.number).collect();
        for number in numbers {
            let mut scanner = files.scan(number, 0, Sequence(0)).unwrap();
            while let Some(scanned) = scanner.step().unwrap() {
                let Scanned::Frame(frame) = scanned else { panic!("{scanned:?}") };
                let payload = Bytes::copy_from_slice(frame.payload);
                match frame.header.kind {
                    Kind::Event | Kind::Carried => {
                        let (sequence, payload) = event_in(&frame.header, &payload).unwrap();
                        let record = decode_event(sequence, &payload).unwrap();
                        self.events.insert(sequence.0, record);
                    }
                    Kind::Attempt => {
                        let record = decode_attempt(frame.payload).unwrap();
                        let key = (record.event.0, record.upstream.to_owned());
                        self.last.insert(key.clone(), record.attempt.verdict);
                        let attempts = self.attempts.entry(key).or_default();
                        attempts.push((record.number, record.attempt));
                    }
                    _ => {}
                }
            }
        }
    }

    fn deliveries(&self, store: &Store, record: &EventRecord) -> Vec<Delivery> {
        if record.quarantined {
            return Vec::new();
        }
        let event = record.event.sequence;
        let delivery = |upstream: &String| {
            let key = (event.0, upstream.clone());
            let lane = store.core.backlog.lane(upstream);
            let waits = lane.is_some_and(|slot| {
                let lane = slot.lane.lock();
                let beyond = lane.cursor().is_some_and(|c| (c.sequence..=c.last).contains(&event));
                beyond || lane.entries().any(|entry| entry.sequence == event)
            });
            let state = match self.last.get(&key) {
                Some(Verdict::Delivered) => DeliveryState::Delivered,
                Some(Verdict::Dead) => DeliveryState::Dead,
                _ if waits => DeliveryState::Pending,
                _ => DeliveryState::Unknown,
            };
            let last = self.attempts.get(&key).and_then(|attempts| attempts.last());
            let next_at = last.and_then(|(_, attempt)| match attempt.verdict {
                Verdict::RetryAt(at) if state == DeliveryState::Pending => Some(at),
                _ => None,
            });
            Delivery {
                upstream: upstream.clone(),
                state,
                attempts: last.map_or(0, |(number, _)| *number),
                last_status: last.and_then(|(_, attempt)| match attempt.result {
                    AttemptResult::Answered(status) => Some(status),
                    _ => None,
                }),
                next_at,
            }
        };
        record.targets.iter().map(delivery).collect()
    }

    fn state(store: &Store, record: &EventRecord, deliveries: &[Delivery]) -> EventState {
        let any = |state| deliveries.iter().any(|delivery| delivery.state == state);
        if record.quarantined {
            let quarantine = store.core.backlog.quarantine.lock();
            let is_there = quarantine.contains_key(&record.event.sequence);
            return if is_there { EventState::Quarantined } else { EventState::Unknown };
        }
        match () {
            () if deliveries.is_empty() => EventState::Filtered,
            () if any(DeliveryState::Pending) => EventState::Pending,
            () if any(DeliveryState::Dead) => EventState::Dead,
            () if any(DeliveryState::Unknown) => EventState::Unknown,
            () => EventState::Delivered,
        }
    }

    /// Newest first.
    fn list(&self, store: &Store, filter: &Filter) -> Vec<(u64, EventState, Vec<Delivery>)> {
        let mut found = Vec::new();
        for (number, record) in self.events.iter().rev() {
            let event = &record.event;
            let deliveries = self.deliveries(store, record);
            let state = Self::state(store, record, &deliveries);
            let name = normalize_type(event.meta.provider_type.as_deref());
            let Filter { source, state: wanted, kind, subject, since, until, upstream } = filter;
            let outcome = match (upstream, wanted) {
                (None, wanted) => wanted.is_none_or(|wanted| wanted == state),
                (Some(upstream), None) => record.targets.contains(upstream),
                (Some(upstream), Some(wanted)) if record.quarantined => {
                    record.targets.contains(upstream) && *wanted == state
                }
                (Some(upstream), Some(wanted)) => deliveries.iter().any(|delivery| {
                    delivery.upstream == *upstream && delivery.state.as_str() == wanted.as_str()
                }),
            };
            let fits = source.as_ref().is_none_or(|source| event.source.as_str() == source)
                && kind.as_ref().is_none_or(|kind| kind.matches(&name))
                && subject.as_ref().is_none_or(|s| event.meta.subject.as_ref() == Some(s))
                && since.is_none_or(|since| event.received_at >= since)
                && until.is_none_or(|until| event.received_at < until)
                && outcome;
            if fits {
                found.push((*number, state, deliveries));
            }
        }
        found
    }
}

struct World {
    dir: tempfile::TempDir,
    disk: SimDisk,
    options: Options,
    rng: fastrand::Rng,
    oracle: Oracle,
    store: Option<Store>,
    seed: u64,
    /// How often there was something of each kind to compare.
    seen: BTreeMap<&'static str, usize>,
}

const TYPES: [Option<&str>; 5] =
    [None, Some("order.shipped"), Some("Order  CANCELLED"), Some("order:shipped"), Some("results")];
const PATTERNS: [&str; 6] = ["*", "order.*", "order.shipped", "unknown", "*s*", "nothing"];

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let upstreams = UPSTREAMS.iter().map(|name| upstream(name, rng.bool())).collect();
        let ring = if rng.bool() { &[7][..] } else { &[] };
        let options = Options { upstreams, keys: keys(ring), ..options(dir.path()) };
        let store = Some(Store::open_with(options.clone(), tuning(&disk)).unwrap());
        let (oracle, seen) = (Oracle::default(), BTreeMap::new());
        Self { dir, disk, options, rng, oracle, store, seed, seen }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    async fn accept(&mut self) {
        let n = self.rng.u32(..400);
        let body = format!("{{\"n\":{}}}", self.rng.u32(..3));
        let subject = self.rng.u32(..4);
        let meta = EventMeta {
            provider_id: Some(format!("evt_{n}")),
            provider_type: self.rng.choice(TYPES).flatten().map(str::to_owned),
            subject: (subject > 0).then(|| format!("order_{subject}")),
            data: 0..u32::try_from(body.len()).unwrap(),
            ..EventMeta::default()
        };
        let source = ["lab", "shop", "clinic"][self.rng.usize(..3)];
        let at = UnixMillis(START.0 + self.rng.u64(..10_000));
        let event = identified(source, at, &body, meta, OnConflict::Quarantine);
        let mut targets = Targets::NONE;
        for upstream in 0..UPSTREAMS.len() {
            if self.rng.u8(..3) > 0 {
                targets = targets.with(upstream);
            }
        }
        let to = self.store().roster().select(targets);
        self.store().accept(event, to).await.unwrap();
    }

    async fn deliver(&mut self) {
        let upstream = self.rng.usize(..UPSTREAMS.len());
        let lane = Arc::clone(self.store().roster().lane(upstream).unwrap());
        let soon = Duration::from_millis(2);
        let claimed = tokio::time::timeout(soon, self.store().claim(&lane)).await;
        let Ok(claimed) = claimed else { return };
        let now = self.store().core.backlog.timeline.wall();
        let verdict = match self.rng.u8(..6) {
            0 => Verdict::Dead,
            1 => Verdict::RetryAt(now.after(Duration::from_secs(60))),
            2 => return drop(claimed),
            _ => Verdict::Delivered,
        };
        self.store().settle(claimed, attempt(verdict));
    }

    fn purge(&mut self) {
        self.options.clock.advance(Duration::from_secs(self.rng.u64(1..12) * 86_400));
        // What goes is remembered as long as the store is open.
        let store = self.store.take().unwrap();
        self.oracle.read(&store);
        asked(|| store.list(&Filter::default(), None, 1));
        let before = store.core.segments.lock().len();
        retention::purge(&store.core);
        let gone = before - store.core.segments.lock().len().min(before);
        *self.seen.entry("segments gone").or_default() += gone;
        self.store = Some(store);
    }

    async fn reopen(&mut self) {
        let store = self.store.take().unwrap();
        let how = self.rng.u8(..4);
        match how {
            0 => {
                assert!(store.close().await);
            }
            1 => {
                assert!(store.sync());
                self.disk.cut();
                store.close().await;
                self.disk.next_process();
            }
            2 => {
                assert!(store.sync());
                self.disk.cut();
                store.close().await;
                self.disk.reboot(Leaves::Nothing);
            }
            _ => {
                assert!(store.close().await);
                self.damage();
            }
        }
        drop(store);
        if self.rng.u8(..4) == 0 {
            self.options.keys = keys(&[7]);
        }
        let options = Options { path: self.dir.path().to_owned(), ..self.options.clone() };
        self.store = Some(Store::open_with(options, tuning(&self.disk)).unwrap());
        self.oracle.last.clear();
    }

    /// Does something to some of the catalogue's files.
    fn damage(&mut self) {
        for name in self.disk.names() {
            if !name.ends_with(".events") && !name.ends_with(".deeds") {
                continue;
            }
            let rng = &mut self.rng;
            let what = rng.u8(..6);
            self.disk.corrupt(&name, |bytes| match what {
                0 => bytes.clear(),
                1 => bytes.truncate(rng.usize(..=bytes.len())),
                2 if !bytes.is_empty() => {
                    let at = rng.usize(..bytes.len());
                    bytes[at] ^= 1 << rng.u8(..8);
                }
                3 => bytes.extend_from_slice(&[7; 100]),
                _ => {}
            });
            *self.seen.entry("files damaged").or_default() += usize::from(what < 4);
        }
    }

    fn filter(&mut self) -> Filter {
        let rng = &mut self.rng;
        let mut filter = Filter::default();
        for _ in 0..rng.u8(..3) {
            match rng.u8(..7) {
                0 => filter.source = Some(["lab", "shop", "none"][rng.usize(..3)].to_owned()),
                1 => filter.state = rng.choice(EventState::ALL),
                2 => filter.kind = rng.choice(PATTERNS).map(|text| Pattern(text.to_owned())),
                3 => filter.subject = Some(format!("order_{}", rng.u8(1..5))),
                4 => filter.since = Some(UnixMillis(START.0 + rng.u64(..10_000))),
                5 => filter.until = Some(UnixMillis(START.0 + rng.u64(..10_000))),
                _ => {
                    filter.upstream =
                        Some(["app", "lab-system", "none"][rng.usize(..3)].to_owned());
                    filter.state = rng.choice(EventState::ALL);
                }
            }
        }
        filter
    }

    fn check(&mut self) {
        let (filter, limit) = (self.filter(), self.rng.usize(1..30));
        let store = self.store.take().unwrap();
        self.oracle.read(&store);
        let story = format!("seed {}, {filter:?}", self.seed);
        let wanted = self.oracle.list(&store, &filter);
        let found = listed(&store, &filter, limit);
        for item in &found {
            let record = &self.oracle.events[&item.event.sequence.0];
            assert!(item.event == record.event, "{story}: {item:?}");
            *self.seen.entry(item.state.as_str()).or_default() += 1;
        }
        let told: Vec<_> = found
            .into_iter()
            .map(|item| (item.event.sequence.0, item.state, item.deliveries))
            .collect();
        assert_eq!(told, wanted, "{story}");
        let mut numbers: Vec<_> = wanted.iter().map(|(number, ..)| Sequence(*number)).collect();
        numbers.reverse();
        assert_eq!(asked(|| store.matching(&filter)), numbers, "{story}");
        let all: Vec<u64> = self.oracle.events.keys().copied().collect();
        if let Some(number) = self.rng.choice(all) {
            self.check_history(&store, number);
        }
        let known: Vec<u32> = store.core.segments.lock().iter().map(|s| s.header.number).collect();
        for name in self.disk.names() {
            let number = name.strip_suffix(".events").or(name.strip_suffix(".deeds"));
            let is_known = |number: &str| known.contains(&number.parse().unwrap());
            assert!(number.is_none_or(is_known), "{story}: {name} of {known:?}");
        }
        let nobody = EventId::new(START, [3; 10]);
        assert!(asked(|| store.history_of(nobody)).is_none());
        self.store = Some(store);
    }

    fn check_history(&self, store: &Store, number: u64) {
        let record = &self.oracle.events[&number];
        let (item, moments) = asked(|| store.history_of(record.event.id)).expect("it is there");
        let deliveries = self.oracle.deliveries(store, record);
        let state = Oracle::state(store, record, &deliveries);
        assert!(item.event == record.event, "seed {}", self.seed);
        assert_eq!((item.state, item.deliveries), (state, deliveries), "seed {}", self.seed);
        let mut moments = moments.into_iter();
        assert_eq!(moments.next().map(|m| (m.at, m.what)), {
            Some((record.event.received_at, Happening::Received))
        });
        let (upstreams, quarantined) = (record.targets.clone(), record.quarantined);
        let stored = Happening::Stored { upstreams, quarantined };
        assert_eq!(moments.next().map(|moment| moment.what), Some(stored));
        let mut told: HashMap<String, Vec<(u32, Attempt)>> = HashMap::new();
        for moment in moments {
            let Happening::Attempt { upstream, number, duration, result, verdict, .. } =
                moment.what
            else {
                panic!("{moment:?}");
            };
            let attempt = Attempt { started_at: moment.at, duration, result, verdict };
            told.entry(upstream).or_default().push((number, attempt));
        }
        for upstream in UPSTREAMS {
            let wanted = self.oracle.attempts.get(&(number, upstream.to_owned()));
            assert_eq!(told.get(upstream), wanted, "seed {}", self.seed);
        }
    }
}

/// Pages, numbers and histories are those that a reading of the whole journal gives, whatever has
/// happened to the store and to the catalogue's files.
#[tokio::test]
async fn what_is_told_is_what_the_journal_says() {
    let seeds = std::env::var("HOOKWARD_CATALOGUE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = seeds.map_or(0..12, |seed: u64| seed..seed + 1);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..400 {
            match world.rng.u8(..100) {
                0..50 => world.accept().await,
                50..90 => world.deliver().await,
                90..93 => world.purge(),
                93..95 => world.reopen().await,
                _ => world.check(),
            }
        }
        world.check();
        world.store.take().unwrap().close().await;
        world.seen.iter().for_each(|(what, times)| *seen.entry(what).or_default() += times);
    }
    if std::env::var_os("HOOKWARD_CATALOGUE_SEED").is_some() {
        return;
    }
    for what in ["pending", "delivered", "dead", "quarantined", "filtered", "segments gone"] {
        assert!(seen.get(what).is_some_and(|times| *times > 10), "{what}: {seen:?}");
    }
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

/// A journal of one segment, written by hand.
struct Written {
    batch: Batch,
    next: u64,
}

impl Written {
    fn event(
        &mut self,
        n: u32,
        quarantined: bool,
        targets: &[&'static str],
    ) -> (Sequence, EventId) {
        let (sequence, id) =
            (Sequence(self.next), EventId::new(START, [u8::try_from(n).unwrap(); 10]));
        let source = SourceName::new("lab").unwrap();
        let key = DedupeKey::new(&source, KeyKind::ProviderId, &n.to_le_bytes());
        let event = StoredEvent {
            sequence,
            id,
            received_at: START,
            source,
            body_hash: BodyHash::of(b"1"),
            conflict: quarantined,
            meta: EventMeta { data: 0..1, ..EventMeta::default() },
            body: Bytes::from_static(b"1"),
        };
        let new = NewEvent { key, quarantined, event: &event };
        self.push(Kind::Event, |out| new.encode(targets.iter().copied(), out));
        (sequence, id)
    }

    fn attempt(&mut self, event: Sequence, upstream: &str, number: u32, verdict: Verdict) {
        let record =
            AttemptRecord { event, upstream, number, attempt: attempt(verdict), excerpt: None };
        self.push(Kind::Attempt, |out| encode_attempt(&record, out));
    }

    fn act(&mut self, event: Sequence, what: ActKind, upstreams: &[&'static str]) {
        let upstream =
            |name: &&'static str| ActUpstream { name, dead_in: None, attempts: 0, apart: false };
        let upstreams = upstreams.iter().map(upstream).collect();
        let (who, reason) = ("anna", Some("as agreed"));
        let place = Place { segment: 1, offset: 64 };
        let record = ActRecord { event, at: START, what, who, reason, place, upstreams };
        self.push(Kind::Act, |out| encode_act(&record, out));
    }

    fn push(&mut self, kind: Kind, fill: impl FnOnce(&mut Vec<u8>)) {
        self.batch.push(Sequence(self.next), kind, fill);
        self.next += 1;
    }

    fn store(self, dir: &Path) {
        let header = SegmentHeader {
            number: 1,
            journal: 5,
            follows: Sequence(0),
            first: Sequence(1),
            created_at: START,
            encrypted: false,
        };
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(self.batch.bytes().unwrap());
        std::fs::create_dir(dir.join("journal")).unwrap();
        std::fs::write(dir.join("journal/0000000001.journal"), bytes).unwrap();
    }
}

/// Acts change what became of an event, and stand in its history where they were done.
#[tokio::test]
async fn what_operators_have_done_is_told() {
    let mut journal = Written { batch: Batch::default(), next: 1 };
    let (replayed, replayed_id) = journal.event(1, false, &["app"]);
    journal.attempt(replayed, "app", 1, Verdict::Dead);
    journal.act(replayed, ActKind::Replayed, &["app"]);
    journal.attempt(replayed, "app", 2, Verdict::Delivered);
    let (dropped, _) = journal.event(2, true, &["app"]);
    journal.act(dropped, ActKind::Discarded, &[]);
    let (released, _) = journal.event(3, true, &[]);
    journal.act(released, ActKind::Released, &[]);
    let (given_up, _) = journal.event(4, false, &["app"]);
    journal.attempt(given_up, "app", 1, Verdict::Dead);
    journal.act(given_up, ActKind::Discarded, &["app"]);
    let (elsewhere, _) = journal.event(5, false, &["app"]);
    journal.attempt(elsewhere, "app", 1, Verdict::Delivered);
    journal.act(elsewhere, ActKind::Replayed, &["lab-system"]);
    journal.attempt(elsewhere, "lab-system", 1, Verdict::Dead);
    let (let_go, _) = journal.event(6, true, &["app"]);
    journal.act(let_go, ActKind::Released, &["app"]);
    journal.attempt(let_go, "app", 1, Verdict::Delivered);
    let dir = tempfile::tempdir().unwrap();
    journal.store(dir.path());
    let upstreams = UPSTREAMS.iter().map(|name| upstream(name, false)).collect();
    let store = Store::open(Options { upstreams, ..options(dir.path()) }).unwrap();
    store.core.backlog.quarantine.lock().clear();

    let state = |event: Sequence| {
        let all = listed(&store, &Filter::default(), 2);
        let item = all.into_iter().find(|item| item.event.sequence == event).unwrap();
        let deliveries = item.deliveries.into_iter();
        (item.state, deliveries.map(|d| (d.upstream, d.state)).collect::<Vec<_>>())
    };
    let app = |state| ("app".to_owned(), state);
    assert_eq!(state(replayed), (EventState::Delivered, vec![app(DeliveryState::Delivered)]));
    assert_eq!(state(dropped), (EventState::Discarded, vec![]));
    assert_eq!(state(released), (EventState::Filtered, vec![]));
    assert_eq!(state(given_up), (EventState::Discarded, vec![app(DeliveryState::Discarded)]));
    let lab = ("lab-system".to_owned(), DeliveryState::Dead);
    assert_eq!(state(elsewhere), (EventState::Dead, vec![app(DeliveryState::Delivered), lab]));
    assert_eq!(state(let_go), (EventState::Delivered, vec![app(DeliveryState::Delivered)]));

    let matching = |state, upstream: Option<&str>| {
        let upstream = upstream.map(str::to_owned);
        asked(|| store.matching(&Filter { upstream: upstream.clone(), ..in_state(state) }))
    };
    assert_eq!(matching(EventState::Discarded, None), [dropped, given_up]);
    assert_eq!(matching(EventState::Discarded, Some("app")), [dropped, given_up]);
    assert_eq!(matching(EventState::Dead, None), [elsewhere]);
    assert_eq!(matching(EventState::Dead, Some("app")), []);
    assert_eq!(matching(EventState::Dead, Some("lab-system")), [elsewhere]);
    assert_eq!(matching(EventState::Filtered, None), [released]);
    assert_eq!(matching(EventState::Delivered, None), [replayed, let_go]);
    assert_eq!(matching(EventState::Delivered, Some("app")), [replayed, elsewhere, let_go]);

    let (_, moments) = asked(|| store.history_of(replayed_id)).unwrap();
    let what: Vec<_> = moments.into_iter().map(|moment| moment.what).collect();
    let [Happening::Received, Happening::Stored { .. }, first, act, second] = &what[..] else {
        panic!("{what:?}");
    };
    assert!(matches!(first, Happening::Attempt { number: 1, verdict: Verdict::Dead, .. }));
    let (who, reason) = ("anna".to_owned(), Some("as agreed".to_owned()));
    let upstream = Some("app".to_owned());
    assert_eq!(*act, Happening::Act(Act { what: ActKind::Replayed, who, reason, upstream }));
    assert!(matches!(second, Happening::Attempt { number: 2, verdict: Verdict::Delivered, .. }));
}
