//! `hookward sources`: the configured sources, as a table or as JSON, with the last events that the
//! gateway knows of, if it runs.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::table::{self, Table};
use super::{client, pipe, seam};
use crate::admin::{show_auth, show_source};
use crate::config::{Config, Source};

/// Lists the sources of the configuration. Exit codes: 0, 1 when it cannot be printed, 78.
pub fn run(file: Option<&Path>, as_json: bool) -> ExitCode {
    let config = match seam::load_config(file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let known = client::sources(&config.store.path);
    let last = |source: &Source| last_event(known.as_ref(), source.name.as_str());
    let mut out = io::stdout().lock();
    let printed =
        if as_json { print_json(&config, last, &mut out) } else { print(&config, last, &mut out) };
    if pipe::printed(printed).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// When the source's last event was received, by what the gateway answers.
fn last_event(known: Option<&Value>, name: &str) -> Value {
    let items = known.and_then(|known| known["items"].as_array()).into_iter().flatten();
    let found = items.into_iter().find(|item| item["name"] == name);
    found.map_or(Value::Null, |item| item["last_event_at"].clone())
}

/// The API's form of a list.
fn print_json(
    config: &Config,
    last: impl Fn(&Source) -> Value,
    out: &mut impl Write,
) -> io::Result<()> {
    let items = config.sources.iter().map(|source| {
        let mut item = show_source(source, None);
        item["last_event_at"] = last(source);
        item
    });
    let items: Vec<Value> = items.collect();
    writeln!(out, "{}", json!({ "items": items, "next": null }))
}

fn print(config: &Config, last: impl Fn(&Source) -> Value, out: &mut impl Write) -> io::Result<()> {
    let head = ["SOURCE", "PATH", "AUTH", "KEYS", "ALLOWED FROM", "LAST EVENT (UTC)"];
    let rows = config.sources.iter().map(|source| row(source, &last(source)));
    Table::new(&head).print(rows.collect(), out)
}

fn row(source: &Source, last: &Value) -> Vec<String> {
    let allowed = match &source.allow_ips {
        None => "anywhere".to_owned(),
        Some(nets) => nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    };
    vec![
        source.name.to_string(),
        source.path.clone(),
        show_auth(&source.auth).to_owned(),
        source.keys.len().to_string(),
        allowed,
        last.as_str().map_or_else(|| "-".to_owned(), table::time),
    ]
}
