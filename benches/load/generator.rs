//! The load: closed-loop HTTP/1.1 connections that send an event, wait for the answer and send
//! the next. The same for every server, and as cheap as it can be made, since it shares the
//! cores with what it measures: no HTTP library, one thread, one histogram a thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;

use crate::Result;
use crate::event::{self, Request};

/// No answer may take longer; a server that hangs ends the run.
const PATIENCE: Duration = Duration::from_secs(30);
/// The answers that are read here are a few hundred bytes.
const LONGEST_ANSWER: usize = 8 * 1024;

/// What to send, where and for how long.
#[derive(Clone)]
pub(crate) struct Load {
    /// The server.
    pub(crate) server: SocketAddr,
    /// Connections, each with one request under way.
    pub(crate) connections: usize,
    /// Threads that they are spread over.
    pub(crate) threads: usize,
    /// Bytes of each body.
    pub(crate) body_size: usize,
    /// When to stop.
    pub(crate) until: Until,
    /// Holds requests back; `None`: as fast as the answers come.
    pub(crate) gate: Option<Gate>,
    /// Counts acks as they come, for others to read.
    pub(crate) acked: Arc<AtomicU64>,
}

/// When a run ends. Requests under way are waited for in either case.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// After this time, of which the first part is not measured.
    Time { warm_up: Duration, measured: Duration },
    /// After so many events.
    Events(u64),
}

/// Lets through as many requests in all as the watched number says.
#[derive(Clone)]
pub(crate) struct Gate {
    /// How many have asked.
    started: Arc<AtomicU64>,
    allowed: watch::Receiver<u64>,
}

/// What came of a run.
pub(crate) struct Outcome {
    /// All acks, those of the warm-up included.
    pub(crate) acked: u64,
    /// Acks within the measured time.
    pub(crate) measured: u64,
    /// From the start of the measurement to its end.
    pub(crate) elapsed: Duration,
    /// Microseconds from the first byte sent to the last byte of the answer, when measured.
    pub(crate) latency: Histogram<u64>,
    /// Answers other than 200, by status.
    pub(crate) others: BTreeMap<u16, u64>,
}

impl Load {
    /// As fast as the answers come, for the given time, with an order's body.
    pub(crate) fn new(server: SocketAddr, connections: usize, until: Until) -> Self {
        Self {
            server,
            connections,
            threads: 1,
            body_size: event::ORDER_SIZE,
            until,
            gate: None,
            acked: Arc::default(),
        }
    }
}

impl Gate {
    /// A gate that the sender of `allowed` moves.
    pub(crate) fn new(allowed: watch::Receiver<u64>) -> Self {
        Self { started: Arc::default(), allowed }
    }

    async fn pass(&mut self) {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        if number >= *self.allowed.borrow() {
            // An error means that the gate's owner has gone: then nothing is held back.
            let _ = self.allowed.wait_for(|allowed| number < *allowed).await;
        }
    }
}

/// Sends the load. Fails when a connection breaks or a server falls silent.
pub(crate) async fn run(load: Load) -> Result<Outcome> {
    let run = event::next_run();
    let threads = load.threads.clamp(1, load.connections.max(1));
    let begun = Instant::now();
    let quota = Arc::new(AtomicU64::new(0));
    let mut tallies = Vec::new();
    for thread in 0..threads {
        let (done, tally) = oneshot::channel();
        let shared = Shared { load: load.clone(), run, begun, quota: Arc::clone(&quota) };
        std::thread::spawn(move || {
            let mine = (thread..shared.load.connections).step_by(threads);
            let _ = done.send(run_thread(shared, mine.collect()));
        });
        tallies.push(tally);
    }
    let mut sum = Tally::default();
    for tally in tallies {
        sum.add(tally.await??)?;
    }
    let elapsed = match load.until {
        Until::Time { measured, .. } => measured,
        Until::Events(_) => begun.elapsed(),
    };
    Ok(Outcome {
        acked: sum.acked,
        measured: sum.latency.as_ref().map_or(0, Histogram::len),
        elapsed,
        latency: sum.latency.unwrap_or(new_histogram()?),
        others: sum.others,
    })
}

/// What all connections of a run know.
struct Shared {
    load: Load,
    run: u32,
    begun: Instant,
    /// Events begun, where their number ends the run.
    quota: Arc<AtomicU64>,
}

