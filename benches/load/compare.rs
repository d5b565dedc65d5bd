//! Hookward beside the yardsticks: at each connection count the servers take turns, forth and
//! back, each time as a fresh process on an empty store, so that a machine that gets slower or
//! faster meanwhile does so for all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;

use clap::ValueEnum;

use crate::generator::{self, Load, Until};
use crate::hookward::Hookward;
use crate::process::{Process, own_cpu_time, start_role};
use crate::report::{self, Figures};
use crate::servers::Role;
use crate::{Options, Result};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// hyper alone: reads the body and answers 200.
    Bare,
    /// The minimal durable server.
    Durable,
    /// The gateway.
    Hookward,
    /// The gateway with an encrypted store.
    Encrypted,
}

impl Kind {
    /// What is compared when nothing else is asked for.
    pub(crate) const ALL: [Self; 3] = [Self::Bare, Self::Durable, Self::Hookward];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bare => "bare",
            Self::Durable => "durable",
            Self::Hookward => "hookward",
            Self::Encrypted => "encrypted",
        })
    }
}

/// Measures `kinds` and prints.
pub(crate) async fn run(options: &Options, kinds: &[Kind]) -> Result<()> {
    report::print_head();
    for &connections in options.connection_counts() {
        let mut figures = BTreeMap::<Kind, Figures>::new();
        for round in 0..options.rounds {
            let mut turns = kinds.to_vec();
            if round % 2 == 1 {
                turns.reverse();
            }
            for kind in turns {
                let measured = measure(options, kind, connections).await?;
                match figures.get_mut(&kind) {
                    Some(sum) => sum.add(measured)?,
                    None => _ = figures.insert(kind, measured),
                }
            }
        }
        print(connections, &figures);
    }
    Ok(())
}

fn print(connections: usize, figures: &BTreeMap<Kind, Figures>) {
    for (kind, figures) in figures {
        report::print_figures(connections, &kind.to_string(), figures);
    }
    if let (Some(a), Some(b)) = (figures.get(&Kind::Hookward), figures.get(&Kind::Durable)) {
        report::print_ratio("hookward / durable", a, b);
    }
    if let (Some(a), Some(b)) = (figures.get(&Kind::Encrypted), figures.get(&Kind::Hookward)) {
        report::print_ratio("encrypted / hookward", a, b);
    }
}

async fn measure(options: &Options, kind: Kind, connections: usize) -> Result<Figures> {
    match kind {
        Kind::Bare => {
            let (process, server) = start_role(Role::Bare, None)?;
            load(options, server, &process, connections).await
        }
        Kind::Durable => {
            let file = options.store.join("durable.jsonl");
            let (process, server) = start_role(Role::Durable, Some(&file))?;
            let figures = load(options, server, &process, connections).await?;
            check_stored(figures.outcome.acked, lines(&file)?)?;
            drop(process);
            fs::remove_file(file)?;
            Ok(figures)
        }
        Kind::Hookward | Kind::Encrypted => {
            let mut hookward = Hookward::new(&options.store, &options.log, None)?;
            if kind == Kind::Encrypted {
                hookward.encrypt()?;
            }
            hookward.start().await?;
            let server = hookward.public();
            let figures = load(options, server, hookward.process()?, connections).await?;
            hookward.check_stored(figures.outcome.acked)?;
            hookward.remove()?;
            Ok(figures)
        }
    }
}

async fn load(
    options: &Options,
    server: SocketAddr,
    process: &Process,
    connections: usize,
) -> Result<Figures> {
    let until = Until::Time { warm_up: options.warm_up(), measured: options.measured() };
    let (before, own_before) = (process.cpu_time()?, own_cpu_time()?);
    let load = Load { threads: options.threads, ..Load::new(server, connections, until) };
    let outcome = generator::run(load).await?;
    outcome.check()?;
    let (cpu, load_cpu) = (process.cpu_time()? - before, own_cpu_time()? - own_before);
    Ok(Figures { outcome, cpu, load_cpu })
}

/// Every ack must have an event behind it, and every event here was acked.
pub(crate) fn check_stored(acked: u64, stored: u64) -> Result<()> {
    if stored == acked {
        return Ok(());
    }
    Err(format!("{acked} events were acked, {stored} are stored").into())
}

fn lines(file: &Path) -> Result<u64> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(file)?);
    let mut count = 0;
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            return Ok(count);
        }
        count += memchr::memchr_iter(b'\n', chunk).count() as u64;
        let read = chunk.len();
        reader.consume(read);
    }
}
