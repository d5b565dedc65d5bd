//! `hookward audit`: what was refused and done. `list` asks the running gateway, if there is one; the
//! others look at the trail's files, which may be a copy, and change nothing; those that read records
//! ask a gateway at a URL as well.

mod acts;
mod csv;
mod explain;
mod export;
mod list;
mod selection;
mod tally;
mod top;
mod trail;
mod verify;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use rustix::fs::syncfs;

use super::pipe;
use super::{client, table};
use crate::audit::chain::{DIR, Damage, PublicKey, Reader};
use crate::hardening;
use crate::store::disk::OsDisk;

/// What to do with the audit trail.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List what was refused and why, and what operators have done, newest first
    List(list::Args),
    /// Count what was refused, by reason, client, source and credential
    Top(top::Args),
    /// Say in words what was wrong with a request, or what was done, and what to check
    Explain(explain::Args),
    /// Check that nobody has changed the trail; works on a copy, without secrets
    Verify(verify::Args),
    /// Print the trail as JSON lines, CSV or OCSF, oldest first
    Export(export::Args),
    /// Print the newest signed checkpoint, to be kept off this machine
    Checkpoint(Where),
    /// Print the public key that the trail's checkpoints are verified with
    Key(Where),
}

/// Which trail.
#[derive(Clone, Debug, clap::Args)]
pub struct Where {
    /// The configuration file that names the store [default: HOOKWARD_CONFIG, else hookward.toml
    /// here, else /etc/hookward/hookward.toml]
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    config: Option<PathBuf>,

    /// The store's directory itself, or a copy of it; no configuration is read then
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl Where {
    /// The store's directory; 78 for an invalid configuration.
    fn store(&self) -> Result<PathBuf, ExitCode> {
        match &self.store {
            Some(path) => Ok(path.clone()),
            None => client::store_of(self.config.as_deref()),
        }
    }

    /// Whether it was named.
    fn is_given(&self) -> bool {
        self.config.is_some() || self.store.is_some()
    }

    /// Its trail, to be read.
    fn reader(&self) -> Result<Reader, ExitCode> {
        Ok(Reader::new(Arc::new(OsDisk), &self.store()?))
    }
}

/// What a command comes to: its exit code, also when it ends early.
type Code = Result<ExitCode, ExitCode>;

/// Exit code of a wrong command line.
const WRONG_USAGE: u8 = 2;

/// Runs the command: 0 done, 1 failed or the trail is not what was written, 2 wrong usage, 78 for an
/// invalid configuration.
pub fn run(command: &Command) -> ExitCode {
    if let Command::List(args) = command {
        return list::run(args);
    }
    let _ = hardening::harden();
    finish(match command {
        Command::List(_) => Ok(ExitCode::SUCCESS),
        Command::Top(args) => top::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Export(args) => export::run(args),
        Command::Checkpoint(which) => checkpoint(which),
        Command::Key(which) => key(which),
    })
}

fn finish(code: Code) -> ExitCode {
    code.unwrap_or_else(|code| code)
}

fn checkpoint(which: &Where) -> Code {
    let found = which.reader()?.checkpoint().map_err(|error| fail(&error))?;
    let Some(checkpoint) = found else { return Err(fail(&"there is no audit trail yet")) };
    // A running gateway may have it written and not on the disk yet: what is kept of it must outlive a power cut.
    let synced = File::open(which.store()?.join(DIR)).and_then(|dir| Ok(syncfs(dir)?));
    synced.map_err(|error| fail(&format!("cannot put it on stable storage first: {error}")))?;
    let line = serde_json::to_string(&checkpoint).map_err(|error| fail(&error))?;
    print(&table::neutral_json(&line))
}

fn key(which: &Where) -> Code {
    let dir = which.store()?.join(DIR);
    let key = PublicKey::beside(&OsDisk, &dir);
    let key = key.map_err(|error| fail(&format!("{}: {error}", dir.display())))?;
    print(&key.to_string())
}

fn print(line: &str) -> Code {
    printed(writeln!(io::stdout().lock(), "{line}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Tells what has failed of printing; that nobody reads on is no failure.
fn printed(done: io::Result<()>) -> Result<(), ExitCode> {
    pipe::printed(done).map_err(|error| fail(&format!("cannot print: {error}")))
}

/// Says once what is missing in what was read: what is there is shown all the same.
fn tell(damage: Damage) {
    if !damage.is_none() {
        complain(&format!("warning: {}", in_words(damage)));
    }
}

fn in_words(damage: Damage) -> String {
    let Damage { places, missing, segment, after } = damage;
    let places = if places == 1 { "1 place".to_owned() } else { format!("{places} places") };
    let missing = match missing {
        0 => String::new(),
        1 => " (1 number)".to_owned(),
        n => format!(" ({n} numbers)"),
    };
    let after = after.map_or_else(String::new, |after| format!(", behind record {after}"));
    format!(
        "the audit trail is damaged: records are missing or cannot be read at {places}{missing}, first in segment {segment}{after}; run `hookward audit verify`"
    )
}

fn wrong(message: &str) -> ExitCode {
    complain(&format!("error: {message}"));
    ExitCode::from(WRONG_USAGE)
}

fn complain(message: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr(), "{}", table::neutral(message));
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    complain(&format!("error: {error}"));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_its_first_place() {
        let damage = Damage { places: 2, missing: 5, segment: 3, after: Some(206) };
        let words = "records are missing or cannot be read at 2 places (5 numbers), first in segment 3, behind record 206; run";
        assert!(in_words(damage).contains(words), "{}", in_words(damage));
        let unknown = Damage { places: 1, missing: 0, segment: 3, after: None };
        assert!(in_words(unknown).contains("at 1 place, first in segment 3; run"));
    }
}
