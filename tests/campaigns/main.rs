//! The promise, held to under what may happen to a process, a disk and a machine: what was
//! acknowledged is delivered, and what was not validly sent never is.
//!
//! Each campaign runs the real binary, with senders and an app that keep a ledger. In `cargo test`
//! they are short; `docs/promises.md` has the commands for the long ones, and what those have
//! shown. A campaign that fails prints its seed and keeps its store. One that needs more than the
//! machine has (root, loop devices, a tool) says that it is skipped and why, unless it was asked
//! for by a variable of its own: then it fails.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests in several functions: they may stop at the first surprise and say what they did"
)]

mod app;
mod clocks;
mod damage;
mod event;
mod full_disk;
mod gateway;
mod kill9;
mod ledger;
mod operator;
mod power_cut;
mod promises;
mod senders;
mod stage;
mod system_calls;
mod trail;
mod volume;

use std::io::Write;
use std::path::PathBuf;

use tempfile::TempDir;

/// A campaign's seed and its length, from the environment where they stand there. With an odd seed the
/// store is encrypted.
struct Plan {
    name: &'static str,
    seed: u64,
    rounds: u64,
    /// Whether somebody asked for it: then it must not be skipped.
    asked_for: bool,
}

impl Plan {
    /// `HOOKWARD_{name}_ROUNDS` and `HOOKWARD_{name}_SEED`.
    fn from_env(name: &'static str, rounds: u64) -> Self {
        let number = |what: &str| -> Option<u64> {
            let value = std::env::var(format!("HOOKWARD_{name}_{what}")).ok()?;
            Some(value.parse().expect("a number in the environment"))
        };
        let (asked, seed) = (number("ROUNDS"), number("SEED"));
        let plan = Self {
            name,
            seed: seed.unwrap_or_else(|| fastrand::u64(..)),
            rounds: asked.unwrap_or(rounds),
            asked_for: asked.is_some() || seed.is_some(),
        };
        println!("{plan}");
        plan
    }

    /// Whether the store is encrypted.
    fn encrypted(&self) -> bool {
        self.seed % 2 == 1
    }

    /// A directory for the campaign, on a disk.
    fn directory() -> TempDir {
        let on: PathBuf = std::env::var_os("HOOKWARD_CAMPAIGN_DIR")
            .map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), Into::into);
        tempfile::tempdir_in(on).unwrap()
    }

    /// The machine lacks what it takes.
    fn skip(&self, why: &str) {
        assert!(!self.asked_for, "{} cannot run: {why}", self.name);
        // Not by `println`, which is kept from whoever runs all tests.
        let _ = writeln!(std::io::stderr(), "campaign {} is SKIPPED: {why}", self.name);
    }

    /// Keeps what there is to look at if it has failed.
    fn conclude(&self, directory: TempDir, result: Result<(), String>) {
        if let Err(problems) = result {
            let kept = directory.keep();
            panic!("{self}, everything is in {}:\n{problems}", kept.display());
        }
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, seed, rounds, .. } = self;
        write!(f, "HOOKWARD_{name}_SEED={seed} HOOKWARD_{name}_ROUNDS={rounds}")
    }
}
