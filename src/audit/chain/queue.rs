//! The door to the trail: a bounded queue in memory. Nobody who comes with a refusal waits; what does not
//! fit is counted and becomes one record for each reason.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::HeaderValue;
use parking_lot::{Condvar, Mutex};
use serde_json::Value;

use super::super::refused::Refused;
use super::entry::{Entry, Own, Refusal, Seen, Sum};
use super::keys::{Fingerprints, Keys, PublicKey};
use super::options::Options;
use super::writer::Writer;
use crate::clock::{Clock, Stopwatch, UnixMillis};
use crate::event::EventId;
use crate::store::disk::Disk;

/// Entries that wait: all single ones of a minute.
const MOST: usize = 8_192;
/// Bytes of bodies that wait to be hashed; what comes beyond that is recorded without its hash: to
/// compute it, who brings it would have to wait.
const MOST_HELD: usize = 16 << 20;
/// How often the writer looks.
const TICK: Duration = Duration::from_millis(250);

/// What takes the writer longer than this, hangs.
const HANGS: Duration = Duration::from_secs(5);

/// What of the refused did not fit.
const LOST: &str = "the queue of the audit trail was full";

/// Why the trail cannot be written from the start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its files do not allow it.
    #[error("the audit trail in {} cannot be opened: {source}", .path.display())]
    Open {
        /// Its directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no thread for it.
    #[error("the audit trail's thread cannot be started: {0}")]
    Thread(io::Error),
}

/// The trail of a gateway, as those see it who have something to record.
#[derive(Debug)]
pub struct Chain {
    clock: Clock,
    queue: Mutex<Queue>,
    bell: Condvar,
    fingerprints: OnceLock<Fingerprints>,
    /// The key that checkpoints are signed with.
    key: OnceLock<PublicKey>,
    /// Whether nothing is known that keeps records from the disk.
    pub(super) writable: AtomicBool,
    /// Whether events are refused while it is not.
    required: AtomicBool,
    /// Records that were written, and refusals that did not fit the queue.
    pub(super) written: AtomicU64,
    squeezed: AtomicU64,
    /// The number of the last record on stable storage; 0: the trail is not open yet.
    pub(super) durable: Arc<AtomicU64>,
    /// Since when the writer is at something, in milliseconds of `began`; 0: it waits for more.
    busy: AtomicU64,
    began: Stopwatch,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    held: usize,
    lost: BTreeMap<&'static str, Sum>,
    /// How many have asked that all before them be written, and for how many that is so.
    asked: u64,
    settled: u64,
    stop: bool,
    ended: bool,
    options: Option<Options>,
}

/// How a trail stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether nothing is known that keeps records from the disk, and the writer does not hang.
    pub writable: bool,
    /// Records that this process has written.
    pub written: u64,
    /// Refusals that did not fit the queue, and stand in the trail as numbers only.
    pub squeezed: u64,
}

/// A trail that is written. Dropping it ends that, without waiting for the end.
#[derive(Debug)]
pub struct Running(Arc<Chain>);

impl Running {
    /// The trail.
    pub fn chain(&self) -> &Arc<Chain> {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.queue.lock().stop = true;
        self.0.bell.notify_all();
    }
}

/// What the writer finds when it looks.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) entries: Vec<Entry>,
    pub(super) asked: u64,
    pub(super) stop: bool,
    pub(super) options: Option<Options>,
    pub(super) more: bool,
}

impl Chain {
    /// A trail that nobody writes yet: what comes waits.
    pub fn new(clock: Clock) -> Self {
        Self {
            began: clock.stopwatch(),
            busy: AtomicU64::new(0),
            clock,
            // Until it is started.
            queue: Mutex::new(Queue { ended: true, ..Queue::default() }),
            bell: Condvar::new(),
            fingerprints: OnceLock::new(),
            key: OnceLock::new(),
            writable: AtomicBool::new(true),
            required: AtomicBool::new(false),
            written: AtomicU64::new(0),
            squeezed: AtomicU64::new(0),
            durable: Arc::default(),
            thread: Mutex::default(),
        }
    }

