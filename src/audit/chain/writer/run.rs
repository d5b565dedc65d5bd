//! What the writer's thread does from its start to its end, and what it tells of its troubles.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{CARRIED, Writer};

/// Entries that are written with one write.
const AT_ONCE: usize = 1_024;
/// How often an opening is tried again.
const OPEN_EVERY: Duration = Duration::from_secs(5);
/// How often an end is tried again in another segment.
const LAST_TRIES: u32 = 3;
/// How long an end waits for the last checkpoint to be in the file elsewhere.
const LAST_CHECKPOINT: Duration = Duration::from_secs(5);

impl Writer {
    /// Writes until it is told to stop. Never gives up on a disk before.
    pub(in super::super) fn run(&mut self) {
        let mut tries = LAST_TRIES;
        loop {
            self.chain.busy();
            let ready = self.opened.is_some() || self.try_open();
            self.chain.idle();
            let full = self.unwritten.len() > CARRIED;
            let taken = self.chain.take(if ready && !full { AT_ONCE } else { 0 }, self.failing);
            self.chain.busy();
            if let Some(options) = taken.options {
                self.options = options;
            }
            let (last, head) = (taken.stop && !taken.more, self.head_number());
            let done = self.step(taken.entries, last);
            match done {
                Ok(()) if self.opened.is_some() => {
                    self.recovered();
                    if !taken.more {
                        self.chain.settled(taken.asked);
                    }
                }
                Ok(()) => {}
                Err((what, error)) => self.tell_failure(what, &error),
            }
            if taken.stop && tries > 0 && self.head_number() != head {
                // What was to be in the segment before is in none yet.
                tries -= 1;
                continue;
            }
            if taken.stop && (last || self.failing) {
                self.chain.idle();
                self.files.finish(LAST_CHECKPOINT);
                return;
            }
        }
    }

    fn try_open(&mut self) -> bool {
        if self.since_open.as_ref().is_some_and(|since| since.elapsed() < OPEN_EVERY) {
            return false;
        }
        match self.open() {
            Ok(()) => true,
            Err(error) => {
                self.tell_failure("opening", &error);
                false
            }
        }
    }

    /// Something keeps the trail from the disk. It is told once, until it has passed.
    pub(in super::super) fn tell_failure(&mut self, what: &str, error: &io::Error) {
        self.chain.writable.store(false, Ordering::Relaxed);
        if !std::mem::replace(&mut self.failing, true) {
            let required = self.options.required;
            tracing::error!(
                target: "hookward::audit",
                what, %error, required, dir = %self.dir.display(),
                "the audit trail cannot be written; it is tried again"
            );
        }
    }

    fn recovered(&mut self) {
        self.chain.writable.store(true, Ordering::Relaxed);
        if std::mem::replace(&mut self.failing, false) {
            tracing::info!(target: "hookward::audit", "the audit trail is written again");
        }
    }
}
