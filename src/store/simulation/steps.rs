//! What may happen at each step of a schedule.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::app::Mood;
use super::oracle::{Excuses, Sent};
use super::plan::Defect;
use super::tasks::Kind;
use super::world::{SOURCES, World};
use crate::clock::UnixMillis;
use crate::event::{BodyHash, EventMeta};
use crate::identify::testing::identified;
use crate::store::Targets;
use crate::store::disk::Disk as _;
use crate::store::tests::sim_disk::{Fault, Leaves};

const EMFILE: i32 = 24;

impl World {
    pub(super) async fn step(self: &Rc<Self>) {
        if self.node.borrow().is_none() {
            if self.once_in(3) {
                self.time_passes(Duration::from_millis(self.draw(100_000).into())).await;
            }
            if self.once_in(self.plan.faults.div_ceil(4)) {
                self.plan_fault(40);
            }
            if !self.open() && self.disk.is_off() {
                self.restarts_after_death();
            }
            return;
        }
        if self.once_in(self.plan.faults) {
            self.plan_fault(8);
        }
        if self.once_in(self.plan.crashes) {
            return self.crashes();
        }
        match self.draw(100) {
            0..22 => self.sends(),
            22..49 => self.goes_on(),
            49..52 => self.acts(),
            52..64 => self.does_a_job(),
            64..80 => self.writer_turn(),
            80..84 => self.keeper_turn(),
            84..94 => {
                let longest =
                    *self.rng.borrow_mut().choice(&[50, 2_000, 20_000, 200_000]).unwrap_or(&1);
                self.time_passes(Duration::from_millis(self.draw(longest).into())).await;
            }
            94 => self.changes_mood(),
            95 => self.changes_configuration(),
            96 if self.plan.clock_steps => self.sets_clock(),
            97 => self.client_goes(),
            98 => self.changes_room(),
            99 if self.once_in(3) => self.closes(),
            _ => self.goes_on(),
        }
        if self.disk.is_off() {
            self.crashes();
        }
    }

    /// What may happen while the writer waits for the disk.
    pub(super) fn others_go_on(self: &Rc<Self>) {
        if !self.once_in(self.plan.interleaves) {
            return;
        }
        for _ in 0..=self.draw(3) {
            match self.draw(10) {
                0..3 if !self.quiet.get() => self.sends(),
                3..6 => self.does_a_job(),
                _ => self.goes_on(),
            }
        }
    }

    pub(super) fn goes_on(&self) {
        let ready = self.tasks.ready();
        if ready > 0 {
            self.tasks.poll(self.draw(u32::try_from(ready).unwrap_or(1)) as usize);
        }
    }

    pub(super) fn does_a_job(&self) {
        let waiting = self.held.waiting();
        if waiting > 0 {
            let job = self.held.take(self.draw(u32::try_from(waiting).unwrap_or(1)) as usize);
            job();
        }
    }

    /// A request comes in.
    pub(super) fn sends(self: &Rc<Self>) {
        let (source, id) = (self.draw(2) as usize, self.draw(self.plan.ids));
        let version = if self.once_in(6) { self.draw(3) } else { 0 };
        self.send(source, id, version);
    }

    pub(super) fn send(self: &Rc<Self>, source: usize, id: u32, version: u32) {
        let request = self.requests.get();
        self.requests.set(request + 1);
        // What an event says is the same whenever it is sent again.
        let fill = (id * 7 + version * 13) % 23;
        let long = if fill == 0 { 9000 } else { fill as usize * 5 };
        let body = format!("{{\"n\":{id},\"v\":{version},\"fill\":\"{}\"}}", "x".repeat(long));
        let meta = EventMeta {
            provider_id: Some(format!("evt_{id}")),
            subject: (!id.is_multiple_of(5)).then(|| format!("order_{}", id % self.plan.subjects)),
            data: 0..u32::try_from(body.len()).expect("a short body"),
            ..EventMeta::default()
        };
        let rule = self.plan.on_conflict[source];
        let event = identified(SOURCES[source], self.clock.now(), &body, meta, rule);
        let mut node = self.node.borrow_mut();
        let Some(node) = &mut *node else { return };
        let mut targets = Targets::NONE;
        for at in 0..node.roster.lanes().len() {
            if !(id + u32::try_from(at).unwrap_or(0)).is_multiple_of(4) {
                targets = targets.with(at);
            }
        }
        let mut sent = Sent {
            source: SOURCES[source].to_owned(),
            provider_id: format!("evt_{id}"),
            body_hash: BodyHash::of(body.as_bytes()),
            filtered: targets.is_empty(),
            ended_before: 0,
            removed_before: 0,
        };
        self.oracle.borrow_mut().sends(&mut sent);
        self.note(|| format!("request {request}: {}/evt_{id} v{version}", SOURCES[source]));
        let (store, to) = (Arc::clone(&node.store), node.roster.select(targets));
        let world = Rc::clone(self);
        self.tasks.spawn(Kind::Request, async move {
            let answer = store.accept(event, to).await;
            let told = answer.as_ref().map(|accepted| (accepted.outcome(), accepted.id()));
            world.note(|| format!("request {request} is answered {told:?}"));
            let (disk, now) = (&world.disk, world.passed());
            match answer {
                Ok(accepted) => {
                    world.oracle.borrow_mut().accepted(disk, now, &sent, &accepted);
                }
                Err(error) => {
                    let excuses = world.excuses();
                    world.oracle.borrow_mut().refused(error, excuses);
                }
            }
        });
    }

