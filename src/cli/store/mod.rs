//! `hookward store`: what operators do with the store's files themselves.

mod rekey;

use std::process::ExitCode;

use clap::Subcommand;

use super::ConfigFile;

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Put everything that is stored under the first key of store.encryption_key, while the gateway
    /// runs or not
    Rekey(ConfigFile),
}

/// Runs one of them.
pub(super) fn run(command: Command) -> ExitCode {
    match command {
        Command::Rekey(config) => rekey::run(config.config.as_deref()),
    }
}
