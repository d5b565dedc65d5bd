//! `hookward audit explain`: a record in words. What was wrong with the request, what else is known about
//! it, and what an operator can check. Never shows a credential or a key.

mod case;
mod credentials;
mod deeds;
mod near;
mod operators;
mod proxies;
mod reasons;
mod setup;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};

use self::case::Case;
use self::near::Near;
use super::super::client::At;
use super::super::listing::text;
use super::super::table::{self, neutral, neutral_json};
use super::trail::{Trail, called};
use super::{Code, fail, printed, wrong};
use crate::audit::Reason;
use crate::audit::chain::{Listed, Reader, Shown, filter};
use crate::store::disk::OsDisk;

/// Arguments of `audit explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The record's id, as the log line, `audit list` and `audit export` have it
    id: String,

    /// The configuration file: it names the store, and what it says now is compared with the record
    /// [default: HOOKWARD_CONFIG, else hookward.toml here, else /etc/hookward/hookward.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The store's directory itself, or a copy of it; no configuration is read then, unless --config
    /// names one, and neither is with --url
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    store: Option<PathBuf>,

    #[command(flatten)]
    at: At,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is said of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Explanation {
    /// What it means.
    meaning: String,
    /// What is known beside.
    known: Vec<String>,
    /// What can be checked.
    check: Vec<String>,
}

impl Explanation {
    fn new(meaning: impl Into<String>) -> Self {
        Self { meaning: meaning.into(), ..Self::default() }
    }

    fn known(mut self, facts: impl IntoIterator<Item = String>) -> Self {
        self.known.extend(facts);
        self
    }

    fn check(mut self, what: impl Into<String>) -> Self {
        self.check.push(what.into());
        self
    }

    fn checks(mut self, what: impl IntoIterator<Item = String>) -> Self {
        self.check.extend(what);
        self
    }
}

/// 0 when it was explained, 1 when there is no such record, 78 for an invalid configuration.
pub(super) fn run(args: &Args) -> Code {
    let id = filter::id(&args.id).map_err(|bad| wrong(&format!("ID is {bad}")))?;
    let (trail, store, setup) = match args.at.client()? {
        Some(client) => {
            let setup = args.config.as_deref().map(setup::of).transpose()?;
            (Trail::Gateway(client), None, setup)
        }
        None => {
            let (store, setup) = setup::load(args.store.as_deref(), args.config.as_deref())?;
            (Trail::Files(Reader::new(Arc::new(OsDisk), &store)), Some(store), setup)
        }
    };
    let store = store.as_deref();
    let Some(listed) = trail.find(&id)? else {
        return Err(fail(&format!(
            "no record in {} has the id {id}; what was refused within the last second may not be there yet, \
             a request that was summed has no record of its own, and what is older than audit.retention is gone",
            called(store)
        )));
    };
    let near = Near::of(&trail, &listed.record)?;
    let case = Case { record: &listed.record, near: &near, setup: setup.as_ref(), store };
    let explanation = explain(&case);
    let mut out = io::stdout().lock();
    printed(if args.json {
        let Explanation { meaning, known, check } = explanation;
        let whole = json!({
            "record": Shown::from(listed), "meaning": meaning, "known": known, "check": check,
        });
        writeln!(out, "{}", neutral_json(&whole.to_string()))
    } else {
        words(listed, &explanation, &mut out)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn explain(case: &Case<'_>) -> Explanation {
    match Reason::parse(&case.record.reason) {
        Some(reason) => case.facts(reasons::of(reason, case)),
        None => deeds::of(case),
    }
}

/// What the record says, line by line.
const LINES: [(&str, &[&str]); 7] = [
    ("record", &["sequence", "time"]),
    ("refused", &["status", "detail"]),
    ("request", &["method", "path", "source", "size", "declared", "sha256"]),
    ("from", &["client", "peer", "listener", "tls", "server_name", "user_agent"]),
    ("with", &["credential"]),
    ("sum", &["count", "first", "last"]),
    ("by", &["who"]),
];

fn words(listed: Listed, said: &Explanation, out: &mut impl Write) -> io::Result<()> {
    let is_sum = listed.record.first.is_some();
    let shown = serde_json::to_value(Shown::from(listed))?;
    writeln!(out, "{}  {}", neutral(&text(&shown["reason"])), neutral(&text(&shown["id"])))?;
    writeln!(out)?;
    // Its sender was told 200, as of an event that is stored.
    let conflict = shown["reason"] == Reason::Conflict.as_str();
    let refusal = shown["reason"].as_str().is_some_and(|reason| Reason::parse(reason).is_some());
    for (head, names) in LINES.iter().filter(|(head, _)| *head != "sum" || is_sum) {
        let head = match *head {
            "refused" if conflict => "answered",
            // Nobody was refused by what was done or found.
            "refused" if !refusal => "what",
            head => head,
        };
        let parts = names.iter().filter_map(|name| part(name, &shown[*name]));
        let parts = parts.collect::<Vec<_>>().join(", ");
        if !parts.is_empty() {
            writeln!(out, "  {head:<8} {}", neutral(&parts))?;
        }
    }
    if let Some(told) = super::acts::told(&shown["details"]) {
        writeln!(out, "  {:<8} {}", "details", neutral(&told))?;
    }
    writeln!(out, "\n{}", neutral(&said.meaning))?;
    for (title, lines) in [("What is known", &said.known), ("What to check", &said.check)] {
        if !lines.is_empty() {
            writeln!(out, "\n{title}")?;
        }
        for line in lines {
            writeln!(out, "  - {}", neutral(line))?;
        }
    }
    Ok(())
}

/// A member of the record, with its name where the value does not speak for itself.
fn part(name: &str, value: &Value) -> Option<String> {
    if value.is_null() {
        return None;
    }
    let value = text(value);
    Some(match name {
        "time" => format!("{} UTC", table::time(&value)),
        "sequence" => format!("number {value}"),
        "size" => format!("{value} bytes"),
        "source" | "declared" | "peer" | "listener" => format!("{name} {value}"),
        "server_name" => format!("asked for {value}"),
        "user_agent" => format!("calls itself {value:?}"),
        "credential" => format!("a credential of the fingerprint {value}"),
        "sha256" => format!("sha256 {value}"),
        "count" => format!("{value} requests"),
        "first" => format!("first {} UTC", table::time(&value)),
        "last" => format!("last {} UTC", table::time(&value)),
        _ => value,
    })
}
