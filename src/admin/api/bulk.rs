//! A replay of many dead letters: one at a time, as fast as is wanted, whether or not the client waits
//! for its end. There is one such replay at a time, and it ends early when the gateway stops.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::archive::Archive;
use super::fault::Fault;
use crate::audit::{Acts, Operator, Trail};
use crate::event::Sequence;
use crate::secret::Withdrawal;
use crate::store::query::{Act, ActError, Acted};

/// The one place for a bulk replay, and what it has come to.
#[derive(Debug)]
pub(super) struct Bulk {
    place: Arc<Semaphore>,
    latest: Mutex<Arc<Progress>>,
    stop: watch::Sender<bool>,
}

impl Default for Bulk {
    fn default() -> Self {
        let place = Arc::new(Semaphore::new(1));
        Self { place, latest: Mutex::default(), stop: watch::channel(false).0 }
    }
}

/// How far a bulk replay is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) matched: usize,
    replayed: AtomicUsize,
}

impl Progress {
    /// As the API shows it.
    pub(super) fn shown(&self) -> Value {
        json!({ "matched": self.matched, "replayed": self.replayed.load(Ordering::Relaxed) })
    }

    fn members(&self) -> [(&'static str, Value); 2] {
        let replayed = self.replayed.load(Ordering::Relaxed);
        [("matched", self.matched.into()), ("replayed", replayed.into())]
    }
}

/// What is to be replayed, and how.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) events: Vec<Sequence>,
    /// At most so many a second.
    pub(super) per_second: Option<u32>,
    pub(super) act: Act,
    /// Which events were meant, for the record.
    pub(super) filter: Value,
    pub(super) operator: Operator,
    /// When it goes on no further.
    pub(super) withdrawal: Withdrawal,
}

/// Who works on an order.
#[derive(Clone, Debug)]
pub(super) struct Workers {
    pub(super) archive: Arc<dyn Archive>,
    pub(super) trail: Arc<Trail>,
}

impl Bulk {
    /// The place, if no bulk replay is under way.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Fault> {
        Arc::clone(&self.place).try_acquire_owned().map_err(|_| {
            let latest = Arc::clone(&self.latest.lock());
            Fault::conflict("Another bulk replay is under way; there is one at a time.")
                .with(latest.members())
        })
    }

    /// From here on none goes on.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Begins to work on it, in a task of its own.
    pub(super) fn begin(
        &self,
        order: Order,
        workers: Workers,
        place: OwnedSemaphorePermit,
    ) -> (Arc<Progress>, impl Future<Output = Result<(), Fault>>) {
        let progress = Arc::new(Progress { matched: order.events.len(), ..Progress::default() });
        *self.latest.lock() = Arc::clone(&progress);
        let (stop, seen) = (self.stop.subscribe(), Arc::clone(&progress));
        let work = tokio::spawn(async move {
            let ended = replay(order, &workers, &progress, stop).await;
            tell(&progress, &ended);
            drop(place);
            ended.map(drop).map_err(|why| why.fault(&progress))
        });
        (seen, async move { work.await.unwrap_or_else(|_| Err(Fault::internal())) })
    }
}

/// Why a bulk replay has ended early.
#[derive(Debug)]
enum Why {
    Stopping,
    /// A reload has taken back the token that it was begun with.
    Withdrawn,
    Act(ActError),
    /// The audit trail takes nothing, so nothing was begun.
    Unwritten(io::Error),
    /// The latest one could not be recorded.
    Unrecorded,
    Panicked,
}

impl Why {
    fn as_text(&self) -> String {
        match self {
            Self::Stopping => "the gateway stops".to_owned(),
            Self::Withdrawn => "its token was withdrawn".to_owned(),
            Self::Act(error) => error.to_string(),
            Self::Unwritten(error) => format!("the audit trail cannot be written: {error}"),
            Self::Unrecorded => "the audit trail cannot be written".to_owned(),
            Self::Panicked => "it has panicked".to_owned(),
        }
    }

