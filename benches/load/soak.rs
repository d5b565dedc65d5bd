//! The tenth minute must be as good as the first: one line a minute for Hookward alone, with the
//! memory it holds. The store grows by about a gigabyte for each million events.

use std::time::Duration;

use crate::generator::{self, Load, Until};
use crate::hookward::Hookward;
use crate::{Options, Result};

/// Loads one gateway for so many minutes.
pub(crate) async fn run(options: &Options, minutes: u64) -> Result<()> {
    let connections = options.one_connection_count();
    let mut hookward = Hookward::new(&options.store, &options.log, None)?;
    hookward.start().await?;
    println!("\nhookward, {connections} connections, upstream down");
    println!(
        "{:>6} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "minute", "acks/s", "p50 ms", "p99 ms", "p99.9 ms", "RSS MiB"
    );
    for minute in 1..=minutes {
        let until = Until::Time { warm_up: Duration::ZERO, measured: Duration::from_secs(60) };
        let load = Load::new(hookward.public(), connections, until);
        let o = generator::run(Load { threads: options.threads, ..load }).await?;
        o.check()?;
        println!(
            "{minute:>6} {:>9.0} {:>9.3} {:>9.3} {:>9.3} {:>9.1}",
            o.rate(),
            o.millis(0.5),
            o.millis(0.99),
            o.millis(0.999),
            hookward.process()?.memory_mib("VmRSS")?,
        );
    }
    hookward.remove()
}
