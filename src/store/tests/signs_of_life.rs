//! Signs of life in the journal: processes that come and go under a clock in the test's hand, on a disk that
//! can fail.

use super::sim_disk::{Fault, Leaves};
use super::*;
use crate::store::indexer::IndexFeed;
use crate::store::journal::presence::{Absence, Cause};
use crate::store::journal::writer::Writer;
use crate::store::open::Opened;
use crate::store::presence::EVERY;
use crate::store::queue::Work;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A store's directory over the lives of several processes.
struct World {
    disk: SimDisk,
    options: Options,
    tuning: Tuning,
    _dir: tempfile::TempDir,
}

/// A process that has the store open, whose writer turns when it is told to.
struct Process {
    store: Arc<Store>,
    writer: Writer,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::default());
        let options = Options { clock: Clock::manual(START), ..options(dir.path()) };
        let tuning = small(&disk);
        Self { disk, options, tuning, _dir: dir }
    }

    fn passes(&self, d: Duration) {
        self.options.clock.advance(d);
    }

    fn now(&self) -> UnixMillis {
        self.options.clock.now()
    }

    fn open(&self) -> Option<Process> {
        let feed = |_, _| Ok(IndexFeed::idle());
        let opened = Opened::recover(self.options.clone(), self.tuning.clone(), feed).ok()?;
        let Opened { core, writer, report } = opened;
        let store = Arc::new(Store { core, writer: Default::default(), report, lock: None });
        Some(Process { store, writer, clock: self.options.clock.clone() })
    }

    /// A process that lets requests in.
    fn start(&self) -> Process {
        let mut process = self.open().unwrap();
        process.lets_in();
        process
    }

    fn known(&self) -> presence::Known {
        self.open().unwrap().store.presence()
    }

    /// The process is killed, or the power goes.
    fn dies(&self, process: Process, leaves: Leaves) {
        self.disk.cut();
        drop(process);
        self.disk.reboot(leaves);
    }
}

impl Process {
    fn lets_in(&mut self) {
        self.store.lets_in();
        self.turn();
    }

    fn turn(&mut self) {
        let work = self.store.core.queue.wait(Duration::ZERO);
        assert!(self.writer.turn(work).is_continue());
    }

    /// Time passes, a second at a time.
    fn lives(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.clock.advance(SECOND);
            self.turn();
        }
    }

    /// An event comes in. Whether it is accepted.
    async fn takes(&mut self, n: u32) -> bool {
        let (store, to) = (Arc::clone(&self.store), app(&self.store));
        let body = format!("{{\"n\":{n}}}");
        let meta = EventMeta {
            provider_id: Some(format!("evt_{n}")),
            data: 0..u32::try_from(body.len()).unwrap(),
            ..EventMeta::default()
        };
        let event = identified("lab", self.clock.now(), &body, meta, OnConflict::Deliver);
        let answer = tokio::spawn(async move { store.accept(event, to).await });
        while !answer.is_finished() {
            tokio::task::yield_now().await;
            self.turn();
        }
        answer.await.unwrap().is_ok()
    }

    fn stops(mut self) {
        self.store.shuts();
        self.store.core.begin_close();
        self.store.core.queue.close();
        while self.writer.turn(self.store.core.queue.wait(Duration::ZERO)).is_continue() {}
    }
}

fn absent(from: UnixMillis, until: UnixMillis, cause: Cause) -> Absence {
    Absence { from, until, cause }
}

#[test]
fn a_stop_and_a_crash_are_absences_of_their_own_kind_and_a_first_start_is_none() {
    let world = World::new();
    let mut first = world.start();
    first.lives(25);
    let stopped = world.now();
    first.stops();
    world.passes(HOUR);
    let came = world.now();
    let mut second = world.start();
    let expected = [absent(stopped, came, Cause::Stopped)];
    assert_eq!(second.store.presence().absences, expected);
    second.lives(35);
    let last = second.store.presence().last.unwrap().at;
    world.dies(second, Leaves::Nothing);
    world.passes(HOUR);
    let again = world.now();
    let known = world.start().store.presence();
    assert_eq!((known.absences[0], known.since), (expected[0], Some(START)));
    let Absence { from, until, cause } = known.absences[1];
    assert_eq!((until, cause), (again, Cause::Crashed));
    assert!(from <= last && last.since(from) <= EVERY + SECOND * 2, "{from} {last}");
}

#[tokio::test]
async fn an_event_is_a_sign_of_life() {
    let world = World::new();
    let mut process = world.start();
    for n in 0..40 {
        assert!(process.takes(n).await);
        process.lives(1);
    }
    let last = world.now();
    world.dies(process, Leaves::Nothing);
    world.passes(HOUR);
    let (from, cause) = world.known().away.unwrap();
    assert!(last.since(from) <= SECOND && cause == Cause::Crashed, "{from}");
}

