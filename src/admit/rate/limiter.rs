//! Token buckets of one size: governor's GCRA over a store of ours.

use std::hash::Hash;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use super::bucket::{Act, Bucket};
use super::table::Table;
use crate::config::RateLimit;
use crate::network::Network;

/// The longest and the shortest that a caller is told to wait, in seconds.
const LONGEST_WAIT: u8 = 60;
const SHORTEST_WAIT: u8 = 1;

/// Buckets of one size.
#[derive(Debug)]
pub(super) struct Limiter<S: StateStore> {
    limit: RateLimit,
    buckets: RateLimiter<S::Key, S, Monotonic, NoOpMiddleware<Nanos>>,
}

/// One bucket.
pub(super) type One = Limiter<Bucket>;
/// One bucket a client.
pub(super) type Each = Limiter<Table>;

/// There is nothing in the bucket: whole seconds after which there will be, at least 1 and at
/// most 60.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Empty(pub(super) u8);

impl Limiter<Bucket> {
    /// A full bucket.
    pub(super) fn one(limit: RateLimit) -> Self {
        Self::new(limit, Bucket::default())
    }

    /// Whether there is anything in the bucket.
    pub(super) fn look(&self) -> Result<(), Empty> {
        self.check(&Act::Look)
    }

    /// Takes one out of the bucket.
    pub(super) fn take(&self) -> Result<(), Empty> {
        self.check(&Act::Take)
    }
}

impl Limiter<Table> {
    /// Full buckets for everyone, of which `slots` clients at most are remembered.
    pub(super) fn each(limit: RateLimit, slots: usize) -> Self {
        Self::new(limit, Table::new(slots))
    }

    /// Takes one out of the client's bucket.
    pub(super) fn take(&self, client: Network) -> Result<(), Empty> {
        self.check(&client)
    }
}

impl<S: StateStore> Limiter<S> {
    fn new(limit: RateLimit, buckets: S) -> Self {
        let quota = Quota::per_second(limit.per_second).allow_burst(limit.burst);
        Self { limit, buckets: RateLimiter::new(quota, buckets, Monotonic(Instant::now())) }
    }

    /// What the buckets hold.
    pub(super) fn limit(&self) -> RateLimit {
        self.limit
    }

    fn check(&self, key: &S::Key) -> Result<(), Empty>
    where
        S::Key: Hash + Eq + Clone,
    {
        self.buckets.check_key(key).map_err(|not_until| {
            let now = self.buckets.clock().now();
            Empty(whole_seconds(not_until.wait_time_from(now)))
        })
    }

    #[cfg(test)]
    pub(super) fn into_buckets(self) -> S {
        self.buckets.into_state_store()
    }
}

fn whole_seconds(wait: Duration) -> u8 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u8::try_from(seconds).unwrap_or(LONGEST_WAIT).clamp(SHORTEST_WAIT, LONGEST_WAIT)
}

/// tokio's monotonic clock, which tests can stop, counted from a point of its own.
#[derive(Clone, Copy, Debug)]
struct Monotonic(Instant);

impl Clock for Monotonic {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}
