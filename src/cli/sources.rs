//! `hookward sources`: the configured sources, as a table or as JSON, with the last events that the
//! gateway knows of, if it runs; or those of the gateway at a URL.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::client::{At, Trouble};
use super::listing::text;
use super::table::{self, Table, neutral_json};
use super::{ConfigFile, client, pipe, seam};
use crate::admin::show_source;

/// List the configured sources, and when their last events were received if the gateway runs
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,

    #[command(flatten)]
    at: At,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists the sources. Exit codes: 0, 1 when they cannot be had or printed, 2 when the configuration and
/// a URL are named, 78.
pub fn run(args: &Args) -> ExitCode {
    let items = match items(args) {
        Ok(items) => items,
        Err(code) => return code,
    };
    let mut out = io::stdout().lock();
    let printed = if args.json {
        let list = json!({ "items": items, "next": null }).to_string();
        writeln!(out, "{}", neutral_json(&list))
    } else {
        let head = ["SOURCE", "PATH", "AUTH", "KEYS", "ALLOWED FROM", "LAST EVENT (UTC)"];
        Table::new(&head).print(items.iter().map(row).collect(), &mut out)
    };
    if pipe::printed(printed).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The sources in the API's form.
fn items(args: &Args) -> Result<Vec<Value>, ExitCode> {
    let file = args.config.config.as_deref();
    if let Some(client) = args.at.instead_of(file.is_some())? {
        return client::ask(async {
            let mut list = client.get("/api/v1/sources").await?.json()?;
            match list["items"].take() {
                Value::Array(items) => Ok(items),
                _ => Err(Trouble::Unexpected),
            }
        });
    }
    let config = seam::load_config(file)?;
    let known = client::sources(&config.store.path);
    let shown = config.sources.iter().map(|source| {
        let mut item = show_source(source, None);
        item["last_event_at"] = last_event(known.as_ref(), source.name.as_str());
        item
    });
    Ok(shown.collect())
}

/// When the source's last event was received, by what the gateway answers.
fn last_event(known: Option<&Value>, name: &str) -> Value {
    let items = known.and_then(|known| known["items"].as_array()).into_iter().flatten();
    let found = items.into_iter().find(|item| item["name"] == name);
    found.map_or(Value::Null, |item| item["last_event_at"].clone())
}

fn row(source: &Value) -> Vec<String> {
    let allowed = match source["allow_ips"].as_array() {
        None => "anywhere".to_owned(),
        Some(nets) => nets.iter().map(text).collect::<Vec<_>>().join(","),
    };
    vec![
        text(&source["name"]),
        text(&source["path"]),
        text(&source["auth"]),
        text(&source["keys"]),
        allowed,
        table::time(&text(&source["last_event_at"])),
    ]
}
