//! What the process gives up before it meets anybody: memory that others could read, privileges it
//! could gain, modes that let others in; and, where the operator asks for it, most of the file
//! system ([`sandbox`]). docs/hardening.md says what is left.

pub mod sandbox;

use std::io;

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask,
};
use rustix::thread::set_no_new_privs;

/// What has been given up, and what could not be.
#[must_use = "failures are to be told once there is a log"]
#[derive(Debug)]
pub struct Hardening {
    failures: Vec<(&'static str, io::Error)>,
}

/// Hardens the process. To be called before any secret is read and any thread is started: new
/// threads inherit what holds for this one.
///
/// - No core dump is written (`RLIMIT_CORE`), and no other process of the same user can read this
///   one's memory or environment through `ptrace` or `/proc` (`PR_SET_DUMPABLE`).
/// - No program that is started gains privileges, setuid or not (`PR_SET_NO_NEW_PRIVS`).
/// - New files are their owner's alone (umask 077), also those of libraries that set no mode.
pub fn harden() -> Hardening {
    umask(Mode::RWXG | Mode::RWXO);
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let steps = [
        ("core dumps cannot be limited", setrlimit(Resource::Core, none)),
        (
            "core dumps and tracing cannot be turned off",
            set_dumpable_behavior(DumpableBehavior::NotDumpable),
        ),
        ("gaining privileges cannot be turned off", set_no_new_privs(true)),
    ];
    let failed = |(what, result): (_, rustix::io::Result<()>)| Some((what, result.err()?.into()));
    Hardening { failures: steps.into_iter().filter_map(failed).collect() }
}

impl Hardening {
    /// Tells it in the log.
    pub fn tell(&self) {
        for (what, error) in &self.failures {
            tracing::warn!(target: "hookward", %error, "{what}");
        }
        if self.failures.is_empty() {
            tracing::info!(
                target: "hookward",
                core_dumps = false,
                new_privileges = false,
                umask = "077",
                "process hardened"
            );
        }
    }
}
