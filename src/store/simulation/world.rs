//! One schedule: everything in it stands here, and every choice is drawn from its seed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::app::Mood;
use super::node::Node;
use super::oracle::{Counts, Excuses, Oracle, Sent};
use super::plan::{Defect, Plan};
use super::tasks::{Kind, Tasks};
use super::watched::Watched;
use crate::clock::{Clock, UnixMillis};
use crate::event::{BodyHash, EventMeta};
use crate::identify::testing::identified;
use crate::metrics::Metrics;
use crate::store::blocking::{Blocking, Held};
use crate::store::core::State;
use crate::store::disk::Disk as _;
use crate::store::tests::sim_disk::{Fault, Leaves, SimDisk};
use crate::store::{Report, Targets, Tuning};

const START: UnixMillis = UnixMillis(1_763_700_000_000);
const SOURCES: [&str; 2] = ["lab", "pharmacy"];
const EMFILE: i32 = 24;
/// Rounds of the quiet period after which something must be stuck.
const PATIENCE: usize = 600;

/// One schedule under way.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) rng: RefCell<fastrand::Rng>,
    pub(super) oracle: RefCell<Oracle>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) disk: SimDisk,
    removed: Arc<Mutex<Vec<u32>>>,
    pub(super) tasks: Tasks,
    pub(super) held: Held,
    pub(super) node: RefCell<Option<Node>>,
    pub(super) configured: RefCell<Vec<usize>>,
    pub(super) moods: RefCell<BTreeMap<String, Mood>>,
    /// Milliseconds that have really passed.
    passed: Cell<u64>,
    requests: Cell<u32>,
    fault_planned: Cell<bool>,
    nearly_full: Cell<bool>,
    /// Whether names were taken away, and a power cut may bring them back.
    power_was_cut: Cell<bool>,
    trace: RefCell<Vec<String>>,
    quiet: Cell<bool>,
}

/// What became of a schedule.
pub(super) struct Ended {
    pub(super) trace: Vec<String>,
    pub(super) violation: Option<String>,
    pub(super) counts: Counts,
}

/// Runs the schedule with this seed.
pub(super) fn run(seed: u64, defect: Option<Defect>) -> Ended {
    // The store's own randomness: ids.
    fastrand::seed(seed);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let world = World::new(seed, defect);
        world.run().await;
        world.dies();
        let oracle = world.oracle.borrow();
        let violation = oracle.violation().map(str::to_owned);
        Ended { trace: world.trace.take(), violation, counts: oracle.counts }
    })
}

