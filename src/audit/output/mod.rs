//! The audit trail on its way to somebody else: to a SIEM by syslog or a file, and its checkpoints out of
//! reach of whoever can write to this machine.
//!
//! Each output is a task of its own that reads the trail's segments from where it has got to, which is
//! kept beside them. Nothing here is in the way of the trail, nor of another output.

mod begin;
mod cursor;
mod file;
mod follow;
mod heard;
mod message;
mod ours;
mod post;
mod sink;
mod syslog;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::file::Room;
use self::follow::{Follower, Order, Workplace};
use super::chain::{Chain, Newest};
use crate::clock::Clock;
use crate::config::defaults::audit::LAST_SENDS;
use crate::config::{Audit, AuditOutput, CheckpointPost};
use crate::metrics::Metrics;

/// A task that can be told to end.
#[derive(Debug)]
struct Task {
    orders: watch::Sender<Order>,
    handle: JoinHandle<()>,
}

impl Task {
    fn spawn<F: Future<Output = ()> + Send + 'static>(
        run: impl FnOnce(watch::Receiver<Order>) -> F,
    ) -> Self {
        let (orders, receiver) = watch::channel(Order::GoOn);
        Self { orders, handle: tokio::spawn(run(receiver)) }
    }
}

/// All outputs of a gateway. Dropping them cuts them off.
#[derive(Debug)]
pub struct Outputs {
    place: Workplace,
    metrics: Arc<Metrics>,
    newest: Newest,
    running: Vec<(Arc<AuditOutput>, Task)>,
    posting: Option<(CheckpointPost, Task)>,
}

impl Outputs {
    /// Nothing is sent yet. `newest` is where the trail puts its checkpoints.
    pub fn new(
        chain: Arc<Chain>,
        newest: Newest,
        store: &Path,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let room = Room::default();
        let place = Workplace { chain, store: store.to_owned(), clock, room };
        Self { place, metrics, newest, running: Vec::new(), posting: None }
    }

    /// From here on these are the outputs, and this is `store.min_free`, of which files leave some. What has not changed goes on; what has goes on where it has got
    /// to, once its predecessor has ended. Does not wait. To be called within the runtime.
    pub fn set(&mut self, audit: &Audit, min_free: u64) {
        self.place.room.keep(min_free);
        let mut before = std::mem::take(&mut self.running);
        for output in &audit.outputs {
            let known = before.iter().position(|(old, _)| old.name == output.name);
            let old = known.map(|at| before.swap_remove(at));
            let task = match old {
                Some((old, task)) if old == *output => task,
                old => self.start(Arc::clone(output), old.map(|(_, task)| task)),
            };
            self.running.push((Arc::clone(output), task));
        }
        for (_, task) in before {
            task.orders.send_replace(Order::Leave);
        }
        self.post(audit.checkpoints.post.as_ref());
    }

    fn start(&self, output: Arc<AuditOutput>, before: Option<Task>) -> Task {
        let place = self.place.clone();
        let end = place.chain.durable();
        let metrics = self.metrics.output(output.name.as_str(), end);
        let now = end.load(Ordering::Acquire);
        Task::spawn(|orders| async move {
            if let Some(Task { orders, handle }) = before {
                orders.send_replace(Order::Leave);
                // However it ends: its cursor is kept.
                drop(handle.await);
            }
            Follower::run(place, output, now, metrics, orders).await;
        })
    }

    fn post(&mut self, post: Option<&CheckpointPost>) {
        if self.posting.as_ref().map(|(post, _)| post) == post {
            return;
        }
        if let Some((_, task)) = self.posting.take() {
            task.orders.send_replace(Order::Leave);
        }
        self.posting = post.map(|post| {
            let (newest, metrics) = (self.newest.watch(), self.metrics.checkpoints());
            let task = Task::spawn(|orders| post::run(post.clone(), newest, orders, metrics));
            (post.clone(), task)
        });
    }

    /// Sends what the trail has by now, the last checkpoint too, and ends. Takes a bounded time, whoever is
    /// on the other side; what did not get out is sent after the next start.
    pub async fn finish(&mut self) {
        let posting = self.posting.take().map(|(_, task)| task);
        let tasks = self.running.drain(..).map(|(_, task)| task).chain(posting);
        let tasks: Vec<Task> = tasks.collect();
        for task in &tasks {
            task.orders.send_replace(Order::Finish);
        }
        let mut handles: Vec<JoinHandle<()>> = tasks.into_iter().map(|task| task.handle).collect();
        let all = async {
            for handle in &mut handles {
                drop(handle.await);
            }
        };
        // A little longer than each of them waits for its other side, so that it keeps how far it got.
        if timeout(LAST_SENDS + LAST_SENDS / 2, all).await.is_err() {
            handles.iter().for_each(JoinHandle::abort);
        }
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        let posting = self.posting.as_ref().map(|(_, task)| task);
        for task in self.running.iter().map(|(_, task)| task).chain(posting) {
            task.handle.abort();
        }
    }
}
