//! `hookward audit verify`: whether the trail is what was written.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::super::client;
use super::super::table::{neutral, neutral_json};
use super::{Code, Where, fail, printed, wrong};
use crate::audit::chain::{Checkpoint, DIR, End, PublicKey, Report, verify};
use crate::store::disk::OsDisk;

/// Arguments of `audit verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Where,

    /// The installation's public key, as `hookward audit key` has printed it, or a file that holds it.
    /// Without it the one beside the trail is believed, which whoever has put another trail there can
    /// replace as well
    #[arg(long, value_name = "FILE|HEX")]
    public_key: Option<String>,

    /// A checkpoint that was kept elsewhere, or a file of them, one a line; may be repeated
    #[arg(long = "checkpoint", value_name = "FILE|JSON")]
    checkpoints: Vec<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// 0 when the trail is sound, else 1.
pub(super) fn run(args: &Args) -> Code {
    let dir = args.which.store()?.join(DIR);
    let key = key(args.public_key.as_deref(), &dir)?;
    let mut kept = Vec::new();
    for text in &args.checkpoints {
        kept.extend(checkpoints(text)?);
    }
    let report = verify(&OsDisk, &dir, &key, &kept).map_err(|error| fail(&error))?;
    let mut out = io::stdout().lock();
    printed(if args.json {
        writeln!(out, "{}", neutral_json(&json!(report).to_string()))
    } else {
        words(&report, args.public_key.is_some(), !kept.is_empty(), &mut out)
    })?;
    Ok(if report.sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn key(given: Option<&str>, dir: &Path) -> Result<PublicKey, ExitCode> {
    let Some(given) = given else {
        let beside = PublicKey::beside(&OsDisk, dir);
        return beside.map_err(|error| {
            fail(&format!(
                "there is no public key beside the trail in {}: {error}; give --public-key",
                dir.display()
            ))
        });
    };
    if let Ok(key) = PublicKey::parse(given) {
        return Ok(key);
    }
    let text = fs::read_to_string(given)
        .map_err(|error| wrong(&format!("--public-key {given}: {error}")))?;
    PublicKey::parse(&text).map_err(|error| wrong(&format!("--public-key {given}: {error}")))
}

fn checkpoints(given: &str) -> Result<Vec<Checkpoint>, ExitCode> {
    let read = || {
        fs::read_to_string(given).map_err(|error| wrong(&format!("--checkpoint {given}: {error}")))
    };
    let text = if given.trim_start().starts_with('{') { given.to_owned() } else { read()? };
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let mut kept = Vec::new();
    for (number, line) in lines {
        match serde_json::from_str(line) {
            Ok(checkpoint) => kept.push(checkpoint),
            // Where they are appended, a crash may have cut one off.
            Err(_) => client::complain(&format!(
                "--checkpoint: line {number} is no checkpoint as `hookward audit checkpoint` prints it, and is left out"
            )),
        }
    }
    if kept.is_empty() { Err(wrong("--checkpoint: there is none")) } else { Ok(kept) }
}

/// The report for people.
fn words(report: &Report, given: bool, kept: bool, out: &mut impl Write) -> io::Result<()> {
    let Report { trail, segments, records, checkpoints, .. } = report;
    let (first, last) = (report.first.unwrap_or(0), report.last.unwrap_or(0));
    writeln!(
        out,
        "trail {trail}: segments {segments}, numbers {first} to {last}, of which records {records} and checkpoints {checkpoints}"
    )?;
    for found in &report.items {
        writeln!(out, "{}", neutral(&found.to_string()))?;
    }
    if report.breaks > report.items.len() as u64 {
        writeln!(out, "and more: {} in all", report.breaks)?;
    }
    for note in &report.notes {
        writeln!(out, "note: {}", neutral(note))?;
    }
    if !given {
        writeln!(
            out,
            "note: the public key is the one beside the trail, and proves nothing against whoever could replace both; give --public-key"
        )?;
    }
    match &report.vouched {
        Some(vouched) => writeln!(
            out,
            "vouched for up to record {}, by the checkpoint of {}; behind that {} are not",
            vouched.sequence,
            neutral(&vouched.time),
            report.unvouched
        )?,
        None => writeln!(out, "no checkpoint vouches for any record")?,
    }
    writeln!(out, "{}", end(report.end, kept))?;
    writeln!(out, "{}", if report.sound { "sound" } else { "NOT SOUND" })
}

fn end(end: End, kept: bool) -> String {
    let cut = if kept {
        ""
    } else {
        "; whether it was cut off, only a checkpoint that was kept elsewhere can tell (--checkpoint)"
    };
    match end {
        End::Stopped => format!("it ends with the checkpoint of a stop{cut}"),
        End::Open => format!(
            "it ends without the checkpoint of a stop: the gateway runs, or was killed{cut}"
        ),
        End::Torn { bytes } => format!(
            "it ends with {bytes} bytes that are no record: a write that a crash has cut off, or that goes on{cut}"
        ),
    }
}
