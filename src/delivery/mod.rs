//! The second road: what is stored goes to the upstreams, for as long as it takes.
//!
//! Each upstream has `concurrency` workers. A worker claims a delivery that is due, attempts it,
//! and tells the store what follows; which delivery is due, in which order and when again is the
//! store's to keep. Nothing here holds an event longer than one attempt, and nothing here can
//! slow an ack.

mod client;
mod forward;
mod guard;
mod normalize;
mod report;
mod retry;
mod sign;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderName;
use tokio::sync::watch;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::Instant;

pub use self::client::TlsError;
pub use self::forward::{Forwarder, attempt};
pub use self::normalize::cloudevent;
use crate::clock::Clock;
use crate::config::Upstream;
use crate::event::UpstreamName;
use crate::metrics::{Metrics, UpstreamMetrics};
use crate::store::{Attempt, Store, Verdict};

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
    workers: JoinSet<()>,
    names: HashMap<task::Id, String>,
    stop: watch::Sender<bool>,
}

impl Delivery {
    /// Starts the workers of `upstreams`, which are known to the store by their index. They stop
    /// claiming once `shutdown` has come, or [`Delivery::drain`] is called.
    ///
    /// # Errors
    /// [`StartError`] for the first upstream that cannot be delivered to; then nothing was started.
    pub fn start(
        upstreams: &[Arc<Upstream>],
        store: Arc<Store>,
        clock: Clock,
        metrics: Arc<Metrics>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, StartError> {
        let mut roots = client::PlatformRoots::default();
        let mut forwarders = Vec::with_capacity(upstreams.len());
        for upstream in upstreams {
            let seed = fastrand::u64(..);
            let upstream = Arc::clone(upstream);
            let forwarder = Forwarder::with_roots(upstream, clock.clone(), seed, &mut roots)?;
            forwarders.push(Arc::new(forwarder));
        }
        let mut delivery = Self::idle(shutdown);
        for (index, forwarder) in forwarders.iter().enumerate() {
            let counts = metrics.upstream(forwarder.upstream().name.as_str());
            for number in 1..=forwarder.upstream().concurrency {
                let name = format!("delivery/{}/{number}", forwarder.upstream().name);
                let (forwarder, counts) = (Arc::clone(forwarder), Arc::clone(&counts));
                let worker =
                    serve(delivery.stopped(), index, forwarder, counts, Arc::clone(&store));
                delivery.spawn(name, worker);
            }
        }
        Ok(delivery)
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

    /// Stops claiming and lets the attempts in flight finish, until `deadline`.
    pub async fn drain(mut self, deadline: Instant) -> Drained {
        self.stop.send_replace(true);
        let mut failed = None;
        let all_ended = async {
            while let Some(ended) = self.workers.join_next_with_id().await {
                failed = failed.take().or_else(|| Self::failure_of(&self.names, ended));
            }
        };
        let _ = tokio::time::timeout_at(deadline, all_ended).await;
        let given_up = self.workers.len();
        self.workers.shutdown().await;
        Drained { given_up, failed }
    }

    /// No workers yet, only the task that waits for `shutdown`.
    fn idle(shutdown: impl Future<Output = ()> + Send + 'static) -> Self {
        let (stop, _) = watch::channel(false);
        let mut delivery = Self { workers: JoinSet::new(), names: HashMap::new(), stop };
        let (stop, drained) = (delivery.stop.clone(), delivery.stopped());
        delivery.spawn("delivery/shutdown".to_owned(), async move {
            tokio::select! {
                () = shutdown => { stop.send_replace(true); }
                () = drained => {}
            }
        });
        delivery
    }

    fn spawn(&mut self, name: String, work: impl Future<Output = ()> + Send + 'static) {
        let id = self.workers.spawn(work).id();
        self.names.insert(id, name);
    }

    /// Ready once no more is to be claimed.
    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.subscribe();
        async move {
            // An error means that the sender is gone, and with it whoever wanted deliveries.
            let _ = stop.wait_for(|stopped| *stopped).await;
        }
    }

    fn failure(&self, ended: Result<(task::Id, ()), JoinError>) -> Option<WorkerFailed> {
        Self::failure_of(&self.names, ended)
    }

    fn failure_of(
        names: &HashMap<task::Id, String>,
        ended: Result<(task::Id, ()), JoinError>,
    ) -> Option<WorkerFailed> {
        let error = ended.err()?;
        let task = names.get(&error.id()).cloned().unwrap_or_default();
        error.is_panic().then_some(WorkerFailed { task })
    }
}

/// One worker of the upstream with this index.
async fn serve(
    stopped: impl Future<Output = ()>,
    upstream: usize,
    forwarder: Arc<Forwarder>,
    counts: Arc<UpstreamMetrics>,
    store: Arc<Store>,
) {
    let (forwarder, counts, store) = (&*forwarder, &*counts, &*store);
    let deliver = |claimed: crate::store::Claimed| async move {
        let (event, number) = (&*claimed.event, claimed.attempt);
        let attempt =
            guard::guarded(forwarder, event, number, || attempt(forwarder, event, number)).await;
        count(counts, &attempt);
        store.settle(claimed, attempt);
    };
    work(stopped, || store.claim(upstream), deliver).await;
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
