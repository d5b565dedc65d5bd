//! A store to which everything happens, and the catalogue compared with the oracle all the while.

use super::oracle::Oracle;
use super::*;

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
