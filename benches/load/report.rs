//! What is printed, and what is checked before anything is measured: figures without the machine
//! they come from, or from a disk that is none, mean nothing.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::generator::Outcome;
use crate::{Options, Result};

/// `statfs` types whose `fdatasync` costs nothing, from linux/magic.h.
const IN_MEMORY: [(u64, &str); 2] = [(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs")];

/// One server's figures at one connection count.
pub(crate) struct Figures {
    /// All rounds together.
    pub(crate) outcome: Outcome,
    /// CPU time of the server's process while it acked all of them.
    pub(crate) cpu: Duration,
    /// CPU time of the generator meanwhile: the same cores, the same for every server.
    pub(crate) load_cpu: Duration,
}

impl Figures {
    /// Adds another round.
    pub(crate) fn add(&mut self, other: Self) -> Result<()> {
        let (mine, theirs) = (&mut self.outcome, other.outcome);
        mine.acked += theirs.acked;
        mine.measured += theirs.measured;
        mine.elapsed += theirs.elapsed;
        mine.latency.add(theirs.latency)?;
        for (status, count) in theirs.others {
            *mine.others.entry(status).or_default() += count;
        }
        self.cpu += other.cpu;
        self.load_cpu += other.load_cpu;
        Ok(())
    }

    /// Microseconds of `cpu` for each ack.
    fn micros_an_ack(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.outcome.acked.max(1) as f64
    }
}

impl Outcome {
    /// Acks a second over the measured time.
    pub(crate) fn rate(&self) -> f64 {
        self.measured as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that this share of the acks stayed under, in milliseconds.
    pub(crate) fn millis(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// A run in which anything but 200 was answered has not measured acks.
    pub(crate) fn check(&self) -> Result<()> {
        if self.others.is_empty() {
            return Ok(());
        }
        Err(format!("answers other than 200, status: count: {:?}", self.others).into())
    }
}

/// Fails when not all of what an honest client sent was acknowledged.
pub(crate) fn exactly(sent: u64, acked: u64) -> Result<()> {
    if sent == acked {
        Ok(())
    } else {
        Err(format!("{} were not acknowledged", sent - acked).into())
    }
}

/// The table's head.
pub(crate) fn print_head() {
    println!(
        "\n{:>11}  {:<9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>11} {:>9}",
        "connections",
        "server",
        "acks/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "CPU us/ack",
        "load's"
    );
}

/// One server's line.
pub(crate) fn print_figures(connections: usize, server: &str, figures: &Figures) {
    let o = &figures.outcome;
    println!(
        "{connections:>11}  {server:<9} {:>9.0} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>11.1} {:>9.1}",
        o.rate(),
        o.millis(0.5),
        o.millis(0.99),
        o.millis(0.999),
        o.millis(1.0),
        figures.micros_an_ack(figures.cpu),
        figures.micros_an_ack(figures.load_cpu),
    );
}

/// How one server stands to another, both measured in this run.
pub(crate) fn print_ratio(what: &str, a: &Figures, b: &Figures) {
    println!(
        "{:>11}  {what}: throughput {:.3}, p99 {:.2}, CPU an ack {:.3}",
        "",
        a.outcome.rate() / b.outcome.rate(),
        a.outcome.millis(0.99) / b.outcome.millis(0.99),
        a.micros_an_ack(a.cpu) / b.micros_an_ack(b.cpu),
    );
}

/// Creates the directory for the stores and refuses one that is in memory.
pub(crate) fn check_disk(options: &Options) -> Result<()> {
    let store = &options.store;
    fs::create_dir_all(store)?;
    let found = rustix::fs::statfs(store)?.f_type as u64;
    match IN_MEMORY.iter().find(|(magic, _)| *magic == found) {
        Some((_, name)) if !options.any_disk => {
            Err(format!("{} is on {name}: name a disk", store.display()).into())
        }
        _ => Ok(()),
    }
}

/// What the figures were measured on.
pub(crate) fn print_machine(options: &Options) -> Result<()> {
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu_info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism()?;
    println!("{cores} x {}, Linux {}", model.map_or("unknown CPU", |(_, m)| m), kernel.trim());
    println!(
        "one append of 700 bytes and its fdatasync: {:.0} us (median of {SYNCS})",
        sync_cost(&options.store)?.as_secs_f64() * 1e6
    );
    Ok(())
}

const SYNCS: usize = 201;

/// What the disk asks for a durable ack, before any server has had its share.
fn sync_cost(store: &Path) -> Result<Duration> {
    let path = store.join("sync-cost");
    let mut file = File::create(&path)?;
    let mut took = Vec::new();
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&[b'.'; 700])?;
        file.sync_data()?;
        took.push(begun.elapsed());
    }
    fs::remove_file(path)?;
    took.sort_unstable();
    Ok(took[SYNCS / 2])
}
