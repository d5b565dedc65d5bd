//! The catalogue of events: by what operators' questions are answered without reading the journal. For
//! each of its segments there is a file with a row for every event and one with a row for every attempt
//! and act, and in memory a little for every thousand rows and for every event that is not simply
//! delivered. A row says where to look and never what is there: everything that anyone is told is read
//! from the journal. So the catalogue is never the truth, and whatever is wrong with its files costs time.
//!
//! A thread of its own makes the rows, from what the writer has written. A question takes in first what
//! the thread has not got to yet, so that who has had an answer finds it in the next listing.

mod deliveries;
mod file;
mod history;
mod keep;
mod listing;
mod making;
mod names;
mod question;
mod rows;
mod scan;
mod states;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use self::file::Table;
pub use self::keep::End;
use self::keep::{KeepError, Keeping};
use self::names::Names;
use self::rows::{Block, Row, What};
use self::states::States;
use super::Store;
use super::core::Core;
use super::crypt::Digests;
use super::journal::segment::Place;
use super::query::{Cursor, Filter, Listed, Moment, Page, QueryError};
use crate::event::{EventId, Sequence};
use crate::secret::Key;

/// How long rows may wait to be made together, if nobody asks.
const GATHER: Duration = Duration::from_millis(100);
/// How soon a catalogue that could not be kept is begun again.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// How soon one is that could not be kept again and again, as on a full disk.
const TRY_SELDOM: Duration = Duration::from_secs(60);
/// How often is looked, while that lasts, whether the time has come: a clock that a test moves rings no bell.
const LOOK: Duration = Duration::from_millis(100);

/// The catalogue, as far as it is made.
#[derive(Debug)]
pub struct Catalogue {
    dir: PathBuf,
    names: Names,
    /// The newest segment that was there when the store was opened.
    found: u32,
    /// How far the journal reaches. Held for moments only: the writer takes it.
    ends: Mutex<Ends>,
    bell: Condvar,
    /// Who makes rows: held while files are read and written.
    keeping: Mutex<Keeping>,
    /// What questions are answered from. Never held over I/O.
    shown: RwLock<Shown>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    head: Option<End>,
    /// Whether that is more than was taken in.
    news: bool,
    /// Whether somebody does not want to wait for the next try.
    asked: bool,
    /// When it is tried again, since the store was opened; `None`: it does not rest.
    rests_until: Option<Duration>,
    closing: bool,
}

/// What questions are answered from.
#[derive(Debug, Default)]
struct Shown {
    ready: bool,
    /// Segments that are in it, and all of them, until it is ready.
    done: usize,
    all: usize,
    /// Ascending.
    segments: Vec<Arc<Segment>>,
    /// Shared with the questions that are being answered, for each of which it stands still.
    states: Arc<States>,
}

/// What stands in one segment of the journal.
#[derive(Clone, Debug)]
struct Segment {
    number: u32,
    events: Table,
    deeds: Table,
}

impl Segment {
    /// Shows `each` the rows of the blocks that `wanted` wants, in order.
    fn each<R: Row>(
        &self,
        core: &Core,
        wanted: impl Fn(&Block) -> bool,
        mut each: impl FnMut(R) -> Result<(), KeepError>,
    ) -> Result<(), KeepError> {
        let table = match R::WHAT {
            What::Events => &self.events,
            What::Deeds => &self.deeds,
        };
        if !table.blocks.iter().any(&wanted) {
            return Ok(());
        }
        let path = file::path(&core.catalogue.dir, self.number, R::WHAT);
        let file = core.files.disk().open(&path)?;
        let mut bytes = Vec::new();
        for (at, _) in table.blocks.iter().enumerate().filter(|(_, block)| wanted(block)) {
            table.read::<R>(&*file, at, &mut bytes)?;
            bytes.chunks_exact(R::LEN).map(R::take).try_for_each(&mut each)?;
        }
        Ok(())
    }
}

impl Catalogue {
    /// An empty one, for the store in this directory. `found`: the newest segment that is there.
    pub fn new(store: &Path, index_key: Option<&Key>, journal: u64, found: u32) -> Self {
        Self {
            dir: store.join("catalogue"),
            names: Names::new(Digests::new(index_key, journal)),
            found,
            ends: Mutex::default(),
            bell: Condvar::new(),
            keeping: Mutex::default(),
            shown: RwLock::default(),
        }
    }

    /// The journal reaches so far.
    pub fn publish(&self, end: End) {
        let mut ends = self.ends.lock();
        ends.head = Some(end);
        let first = !std::mem::replace(&mut ends.news, true);
        drop(ends);
        if first {
            self.bell.notify_one();
        }
    }

