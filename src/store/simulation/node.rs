//! One life of the process: the store with its writer and retention, which are stepped here
//! instead of having threads, and the workers.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::acting::Operator;
use super::app;
use super::plan::Defect;
use super::tasks::Kind;
use super::watched::interleaved;
use super::world::World;
use crate::delivery::{self, Forwarder};
use crate::store::backlog::lane::CircuitState;
use crate::store::core::State;
use crate::store::indexer::IndexFeed;
use crate::store::journal::writer::Writer;
use crate::store::open::Opened;
use crate::store::{Options, Roster, Store, retention};

/// A process with the store open.
pub(super) struct Node {
    pub(super) store: Arc<Store>,
    pub(super) roster: Roster,
    /// `None`: it is at work, or done.
    writer: Option<Writer>,
    /// Retention, while it waits for the writer: that it has to do on a thread of its own. It and the
    /// rest never run at the same time.
    keeper: Option<JoinHandle<bool>>,
    /// An operator who acts, in the same way.
    pub(super) operator: Option<Operator>,
    /// Each upstream's workers; who lets go of one's end stops it.
    crews: BTreeMap<usize, Vec<oneshot::Sender<()>>>,
    pub(super) closing: bool,
    /// Whether something went wrong with the disk in this life.
    pub(super) faulty: bool,
}

impl World {
    /// Starts a process. Whether it has the store open.
    pub(super) fn open(self: &Rc<Self>) -> bool {
        let opened =
            match Opened::recover(self.options(), self.tuning(), |_, _| Ok(IndexFeed::idle())) {
                Ok(opened) => opened,
                Err(error) => {
                    self.note(|| format!("opening failed: {error}"));
                    self.oracle.borrow_mut().counts.failed_opens += 1;
                    return false;
                }
            };
        let Opened { core, writer, report } = opened;
        self.note(|| {
            let (state, waits) = (core.state(), core.backlog.roster());
            let waits: Vec<_> = waits.lanes().iter().map(|lane| lane.backlog()).collect();
            format!("open {state:?}, {} events, waiting {waits:?}", report.events)
        });
        self.check_report(&report);
        let roster = core.backlog.roster();
        let store = Arc::new(Store { core, writer: Default::default(), report, lock: None });
        store.lets_in();
        *self.node.borrow_mut() = Some(Node {
            store,
            roster,
            writer: Some(writer),
            keeper: None,
            operator: None,
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
            keys: Arc::clone(&self.plan.keys),
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
            let config = &self.plan.upstreams[*upstream];
            node.store.presume_up(lane, config.concurrency);
            let forwarder = Forwarder::new(Arc::clone(config), self.clock.clone(), 1);
            let forwarder = Arc::new(forwarder.expect("a forwarder"));
            let counts = self.metrics.upstream(config.name.as_str());
            let crew = (0..config.concurrency).map(|_| {
                let (stop, stopped) = oneshot::channel::<()>();
                let stopped = async { drop(stopped.await) };
                let world = Rc::clone(self);
                let attempt = async move |forwarder: &Forwarder, event: &_, number, left| {
                    app::attempt(Rc::clone(&world), forwarder, event, number, left).await.into()
                };
                let (lane, store) = (Arc::clone(lane), Arc::clone(&node.store));
                let (forwarder, counts) = (Arc::clone(&forwarder), Arc::clone(&counts));
                let work = delivery::serve(stopped, lane, forwarder, None, counts, store, attempt);
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
        self.puts_off(&mut work);
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
        self.follow_threads();
    }

    /// Retention is looked at.
    pub(super) fn keeper_turn(&self) {
        self.with_node(|node| {
            let core = Arc::clone(&node.store.core);
            let keep = || std::thread::spawn(move || retention::purge(&core).is_some());
            node.keeper.get_or_insert_with(keep);
            Some(())
        });
        self.follow_threads();
    }

    /// Returns when retention has been looked at, or waits for the writer; the same of an act.
    pub(super) fn follow_threads(&self) {
        let begun = Instant::now();
        self.with_node(|node| {
            let keeper = node.keeper.take()?;
            while !keeper.is_finished() && !node.store.core.queue.is_awaited() {
                assert!(begun.elapsed() < Duration::from_secs(60), "retention hangs");
                std::thread::yield_now();
            }
            if keeper.is_finished() {
                keeper.join().expect("retention panicked");
            } else {
                node.keeper = Some(keeper);
            }
            Some(())
        });
        while self.with_node(|node| (!node.operator_waits()).then_some(())).is_some() {
            assert!(begun.elapsed() < Duration::from_secs(60), "an act hangs");
            std::thread::yield_now();
        }
        self.hears_of_act();
        self.look();
        self.plants_defects();
    }

    /// What is wrong on purpose with retention.
    fn plants_defects(&self) {
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
        if let Some(Node { store, writer, keeper, operator, .. }) = node {
            // Whoever waits for the writer is told that it is gone.
            drop((store.core.queue.wait(Duration::ZERO), writer));
            if let Some(keeper) = keeper {
                drop(keeper.join());
            }
            if let Some(Operator { order, thread, put_off }) = operator {
                drop(put_off);
                drop(thread.join());
                self.oracle.borrow_mut().unsure_of(order);
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
        core.state() != State::Failed
    }

    /// An attempt at this upstream begins: how its circuit stands.
    pub(super) fn counts_circuit(&self, upstream: &str) {
        let state = self.with_node(|node| {
            let lane = node.store.lanes().find(|lane| lane.upstream == upstream)?;
            Some(lane.circuit.state)
        });
        let counts = &mut self.oracle.borrow_mut().counts;
        match state {
            Some(CircuitState::HalfOpen | CircuitState::Open) => counts.probes += 1,
            Some(CircuitState::SlowStart) => counts.slow += 1,
            Some(CircuitState::Closed) | None => {}
        }
    }

    pub(super) fn with_node<T>(&self, f: impl FnOnce(&mut Node) -> Option<T>) -> Option<T> {
        self.node.borrow_mut().as_mut().and_then(f)
    }
}
