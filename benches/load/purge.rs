//! What a purge costs an ack: the same light load on a store that purges and carries all the time, and on
//! one whose retention never ends, in turns. Light, so that an ack waits for the disk and for what the store
//! does beside, and hardly for other acks.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::watch;

use crate::generator::{self, Gate, Load, Until};
use crate::hookward::Upstream;
use crate::process::start_role;
use crate::servers::Role;
use crate::space::{begin, drain_all};
use crate::{Options, Result, Soak};

/// Events a second.
const PACE: u64 = 500;
const TICK: Duration = Duration::from_millis(10);
const CONNECTIONS: usize = 8;
/// Seconds, longer than any run: nothing is purged.
const NEVER: u64 = 86_400;
/// What an ack may wait for a purge.
const BOUND: u64 = 10_000;

/// Measures both, `rounds` times in turns.
pub(crate) async fn run(options: &Options, soak: &Soak) -> Result<()> {
    let (retention, kept) = (soak.retention, soak.kept);
    println!("\nhookward, {PACE} events a second, {kept} events carried again and again");
    println!(
        "{:>10} {:>8} {:>9} {:>9} {:>9} {:>9} {:>14}",
        "retention", "acks", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "over 10 ms"
    );
    for _ in 0..options.rounds {
        for retention in [NEVER, retention] {
            let latency = turn(options, retention, kept).await?;
            let millis = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
            let over = latency.len() - latency.count_between(0, BOUND);
            println!(
                "{:>10} {:>8} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>14}",
                if retention == NEVER { "never".to_owned() } else { format!("{retention} s") },
                latency.len(),
                millis(0.5),
                millis(0.99),
                millis(0.999),
                millis(1.0),
                over
            );
        }
    }
    Ok(())
}

async fn turn(options: &Options, retention: u64, kept: u64) -> Result<Histogram<u64>> {
    let (_sink, sink) = start_role(Role::Sink, None)?;
    let mut hookward = begin(options, retention, kept, sink).await?;
    let app = Upstream { name: "app", address: sink };
    // Not before the first segments are past a short retention.
    let (warm_up, measured) = (Duration::from_secs(30), options.measured());
    let until = Until::Time { warm_up, measured };
    let (allow, allowed) = watch::channel(0);
    let mut load = Load::new(hookward.public(), CONNECTIONS, until);
    load.gate = Some(Gate::new(allowed));
    let begun = Instant::now();
    let pacing = async {
        while begun.elapsed() < warm_up + measured {
            tokio::time::sleep(TICK).await;
            let passed = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            allow.send_replace(passed * PACE / 1000);
        }
        allow.send_replace(u64::MAX);
        Ok(())
    };
    let (outcome, ()) = tokio::try_join!(generator::run(load), pacing)?;
    outcome.check()?;
    drain_all(&mut hookward, app, retention, outcome.acked, kept).await?;
    hookward.remove()?;
    Ok(outcome.latency)
}