    fn fault(self, progress: &Progress) -> Fault {
        let fault = match self {
            Self::Stopping => Fault::later("The gateway stops; the rest was not replayed."),
            Self::Withdrawn => Fault::conflict(
                "The token was withdrawn, or its role has changed; the rest was not replayed.",
            ),
            Self::Act(error) => error.into(),
            Self::Unwritten(_) | Self::Unrecorded => Fault::later(
                "The audit trail cannot be written to now, so the rest was not replayed; the log says why.",
            ),
            Self::Panicked => Fault::internal(),
        };
        fault.with(progress.members())
    }
}

/// Replays them in their order, and says how many had changed meanwhile and were left as they are.
async fn replay(
    order: Order,
    workers: &Workers,
    progress: &Progress,
    mut stop: watch::Receiver<bool>,
) -> Result<usize, Why> {
    let Order { events, per_second, act, filter, operator, withdrawal } = order;
    let (trail, act) = (Arc::clone(&workers.trail), Arc::new(act));
    let (matched, of_all) = (events.len(), Arc::clone(&act));
    let acts = spawn_blocking(move || {
        let acts = trail.open(operator)?;
        record_begin(&acts, &of_all, &filter, per_second, matched).map(|()| acts)
    });
    let acts = acts.await.map_err(|_| Why::Panicked)?.map_err(Why::Unwritten)?;
    let acts = Arc::new(acts);
    let mut due = Instant::now();
    let mut left_alone = 0;
    for event in events {
        if let Some(rate) = per_second {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Err(Why::Stopping),
                () = sleep_until(due) => {}
            }
            // What a disk that stood still has kept waiting is not made up for.
            due = due.max(Instant::now()) + Duration::from_secs(1) / rate;
        }
        if *stop.borrow() {
            return Err(Why::Stopping);
        }
        if withdrawal.has_taken_effect() {
            return Err(Why::Withdrawn);
        }
        let (workers, act, acts) = (workers.clone(), Arc::clone(&act), Arc::clone(&acts));
        let done = spawn_blocking(move || {
            acts.reserve().map_err(Why::Unwritten)?;
            Ok(one(&workers, event, &act, &acts))
        });
        match done.await.map_err(|_| Why::Panicked)?? {
            Ok(recorded) => {
                progress.replayed.fetch_add(1, Ordering::Relaxed);
                if !recorded {
                    return Err(Why::Unrecorded);
                }
            }
            // Somebody else has done something with it, or its upstream is configured no more: that is
            // no reason to keep the others waiting.
            Err(
                ActError::NotFound
                | ActError::State(_)
                | ActError::NoUpstream
                | ActError::UnknownUpstream,
            ) => left_alone += 1,
            Err(error) => return Err(Why::Act(error)),
        }
    }
    Ok(left_alone)
}

/// Replays one; whether that was recorded.
fn one(workers: &Workers, event: Sequence, act: &Act, acts: &Acts) -> Result<bool, ActError> {
    let acted = workers.archive.replay_dead(event, act)?;
    Ok(recorded(&workers.trail, acts, act, &acted))
}

/// Records an act that was done.
pub(super) fn recorded(trail: &Trail, acts: &Acts, act: &Act, acted: &Acted) -> bool {
    let details = json!({
        "event": acted.id.to_string(),
        "source": acted.source.as_str(),
        "upstreams": acted.upstreams,
        "why": act.reason,
    });
    trail.done(acts, act.what.as_str(), &details)
}

/// Records that a bulk replay begins.
fn record_begin(
    acts: &Acts,
    act: &Act,
    filter: &Value,
    per_second: Option<u32>,
    matched: usize,
) -> io::Result<()> {
    let details = json!({
        "source": filter["source"], "filter": filter, "matched": matched, "per_second": per_second, "why": act.reason,
    });
    acts.record(act.what.as_str(), &details)
}

fn tell(progress: &Progress, ended: &Result<usize, Why>) {
    let (matched, replayed) = (progress.matched, progress.replayed.load(Ordering::Relaxed));
    match ended {
        Ok(left_alone) => tracing::info!(
            target: "hookward::admin", matched, replayed, left_alone, "bulk replay ended"
        ),
        Err(why) => tracing::warn!(
            target: "hookward::admin", matched, replayed, why = why.as_text(), "bulk replay ended early"
        ),
    }
}
