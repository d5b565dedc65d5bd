//! `hookward events`: the running gateway's events, what became of them, and what is done with them.

mod show;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::Map;

use super::client::{self, Client, Reply, Trouble, Via};
use super::filters::{Filters, encoded, query};
use super::listing::{self, Paging, text};
use super::table;

/// What to do with events.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List events, newest first
    List(Box<List>),
    /// Show an event, and all that has happened to it
    Show(Show),
    /// Send an event again: to the upstreams where it is dead, or to all of its own if none is
    Replay(Replay),
    /// Let go of a quarantined event: it goes to its upstreams
    Release(On),
    /// Drop a quarantined event, or the dead deliveries of one
    Discard(On),
}

/// Which events.
#[derive(Clone, Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    via: Via,
    /// Only events in this state: pending, delivered, dead, quarantined, discarded, filtered, unknown
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    paging: Paging,
}

/// Which event, and how much of it.
#[derive(Clone, Debug, clap::Args)]
pub struct Show {
    #[command(flatten)]
    via: Via,
    /// The event's id
    id: String,
    /// Its body as well, which may hold a patient's data; this is recorded in the audit trail
    #[arg(long)]
    payload: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which event, and where to.
#[derive(Clone, Debug, clap::Args)]
pub struct Replay {
    #[command(flatten)]
    on: On,
    /// The one upstream that it is to go to
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
}

/// An event that something is done with.
#[derive(Clone, Debug, clap::Args)]
pub struct On {
    #[command(flatten)]
    via: Via,
    /// The event's id
    id: String,
    #[command(flatten)]
    act: ActArgs,
}

/// What every act takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ActArgs {
    /// Why: kept in the audit trail and the event's history
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Runs the command: 0 done, 1 failed, 2 wrong usage, 78 for an invalid configuration.
pub fn run(command: &Command) -> ExitCode {
    match command {
        Command::List(args) => client::run(&args.via, async |client| {
            let state = args.state.iter().map(|state| ("state", state.clone()));
            let filters = args.filters.pairs().chain(state).collect();
            listing::list(&client, "/api/v1/events", filters, &args.paging, &listing::EVENTS).await
        }),
        Command::Show(args) => client::run(&args.via, async |client| {
            let wanted = args.payload.then(|| ("payload", "1".to_owned()));
            let reply = client.get(&query(&path(&args.id), wanted)).await?;
            let mut out = io::stdout().lock();
            if args.json {
                reply.print(&mut out)
            } else {
                Ok(show::print(&reply.json()?, &mut out)?)
            }
        }),
        Command::Replay(Replay { on, upstream }) => client::run(&on.via, async |client| {
            act(&client, &on.id, "replay", &on.act, upstream.as_deref()).await
        }),
        Command::Release(on) => client::run(&on.via, async |client| {
            act(&client, &on.id, "release", &on.act, None).await
        }),
        Command::Discard(on) => client::run(&on.via, async |client| {
            act(&client, &on.id, "discard", &on.act, None).await
        }),
    }
}

/// Where the API has this event.
pub(super) fn path(id: &str) -> String {
    format!("/api/v1/events/{}", encoded(id))
}

/// Does this with an event, and says what came of it.
pub(super) async fn act(
    client: &Client,
    id: &str,
    what: &str,
    args: &ActArgs,
    upstream: Option<&str>,
) -> Result<(), Trouble> {
    let mut body = Map::new();
    let members = [("reason", args.reason.as_deref()), ("upstream", upstream)];
    for (name, value) in members.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        body.insert(name.to_owned(), value.into());
    }
    let reply = client.post(&format!("{}/{what}", path(id)), &body.into()).await?;
    let mut out = io::stdout().lock();
    if args.json { reply.print(&mut out) } else { Ok(writeln!(out, "{}", done(&reply)?)?) }
}

/// What was done, in a line.
fn done(reply: &Reply) -> Result<String, Trouble> {
    let acted = reply.json()?;
    let names: Vec<_> = acted["upstreams"].as_array().into_iter().flatten().map(text).collect();
    let upstreams = match (&names[..], acted["what"].as_str()) {
        ([], _) => String::new(),
        (names, Some("discarded")) => format!(", for {}", names.join(", ")),
        (names, _) => format!(", to {}", names.join(", ")),
    };
    let line = format!("{} {}{upstreams}", text(&acted["what"]), text(&acted["id"]));
    Ok(table::neutral(&line))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;

    use super::*;

    #[test]
    fn what_was_done_is_told_in_a_line() {
        for (body, line) in [
            (
                r#"{"id":"e","what":"replayed","upstreams":["app","lab"]}"#,
                "replayed e, to app, lab",
            ),
            (r#"{"id":"e","what":"discarded","upstreams":["app"]}"#, "discarded e, for app"),
            (r#"{"id":"e","what":"released","upstreams":[]}"#, "released e"),
        ] {
            let reply = Reply { status: StatusCode::OK, body: Bytes::from_static(body.as_bytes()) };
            assert_eq!(done(&reply).unwrap(), line);
        }
    }
}
