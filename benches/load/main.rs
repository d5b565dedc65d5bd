//! The load benchmark: how many durable acks a second Hookward gives, and how late, beside two
//! yardsticks measured in the same run. See docs/performance.md for how to read the figures.
//!
//! Every server runs as a process of its own on loopback; the load generator is this process.
//! Nothing here is a test: it prints figures and fails only when they would not mean anything
//! (an answer other than 200, an ack without a stored event, a store on a RAM disk).

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod compare;
mod drain;
mod durable;
mod end_to_end;
mod event;
mod generator;
mod hookward;
mod hostile;
mod index;
mod journal;
mod listings;
mod paired;
mod plot;
mod process;
mod purge;
mod recovery;
mod report;
mod servers;
mod soak;
mod space;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::compare::Kind;

/// What can go wrong: all of it ends the run with a line that says what.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures durable acks. Without a mode: Hookward beside the yardsticks at each connection count.
#[derive(Parser)]
#[command(name = "load")]
struct Cli {
    #[command(flatten)]
    options: Options,
    /// Ten minutes are as good as the first: one line a minute for Hookward alone.
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// Space stays bounded: N events through a store with a short retention, as a table and a plot.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "10000000")]
    soak: Option<u64>,
    #[command(flatten)]
    soaked: Soak,
    /// What purging and carrying cost an ack, at a light load.
    #[arg(long)]
    purge: bool,
    /// Accepted and delivered to a fast sink: the rate at which the backlog stays flat.
    #[arg(long)]
    end_to_end: bool,
    /// Fill a store with N events, then time a restart after kill -9 and a full index rebuild.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1000000")]
    recovery: Option<u64>,
    /// Fill a store with N events that wait, then time how fast they reach a fast upstream.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1000000")]
    drain: Option<u64>,
    /// Write a journal of N settled events, then see what its index takes of time and memory.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "10000000")]
    index: Option<u64>,
    /// Write a journal of N events, then time what operators ask of its store.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1000000")]
    listings: Option<u64>,
    /// One honest client beside slow connections and forged requests (needs slowhttptest).
    #[arg(long)]
    hostile: bool,
    /// What encryption at rest costs: Hookward with and without it, in turns.
    #[arg(long)]
    encrypted: bool,
    /// Resident memory: idle, and with a backlog of 100,000 events of 1 KiB.
    #[arg(long)]
    memory: bool,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    serve: Option<Role>,
}

/// What all modes share.
#[derive(Args)]
pub(crate) struct Options {
    /// Measured seconds for each server, connection count and round.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connection counts; modes that need one number take the first (64 when not given).
    #[arg(long, value_delimiter = ',')]
    connections: Vec<usize>,
    /// Only these servers.
    #[arg(long, value_delimiter = ',', default_values_t = Kind::ALL)]
    only: Vec<Kind>,
    /// How often each server has its turn at each connection count.
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Hookward's log level.
    #[arg(long, default_value = "warn")]
    log: String,
    /// Where the stores go, on a real disk; emptied after each measurement.
    #[arg(long, value_name = "DIR", default_value_os_t = default_store())]
    store: PathBuf,
    /// Take a RAM disk too, where a sync costs nothing: only to see that the benchmark runs.
    #[arg(long)]
    any_disk: bool,
    /// Threads of the load generator.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// What the soak has besides.
#[derive(Args)]
pub(crate) struct Soak {
    /// The soak's retention, in seconds.
    #[arg(long, default_value_t = 60)]
    retention: u64,
    /// Events that wait for an upstream that is configured no more, and are carried all the time.
    #[arg(long, default_value_t = 2_000)]
    kept: u64,
    /// Where the soak's table and plot go.
    #[arg(long, value_name = "DIR", default_value_os_t = default_out())]
    out: PathBuf,
}

impl Options {
    fn measured(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Before the measurement starts: a fifth of it, so that queues, caches and pages are warm.
    fn warm_up(&self) -> Duration {
        self.measured() / 5
    }

    fn connection_counts(&self) -> &[usize] {
        if self.connections.is_empty() { &[1, 16, 64, 256] } else { &self.connections }
    }

    fn one_connection_count(&self) -> usize {
        self.connections.first().copied().unwrap_or(64)
    }
}

/// The servers that this binary becomes when it starts itself.
#[derive(Subcommand)]
enum Role {
    /// One of the servers beside Hookward.
    #[command(hide = true)]
    Serve {
        /// Which one.
        role: servers::Role,
        /// Where the durable server appends.
        #[arg(long)]
        file: Option<PathBuf>,
    },
}

fn default_store() -> PathBuf {
    let scratch = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    scratch.parent().unwrap_or(&scratch).join("bench-store")
}

fn default_out() -> PathBuf {
    default_store().with_file_name("soak")
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            println!("failed: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let _ = cli.bench;
    if let Some(Role::Serve { role, file }) = cli.serve {
        return servers::serve(role, file);
    }
    let options = cli.options;
    report::check_disk(&options)?;
    report::print_machine(&options)?;
    // The generator has threads of its own: this runtime only waits, polls and prints.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        if let Some(minutes) = cli.minutes {
            soak::run(&options, minutes).await
        } else if let Some(events) = cli.soak {
            space::run(&options, &cli.soaked, events).await
        } else if cli.purge {
            purge::run(&options, &cli.soaked).await
        } else if cli.end_to_end {
            end_to_end::run(&options).await
        } else if let Some(events) = cli.recovery {
            recovery::recovery(&options, events).await
        } else if let Some(events) = cli.drain {
            drain::run(&options, events).await
        } else if let Some(events) = cli.index {
            index::run(&options, events).await
        } else if let Some(events) = cli.listings {
            listings::run(&options, events).await
        } else if cli.hostile {
            hostile::run(&options).await
        } else if cli.memory {
            recovery::memory(&options).await
        } else if cli.encrypted {
            paired::run(&options).await
        } else {
            compare::run(&options, &options.only).await
        }
    })
}
