//! The upstreams: what one does with an attempt is the schedule's choice. Everything around that is
//! the real worker: its claim, its guard against panics, its judgement and its settling.

use std::panic::resume_unwind;
use std::rc::Rc;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::{Instant, sleep};

use super::plan::Defect;
use super::world::World;
use crate::delivery::{Begun, Forwarder};
use crate::store::{Attempt, AttemptResult, StoredEvent, Verdict};

/// What an upstream does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Status(u16),
    Later,
    ConnectFailed,
    TimedOut,
    Broken,
    Panics,
}

/// How an upstream is disposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// It takes everything.
    Good,
    /// It takes most.
    Moody,
    /// It cannot be reached.
    Out,
}

/// Tells the oracle that an attempt is over, even if it panics or is dropped.
struct InFlight<'a> {
    world: &'a World,
    upstream: &'a str,
    event: &'a StoredEvent,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.world.oracle.borrow_mut().lets_go(self.upstream, self.event);
    }
}

/// An attempt at a delivery, in place of the real one's HTTP.
pub(super) async fn attempt(
    world: Rc<World>,
    forwarder: &Forwarder,
    event: &StoredEvent,
    number: u32,
    left: Duration,
) -> Attempt {
    let (begun, started) = (Begun::now(forwarder, event, number, left), Instant::now());
    let upstream = forwarder.upstream().name.as_str();
    let (answer, takes) = choose(&world, upstream);
    world.note(|| format!("{upstream} <- {} #{number}: {answer:?} in {takes:?}", name(event)));
    let (disk, now, ordered) = (&world.disk, world.passed(), world.plan.is_ordered(upstream));
    world.oracle.borrow_mut().attempts(disk, now, upstream, ordered, event, number);
    world.counts_circuit(upstream);
    let in_flight = InFlight { world: &world, upstream, event };
    if takes > Duration::ZERO {
        sleep(takes).await;
    }
    let (result, later) = match answer {
        Answer::Status(status) => (AttemptResult::Answered(status), None),
        Answer::Later => (AttemptResult::Answered(503), Some(HeaderValue::from_static("7"))),
        Answer::ConnectFailed => (AttemptResult::ConnectFailed, None),
        Answer::TimedOut => (AttemptResult::TimedOut, None),
        Answer::Broken => (AttemptResult::Broken, None),
        Answer::Panics => {
            if started.elapsed() >= left {
                let verdict = Verdict::Dead;
                let mut oracle = world.oracle.borrow_mut();
                oracle.answered(upstream, event, AttemptResult::Panicked, verdict, true);
            }
            // Without the hook, that would print each of them.
            resume_unwind(Box::new("an attempt panics"))
        }
    };
    drop(in_flight);
    let mut attempt = begun.ended(result, later.as_ref(), None);
    if world.plan.defect == Some(Defect::SettlesFailures)
        && matches!(attempt.verdict, Verdict::RetryAt(_))
    {
        attempt.verdict = Verdict::Delivered;
    }
    let may_give_up = matches!(answer, Answer::Status(400 | 410))
        || left <= attempt.duration
        || world.plan.clock_steps;
    let mut oracle = world.oracle.borrow_mut();
    oracle.answered(upstream, event, attempt.result, attempt.verdict, may_give_up);
    attempt
}

fn choose(world: &World, upstream: &str) -> (Answer, Duration) {
    let mut rng = world.rng.borrow_mut();
    let mood = world.moods.borrow().get(upstream).copied().unwrap_or(Mood::Good);
    let short = Duration::from_millis(if rng.bool() { 0 } else { rng.u64(..400) });
    let bad = world.plan.bad_answers;
    match mood {
        Mood::Good => (Answer::Status(200), short),
        Mood::Out if rng.u8(..4) > 0 => (Answer::ConnectFailed, short),
        Mood::Out => (Answer::TimedOut, Duration::from_secs(10)),
        Mood::Moody if rng.u32(..bad) > 0 => (Answer::Status(200), short),
        Mood::Moody => match rng.u8(..8) {
            0 => (Answer::Status(400), short),
            1 => (Answer::Status(410), short),
            2 => (Answer::Later, short),
            3 => (Answer::TimedOut, Duration::from_secs(10)),
            4 => (Answer::Broken, short),
            5 => (Answer::Panics, short),
            6 => (Answer::Status(200), Duration::from_secs(9)),
            _ => (Answer::Status(500), short),
        },
    }
}

fn name(event: &StoredEvent) -> String {
    let id = event.meta.provider_id.as_deref().unwrap_or_default();
    format!("{}/{id} ({})", event.source.as_str(), event.sequence)
}
