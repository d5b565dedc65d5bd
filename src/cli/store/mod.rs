//! `hookward store`: what an operator does with a store's files, without a gateway. Nothing here
//! changes the store, but for `rebuild-index`, which makes the index again, `rekey`, which puts the
//! segments' keys under another one; that and `export` add their records to the audit trail.

mod export;
mod rebuild;
mod rekey;
mod stat;
mod verify;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;

use super::{ConfigFile, seam};
use crate::hardening;
use crate::store::crypt::Keyring;
use crate::store::inspect::{Finding, InspectError, Journal};

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check every frame of the journal, and say what is damaged
    Verify(verify::Args),
    /// Print what the store holds
    Stat(stat::Args),
    /// Make the index again from the journal; the gateway must not be running
    RebuildIndex(rebuild::Args),
    /// Print events as JSON lines; this is recorded in the audit trail
    Export(export::Args),
    /// Put everything that is stored under the first key of store.encryption_key, while the gateway
    /// runs or not
    Rekey(ConfigFile),
}

/// Which store.
#[derive(Clone, Debug, clap::Args)]
pub struct Which {
    /// The configuration file that names the store [default: HOOKWARD_CONFIG, else hookward.toml
    /// here, else /etc/hookward/hookward.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The store's directory itself; no configuration is read then, unless --config names one for its
    /// keys
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

/// A store that was named.
#[derive(Debug)]
struct Named {
    path: PathBuf,
    /// How long events are kept, if a configuration says so.
    retention: Option<Duration>,
    /// What it is encrypted with.
    keys: Arc<Keyring>,
}

impl Which {
    /// The store that is meant; 78 for an invalid configuration.
    fn named(&self) -> Result<Named, ExitCode> {
        if let (Some(path), None) = (&self.store, &self.config) {
            return Ok(Named { path: path.clone(), retention: None, keys: Arc::default() });
        }
        let store = seam::load_config(self.config.as_deref())?.store;
        Ok(Named {
            path: self.store.clone().unwrap_or(store.path),
            retention: Some(store.retention),
            keys: Arc::new(Keyring::new(store.encryption_keys)),
        })
    }

    /// Its journal.
    fn journal(&self) -> Result<(Journal, Named), ExitCode> {
        let named = self.named()?;
        let journal = Journal::open(&named.path, &named.keys).map_err(|error| fail(&error))?;
        Ok((journal, named))
    }
}

/// Runs the command: 0 done, 1 failed or damage was found, 78 for an invalid configuration.
pub fn run(command: &Command) -> ExitCode {
    // Payloads pass through this process, and files that it makes are the store's.
    let _ = hardening::harden();
    let done = match command {
        Command::Verify(args) => verify::run(args),
        Command::Stat(args) => stat::run(args),
        Command::RebuildIndex(args) => rebuild::run(args),
        Command::Export(args) => export::run(args),
        Command::Rekey(config) => Ok(rekey::run(config.config.as_deref())),
    };
    done.unwrap_or_else(|code| code)
}

fn complain(message: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr(), "{message}");
}

fn fail(error: &InspectError) -> ExitCode {
    complain(&format!("error: {error}"));
    ExitCode::FAILURE
}

/// Damage that a command comes upon on its way.
fn tell_damage(finding: &Finding) {
    if finding.what.is_damage() {
        complain(&format!("damage: {finding}"));
    }
}

fn exit(fine: bool) -> ExitCode {
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// `1 event`, `2 events`.
fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A size for people: three digits at least, in the largest unit that gives them.
fn bytes(n: u64) -> String {
    let mut unit = 0;
    let (mut whole, mut tenths) = (n, 0);
    while whole >= 1024 && unit < 4 {
        tenths = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit += 1;
    }
    match ["B", "KiB", "MiB", "GiB", "TiB"].get(unit) {
        Some(name) if unit > 0 && whole < 100 => format!("{whole}.{tenths} {name}"),
        Some(name) => format!("{whole} {name}"),
        None => format!("{n} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        for (n, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (123 << 20, "123 MiB"),
            (5 << 40, "5.0 TiB"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }
}
