//! An attempt that panics must not stop the gateway: an event that no attempt at gets through would
//! bring the process down again after every restart, and every provider with it. So a panic is one
//! more attempt that has failed: the delivery is tried again like any other, and in the end it is a
//! dead letter, while all others go on. It says nothing about the upstream.

use std::time::Duration;

use super::forward::{Begun, Forwarder, Made};
use crate::panics::{self, Panicked};
use crate::store::{AttemptResult, StoredEvent};

/// The attempt that `begin` makes, or what follows from its panic. An attempt shares nothing with
/// others but the client's pool, which drops a connection that is let go in mid-use.
pub(super) async fn guarded<F>(
    forwarder: &Forwarder,
    event: &StoredEvent,
    number: u32,
    left: Duration,
    begin: impl FnOnce() -> F,
) -> Made
where
    F: Future<Output = Made>,
{
    let begun = Begun::now(forwarder, event, number, left);
    match panics::caught(begin).await {
        Ok(made) => made,
        Err(Panicked) => begun.ended(AttemptResult::Panicked, None, None).into(),
    }
}
