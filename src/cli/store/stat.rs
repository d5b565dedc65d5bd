//! `hookward store stat`: what the store holds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::pipe;
use super::{Named, Which, bytes, counted, exit, fail};
use crate::clock::Clock;
use crate::config::units::show_duration;
use crate::store::inspect::{EventState, Expiry, IndexState, Stat, UpstreamCounts, presence, stat};
use crate::store::presence::Known;

/// Arguments of `store stat`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// 0 when it could be read; damage is counted, and for `verify` to name.
pub(super) fn run(args: &Args) -> Result<ExitCode, ExitCode> {
    let (journal, Named { path, retention, .. }) = args.which.journal()?;
    let stat = stat(&journal).map_err(|error| fail(&error))?;
    let known = presence(&journal, Clock::System.now()).map_err(|error| fail(&error))?;
    let text = if args.json {
        object(&path, retention, &stat, &known).to_string() + "\n"
    } else {
        words(&path, retention, &stat, &known)
    };
    Ok(exit(pipe::stdout().write_all(text.as_bytes()).is_ok()))
}

fn object(path: &Path, retention: Option<Duration>, stat: &Stat, known: &Known) -> Value {
    let states: BTreeMap<_, _> =
        EventState::ALL.map(|s| (s.as_str(), stat.states.get(&s).unwrap_or(&0))).into();
    let upstreams: BTreeMap<_, _> = stat
        .upstreams
        .iter()
        .map(|(name, counts)| (name.as_str(), counts_object(counts)))
        .collect();
    let (oldest, newest) = stat.received.unzip();
    let (first, last) = stat.sequences.unzip();
    json!({
        "path": path.display().to_string(),
        "in_use": stat.in_use,
        "journal": {
            "segments": stat.segments,
            "first_segment": stat.numbers.map(|(first, _)| first),
            "last_segment": stat.numbers.map(|(_, last)| last),
            "bytes": stat.bytes,
            "first_sequence": first.map(|sequence| sequence.0),
            "last_sequence": last.map(|sequence| sequence.0),
            "damages": stat.damages,
        },
        "audit_bytes": stat.audit_bytes,
        "events": {
            "count": stat.events,
            "oldest": oldest.map(|time| time.to_string()),
            "newest": newest.map(|time| time.to_string()),
            "sources": stat.sources,
            "states": states,
        },
        "upstreams": upstreams,
        "index": index_object(&stat.index),
        "free_bytes": stat.free,
        "retention": expiry_object(retention, stat.expiry),
        "presence": presence_object(known),
    })
}

fn counts_object(counts: &UpstreamCounts) -> Value {
    let UpstreamCounts { pending, delivered, dead, discarded, unknown } = counts;
    json!({
        "pending": pending, "delivered": delivered, "dead": dead, "discarded": discarded,
        "unknown": unknown,
    })
}

fn index_object(index: &IndexState) -> Value {
    let content = index.content();
    let progress = content.and_then(|content| content.progress);
    json!({
        "present": index.bytes.is_some(),
        "bytes": index.bytes,
        "set_aside_bytes": index.set_aside,
        "format": content.map(|content| content.format),
        "events": content.map(|content| content.events),
        "last_sequence": progress.map(|progress| progress.last.0),
        "segment": progress.map(|progress| progress.upto.segment),
        "offset": progress.map(|progress| progress.upto.offset),
        "clean": index.is_clean,
        "this_boot": content.is_some_and(|content| content.this_boot),
        "trusted": index.is_trusted(),
        "error": index.content.as_ref().err().map(ToString::to_string),
    })
}

fn expiry_object(retention: Option<Duration>, expiry: Option<Expiry>) -> Value {
    let due = retention.zip(expiry).and_then(|(retention, expiry)| expiry.due(retention));
    let unsettled = expiry.and_then(|expiry| expiry.unsettled);
    json!({
        "seconds": retention.map(|retention| retention.as_secs()),
        "oldest_segment": expiry.map(|expiry| expiry.segment),
        "ended_at": expiry.and_then(|expiry| expiry.ended_at).map(|time| time.to_string()),
        "due_at": due.map(|time| time.to_string()),
        "first_unsettled_sequence": unsettled.map(|(sequence, _)| sequence.0),
        "first_unsettled_segment": unsettled.map(|(_, segment)| segment),
    })
}

fn presence_object(known: &Known) -> Value {
    json!({
        "known_since": known.since.map(|at| at.to_string()),
        "last_sign_of_life": known.last.map(|last| last.at.to_string()),
        "away": known.away.map(|(_, cause)| cause.as_str()),
        "gaps": known.absences.len() + usize::from(known.away.is_some()),
    })
}

