//! The store and the delivery as a simulation: writer, indexer, requests, workers and upstreams on
//! one thread, under a simulated clock and disk, in an order that a seed decides. The same seed gives
//! the same trace. [`oracle`] says what must be true of every schedule.
//!
//! Real: all of the store but sled and its threads' loops, and of the delivery the workers with
//! claiming, the guard against panics, judging, retrying and settling. Simulated: the disk, the
//! clock, what an upstream answers.
//!
//! `HOOKWARD_SIMULATION_SEED` repeats one schedule and shows its trace,
//! `HOOKWARD_SIMULATION_SCHEDULES` says how many there are, from `HOOKWARD_SIMULATION_FIRST` on.

mod acting;
mod app;
mod ledger;
mod node;
mod oracle;
mod plan;
mod rest;
mod steps;
mod tasks;
mod watched;
mod world;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use self::oracle::Counts;
use self::plan::Defect;
use self::world::{Ended, run};

/// Schedules a run of the tests.
const SCHEDULES: u64 = 10_000;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn told(seed: u64, ended: &Ended) -> String {
    let what = ended.violation.as_deref().unwrap_or("all is well");
    format!(
        "{}\nseed {seed}: {what}\nHOOKWARD_SIMULATION_SEED={seed} cargo test --lib simulation:: repeats it",
        ended.trace.join("\n")
    )
}

fn hash(ended: &Ended) -> u64 {
    let mut hasher = DefaultHasher::new();
    ended.trace.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn whatever_happens_in_whatever_order_nothing_is_lost_doubled_early_or_out_of_order() {
    if let Some(seed) = setting("HOOKWARD_SIMULATION_SEED") {
        let ended = run(seed, None);
        println!("{}", told(seed, &ended));
        assert!(ended.violation.is_none());
        return;
    }
    let schedules = setting("HOOKWARD_SIMULATION_SCHEDULES").unwrap_or(SCHEDULES);
    let first = setting("HOOKWARD_SIMULATION_FIRST").unwrap_or_else(|| fastrand::u64(..1 << 60));
    println!("{schedules} schedules from seed {first}");
    let (next, sum, failed) = (AtomicU64::new(0), Mutex::new(Counts::default()), Mutex::new(None));
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= schedules || failed.lock().is_some() {
                        return;
                    }
                    let ended = run(first + at, None);
                    sum.lock().add(&ended.counts);
                    if ended.violation.is_some() {
                        failed.lock().get_or_insert_with(|| told(first + at, &ended));
                    }
                }
            });
        }
    });
    if let Some(failed) = failed.into_inner() {
        panic!("{failed}");
    }
    let sum = sum.into_inner();
    println!("{sum:?}");
    if schedules >= 1000 {
        // What is rarest happens about once in a hundred schedules: much less than that is no chance.
        assert!(sum.least() > schedules / 250, "too little happens: {sum:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..40 {
        let (one, two) = (run(seed, None), run(seed, None));
        for (at, (one, two)) in one.trace.iter().zip(&two.trace).enumerate() {
            assert_eq!(one, two, "seed {seed}, line {at}");
        }
        assert_eq!(hash(&one), hash(&two), "seed {seed}");
    }
    assert_ne!(hash(&run(1, None)), hash(&run(2, None)));
}

/// Each of these plants one defect, and some schedule must notice it: else what it would break is not
/// checked at all.
#[test]
fn the_oracle_notices_what_is_wrong_on_purpose() {
    for (defect, complaint) in [
        (Defect::SyncLies, "before it was durable"),
        (Defect::SyncsLate, "before it was durable"),
        (Defect::ForgetsKeys, "stored twice"),
        (Defect::PurgesEarly, "is gone"),
        (Defect::LosesNotes, "again"),
        (Defect::LosesOrder, "is delivered to"),
        (Defect::SettlesFailures, "never delivered"),
        (Defect::CutsTooMuch, ""),
        (Defect::LosesActs, "act on"),
    ] {
        let noticed = |seed| run(seed, Some(defect)).violation.filter(|v| v.contains(complaint));
        let noticed = (0..400).find_map(|seed| Some((seed, noticed(seed)?)));
        let (seed, noticed) = noticed.unwrap_or_else(|| panic!("{defect:?} is not noticed"));
        println!("{defect:?}, seed {seed}: {noticed}");
    }
}
