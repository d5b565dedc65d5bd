//! A backlog that meets a fast upstream: how fast it drains after a restart, and what the gateway
//! holds in memory meanwhile.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::end_to_end::delivered;
use crate::hookward::{Hookward, Upstream};
use crate::process::start_role;
use crate::recovery::fill;
use crate::servers::Role;
use crate::{Options, Result};

const POLL: Duration = Duration::from_millis(100);
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Nothing that has arrived for so long will.
const PATIENCE: Duration = Duration::from_secs(120);

/// Fills a store while the upstream takes connections and never answers, kills the gateway, and
/// drains what waits into a sink that answers at once.
pub(crate) async fn run(options: &Options, events: u64) -> Result<()> {
    let silent = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let mut hookward = Hookward::new(&options.store, &options.log, Some(silent.local_addr()?))?;
    hookward.start().await?;
    let filled = fill(options, &hookward, events, None).await?;
    let process = hookward.process()?;
    println!(
        "\n{events} events wait, stored at {:.0} a second; {:.1} MiB resident, peak {:.1}",
        filled.rate(),
        process.memory_mib("VmRSS")?,
        process.memory_mib("VmHWM")?,
    );
    process.kill()?;

    let (_sink, sink) = start_role(Role::Sink, None)?;
    hookward.configure(None, &[Upstream { name: "app", address: sink }])?;
    let ready = hookward.start().await?;
    println!("restart after kill -9: ready after {ready:.2?}");
    drain(&mut hookward, sink, events).await?;
    hookward.remove()
}

async fn drain(hookward: &mut Hookward, sink: SocketAddr, events: u64) -> Result<()> {
    println!("\n{:>6} {:>11} {:>10} {:>9}", "second", "delivered/s", "delivered", "RSS MiB");
    let begun = Instant::now();
    let first = delivered(sink).await?;
    let (mut line_at, mut line_count) = (begun, first);
    let (mut last_count, mut last_at) = (first, begun);
    let mut highest = 0f64;
    let mut poll = tokio::time::interval(POLL);
    loop {
        poll.tick().await;
        let (count, now) = (delivered(sink).await?, Instant::now());
        let resident = hookward.process()?.memory_mib("VmRSS")?;
        highest = highest.max(resident);
        if now - line_at >= LINE_EVERY || count >= events {
            let rate = (count - line_count) as f64 / (now - line_at).as_secs_f64();
            let second = (now - begun).as_secs_f64();
            println!("{second:>6.1} {rate:>11.0} {count:>10} {resident:>9.1}");
            (line_at, line_count) = (now, count);
        }
        if count >= events {
            break;
        }
        if count > last_count {
            (last_count, last_at) = (count, now);
        } else if now - last_at > PATIENCE {
            return Err(format!("{events} events waited, {count} arrived").into());
        }
    }
    let rate = (events - first) as f64 / begun.elapsed().as_secs_f64();
    let peak = hookward.process()?.memory_mib("VmHWM")?;
    println!(
        "drained at {rate:.0} a second, at most {highest:.1} MiB resident (peak since its start {peak:.1})"
    );
    Ok(())
}
