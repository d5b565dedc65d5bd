//! The thread that writes the trail: appends what waits, syncs it within a second, signs a checkpoint
//! each minute in which something was new, and begins and lets go of segments.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::bytes::{self, Kind, Position, SEGMENT_LEN, SegmentHeader};
use super::checkpoint::{Checkpoint, Noted};
use super::entry::Entry;
use super::intake;
use super::keys::Keys;
use super::open;
use super::options::Options;
use super::queue::{Chain, new_id};
use super::record::Record;
use super::retain;
use crate::clock::{Clock, Stopwatch, UnixMillis};
use crate::event::Sequence;
use crate::secret;
use crate::store::disk::{AppendFile, Disk};

/// Entries that are written with one write.
const AT_ONCE: usize = 1_024;
/// Bytes that wait for a disk that does not take them; what comes behind waits in the queue.
const CARRIED: usize = 4 << 20;
/// How long what is written may not be on stable storage.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How often a checkpoint is signed, if something is new.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked for what is to go.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// How often an opening is tried again.
const OPEN_EVERY: Duration = Duration::from_secs(5);
/// A segment is ended after this part of the retention, so that it can go.
const PARTS: u32 = 60;

/// The segment that is written to.
struct Head {
    file: Box<dyn AppendFile>,
    number: u32,
    /// Bytes of whole frames.
    len: u64,
    begun: Stopwatch,
    /// Whether an append has failed: there may be part of it.
    torn: bool,
    /// Whether something is not on stable storage yet.
    dirty: bool,
    /// Whether a sync has failed: another one would say nothing.
    unsure: bool,
}

/// What there is once the trail is open.
struct Opened {
    keys: Keys,
    trail: u64,
    head: Head,
}

/// Writes the trail.
pub(super) struct Writer {
    chain: Arc<Chain>,
    pub(super) disk: Arc<dyn Disk>,
    dir: PathBuf,
    pub(super) clock: Clock,
    pub(super) options: Options,
    opened: Option<Opened>,
    /// What is to be appended, and where the chain is behind it.
    unwritten: Vec<u8>,
    position: Position,
    /// Bytes of `acts.jsonl` that are taken in with that.
    acts: u64,
    /// The last record that is no checkpoint, and the last that a checkpoint is about.
    newest: Sequence,
    vouched: Sequence,
    since_sync: Stopwatch,
    since_checkpoint: Stopwatch,
    /// `None`: not yet.
    since_sweep: Option<Stopwatch>,
    since_open: Option<Stopwatch>,
    /// When this process began, by the wall clock and by one that never steps.
    started: (UnixMillis, Stopwatch),
    failing: bool,
}

/// An act with how far `acts.jsonl` is in the trail with it.
#[derive(Serialize)]
struct Taken<'a> {
    #[serde(flatten)]
    record: &'a Record,
    acts: u64,
}

