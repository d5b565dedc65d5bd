//! One life of the process: the store with its writer and its indexer, which are stepped here
//! instead of having threads, and the workers.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::app;
use super::plan::Defect;
use super::tasks::Kind;
use super::watched::interleaved;
use super::world::World;
use crate::delivery::{self, Forwarder};
use crate::store::core::State;
use crate::store::indexer::Indexer;
use crate::store::journal::writer::Writer;
use crate::store::open::Opened;
use crate::store::{Options, Roster, Store};

/// A process with the store open.
pub(super) struct Node {
    pub(super) store: Arc<Store>,
    pub(super) roster: Roster,
    /// `None`: it is at work, or done.
    writer: Option<Writer>,
    indexing: Indexing,
    /// Each upstream's workers; who lets go of one's end stops it.
    crews: BTreeMap<usize, Vec<oneshot::Sender<()>>>,
    pub(super) closing: bool,
    /// Whether something went wrong with the disk in this life.
    pub(super) faulty: bool,
}

/// Where the indexer is. What waits for the writer in it has to wait on a thread of its own; it
/// and the rest never run at the same time.
enum Indexing {
    Idle(Indexer),
    Waits(JoinHandle<(Indexer, ControlFlow<()>)>),
    Done,
}

impl World {
    /// Starts a process. Whether it has the store open.
    pub(super) fn open(self: &Rc<Self>) -> bool {
        let opened = match Opened::recover(self.options(), self.tuning()) {
            Ok(opened) => opened,
            Err(error) => {
                self.note(|| format!("opening failed: {error}"));
                self.oracle.borrow_mut().counts.failed_opens += 1;
                return false;
            }
        };
        let Opened { core, writer, indexer, report } = opened;
        self.note(|| {
            let (state, waits) = (core.state(), core.backlog.roster());
            let waits: Vec<_> = waits.lanes().iter().map(|lane| lane.backlog()).collect();
            format!("open {state:?}, {} events, waiting {waits:?}", report.events)
        });
        self.check_report(&report);
        let roster = core.backlog.roster();
        let store = Arc::new(Store { core, threads: Default::default(), report, lock: None });
        *self.node.borrow_mut() = Some(Node {
            store,
            roster,
            writer: Some(writer),
            indexing: Indexing::Idle(indexer),
            crews: BTreeMap::new(),
            closing: false,
            faulty: self.disk.is_full() || self.fault_pending(),
        });
        self.engage();
        true
    }

    fn options(&self) -> Options {
        Options {
            path: "/store".into(),
            retention: self.plan.retention,
            min_free: 1000,
            clock: self.clock.clone(),
            metrics: Arc::clone(&self.metrics),
            upstreams: self.plan.options(&self.configured.borrow()),
        }
    }

    /// Other upstreams are configured from here on.
    pub(super) fn reconfigure(self: &Rc<Self>) {
        let options = self.options();
        if let Some(node) = &mut *self.node.borrow_mut() {
            node.roster = node.store.reconfigure(&options);
        }
        self.engage();
    }

    /// Stops the workers of upstreams that are gone, and starts those of new ones.
    fn engage(self: &Rc<Self>) {
        let mut node = self.node.borrow_mut();
        let Some(node) = &mut *node else { return };
        let configured = self.configured.borrow();
        node.crews.retain(|upstream, _| configured.contains(upstream));
        for (upstream, lane) in configured.iter().zip(node.roster.lanes()) {
            if node.crews.contains_key(upstream) {
                continue;
            }
            node.store.presume_up(lane);
            let config = &self.plan.upstreams[*upstream];
            let forwarder = Forwarder::new(Arc::clone(config), self.clock.clone(), 1);
            let forwarder = Arc::new(forwarder.expect("a forwarder"));
            let counts = self.metrics.upstream(config.name.as_str());
            let crew = (0..config.concurrency).map(|_| {
                let (stop, stopped) = oneshot::channel::<()>();
                let stopped = async { drop(stopped.await) };
                let world = Rc::clone(self);
                let attempt = async move |forwarder: &Forwarder, event: &_, number, left| {
                    app::attempt(Rc::clone(&world), forwarder, event, number, left).await
                };
                let (lane, store) = (Arc::clone(lane), Arc::clone(&node.store));
                let (forwarder, counts) = (Arc::clone(&forwarder), Arc::clone(&counts));
                let work = delivery::serve(stopped, lane, forwarder, counts, store, attempt);
                self.tasks.spawn(Kind::Worker, work);
                stop
            });
            let crew = crew.collect();
            node.crews.insert(*upstream, crew);
        }
    }

