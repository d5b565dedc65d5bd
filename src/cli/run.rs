//! `hookward run`: the gateway, until a signal ends it.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::check;
use crate::clock::Clock;
use crate::config::{Config, Problem};
use crate::gateway::Gateway;
use crate::log;

/// Runs the gateway that `file` describes. 0 after a signal and a clean stop, 78 when the file is
/// invalid, else 1.
pub fn run(file: &Path) -> ExitCode {
    let (config, warnings) = match check::load(file) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let flush = match log::init(config.log) {
        Ok(flush) => flush,
        Err(error) => return complain(&format!("logging cannot start: {error}")),
    };
    warn(&warnings);
    raise_descriptor_limit();
    let code = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(serve(config)),
        Err(error) => complain(&format!("the runtime cannot start: {error}")),
    };
    drop(flush);
    code
}

async fn serve(config: Config) -> ExitCode {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return complain(&format!("signals cannot be caught: {error}")),
    };
    let file = config.file.clone();
    let mut gateway = match Gateway::start(config, Clock::System).await {
        Ok(gateway) => gateway,
        Err(error) => return complain(&error.to_string()),
    };
    tracing::info!(
        target: "hookward",
        version = env!("CARGO_PKG_VERSION"),
        config = %file.display(),
        listen = %gateway.public_addr(),
        admin = gateway.admin_addr().map(tracing::field::display),
        "started"
    );
    let failed = tokio::select! {
        () = signals.stop() => None,
        failed = gateway.failed() => Some(failed),
    };
    if let Some(failed) = &failed {
        tracing::error!(target: "hookward", error = %failed, "stopping");
    } else {
        tracing::info!(target: "hookward", "stopping");
    }
    let safe = gateway.shutdown().await;
    tracing::info!(target: "hookward", safe, "stopped");
    if failed.is_none() && safe { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Ready when the process is told to stop.
    async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => tracing::warn!(
                    target: "hookward",
                    "SIGHUP: reloading is not available in this version; restart to apply changes"
                ),
            }
        }
    }
}

/// Each connection takes a descriptor, and so does each segment: what the system allows is used.
/// Where it cannot be raised, the listener copes with running out.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    if let Err(error) = raised {
        tracing::warn!(target: "hookward", %error, "the limit of open files cannot be raised");
    }
}

fn warn(warnings: &[Problem]) {
    for problem in warnings {
        tracing::warn!(target: "hookward::config", "{problem}");
    }
}

/// Tells a person at the terminal why the gateway ends; the log may be JSON.
fn complain(error: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "hookward: {error}");
    ExitCode::FAILURE
}