/// What went wrong, in words.
type Failure = (&'static str, io::Error);

impl Writer {
    pub(super) fn new(
        chain: Arc<Chain>,
        disk: Arc<dyn Disk>,
        store: &Path,
        clock: Clock,
        options: Options,
    ) -> Self {
        let watch = || clock.stopwatch();
        Self {
            chain,
            disk,
            dir: store.join(bytes::DIR),
            opened: None,
            unwritten: Vec::new(),
            position: Position::START,
            acts: 0,
            newest: Sequence(0),
            vouched: Sequence(0),
            since_sync: watch(),
            since_checkpoint: watch(),
            since_sweep: None,
            since_open: None,
            started: (clock.now(), watch()),
            failing: false,
            clock,
            options,
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> Option<&Keys> {
        self.opened.as_ref().map(|opened| &opened.keys)
    }

    /// The number of the segment that is written to.
    pub(super) fn head_number(&self) -> u32 {
        self.opened.as_ref().map_or(0, |opened| opened.head.number)
    }

    /// The time, as far as it has passed while this process runs: no step of the clock makes it later.
    pub(super) fn steady_now(&self) -> UnixMillis {
        let (began, passed) = (self.started.0, self.started.1.elapsed());
        self.clock.now().min(began.after(passed))
    }

    /// Writes until it is told to stop. Never gives up on a disk before.
    pub(super) fn run(&mut self) {
        loop {
            let ready = self.opened.is_some() || self.try_open();
            let full = self.unwritten.len() > CARRIED;
            let taken = self.chain.take(if ready && !full { AT_ONCE } else { 0 }, self.failing);
            if let Some(options) = taken.options {
                self.options = options;
            }
            let last = taken.stop && !taken.more;
            let done = self.step(taken.entries, last);
            match done {
                Ok(()) if self.opened.is_some() => {
                    self.recovered();
                    if !taken.more {
                        self.chain.settled(taken.asked);
                    }
                }
                Ok(()) => {}
                Err((what, error)) => self.tell_failure(what, &error),
            }
            if taken.stop && (last || self.failing) {
                return;
            }
        }
    }

    fn try_open(&mut self) -> bool {
        if self.since_open.as_ref().is_some_and(|since| since.elapsed() < OPEN_EVERY) {
            return false;
        }
        match self.open() {
            Ok(()) => true,
            Err(error) => {
                self.tell_failure("opening", &error);
                false
            }
        }
    }

    /// Goes on where the trail ends, in a segment of its own.
    pub(super) fn open(&mut self) -> io::Result<()> {
        self.since_open = Some(self.clock.stopwatch());
        self.disk.create_dir(&self.dir)?;
        let begun = !bytes::segments(&*self.disk, &self.dir)?.is_empty();
        let keys = Keys::load(&*self.disk, &self.dir, begun)?;
        let found = open::find(&*self.disk, &self.dir, keys.signer.public())?;
        let trail = match found.trail {
            Some(trail) => trail,
            None => {
                let mut bytes = [0; 8];
                secret::random(&mut bytes)?;
                u64::from_le_bytes(bytes)
            }
        };
        self.position = found.position;
        self.acts = found.acts;
        let head = self.begin(&keys, trail, found.number, found.torn)?;
        self.chain.opened(&keys.fingerprints);
        self.opened = Some(Opened { keys, trail, head });
        Ok(())
    }

    /// Makes the segment behind number `last`. It opens with a checkpoint, and is on stable storage.
    fn begin(&mut self, keys: &Keys, trail: u64, last: u32, torn: u64) -> io::Result<Head> {
        let number = last.checked_add(1).ok_or(io::ErrorKind::StorageFull)?;
        let now = self.clock.now();
        let follows = self.position;
        let header = SegmentHeader { number, trail, created_at: now, follows };
        let checkpoint = Checkpoint::sign(&keys.signer, trail, follows, now);
        let noted = Noted { checkpoint, acts: self.acts, torn, stop: false };
        let (mut position, mut start) = (follows, header.encode().to_vec());
        position.push(Kind::Checkpoint, &serde_json::to_vec(&noted)?, &mut start);
        let path = bytes::path(&self.dir, number);
        let mut file = self.disk.create(&path)?;
        let written = file
            .append(&start)
            .and_then(|()| file.sync())
            .and_then(|()| self.disk.sync_dir(&self.dir));
        if let Err(error) = written {
            // What is left of it, the next attempt copes with.
            let _ = self.disk.remove(&path).and_then(|()| self.disk.sync_dir(&self.dir));
            return Err(error);
        }
        self.position = position;
        self.chain.durable.store(position.sequence.0, Ordering::Release);
        (self.newest, self.vouched) = (position.sequence, position.sequence);
        self.since_checkpoint = self.clock.stopwatch();
        self.options.publish(&noted.checkpoint);
        let begun = self.clock.stopwatch();
        let len = start.len() as u64;
        Ok(Head { file, number, len, begun, torn: false, dirty: false, unsure: false })
    }

    /// Writes these, and whatever else is due.
    pub(super) fn step(&mut self, entries: Vec<Entry>, last: bool) -> Result<(), Failure> {
        if self.opened.is_none() {
            return Ok(());
        }
        let now = self.clock.now();
        for entry in entries {
            self.add(&entry.into_record(new_id(now), now));
        }
        self.append()?;
        self.take_acts(now).map_err(|error| ("reading acts.jsonl", error))?;
        self.append()?;
        let due = self.since_checkpoint.elapsed() >= CHECKPOINT_EVERY && self.newest > self.vouched;
        if due || last {
            self.checkpoint(last)?;
        } else if self.since_sync.elapsed() >= SYNC_EVERY {
            self.sync()?;
        }
        if !last && self.is_full() {
            self.rotate()?;
        }
        let sweeps = self.since_sweep.as_ref().is_none_or(|since| since.elapsed() >= SWEEP_EVERY);
        if sweeps && !last {
            self.since_sweep = Some(self.clock.stopwatch());
            retain::sweep(self)?;
        }
        Ok(())
    }

    /// Adds a record to what is to be appended.
    pub(super) fn add(&mut self, record: &impl Serialize) {
        self.add_as(Kind::Record, record);
    }

    pub(super) fn add_as(&mut self, kind: Kind, record: &impl Serialize) {
        match serde_json::to_vec(record) {
            Ok(body) => {
                self.position.push(kind, &body, &mut self.unwritten);
                self.newest = self.position.sequence;
            }
            Err(error) => {
                tracing::error!(target: "hookward::audit", %error, "a record cannot be written down");
            }
        }
    }

    /// Takes in what operators have done.
    fn take_acts(&mut self, now: UnixMillis) -> io::Result<()> {
        loop {
            let file = self.dir.join(super::super::act::FILE);
            let lines = intake::lines(&*self.disk, &file, self.acts, now, || new_id(now))?;
            self.acts = lines.upto;
            for record in &lines.records {
                self.add(&Taken { record, acts: lines.upto });
            }
            if !lines.more || self.unwritten.len() > CARRIED {
                return Ok(());
            }
        }
    }

    pub(super) fn append(&mut self) -> Result<(), Failure> {
        let Some(Opened { head, .. }) = &mut self.opened else { return Ok(()) };
        if head.torn {
            let path = bytes::path(&self.dir, head.number);
            self.disk
                .truncate(&path, head.len)
                .map_err(|error| ("cutting off a torn write", error))?;
            head.torn = false;
        }
        if self.unwritten.is_empty() {
            return Ok(());
        }
        head.dirty = true;
        if let Err(error) = head.file.append(&self.unwritten) {
            head.torn = true;
            return Err(("writing", error));
        }
        head.len += self.unwritten.len() as u64;
        self.unwritten.clear();
        self.unwritten.shrink_to(CARRIED);
        Ok(())
    }

    /// Makes durable what was appended.
    pub(super) fn sync(&mut self) -> Result<(), Failure> {
        self.since_sync = self.clock.stopwatch();
        let Some(Opened { head, .. }) = &mut self.opened else { return Ok(()) };
        if !head.dirty && !head.unsure {
            return Ok(());
        }
        let synced = if head.unsure {
            // The system has marked as clean what it could not write.
            self.disk.rewrite(&bytes::path(&self.dir, head.number))
        } else {
            head.file.sync()
        };
        head.unsure = synced.is_err();
        head.dirty = synced.is_err();
        if synced.is_ok() {
            self.chain.durable.store(self.position.sequence.0, Ordering::Release);
        }
        synced.map_err(|error| ("syncing", error))
    }

    /// Signs how far the trail goes. It is on stable storage then, and so is the signature.
    pub(super) fn checkpoint(&mut self, stop: bool) -> Result<(), Failure> {
        let Some(Opened { keys, trail, .. }) = &self.opened else { return Ok(()) };
        let checkpoint = Checkpoint::sign(&keys.signer, *trail, self.position, self.clock.now());
        let noted = Noted { checkpoint, acts: self.acts, torn: 0, stop };
        self.add_as(Kind::Checkpoint, &noted);
        self.append()?;
        self.sync()?;
        self.vouched = self.position.sequence;
        self.newest = self.vouched;
        self.since_checkpoint = self.clock.stopwatch();
        self.options.publish(&noted.checkpoint);
        Ok(())
    }

    fn is_full(&self) -> bool {
        let Some(Opened { head, .. }) = &self.opened else { return false };
        let old = head.begun.elapsed() > self.options.retention.keep / PARTS;
        head.len > SEGMENT_LEN || (old && head.len > 4096)
    }

    /// Goes on in another segment.
    fn rotate(&mut self) -> Result<(), Failure> {
        self.sync()?;
        let Some(opened) = self.opened.take() else { return Ok(()) };
        let Opened { keys, trail, head } = opened;
        let next = self.begin(&keys, trail, head.number, 0);
        let (head, result) = match next {
            Ok(next) => (next, Ok(())),
            Err(error) => (head, Err(("beginning a segment", error))),
        };
        self.opened = Some(Opened { keys, trail, head });
        result?;
        retain::sweep(self)
    }

    /// Something keeps the trail from the disk. It is told once, until it has passed.
    pub(super) fn tell_failure(&mut self, what: &str, error: &io::Error) {
        self.chain.writable.store(false, Ordering::Relaxed);
        if !std::mem::replace(&mut self.failing, true) {
            let required = self.options.required;
            tracing::error!(
                target: "hookward::audit",
                what, %error, required, dir = %self.dir.display(),
                "the audit trail cannot be written; it is tried again"
            );
        }
    }

    fn recovered(&mut self) {
        self.chain.writable.store(true, Ordering::Relaxed);
        if std::mem::replace(&mut self.failing, false) {
            tracing::info!(target: "hookward::audit", "the audit trail is written again");
        }
    }
}