    /// Begins to write to the store in this directory, on a thread of its own. Blocks until that is open,
    /// or not.
    ///
    /// # Errors
    /// [`StartError`], only where `required` is set: else the thread tries on, and tells.
    pub fn start(
        self: &Arc<Self>,
        disk: Arc<dyn Disk>,
        store: &Path,
        options: Options,
    ) -> Result<Running, StartError> {
        self.required.store(options.required, Ordering::Relaxed);
        let required = options.required;
        let mut writer = Writer::new(Arc::clone(self), disk, store, self.clock.clone(), options);
        match writer.open() {
            Ok(()) => {}
            Err(source) if required => {
                return Err(StartError::Open { path: writer.dir().to_owned(), source });
            }
            Err(error) => writer.tell_failure("opening", &error),
        }
        self.queue.lock().ended = false;
        let chain = Arc::clone(self);
        let run = move || {
            let _ended = Ended(chain);
            writer.run();
        };
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(run);
        *self.thread.lock() = Some(thread.map_err(StartError::Thread)?);
        Ok(Running(Arc::clone(self)))
    }

    /// From here on these options hold.
    pub fn reload(&self, options: Options) {
        self.required.store(options.required, Ordering::Relaxed);
        self.queue.lock().options = Some(options);
    }

    /// Whether events must not be taken because of it.
    pub fn blocks(&self) -> bool {
        self.required.load(Ordering::Relaxed) && !self.is_writable()
    }

    /// Whether nothing is known that keeps records from the disk, and the writer comes forward.
    fn is_writable(&self) -> bool {
        let since = self.busy.load(Ordering::Relaxed);
        let at_it = Duration::from_millis(self.passed().saturating_sub(since));
        let hangs = since > 0 && at_it > HANGS;
        self.writable.load(Ordering::Relaxed) && !hangs
    }

    /// The writer is at something: this is the newest sign of its life.
    pub(super) fn busy(&self) {
        self.busy.store(self.passed(), Ordering::Relaxed);
    }

    /// The writer waits for something to write.
    pub(super) fn idle(&self) {
        self.busy.store(0, Ordering::Relaxed);
    }

