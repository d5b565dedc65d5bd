//! The indexer: a thread of its own that writes to the index what the writer has made durable, and
//! lets go of segments that retention no longer covers. Never on an ack's road: when it cannot keep
//! up, or sled fails, the index is given up until the next start reads the journal again.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::core::Core;
use super::index::{self, Index, IndexEntry, IndexError, Progress};
use super::journal::segment::Place;
use super::retention;
use crate::event::Sequence;

/// Batches that may wait for the indexer: what is durable but not indexed is bounded by it.
const QUEUE: usize = 1024;
/// How often retention is looked at; more often if segments end more often.
const PURGE_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
enum Message {
    Add(Vec<IndexEntry>),
    Close(Option<(Place, Sequence)>),
}

/// The writer's end.
#[derive(Debug)]
pub struct IndexFeed {
    sender: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
    given_up: bool,
}

impl IndexFeed {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(core: Arc<Core>, index: Option<Index>) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let given_up = index.is_none();
        let thread = std::thread::Builder::new()
            .name("indexer".to_owned())
            .spawn(move || Indexer { core, index }.run(&receiver))?;
        Ok(Self { sender, thread: Some(thread), given_up })
    }

    /// Hands over events that are durable.
    pub fn add(&mut self, entries: Vec<IndexEntry>) {
        if self.given_up {
            return;
        }
        match self.sender.try_send(Message::Add(entries)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.given_up = true;
                tracing::warn!(
                    target: "hookward::store",
                    "the index does not keep up; the next start reads the journal instead"
                );
            }
        }
    }

    /// Ends the thread. `upto`: where the journal ends, if all of it is known to be good.
    pub fn close(&mut self, upto: Option<(Place, Sequence)>) {
        let upto = upto.filter(|_| !self.given_up);
        drop(self.sender.send(Message::Close(upto)));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

struct Indexer {
    core: Arc<Core>,
    index: Option<Index>,
}

impl Indexer {
    fn run(mut self, receiver: &Receiver<Message>) {
        let mut purged = std::time::Instant::now();
        loop {
            let every = self.core.segment_age().min(PURGE_EVERY);
            match receiver.recv_timeout(every) {
                Ok(Message::Add(entries)) => self.add(entries),
                Ok(Message::Close(upto)) => return self.close(upto),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if purged.elapsed() >= every {
                purged = std::time::Instant::now();
                self.purge();
            }
        }
    }

    fn add(&mut self, entries: Vec<IndexEntry>) {
        let result = match &mut self.index {
            Some(index) => entries.into_iter().try_for_each(|entry| index.add(entry)),
            None => Ok(()),
        };
        self.check(result);
    }

    fn purge(&mut self) {
        let Some(first) = retention::purge(&self.core) else { return };
        let result = match &mut self.index {
            Some(index) => index.forget_before(first),
            None => Ok(()),
        };
        self.check(result);
    }

    fn close(self, upto: Option<(Place, Sequence)>) {
        let (Some(index), Some((upto, last))) = (self.index, upto) else { return };
        let journal = self.core.journal;
        if let Err(error) = index.close(Progress { journal, upto, last }) {
            tracing::warn!(target: "hookward::store", %error, "closing the index failed");
        }
    }

    fn check(&mut self, result: Result<(), IndexError>) {
        if let Err(error) = result {
            self.index.take().into_iter().for_each(index::abandon);
            tracing::warn!(
                target: "hookward::store",
                %error,
                "the index failed; the next start reads the journal instead"
            );
        }
    }
}
