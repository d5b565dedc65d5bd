//! `hookward run`: the gateway, until a signal ends it. SIGHUP, and any change of the files that
//! the configuration was made from, reload it.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use std::{io, iter};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use super::check;
use crate::clock::Clock;
use crate::config::{Audit, Config, LogFormat, Problem, Severity};
use crate::gateway::{Gateway, GatewayError};
use crate::hardening::sandbox::{self, Kept, Sandbox, SandboxError};
use crate::hardening::{self, Hardening};
use crate::log::{self, Logging};
use crate::reload::{self, Attempt, Rejected, Sight, Watch};
use crate::store::{OpenError, Store};

/// How long the end of the process waits for threads that are still busy with files: the opening
/// of a store that was given up, or a look at a file system that hangs.
const LEFT_BEHIND: Duration = Duration::from_secs(2);

/// What stays out of reach in the sandbox, and is refused as if it had the wrong mode.
const SANDBOX: &str = "server.sandbox = true may be why permission is denied: what the configuration did not \
                       name at the start, and where its links lead now, is out of reach until a restart";

/// What becomes of what goes there.
const CLOSED: &str = "server.sandbox = true: the configuration did not name this directory at the start, so nothing of the \
                      audit trail can be written there until a restart; until then it waits";

/// Why the gateway does not run, although its configuration is valid.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("logging cannot start: {0}")]
    Log(#[source] io::Error),
    #[error("the runtime cannot start: {0}")]
    Runtime(#[source] io::Error),
    #[error("signals cannot be caught: {0}")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error("{0}; {SANDBOX}")]
    Denied(#[source] GatewayError),
}

impl Fatal {
    /// Why the gateway has not started in a sandbox, or without one.
    fn starting(error: GatewayError, sandboxed: bool) -> Self {
        if sandboxed && is_denied(&error) { Self::Denied(error) } else { Self::Gateway(error) }
    }
}

/// Whether the system has denied something, and that is why.
fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let causes = iter::successors(Some(error), |&error| error.source());
    let mut denied = causes.filter_map(|cause| cause.downcast_ref::<io::Error>());
    denied.any(|cause| cause.kind() == io::ErrorKind::PermissionDenied)
}

/// Runs the gateway that `file` describes. 0 after a signal and a clean stop, 78 when the file is
/// invalid, or lacks keys that the store needs, else 1.
pub fn run(file: &Path) -> ExitCode {
    let hardening = hardening::harden();
    let (loaded, watch) = reload::read(&Sight::default(), || {
        let loaded = check::load(file);
        let files = loaded.as_ref().map_or_else(|_| Vec::new(), |(config, _)| config.files.clone());
        (loaded, files)
    });
    let (config, warnings) = match loaded {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let format = config.log.format;
    go_on(config, &warnings, watch, &hardening).unwrap_or_else(|fatal| {
        // In the words of `check`, as with any configuration that is invalid.
        let keys = matches!(fatal, Fatal::Gateway(GatewayError::Store(OpenError::Keys(_))));
        // The log is written out by now, so this is its last line.
        log::last_words(if keys { LogFormat::Text } else { format }, &fatal.to_string());
        if keys { ExitCode::from(check::INVALID_CONFIGURATION) } else { ExitCode::FAILURE }
    })
}

fn go_on(
    config: Config,
    warnings: &[Problem],
    watch: Sight,
    hardening: &Hardening,
) -> Result<ExitCode, Fatal> {
    Store::prepare(&config.store.path)?;
    // Before any thread is started: each is in the sandbox of the one that starts it.
    let sandbox = enter_sandbox(&config)?;
    let log = log::init(config.log).map_err(Fatal::Log)?;
    tell(warnings);
    hardening.tell();
    if let Some((sandbox, kept)) = &sandbox {
        sandbox.tell(kept);
    }
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Fatal::Runtime)?;
    let kept = sandbox.as_ref().map(|(_, kept)| kept);
    let ended = runtime.block_on(serve(config, watch, &log, kept));
    runtime.shutdown_timeout(LEFT_BEHIND);
    ended
}

/// The sandbox, if the configuration asks for one, and what is left in it.
fn enter_sandbox(config: &Config) -> Result<Option<(Sandbox, Kept)>, SandboxError> {
    if !config.server.sandbox {
        return Ok(None);
    }
    let kept = Kept::of(config);
    Ok(Some((sandbox::enter(&kept)?, kept)))
}

async fn serve(
    config: Config,
    sight: Sight,
    log: &Logging,
    kept: Option<&Kept>,
) -> Result<ExitCode, Fatal> {
    let mut stop = Stop::new().map_err(Fatal::Signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(Fatal::Signals)?;
    let file = config.file.clone();
    let started = tokio::select! {
        biased;
        () = stop.received() => {
            tracing::info!(target: "hookward", "stopped while starting");
            return Ok(ExitCode::SUCCESS);
        }
        started = Gateway::start(config, Clock::System) => started,
    };
    let mut gateway = started.map_err(|error| Fatal::starting(error, kept.is_some()))?;
    tracing::info!(
        target: "hookward",
        version = env!("CARGO_PKG_VERSION"),
        config = %file.display(),
        listen = %gateway.public_addr(),
        admin = gateway.admin_addr().map(tracing::field::display),
        "started"
    );
    let mut watch = Watch::new(sight);
    let (mut reload, mut why) = (None, "");
    let failed = loop {
        tokio::select! {
            biased;
            () = stop.received() => break None,
            failed = gateway.failed() => break Some(failed),
            attempted = finished(&mut reload) => {
                reload = None;
                conclude(attempted, why, &mut gateway, &mut watch, log, kept);
            }
            cause = due(&mut hangup, &mut watch), if reload.is_none() => {
                tracing::info!(target: "hookward", cause, "reloading the configuration");
                why = cause;
                let (file, running, seen) = (file.clone(), gateway.running(), watch.seen().clone());
                reload = Some(spawn_blocking(move || reload::attempt(&file, &running, &seen)));
            }
        }
    };
    if let Some(failed) = &failed {
        tracing::error!(target: "hookward", error = %failed, "stopping");
    } else {
        tracing::info!(target: "hookward", "stopping");
    }
    let safe = gateway.shutdown_unless(stop.received()).await;
    tracing::info!(target: "hookward", safe, "stopped");
    Ok(if failed.is_none() && safe { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The signals that end the process.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Ready when the process is told to stop. Safe to cancel.
    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Ready when a reload is due; says why.
async fn due(hangup: &mut Signal, watch: &mut Watch) -> &'static str {
    tokio::select! {
        _ = hangup.recv() => "SIGHUP",
        () = watch.changed() => "files have changed",
    }
}

/// Ready when the reload that is under way is.
async fn finished(reload: &mut Option<JoinHandle<Attempt>>) -> Result<Attempt, JoinError> {
    match reload {
        Some(reload) => reload.await,
        None => std::future::pending().await,
    }
}

/// The new configuration takes over, or the old one goes on and every reason is told.
fn conclude(
    attempted: Result<Attempt, JoinError>,
    cause: &'static str,
    gateway: &mut Gateway,
    watch: &mut Watch,
    log: &Logging,
    kept: Option<&Kept>,
) {
    let rejected = match attempted {
        Ok(Attempt { result: Ok((next, warnings)), sight }) => {
            watch.acted_on(sight);
            tell(&warnings);
            tell_closed(&next.config().audit, kept);
            let (level, changed) = (next.config().log.level, next.changes().join(", "));
            log.set_level(level);
            gateway.switch(next, cause);
            let changed = if changed.is_empty() { "nothing" } else { changed.as_str() };
            tracing::info!(target: "hookward", changed, "config reloaded");
            return gateway.metrics().reloaded(true);
        }
        Ok(Attempt { result: Err(rejected), sight }) => {
            watch.acted_on(sight);
            tell_rejected(&rejected, kept)
        }
        Err(error) => {
            watch.pass_over();
            tracing::error!(target: "hookward::config", %error, "reading the configuration failed");
            1
        }
    };
    tracing::error!(target: "hookward", errors = rejected, "config not reloaded; the old one goes on");
    gateway.metrics().reloaded(false);
}

/// What the new configuration has the audit trail written to, and cannot be before a restart.
fn tell_closed(audit: &Audit, kept: Option<&Kept>) {
    for directory in kept.map(|kept| kept.keeps_closed(audit)).unwrap_or_default() {
        let directory = directory.display();
        tracing::warn!(target: "hookward::config", %directory, "{CLOSED}");
    }
}

/// Every reason, and how many of them are errors.
fn tell_rejected(rejected: &Rejected, kept: Option<&Kept>) -> usize {
    match rejected {
        Rejected::Invalid(problems) => {
            tell(problems);
            let denied = problems.iter().filter_map(Problem::denied);
            for file in denied.filter(|file| kept.is_some_and(|kept| kept.leaves_out(file))) {
                let file = file.display();
                tracing::warn!(target: "hookward::config", %file, "{SANDBOX}");
            }
            problems.iter().filter(|problem| problem.severity() == Severity::Error).count()
        }
        Rejected::Unfit(obstacles) => {
            for obstacle in obstacles {
                tracing::error!(target: "hookward::config", "{obstacle}");
            }
            obstacles.len()
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

fn tell(problems: &[Problem]) {
    for problem in problems {
        match problem.severity() {
            Severity::Error => tracing::error!(target: "hookward::config", "{problem}"),
            Severity::Warning => tracing::warn!(target: "hookward::config", "{problem}"),
        }
    }
}
