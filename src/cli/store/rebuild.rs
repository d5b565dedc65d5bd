//! `hookward store rebuild-index`: the index, made again from the journal.

use std::io::Write as _;
use std::process::ExitCode;

use super::super::pipe;
use super::{Which, counted, exit, fail, tell_damage};
use crate::store::inspect::rebuild_index;

/// Arguments of `store rebuild-index`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
}

/// 0 when the index is made, whatever is damaged in the journal.
pub(super) fn run(args: &Args) -> Result<ExitCode, ExitCode> {
    let named = args.which.named()?;
    let rebuilt =
        rebuild_index(&named.path, &named.keys, &mut tell_damage).map_err(|error| fail(&error))?;
    let before = if rebuilt.set_aside { "; the old index is set aside" } else { "" };
    let printed = writeln!(
        pipe::stdout(),
        "index of {} made in {:.2?}, {:.0} events a second{before}",
        counted(rebuilt.events, "event"),
        rebuilt.took,
        rebuilt.rate(),
    );
    Ok(exit(printed.is_ok()))
}
