//! What the store's threads and its callers share.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::backlog::Backlog;
use super::blocking::Blocking;
use super::catalogue::Catalogue;
use super::dedupe::DedupeTable;
use super::disk::{Disk, OsDisk};
use super::journal::files::{ReadError, SegmentFiles};
use super::journal::segment::{self, Place, SegmentHeader};
use super::patience::Patience;
use super::presence::{Known, Signs};
use super::queue::Queue;
use super::shares::Shares;
use super::{AcceptError, Options};
use crate::metrics::Metrics;
use crate::secret::Key;

/// Sizes that operators need not know; tests choose their own.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// A segment that is longer than this is ended.
    pub segment_bytes: u32,
    /// Deliveries an upstream's lane holds in memory at most.
    pub window: usize,
    /// Bytes of fresh bodies that are kept in memory for their first delivery.
    pub hot_bytes: usize,
    /// Events that may be in hand: looked up, waiting for the writer or being written. One source
    /// may have half of them.
    pub queue_events: usize,
    /// Bytes of bodies that may be in hand.
    pub queue_bytes: usize,
    /// How long a delivery rests whose event cannot be read for the moment.
    pub unreadable_rest: Duration,
    /// How often retention is looked at; more often if segments end more often.
    pub purge_every: Duration,
    /// Whether there is an index on disk.
    pub index: bool,
    /// Whether there is a catalogue of events, by which operators' questions are answered.
    pub catalogue: bool,
    /// Where the journal's files are.
    pub disk: Arc<dyn Disk>,
    /// Who reads them for the async workers.
    pub blocking: Blocking,
    /// Gives an opening up that has not come to its end.
    pub cancel: Cancel,
}

/// Tells an opening that nobody wants it any more.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// From here on it is not wanted.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is not wanted.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            window: super::backlog::WINDOW,
            hot_bytes: 16 << 20,
            queue_events: 8192,
            queue_bytes: 64 << 20,
            unreadable_rest: Duration::from_secs(30),
            purge_every: Duration::from_secs(10),
            index: true,
            catalogue: true,
            disk: Arc::new(OsDisk),
            blocking: Blocking::default(),
            cancel: Cancel::default(),
        }
    }
}

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// How long events and their keys are kept.
    pub retention: Duration,
    /// Free bytes below which no event is taken.
    pub min_free: u64,
}

impl Keeping {
    fn of(options: &Options) -> Self {
        Self { retention: options.retention, min_free: options.min_free }
    }
}

const REFUSED: &str = "new events are refused: there is no room";

/// Whether events are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// They are.
    Open = 0,
    /// Free space is below the reserve; it opens again by itself.
    Low = 1,
    /// A write or sync has failed; final.
    Failed = 2,
    /// The store is being closed.
    Closing = 3,
    /// A write has found no room; it opens again by itself, once one has.
    NoRoom = 4,
}

/// What the store's threads and its callers share.
#[derive(Debug)]
pub struct Core {
    /// The store's directory.
    pub path: PathBuf,
    /// Where syncs and sizes are counted.
    pub metrics: Arc<Metrics>,
    /// What the operator need not know.
    pub tuning: Tuning,
    /// The journal's random number.
    pub journal: u64,
    /// What the index's fingerprints are made with; `None` where nothing is encrypted.
    pub index_key: Option<Key>,
    /// The journal's files, for reading.
    pub files: SegmentFiles,
    /// All segments, ascending, the head last.
    pub segments: Mutex<Vec<Segment>>,
    /// Where a key may have been stored.
    pub dedupe: DedupeTable,
    /// What still has to be delivered.
    pub backlog: Backlog,
    /// By which operators' questions are answered.
    pub catalogue: Catalogue,
    /// What the disk does not give.
    pub patience: Patience,
    /// What is in hand, source by source.
    pub shares: Shares,
    /// What waits for the writer.
    pub queue: Queue,
    /// When events could be taken.
    pub signs: Signs,
    /// Who acts for an operator has it: one at a time.
    pub acting: Mutex<()>,
    /// This segment and those before it are going: no act on what stands there is taken.
    going: AtomicU32,
    /// Whether all segments say that none is in clear.
    pub plain_forgotten: AtomicBool,
    /// The segment of before the start that could not be written again yet, for there was no room; 0: none.
    unwritten: AtomicU32,
    keeping: Mutex<Keeping>,
    state: AtomicU8,
}