    /// Milliseconds since this was made, and one.
    fn passed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).map_or(u64::MAX, |ms| ms.saturating_add(1))
    }

    /// How it stands, for metrics.
    pub fn status(&self) -> Status {
        Status {
            writable: self.is_writable(),
            written: self.written.load(Ordering::Relaxed),
            squeezed: self.squeezed.load(Ordering::Relaxed),
        }
    }

    /// The number of the last record on stable storage, as it goes on; 0: the trail is not open yet.
    pub fn durable(&self) -> &Arc<AtomicU64> {
        &self.durable
    }

    /// Records a refusal under this id. Does not wait.
    pub(in super::super) fn refused(
        &self,
        refused: &Refused<'_>,
        details: Option<Value>,
        id: EventId,
        at: UnixMillis,
    ) {
        let credential = self.fingerprint(refused.credential);
        let mut refusal = Refusal::of(refused, id, at, credential);
        refusal.details = details;
        let held = refusal.body.held();
        if held > 0 && self.queue.lock().held + held > MOST_HELD {
            refusal.body = Seen::Nothing;
        }
        self.push(Entry::Refusal(Box::new(refusal)));
    }

    /// Records refusals that do not stand singly. Does not wait.
    pub fn sum(&self, sum: Sum) {
        self.push(Entry::Sum(sum));
    }

    /// Records what the gateway itself has done. Does not wait.
    pub fn own(&self, own: Own) {
        let now = self.clock.now();
        self.push(Entry::Own(own, new_id(now), now));
    }

    fn fingerprint(&self, values: &[HeaderValue]) -> Option<String> {
        let fingerprints = self.fingerprints.get().filter(|_| !values.is_empty())?;
        Some(fingerprints.of(values.iter()))
    }

    fn push(&self, entry: Entry) {
        let mut queue = self.queue.lock();
        if queue.entries.len() < MOST {
            if let Entry::Refusal(refusal) = &entry {
                queue.held += refusal.body.held();
            }
            queue.entries.push_back(entry);
            return;
        }
        let sum = match entry {
            Entry::Sum(sum) => {
                let client = "many".to_owned();
                Sum { detail: LOST, source: None, listener: None, client, who: None, ..sum }
            }
            Entry::Refusal(refusal) => lost(refusal.reason(), refusal.at),
            Entry::Own(own, _, at) => lost(own.reason, at),
        };
        self.squeezed.fetch_add(sum.count, Ordering::Relaxed);
        queue.lost.entry(sum.reason).and_modify(|lost| lost.add(&sum)).or_insert(sum);
    }

    /// Waits until all that was recorded before can be read, for as long as this at most. Blocks; whether
    /// it can.
    pub fn settle(&self, most: Duration) -> bool {
        let until = Instant::now() + most;
        let mut queue = self.queue.lock();
        queue.asked += 1;
        let mine = queue.asked;
        self.bell.notify_all();
        while queue.settled < mine && !queue.ended {
            if self.bell.wait_until(&mut queue, until).timed_out() {
                return queue.settled >= mine;
            }
        }
        queue.settled >= mine
    }

    /// Writes what waits, signs the end, and ends. Blocks. Whether all of it is on stable storage; so it
    /// is too where nothing was started.
    pub fn stop(&self) -> bool {
        let Some(thread) = self.thread.lock().take() else { return true };
        self.queue.lock().stop = true;
        self.bell.notify_all();
        thread.join().is_ok() && self.writable.load(Ordering::Relaxed)
    }

    /// The writer has its keys.
    pub(super) fn opened(&self, keys: &Keys) {
        // They do not change while the gateway runs.
        let _ = self.fingerprints.set(keys.fingerprints.clone());
        let _ = self.key.set(*keys.signer.public());
    }

    /// The key that checkpoints are signed with; `None`: the trail is not open yet.
    pub(super) fn key(&self) -> Option<&PublicKey> {
        self.key.get()
    }

    /// Waits for something to write, a moment at most, and takes at most so much. `failing`: those who
    /// wait for it have to wait on.
    pub(super) fn take(&self, most: usize, failing: bool) -> Taken {
        let mut queue = self.queue.lock();
        if !queue.stop && (failing || queue.asked == queue.settled) {
            let _ = self.bell.wait_for(&mut queue, TICK);
        }
        drop(queue);
        self.take_now(most)
    }

    /// The same without waiting.
    pub(super) fn take_now(&self, most: usize) -> Taken {
        let mut queue = self.queue.lock();
        let n = queue.entries.len().min(most);
        let mut entries: Vec<Entry> = queue.entries.drain(..n).collect();
        let held: usize = entries.iter().map(held).sum();
        queue.held = queue.held.saturating_sub(held);
        let more = !queue.entries.is_empty();
        if !more && most > 0 {
            entries.extend(std::mem::take(&mut queue.lost).into_values().map(Entry::Sum));
        }
        Taken { entries, asked: queue.asked, stop: queue.stop, options: queue.options.take(), more }
    }

    /// All that came before so many had asked can be read.
    pub(super) fn settled(&self, asked: u64) {
        self.queue.lock().settled = asked;
        self.bell.notify_all();
    }
}

fn held(entry: &Entry) -> usize {
    if let Entry::Refusal(refusal) = entry { refusal.body.held() } else { 0 }
}

fn lost(reason: &'static str, at: UnixMillis) -> Sum {
    let client = "many".to_owned();
    let (source, listener, who) = (None, None, None);
    Sum { reason, detail: LOST, source, listener, client, who, count: 1, first: at, last: at }
}

impl Sum {
    fn add(&mut self, more: &Self) {
        self.count = self.count.saturating_add(more.count);
        self.first = self.first.min(more.first);
        self.last = self.last.max(more.last);
    }
}

/// An id for a record of this moment.
pub(in super::super) fn new_id(at: UnixMillis) -> EventId {
    let mut random = [0; 10];
    fastrand::fill(&mut random);
    EventId::new(at, random)
}

/// Nobody is to wait for a writer that is gone, whatever has become of it.
struct Ended(Arc<Chain>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.queue.lock().ended = true;
        self.0.idle();
        if std::thread::panicking() {
            self.0.writable.store(false, Ordering::Relaxed);
        }
        self.0.bell.notify_all();
    }
}
