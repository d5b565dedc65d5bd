//! The public side of a gateway without sockets and files: the configuration's sources, the
//! request's road, and a store on a disk in memory.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::disk::MemoryDisk;
use super::reading::Request;
use super::senders::{Sender, TOML, senders};
use crate::audit::Refusals;
use crate::clock::Clock;
use crate::config::{Config, Placeholders, check_text};
use crate::fuzzing::NOW;
use crate::ingress::{Ingress, Rules};
use crate::listen::{Answer, Arrival, Limits, Settings, Timeouts};
use crate::metrics::Metrics;
use crate::store::{self, Store, Tuning, UpstreamOptions};

/// Small enough for short inputs to exceed them.
const LIMITS: Limits = Limits {
    max_connections: 1,
    max_connections_per_client: 1,
    max_requests: 20,
    max_headers: 16,
    max_header_bytes: 1024,
    max_target: 256,
    max_streams: 8,
    timeouts: Timeouts {
        handshake: Duration::from_secs(5),
        header: Duration::from_secs(5),
        write: Duration::from_secs(5),
        idle: Duration::from_secs(60),
    },
    drain_timeout: Duration::from_secs(10),
};

/// A gateway in memory.
#[derive(Debug)]
pub(super) struct Gateway {
    config: Config,
    metrics: Arc<Metrics>,
    pub(super) senders: Vec<Sender>,
    pub(super) settings: Settings,
    heard: Mutex<Vec<Heard>>,
    road: Road,
}

/// A request as the handler got to see it, without its body.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) request: Request,
    /// Status and fields; `None`: it was given up before.
    pub(super) answer: Option<(u16, HeaderMap)>,
}

/// What an input uses up.
#[derive(Debug)]
struct Road {
    disk: MemoryDisk,
    /// Length of the journal without events.
    empty: usize,
    store: Arc<Store>,
    ingress: Ingress,
}

#[expect(clippy::expect_used, reason = "nothing here depends on an input")]
impl Gateway {
    /// To be made where its requests are answered.
    pub(super) fn new() -> Self {
        let (config, _) = check_text(Path::new("fuzz.toml"), TOML, &Placeholders).expect("valid");
        let metrics = Arc::new(Metrics::new());
        let road = Road::new(&config, &metrics);
        let settings = Settings::plain(LIMITS, Arc::clone(road.ingress.refusals()));
        Self { senders: senders(&config), config, metrics, settings, heard: Mutex::default(), road }
    }

    /// Answers a request by the deadline, and notes both. When it has to wait, the store has nothing in
    /// hand any more: what it waits for is then its client, or time.
    pub(super) async fn answer(&self, arrival: Arrival) -> Answer {
        let turn = {
            let mut heard = self.heard.lock();
            heard.push(Heard { request: Request::of(&arrival.request), answer: None });
            heard.len() - 1
        };
        let begun = Instant::now();
        let answer = self.in_step(arrival).await;
        // Timers go by whole milliseconds.
        let latest = self.config.server.ack_deadline + Duration::from_millis(1);
        assert!(begun.elapsed() <= latest, "an answer after {:?}", begun.elapsed());
        if let Some(heard) = self.heard.lock().get_mut(turn) {
            heard.answer = Some((answer.status().as_u16(), answer.headers().clone()));
        }
        answer
    }

    async fn in_step(&self, arrival: Arrival) -> Answer {
        let Road { store, ingress, .. } = &self.road;
        let mut answer = pin!(ingress.answer(arrival));
        std::future::poll_fn(|cx| {
            let poll = answer.as_mut().poll(cx);
            if poll.is_pending() {
                assert!(store.sync(), "the store has failed");
            }
            poll
        })
        .await
    }

    /// The requests that have come since the last were taken.
    pub(super) fn take_heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.heard.lock())
    }

    /// Every event that was stored since the last one was taken. The store is empty again.
    pub(super) async fn take_events(&mut self) -> Vec<store::StoredEvent> {
        assert!(self.road.store.sync(), "the store has failed");
        if self.road.disk.len() == self.road.empty {
            return Vec::new();
        }
        let events = self.road.disk.events();
        let old = std::mem::replace(&mut self.road, Road::new(&self.config, &self.metrics));
        assert!(old.store.close().await, "the store has failed");
        events
    }
}

#[expect(clippy::expect_used, reason = "nothing here depends on an input")]
impl Road {
    fn new(config: &Config, metrics: &Arc<Metrics>) -> Self {
        let disk = MemoryDisk::default();
        let clock = Clock::manual(NOW);
        let path = directory();
        let options = store::Options {
            path: path.clone(),
            retention: Duration::from_secs(30 * 86_400),
            min_free: 0,
            keys: Arc::default(),
            clock: clock.clone(),
            metrics: Arc::clone(metrics),
            upstreams: config
                .upstreams
                .iter()
                .map(|upstream| UpstreamOptions {
                    name: upstream.name.clone(),
                    ordered: true,
                    give_up: upstream.retry.give_up,
                    retry_max: upstream.retry.max,
                })
                .collect(),
        };
        let tuning = Tuning {
            index: false,
            catalogue: false,
            disk: Arc::new(disk.clone()),
            ..Tuning::default()
        };
        let store = Arc::new(Store::open_with(options, tuning).expect("a store"));
        // There is only its lock in it, which is held by now.
        std::fs::remove_dir_all(path).expect("the store's directory");
        let rules = Rules::new(config, metrics).expect("no certificate is configured");
        let refusals = Arc::new(Refusals::new(clock.clone()));
        let ingress = Ingress::new(config, rules, Arc::clone(&store), clock, metrics, refusals);
        Self { empty: disk.len(), disk, store, ingress }
    }
}

/// A name for a directory that nobody else has, where syncing one costs nothing if there is such a
/// place.
fn directory() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    parent.join(format!("hookward-fuzz-{process}-{count}"))
}
