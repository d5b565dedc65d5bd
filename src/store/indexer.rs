//! The indexer: a thread of its own that writes to the index what the writer has made durable, and
//! takes out what retention has let go. Never on an ack's road: when it cannot keep up, or sled fails,
//! the index is given up until the next start reads the journal again.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::catalogue::Cataloguer;
use super::core::Core;
use super::index::{self, BLOCK, Index, IndexEntry, IndexError, Progress};
use super::journal::segment::Place;
use super::retention::Keeper;
use crate::event::Sequence;

/// Messages that may wait for the indexer: what is durable but not indexed is bounded by it.
const QUEUE: usize = 1024;

#[derive(Debug)]
enum Message {
    Add(Vec<IndexEntry>),
    ForgetBefore(Sequence),
    Close(Option<(Place, Sequence)>),
}

/// The writer's end.
#[derive(Debug)]
pub struct IndexFeed {
    sender: SyncSender<Message>,
    /// Too few for a row of the index: its thread is not woken for each ack.
    pending: Vec<IndexEntry>,
    thread: Option<JoinHandle<()>>,
    given_up: bool,
    keeper: Option<Keeper>,
    catalogue: Option<Cataloguer>,
}

/// Retention's end.
#[derive(Debug)]
pub struct Forgetting(SyncSender<Message>);

impl Forgetting {
    /// The frames before `first` are gone.
    pub fn forget_before(&self, first: Sequence) {
        // What the index does not forget now it does not take over at the next start.
        drop(self.0.send(Message::ForgetBefore(first)));
    }
}

impl IndexFeed {
    /// Starts the thread, the one that looks at retention, and the one that keeps the catalogue.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(core: Arc<Core>, index: Option<Index>) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let given_up = index.is_none();
        let thread = std::thread::Builder::new().name("indexer".to_owned()).spawn({
            let journal = core.journal;
            move || Indexer { journal, index }.run(&receiver)
        })?;
        let catalogue = core.tuning.catalogue.then(|| Cataloguer::start(Arc::clone(&core)));
        let catalogue = catalogue.transpose()?;
        let keeper = Some(Keeper::start(core, Forgetting(sender.clone()))?);
        let (pending, thread) = (Vec::new(), Some(thread));
        Ok(Self { sender, pending, thread, given_up, keeper, catalogue })
    }

    /// Without an index, and nobody who looks at retention.
    #[cfg(test)]
    pub fn idle() -> Self {
        let (sender, _) = sync_channel(QUEUE);
        let (pending, given_up) = (Vec::new(), true);
        Self { sender, pending, thread: None, given_up, keeper: None, catalogue: None }
    }

    /// Hands over events that are durable.
    pub fn add(&mut self, entries: impl IntoIterator<Item = IndexEntry>) {
        if self.given_up {
            return;
        }
        self.pending.extend(entries);
        if self.pending.len() >= BLOCK {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        match self.sender.try_send(Message::Add(std::mem::take(&mut self.pending))) {
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

    /// Ends the threads. `upto`: where the journal ends, if all of it is known to be good.
    pub fn close(&mut self, upto: Option<(Place, Sequence)>) {
        if let Some(keeper) = &mut self.keeper {
            keeper.stop();
        }
        if let Some(catalogue) = &mut self.catalogue {
            catalogue.stop(upto.is_some());
        }
        if upto.is_some() && !self.given_up {
            drop(self.sender.send(Message::Add(std::mem::take(&mut self.pending))));
        }
        let upto = upto.filter(|_| !self.given_up);
        drop(self.sender.send(Message::Close(upto)));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

struct Indexer {
    journal: u64,
    index: Option<Index>,
}

impl Indexer {
    fn run(mut self, receiver: &Receiver<Message>) {
        while let Ok(message) = receiver.recv() {
            match message {
                Message::Add(entries) => self.add(entries),
                Message::ForgetBefore(first) => self.forget_before(first),
                Message::Close(upto) => return self.close(upto),
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

    fn forget_before(&mut self, first: Sequence) {
        let result = match &mut self.index {
            Some(index) => index.forget_before(first),
            None => Ok(()),
        };
        self.check(result);
    }

    fn close(self, upto: Option<(Place, Sequence)>) {
        let (Some(index), Some((upto, last))) = (self.index, upto) else { return };
        let journal = self.journal;
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