impl Shared {
    /// The time within which latencies are recorded.
    fn window(&self) -> (Instant, Option<Instant>) {
        match self.load.until {
            Until::Time { warm_up, measured } => {
                (self.begun + warm_up, Some(self.begun + warm_up + measured))
            }
            Until::Events(_) => (self.begun, None),
        }
    }

    fn goes_on(&self, end: Option<Instant>, now: Instant) -> bool {
        match self.load.until {
            Until::Time { .. } => end.is_none_or(|end| now < end),
            Until::Events(n) => self.quota.fetch_add(1, Ordering::Relaxed) < n,
        }
    }
}

/// What the connections of one thread have counted.
#[derive(Default)]
struct Tally {
    acked: u64,
    latency: Option<Histogram<u64>>,
    others: BTreeMap<u16, u64>,
}

impl Tally {
    fn add(&mut self, other: Self) -> Result<()> {
        self.acked += other.acked;
        for (status, count) in other.others {
            *self.others.entry(status).or_default() += count;
        }
        match (&mut self.latency, other.latency) {
            (Some(mine), Some(theirs)) => mine.add(theirs)?,
            (mine, theirs) => *mine = theirs.or(mine.take()),
        }
        Ok(())
    }
}

/// One microsecond to one minute, to three digits.
pub(crate) fn new_histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

fn run_thread(shared: Shared, connections: Vec<usize>) -> Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tally = Tally { latency: Some(new_histogram()?), ..Tally::default() };
    let tally = Rc::new(RefCell::new(tally));
    let shared = Rc::new(shared);
    let local = LocalSet::new();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|n| local.spawn_local(converse(Rc::clone(&shared), n, Rc::clone(&tally))))
        .collect();
    runtime.block_on(local.run_until(async {
        for task in tasks {
            task.await??;
        }
        Ok(tally.take())
    }))
}

/// One connection's life.
async fn converse(shared: Rc<Shared>, connection: usize, tally: Rc<RefCell<Tally>>) -> Result<()> {
    let load = &shared.load;
    let mut stream = connect(load.server).await?;
    let mut request = Request::new(shared.run, connection, load.body_size)?;
    let mut answer = Vec::with_capacity(LONGEST_ANSWER);
    let mut gate = load.gate.clone();
    let (start, end) = shared.window();
    let mut now = Instant::now();
    while shared.goes_on(end, now) {
        if let Some(gate) = &mut gate {
            gate.pass().await;
        }
        let bytes = request.next();
        let sent = Instant::now();
        stream.write_all(bytes).await?;
        let status = tokio::time::timeout(PATIENCE, read_answer(&mut stream, &mut answer))
            .await
            .map_err(|_| "no answer in 30 s")??;
        now = Instant::now();
        if ends_connection(&answer) {
            stream = connect(load.server).await?;
        }
        let mut tally = tally.borrow_mut();
        if status != 200 {
            *tally.others.entry(status).or_default() += 1;
            continue;
        }
        tally.acked += 1;
        load.acked.fetch_add(1, Ordering::Relaxed);
        let measured = sent >= start && end.is_none_or(|end| now < end);
        if let Some(latency) = tally.latency.as_mut().filter(|_| measured) {
            latency.saturating_record((now - sent).as_micros() as u64);
        }
    }
    Ok(())
}

async fn connect(server: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether the server ends the connection with this answer: it takes so many requests on each.
fn ends_connection(answer: &[u8]) -> bool {
    memchr::memmem::find(answer, b"connection: close").is_some()
}

/// Reads one answer to its end and returns its status.
pub(crate) async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<u16> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the server closed the connection".into());
        }
        if let Some(head) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            let whole = head + 4 + content_length(&buffer[..head])?;
            if buffer.len() >= whole {
                let status = buffer.get(9..12).ok_or("a status line that is too short")?;
                return Ok(std::str::from_utf8(status)?.parse()?);
            }
        }
        if buffer.len() >= LONGEST_ANSWER {
            return Err("an answer that is too long".into());
        }
    }
}

/// The length of the body that follows `head`. Chunked answers are not understood here.
fn content_length(head: &[u8]) -> Result<usize> {
    const NAME: &[u8] = b"content-length:";
    for line in head.split(|b| *b == b'\n') {
        if let Some((name, value)) = line.split_at_checked(NAME.len())
            && name.eq_ignore_ascii_case(NAME)
        {
            return Ok(std::str::from_utf8(value)?.trim().parse()?);
        }
    }
    Err("an answer without Content-Length".into())
}
