//! Space stays bounded: millions of events through a store with a short retention, delivered as fast
//! as the sink takes them, while what waits for an upstream that is configured no more is carried
//! beyond the retention again and again. Size on disk, memory and the acks' latency over time go to
//! a table and a plot; at the end everything must have arrived, also what was carried.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::end_to_end::{BACKLOG, delivered, drain};
use crate::generator::{self, Gate, Load, Outcome, Until};
use crate::hookward::{Hookward, Upstream};
use crate::plot::{self, Panel};
use crate::process::start_role;
use crate::servers::Role;
use crate::{Options, Result, Soak};

/// One line of the table.
const ROUND: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// What was there at the end of a round.
struct Row {
    seconds: f64,
    acked: u64,
    acks_a_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    journal_mib: f64,
    index_mib: f64,
    catalogue_mib: f64,
    audit_mib: f64,
    rss_mib: f64,
}

/// Sends so many events, and writes `soak.csv` and `soak.svg`.
pub(crate) async fn run(options: &Options, soak: &Soak, events: u64) -> Result<()> {
    let Soak { retention, kept, ref out } = *soak;
    let connections = options.one_connection_count();
    let (_sink, sink) = start_role(Role::Sink, None)?;
    let mut hookward = begin(options, retention, kept, sink).await?;
    println!(
        "\nhookward, {connections} connections, retention {retention} s, {kept} events carried"
    );
    println!(
        "{:>8} {:>11} {:>9} {:>9} {:>9} {:>9} {:>12} {:>10} {:>14} {:>10} {:>9}",
        "second",
        "acked",
        "acks/s",
        "p50 ms",
        "p99 ms",
        "max ms",
        "journal MiB",
        "index MiB",
        "catalogue MiB",
        "audit MiB",
        "RSS MiB"
    );
    let (mut rows, begun) = (Vec::<Row>::new(), Instant::now());
    let mut acked = 0;
    while acked < events {
        let outcome = round(options, &hookward, connections, sink, acked).await?;
        acked += outcome.acked;
        let row = Row::take(begun.elapsed(), acked, &outcome, &mut hookward)?;
        row.print();
        rows.push(row);
    }
    let app = Upstream { name: "app", address: sink };
    drain_all(&mut hookward, app, retention, acked, kept).await?;
    write(out, &rows, retention)?;
    hookward.remove()
}

/// A gateway that delivers to the sink, and has so many events for an upstream that is gone.
pub(crate) async fn begin(
    options: &Options,
    retention: u64,
    kept: u64,
    sink: SocketAddr,
) -> Result<Hookward> {
    let mut hookward = Hookward::new(&options.store, &options.log, None)?;
    let nobody = hookward.refusing()?;
    hookward.configure(Some(retention), &[Upstream { name: "gone", address: nobody }])?;
    hookward.start().await?;
    let connections = options.one_connection_count();
    let gone = Load::new(hookward.public(), connections, Until::Events(kept));
    generator::run(gone).await?.check()?;
    hookward.process()?.terminate()?;
    hookward.configure(Some(retention), &[Upstream { name: "app", address: sink }])?;
    hookward.start().await?;
    Ok(hookward)
}

/// Everything arrives at `app`, also what was carried for the upstream that was gone.
pub(crate) async fn drain_all(
    hookward: &mut Hookward,
    app: Upstream,
    retention: u64,
    acked: u64,
    kept: u64,
) -> Result<()> {
    drain(app.address, acked).await?;
    hookward.process()?.terminate()?;
    hookward.configure(Some(retention), &[app, Upstream { name: "gone", ..app }])?;
    hookward.start().await?;
    drain(app.address, acked + kept).await
}

