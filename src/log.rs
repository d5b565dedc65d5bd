//! Log lines, JSON or text, on their way to one file descriptor.
//!
//! A thread that logs copies its line into a bounded buffer and goes on: it never waits for the
//! disk or the terminal. One writer thread empties the buffer with one write at a time. Lines that
//! do not fit, or that the descriptor fails to take, are dropped and counted, and the count is logged
//! once there is room again. Nothing here sees a secret or a payload, because nothing that logs may
//! hand one over.

#[cfg(test)]
pub(crate) mod testing;

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use crate::config::{Log, LogFormat};

/// Bytes of lines that may wait for the writer: a quarter of a second at ten thousand lines of
/// 400 bytes, and a bound on what logging can take of the memory (twice, as one buffer is being
/// written while the other fills).
const CAPACITY: usize = 1 << 20;

/// From this fill on the writer does not wait for more.
const FULL_ENOUGH: usize = 64 << 10;

/// How long the writer lets lines gather after the first, so that a busy gateway pays one wake-up
/// and one write for many lines.
const GATHER: Duration = Duration::from_millis(5);

/// How long the writer waits for whoever reads a descriptor that does not block and is full: a pipe
/// that a supervisor has made so.
const FULL: Duration = Duration::from_millis(5);

/// How long the end of the process waits for its last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Sends every log line of the process to standard error from here on. What is logged before the
/// returned handle is dropped is written; hold it to the end of `main`.
///
/// # Errors
/// When the writer's thread cannot be started, or logging has been set up before.
pub fn init(config: Log) -> io::Result<Logging> {
    let (lines, flush) = start(io::stderr(), CAPACITY)?;
    let (level, handle) = reload::Layer::new(at(config.level));
    let registry = Registry::default().with(level);
    let layer = fmt::layer().with_writer(lines);
    let installed = match config.format {
        LogFormat::Json => {
            let json = layer.json().flatten_event(true);
            registry.with(json.with_current_span(false).with_span_list(false)).try_init()
        }
        LogFormat::Text => registry.with(layer.with_ansi(false)).try_init(),
    };
    installed.map_err(|error| io::Error::new(io::ErrorKind::AlreadyExists, error))?;
    Ok(Logging { level: handle, _flush: flush })
}

/// Says on standard error why the process ends, in a line of its own: a log line if the log is JSON,
/// for whoever reads it takes each line for one, and otherwise plain words. Whatever the log's level
/// is; and also before there is a log.
pub fn last_words(format: LogFormat, error: &str) {
    match format {
        LogFormat::Json => {
            let json = fmt::fmt().with_writer(io::stderr).json().flatten_event(true);
            let json = json.with_current_span(false).with_span_list(false).finish();
            tracing::subscriber::with_default(json, || {
                tracing::error!(target: "hookward", error, "cannot run");
            });
        }
        // Nobody is left to tell when standard error is gone.
        LogFormat::Text => drop(writeln!(io::stderr(), "hookward: {error}")),
    }
}

/// The process's log. What was logged is written out when it is dropped.
#[derive(Debug)]
pub struct Logging {
    level: reload::Handle<Targets, Registry>,
    _flush: Flush,
}

impl Logging {
    /// From here on lines of this level and above are written.
    pub fn set_level(&self, level: LevelFilter) {
        // The log outlives its handle, and nothing panics while it changes the level.
        drop(self.level.reload(at(level)));
    }
}

/// Our own lines at this level. Of the libraries only warnings: below that they show what a
/// stranger sent, such as a path with its query.
fn at(level: LevelFilter) -> Targets {
    let others = level.min(LevelFilter::WARN);
    // h2 warns of a client that has too many streams reset, with every connection that has. That is
    // a refusal, and told as one, where floods of them are summed.
    let h2 = level.min(LevelFilter::ERROR);
    let ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), level);
    ours.with_target("h2", h2).with_default(others)
}

/// Writes out what has been logged when it is dropped.
#[derive(Debug)]
struct Flush {
    queue: Arc<Queue>,
    writer: Option<thread::JoinHandle<()>>,
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.queue.waiting.lock().closed = true;
        self.queue.wake.notify_one();
        // Whoever should read the log may have stopped: then the rest of it is lost.
        let patience = Instant::now() + LAST_LINES;
        if let Some(writer) = self.writer.take() {
            while !writer.is_finished() && Instant::now() < patience {
                thread::park_timeout(GATHER);
            }
            if writer.is_finished() {
                let _ = writer.join();
            }
        }
    }
}

