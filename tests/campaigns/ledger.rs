//! What was sent, what was acknowledged and what arrived, and whether the three agree.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::event::TestEvent;

/// How many problems are spelled out.
const SHOWN: usize = 5;
/// Events that may be sent again are remembered for this long: less than any retention, since a
/// repeat after it is an event of its own.
const MEMORY: Duration = Duration::from_secs(20);
const REMEMBERED: usize = 4096;
/// An outcome may be lost with the process that was writing it down, or with the machine before
/// the next sync, which comes within a quarter of a second on an idle machine.
const LONGEST_IN_FLIGHT: Duration = Duration::from_secs(3);

/// Shared by the senders and the app.
#[derive(Default)]
pub(crate) struct Ledger {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    /// Every event that was validly signed, by its number, noted before it is sent.
    entries: Vec<Entry>,
    /// Acknowledged, and not taken by the app.
    missing: HashSet<u32>,
    acknowledged: u64,
    acknowledged_again: u64,
    /// The last ones, to choose a repeat from.
    recent: VecDeque<(Instant, u32)>,
    /// Sent and never answered, or answered with 503: a provider would send them again.
    unanswered: VecDeque<(Instant, u32)>,
    unavailable: u64,
    forgeries_refused: u64,
    delivered: u64,
    /// Delivered again after the app had taken them, because the gateway died meanwhile.
    repeated: u64,
    /// Replays that were answered with 200.
    replayed: u64,
    /// The longest that one of these had been taken before that.
    longest_in_flight: Duration,
    /// When each life of the gateway ended.
    ended: HashMap<u32, Instant>,
    /// What must never happen, at the moment it did.
    problems: Vec<String>,
    problem_count: u64,
    /// Whether any outcome may get lost, because the store can write nothing.
    outcomes_lost: bool,
    /// Whether nothing that comes from a life after its end counts: the machine has no power then.
    silent_after_end: bool,
    /// Acknowledgements that came after it.
    late: u64,
}

struct Entry {
    event: TestEvent,
    /// Hookward's id, once the event was answered with 200.
    acknowledged: Option<Uuid>,
    /// Hookward's id, once it arrived.
    delivered: Option<Uuid>,
    /// In which life of the gateway and when the app last answered 200 to it.
    taken: Option<(u32, Instant)>,
    /// How often it did.
    times_taken: u32,
    /// How often it may come again because somebody may have asked for that.
    replays: u32,
    /// Whether one that somebody had asked for may have been one that a life's end explains as well: then
    /// what was asked for is still to come.
    explained_twice: bool,
}

/// An event that is to be delivered once more.
pub(crate) struct Replay {
    /// What Hookward calls it.
    pub(crate) id: Uuid,
    number: u32,
    /// How often the app had taken it before.
    times_taken: u32,
}

/// An event that reaches the app.
pub(crate) struct Delivery<'a> {
    /// As the provider calls it.
    pub(crate) id: &'a str,
    pub(crate) webhook_id: Uuid,
    pub(crate) body: &'a str,
    /// Which of the gateway's lives it comes from.
    pub(crate) life: u32,
    /// Whether the app is about to answer 200.
    pub(crate) taken: bool,
}

impl Ledger {
    /// One for a store that may be unable to write outcomes down.
    pub(crate) fn with_outcomes_lost() -> Self {
        let state = State { outcomes_lost: true, ..State::default() };
        Self { state: Mutex::new(state), ..Self::default() }
    }

    /// One for a machine whose power is cut.
    pub(crate) fn of_a_machine() -> Self {
        let state = State { silent_after_end: true, ..State::default() };
        Self { state: Mutex::new(state), ..Self::default() }
    }

    /// A new event, entered before it is sent.
    pub(crate) fn fresh(&self, rng: &mut Rng) -> TestEvent {
        let mut state = self.state();
        let event = TestEvent::new(u32::try_from(state.entries.len()).unwrap(), rng);
        state.entries.push(Entry {
            event,
            acknowledged: None,
            delivered: None,
            taken: None,
            times_taken: 0,
            replays: 0,
            explained_twice: false,
        });
        event
    }

