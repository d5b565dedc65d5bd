//! The command line: one binary, its commands and their exit codes. 0 done, 1 failed, 2 wrong usage
//! (clap's own), 78 invalid configuration.

pub mod audit;
pub mod check;
mod client;
pub mod dead_letters;
pub mod demo;
pub mod events;
mod filters;
pub mod gaps;
pub mod init;
pub mod keygen;
mod listing;
mod moment;
mod pipe;
pub mod run;
mod seam;
pub mod send;
mod sender;
pub mod sources;
mod stop;
pub mod store;
mod table;
pub mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::panics;

/// The gateway a clinic puts in front of its app to receive webhooks.
#[derive(Debug, Parser)]
#[command(name = "hookward", version, about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Which configuration.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigFile {
    /// The configuration file [default: HOOKWARD_CONFIG, else hookward.toml here, else
    /// /etc/hookward/hookward.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or SIGINT
    Run(ConfigFile),
    /// Print every problem of the configuration, or what would run with it
    Check(ConfigFile),
    /// Write a commented hookward.toml and random secrets
    Init {
        /// Where to write them
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
        /// A source to configure: a preset's name, or any other name
        #[arg(long = "source", value_name = "NAME")]
        sources: Vec<String>,
    },
    Demo(demo::Args),
    Send(send::Args),
    Verify(verify::Args),
    /// Search and inspect the running gateway's events, send them again, let go of them or drop them
    #[command(subcommand)]
    Events(events::Command),
    /// List what exhausted its retries, and send it again
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// What was refused and why, what operators have done, and whether anybody has changed the record
    #[command(subcommand)]
    Audit(Box<audit::Command>),
    Sources(sources::Args),
    Gaps(gaps::Args),
    /// Look at a store's files and look after them, without a gateway
    #[command(subcommand)]
    Store(store::Command),
    /// Print a new random secret, or write it to a file
    Keygen {
        /// How to write it
        #[arg(long, value_enum, default_value_t)]
        form: keygen::Form,
        /// Write it to this new file, which only its owner can read (mode 0600), instead of printing
        /// it; a file that exists is left as it is, with exit code 1
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    panics::install();
    match Cli::parse().command {
        Command::Run(file) => run::run(&seam::config_file(file.config.as_deref())),
        Command::Check(file) => check::run(&seam::config_file(file.config.as_deref())),
        Command::Init { dir, sources } => init::run(&dir, &sources),
        Command::Demo(args) => demo::run(args),
        Command::Send(args) => send::run(args),
        Command::Verify(args) => verify::run(&args),
        Command::Events(command) => events::run(&command),
        Command::DeadLetters(command) => dead_letters::run(&command),
        Command::Audit(command) => audit::run(&command),
        Command::Sources(args) => sources::run(&args),
        Command::Gaps(args) => gaps::run(&args),
        Command::Store(command) => store::run(&command),
        Command::Keygen { form, out } => keygen::run(form, out.as_deref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
