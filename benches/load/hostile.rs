//! Whether an honest provider is served while the gateway is under attack: twenty signed requests
//! a second, each on a connection of its own, while slowhttptest holds hundreds of slow
//! connections and a flood of forged requests takes what is left of the cores. Everybody calls
//! from the same address, so that no limit by address can tell them apart.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::net::TcpStream;

use crate::Result;
use crate::event::{self, Request};
use crate::generator::{new_histogram, read_answer};
use crate::hookward::Hookward;
use crate::process::Process;
use crate::{Options, report};

/// Slow connections, and how many of them are opened a second.
const SLOW: usize = 800;
const SLOW_A_SECOND: usize = 400;
/// Connections that send forged requests, each as fast as it is answered.
const FLOOD: usize = 64;
/// The honest client's pace.
const EVERY: Duration = Duration::from_millis(50);
/// Providers give up after five seconds; a second more shows by how much one was late.
const PATIENCE: Duration = Duration::from_secs(6);

/// What slowhttptest does: its own name of the attack, and the arguments.
const ATTACKS: [(&str, &[&str]); 4] = [
    ("none", &[]),
    ("slow headers", &["-H", "-i", "1", "-x", "24"]),
    ("slow body", &["-B", "-i", "1", "-s", "65536", "-x", "10"]),
    ("slow read", &["-X", "-k", "32", "-w", "1", "-y", "16", "-n", "1", "-z", "1"]),
];

/// Measures each attack for `seconds`.
pub(crate) async fn run(options: &Options) -> Result<()> {
    println!(
        "\n{SLOW} slow connections and {FLOOD} that send forged requests; one honest client, a request every {} ms",
        EVERY.as_millis()
    );
    println!(
        "{:<13} {:>6} {:>6} {:>8} {:>8} {:>8} {:>9} {:>9}  forged by status",
        "attack", "sent", "200", "p50 ms", "p99 ms", "max ms", "forged/s", "RSS MiB"
    );
    for (name, arguments) in ATTACKS {
        attack(options, name, arguments).await?;
    }
    Ok(())
}

async fn attack(options: &Options, name: &str, arguments: &[&str]) -> Result<()> {
    let mut hookward = Hookward::new(&options.store, &options.log, None)?;
    hookward.start().await?;
    let server = hookward.public();
    let slow = if arguments.is_empty() { None } else { Some(slow(server, options, arguments)?) };
    let flood = slow.as_ref().map(|_| Flood::start(server));
    // The slow connections are all there before the first honest request.
    tokio::time::sleep(Duration::from_secs(SLOW.div_ceil(SLOW_A_SECOND) as u64 + 1)).await;
    let honest = honest(server, options.measured()).await?;
    let memory = hookward.process()?.memory_mib("VmHWM")?;
    let forged = flood.map(Flood::stop).transpose()?.unwrap_or_default();
    drop(slow);
    hookward.remove()?;
    println!(
        "{name:<13} {:>6} {:>6} {:>8.1} {:>8.1} {:>8.1} {:>9.0} {memory:>9.1}  {:?}",
        honest.sent,
        honest.acked,
        honest.millis(0.5),
        honest.millis(0.99),
        honest.millis(1.0),
        forged.rate,
        forged.statuses,
    );
    report::exactly(honest.sent, honest.acked)
}

/// slowhttptest, for longer than is measured.
fn slow(server: SocketAddr, options: &Options, arguments: &[&str]) -> Result<Process> {
    let seconds = (options.measured().as_secs() + 30).to_string();
    let child = Command::new("slowhttptest")
        .args(arguments)
        .args(["-c", &SLOW.to_string(), "-r", &SLOW_A_SECOND.to_string(), "-l", &seconds])
        .args(["-t", "POST", "-v", "0", "-u", &format!("http://{server}{}", event::PATH)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    child.map(Process::new).map_err(|e| format!("slowhttptest (Debian's package): {e}").into())
}

/// What came of the honest client's requests.
struct Honest {
    sent: u64,
    acked: u64,
    latency: Histogram<u64>,
}

impl Honest {
    fn millis(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// Sends on time whatever became of the request before, as independent events do. A latency runs
/// from when the request was due.
async fn honest(server: SocketAddr, for_time: Duration) -> Result<Honest> {
    let (begun, run) = (Instant::now(), event::next_run());
    let mut ticks = tokio::time::interval(EVERY);
    let mut requests = tokio::task::JoinSet::new();
    let mut outcome = Honest { sent: 0, acked: 0, latency: new_histogram()? };
    while begun.elapsed() < for_time {
        let due = ticks.tick().await.into_std();
        let number = usize::try_from(outcome.sent % 10_000)?;
        outcome.sent += 1;
        requests.spawn(async move {
            let asked = tokio::time::timeout(PATIENCE, ask(server, run, number)).await;
            (matches!(asked, Ok(Ok(200))), due.elapsed())
        });
    }
    while let Some(done) = requests.join_next().await {
        let (acked, took) = done?;
        outcome.acked += u64::from(acked);
        outcome.latency.saturating_record(took.as_micros() as u64);
    }
    Ok(outcome)
}

async fn ask(server: SocketAddr, run: u32, number: usize) -> Result<u16> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let mut request = Request::new(run, number, event::ORDER_SIZE)?;
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.next()).await?;
    read_answer(&mut stream, &mut Vec::new()).await
}

/// Forged requests from a thread of their own.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<Forged>>,
}

/// What they were answered.
#[derive(Default)]
struct Forged {
    rate: f64,
    statuses: BTreeMap<u16, u64>,
}

impl Flood {
    fn start(server: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        Self { stop, thread: std::thread::spawn(move || flood(server, &stopped)) }
    }

    fn stop(self) -> Result<Forged> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the flood's thread panicked")?
    }
}

fn flood(server: SocketAddr, stop: &Arc<AtomicBool>) -> Result<Forged> {
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut forged = Forged::default();
    runtime.block_on(async {
        let mut connections = tokio::task::JoinSet::new();
        for number in 0..FLOOD {
            connections.spawn(forge(server, number, Arc::clone(stop)));
        }
        while let Some(done) = connections.join_next().await {
            for (status, count) in done?? {
                *forged.statuses.entry(status).or_default() += count;
            }
        }
        Result::Ok(())
    })?;
    forged.rate = forged.statuses.values().sum::<u64>() as f64 / begun.elapsed().as_secs_f64();
    Ok(forged)
}

/// One connection, made again whenever the gateway has closed it. A status of 0 stands for that.
async fn forge(
    server: SocketAddr,
    number: usize,
    stop: Arc<AtomicBool>,
) -> Result<BTreeMap<u16, u64>> {
    let mut statuses = BTreeMap::new();
    let mut request = Request::new(event::next_run(), number, event::ORDER_SIZE)?;
    let bytes = request.forged().to_vec();
    let mut answer = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(server).await else { continue };
        while !stop.load(Ordering::Relaxed) {
            let sent = tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes).await;
            let asked =
                async { sent.map_err(Into::into).and(read_answer(&mut stream, &mut answer).await) };
            let status = tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Ok(1));
            *statuses.entry(*status.as_ref().unwrap_or(&0)).or_default() += 1;
            if status.is_err() {
                break;
            }
        }
    }
    Ok(statuses)
}