    /// A valid event was answered with 200 and this `Hookward-Event-Id`, in this life.
    pub(crate) fn note_acknowledged(&self, event: TestEvent, event_id: &str, life: u32) {
        let mut state = self.state();
        if state.is_silent(life) {
            state.late += 1;
            return state.unanswered.push_back((Instant::now(), event.number));
        }
        let Ok(id) = event_id.parse::<Uuid>() else {
            return state.problem(format!("a 200 came without an id: {event_id:?}"));
        };
        let entry = &mut state.entries[event.number as usize];
        let (before, delivered, taken) =
            (entry.acknowledged.replace(id), entry.delivered, entry.taken.is_some());
        if before.is_some() {
            state.acknowledged_again += 1;
        } else {
            state.acknowledged += 1;
            state.remember(event.number);
            if !taken {
                state.missing.insert(event.number);
            }
        }
        for other in before.into_iter().chain(delivered).filter(|other| *other != id) {
            state.problem(format!("{} was acknowledged as {id} and is {other}", event.id()));
        }
    }

    /// A valid event was not answered at all.
    pub(crate) fn note_unanswered(&self, event: TestEvent) {
        self.state().unanswered.push_back((Instant::now(), event.number));
    }

    /// A valid event was answered with 503.
    pub(crate) fn note_unavailable(&self, event: TestEvent) {
        let mut state = self.state();
        state.unavailable += 1;
        state.unanswered.push_back((Instant::now(), event.number));
    }

    /// A forged event was answered with 401.
    pub(crate) fn note_refused(&self) {
        self.state().forgeries_refused += 1;
    }

    /// Something that must never happen.
    pub(crate) fn note_problem(&self, problem: String) {
        self.state().problem(problem);
    }

    /// This life of the gateway is over.
    pub(crate) fn note_end(&self, life: u32) {
        self.state().ended.insert(life, Instant::now());
    }

    /// An event has reached the app; whether the app may answer.
    pub(crate) fn note_delivered(&self, delivery: &Delivery<'_>) -> bool {
        let mut state = self.state();
        if state.is_silent(delivery.life) {
            return false;
        }
        state.delivered(delivery);
        drop(state);
        self.arrived.notify_one();
        true
    }

    /// An event that was acknowledged not long ago.
    pub(crate) fn any_acknowledged(&self, rng: &mut Rng) -> Option<TestEvent> {
        let mut state = self.state();
        while state.recent.front().is_some_and(|(at, _)| at.elapsed() > MEMORY) {
            state.recent.pop_front();
        }
        let (_, number) = *rng.choice(state.recent.iter())?;
        Some(state.entries[number as usize].event)
    }

    /// An event that the app has, and that somebody is about to replay.
    pub(crate) fn ask_for_replay(&self, rng: &mut Rng) -> Option<Replay> {
        let number = self.any_acknowledged(rng)?.number;
        let mut state = self.state();
        if state.missing.contains(&number) {
            return None;
        }
        let entry = &mut state.entries[number as usize];
        let id = entry.acknowledged?;
        entry.replays += 1;
        Some(Replay { id, number, times_taken: entry.times_taken })
    }

    /// It was answered with 200, in this life: the app must get the event once more.
    pub(crate) fn note_replayed(&self, replay: &Replay, life: u32) {
        let mut state = self.state();
        if state.is_silent(life) {
            return;
        }
        state.replayed += 1;
        if state.entries[replay.number as usize].times_taken == replay.times_taken {
            state.missing.insert(replay.number);
        }
    }

    /// It was answered, and not done.
    pub(crate) fn note_not_replayed(&self, replay: &Replay) {
        let mut state = self.state();
        let replays = &mut state.entries[replay.number as usize].replays;
        *replays = replays.saturating_sub(1);
    }

    /// An event that a provider would send again.
    pub(crate) fn take_unanswered(&self) -> Option<TestEvent> {
        let mut state = self.state();
        let (at, number) = state.unanswered.pop_back()?;
        if at.elapsed() > MEMORY {
            state.unanswered.clear();
            return None;
        }
        Some(state.entries[number as usize].event)
    }

    /// How many acknowledged events the app has not taken.
    pub(crate) fn missing(&self) -> usize {
        self.state().missing.len()
    }

    /// Which they are.
    pub(crate) fn missing_numbers(&self) -> Vec<u32> {
        self.state().missing.iter().copied().collect()
    }

