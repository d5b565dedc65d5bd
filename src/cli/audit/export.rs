//! `hookward audit export`: the trail as JSON lines, CSV or OCSF. Memory does not grow with the trail.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use super::super::table::neutral_json;
use super::selection::Selection;
use super::trail::Reach;
use super::{Code, csv, printed, tell};
use crate::audit::chain::Listed;
use crate::audit::ocsf;
use crate::clock::Clock;

/// Arguments of `audit export`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    reach: Reach,

    /// How
    #[arg(long, value_enum, default_value_t)]
    format: Form,

    #[command(flatten)]
    selection: Selection,

    /// The most records, the oldest of those that fit [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

/// The form of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// One JSON object a line
    #[default]
    Jsonl,
    /// RFC 4180, with a line of names; no cell is a formula to a spreadsheet
    Csv,
    /// One event of OCSF's class API Activity (6003) a line, as JSON
    Ocsf,
}

/// 0 when all that fits was printed.
pub(super) fn run(args: &Args) -> Code {
    let trail = args.reach.trail()?;
    let filter = args.selection.filter(Clock::System.now())?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut done = match args.format {
        Form::Jsonl | Form::Ocsf => Ok(()),
        Form::Csv => writeln!(out, "{}", csv::head()),
    };
    let read = trail.each(&filter, |listed| {
        if done.is_ok() {
            done = one(&listed, args.format, &mut out);
        }
        left = left.saturating_sub(1);
        if done.is_ok() && left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    // What was read before it failed stands.
    printed(done.and_then(|()| out.flush()))?;
    tell(read?);
    Ok(ExitCode::SUCCESS)
}

fn one(listed: &Listed, form: Form, out: &mut impl Write) -> io::Result<()> {
    if form == Form::Ocsf {
        return writeln!(out, "{}", neutral_json(&ocsf::event(listed).to_string()));
    }
    let mut record = serde_json::to_value(&listed.record)?;
    record["sequence"] = listed.sequence.into();
    match form {
        Form::Csv => writeln!(out, "{}", csv::line(&record)),
        Form::Jsonl | Form::Ocsf => writeln!(out, "{}", neutral_json(&record.to_string())),
    }
}
