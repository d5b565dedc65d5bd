//! `send --retries`: the provider with its patience. What is not acknowledged is sent again on its
//! schedule until it gives up, and in the end it is told what became of each event.

use std::future::Future;
use std::io::{self, Write};

use super::super::sender::{Attempt, Outcome, Pace, Sender, SenderError};
use super::maker::Maker;
use super::report::Report;
use super::{Args, SendError, Sent, find_source, said, target, trust};
use crate::clock::Clock;
use crate::config::units::show_duration;
use crate::config::{Config, Source};
use crate::provider::caller::Caller;
use crate::provider::{Next, Retries};
use crate::secret::Secret;

/// The most events: all that wait for another attempt are held in memory, some KiB each.
const MAX_EVENTS: u64 = 100_000;

/// Why there is nothing to rehearse.
#[derive(Debug, thiserror::Error)]
pub(super) enum RehearsalError {
    #[error(
        "when the provider of {0} sends again is not known: it publishes no schedule. Give one with \
         --schedule, such as 1m,5m,1h, or as retry_schedule in [source.{0}]"
    )]
    NoSchedule(String),
    #[error("--count takes at most {MAX_EVENTS} with --retries")]
    TooMany,
    #[error(transparent)]
    Sender(#[from] SenderError),
}

/// Sends what `args` ask for, again and again as the provider would; a line for each attempt and
/// a summary go to `out`, or JSON.
pub(super) async fn send_and_retry(
    config: &Config,
    args: &Args,
    clock: &Clock,
    out: &mut impl Write,
    stop: impl Future<Output = ()>,
) -> Result<Sent, SendError> {
    let source = find_source(config, &args.source)?;
    let url = target(&config.server, &source.path, args.url.as_ref())?;
    let caller = Caller::new(None, trust(&config.server, args.url.as_ref()))?;
    let retries = retries(source, args)?;
    let sender = Sender {
        source,
        key: &source.keys.first().cloned().unwrap_or_else(|| Secret::new(Vec::new())),
        url: &url,
        caller: &caller,
        tamper: args.tamper,
        retries: &retries,
        clock,
        pace: Pace {
            count: args.count,
            every: args.every.unwrap_or_default(),
            scale: args.time_scale,
        },
    };
    let mut report = Report::new(source, &retries, args);
    let mut maker = Maker::new(source, args.event.as_deref(), args.id.as_deref());
    if !args.json {
        report.opening(out)?;
    }
    let seen = |attempt: &Attempt<'_>| show(attempt, &retries, args.json, out);
    let journeys = sender.run(|now| maker.next(now), seen, stop).await;
    let journeys = journeys.map_err(RehearsalError::from)?;
    let (all, stopped) = (&journeys.events, journeys.stopped);
    let given_up = all.iter().any(|journey| journey.outcome == Outcome::GivenUp);
    report.take(journeys.events, stopped);
    if args.json {
        report.json(out)?
    } else {
        report.summary(out)?
    };
    Ok(match (stopped, given_up) {
        (true, _) => Sent::Interrupted,
        (false, true) => Sent::NotAll,
        (false, false) => Sent::All,
    })
}

/// The provider's retries, with the schedule of the command line if there is one.
fn retries(source: &Source, args: &Args) -> Result<Retries, RehearsalError> {
    if args.count > MAX_EVENTS {
        return Err(RehearsalError::TooMany);
    }
    let known = source.retries.clone();
    let retries = match &args.schedule {
        Some(waits) => {
            Retries { waits: Some(waits.clone()), horizon: None, published: None, ..known }
        }
        None => known,
    };
    match retries.schedule() {
        Some(_) => Ok(retries),
        None => Err(RehearsalError::NoSchedule(source.name.to_string())),
    }
}

/// `STATUS  event type  the provider's id  which try`, and what follows.
fn show(
    attempt: &Attempt<'_>,
    retries: &Retries,
    quiet: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    if quiet {
        return Ok(());
    }
    let Attempt { event, number, answer, next, .. } = attempt;
    let status =
        answer.as_ref().map_or("---".to_owned(), |answer| answer.status.as_str().to_owned());
    let of = retries.schedule().unwrap_or_default().len() + 1;
    let (name, id) = (&event.event_type, &event.id);
    write!(out, "{status}  {name}  {id}  try {number} of {of}")?;
    let why = match answer {
        Ok(answer) => said(answer),
        Err(error) => error.to_string(),
    };
    match next {
        Next::Delivered => writeln!(out),
        Next::Again(wait) => writeln!(out, ", again in {}  {why}", show_duration(*wait)),
        Next::GivenUp => writeln!(out, ", given up  {why}"),
    }
}