    /// Waits until the app has taken every acknowledged event, at most for `longest`; whether it
    /// has.
    pub(crate) async fn all_delivered(&self, longest: Duration) -> bool {
        let wait = async {
            while self.missing() > 0 {
                self.arrived.notified().await;
            }
        };
        tokio::time::timeout(longest, wait).await.is_ok()
    }

    /// The campaign so far, in a line.
    pub(crate) fn summary(&self) -> String {
        let state = self.state();
        format!(
            "{} sent, {} acknowledged and {} repeats of those ({} too late), {} answered 503, \
             {} forgeries refused, {} replayed, {} deliveries, {} of them again (taken {} ms before \
             the end at most), {} missing",
            state.entries.len(),
            state.acknowledged,
            state.acknowledged_again,
            state.late,
            state.unavailable,
            state.forgeries_refused,
            state.replayed,
            state.delivered,
            state.repeated,
            state.longest_in_flight.as_millis(),
            state.missing.len(),
        )
    }

    /// Everything that is wrong.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        let state = self.state();
        let mut problems = state.problems.clone();
        if state.problem_count > problems.len() as u64 {
            problems.push(format!("and others: {} problems in all", state.problem_count));
        }
        let missing = state.missing.iter().take(SHOWN).map(|n| state.entries[*n as usize].event);
        problems.extend(missing.map(|event| format!("{} never arrived", event.id())));
        if state.acknowledged == 0 {
            problems.push("nothing was acknowledged: nothing is shown".to_owned());
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn problem(&mut self, problem: String) {
        self.problem_count += 1;
        if self.problems.len() < SHOWN {
            self.problems.push(problem);
        }
    }

    fn is_silent(&self, life: u32) -> bool {
        self.silent_after_end && self.ended.contains_key(&life)
    }

    fn remember(&mut self, number: u32) {
        if self.recent.len() >= REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((Instant::now(), number));
    }

    fn delivered(&mut self, delivery: &Delivery<'_>) {
        self.delivered += 1;
        let number =
            TestEvent::number_of(delivery.id).filter(|n| (*n as usize) < self.entries.len());
        let Some(number) = number else {
            return self.problem(format!("{} arrived and was never validly sent", delivery.id));
        };
        let entry = &mut self.entries[number as usize];
        let others =
            entry.delivered.replace(delivery.webhook_id).into_iter().chain(entry.acknowledged);
        let other = others.into_iter().find(|other| *other != delivery.webhook_id);
        let (event, mut taken) = (entry.event, entry.taken);
        let life_ended =
            taken.is_some_and(|(life, _)| delivery.life > life && self.ended.contains_key(&life));
        if delivery.taken {
            entry.taken = Some((delivery.life, Instant::now()));
            entry.times_taken += 1;
            // What was asked for is no repeat.
            if taken.is_some() && entry.replays > 0 {
                entry.replays -= 1;
                entry.explained_twice |= life_ended;
                taken = None;
            } else if taken.is_some() && !life_ended && std::mem::take(&mut entry.explained_twice) {
                taken = None;
            }
            self.missing.remove(&number);
        } else if entry.replays > 0 {
            taken = None;
        }
        if let Some(other) = other {
            self.problem(format!("{} came as {} and is {other}", delivery.id, delivery.webhook_id));
        }
        if event.body() != delivery.body {
            self.problem(format!("{} arrived with other bytes than were sent", delivery.id));
        }
        if let Some((life, at)) = taken {
            self.repeated(delivery, life, at);
        }
    }

    /// Only what was in flight when a life ended may come again in a later one.
    fn repeated(&mut self, delivery: &Delivery<'_>, life: u32, taken: Instant) {
        let Some(end) = self.ended.get(&life).filter(|_| delivery.life > life) else {
            let problem = format!("{} came again after the app had taken it", delivery.id);
            return self.problem(problem);
        };
        let in_flight = end.saturating_duration_since(taken);
        self.repeated += 1;
        self.longest_in_flight = self.longest_in_flight.max(in_flight);
        if in_flight > LONGEST_IN_FLIGHT && !self.outcomes_lost {
            let ms = in_flight.as_millis();
            self.problem(format!("{} came again, taken {ms} ms before the end", delivery.id));
        }
    }
}
