//! The second road: what is stored goes to the upstreams, for as long as it takes.
//!
//! Each upstream has `concurrency` workers. A worker claims a delivery that is due, attempts it,
//! and tells the store what follows; which delivery is due, in which order and when again is the
//! store's to keep. Nothing here holds an event longer than one attempt, and nothing here can
//! slow an ack.

pub(crate) mod client;
mod excerpt;
mod forward;
mod guard;
mod normalize;
mod pace;
mod plan;
mod report;
mod request;
mod resolve;
mod retry;
mod sign;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use tokio::sync::watch;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::Instant;

pub use self::client::TlsError;
#[cfg(test)]
pub(crate) use self::forward::Begun;
pub use self::forward::{Forwarder, Made, attempt};
pub use self::normalize::cloudevent;
use self::pace::Pace;
pub use self::plan::Plan;
pub(crate) use self::report::Causes;
pub(crate) use self::retry::retry_after;
use crate::event::UpstreamName;
use crate::metrics::{Metrics, UpstreamMetrics};
use crate::store::{Attempt, LaneSlot, Roster, Store, StoredEvent, Verdict};

/// Why deliveries to an upstream cannot start. All of it is the operator's to mend.
#[derive(Debug, thiserror::Error)]
#[error("upstream.{upstream}: {problem}")]
pub struct StartError {
    /// The upstream.
    pub upstream: UpstreamName,
    /// What is wrong with it.
    pub problem: StartProblem,
}

/// What is wrong with an upstream. Holds no header's value: those are secret.
#[derive(Debug, thiserror::Error)]
pub enum StartProblem {
    /// The URL has no host, another scheme than http or https, or userinfo.
    #[error("the URL must be http or https, with a host and without user or password")]
    Url,
    /// A configured header that Hookward sets itself.
    #[error("header {0} is set by hookward itself")]
    ReservedHeader(HeaderName),
    /// A configured header whose value cannot stand in one.
    #[error("the value of header {0} has characters that a header cannot hold")]
    HeaderValue(HeaderName),
    /// The roots to trust are missing.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A worker has panicked beside its attempts, which is to say in the store. Its upstream is no longer
/// served as configured: the process should end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{task} has panicked")]
pub struct WorkerFailed {
    /// The worker's name, `delivery/UPSTREAM/NUMBER`.
    pub task: String,
}

/// How a drain ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Workers whose attempt was given up at the deadline. Their deliveries are due again.
    pub given_up: usize,
    /// The first worker that turned out to have panicked.
    pub failed: Option<WorkerFailed>,
}

/// All workers of all upstreams. Dropping it gives up every attempt in flight.
#[derive(Debug)]
pub struct Delivery {
    crews: Vec<Crew>,
    workers: JoinSet<()>,
    names: HashMap<task::Id, String>,
    stop: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

/// The workers of one upstream. Dropping it tells them to go once their attempts are over.
#[derive(Debug)]
struct Crew {
    forwarder: Arc<Forwarder>,
    /// Its end is what tells them.
    _stop: watch::Sender<bool>,
}

impl Delivery {
    /// Starts the workers of the upstreams in `plan`, whose lanes stand in `roster` in the same
    /// order.
    pub fn start(plan: Plan, roster: &Roster, store: &Arc<Store>, metrics: Arc<Metrics>) -> Self {
        let mut delivery = Self::idle(metrics);
        delivery.reload(plan, roster, store);
        delivery
    }

    /// What is delivered by now, for the next [`Plan`].
    pub fn running(&self) -> Vec<Arc<Forwarder>> {
        self.crews.iter().map(|crew| Arc::clone(&crew.forwarder)).collect()
    }

    /// From here on it goes by `plan`. The workers of upstreams that are gone or changed claim
    /// nothing more, finish what they have in hand, and go; until then a changed upstream may get
    /// more attempts at once than it is configured for. Who has not changed is not touched.
    pub fn reload(&mut self, plan: Plan, roster: &Roster, store: &Arc<Store>) {
        let Plan(forwarders) = plan;
        let stays =
            |crew: &Crew| forwarders.iter().any(|other| Arc::ptr_eq(&crew.forwarder, other));
        self.crews.retain(stays);
        for (forwarder, lane) in forwarders.into_iter().zip(roster.lanes()) {
            if !self.crews.iter().any(|crew| Arc::ptr_eq(&crew.forwarder, &forwarder)) {
                store.presume_up(lane, forwarder.upstream().concurrency);
                self.engage(forwarder, lane, store);
            }
        }
    }