/// Sends for a while, held back so far that the sink keeps up.
async fn round(
    options: &Options,
    hookward: &Hookward,
    connections: usize,
    sink: SocketAddr,
    acked_before: u64,
) -> Result<Outcome> {
    let (allow, allowed) = watch::channel(BACKLOG);
    let until = Until::Time { warm_up: Duration::ZERO, measured: ROUND };
    let mut load = Load::new(hookward.public(), connections, until);
    load.threads = options.threads;
    load.gate = Some(Gate::new(allowed));
    let over = Arc::new(AtomicBool::new(false));
    let watching = async {
        let begun = Instant::now();
        while begun.elapsed() < ROUND && !over.load(Ordering::Relaxed) {
            let ahead = delivered(sink).await? + BACKLOG;
            allow.send_replace(ahead.saturating_sub(acked_before));
            tokio::time::sleep(POLL).await;
        }
        // Those still held back send one event more and find that the time is up.
        allow.send_replace(u64::MAX);
        Ok(())
    };
    let sending = async {
        let outcome = generator::run(load).await;
        over.store(true, Ordering::Relaxed);
        outcome
    };
    let (outcome, ()) = tokio::try_join!(sending, watching)?;
    outcome.check()?;
    Ok(outcome)
}

impl Row {
    fn take(at: Duration, acked: u64, outcome: &Outcome, hookward: &mut Hookward) -> Result<Self> {
        Ok(Self {
            seconds: at.as_secs_f64(),
            acked,
            acks_a_second: outcome.rate(),
            p50_ms: outcome.millis(0.5),
            p99_ms: outcome.millis(0.99),
            max_ms: outcome.millis(1.0),
            journal_mib: mib_in(&hookward.data().join("journal")),
            index_mib: mib_in(&hookward.data().join("index")),
            catalogue_mib: mib_in(&hookward.data().join("catalogue")),
            audit_mib: mib_in(&hookward.data().join("audit")),
            rss_mib: hookward.process()?.memory_mib("VmRSS")?,
        })
    }

    fn store_mib(&self) -> f64 {
        self.journal_mib + self.index_mib + self.catalogue_mib + self.audit_mib
    }

    fn print(&self) {
        println!(
            "{:>8.0} {:>11} {:>9.0} {:>9.3} {:>9.3} {:>9.3} {:>12.1} {:>10.1} {:>14.1} {:>10.1} {:>9.1}",
            self.seconds,
            self.acked,
            self.acks_a_second,
            self.p50_ms,
            self.p99_ms,
            self.max_ms,
            self.journal_mib,
            self.index_mib,
            self.catalogue_mib,
            self.audit_mib,
            self.rss_mib,
        );
    }
}

/// Files may go while their directory is read.
fn mib_in(directory: &Path) -> f64 {
    fn bytes(directory: &Path) -> u64 {
        let Ok(entries) = fs::read_dir(directory) else { return 0 };
        let size = |path: PathBuf| match path.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes(&path),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        };
        entries.flatten().map(|entry| size(entry.path())).sum()
    }
    bytes(directory) as f64 / f64::from(1 << 20)
}

fn write(out: &Path, rows: &[Row], retention: u64) -> Result<()> {
    let mut csv = "seconds,acked,acks_per_second,p50_ms,p99_ms,max_ms,journal_mib,index_mib,\
                   catalogue_mib,audit_mib,rss_mib\n"
        .to_owned();
    for row in rows {
        let Row { seconds, acked, acks_a_second, p50_ms, p99_ms, .. } = row;
        let Row { max_ms, journal_mib, index_mib, catalogue_mib, audit_mib, rss_mib, .. } = row;
        writeln!(
            csv,
            "{seconds:.1},{acked},{acks_a_second:.0},{p50_ms:.3},{p99_ms:.3},{max_ms:.3},\
             {journal_mib:.1},{index_mib:.1},{catalogue_mib:.1},{audit_mib:.1},{rss_mib:.1}"
        )?;
    }
    let series = |of: fn(&Row) -> f64| rows.iter().map(of).collect::<Vec<_>>();
    let panels = [
        Panel {
            title: "the store on disk (journal, index, catalogue, audit), MiB",
            values: series(Row::store_mib),
        },
        Panel { title: "resident memory, MiB", values: series(|row| row.rss_mib) },
        Panel { title: "ack p99, ms", values: series(|row| row.p99_ms) },
    ];
    let acked = rows.last().map_or(0, |row| row.acked);
    let title = format!("{acked} events, retention {retention} s");
    fs::create_dir_all(out)?;
    fs::write(out.join("soak.csv"), csv)?;
    fs::write(out.join("soak.svg"), plot::draw(&title, &series(|row| row.seconds), &panels))?;
    println!("written: soak.csv and soak.svg in {}", out.display());
    Ok(())
}
