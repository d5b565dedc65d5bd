//! Being told to stop, for commands that go on for a while.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code of a program that was interrupted from the keyboard, by the shell's convention.
pub(super) const INTERRUPTED: u8 = 130;

/// Ctrl-C, or a polite request to end.
pub(super) struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignal {
    /// From now on neither ends the process by itself.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for either. Safe to cancel.
    pub(super) async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
