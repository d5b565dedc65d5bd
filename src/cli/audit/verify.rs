//! `hookward audit verify`: whether the trail is what was written.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::super::client;
use super::super::table::{neutral, neutral_json};
use super::{Code, Where, fail, printed, wrong};
use crate::audit::chain::{Checkpoint, DIR, End, PublicKey, Report, TakenOver, verify};
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
        kept.extend(checkpoints(text, &key)?);
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
            if !dir.is_dir() {
                return fail(&no_trail(dir));
            }
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
        .map_err(|error| wrong(&format!("--public-key {given}: {}", no_key(&error))))?;
    PublicKey::parse(&text).map_err(|error| wrong(&format!("--public-key {given}: {error}")))
}

/// What is said of one that is no key and no file that can be read.
fn no_key(error: &io::Error) -> String {
    format!(
        "it takes 64 hexadecimal digits, or a file that holds them; this is no such key, and as a file: {error}"
    )
}

/// Of a directory that is not there.
fn no_trail(dir: &Path) -> String {
    let store = dir.parent().unwrap_or(dir);
    if store.is_dir() {
        format!("there is no audit trail in {}", store.display())
    } else {
        format!("there is no store in {}", store.display())
    }
}

fn checkpoints(given: &str, key: &PublicKey) -> Result<Vec<Checkpoint>, ExitCode> {
    let read = || {
        fs::read_to_string(given).map_err(|error| wrong(&format!("--checkpoint {given}: {error}")))
    };
    let is_line = given.trim_start().starts_with('{');
    let (name, text) = if is_line { ("--checkpoint", given.to_owned()) } else { (given, read()?) };
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let mut kept: Vec<Checkpoint> = Vec::new();
    // A file of years has one for each minute: those of another key are told once.
    let mut others: BTreeMap<String, (i32, u64)> = BTreeMap::new();
    for (number, line) in lines {
        match serde_json::from_str::<Checkpoint>(line) {
            Ok(checkpoint) => {
                if checkpoint.key != key.id() {
                    others.entry(checkpoint.key.clone()).or_insert((number, 0)).1 += 1;
                } else if !checkpoint.is_signed_by(key) {
                    // Which one it is, only its line can tell.
                    client::complain(&format!(
                        "{name}, line {number}: this checkpoint was not signed by the key {}, or not as it stands",
                        key.id()
                    ));
                }
                kept.push(checkpoint);
            }
            // Where they are appended, a crash may have cut one off.
            Err(_) => client::complain(&format!(
                "{name}, line {number}: this is no checkpoint as `hookward audit checkpoint` prints it, and is left out"
            )),
        }
    }
    for (other, (number, count)) in others {
        let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
        client::complain(&format!(
            "{name}, line {number}{more}: of the key {other}, and not of {}",
            key.id()
        ));
    }
    if kept.is_empty() { Err(wrong(&format!("{name}: there is no checkpoint"))) } else { Ok(kept) }
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
    for range in &report.taken_over_ranges {
        writeln!(out, "after a crash: {}", neutral(&taken_over(range)))?;
    }
    if report.taken_over > report.taken_over_ranges.len() as u64 {
        writeln!(out, "and more after crashes: {} in all", report.taken_over)?;
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

fn taken_over(range: &TakenOver) -> String {
    let TakenOver { first_sequence, last_sequence, records, segment, signed, .. } = range;
    let times = match range.first_time.as_ref().zip(range.last_time.as_ref()) {
        Some((first, last)) => format!(" of {first} to {last}"),
        None => String::new(),
    };
    let unusual = if range.unusual {
        "; that is longer than a running gateway leaves, which signs each minute: look at them"
    } else {
        ""
    };
    format!(
        "records {first_sequence} to {last_sequence} ({records}){times} are vouched for only by the start that began segment {segment} at {signed}, as it found them{unusual}"
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    /// It said that there was no public key beside the trail of a store that is not there.
    #[test]
    fn what_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        assert!(no_trail(&gone.join(DIR)).starts_with("there is no store in"));
        assert!(no_trail(&dir.path().join(DIR)).starts_with("there is no audit trail in"));
    }
}
