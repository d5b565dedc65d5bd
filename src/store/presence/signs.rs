//! What the running gateway knows of when events could be taken. The writer alone moves it on: it is
//! asked at each of its turns what is to be written, and says what has been. Nothing here reads or
//! writes a file.

use std::time::Duration;

use parking_lot::Mutex;

use super::{EVERY, JUMP, Known, Moment, STALL, Sign, add};
use crate::clock::UnixMillis;
use crate::store::journal::presence::{Absence, Cause, Log, Presence};

/// How soon a sign of life is tried again that the disk had no room for.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// When events could be taken, from the journal and from this process.
#[derive(Debug)]
pub struct Signs(Mutex<State>);

#[derive(Debug)]
struct State {
    since: Option<UnixMillis>,
    absences: Vec<Absence>,
    life: Life,
    door: Door,
    /// Whether this process has taken events.
    lived: bool,
    /// When the last sign of life was written: a frame, or an event.
    noted: Moment,
    /// A sign of life is not written before.
    retry_at: Duration,
    /// How often something about absences has changed.
    changes: u64,
}

/// Whether events can be taken.
#[derive(Clone, Copy, Debug)]
enum Life {
    /// Since then not.
    Away(UnixMillis, Cause),
    /// They could at the writer's last turn.
    Here(Moment),
}

/// Whether requests are let in.
#[derive(Clone, Copy, Debug)]
enum Door {
    /// Not yet.
    Closed,
    /// Since then.
    Open(UnixMillis),
    /// Not any more since then.
    Shut(UnixMillis),
}

impl Signs {
    /// After `known`, which the journal has told.
    pub fn new(known: Known) -> Self {
        let Known { since, absences, last, .. } = known;
        let Sign { at, stopped } = last.unwrap_or(Sign { at: UnixMillis(0), stopped: true });
        let cause = if stopped { Cause::Stopped } else { Cause::Crashed };
        Self(Mutex::new(State {
            since,
            absences,
            life: Life::Away(at, cause),
            door: Door::Closed,
            lived: false,
            noted: Moment { passed: Duration::ZERO, wall: at },
            retry_at: Duration::ZERO,
            changes: 0,
        }))
    }

    /// Requests are let in from here on.
    pub fn open(&self, now: UnixMillis) {
        let mut state = self.0.lock();
        if let Door::Closed = state.door {
            state.door = Door::Open(now);
        }
    }

    /// Requests are not let in any more.
    pub fn shut(&self, now: UnixMillis) {
        let mut state = self.0.lock();
        if let Door::Open(_) = state.door {
            state.door = Door::Shut(now);
        }
    }

    /// What is known.
    pub fn known(&self) -> Known {
        let state = self.0.lock();
        let (away, last) = match state.life {
            Life::Away(from, cause) => {
                ((from, cause), Sign { at: from, stopped: cause == Cause::Stopped })
            }
            Life::Here(seen) => {
                let last = Some(Sign { at: seen.wall, stopped: false });
                let absences = state.absences.clone();
                return Known { since: state.since, absences, away: None, last };
            }
        };
        let known = state.since.is_some();
        let (away, last) = (Some(away).filter(|_| known), Some(last).filter(|_| known));
        Known { since: state.since, absences: state.absences.clone(), away, last }
    }

    /// How often something about absences has changed: whoever has seen all of them need not look
    /// again before it does.
    pub fn changes(&self) -> u64 {
        self.0.lock().changes
    }

    /// All that is known, as a new segment is to open with. Absences that are past the retention are
    /// forgotten; `None`: there is nothing to tell.
    pub fn log(&self, now: UnixMillis, retention: Duration) -> Option<Log> {
        let mut state = self.0.lock();
        let since = state.since?;
        state.absences.retain(|absence| absence.until.after(retention) >= now);
        let (last, stopped) = match state.life {
            Life::Away(from, cause) => (from, cause == Cause::Stopped),
            Life::Here(_) => (now, false),
        };
        Some(Log { since, last, stopped, absences: state.absences.clone() })
    }

    /// An event was written.
    pub fn event(&self, now: Moment) {
        let mut state = self.0.lock();
        if let Life::Here(_) = state.life {
            state.noted = now;
        }
    }

    /// What is to be written now; `can`: the journal takes events.
    pub fn look(&self, now: Moment, can: bool) -> Vec<Presence> {
        self.0.lock().look(now, can)
    }

