//! Accepted and delivered: the rate that Hookward sustains on both roads at once. Senders are
//! held back so far that the backlog stays at a bound; where accepting is the faster road, what
//! gets through is what delivery keeps up with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::generator::{self, Gate, Load, Outcome, Until};
use crate::hookward::{Hookward, get};
use crate::process::start_role;
use crate::servers::Role;
use crate::{Options, Result};

/// Accepted events that may wait for delivery. Several times what is under way at once, and a
/// fraction of a second's worth: enough that neither road waits for the other.
pub(crate) const BACKLOG: u64 = 5_000;
/// How often the sink is asked what it has.
const POLL: Duration = Duration::from_millis(10);
/// How long the sink may take to get the rest when nothing more is sent.
const LONGEST_DRAIN: Duration = Duration::from_secs(60);

/// Measures the accept-only rate, then the sustained one, and prints their ratio.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let connections = options.one_connection_count();
    let alone = accept_only(options, connections).await?;
    println!("\naccept only, {connections} connections: {:.0} acks/s", alone.rate());

    let (_sink, sink) = start_role(Role::Sink, None)?;
    let mut hookward = Hookward::new(&options.store, &options.log, Some(sink))?;
    hookward.start().await?;
    let (allow, allowed) = watch::channel(BACKLOG);
    let mut load = timed(options, hookward.public(), connections);
    load.gate = Some(Gate::new(allowed));
    let acked = Arc::clone(&load.acked);
    let sending = generator::run(load);
    let watching = watch_roads(options, sink, &acked, &allow);
    let (outcome, delivered) = tokio::try_join!(sending, watching)?;
    outcome.check()?;
    print_sustained(&alone, &outcome, delivered);
    drain(sink, outcome.acked).await?;
    hookward.remove()
}

async fn accept_only(options: &Options, connections: usize) -> Result<Outcome> {
    let mut hookward = Hookward::new(&options.store, &options.log, None)?;
    hookward.start().await?;
    let outcome = generator::run(timed(options, hookward.public(), connections)).await?;
    outcome.check()?;
    hookward.remove()?;
    Ok(outcome)
}

fn timed(options: &Options, server: SocketAddr, connections: usize) -> Load {
    let until = Until::Time { warm_up: options.warm_up(), measured: options.measured() };
    Load { threads: options.threads, ..Load::new(server, connections, until) }
}

/// Moves the gate along with what the sink has got, prints a line a second, and returns the rate
/// of delivery over the measured time.
async fn watch_roads(
    options: &Options,
    sink: SocketAddr,
    acked: &AtomicU64,
    allow: &watch::Sender<u64>,
) -> Result<f64> {
    println!("\n{:>6} {:>11} {:>11} {:>9}", "second", "accepted/s", "delivered/s", "backlog");
    let begun = Instant::now();
    let whole = options.warm_up() + options.measured();
    let mut poll = tokio::time::interval(POLL);
    let mut last = Sample::default();
    let mut from = None;
    loop {
        poll.tick().await;
        let now = Sample::take(begun, sink, acked).await?;
        allow.send_replace(now.delivered + BACKLOG);
        if now.at - last.at >= Duration::from_secs(1) {
            now.print_since(&last);
            last = now;
        }
        if now.at >= options.warm_up() && from.is_none() {
            from = Some(now);
        }
        if let Some(from) = from.filter(|_| now.at >= whole) {
            // Those still held back send one event more and find that the time is up.
            allow.send_replace(u64::MAX);
            return Ok((now.delivered - from.delivered) as f64 / (now.at - from.at).as_secs_f64());
        }
    }
}

/// How far both roads were at one moment.
#[derive(Clone, Copy, Default)]
struct Sample {
    at: Duration,
    accepted: u64,
    delivered: u64,
}

impl Sample {
    async fn take(begun: Instant, sink: SocketAddr, acked: &AtomicU64) -> Result<Self> {
        let delivered = delivered(sink).await?;
        Ok(Self { at: begun.elapsed(), accepted: acked.load(Ordering::Relaxed), delivered })
    }

    fn print_since(&self, last: &Self) {
        let seconds = (self.at - last.at).as_secs_f64();
        println!(
            "{:>6.0} {:>11.0} {:>11.0} {:>9}",
            self.at.as_secs_f64(),
            (self.accepted - last.accepted) as f64 / seconds,
            (self.delivered - last.delivered) as f64 / seconds,
            self.accepted.saturating_sub(self.delivered),
        );
    }
}

/// How many events have arrived at the sink.
pub(crate) async fn delivered(sink: SocketAddr) -> Result<u64> {
    let answer = get(sink, "/").await?;
    let (_, count) = answer.rsplit_once("\r\n\r\n").ok_or("an answer without a body")?;
    Ok(count.parse()?)
}

fn print_sustained(alone: &Outcome, outcome: &Outcome, delivered: f64) {
    println!(
        "\nsustained: {:.0} accepted/s, {delivered:.0} delivered/s, backlog bounded at {BACKLOG}; \
         ack p50 {:.3} ms, p99 {:.3} ms",
        outcome.rate(),
        outcome.millis(0.5),
        outcome.millis(0.99),
    );
    println!("delivered / accept only: {:.2}", delivered / alone.rate());
}

/// Everything that was acked must arrive.
pub(crate) async fn drain(sink: SocketAddr, acked: u64) -> Result<()> {
    let begun = Instant::now();
    loop {
        let arrived = delivered(sink).await?;
        if arrived >= acked {
            println!(
                "all {acked} arrived, {} more than once, {:.2?} after the last was sent",
                { arrived - acked },
                begun.elapsed()
            );
            return Ok(());
        }
        if begun.elapsed() > LONGEST_DRAIN {
            return Err(format!("{acked} events were acked, {arrived} arrived").into());
        }
        tokio::time::sleep(POLL).await;
    }
}