    pub(super) fn excuses(&self) -> Excuses {
        let Ok(node) = self.node.try_borrow() else { return Excuses::default() };
        let Some(node) = &*node else { return Excuses { closing: true, ..Excuses::default() } };
        Excuses { fault: node.faulty, full: node.faulty, closing: node.closing }
    }

    /// A client goes away.
    pub(super) fn client_goes(&self) {
        let requests = self.tasks.count(Kind::Request);
        if requests > 0 {
            self.note(|| "a client goes".to_owned());
            self.tasks
                .cancel(Kind::Request, self.draw(u32::try_from(requests).unwrap_or(1)) as usize);
        }
    }

    pub(super) fn sets_clock(&self) {
        let by = u64::from(self.draw(90_000_000));
        let now = self.clock.now().0;
        self.clock.step_to(UnixMillis(if self.once_in(2) { now - by } else { now + by }));
        self.note(|| format!("the clock is set from {now} to {}", self.clock.now().0));
    }

    pub(super) fn plan_fault(&self, within: u32) {
        let fault = match self.draw(7) {
            0 => Fault::Fails(std::io::ErrorKind::Other),
            1 => Fault::Fails(std::io::ErrorKind::StorageFull),
            2 => Fault::Tears,
            3 => Fault::Breaks,
            4 => Fault::Errno(EMFILE),
            5 => Fault::PowerCut,
            _ => Fault::FillsUp,
        };
        let at = self.draw(within);
        self.note(|| format!("operation {at} of the disk from now: {fault:?}"));
        self.disk.plan(at as usize, fault);
        self.fault_planned.set(true);
        self.with_node(|node| {
            node.faulty = true;
            Some(())
        });
    }

    /// The disk gets room again, or has less than its reserve.
    pub(super) fn changes_room(&self) {
        if self.plan.faults == 0 {
            return;
        }
        if self.disk.is_full() || self.once_in(2) {
            self.note(|| "there is room".to_owned());
            self.makes_room();
        } else {
            self.note(|| "the disk says that it is nearly full".to_owned());
            self.disk.set_free(999);
            self.nearly_full.set(true);
        }
        self.with_node(|node| {
            node.faulty = true;
            Some(())
        });
    }

    pub(super) fn changes_mood(&self) {
        let upstream = self.draw(u32::try_from(self.plan.upstreams.len()).unwrap_or(1)) as usize;
        let name = self.plan.upstreams[upstream].name.to_string();
        let mood = [Mood::Good, Mood::Moody, Mood::Out][self.draw(3) as usize];
        self.note(|| format!("{name} is {mood:?}"));
        self.moods.borrow_mut().insert(name, mood);
    }

    pub(super) fn changes_configuration(self: &Rc<Self>) {
        let all = 0..self.plan.upstreams.len();
        let mut configured: Vec<usize> = all.filter(|_| !self.once_in(3)).collect();
        if configured.is_empty() {
            configured.push(0);
        }
        if self.once_in(2) {
            configured.reverse();
        }
        self.note(|| format!("upstreams {configured:?} are configured"));
        *self.configured.borrow_mut() = configured;
        self.reconfigure();
    }

    /// The power goes, or the process is killed.
    pub(super) fn crashes(&self) {
        self.dies();
        self.restarts_after_death();
    }

    pub(super) fn restarts_after_death(&self) {
        self.look();
        let leaves = match self.draw(4) {
            0 => None,
            1 => Some(Leaves::Nothing),
            2 => Some(Leaves::Everything),
            _ => Some(Leaves::SomePages(self.rng.borrow_mut().u64(..))),
        };
        self.note(|| format!("the process is gone; the power goes and leaves {leaves:?}"));
        match leaves {
            None => self.disk.next_process(),
            Some(leaves) => {
                self.power_was_cut.set(true);
                self.disk.reboot(leaves);
            }
        }
        self.fault_planned.set(false);
        let mut oracle = self.oracle.borrow_mut();
        oracle.counts.crashes += 1;
        oracle.process_ends(false);
        drop(oracle);
        self.cuts_too_much();
    }

    pub(super) fn cuts_too_much(&self) {
        if self.plan.defect == Some(Defect::CutsTooMuch)
            && let Some((newest, len)) = self.disk.durable().last()
        {
            self.disk.truncate(newest, *len as u64 * 3 / 4).expect("a file");
        }
    }

    /// The store is closed in order.
    pub(super) fn closes(self: &Rc<Self>) {
        self.note(|| "closing".to_owned());
        let clean = self.close() && self.with_node(|node| Some(!node.faulty)) == Some(true);
        if self.disk.is_off() {
            return self.crashes();
        }
        self.dies();
        self.disk.next_process();
        self.look();
        let mut oracle = self.oracle.borrow_mut();
        oracle.counts.closes += 1;
        oracle.process_ends(clean);
    }

    pub(super) fn makes_room(&self) {
        self.disk.make_room();
        self.disk.set_free(u64::MAX);
        self.nearly_full.set(false);
    }
}