    /// What is to be written last.
    pub fn closing(&self, now: Moment) -> Vec<Presence> {
        self.0.lock().closing(now)
    }

    /// This has been written.
    pub fn wrote(&self, frames: Vec<Presence>, now: Moment) {
        self.0.lock().wrote(frames, now);
    }

    /// What was to be written has not been, for there was no room. So no event could be taken either.
    pub fn left_out(&self, now: Moment) {
        let mut state = self.0.lock();
        state.retry_at = now.passed.saturating_add(TRY_AGAIN);
        if let Life::Here(_) = state.life {
            let noted = state.noted.wall;
            state.goes(noted, Cause::Unwritable);
        }
    }
}

impl State {
    fn goes(&mut self, from: UnixMillis, cause: Cause) {
        self.life = Life::Away(from, cause);
        self.changes += 1;
    }

    fn look(&mut self, now: Moment, can: bool) -> Vec<Presence> {
        match (self.life, self.door) {
            (Life::Here(_), Door::Shut(at)) => self.goes(at, Cause::Stopped),
            (Life::Here(seen), _) if !can => self.goes(seen.wall, Cause::Unwritable),
            (Life::Here(seen), _) => {
                if let Some(missed) = missed(seen, now) {
                    return vec![Presence::Away(missed), Presence::Alive(now.wall)];
                }
                self.life = Life::Here(now);
                if now.passed.saturating_sub(self.noted.passed) >= EVERY {
                    return vec![Presence::Alive(now.wall)];
                }
            }
            (Life::Away(from, cause), Door::Open(opened)) => {
                if can && now.passed >= self.retry_at {
                    // At the start events wait for the door, later for the disk.
                    let until = if self.lived { now.wall } else { opened };
                    return self.comes_back(from, until, cause, now);
                }
            }
            (Life::Away(..), Door::Closed | Door::Shut(_)) => {}
        }
        Vec::new()
    }

    fn comes_back(
        &self,
        from: UnixMillis,
        until: UnixMillis,
        cause: Cause,
        now: Moment,
    ) -> Vec<Presence> {
        if self.since.is_none() {
            let absences = self.absences.clone();
            return vec![Presence::Log(Log {
                since: until,
                last: until,
                stopped: false,
                absences,
            })];
        }
        vec![Presence::Away(absence(from, until, cause)), Presence::Alive(now.wall)]
    }

    fn closing(&self, now: Moment) -> Vec<Presence> {
        let stop = match self.door {
            Door::Shut(at) => at,
            Door::Open(_) | Door::Closed => now.wall,
        };
        match self.life {
            _ if !self.lived => Vec::new(),
            Life::Here(_) => vec![Presence::Stopped(stop)],
            Life::Away(from, Cause::Stopped) => vec![Presence::Stopped(from)],
            Life::Away(from, cause) => {
                vec![Presence::Away(absence(from, stop, cause)), Presence::Stopped(stop)]
            }
        }
    }

    fn wrote(&mut self, frames: Vec<Presence>, now: Moment) {
        for frame in frames {
            match frame {
                Presence::Alive(_) => self.life = Life::Here(now),
                Presence::Away(absence) => {
                    add(&mut self.absences, absence);
                    self.changes += 1;
                }
                Presence::Log(log) => {
                    self.since = Some(log.since);
                    self.life = Life::Here(now);
                    self.changes += 1;
                }
                Presence::Stopped(at) => self.life = Life::Away(at, Cause::Stopped),
            }
        }
        self.lived = true;
        self.noted = now;
    }
}

/// From one moment to the other. If the clock was set back in between, it is known that there was an
/// absence, and not how long.
fn absence(from: UnixMillis, until: UnixMillis, cause: Cause) -> Absence {
    if from > until {
        return Absence { from: until, until, cause: Cause::Unknown };
    }
    Absence { from, until, cause }
}

/// What was missed between two turns of the writer, if they are too far apart: by the clock that never
/// steps it has stood still, by the wall clock alone the machine may have slept, or the clock was set.
fn missed(seen: Moment, now: Moment) -> Option<Absence> {
    let passed = now.passed.saturating_sub(seen.passed);
    if passed >= STALL {
        return Some(absence(seen.wall, now.wall, Cause::Unwritable));
    }
    let jumped = now.wall.since(seen.wall) >= passed.saturating_add(JUMP);
    jumped.then(|| absence(seen.wall, now.wall, Cause::Unknown))
}