/// Where formatted lines go: each `write` is one whole line.
#[derive(Clone, Debug)]
struct Lines(Arc<Queue>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[derive(Debug)]
struct Queue {
    capacity: usize,
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    dropped: u64,
    closed: bool,
}

/// A batch of lines, and how many were dropped while they gathered.
struct Batch {
    lines: Vec<u8>,
    dropped: u64,
}

impl Queue {
    /// Takes the line, or drops it when there is no room.
    fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting.lock();
        let before = waiting.lines.len();
        if before + line.len() > self.capacity {
            waiting.dropped += 1;
            return;
        }
        waiting.lines.extend_from_slice(line);
        let wake = before == 0 || (before < FULL_ENOUGH && waiting.lines.len() >= FULL_ENOUGH);
        drop(waiting);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Waits for lines and takes them, leaving the emptied `spare` in their place; `None` when
    /// there are none and there will be none.
    fn take(&self, spare: Vec<u8>) -> Option<Batch> {
        let mut waiting = self.waiting.lock();
        while waiting.lines.is_empty() {
            if waiting.closed {
                return None;
            }
            self.wake.wait(&mut waiting);
        }
        if !waiting.closed && waiting.lines.len() < FULL_ENOUGH {
            self.wake.wait_for(&mut waiting, GATHER);
        }
        let lines = std::mem::replace(&mut waiting.lines, spare);
        Some(Batch { lines, dropped: std::mem::take(&mut waiting.dropped) })
    }
}

fn start(sink: impl Write + Send + 'static, capacity: usize) -> io::Result<(Lines, Flush)> {
    let queue = Arc::new(Queue { capacity, waiting: Mutex::default(), wake: Condvar::new() });
    let lines = Lines(Arc::clone(&queue));
    let held = Arc::clone(&queue);
    let write = move || write_all(&held, sink);
    let writer = thread::Builder::new().name("hookward-log".to_owned()).spawn(write)?;
    Ok((lines, Flush { queue, writer: Some(writer) }))
}

/// The writer's thread.
fn write_all(queue: &Queue, sink: impl Write) {
    let (mut spare, mut out) = (Vec::new(), Out { sink, untold: 0, torn: false });
    while let Some(Batch { mut lines, dropped }) = queue.take(spare) {
        let dropped = out.write(&mut lines, dropped);
        lines.clear();
        spare = lines;
        if dropped > 0 {
            tracing::warn!(
                target: "hookward::log",
                dropped,
                "log lines dropped: whoever reads them is slow, or cannot be written to"
            );
        }
    }
}

/// Where the lines go, and what went wrong there. A sink that fails (a full disk, a closed pipe)
/// loses lines; it must not stop the gateway.
struct Out<W> {
    sink: W,
    /// Lines that were dropped, and nobody was told.
    untold: u64,
    /// Whether the last byte that went out was not a line's last.
    torn: bool,
}

impl<W: Write> Out<W> {
    /// Writes the lines, before which so many were dropped. How many are to be told of: none as long
    /// as the sink fails, since that line would be lost as well, and be another one to tell of.
    fn write(&mut self, lines: &mut Vec<u8>, dropped: u64) -> u64 {
        if self.torn {
            // What follows is a line of its own.
            lines.insert(0, b'\n');
        }
        let written = write_some(&mut self.sink, lines);
        let lost = lines.get(written.max(usize::from(self.torn))..).map_or(0, count_lines);
        if let Some(last) = written.checked_sub(1) {
            self.torn = lines.get(last) != Some(&b'\n');
        }
        self.untold += dropped + lost;
        if lost > 0 { 0 } else { std::mem::take(&mut self.untold) }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

/// How many of the bytes the sink took before it failed: all of them, mostly. One that is full and
/// does not block is waited for like one that does.
fn write_some(sink: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match sink.write(rest) {
            Ok(0) => break,
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::park_timeout(FULL),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let _ = sink.flush();
    written
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A sink that takes what comes only when told, and shows what it took.
    struct Gate {
        open: mpsc::Receiver<()>,
        seen: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.open.recv();
            let _ = self.seen.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gate() -> (Gate, mpsc::Sender<()>, mpsc::Receiver<Vec<u8>>) {
        let (open, opened) = mpsc::channel();
        let (seen, shown) = mpsc::channel();
        (Gate { open: opened, seen }, open, shown)
    }

    #[test]
    fn dropping_the_handle_writes_what_was_logged() {
        let (sink, open, shown) = gate();
        let (mut lines, flush) = start(sink, 1024).unwrap();
        lines.write_all(b"one\n").unwrap();
        lines.write_all(b"two\n").unwrap();
        drop(open);
        drop(flush);
        assert_eq!(shown.iter().collect::<Vec<_>>().concat(), b"one\ntwo\n");
    }

    /// A sink that gives each of these answers once: how many bytes it takes, or why none. Then it
    /// takes everything.
    struct Moody {
        answers: std::vec::IntoIter<Result<usize, io::ErrorKind>>,
        taken: Vec<u8>,
    }

    impl Write for &mut Moody {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let most = self.answers.next().unwrap_or(Ok(usize::MAX))?;
            let taken = &bytes[..most.min(bytes.len())];
            self.taken.extend_from_slice(taken);
            Ok(taken.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What such a sink takes of these batches, and how many lines are told to be lost after each.
    fn written(answers: Vec<Result<usize, io::ErrorKind>>, batches: &[&str]) -> (String, Vec<u64>) {
        let mut sink = Moody { answers: answers.into_iter(), taken: Vec::new() };
        let mut out = Out { sink: &mut sink, untold: 0, torn: false };
        let told = batches.iter().map(|batch| out.write(&mut batch.as_bytes().to_vec(), 0));
        let told = told.collect();
        (String::from_utf8(sink.taken).unwrap(), told)
    }

    /// Standard error that somebody had made non-blocking: most of a flood's lines were missing, one
    /// was torn, and nobody was told.
    #[test]
    fn a_sink_that_is_full_is_waited_for() {
        let full = Err(io::ErrorKind::WouldBlock);
        let answers = vec![full, Ok(2), full, full, Err(io::ErrorKind::Interrupted), Ok(3)];
        let (taken, told) = written(answers, &["one\ntwo\n", "three\n"]);
        assert_eq!((taken.as_str(), told), ("one\ntwo\nthree\n", vec![0, 0]));
    }

    #[test]
    fn lines_that_a_sink_fails_to_take_are_told_when_it_takes_others() {
        let fails = Err(io::ErrorKind::StorageFull);
        let (taken, told) =
            written(vec![Ok(6), fails, fails, Ok(0)], &["one\ntwo\n", "a\nb\n", "c\n", "d\n"]);
        assert_eq!((taken.as_str(), told), ("one\ntw\nd\n", vec![0, 0, 0, 4]));
        // Not even the end of the line that was torn.
        let (taken, told) =
            written(vec![Ok(6), fails, Ok(1), fails], &["one\ntwo\n", "a\n", "b\n"]);
        assert_eq!((taken.as_str(), told), ("one\ntw\nb\n", vec![0, 0, 2]));
    }

    #[test]
    fn libraries_say_nothing_that_a_stranger_can_make_them_say() {
        use tracing::Level;
        let shows = |level| {
            let targets = at(level);
            move |target, level: Level| targets.would_enable(target, &level)
        };
        let info = shows(LevelFilter::INFO);
        assert!(info("hookward::request", Level::INFO) && info("tokio::x", Level::WARN));
        assert!(!info("h2::proto::streams", Level::WARN) && !info("tokio::x", Level::INFO));
        assert!(info("h2::proto::streams", Level::ERROR));
        assert!(!shows(LevelFilter::OFF)("h2", Level::ERROR));
    }

    #[test]
    fn a_sink_that_hangs_costs_lines_and_no_waiting() {
        let (sink, open, shown) = gate();
        let (mut lines, flush) = start(sink, 8).unwrap();
        for _ in 0..10_000 {
            lines.write_all(b"line\n").unwrap();
        }
        drop(open);
        drop(flush);
        let written = shown.iter().collect::<Vec<_>>().concat();
        // One line was on its way to the sink, one fitted into the buffer.
        assert!(written == b"line\n" || written == b"line\nline\n", "{} bytes", written.len());
    }
}