impl World {
    fn new(seed: u64, defect: Option<Defect>) -> Rc<Self> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = Plan::new(&mut rng, defect);
        let configured = (0..plan.upstreams.len()).collect();
        let world = Rc::new(Self {
            rng: RefCell::new(rng),
            oracle: RefCell::default(),
            clock: Clock::manual(START),
            metrics: Arc::new(Metrics::new()),
            disk: SimDisk::default(),
            removed: Arc::default(),
            tasks: Tasks::default(),
            held: Held::default(),
            node: RefCell::new(None),
            configured: RefCell::new(configured),
            moods: RefCell::default(),
            passed: Cell::new(0),
            requests: Cell::new(0),
            fault_planned: Cell::new(false),
            nearly_full: Cell::new(false),
            power_was_cut: Cell::new(false),
            trace: RefCell::default(),
            quiet: Cell::new(false),
            plan,
        });
        for upstream in &world.plan.upstreams {
            world.moods.borrow_mut().insert(upstream.name.to_string(), Mood::Moody);
        }
        world.note(|| format!("{:?}", world.plan));
        world
    }

    async fn run(self: &Rc<Self>) {
        for _ in 0..self.plan.steps {
            self.step().await;
            self.look();
            if self.oracle.borrow().violation().is_some() {
                return;
            }
        }
        self.come_to_rest().await;
        if self.oracle.borrow().violation().is_none() {
            self.look_back().await;
        }
    }

    /// One line of the trace.
    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        let line = format!("{:>9} {}", self.passed(), line());
        self.trace.borrow_mut().push(line);
    }

    /// Milliseconds that have really passed.
    pub(super) fn passed(&self) -> u64 {
        self.passed.get()
    }

    pub(super) fn fault_pending(&self) -> bool {
        self.fault_planned.get() || self.nearly_full.get()
    }

    pub(super) fn tuning(&self) -> Tuning {
        let disk = self.disk.clone();
        let (removed, defect) = (Arc::clone(&self.removed), self.plan.defect);
        Tuning {
            disk: Arc::new(Watched { disk, removed, defect }),
            blocking: Blocking::Held(self.held.clone()),
            ..self.plan.tuning.clone()
        }
    }

    fn draw(&self, below: u32) -> u32 {
        self.rng.borrow_mut().u32(..below.max(1))
    }

    /// Whether it is the one time in so many; never, if that is 0.
    fn once_in(&self, times: u32) -> bool {
        times > 0 && self.draw(times) == 0
    }

    async fn step(self: &Rc<Self>) {
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
            22..52 => self.goes_on(),
            52..64 => self.does_a_job(),
            64..80 => self.writer_turn(),
            80..84 => self.indexer_turn(),
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

    fn goes_on(&self) {
        let ready = self.tasks.ready();
        if ready > 0 {
            self.tasks.poll(self.draw(u32::try_from(ready).unwrap_or(1)) as usize);
        }
    }

    fn does_a_job(&self) {
        let waiting = self.held.len();
        if waiting > 0 {
            let job = self.held.take(self.draw(u32::try_from(waiting).unwrap_or(1)) as usize);
            job();
        }
    }

    /// A request comes in.
    fn sends(self: &Rc<Self>) {
        let (source, id) = (self.draw(2) as usize, self.draw(self.plan.ids));
        let version = if self.once_in(6) { self.draw(3) } else { 0 };
        self.send(source, id, version);
    }

    fn send(self: &Rc<Self>, source: usize, id: u32, version: u32) {
        let request = self.requests.get();
        self.requests.set(request + 1);
        // What an event says is the same whenever it is sent again.
        let fill = (id * 7 + version * 13) % 23;
        let long = if fill == 0 { 9000 } else { fill as usize * 5 };
        let body = format!("{{\"n\":{id},\"v\":{version},\"fill\":\"{}\"}}", "x".repeat(long));
        let meta = EventMeta {
            provider_id: Some(format!("evt_{id}")),
            subject: (id % 5 > 0).then(|| format!("order_{}", id % self.plan.subjects)),
            data: 0..u32::try_from(body.len()).expect("a short body"),
            ..EventMeta::default()
        };
        let rule = self.plan.on_conflict[source];
        let event = identified(SOURCES[source], self.clock.now(), &body, meta, rule);
        let mut node = self.node.borrow_mut();
        let Some(node) = &mut *node else { return };
        let mut targets = Targets::NONE;
        for at in 0..node.roster.lanes().len() {
            if (id + u32::try_from(at).unwrap_or(0)) % 4 > 0 {
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

    fn excuses(&self) -> Excuses {
        let Ok(node) = self.node.try_borrow() else { return Excuses::default() };
        let Some(node) = &*node else { return Excuses { closing: true, ..Excuses::default() } };
        Excuses { fault: node.faulty, full: node.faulty, closing: node.closing }
    }

    /// A client goes away.
    fn client_goes(&self) {
        let requests = self.tasks.count(Kind::Request);
        if requests > 0 {
            self.note(|| "a client goes".to_owned());
            self.tasks
                .cancel(Kind::Request, self.draw(u32::try_from(requests).unwrap_or(1)) as usize);
        }
    }

    async fn time_passes(&self, d: Duration) {
        let d = Duration::from_millis(u64::try_from(d.as_millis()).unwrap_or(0).max(1));
        self.passed.set(self.passed.get() + u64::try_from(d.as_millis()).unwrap_or(0));
        self.clock.advance(d);
        tokio::time::advance(d).await;
    }

    fn sets_clock(&self) {
        let by = u64::from(self.draw(90_000_000));
        let now = self.clock.now().0;
        self.clock.step_to(UnixMillis(if self.once_in(2) { now - by } else { now + by }));
        self.note(|| format!("the clock is set from {now} to {}", self.clock.now().0));
    }

    fn plan_fault(&self, within: u32) {
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
    fn changes_room(&self) {
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

    fn changes_mood(&self) {
        let upstream = self.draw(u32::try_from(self.plan.upstreams.len()).unwrap_or(1)) as usize;
        let name = self.plan.upstreams[upstream].name.to_string();
        let mood = [Mood::Good, Mood::Moody, Mood::Out][self.draw(3) as usize];
        self.note(|| format!("{name} is {mood:?}"));
        self.moods.borrow_mut().insert(name, mood);
    }

    fn changes_configuration(self: &Rc<Self>) {
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
    fn crashes(&self) {
        self.dies();
        self.restarts_after_death();
    }

    fn restarts_after_death(&self) {
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

    fn cuts_too_much(&self) {
        if self.plan.defect == Some(Defect::CutsTooMuch)
            && let Some((newest, len)) = self.disk.durable().last()
        {
            self.disk.truncate(newest, *len as u64 * 3 / 4).expect("a file");
        }
    }

    /// The store is closed in order.
    fn closes(self: &Rc<Self>) {
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

    /// Compares the disk with what is known.
    fn look(&self) {
        let mut oracle = self.oracle.borrow_mut();
        oracle.read_on(&self.disk, self.passed());
        let least = (!self.plan.clock_steps).then_some(self.plan.retention);
        for number in std::mem::take(&mut *self.removed.lock()) {
            self.note(|| format!("segment {number} is gone"));
            oracle.let_go(&self.disk, number, self.passed(), least);
        }
    }

    pub(super) fn check_report(&self, report: &Report) {
        let mut oracle = self.oracle.borrow_mut();
        oracle.begins(!report.unreadable.is_empty());
        if !report.unreadable.is_empty() && self.plan.faults == 0 {
            oracle.fail(format!("what waits cannot be read: {:?}", report.unreadable));
        }
        if !self.power_was_cut.get() && self.plan.faults == 0 {
            let (gaps, missing) = (&report.gaps, &report.missing);
            if !gaps.is_empty() || !missing.is_empty() {
                oracle.fail(format!("the journal has gaps {gaps:?}, missing {missing:?}"));
            }
        }
    }

    /// Everything is well from here on: all that waits must be delivered.
    async fn come_to_rest(self: &Rc<Self>) {
        self.note(|| "from here on all is well".to_owned());
        self.quiet.set(true);
        self.all_is_well();
        *self.configured.borrow_mut() = (0..self.plan.upstreams.len()).collect();
        let failed = |node: &mut Node| Some(node.store.core.state() == State::Failed);
        if self.with_node(failed) == Some(true) {
            self.closes();
        }
        self.reconfigure();
        for round in 0..PATIENCE {
            if self.node.borrow().is_none() && !self.open() {
                return self.oracle.borrow_mut().fail("the store does not open");
            }
            self.turn();
            self.look();
            if self.oracle.borrow().violation().is_some() || self.is_at_rest() {
                break;
            }
            let wait = if round % 8 == 7 { 10_000 } else { 300 };
            self.time_passes(Duration::from_millis(wait)).await;
        }
        if !self.is_at_rest() {
            let waiting = self.with_node(|node| {
                Some(
                    node.store
                        .lanes()
                        .map(|lane| (lane.upstream, lane.backlog))
                        .collect::<Vec<_>>(),
                )
            });
            let requests = self.tasks.count(Kind::Request);
            let what = format!("it does not come to rest: {waiting:?}, {requests} requests");
            self.oracle.borrow_mut().fail(what);
        }
        self.oracle.borrow_mut().all_is_done();
    }

    fn makes_room(&self) {
        self.disk.make_room();
        self.disk.set_free(u64::MAX);
        self.nearly_full.set(false);
    }

    fn all_is_well(&self) {
        self.makes_room();
        self.fault_planned.set(false);
        for mood in self.moods.borrow_mut().values_mut() {
            *mood = Mood::Good;
        }
    }

    /// Everyone does what there is to do.
    fn turn(self: &Rc<Self>) {
        for _ in 0..50 {
            let mut idle = true;
            while self.tasks.ready() > 0 || self.held.len() > 0 {
                self.goes_on();
                self.does_a_job();
                idle = false;
            }
            self.writer_turn();
            self.indexer_turn();
            if idle {
                return;
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        let empty = self.with_node(|node| Some(node.store.lanes().all(|lane| lane.backlog == 0)));
        self.tasks.count(Kind::Request) == 0 && empty == Some(true)
    }

    /// What was acknowledged is known, over a restart too, and nothing of it is delivered again.
    async fn look_back(self: &Rc<Self>) {
        for restart in [false, true] {
            if restart {
                self.closes();
                if !self.open() {
                    return self.oracle.borrow_mut().fail("the store does not open once closed");
                }
                let report = self.with_node(|node| Some(node.store.report().clone()));
                let well = |r: &Report| r.missing.is_empty() && r.unreadable.is_empty();
                if self.power_was_cut.get()
                    || self.plan.faults > 0
                    || report.is_some_and(|r| well(&r))
                {
                } else {
                    self.oracle.borrow_mut().fail("a clean store is not whole");
                }
                if !self.is_at_rest() {
                    self.oracle.borrow_mut().fail("something waits again after a clean close");
                }
            }
            let before = self.oracle.borrow().counts;
            let known = self.oracle.borrow().known();
            let mut expected = 0;
            for (_, stored) in known.iter().take(4) {
                let source = usize::from(stored.source != SOURCES[0]);
                let id: u32 = stored.provider_id[4..].parse().expect("a number");
                self.send(source, id, stored.version);
                self.turn();
                expected += 1;
            }
            let after = self.oracle.borrow().counts;
            if after.repeats - before.repeats != expected {
                self.oracle.borrow_mut().fail("what was acknowledged is not known any more");
            }
        }
    }
}
