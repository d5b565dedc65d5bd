//! Operators: what they do is the schedule's choice, and what must follow from it the oracle's to say. An
//! act waits for the writer on a thread of its own, as retention does; only one of them runs at a time.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::ledger::Stored;
use super::node::Node;
use super::oracle::acts::Order;
use super::plan::Defect;
use super::world::World;
use crate::event::EventId;
use crate::store::act::Answer;
use crate::store::query::{Act, ActError, ActKind, Acted};
use crate::store::queue::{Acting, Work};

/// An act under way.
pub(super) struct Operator {
    pub(super) order: Order,
    pub(super) thread: JoinHandle<Result<Acted, ActError>>,
    /// What it asks of the writer, and has been put off.
    pub(super) put_off: Vec<Acting>,
}

impl World {
    /// An operator does something with an event.
    pub(super) fn acts(&self) {
        let noticed = self.oracle.borrow().noticed();
        let events = match noticed.is_empty() || self.once_in(3) {
            true => self.oracle.borrow().standing(),
            false => noticed,
        };
        let Some((id, stored, what)) = self.chooses(&events) else { return };
        let named = what == ActKind::Replayed && self.once_in(4);
        let upstream = self.draw(u32::try_from(self.plan.upstreams.len()).unwrap_or(1)) as usize;
        let upstream = named.then(|| self.plan.upstreams[upstream].name.to_string());
        let act = Act { what, who: "operator".to_owned(), reason: None, upstream };
        let all = self.plan.upstreams.iter().map(|upstream| upstream.name.to_string()).collect();
        let begun = self.with_node(|node| {
            if node.operator.is_some() {
                return None;
            }
            let order = self.oracle.borrow_mut().orders(id, &stored, act.clone(), all);
            let (store, event) = (Arc::clone(&node.store), stored.sequence);
            let thread = std::thread::spawn(move || store.act(event, &act));
            node.operator = Some(Operator { order, thread, put_off: Vec::new() });
            Some(())
        });
        if begun.is_some() {
            self.note(|| format!("{} ({}) is to be {what:?}", stored.provider_id, stored.sequence));
            self.follow_threads();
        }
    }

    fn chooses(&self, events: &[(EventId, Stored)]) -> Option<(EventId, Stored, ActKind)> {
        let kept_back = || events.iter().filter(|(_, stored)| stored.quarantined);
        let events: Vec<_> = match kept_back().next() {
            Some(_) if !self.once_in(3) => kept_back().collect(),
            _ => events.iter().collect(),
        };
        let at = self.draw(u32::try_from(events.len()).unwrap_or(1)) as usize;
        let (id, stored) = (*events.get(at)?).clone();
        let what = match self.draw(8) {
            0..2 => ActKind::Discarded,
            2..7 if stored.quarantined => ActKind::Released,
            2 => ActKind::Released,
            _ => ActKind::Replayed,
        };
        Some((id, stored, what))
    }

    /// Retention and an operator who wait for the writer are not answered in the same turn: they would
    /// go on at the same time, and nobody could say who was first.
    pub(super) fn puts_off(&self, work: &mut Work) {
        let retention = !work.syncs.is_empty() || !work.carries.is_empty();
        let retention = retention || !work.releases.is_empty();
        self.with_node(|node| {
            let operator = node.operator.as_mut()?;
            work.acts.append(&mut operator.put_off);
            // A close is the last turn.
            if retention && !work.close {
                operator.put_off = std::mem::take(&mut work.acts);
            }
            Some(())
        });
        if self.plan.defect == Some(Defect::LosesActs) {
            work.acts.retain(|acting| match acting {
                Acting::Look(_) => true,
                Acting::Do(planned, answer) => {
                    let (id, source) = (planned.id, planned.source.clone());
                    let done = Acted { id, source, upstreams: vec![] };
                    let _ = answer.try_send(Answer::Done(done));
                    false
                }
            });
        }
    }

    /// An act that has come to its end.
    pub(super) fn hears_of_act(&self) {
        let ended = self.with_node(|node| node.operator.take_if(|o| o.thread.is_finished()));
        let Some(Operator { order, thread, .. }) = ended else { return };
        let result = thread.join().expect("an act panicked");
        self.note(|| format!("the act on {} is answered {result:?}", order.event));
        let excuses = self.excuses();
        let mut oracle = self.oracle.borrow_mut();
        oracle.acted(&self.disk, self.passed(), order, result, excuses);
    }
}

impl Node {
    /// Whether the operator, if there is one, waits for the writer or is done.
    pub(super) fn operator_waits(&self) -> bool {
        self.operator.as_ref().is_none_or(|operator| {
            let asks = self.store.core.queue.is_asked_to_act() || !operator.put_off.is_empty();
            asks || operator.thread.is_finished()
        })
    }
}
