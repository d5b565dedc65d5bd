//! The end of a schedule: all goes well, everything that waits must be delivered, and what was
//! acknowledged must be known.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::app::Mood;
use super::node::Node;
use super::tasks::Kind;
use super::world::{SOURCES, World};
use crate::store::LaneSlot;
use crate::store::backlog::dead::DeadLetters;
use crate::store::core::State;

/// Rounds of the quiet period after which something must be stuck.
const PATIENCE: usize = 600;

impl World {
    /// Everything is well from here on: all that waits must be delivered.
    pub(super) async fn come_to_rest(self: &Rc<Self>) {
        self.note(|| "from here on all is well".to_owned());
        self.quiet.set(true);
        self.all_is_well();
        *self.configured.borrow_mut() = (0..self.plan.upstreams.len()).collect();
        let failed = |node: &mut Node| Some(node.store.core.state() == State::Failed);
        if self.with_node(failed) == Some(true) {
            self.closes();
        }
        self.reconfigure();
        self.rests().await;
        self.oracle.borrow_mut().all_is_done();
    }

    /// Returns when nothing waits any more.
    pub(super) async fn rests(self: &Rc<Self>) {
        for round in 0..PATIENCE {
            if self.node.borrow().is_none() && !self.open() {
                return self.oracle.borrow_mut().fail("the store does not open");
            }
            self.turn();
            self.look();
            if self.oracle.borrow().violation().is_some() || self.is_at_rest() {
                return;
            }
            let wait = if round % 8 == 7 { 10_000 } else { 300 };
            self.time_passes(Duration::from_millis(wait)).await;
        }
        let requests = self.tasks.count(Kind::Request);
        let waiting = self.with_node(|node| {
            let waiting = node.store.lanes().map(|lane| (lane.upstream, lane.backlog));
            Some(waiting.collect::<Vec<_>>())
        });
        let what = format!("it does not come to rest: {waiting:?}, {requests} requests");
        self.oracle.borrow_mut().fail(what);
    }

    pub(super) fn all_is_well(&self) {
        self.makes_room();
        self.fault_planned.set(false);
        for mood in self.moods.borrow_mut().values_mut() {
            *mood = Mood::Good;
        }
    }

    /// Everyone does what there is to do.
    pub(super) fn turn(self: &Rc<Self>) {
        for _ in 0..50 {
            let mut idle = true;
            while self.tasks.ready() > 0 || self.held.waiting() > 0 {
                self.goes_on();
                self.does_a_job();
                idle = false;
            }
            self.writer_turn();
            self.keeper_turn();
            if idle {
                return;
            }
        }
    }

    pub(super) fn is_at_rest(&self) -> bool {
        let empty = self.with_node(|node| Some(node.store.lanes().all(|lane| lane.backlog == 0)));
        let acts = self.with_node(|node| node.operator.as_ref().map(drop)).is_some();
        self.tasks.count(Kind::Request) == 0 && empty == Some(true) && !acts
    }

    /// The dead letters of each upstream.
    fn dead(&self) -> Vec<DeadLetters> {
        let count = |slot: &Arc<LaneSlot>| slot.lane.lock().dead().clone();
        let counts = self.with_node(|node| Some(node.roster.lanes().iter().map(count).collect()));
        counts.unwrap_or_default()
    }

    /// As many dead letters are there as before, but for those that have gone with their segments.
    fn checks_dead(&self, mut before: Vec<DeadLetters>) {
        let first = self.with_node(|node| {
            Some(node.store.core.segments.lock().first().map_or(0, |segment| segment.header.number))
        });
        before.iter_mut().for_each(|dead| dead.forget_before(first.unwrap_or(0)));
        let found = self.dead();
        if found != before {
            self.oracle.borrow_mut().fail(format!("{before:?} were dead letters, now {found:?}"));
        }
    }

    /// What was acknowledged is known, over a restart too, and nothing of it is delivered again.
    pub(super) async fn look_back(self: &Rc<Self>) {
        for restart in [false, true] {
            if restart {
                let dead = self.dead();
                self.closes();
                if !self.open() {
                    return self.oracle.borrow_mut().fail("the store does not open once closed");
                }
                self.checks_dead(dead);
                if !self.is_at_rest() {
                    self.oracle.borrow_mut().fail("something waits again after a clean close");
                }
            }
            let known = self.oracle.borrow().known();
            for (id, stored) in known.iter().take(4) {
                let source = usize::from(stored.source != SOURCES[0]);
                let number: u32 = stored.provider_id[4..].parse().expect("a number");
                let before = self.oracle.borrow().counts.repeats;
                self.send(source, number, stored.version);
                self.turn();
                let mut oracle = self.oracle.borrow_mut();
                // Its retention may have ended just now.
                if oracle.counts.repeats == before && oracle.stands(*id) {
                    oracle.fail(format!("{} is not known any more", stored.provider_id));
                }
            }
            self.rests().await;
        }
    }
}
