//! What counts are kept in: atomics, added to without a lock and read whenever somebody asks.
//!
//! Written here because of the roads' terms: prometheus-client takes a mutex for every observation
//! of a histogram, and writes OpenMetrics only, where a counter's family has another name than its
//! samples.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// So many more.
    pub fn plus(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many there are.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more.
    pub fn increase(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less. Each must be preceded by its [`Gauge::increase`].
    pub fn decrease(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many there are now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long something took, counted by upper bounds. An observation is two additions: its bucket
/// and the sum. The count is the buckets' sum, so the two always agree; the sum of what was
/// observed may lag behind them by what is being observed at the moment.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [Duration],
    /// One for each bound, and one for what is above them all.
    buckets: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

/// What a histogram holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Each bound in seconds with how many observations were at most that.
    pub buckets: Vec<(f64, u64)>,
    /// How many observations there were.
    pub count: u64,
    /// Their sum in seconds.
    pub sum: f64,
}

impl Histogram {
    /// A histogram with these upper bounds, which ascend.
    pub fn new(bounds: &'static [Duration]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, buckets, nanos: AtomicU64::new(0) }
    }

    /// It took this long.
    pub fn observe(&self, took: Duration) {
        let bucket = self.bounds.iter().take_while(|bound| took > **bound).count();
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What was observed so far.
    pub fn observed(&self) -> Observed {
        let mut count = 0;
        let mut upto = self.buckets.iter().map(|bucket| {
            count += bucket.load(Ordering::Relaxed);
            count
        });
        let bounds = self.bounds.iter().map(Duration::as_secs_f64);
        let buckets = bounds.zip(upto.by_ref()).collect();
        let above = upto.last();
        let sum = Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64();
        Observed { buckets, count: above.unwrap_or_default(), sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_holds_what_took_exactly_that_long() {
        const BOUNDS: &[Duration] = &[Duration::from_millis(1), Duration::from_secs(1)];
        let histogram = Histogram::new(BOUNDS);
        for micros in [0, 1_000, 1_001, 1_000_000, 1_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let observed = histogram.observed();
        assert_eq!(observed.buckets, [(0.001, 2), (1.0, 4)]);
        assert_eq!(observed.count, 5);
        assert!((observed.sum - 2.002_002).abs() < 1e-9, "{}", observed.sum);
    }

    #[test]
    fn nothing_is_lost_however_many_count_at_once() {
        let (counter, histogram) = (Counter::default(), Histogram::new(super::super::ACK));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for n in 0..10_000 {
                        counter.add();
                        histogram.observe(Duration::from_micros(n));
                    }
                });
            }
        });
        assert_eq!(counter.get(), 80_000);
        let observed = histogram.observed();
        assert_eq!(observed.count, 80_000);
        assert!(observed.buckets.is_sorted_by_key(|(_, upto)| *upto));
    }
}
