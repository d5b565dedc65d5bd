//! One schedule: everything in it stands here, and every choice is drawn from its seed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::app::Mood;
use super::node::Node;
use super::oracle::{Counts, Oracle};
use super::plan::{Defect, Plan};
use super::tasks::Tasks;
use super::watched::Watched;
use crate::clock::{Clock, UnixMillis};
use crate::metrics::Metrics;
use crate::store::blocking::{Blocking, Held};
use crate::store::tests::sim_disk::SimDisk;
use crate::store::{Report, Tuning};

const START: UnixMillis = UnixMillis(1_763_700_000_000);
pub(super) const SOURCES: [&str; 2] = ["lab", "pharmacy"];

/// One schedule under way.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) rng: RefCell<fastrand::Rng>,
    pub(super) oracle: RefCell<Oracle>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) disk: SimDisk,
    pub(super) removed: Arc<Mutex<Vec<u32>>>,
    pub(super) tasks: Tasks,
    pub(super) held: Held,
    pub(super) node: RefCell<Option<Node>>,
    pub(super) configured: RefCell<Vec<usize>>,
    pub(super) moods: RefCell<BTreeMap<String, Mood>>,
    /// Milliseconds that have really passed.
    pub(super) passed: Cell<u64>,
    pub(super) requests: Cell<u32>,
    pub(super) fault_planned: Cell<bool>,
    pub(super) nearly_full: Cell<bool>,
    /// Whether names were taken away, and a power cut may bring them back.
    pub(super) power_was_cut: Cell<bool>,
    pub(super) trace: RefCell<Vec<String>>,
    pub(super) quiet: Cell<bool>,
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
    pub(super) fn new(seed: u64, defect: Option<Defect>) -> Rc<Self> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = Plan::new(&mut rng, defect);
        let configured = (0..plan.upstreams.len()).collect();
        let world = Rc::new(Self {
            rng: RefCell::new(rng),
            oracle: RefCell::new(Oracle::new(Arc::clone(&plan.keys))),
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
            let mood = if world.plan.outages { Mood::Out } else { Mood::Moody };
            world.moods.borrow_mut().insert(upstream.name.to_string(), mood);
        }
        world.note(|| format!("{:?}", world.plan));
        world
    }

    pub(super) async fn run(self: &Rc<Self>) {
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

    pub(super) fn draw(&self, below: u32) -> u32 {
        self.rng.borrow_mut().u32(..below.max(1))
    }

    /// Whether it is the one time in so many; never, if that is 0.
    pub(super) fn once_in(&self, times: u32) -> bool {
        times > 0 && self.draw(times) == 0
    }

    pub(super) async fn time_passes(&self, d: Duration) {
        let d = Duration::from_millis(u64::try_from(d.as_millis()).unwrap_or(0).max(1));
        self.passed.set(self.passed.get() + u64::try_from(d.as_millis()).unwrap_or(0));
        self.clock.advance(d);
        tokio::time::advance(d).await;
    }

    /// Compares the disk with what is known.
    pub(super) fn look(&self) {
        let mut oracle = self.oracle.borrow_mut();
        oracle.read_on(&self.disk, self.passed());
        let least = (!self.plan.clock_steps).then_some(self.plan.retention);
        for number in std::mem::take(&mut *self.removed.lock()) {
            self.note(|| format!("segment {number} is gone"));
            oracle.let_go(&self.disk, number, self.passed(), least);
        }
    }

    pub(super) fn check_report(&self, report: &Report) {
        self.look();
        let mut oracle = self.oracle.borrow_mut();
        oracle.checks_acts();
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
}