/// A segment of the journal, and how old it is.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Its header.
    pub header: SegmentHeader,
    /// When it was begun, in time passed since the store was opened; `None` for one that was there
    /// already.
    pub begun: Option<Duration>,
}

/// What a [`Core`] is put together from.
#[derive(Debug)]
pub struct Parts {
    /// What the operator wants.
    pub options: Options,
    /// What the operator need not know.
    pub tuning: Tuning,
    /// The journal's random number.
    pub journal: u64,
    /// What the index's fingerprints are made with; `None` where nothing is encrypted.
    pub index_key: Option<Key>,
    /// The journal's files, for reading.
    pub files: SegmentFiles,
    /// All segments, ascending.
    pub segments: Vec<SegmentHeader>,
    /// The newest one, if there was no room to write it again.
    pub unwritten: Option<u32>,
    /// Where a key may have been stored.
    pub dedupe: DedupeTable,
    /// What still has to be delivered.
    pub backlog: Backlog,
    /// When events could be taken, as far as the journal tells.
    pub known: Known,
}

impl Segment {
    fn found(header: SegmentHeader) -> Self {
        Self { header, begun: None }
    }
}

impl Core {
    /// Puts together what recovery has found.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            options,
            tuning,
            journal,
            index_key,
            files,
            segments,
            unwritten,
            dedupe,
            backlog,
            known,
        } = parts;
        Self {
            keeping: Mutex::new(Keeping::of(&options)),
            catalogue: Catalogue::new(
                &options.path,
                index_key.as_ref(),
                journal,
                segments.last().map_or(0, |newest| newest.number),
            ),
            path: options.path,
            metrics: options.metrics,
            shares: Shares::new(tuning.queue_events, tuning.queue_bytes),
            patience: Patience::default(),
            queue: Queue::default(),
            signs: Signs::new(known),
            acting: Mutex::default(),
            going: AtomicU32::new(0),
            tuning,
            journal,
            index_key,
            files,
            segments: Mutex::new(segments.into_iter().map(Segment::found).collect()),
            dedupe,
            backlog,
            plain_forgotten: AtomicBool::new(false),
            unwritten: AtomicU32::new(unwritten.unwrap_or(0)),
            state: AtomicU8::new(State::Open as u8),
        }
    }

    /// Whether what was read in the segment may not be on stable storage: nobody may be told that it is.
    pub fn is_unwritten(&self, segment: u32) -> bool {
        self.unwritten.load(Ordering::Acquire) == segment
    }

    /// Writes again what could not be at the start, for there was no room.
    ///
    /// # Errors
    /// As the file system says.
    pub fn write_again(&self) -> io::Result<()> {
        let number = self.unwritten.load(Ordering::Acquire);
        if number > 0 {
            self.files.disk().rewrite(&segment::path(self.files.dir(), number))?;
            self.unwritten.store(0, Ordering::Release);
        }
        Ok(())
    }

    /// Whether what stood in the segment cannot be read, nor at any later try. A file that is not
    /// there may come back, unless retention has let it go.
    pub fn is_lost(&self, segment: u32, error: &ReadError) -> bool {
        match error {
            ReadError::Io(error) => self.is_gone(segment, error),
            error => error.is_final(),
        }
    }

    /// Whether the segment's file is not there because retention has let it go.
    pub fn is_gone(&self, segment: u32, error: &io::Error) -> bool {
        let is_known = |known: &Segment| known.header.number == segment;
        error.kind() == io::ErrorKind::NotFound && !self.segments.lock().iter().any(is_known)
    }

    /// Whether retention is letting the segment go, or has.
    pub fn is_going(&self, segment: u32) -> bool {
        segment <= self.going.load(Ordering::Acquire)
    }

    /// From here on no act is taken on what stands in this segment or before it. Set by the
    /// writer, between whose turns no act is decided and not taken over, and taken back by retention.
    pub fn set_going(&self, segment: u32) {
        self.going.store(segment, Ordering::Release);
    }

    /// Whether the event at this place counts as lost after it could not be read again: it cannot be at
    /// any later try, or the disk has not given it for minutes, although it can be written. Blocks.
    pub fn gives_up(&self, place: Place, error: &ReadError) -> bool {
        let now = self.backlog.timeline.now();
        let is_bad = || error.is_not_given() && self.patience.failed(place, now);
        self.is_lost(place.segment, error) || (is_bad() && self.queue.sync())
    }

    /// The same for somebody who only looks: what has gone with its segment is for them to look for anew.
    pub fn is_withheld(&self, place: Place, error: &ReadError) -> bool {
        error.is_final() || (error.is_not_given() && self.gives_up(place, error))
    }

    /// How much is kept, and for how long.
    pub fn keeping(&self) -> Keeping {
        *self.keeping.lock()
    }

    /// From here on `options` say how much is kept, and for how long.
    pub fn reconfigure(&self, options: &Options) {
        *self.keeping.lock() = Keeping::of(options);
    }

    /// Whether events are taken.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Open,
            1 => State::Low,
            3 => State::Closing,
            4 => State::NoRoom,
            _ => State::Failed,
        }
    }

    /// Whether events are taken, as an answer to one.
    pub fn writable(&self) -> Result<(), AcceptError> {
        match self.state() {
            State::Open => Ok(()),
            State::Low => Err(AcceptError::Low),
            State::NoRoom => Err(AcceptError::NoRoom),
            State::Failed => Err(AcceptError::Failed),
            State::Closing => Err(AcceptError::Closing),
        }
    }

    /// No event is taken any more until a restart.
    pub fn fail(&self) {
        self.state.store(State::Failed as u8, Ordering::Release);
    }

    /// No event is taken any more; a failure stays one.
    pub fn begin_close(&self) {
        // At once, whatever it is: the writer may change it meanwhile.
        let failed = State::Failed as u8;
        let close = |state| (state != failed).then_some(State::Closing as u8);
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, close);
    }

    /// The last segment that is in clear, from before the encryption; 0: there is none.
    pub fn plain_upto(&self) -> u32 {
        let bound = self.files.plain_upto();
        let segments = self.segments.lock();
        let headers = segments.iter().map(|segment| segment.header);
        let plain = headers.filter(|header| !header.encrypted && header.number <= bound);
        plain.map(|header| header.number).max().unwrap_or(0)
    }

    /// Compares the free space with the reserve and, after a write has found no room, with what is
    /// `needed` for the next. Not to be asked before a write has found some again: a quota may be used up,
    /// however much is free.
    pub fn look_at_space(&self, needed: u64) {
        let free = match self.files.disk().free_space(self.files.dir()) {
            Ok(free) => free,
            Err(error) => return self.space_unknown(&error),
        };
        let Keeping { min_free, .. } = self.keeping();
        if self.state() == State::NoRoom && free < needed {
            return;
        }
        if free < min_free {
            self.change(State::NoRoom, State::Low);
            if self.change(State::Open, State::Low) {
                let (path, error) = (self.path.display(), AcceptError::Low);
                tracing::error!(target: "hookward::store", %path, free, min_free, %error, "{REFUSED}");
            }
        } else if self.change(State::Low, State::Open) || self.change(State::NoRoom, State::Open) {
            let path = self.path.display();
            tracing::info!(target: "hookward::store", %path, free, "there is room again");
        }
    }

    /// A write has found no room: no event is taken until one has.
    pub fn no_room(&self, error: &io::Error) {
        if self.change(State::Open, State::NoRoom) || self.change(State::Low, State::NoRoom) {
            let path = self.path.display();
            tracing::error!(target: "hookward::store", %path, %error, "{REFUSED}");
        }
    }

    /// How long ago the segment was begun, as far as is certain: by what has really passed since the
    /// store was opened, and by the wall clock only for the time before. A clock that is set ahead
    /// makes nothing old.
    pub fn age(&self, segment: &Segment) -> Duration {
        let Segment { header, begun } = segment;
        let timeline = &self.backlog.timeline;
        let passed = timeline.passed();
        let certain = match begun {
            Some(begun) => passed.saturating_sub(*begun),
            None => timeline.age_at_start(header.created_at).saturating_add(passed),
        };
        // A date that is still to come says that a clock was, or is, wrong.
        let wall = timeline.wall();
        if header.created_at > wall { certain } else { certain.min(wall.since(header.created_at)) }
    }

    /// The age at which a segment is ended, so that retention can let it go in time.
    pub fn segment_age(&self) -> Duration {
        (self.keeping().retention / 30).max(Duration::from_secs(1))
    }

    fn space_unknown(&self, error: &io::Error) {
        tracing::warn!(target: "hookward::store", %error, "free space cannot be told");
    }

    fn change(&self, from: State, to: State) -> bool {
        self.state
            .compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}