    /// The writer takes what has queued up.
    pub(super) fn writer_turn(self: &Rc<Self>) {
        let Some((mut writer, core)) =
            self.with_node(|node| Some((node.writer.take()?, Arc::clone(&node.store.core))))
        else {
            return;
        };
        let mut work = core.queue.wait(Duration::ZERO);
        if self.plan.defect == Some(Defect::LosesNotes) {
            work.notes.clear();
        }
        let (events, notes) = (work.submissions.len(), work.notes.len());
        let (syncs, checkpoint) = (work.syncs.len(), work.checkpoint);
        let world = Rc::clone(self);
        let others = Rc::new(move || world.others_go_on());
        let flow = interleaved(others, || writer.turn(work));
        self.note(|| {
            let state = core.state();
            format!(
                "writer: {events} events, {notes} notes, {syncs} syncs, {checkpoint}: {state:?}"
            )
        });
        self.with_node(|node| {
            node.writer = Some(writer).filter(|_| flow.is_continue());
            Some(())
        });
        self.follow_indexer();
    }

    /// The indexer looks whether there is something to do.
    pub(super) fn indexer_turn(&self) {
        self.with_node(|node| {
            match std::mem::replace(&mut node.indexing, Indexing::Done) {
                Indexing::Idle(mut indexer) => {
                    node.indexing = Indexing::Waits(std::thread::spawn(move || {
                        let flow = indexer.turn(Duration::ZERO);
                        (indexer, flow)
                    }));
                }
                other => node.indexing = other,
            }
            Some(())
        });
        self.follow_indexer();
    }

    /// Returns when the indexer has ended its turn, or waits for the writer.
    fn follow_indexer(&self) {
        let begun = Instant::now();
        self.with_node(|node| {
            match std::mem::replace(&mut node.indexing, Indexing::Done) {
                Indexing::Waits(thread) => {
                    while !thread.is_finished() && !node.store.core.queue.is_awaited() {
                        assert!(begun.elapsed() < Duration::from_secs(60), "the indexer hangs");
                        std::thread::yield_now();
                    }
                    node.indexing =
                        if thread.is_finished() { joined(thread) } else { Indexing::Waits(thread) };
                }
                other => node.indexing = other,
            }
            Some(())
        });
        if self.plan.defect == Some(Defect::ForgetsKeys) {
            let first = self.with_node(|node| {
                let segments = node.store.core.segments.lock();
                (segments.first()?.header.number > 1)
                    .then(|| segments.first().map(|s| s.header.number))?
            });
            if let Some(first) = first {
                self.with_node(|node| {
                    node.store.core.dedupe.forget_before(first + 1);
                    Some(())
                });
            }
        }
        if self.plan.defect == Some(Defect::PurgesEarly) {
            self.with_node(|node| {
                let core = &node.store.core;
                let oldest = core.segments.lock().first().map(|s| s.header.number)?;
                let many = core.segments.lock().len() > 3;
                let gone = many && core.files.remove(oldest).is_ok();
                core.segments.lock().retain(|s| !gone || s.header.number != oldest);
                Some(())
            });
        }
    }

    /// The process ends without a word: everything in its memory is gone.
    pub(super) fn dies(&self) {
        self.disk.cut();
        self.tasks.clear();
        self.held.clear();
        let node = self.node.borrow_mut().take();
        if let Some(Node { store, writer, indexing, .. }) = node {
            // Whoever waits for the writer is told that it is gone.
            drop((store.core.queue.wait(Duration::ZERO), writer));
            if let Indexing::Waits(thread) = indexing {
                drop(thread.join());
            }
        }
        self.held.clear();
    }

    /// Closes the store in order. Whether it says that everything is durable.
    pub(super) fn close(self: &Rc<Self>) -> bool {
        let Some(core) = self.with_node(|node| {
            node.closing = true;
            node.crews.clear();
            Some(Arc::clone(&node.store.core))
        }) else {
            return false;
        };
        core.begin_close();
        self.oracle.borrow_mut().closes();
        core.queue.close();
        while self.with_node(|node| node.writer.as_ref().map(drop)).is_some() {
            self.writer_turn();
        }
        while self.with_node(|node| Some(!matches!(node.indexing, Indexing::Done))) == Some(true) {
            self.indexer_turn();
        }
        core.state() != State::Failed
    }

    pub(super) fn with_node<T>(&self, f: impl FnOnce(&mut Node) -> Option<T>) -> Option<T> {
        self.node.borrow_mut().as_mut().and_then(f)
    }
}

fn joined(thread: JoinHandle<(Indexer, ControlFlow<()>)>) -> Indexing {
    match thread.join().expect("the indexer panicked") {
        (indexer, ControlFlow::Continue(())) => Indexing::Idle(indexer),
        (_, ControlFlow::Break(())) => Indexing::Done,
    }
}
