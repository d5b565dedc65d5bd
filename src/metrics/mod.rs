//! What the gateway counts and measures, for Prometheus.
//!
//! The roads count with handles that are made once, when a configuration is taken over: a count is
//! one relaxed addition, without a lock, an allocation or a look-up. Only making a handle and
//! writing everything out take the lock here, and neither holds it for longer than it takes to
//! copy a list of pointers. Labels are names out of the configuration and fixed words, never
//! anything that a sender chose.

mod cells;
mod exposition;
mod output;
mod process;
mod source;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

pub use self::cells::{Counter, Gauge, Histogram};
pub use self::exposition::{CONTENT_TYPE, Exposition, Family, Kind};
pub use self::output::{CheckpointMetrics, OutputMetrics};
pub use self::source::{SourceMetrics, Statuses};
use crate::audit::Reason;
use crate::clock::UnixMillis;

/// Bounds of an acknowledgement: from a quiet disk's sync to the 5 seconds that providers wait.
const ACK: &[Duration] = &[
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(4),
    Duration::from_secs(5),
];

/// Bounds of an attempt to deliver: an app on the same machine answers within milliseconds, and
/// `upstream.timeout` is 10 seconds unless it is configured.
const DELIVERY: &[Duration] = &[
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// Bounds of a sync: from an SSD with a write cache that survives to a disk that is failing.
const SYNC: &[Duration] = &[
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
];

/// All metrics of one gateway. They outlive a reload: a source or an upstream that is configured
/// no more stays in the output until the process ends, so that no counter goes backwards.
#[derive(Debug)]
pub struct Metrics {
    sources: Mutex<Vec<(String, Arc<SourceMetrics>)>>,
    upstreams: Mutex<Vec<(String, Arc<UpstreamMetrics>)>>,
    outputs: Mutex<Vec<(String, Arc<OutputMetrics>)>>,
    checkpoints: Mutex<Option<Arc<CheckpointMetrics>>>,
    journal_sync: Histogram,
    connections: Arc<Gauge>,
    reloads_ok: Counter,
    reloads_rejected: Counter,
    /// Unix milliseconds; 0: there is none.
    certificate_expiry: AtomicU64,
}

/// What is counted of one upstream.
#[derive(Debug)]
pub struct UpstreamMetrics {
    /// Attempts that the upstream took.
    pub delivered: Counter,
    /// Attempts that another follows.
    pub retry: Counter,
    /// Attempts that no other follows: dead letters were made of them.
    pub dead: Counter,
    /// How long an attempt took, whatever became of it.
    pub duration: Histogram,
}

/// What is counted of a listener.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    connections: Arc<Gauge>,
    unrouted: Arc<SourceMetrics>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            sources: Mutex::default(),
            upstreams: Mutex::default(),
            outputs: Mutex::default(),
            checkpoints: Mutex::default(),
            journal_sync: Histogram::new(SYNC),
            connections: Arc::default(),
            reloads_ok: Counter::default(),
            reloads_rejected: Counter::default(),
            certificate_expiry: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The handle of the source with this name; the empty name stands for requests that are no
    /// source's. `statuses` says which status a refusal is answered with.
    pub fn source(&self, name: &str, statuses: Statuses) -> Arc<SourceMetrics> {
        handle(&mut self.sources.lock(), name, || SourceMetrics::new(statuses, !name.is_empty()))
    }

    /// The handle of the upstream with this name.
    pub fn upstream(&self, name: &str) -> Arc<UpstreamMetrics> {
        handle(&mut self.upstreams.lock(), name, UpstreamMetrics::new)
    }

    /// The public listener's handle.
    pub fn listener(&self, statuses: Statuses) -> ListenerMetrics {
        let unrouted = self.source("", statuses);
        ListenerMetrics { connections: Arc::clone(&self.connections), unrouted }
    }

    /// The journal was synced, and it took so long.
    pub fn journal_synced(&self, took: Duration) {
        self.journal_sync.observe(took);
    }

    /// A reload of the configuration was carried out (`ok`) or rejected.
    pub fn reloaded(&self, ok: bool) {
        if ok { self.reloads_ok.add() } else { self.reloads_rejected.add() }
    }

    /// When the public listener's certificate ends; `None`: there is no certificate.
    pub fn set_certificate_expiry(&self, expiry: Option<UnixMillis>) {
        self.certificate_expiry.store(expiry.map_or(0, |at| at.0), Ordering::Relaxed);
    }
}

impl UpstreamMetrics {
    fn new() -> Self {
        Self {
            delivered: Counter::default(),
            retry: Counter::default(),
            dead: Counter::default(),
            duration: Histogram::new(DELIVERY),
        }
    }
}

impl ListenerMetrics {
    /// A connection was opened. It counts as open until what is returned is dropped.
    pub fn opened(&self) -> OpenConnection {
        self.connections.increase();
        OpenConnection(Arc::clone(&self.connections))
    }

    /// A head that no handler got to see was refused with this status.
    pub fn head_refused(&self, status: u16) {
        self.unrouted.refused(Reason::ProtocolError, status);
    }
}

/// A connection that is open.
#[derive(Debug)]
pub struct OpenConnection(Arc<Gauge>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrease();
    }
}

fn handle<T>(all: &mut Vec<(String, Arc<T>)>, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
    if let Some((_, known)) = all.iter().find(|(known, _)| known == name) {
        return Arc::clone(known);
    }
    let new = Arc::new(make());
    all.push((name.to_owned(), Arc::clone(&new)));
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_handle_however_often_it_is_configured() {
        let metrics = Metrics::new();
        metrics.source("lab", |_| 400).answered(Duration::ZERO);
        metrics.source("lab", |_| 400).answered(Duration::ZERO);
        assert_eq!(metrics.source("lab", |_| 400).ok(), 2);
        assert_eq!(metrics.source("other", |_| 400).ok(), 0);
    }

    #[test]
    fn connections_count_as_long_as_they_are_open() {
        let metrics = Metrics::new();
        let listener = metrics.listener(|_| 400);
        let (first, second) = (listener.opened(), listener.opened());
        assert_eq!(metrics.connections.get(), 2);
        drop(first);
        assert_eq!(metrics.connections.get(), 1);
        drop(second);
        assert_eq!(metrics.connections.get(), 0);
    }
}