fn words(path: &Path, retention: Option<Duration>, stat: &Stat, known: &Known) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{}", format!("{name:<11}{text}").trim_end());
    };
    let used = if stat.in_use { "a process has it" } else { "not in use" };
    line("store", &format!("{}, {used}", path.display()));
    line("journal", &journal_words(stat));
    let received =
        stat.received.map_or_else(String::new, |(old, new)| format!(", received {old} to {new}"));
    line("events", &format!("{}{received}", stat.events));
    for (source, events) in &stat.sources {
        line("", &format!("{events} from {source}"));
    }
    for (state, events) in &stat.states {
        line("", &format!("{events} {}", state.as_str()));
    }
    for (name, counts) in &stat.upstreams {
        line("upstream", &format!("{name}: {}", counts_words(counts)));
    }
    line("index", &index_words(&stat.index));
    line("free", &stat.free.map_or_else(|| "unknown".to_owned(), bytes));
    if let Some(expiry) = stat.expiry {
        line("retention", &expiry_words(retention, &expiry));
    }
    line("alive", &presence_words(known));
    let damage = match stat.damages {
        0 => "none found".to_owned(),
        n => format!("{}: hookward store verify names them", counted(n, "place")),
    };
    line("damage", &damage);
    out
}

fn presence_words(known: &Known) -> String {
    let Some(last) = known.last else {
        return "no gateway that notes it has taken events yet".to_owned();
    };
    let at = last.at;
    let now = known.away.map_or_else(
        || "takes events".to_owned(),
        |(_, cause)| format!("takes none since ({})", cause.as_str()),
    );
    let gaps = counted(known.absences.len() as u64, "gap");
    format!("{at}, {now}; {gaps} before: hookward gaps names them")
}

fn journal_words(stat: &Stat) -> String {
    let mut text = counted(stat.segments, "segment");
    if let Some((first, last)) = stat.numbers {
        let _ = write!(text, " ({first} to {last})");
    }
    let _ = write!(text, ", {}", bytes(stat.bytes));
    if let Some((first, last)) = stat.sequences {
        let _ = write!(text, ", sequences {first} to {last}");
    }
    text
}

fn counts_words(counts: &UpstreamCounts) -> String {
    let UpstreamCounts { pending, delivered, dead, discarded, unknown } = counts;
    let mut text = format!("{delivered} delivered, {pending} pending, {dead} dead");
    if *discarded > 0 {
        let _ = write!(text, ", {discarded} discarded");
    }
    if *unknown > 0 {
        let _ = write!(text, ", {unknown} settled in a way that is lost");
    }
    text
}

fn index_words(index: &IndexState) -> String {
    let Some(size) = index.bytes else {
        return "none: a start makes it".to_owned();
    };
    let size = bytes(size);
    let content = match &index.content {
        Err(error) => return format!("{size}, cannot be read: {error}"),
        Ok(None) => return format!("{size}, empty"),
        Ok(Some(content)) => content,
    };
    let Some(progress) = content.progress else {
        return format!("{size}, of format {}, which is not known here", content.format);
    };
    let trust = match (index.is_clean, content.this_boot) {
        (true, _) => "closed in order: a start goes on with it",
        (false, true) => "not closed in order, but on this boot: a start goes on with it",
        (false, false) => "not closed in order, and not on this boot: a start makes it again",
    };
    format!(
        "{size}, format {}, {}, up to sequence {} (segment {}, offset {}); {trust}",
        content.format,
        counted(content.events, "event"),
        progress.last,
        progress.upto.segment,
        progress.upto.offset,
    )
}

fn expiry_words(retention: Option<Duration>, expiry: &Expiry) -> String {
    let segment = expiry.segment;
    let mut text =
        retention.map_or_else(|| "not known without a configuration".to_owned(), show_duration);
    match (expiry.ended_at, retention.and_then(|retention| expiry.due(retention))) {
        (None, _) => {
            let _ = write!(text, "; segment {segment} is the only one, and stays");
        }
        (Some(_), Some(due)) => {
            let _ = write!(text, "; segment {segment} goes after {due}");
        }
        (Some(ended), None) => {
            let _ = write!(text, "; segment {segment} ended at {ended}");
        }
    }
    if let Some((sequence, segment)) = expiry.unsettled {
        let _ = write!(text, "; event {sequence} in segment {segment} is the first unsettled one");
    }
    text
}
