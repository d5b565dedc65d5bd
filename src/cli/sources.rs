//! `hookward sources`: the configured sources, as a table or as JSON.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::seam;
use crate::config::units::show_duration;
use crate::config::{Auth, Config, Source};

/// Lists the sources of the configuration. Exit codes: 0, 1 when it cannot be printed, 78.
pub fn run(file: Option<&Path>, as_json: bool) -> ExitCode {
    let config = match seam::load_config(file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let mut out = io::stdout().lock();
    let printed = if as_json { print_json(&config, &mut out) } else { print(&config, &mut out) };
    if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The API's form of a list.
fn print_json(config: &Config, out: &mut impl Write) -> io::Result<()> {
    let items: Vec<Value> = config.sources.iter().map(|source| item(source)).collect();
    writeln!(out, "{}", json!({ "items": items, "next": null }))
}

fn item(source: &Source) -> Value {
    json!({
        "name": source.name.as_str(),
        "preset": source.preset.map(|preset| preset.as_str()),
        "path": source.path,
        "auth": auth(&source.auth),
        "keys": source.keys.len(),
        "client_ca": source.client_ca.is_some(),
        "rate_limit": source.rate_limit.map(|rate| json!({
            "per_second": rate.per_second, "burst": rate.burst,
        })),
        "allow_ips": source.allow_ips.as_ref().map(|nets| {
            nets.iter().map(ToString::to_string).collect::<Vec<_>>()
        }),
        "retry_horizon": source.retries.horizon().map(show_duration),
        // Known to a running gateway only, which there is no way to ask yet.
        "last_event_at": null,
    })
}

fn print(config: &Config, out: &mut impl Write) -> io::Result<()> {
    let mut rows =
        vec![["SOURCE", "PATH", "AUTH", "KEYS", "ALLOWED FROM", "LAST EVENT"].map(str::to_owned)];
    rows.extend(config.sources.iter().map(|source| row(source)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 6] = std::array::from_fn(|column| width(column).unwrap_or(0));
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn row(source: &Source) -> [String; 6] {
    let allowed = match &source.allow_ips {
        None => "anywhere".to_owned(),
        Some(nets) => nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    };
    [
        source.name.to_string(),
        source.path.clone(),
        auth(&source.auth).to_owned(),
        source.keys.len().to_string(),
        allowed,
        "-".to_owned(),
    ]
}

fn auth(auth: &Auth) -> &'static str {
    match auth {
        Auth::ApiKey { .. } => "api-key",
        Auth::Hmac(_) => "hmac",
        Auth::StandardWebhooks { .. } => "standard-webhooks",
        Auth::NoneDangerous => "none-dangerous",
    }
}
