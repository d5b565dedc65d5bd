//! What a store of many events costs when it is opened, and what it holds in memory.

use std::time::Duration;

use crate::generator::{self, Load, Outcome, Until};
use crate::hookward::Hookward;
use crate::{Options, Result};

/// The backlog whose memory is published, and the size of its bodies.
const BACKLOG: u64 = 100_000;
const BACKLOG_BODY: usize = 1024;
/// After the last ack, for what the gateway still does with it in the background.
const SETTLING: Duration = Duration::from_secs(5);

/// Times a restart after a crash of the process, and one that has to rebuild the whole index.
pub(crate) async fn recovery(options: &Options, events: u64) -> Result<()> {
    let mut hookward = Hookward::new(&options.store, &options.log, None)?;
    let empty = hookward.start().await?;
    let filled = fill(options, &hookward, events, None).await?;
    println!("\n{events} events stored at {:.0} a second; an empty start takes {empty:.2?}", {
        filled.rate()
    });

    hookward.process()?.kill()?;
    print_start("restart after kill -9", events, hookward.start().await?);
    hookward.check_stored(filled.acked)?;

    hookward.process()?.terminate()?;
    print_start("restart after a clean stop", events, hookward.start().await?);

    hookward.process()?.terminate()?;
    hookward.delete_index()?;
    print_start("restart without an index (full rebuild)", events, hookward.start().await?);

    hookward.process()?.terminate()?;
    let rebuilt = hookward.command(&["store", "rebuild-index"])?;
    println!("store rebuild-index: {:.2?}: {}", rebuilt.took, rebuilt.said.trim_end());
    hookward.remove()
}

fn print_start(what: &str, events: u64, took: Duration) {
    let rate = events as f64 / took.as_secs_f64();
    println!("{what}: ready after {took:.2?}, {rate:.0} events a second");
}

/// Resident memory, idle and with a backlog.
pub(crate) async fn memory(options: &Options) -> Result<()> {
    let mut hookward = Hookward::new(&options.store, &options.log, None)?;
    hookward.start().await?;
    println!("\nidle: {:.1} MiB resident", hookward.process()?.memory_mib("VmRSS")?);
    fill(options, &hookward, BACKLOG, Some(BACKLOG_BODY)).await?;
    print_backlog(&mut hookward, "just after the last ack")?;
    tokio::time::sleep(SETTLING).await;
    print_backlog(&mut hookward, "5 s later")?;
    hookward.process()?.kill()?;
    hookward.start().await?;
    print_backlog(&mut hookward, "after kill -9 and a restart")?;
    hookward.remove()
}

fn print_backlog(hookward: &mut Hookward, when: &str) -> Result<()> {
    let process = hookward.process()?;
    println!(
        "backlog of {BACKLOG} events of {BACKLOG_BODY} bytes, {when}: {:.1} MiB resident, peak {:.1}",
        process.memory_mib("VmRSS")?,
        process.memory_mib("VmHWM")?,
    );
    Ok(())
}

/// Stores so many events.
pub(crate) async fn fill(
    options: &Options,
    hookward: &Hookward,
    events: u64,
    body: Option<usize>,
) -> Result<Outcome> {
    let connections = options.one_connection_count();
    let mut load = Load::new(hookward.public(), connections, Until::Events(events));
    load.threads = options.threads;
    load.body_size = body.unwrap_or(load.body_size);
    let outcome = generator::run(load).await?;
    outcome.check()?;
    Ok(outcome)
}
