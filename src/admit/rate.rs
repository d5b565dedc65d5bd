//! How often: token buckets for sources, for clients, and for failed authentications.
//!
//! What nobody has verified takes from buckets of its own client only, and from those that turn a
//! 401 into a 429: no stranger can use up what a provider is allowed. All of it is bounded in
//! memory: one bucket a source, and a fixed number of clients' buckets.

mod bucket;
mod limiter;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwap;

use self::limiter::{Each, Empty, Limiter, One};
use super::Refusal;
use crate::audit::Reason::RateLimited;
use crate::config::{Config, RateLimit, Source};
use crate::event::SourceName;
use crate::network::Network;

/// Clients whose bucket is remembered, in each of the two tables: 1.6 MiB.
pub const REMEMBERED_CLIENTS: usize = 65_536;

/// How many clients' failures make those of a source.
const SOURCE_FAILURES: u32 = 10;

const CLIENT: Refusal = Refusal::new(RateLimited, "more requests than one client may send");
/// The source's own limit.
pub(crate) const SOURCE: Refusal =
    Refusal::new(RateLimited, "more requests than the source may send");
const CLIENT_FAILURES: Refusal =
    Refusal::new(RateLimited, "too many failed authentications of this client");
/// The limit of what fails at the source, of all clients.
pub(crate) const ALL_FAILURES: Refusal =
    Refusal::new(RateLimited, "too many failed authentications with this source");

/// All token buckets. Their state outlives a reload.
#[derive(Debug)]
pub struct Rates(ArcSwap<Buckets>);

/// The buckets of one configuration; those that did not change are shared with the one before.
#[derive(Debug)]
struct Buckets {
    clients: Option<Arc<Each>>,
    failures: Arc<Each>,
    sources: HashMap<SourceName, OfSource>,
}

#[derive(Clone, Debug)]
struct OfSource {
    requests: Option<Arc<One>>,
    failures: Arc<One>,
}

impl Rates {
    /// Full buckets for this configuration.
    pub fn new(config: &Config) -> Self {
        Self(ArcSwap::from_pointee(Buckets::new(config, None)))
    }

    /// From here on this configuration's rates hold. Buckets whose limit has not changed keep
    /// what they hold, the others are full.
    pub fn reload(&self, config: &Config) {
        let new = Buckets::new(config, Some(&self.0.load()));
        self.0.store(Arc::new(new));
    }

    /// A request has come, and nothing in it is verified. Takes from the client's bucket; the
    /// source's is only looked at, so that nobody else can empty it.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn arrived(&self, source: &Source, client: Option<IpAddr>) -> Result<(), Refusal> {
        let buckets = self.0.load();
        if let Some(clients) = &buckets.clients {
            clients.take(Network::of(client)).map_err(|empty| empty.refuse(CLIENT))?;
        }
        match buckets.requests_of(source) {
            Some(requests) => requests.look().map_err(|empty| empty.refuse(SOURCE)),
            None => Ok(()),
        }
    }

    /// A request of the source was verified: takes from its bucket.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn verified(&self, source: &Source) -> Result<(), Refusal> {
        match self.0.load().requests_of(source) {
            Some(requests) => requests.take().map_err(|empty| empty.refuse(SOURCE)),
            None => Ok(()),
        }
    }

    /// Verification has failed with `refusal`: what to refuse the request with. Requests with a
    /// valid credential are never held up by this, so that nobody can lock the source out.
    pub fn failed(&self, source: &Source, client: Option<IpAddr>, refusal: Refusal) -> Refusal {
        let buckets = self.0.load();
        if let Err(empty) = buckets.failures.take(Network::of(client)) {
            return empty.refuse(CLIENT_FAILURES);
        }
        let all = buckets.sources.get(&source.name).map(|of| of.failures.take());
        match all {
            Some(Err(empty)) => empty.refuse(ALL_FAILURES),
            Some(Ok(())) | None => refusal,
        }
    }
}

/// A bucket of failed attempts for each client, for a door of its own: what fails there, and what
/// fails at the sources, is not held against each other.
#[derive(Debug)]
pub struct Failures(ArcSwap<Each>);

impl Failures {
    /// Full buckets; of `clients` at most it is remembered what they have used up.
    pub fn new(limit: RateLimit, clients: usize) -> Self {
        Self(ArcSwap::from_pointee(Limiter::each(limit, clients)))
    }

    /// From here on this limit holds. If it is another one, the buckets are full.
    pub fn reload(&self, limit: RateLimit, clients: usize) {
        let old = self.0.load_full();
        self.0.store(kept(limit, Some(&old), |limit| Limiter::each(limit, clients)));
    }

    /// The client has failed once more. If that was too often: whole seconds, at most 60, after
    /// which it may try again.
    pub fn count(&self, client: Network) -> Option<u8> {
        self.0.load().take(client).err().map(|empty| empty.0)
    }
}

impl Buckets {
    /// The buckets for this configuration; those of `old` are kept where the limit is the same.
    fn new(config: &Config, old: Option<&Self>) -> Self {
        let failures = config.server.failure_rate_limit;
        let each = |limit, old| kept(limit, old, |limit| Limiter::each(limit, REMEMBERED_CLIENTS));
        let of_source = |source: &Arc<Source>| {
            let old = old.and_then(|old| old.sources.get(&source.name));
            let old_requests = old.and_then(|old| old.requests.as_ref());
            let of = OfSource {
                requests: source.rate_limit.map(|limit| kept(limit, old_requests, Limiter::one)),
                failures: kept(
                    times(failures, SOURCE_FAILURES),
                    old.map(|old| &old.failures),
                    Limiter::one,
                ),
            };
            (source.name.clone(), of)
        };
        let old_clients = old.and_then(|old| old.clients.as_ref());
        Self {
            clients: config.server.client_rate_limit.map(|limit| each(limit, old_clients)),
            failures: each(failures, old.map(|old| &old.failures)),
            sources: config.sources.iter().map(of_source).collect(),
        }
    }

    fn requests_of(&self, source: &Source) -> Option<&One> {
        // Most sources have no limit, and need not be looked up.
        source.rate_limit?;
        self.sources.get(&source.name)?.requests.as_deref()
    }
}

/// The old buckets if they have this limit, else new ones.
fn kept<S: governor::state::StateStore>(
    limit: RateLimit,
    old: Option<&Arc<Limiter<S>>>,
    new: impl FnOnce(RateLimit) -> Limiter<S>,
) -> Arc<Limiter<S>> {
    match old.filter(|old| old.limit() == limit) {
        Some(old) => Arc::clone(old),
        None => Arc::new(new(limit)),
    }
}

/// So many times this limit.
pub(crate) fn times(limit: RateLimit, factor: u32) -> RateLimit {
    let times = |n: NonZeroU32| n.saturating_mul(NonZeroU32::MIN.saturating_add(factor - 1));
    RateLimit { per_second: times(limit.per_second), burst: times(limit.burst) }
}

impl Empty {
    fn refuse(self, refusal: Refusal) -> Refusal {
        Refusal { retry_after: Some(self.0), ..refusal }
    }
}