/// The disk is full before anything tells, and stays so for a while.
#[tokio::test]
async fn a_full_disk_is_an_absence_and_no_sign_of_life_makes_an_error_of_it() {
    for events in [false, true] {
        let world = World::new();
        let mut process = world.start();
        process.lives(12);
        world.disk.plan(0, Fault::FillsUp);
        let since = world.now();
        if events {
            assert!(!process.takes(1).await);
            process.turn();
        }
        process.lives(300);
        let state = process.store.writable();
        assert_eq!(state, if events { Err(AcceptError::NoRoom) } else { Ok(()) });
        let (from, cause) = process.store.presence().away.unwrap();
        assert!(from <= since && since.since(from) <= EVERY, "{from} {since}");
        assert_eq!(cause, Cause::Unwritable);
        world.disk.make_room();
        process.lives(5);
        assert!(process.takes(2).await);
        process.turn();
        let [absence] = process.store.presence().absences[..] else { panic!("{events}") };
        assert_eq!((absence.from, absence.cause), (from, Cause::Unwritable));
        assert!(absence.until.since(since) >= SECOND * 300, "{absence:?}");
        process.stops();
        assert_eq!(world.known().absences, [absence]);
    }
}

#[test]
fn a_start_that_lets_nobody_in_shortens_no_absence() {
    let world = World::new();
    let mut process = world.start();
    process.lives(20);
    let stopped = world.now();
    process.stops();
    for stops in [false, true] {
        world.passes(HOUR);
        let mut idle = world.open().unwrap();
        for _ in 0..100 {
            world.passes(SECOND);
            idle.turn();
        }
        if stops {
            idle.stops();
        } else {
            world.dies(idle, Leaves::Nothing);
        }
    }
    world.passes(HOUR);
    let known = world.start().store.presence();
    assert_eq!(known.absences, [absent(stopped, world.now(), Cause::Stopped)]);
}

/// However often: a segment with nothing but signs of life is replaced by the next start's, which
/// tells what it told.
#[test]
fn segments_without_events_are_replaced_and_nothing_of_them_is_lost() {
    let world = World::new();
    for _ in 0..5 {
        let mut process = world.start();
        process.lives(40);
        process.stops();
        world.passes(HOUR);
        assert_eq!(world.disk.names().len(), 1);
    }
    let known = world.known();
    assert_eq!((known.absences.len(), known.since), (4, Some(START)));
}

#[test]
fn the_journal_of_an_idle_gateway_stays_small_and_tells_what_is_within_the_retention() {
    let mut world = World::new();
    world.options.retention = HOUR;
    let mut longest = 0;
    let mut process = world.start();
    for minute in 0..600 {
        process.lives(55);
        if minute % 60 == 59 {
            process.stops();
            process = world.start();
        }
        let core = Arc::clone(&process.store.core);
        let purge = std::thread::spawn(move || retention::purge(&core));
        while !purge.is_finished() {
            process.turn();
            std::thread::yield_now();
        }
        purge.join().unwrap();
        world.passes(SECOND * 5);
        process.turn();
        longest = longest.max(world.disk.names().len());
    }
    // Segments are ended when they are two minutes old.
    assert!(longest <= 36, "{longest} segments");
    let bytes: usize = world.disk.durable().iter().map(|(_, len)| len).sum();
    assert!(bytes < 100_000, "{bytes} bytes");
    let absences = process.store.presence().absences;
    assert!((1..=2).contains(&absences.len()), "{absences:?}");
    assert!(process.store.core.segments.lock().len() > 20);
}

/// Where a process was and where none was, and everything that was accepted.
#[derive(Default)]
struct Truth {
    /// From the end of a process to the moment when the next one let requests in.
    gone: Vec<(UnixMillis, UnixMillis)>,
    /// When an event was accepted.
    taken: Vec<UnixMillis>,
}

/// Three lives with events in between, of which the first is crashed into wherever the power cut is
/// planned.
async fn lives(world: &World, leaves: Leaves) -> Truth {
    let mut truth = Truth::default();
    let mut gone: Option<UnixMillis> = None;
    let mut round = 0;
    while round < 6 {
        round += 1;
        let Some(mut process) = world.open() else {
            world.disk.reboot(leaves);
            world.passes(MINUTE);
            continue;
        };
        if world.disk.is_off() {
            world.dies(process, leaves);
            world.passes(MINUTE);
            continue;
        }
        process.lets_in();
        let came = world.now();
        for n in 0..30 {
            if n % 9 == 3 && process.takes(round * 100 + n).await {
                truth.taken.push(world.now());
            }
            process.lives(1);
        }
        // A start whose sign of life the power cut took has not been one for who reads the journal.
        if let Some(gone) = gone {
            truth.gone.push((gone, came));
        }
        gone = Some(world.now());
        if world.disk.is_off() {
            world.dies(process, leaves);
        } else if round % 2 == 0 {
            process.stops();
        } else {
            world.dies(process, leaves);
        }
        world.passes(HOUR);
    }
    truth
}

