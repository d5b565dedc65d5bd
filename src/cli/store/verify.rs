//! `hookward store verify`: every frame of the journal, and whether everything is there.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::super::pipe;
use super::{Which, bytes, counted, exit, fail};
use crate::store::inspect::{Finding, Verified, verify};

/// Arguments of `store verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,

    /// The store is a copy that was made while the gateway was running: its last write need not be
    /// whole
    #[arg(long)]
    live_copy: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// 0 when nothing is damaged, else 1.
pub(super) fn run(args: &Args) -> Result<ExitCode, ExitCode> {
    let (journal, _) = args.which.journal()?;
    let journal = if args.live_copy { journal.of_live_copy() } else { journal };
    let mut printer = Printer::new(BufWriter::new(pipe::stdout()), args.json);
    let verified = verify(&journal, &mut |finding| printer.finding(finding));
    let verified = verified.map_err(|error| {
        // What was found before stands.
        let _ = printer.out.flush();
        fail(&error)
    })?;
    Ok(exit(printer.end(&verified).is_ok() && verified.is_clean()))
}

/// Prints findings as they come, however many there are.
struct Printer<W> {
    out: W,
    json: bool,
    any: bool,
    failure: Option<io::Error>,
}

impl<W: Write> Printer<W> {
    fn new(out: W, json: bool) -> Self {
        Self { out, json, any: false, failure: None }
    }

    fn finding(&mut self, finding: &Finding) -> ControlFlow<()> {
        let printed = if self.json {
            let before = if self.any { "," } else { "{\"items\":[" };
            write!(self.out, "{before}{}", item(finding))
        } else {
            let kind = if finding.what.is_damage() { "damage" } else { "note" };
            writeln!(self.out, "{kind}: {finding}")
        };
        self.any = true;
        self.failure = printed.err();
        if self.failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn end(mut self, verified: &Verified) -> io::Result<()> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if self.json {
            let before = if self.any { "" } else { "{\"items\":[" };
            let sum = sum(verified).to_string();
            let sum = sum.trim_start_matches('{');
            writeln!(self.out, "{before}],\"next\":null,{sum}")?;
        } else {
            writeln!(self.out, "{}", words(verified))?;
        }
        self.out.flush()
    }
}

fn item(finding: &Finding) -> Value {
    json!({
        "kind": finding.what.as_str(),
        "damage": finding.what.is_damage(),
        "segment": finding.segment,
        "offset": finding.offset,
        "until": finding.until,
        "sequence": finding.first.map(|sequence| sequence.0),
        "last_sequence": finding.last.map(|sequence| sequence.0),
        "message": finding.what.to_string(),
    })
}

fn sum(verified: &Verified) -> Value {
    let (first, last) = verified.sequences.unzip();
    json!({
        "clean": verified.is_clean(),
        "damages": verified.damages,
        "notes": verified.notes,
        "segments": verified.segments,
        "bytes": verified.bytes,
        "frames": verified.frames,
        "events": verified.events,
        "carried": verified.carried,
        "first_sequence": first.map(|sequence| sequence.0),
        "last_sequence": last.map(|sequence| sequence.0),
    })
}

fn words(verified: &Verified) -> String {
    let result = match verified.damages {
        0 => "nothing is damaged".to_owned(),
        n => format!("{} of damage", counted(n, "place")),
    };
    let sequences = verified
        .sequences
        .map_or_else(String::new, |(first, last)| format!(", sequences {first} to {last}"));
    format!(
        "{} of {}, {} with {}{sequences}: {result}",
        counted(verified.segments, "segment"),
        bytes(verified.bytes),
        counted(verified.frames, "frame"),
        counted(verified.events, "event"),
    )
}
