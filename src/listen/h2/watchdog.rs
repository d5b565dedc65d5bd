//! A connection's one timer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

use super::super::Timeouts;
use super::progress::{Expiry, Progress};

/// Set anew only when it fires too early, or would fire too late; most requests never touch it.
#[derive(Debug)]
pub(super) struct Watchdog<'a> {
    progress: &'a Progress,
    timeouts: Timeouts,
    timer: Pin<Box<Sleep>>,
}

impl<'a> Watchdog<'a> {
    pub(super) fn new(progress: &'a Progress, timeouts: Timeouts) -> Self {
        let first = Instant::now() + timeouts.header;
        Self { progress, timeouts, timer: Box::pin(sleep_until(first)) }
    }

    /// Ready when the client's time is up. To be polled after the connection.
    pub(super) fn poll_expired(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Expiry> {
        loop {
            let due = self.progress.due(&self.timeouts);
            if let Some((due, _)) = due.filter(|(due, _)| *due < self.timer.deadline()) {
                self.timer.as_mut().reset(due);
            }
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            match due {
                Some((due, expiry)) if due <= now => return Poll::Ready(expiry),
                Some((due, _)) => self.timer.as_mut().reset(due),
                None => {
                    let again = now + self.timeouts.header;
                    self.timer.as_mut().reset(again);
                }
            }
        }
    }
}
