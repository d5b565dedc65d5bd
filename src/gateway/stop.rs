//! The stop: nobody is let in any more, what is in hand is finished, and everything is on stable
//! storage. It takes no longer than `drain_timeout` and a few seconds, whatever hangs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};

use super::Gateway;
use super::listeners::Listening;
use crate::admin::socket;
use crate::audit::Who;
use crate::audit::chain::{Chain, Own};
use crate::delivery::Drained;
use crate::store::Store;

/// How long after `drain_timeout` connections and attempts that were cut off may take to go, and
/// what is summed up about them to be told.
const LAST_CALL: Duration = Duration::from_secs(3);

/// How long the store may take to write what is queued and close. It has been syncing all the
/// time: only a disk that hangs takes longer.
const CLOSE: Duration = Duration::from_secs(5);

impl Gateway {
    /// [`Gateway::shutdown_unless`] that nothing hurries.
    pub async fn shutdown(self) -> bool {
        self.shutdown_unless(std::future::pending()).await
    }

    /// Stops: no further request is taken, those in hand are answered, attempts in flight finish,
    /// and everything is on stable storage. What takes longer than `drain_timeout`, or is still
    /// there when `hurry` is ready, is cut off. Health is answered to the end, and readiness goes
    /// first. Whether everything that was accepted is safe.
    pub async fn shutdown_unless(mut self, hurry: impl Future<Output = ()>) -> bool {
        self.desk.drain();
        let deadline = Instant::now() + self.config.server.drain_timeout;
        self.public.stop();
        self.store.shuts();
        self.delivery.stop();
        let drain = async {
            let (drained, ()) = tokio::join!(self.delivery.drain(deadline), self.public.ended());
            drained
        };
        let ended = tokio::select! {
            drained = drain => Ok(drained),
            () = hurry => Err("told again to stop; what is in hand is cut off"),
            () = sleep_until(deadline + LAST_CALL) => Err("the drain does not end; it is cut off"),
        };
        match ended {
            Ok(drained) => tell(&drained),
            Err(why) => {
                tracing::warn!(target: "hookward", "{why}");
                self.public.cut_off();
                if timeout(LAST_CALL, self.public.ended()).await.is_err() {
                    tracing::error!(target: "hookward", "the public listener does not end");
                }
            }
        }
        if let Some(socket) = &self.socket {
            // While the store is ours: a moment later there may be the next gateway's.
            socket::remove(&socket.address);
        }
        let safe = close(&self.store).await;
        self.admin.iter().for_each(Listening::stop);
        self.socket.iter().for_each(Listening::stop);
        if let Some(admin) = &mut self.admin {
            admin.ended().await;
        }
        if let Some(socket) = &mut self.socket {
            socket.ended().await;
        }
        self.trail.chain().own(stopped(safe));
        end_trail(Arc::clone(self.trail.chain())).await;
        self.outputs.finish().await;
        safe
    }
}

fn tell(drained: &Drained) {
    if drained.given_up > 0 {
        let attempts = drained.given_up;
        tracing::warn!(target: "hookward", attempts, "attempts given up at the drain timeout; they are made again");
    }
    if let Some(failed) = &drained.failed {
        tracing::error!(target: "hookward", error = %failed, "while stopping");
    }
}

/// The record of a stop: whether everything that was accepted is safe.
pub(super) fn stopped(safe: bool) -> Own {
    let who = format!("uid {}", Who::here().uid);
    Own { reason: "stopped", who, details: json!({ "safe": safe }) }
}

/// Writes the audit trail to its end, and signs that.
async fn end_trail(chain: Arc<Chain>) {
    let ended = timeout(CLOSE, spawn_blocking(move || chain.stop())).await;
    if !matches!(ended, Ok(Ok(true))) {
        tracing::error!(target: "hookward::audit", "the audit trail does not end in order");
    }
}

async fn close(store: &Store) -> bool {
    let closed = timeout(CLOSE, store.close()).await;
    if closed.is_err() {
        tracing::error!(target: "hookward", "the store does not close; what was answered 200 is stored");
    }
    closed.unwrap_or(false)
}