    /// There is something to do, at once.
    pub fn wake(&self) {
        let mut ends = self.ends.lock();
        (ends.news, ends.asked) = (true, true);
        drop(ends);
        self.bell.notify_one();
    }

    /// How far the journal reaches, as far as the writer has said.
    fn head(&self) -> Option<End> {
        self.ends.lock().head
    }

    fn keep(&self, core: &Core) {
        let mut rest = TRY_AGAIN;
        loop {
            match self.load(core) {
                Ok(()) => {
                    while self.has_news() && self.pause(GATHER) {
                        let mut keeping = self.keeping.lock();
                        if !self.catch_up(core, &mut keeping) {
                            break;
                        }
                        rest = TRY_AGAIN;
                    }
                }
                Err(KeepError::Closing) => return,
                Err(error) => {
                    tracing::warn!(target: "hookward::store", %error, "the catalogue of events cannot be made now; it is tried again");
                }
            }
            if !self.rest(core, rest) {
                return;
            }
            rest = (rest * 2).min(TRY_SELDOM);
        }
    }

    /// Waits until there is something to do; `false`: not any more.
    fn has_news(&self) -> bool {
        let mut ends = self.ends.lock();
        while !ends.news && !ends.closing {
            self.bell.wait(&mut ends);
        }
        !ends.closing
    }

    /// Waits until it is to be tried again; `false`: the store is closing. Events that arrive meanwhile do
    /// not make it any sooner: a try reads all there is, on a disk that has just failed.
    fn rest(&self, core: &Core, rest: Duration) -> bool {
        let timeline = &core.backlog.timeline;
        let until = timeline.passed().saturating_add(rest);
        let mut ends = self.ends.lock();
        (ends.asked, ends.rests_until) = (false, Some(until));
        loop {
            let left = until.saturating_sub(timeline.passed());
            if ends.closing || ends.asked || left.is_zero() {
                ends.rests_until = None;
                return !ends.closing;
            }
            self.bell.wait_for(&mut ends, left.min(LOOK));
        }
    }

    /// When it is tried again, since the store was opened; `None`: it does not rest.
    #[cfg(test)]
    pub fn rests_until(&self) -> Option<Duration> {
        self.ends.lock().rests_until
    }

    /// Waits a while; `false`: the store is closing.
    fn pause(&self, pause: Duration) -> bool {
        let mut ends = self.ends.lock();
        if !ends.closing {
            self.bell.wait_for(&mut ends, pause);
        }
        !ends.closing
    }
}

/// The thread that keeps the catalogue.
#[derive(Debug)]
pub struct Cataloguer {
    core: Arc<Core>,
    thread: Option<JoinHandle<()>>,
}

impl Cataloguer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(core: Arc<Core>) -> io::Result<Self> {
        let thread = std::thread::Builder::new().name("catalogue".to_owned()).spawn({
            let core = Arc::clone(&core);
            move || core.catalogue.keep(&core)
        })?;
        Ok(Self { core, thread: Some(thread) })
    }

    /// Ends the thread. `clean`: all that the journal has is known to be good.
    pub fn stop(&mut self, clean: bool) {
        let catalogue = &self.core.catalogue;
        catalogue.ends.lock().closing = true;
        catalogue.bell.notify_one();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
            catalogue.finish(&self.core, clean);
        }
    }
}

/// Where in the journal something is told of this event, in its order: its frames, attempts and acts. `None`:
/// the catalogue cannot say now, or may not know the last of it. Blocks.
pub fn places_of(core: &Core, event: Sequence) -> Option<Vec<Place>> {
    question::ask(core, |question| question.places_of(event.0)).ok().flatten()
}

impl Store {
    /// At most `limit` events that the filter matches, newest first, from the cursor on; fewer where
    /// their bodies are long. Blocks.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn list(
        &self,
        filter: &Filter,
        from: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, QueryError> {
        question::ask(&self.core, |question| question.page(filter, from, limit))
    }

    /// The numbers of all events that the filter matches, oldest first. Blocks.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn matching(&self, filter: &Filter) -> Result<Vec<Sequence>, QueryError> {
        question::ask(&self.core, |question| question.matching(filter))
    }

    /// The event with this id, and all that has happened to it. Blocks.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn history_of(&self, id: EventId) -> Result<Option<(Listed, Vec<Moment>)>, QueryError> {
        question::ask(&self.core, |question| question.history_of(id))
    }
}
