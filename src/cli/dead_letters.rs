//! `hookward dead-letters`: what exhausted its retries, and sending it again.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Subcommand;
use http::StatusCode;
use serde_json::Value;

use super::client::{self, Client, Trouble, Via, failed, usage};
use super::events::{self, ActArgs};
use super::filters::Filters;
use super::listing::{self, Paging, text};

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List dead letters, newest first
    List(Box<List>),
    /// Send one dead letter again, or all that the filters match, oldest first; without any, all
    Replay(Box<Replay>),
}

/// Which ones.
#[derive(Clone, Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    via: Via,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    paging: Paging,
}

/// Which ones, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Replay {
    #[command(flatten)]
    via: Via,
    /// One event's id, instead of filters
    id: Option<String>,
    #[command(flatten)]
    filters: Filters,
    /// Only say how many there are
    #[arg(long)]
    dry_run: bool,
    /// At most so many a second [default: as fast as they can be written down]
    #[arg(long, value_name = "N")]
    per_second: Option<u32>,
    #[command(flatten)]
    act: ActArgs,
}

/// Runs the command: 0 done, 1 failed, 2 wrong usage, 78 for an invalid configuration.
pub fn run(command: &Command) -> ExitCode {
    match command {
        Command::List(args) => client::run(&args.via, async |client| {
            let filters = args.filters.pairs().collect();
            listing::list(&client, "/api/v1/dead-letters", filters, &args.paging, &listing::EVENTS)
                .await
        }),
        Command::Replay(args) => client::run(&args.via, async |client| match &args.id {
            Some(id) => one(&client, id, args).await,
            None => many(&client, args).await,
        }),
    }
}

async fn one(client: &Client, id: &str, args: &Replay) -> Result<(), Trouble> {
    let upstream = args.filters.upstream();
    if args.filters.but_upstream() || args.dry_run || args.per_second.is_some() {
        return Err(usage("error: an ID goes with --upstream, --reason and --json alone"));
    }
    let event = client.get(&events::path(id)).await?.json()?;
    if !is_dead(&event, upstream) {
        let state = text(&event["state"]);
        let which = upstream.map(|name| format!(" of {name}")).unwrap_or_default();
        let message = format!(
            "error: it is no dead letter{which}: the event is {state}; `hookward events replay` sends any event"
        );
        return Err(failed(&message));
    }
    events::act(client, id, "replay", &args.act, upstream).await
}

/// Whether the event is a dead letter, of this upstream if one is named. What is none any more would go
/// to all its upstreams again.
fn is_dead(event: &Value, upstream: Option<&str>) -> bool {
    let Some(name) = upstream else { return event["state"] == "dead" };
    let mut deliveries = event["deliveries"].as_array().into_iter().flatten();
    deliveries.any(|delivery| delivery["upstream"] == name && delivery["state"] == "dead")
}

async fn many(client: &Client, args: &Replay) -> Result<(), Trouble> {
    let mut body = args.filters.object();
    body.insert("dry_run".to_owned(), args.dry_run.into());
    body.extend(args.per_second.map(|rate| ("per_second".to_owned(), rate.into())));
    body.extend(args.act.reason.as_ref().map(|why| ("reason".to_owned(), why.clone().into())));
    let reply = client.post("/api/v1/dead-letters/replay", &Value::Object(body)).await?;
    let mut out = io::stdout().lock();
    if args.act.json {
        return reply.print(&mut out);
    }
    let counts = reply.json()?;
    let (matched, replayed) = (matching(&counts["matched"]), text(&counts["replayed"]));
    Ok(match (args.dry_run, reply.status) {
        (true, _) => writeln!(out, "{matched}; nothing was replayed"),
        (false, StatusCode::ACCEPTED) => writeln!(
            out,
            "{matched}; {replayed} replayed so far; the gateway goes on with it, and its log tells the end"
        ),
        (false, _) => writeln!(out, "{matched}; {replayed} replayed"),
    }?)
}

/// `1 dead letter matches`, `2 dead letters match`.
fn matching(count: &Value) -> String {
    match count.as_u64() {
        Some(1) => "1 dead letter matches".to_owned(),
        _ => format!("{} dead letters match", text(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_several() {
        for (count, words) in
            [(0, "0 dead letters match"), (1, "1 dead letter matches"), (2, "2 dead letters match")]
        {
            assert_eq!(matching(&count.into()), words);
        }
    }
}