    fn engage(&mut self, forwarder: Arc<Forwarder>, lane: &Arc<LaneSlot>, store: &Arc<Store>) {
        let (stop, _) = watch::channel(false);
        let counts = self.metrics.upstream(forwarder.upstream().name.as_str());
        let pace = forwarder.upstream().rate_limit.map(|rate| Arc::new(Pace::new(rate)));
        for number in 1..=forwarder.upstream().concurrency {
            let name = format!("delivery/{}/{number}", forwarder.upstream().name);
            let (all, crew) = (self.stopped(), told(&stop));
            let stopped = async move {
                tokio::select! {
                    () = all => {}
                    () = crew => {}
                }
            };
            let (forwarder, lane) = (Arc::clone(&forwarder), Arc::clone(lane));
            let (counts, pace) = (Arc::clone(&counts), pace.clone());
            let store = Arc::clone(store);
            self.spawn(name, serve(stopped, lane, forwarder, pace, counts, store, attempt));
        }
        self.crews.push(Crew { forwarder, _stop: stop });
    }

    /// Waits until a worker has panicked, for ever if none does. Safe to cancel.
    pub async fn failed(&mut self) -> WorkerFailed {
        while let Some(ended) = self.workers.join_next_with_id().await {
            if let Some(failed) = self.failure(ended) {
                return failed;
            }
        }
        std::future::pending().await
    }

    /// Claims nothing more. The attempts in flight go on.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Stops claiming and lets the attempts in flight finish, until `deadline`.
    pub async fn drain(mut self, deadline: Instant) -> Drained {
        self.stop();
        let mut failed = None;
        loop {
            let next = tokio::time::timeout_at(deadline, self.workers.join_next_with_id());
            match next.await {
                Ok(Some(ended)) => failed = failed.or(self.failure(ended)),
                Ok(None) | Err(_) => break,
            }
        }
        let given_up = self.workers.len();
        self.workers.shutdown().await;
        Drained { given_up, failed }
    }

    /// No workers yet.
    fn idle(metrics: Arc<Metrics>) -> Self {
        let (stop, _) = watch::channel(false);
        let (crews, workers, names) = (Vec::new(), JoinSet::new(), HashMap::new());
        Self { crews, workers, names, stop, metrics }
    }

    fn spawn(&mut self, name: String, work: impl Future<Output = ()> + Send + 'static) {
        let id = self.workers.spawn(work).id();
        self.names.insert(id, name);
    }

    /// Ready once no more is to be claimed.
    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        told(&self.stop)
    }

    fn failure(&mut self, ended: Result<(task::Id, ()), JoinError>) -> Option<WorkerFailed> {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let task = self.names.remove(&id).unwrap_or_default();
        ended.err()?.is_panic().then_some(WorkerFailed { task })
    }
}

/// Ready once `stop` says so, or is gone.
fn told(stop: &watch::Sender<bool>) -> impl Future<Output = ()> + Send + use<> {
    let mut stop = stop.subscribe();
    async move {
        // An error means that the sender is gone, and with it whoever wanted deliveries.
        let _ = stop.wait_for(|stopped| *stopped).await;
    }
}

/// One worker of the upstream with this lane, which delivers by `attempt`.
pub(crate) async fn serve(
    stopped: impl Future<Output = ()>,
    lane: Arc<LaneSlot>,
    forwarder: Arc<Forwarder>,
    pace: Option<Arc<Pace>>,
    counts: Arc<UpstreamMetrics>,
    store: Arc<Store>,
    attempt: impl AsyncFn(&Forwarder, &StoredEvent, u32, Duration) -> Made,
) {
    let (forwarder, counts, store, lane) = (&*forwarder, &*counts, &*store, &lane);
    let attempt = &attempt;
    let deliver = |claimed: crate::store::Claimed| async move {
        let (event, number, left) = (&*claimed.event, claimed.attempt, claimed.left);
        let begin = || attempt(forwarder, event, number, left);
        let Made { attempt, excerpt } = guard::guarded(forwarder, event, number, left, begin).await;
        count(counts, &attempt);
        store.settle_with(claimed, attempt, excerpt);
    };
    let pace = pace.as_deref();
    let claim = || async move {
        match pace {
            Some(pace) => pace.claim(|| store.claim(lane)).await,
            None => store.claim(lane).await,
        }
    };
    work(stopped, claim, deliver).await;
}

fn count(counts: &UpstreamMetrics, attempt: &Attempt) {
    match attempt.verdict {
        Verdict::Delivered => counts.delivered.add(),
        Verdict::RetryAt(_) => counts.retry.add(),
        Verdict::Dead => counts.dead.add(),
    }
    counts.duration.observe(attempt.duration);
}

/// Claims and delivers, one at a time, until it is stopped. A claim is given up at once then; a
/// delivery never is.
async fn work<C: Future, D: Future>(
    stopped: impl Future<Output = ()>,
    claim: impl Fn() -> C,
    deliver: impl Fn(C::Output) -> D,
) {
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let claimed = tokio::select! {
            biased;
            () = &mut stopped => return,
            claimed = claim() => claimed,
        };
        deliver(claimed).await;
    }
}
