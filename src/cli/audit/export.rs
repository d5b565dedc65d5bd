//! `hookward audit export`: the trail as JSON lines or CSV. Memory does not grow with the trail.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use serde_json::Value;

use super::super::store::time;
use super::super::table::neutral;
use super::{Where, fail};
use crate::audit::chain::{Filter, Listed};
use crate::clock::UnixMillis;

/// Arguments of `audit export`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Where,

    /// How
    #[arg(long, value_enum, default_value_t)]
    format: Form,

    /// Only what was refused for this reason, or this act
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,

    /// Only what was sent to this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Only what this client has sent
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,

    /// Only records of then or later: 2025-01-15, or 2025-01-15T10:30:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<UnixMillis>,

    /// Only records from before
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<UnixMillis>,
}

/// The form of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// One JSON object a line
    #[default]
    Jsonl,
    /// RFC 4180, with a line of names; no cell is a formula to a spreadsheet
    Csv,
}

/// The columns of CSV, by their names in JSON.
const COLUMNS: [&str; 23] = [
    "id",
    "sequence",
    "time",
    "reason",
    "detail",
    "source",
    "listener",
    "peer",
    "client",
    "who",
    "tls",
    "server_name",
    "method",
    "path",
    "user_agent",
    "declared",
    "size",
    "sha256",
    "credential",
    "status",
    "count",
    "first",
    "last",
];

/// 0 when all that fits was printed.
pub(super) fn run(args: &Args) -> Result<ExitCode, ExitCode> {
    let reader = args.which.reader()?;
    let filter = Filter {
        reason: args.reason.clone(),
        source: args.source.clone(),
        client: args.client.clone(),
        since: args.since,
        until: args.until,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut printed = match args.format {
        Form::Jsonl => Ok(()),
        Form::Csv => writeln!(out, "{},details\r", COLUMNS.join(",")),
    };
    let read = reader.each(&filter, |listed| {
        if printed.is_ok() {
            printed = one(&listed, args.format, &mut out);
        }
        if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    printed.and_then(|()| out.flush()).map_err(|error| fail(&error))?;
    read.map_err(|error| fail(&error))?;
    Ok(ExitCode::SUCCESS)
}

fn one(listed: &Listed, form: Form, out: &mut impl Write) -> io::Result<()> {
    let mut record = serde_json::to_value(&listed.record)?;
    record["sequence"] = listed.sequence.into();
    match form {
        Form::Jsonl => writeln!(out, "{record}"),
        Form::Csv => {
            let cells = COLUMNS.iter().chain(&["details"]).map(|name| cell(&record[*name]));
            writeln!(out, "{}\r", cells.collect::<Vec<_>>().join(","))
        }
    }
}

/// A cell. What a spreadsheet would calculate stands behind an apostrophe.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::Number(number) => return number.to_string(),
        Value::String(text) => neutral(text),
        other => neutral(&other.to_string()),
    };
    let formula = text.starts_with([
        '=', '+', '-', '@', '\t', '\r', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ]);
    let text = if formula { format!("'{text}") } else { text };
    if text.contains(['"', ',', '\n', '\r', '\'', ';']) || text.starts_with(' ') {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::chain::Record;

    #[test]
    fn no_cell_is_a_formula_or_more_than_a_cell() {
        for (value, expected) in [
            (json!("/hooks/lab"), "/hooks/lab"),
            (json!("=HYPERLINK(\"http://a\")"), "\"'=HYPERLINK(\"\"http://a\"\")\""),
            (json!("+1"), "\"'+1\""),
            (json!("-1"), "\"'-1\""),
            (json!("@SUM(A1)"), "\"'@SUM(A1)\""),
            (json!("a,b"), "\"a,b\""),
            (json!("a\r\n=1"), "a\\u{d}\\u{a}=1"),
            (json!("\t=1"), "\\u{9}=1"),
            (json!("\u{ff1d}1"), "\"'\u{ff1d}1\""),
            (json!(12), "12"),
            (json!(null), ""),
        ] {
            assert_eq!(cell(&value), expected, "{value}");
        }
    }

    #[test]
    fn every_member_of_a_record_has_a_column() {
        let text = || Some("x".to_owned());
        let record = Record {
            detail: text(),
            source: text(),
            listener: text(),
            peer: text(),
            client: text(),
            who: text(),
            tls: text(),
            server_name: text(),
            method: text(),
            path: text(),
            user_agent: text(),
            declared: Some(1),
            size: Some(1),
            sha256: text(),
            credential: text(),
            status: Some(400),
            first: text(),
            last: text(),
            details: Some(json!({})),
            ..Record::default()
        };
        let listed = Listed { sequence: 1, record };
        let value = serde_json::to_value(&listed.record).unwrap();
        for name in value.as_object().unwrap().keys() {
            assert!(name == "details" || COLUMNS.contains(&name.as_str()), "{name}");
        }
        let mut out = Vec::new();
        one(&listed, Form::Csv, &mut out).unwrap();
        assert_eq!(out.iter().filter(|byte| **byte == b',').count(), COLUMNS.len());
    }
}
