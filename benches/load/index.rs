//! What the index costs with many keys: making it again, and memory, where sled is known to hold
//! more than it is configured to.

use std::time::Duration;

use crate::hookward::Hookward;
use crate::process::Ended;
use crate::{Options, Result, journal};

/// After a start, for what still goes on in the background.
const SETTLING: Duration = Duration::from_secs(5);

/// Writes a journal of so many settled events, and looks at who has its index in memory.
pub(crate) async fn run(options: &Options, events: u64) -> Result<()> {
    let mut hookward = Hookward::new(&options.store, &options.log, None)?;
    journal::write(&hookward.data(), events)?;
    // It has only the index in memory, and no dedupe table: an upper bound for sled.
    let rebuilt = hookward.command(&["store", "rebuild-index"])?;
    println!("\n{}", rebuilt.said.trim_end());
    print_command("store rebuild-index", &rebuilt);
    print_command("store verify", &hookward.command(&["store", "verify"])?);
    print_command("store stat", &hookward.command(&["store", "stat", "--json"])?);
    let export = ["store", "export", "--state", "pending"];
    print_command("store export of nothing", &hookward.command(&export)?);
    for what in ["start with the index", "start after kill -9"] {
        print_start(&mut hookward, what, events).await?;
    }
    hookward.delete_index()?;
    print_start(&mut hookward, "start without an index", events).await?;
    hookward.remove()
}

fn print_command(what: &str, ended: &Ended) {
    println!("{what}: {:.2?}, at most {:.1} MiB resident", ended.took, ended.peak_mib);
}

async fn print_start(hookward: &mut Hookward, what: &str, events: u64) -> Result<()> {
    let took = hookward.start().await?;
    tokio::time::sleep(SETTLING).await;
    let process = hookward.process()?;
    println!(
        "{what}: {events} events, ready after {took:.2?}, {:.1} MiB resident, peak {:.1}",
        process.memory_mib("VmRSS")?,
        process.memory_mib("VmHWM")?,
    );
    process.kill()
}