#[tokio::test]
async fn a_power_cut_at_any_operation_hides_no_absence_and_makes_none_up() {
    for key in [&[][..], &[7][..]] {
        for at in 0.. {
            let mut fired = false;
            for leaves in [Leaves::Nothing, Leaves::Everything, Leaves::SomePages(at as u64)] {
                let mut world = World::new();
                world.options.keys = keys(key);
                world.disk.plan(at, Fault::PowerCut);
                let truth = lives(&world, leaves).await;
                fired |= world.disk.fired();
                let known = world.start().store.presence();
                let story = format!("cut at {at}, {leaves:?}: {known:?}");
                let since = known.since.unwrap();
                for (from, until) in truth.gone.iter().filter(|(from, _)| *from >= since) {
                    let covers = |a: &Absence| a.from <= *from && a.until >= *until;
                    assert!(known.absences.iter().any(covers), "{from} to {until}: {story}");
                }
                for taken in &truth.taken {
                    // A crash takes what was not synced with it: the sign before is the last then.
                    let inside = |a: &Absence| a.from.after(EVERY * 2) < *taken && *taken < a.until;
                    assert!(!known.absences.iter().any(inside), "{taken}: {story}");
                }
            }
            if !fired {
                assert!(at > 30, "{at} operations");
                break;
            }
        }
    }
}

/// A flipped bit anywhere in the newest segment, or in all of what it opens with.
#[test]
fn damage_hides_no_absence_without_a_word() {
    let story = || {
        let world = World::new();
        let mut process = world.start();
        process.lives(20);
        let mut gone = Vec::new();
        for _ in 0..3 {
            process.lives(20);
            gone.push(world.now());
            process.stops();
            world.passes(HOUR);
            process = world.start();
        }
        process.lives(20);
        world.dies(process, Leaves::Everything);
        world.passes(HOUR);
        (world, gone)
    };
    let (whole, _) = story();
    let newest = whole.disk.names().pop().unwrap();
    let mut len = 0;
    whole.disk.corrupt(&newest, |bytes| len = bytes.len());
    for at in (64..len).step_by(3) {
        let (world, gone) = story();
        world.disk.corrupt(&newest, |bytes| bytes[at] ^= 0x10);
        let mut known = presence::Known::default();
        let said = crate::log::testing::lines(false, || known = world.known());
        let told = said.contains("cannot be read in the journal any more");
        for from in gone {
            let covers = |a: &Absence| a.from <= from && a.until > from.after(MINUTE * 59);
            let away = known.away.is_some_and(|(since, _)| since <= from);
            let known = known.absences.iter().any(covers) || away;
            assert!(known || told, "byte {at}, {from}: {said}");
        }
    }
}

/// Several segments with events in them, of which the newest has lost what it opens with.
#[tokio::test]
async fn what_a_damaged_segment_opened_with_is_read_from_those_before() {
    let world = World::new();
    let mut process = world.start();
    for n in 0..3 {
        assert!(process.takes(n).await);
        process.lives(40);
        process.stops();
        world.passes(HOUR);
        process = world.start();
    }
    assert!(process.takes(9).await);
    process.lives(40);
    let expected = process.store.presence().absences;
    assert_eq!(expected.len(), 3);
    process.stops();
    let newest = world.disk.names().pop().unwrap();
    world.disk.corrupt(&newest, |bytes| {
        // The log's frame: kind 7 behind the end of the checkpoint.
        let at = (64..bytes.len()).find(|at| bytes[at + 16] == 7 && bytes[at + 24] == 4).unwrap();
        bytes[at + 30] ^= 1;
    });
    let known = world.known();
    assert_eq!(known.since, Some(START));
    for absence in &expected[..2] {
        assert!(known.absences.contains(absence), "{known:?}");
    }
    let covers = |a: &Absence| a.from <= expected[2].from && a.until >= expected[2].until;
    assert!(known.absences.iter().any(covers), "{known:?}");
}

#[test]
fn a_journal_from_before_signs_of_life_has_no_absence() {
    let world = World::new();
    let mut process = world.open().unwrap();
    for _ in 0..30 {
        world.passes(SECOND);
        process.turn();
    }
    process.stops();
    world.passes(HOUR);
    let known = world.start().store.presence();
    assert_eq!((known.absences, known.since), (Vec::new(), Some(world.now())));
}

#[test]
fn a_write_that_fails_ends_acceptance_as_any_does() {
    let world = World::new();
    let mut process = world.start();
    process.lives(9);
    // Free space is looked at before.
    world.disk.plan(1, Fault::Fails(std::io::ErrorKind::Other));
    process.clock.advance(EVERY);
    assert!(process.writer.turn(Work::default()).is_continue());
    assert_eq!(process.store.writable(), Err(AcceptError::Failed));
    process.lives(5);
    assert_eq!(process.store.presence().away.unwrap().1, Cause::Unwritable);
}
