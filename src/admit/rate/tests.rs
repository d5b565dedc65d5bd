use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::advance;

use super::*;
use crate::config::{Log, LogFormat, Server, Store};

const FORGED: Refusal = Refusal::new(crate::audit::Reason::SignatureInvalid, "forged");

fn limit(per_second: u32, burst: u32) -> RateLimit {
    RateLimit {
        per_second: NonZeroU32::new(per_second).unwrap(),
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

fn config(
    clients: Option<RateLimit>,
    failures: RateLimit,
    sources: &[(&str, Option<RateLimit>)],
) -> Config {
    let source = |(name, rate_limit): &(&str, Option<RateLimit>)| {
        let name = SourceName::new(name).unwrap();
        Arc::new(Source { rate_limit: *rate_limit, ..Source::open(name) })
    };
    Config {
        file: PathBuf::new(),
        files: Vec::new(),
        server: Server {
            client_rate_limit: clients,
            failure_rate_limit: failures,
            ..Server::defaults()
        },
        admin: None,
        store: Store {
            path: PathBuf::new(),
            retention: Duration::from_secs(1),
            encryption_keys: Vec::new(),
            min_free: 0,
        },
        audit: crate::config::Audit::defaults(),
        log: Log { format: LogFormat::Text, level: tracing::level_filters::LevelFilter::OFF },
        sources: sources.iter().map(source).collect(),
        upstreams: Vec::new(),
        routes: Vec::new(),
    }
}

fn client(n: u32) -> Option<IpAddr> {
    Some(Ipv4Addr::from_bits(0x0a00_0000 + n).into())
}

/// What `act` comes to until it is refused, and the refusal.
fn until_refused(act: impl Fn() -> Result<(), Refusal>) -> (u32, Refusal) {
    (0..1000).find_map(|n| act().err().map(|refusal| (n, refusal))).expect("a limit")
}

fn limited(refusal: Refusal) -> u8 {
    assert_eq!(refusal.reason, RateLimited);
    refusal.retry_after.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_has_a_bucket_of_its_own_which_fills_up_again() {
    let config = config(Some(limit(2, 5)), limit(1, 1), &[("a", None), ("b", None)]);
    let rates = Rates::new(&config);
    let (a, b) = (&config.sources[0], &config.sources[1]);
    for _ in 0..3 {
        rates.arrived(a, client(1)).unwrap();
        rates.verified(a).unwrap();
    }
    // Whatever the source.
    let (passed, refusal) = until_refused(|| rates.arrived(b, client(1)));
    assert_eq!((passed, limited(refusal)), (2, 1));
    rates.arrived(a, client(2)).unwrap();
    rates.arrived(a, None).unwrap();
    advance(Duration::from_millis(499)).await;
    rates.arrived(a, client(1)).unwrap_err();
    advance(Duration::from_millis(1)).await;
    rates.arrived(a, client(1)).unwrap();
    rates.arrived(a, client(1)).unwrap_err();
    advance(Duration::from_secs(3600)).await;
    assert_eq!(until_refused(|| rates.arrived(a, client(1))).0, 5);
}

#[tokio::test(start_paused = true)]
async fn only_verified_requests_take_from_a_sources_bucket() {
    let config = config(None, limit(1, 1), &[("a", Some(limit(1, 3))), ("b", None)]);
    let rates = Rates::new(&config);
    let (a, b) = (&config.sources[0], &config.sources[1]);
    for n in 0..1000 {
        rates.arrived(a, client(n % 7)).unwrap();
        rates.failed(a, client(n % 7), FORGED);
    }
    assert_eq!(until_refused(|| rates.verified(a)).0, 3);
    // From then on nothing of it need be read.
    assert_eq!(limited(rates.arrived(a, client(1)).unwrap_err()), 1);
    for _ in 0..1000 {
        rates.arrived(b, client(1)).unwrap();
        rates.verified(b).unwrap();
    }
    advance(Duration::from_secs(1)).await;
    rates.arrived(a, client(1)).unwrap();
    rates.verified(a).unwrap();
    rates.verified(a).unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn failures_become_429_by_client_and_by_source() {
    let config = config(None, limit(1, 3), &[("a", None), ("b", None)]);
    let rates = Rates::new(&config);
    let (a, b) = (&config.sources[0], &config.sources[1]);
    let fails = |source, n| match rates.failed(source, client(n), FORGED) {
        FORGED => Ok(()),
        refusal => Err(refusal),
    };
    let (passed, refusal) = until_refused(|| fails(a, 0));
    assert_eq!((passed, limited(refusal), refusal.detail), (3, 1, CLIENT_FAILURES.detail));
    fails(b, 0).unwrap_err();
    // Ten clients' failures are one source's; those that were 429 already do not count.
    let mut passed = 3;
    let refusal = (1..100).find_map(|n| fails(a, n).inspect(|()| passed += 1).err());
    assert_eq!((passed, refusal.unwrap().detail), (30, ALL_FAILURES.detail));
    fails(b, 50).unwrap();
    // Nobody is locked out by any of it.
    rates.arrived(a, client(0)).unwrap();
    rates.verified(a).unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_to_wait_is_told_whole_seconds_within_bounds() {
    for (limit, passes, wait) in [(limit(3, 1), 1, 1), (limit(1, 1), 1, 1)] {
        let bucket = Limiter::one(limit);
        for _ in 0..passes {
            bucket.take().unwrap();
        }
        assert_eq!(bucket.take(), Err(Empty(wait)));
    }
    let bucket = Limiter::one(limit(1, 1));
    bucket.take().unwrap();
    advance(Duration::from_nanos(999_999_999)).await;
    assert_eq!(bucket.take(), Err(Empty(1)));
    advance(Duration::from_nanos(1)).await;
    bucket.take().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_largest_limits_overflow_nothing() {
    for limit in [limit(1, u32::MAX), limit(u32::MAX, u32::MAX), limit(u32::MAX, 1)] {
        let limit = times(limit, SOURCE_FAILURES);
        let bucket = Limiter::one(limit);
        for _ in 0..100 {
            bucket.look().unwrap();
        }
        bucket.take().unwrap();
    }
    assert_eq!(times(limit(1, 7), 10), limit(10, 70));
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_did_not_change() {
    let unchanged = Some(limit(1, 3));
    let old = config(unchanged, limit(1, 2), &[("a", unchanged), ("b", unchanged)]);
    let rates = Rates::new(&old);
    let (a, b) = (&old.sources[0], &old.sources[1]);
    for source in [a, b] {
        until_refused(|| rates.verified(source));
    }
    until_refused(|| rates.arrived(a, client(1)));
    while rates.failed(a, client(1), FORGED) == FORGED {}

    let new = config(unchanged, limit(1, 2), &[("a", unchanged), ("b", Some(limit(1, 4)))]);
    rates.reload(&new);
    let (a, b) = (&new.sources[0], &new.sources[1]);
    rates.verified(a).unwrap_err();
    assert_eq!(until_refused(|| rates.verified(b)).0, 4, "another limit");
    rates.arrived(a, client(1)).unwrap_err();
    assert_eq!(rates.failed(a, client(1), FORGED).reason, RateLimited);

    let new = config(None, limit(1, 3), &[("a", None)]);
    rates.reload(&new);
    for _ in 0..100 {
        rates.arrived(&new.sources[0], client(1)).unwrap();
        rates.verified(&new.sources[0]).unwrap();
    }
    // A request that began before still has its old source.
    rates.verified(b).unwrap();
    assert_eq!(rates.failed(a, client(1), FORGED), FORGED);
}

#[tokio::test(start_paused = true)]
async fn a_million_clients_take_no_more_memory_than_one() {
    let clients = Limiter::each(limit(1, 10), REMEMBERED_CLIENTS);
    for n in 0..1_000_000 {
        clients.take(Network::of(client(n))).unwrap();
    }
    let table = clients.into_buckets();
    assert!(table.used() <= REMEMBERED_CLIENTS, "{}", table.used());
    assert!(table.used() > REMEMBERED_CLIENTS / 2, "{}", table.used());
    assert!(table.bytes() <= 1_700_000, "{}", table.bytes());
}

/// Whoever has emptied his bucket cannot have it forgotten by calling from other addresses, unless
/// he empties theirs as well.
#[tokio::test(start_paused = true)]
async fn an_empty_bucket_is_the_last_to_be_forgotten() {
    let clients = Limiter::each(limit(1, 10), 64);
    for _ in 0..10 {
        clients.take(Network::of(client(0))).unwrap();
    }
    for n in 1..100_000 {
        clients.take(Network::of(client(n))).unwrap();
    }
    clients.take(Network::of(client(0))).unwrap_err();
}

#[test]
fn one_bucket_gives_out_no_more_to_many_threads() {
    let bucket = Limiter::one(limit(1, 1000));
    let taken = std::sync::atomic::AtomicU32::new(0);
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    if bucket.take().is_ok() {
                        taken.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let taken = u64::from(taken.into_inner());
    let refilled = begun.elapsed().as_secs() + 1;
    assert!((1000..=1000 + refilled).contains(&taken), "{taken}");
}

/// A token bucket as it stands in a textbook, in nanoseconds' worth of tokens.
struct Model {
    token: u64,
    most: u64,
    level: u64,
}

impl Model {
    fn new(limit: RateLimit) -> Self {
        let token = 1_000_000_000 / u64::from(limit.per_second.get());
        let most = token * u64::from(limit.burst.get());
        Self { token, most, level: most }
    }

    fn pass(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap();
        self.level = self.most.min(self.level.saturating_add(nanos));
    }

    fn take(&mut self) -> Result<(), Empty> {
        match self.level.checked_sub(self.token) {
            Some(left) => {
                self.level = left;
                Ok(())
            }
            None => {
                let wait = (self.token - self.level).div_ceil(1_000_000_000);
                Err(Empty(u8::try_from(wait).unwrap_or(60).clamp(1, 60)))
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Take(u32),
    Pass(Duration),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let take = (0..6u32).prop_map(Step::Take);
    let pass = (0..3_000_000_000u64).prop_map(|nanos| Step::Pass(Duration::from_nanos(nanos)));
    prop::collection::vec(prop_oneof![4 => take, 1 => pass], 1..200)
}

proptest! {
    #[test]
    fn buckets_do_as_the_textbook_says(
        per_second in 1..50u32, burst in 1..20u32, steps in steps()
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let limit = limit(per_second, burst);
            let (one, each) = (Limiter::one(limit), Limiter::each(limit, 1024));
            let mut model = Model::new(limit);
            let mut models: Vec<_> = (0..6).map(|_| Model::new(limit)).collect();
            for step in steps {
                match step {
                    Step::Pass(time) => {
                        advance(time).await;
                        model.pass(time);
                        models.iter_mut().for_each(|model| model.pass(time));
                    }
                    Step::Take(n) => {
                        assert_eq!(one.look().is_ok(), model.level >= model.token);
                        assert_eq!(one.take(), model.take());
                        let expected = models[n as usize].take();
                        assert_eq!(each.take(Network::of(client(n))), expected);
                    }
                }
            }
        });
    }
}
