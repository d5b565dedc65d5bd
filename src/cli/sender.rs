//! A provider at work: sends events at a pace, and sends again on its own schedule what was not
//! acknowledged, with all waits shortened by a time scale. `send --retries` and `demo --outage`
//! are this with different listeners. It prints nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::future::Future;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::Uri;
use tokio::time::{Instant, sleep_until};

use crate::clock::{Clock, UnixMillis};
use crate::config::Source;
use crate::provider::caller::{self, Answer, CallError, Caller};
use crate::provider::sample::Outgoing;
use crate::provider::sign::{self, SignError};
use crate::provider::{Next, Retries};
use crate::secret::Secret;

/// The most requests at once. Providers open a few connections to one receiver.
const AT_ONCE: usize = 32;

/// A provider, and whom it calls.
pub(super) struct Sender<'a> {
    /// Whose requests are made.
    pub(super) source: &'a Source,
    /// What they are signed with.
    pub(super) key: &'a Secret,
    /// Where they go.
    pub(super) url: &'a Uri,
    /// The HTTP client.
    pub(super) caller: &'a Caller,
    /// Whether they are forged.
    pub(super) tamper: bool,
    /// How it retries; without a known schedule it tries once.
    pub(super) retries: &'a Retries,
    /// What signatures are dated by.
    pub(super) clock: &'a Clock,
    /// How many events are sent, and how fast.
    pub(super) pace: Pace,
}

/// How many events are sent, and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The number of events.
    pub(super) count: u64,
    /// The pause from one event's first attempt to the next one's, at the provider's own time.
    pub(super) every: Duration,
    /// What all pauses are divided by. Nothing else is: timeouts and answers take what they take.
    pub(super) scale: NonZeroU32,
}

/// An attempt, as it ended.
pub(super) struct Attempt<'a> {
    /// The event.
    pub(super) event: &'a Outgoing,
    /// Which attempt it was, counted from 1.
    pub(super) number: usize,
    /// When it began.
    pub(super) began: Instant,
    /// When its answer was there, or missed.
    pub(super) ended: Instant,
    /// What came of it.
    pub(super) answer: &'a Result<Answer, CallError>,
    /// What the provider does now.
    pub(super) next: Next,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Journey {
    /// The event's name.
    pub(super) event_type: String,
    /// The provider's id.
    pub(super) id: String,
    /// Hookward's id, once it was acknowledged.
    pub(super) event_id: Option<String>,
    /// The attempts that came to an end.
    pub(super) tries: usize,
    /// What the last of them came to.
    pub(super) last: Last,
    /// How it ended.
    pub(super) outcome: Outcome,
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// There was none yet.
    Nothing,
    /// This status.
    Status(u16),
    /// No answer, and why.
    Error(String),
}

/// How an event's journey ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was acknowledged.
    Delivered,
    /// The provider gave up.
    GivenUp,
    /// The sender was stopped before.
    Unfinished,
}

/// What came of all.
#[derive(Debug)]
pub(super) struct Journeys {
    /// Every event of which an attempt was at least begun, in the order of first attempts.
    pub(super) events: Vec<Journey>,
    /// Whether it was stopped before all were sent and settled.
    pub(super) stopped: bool,
}

/// Why it could not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum SenderError {
    #[error("cannot sign: {0}")]
    Sign(#[from] SignError),
    #[error(transparent)]
    Output(#[from] io::Error),
}

impl Pace {
    /// A pause, as long as it really is.
    pub(super) fn shortened(&self, pause: Duration) -> Duration {
        pause / self.scale.get()
    }
}

impl Sender<'_> {
    /// Sends what `make` makes at the pace until each event is acknowledged or given up, or until
    /// `stop`. Each attempt is shown to `seen`.
    ///
    /// # Errors
    /// When no request can be made, or `seen` fails.
    pub(super) async fn run(
        &self,
        mut make: impl FnMut(UnixMillis) -> Outgoing,
        mut seen: impl FnMut(&Attempt<'_>) -> io::Result<()>,
        stop: impl Future<Output = ()>,
    ) -> Result<Journeys, SenderError> {
        let mut book = Book::new(self.pace);
        let mut calls = FuturesUnordered::new();
        tokio::pin!(stop);
        loop {
            while calls.len() < AT_ONCE
                && let Some((number, event)) = book.due(Instant::now(), || make(self.clock.now()))
            {
                calls.push(self.call(number, event));
            }
            let free = calls.len() < AT_ONCE;
            let next = book.next_at().filter(|_| free);
            if calls.is_empty() && next.is_none() {
                return Ok(Journeys { events: book.end(), stopped: false });
            }
            tokio::select! {
                biased;
                () = &mut stop => return Ok(Journeys { events: book.end(), stopped: true }),
                Some(call) = calls.next() => {
                    let call: Call = call?;
                    book.settle(&call, self.retries, &mut seen)?;
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    /// One attempt. It is signed anew, as providers whose signature covers a time do.
    async fn call(&self, number: u64, event: Arc<Outgoing>) -> Result<Call, SignError> {
        let now = self.clock.now();
        let (headers, body) = if self.tamper {
            sign::forge(self.source, self.key, now, &event)?
        } else {
            (sign::sign(self.source, self.key, now, &event)?, event.body.clone())
        };
        let began = Instant::now();
        let timeout = self.retries.timeout.unwrap_or(caller::TIMEOUT);
        let answer = self.caller.post_within(timeout, self.url, headers, body).await;
        Ok(Call { number, began, ended: Instant::now(), answer })
    }
}

/// An attempt that has ended.
struct Call {
    number: u64,
    began: Instant,
    ended: Instant,
    answer: Result<Answer, CallError>,
}

/// Which events are to be sent when, and what became of the others. They are known by their number.
struct Book {
    pace: Pace,
    begin: Instant,
    made: u64,
    /// Events of which an attempt is to come, or on its way.
    open: BTreeMap<u64, Open>,
    /// When to try which again, the next first.
    again: BinaryHeap<Reverse<(Instant, u64)>>,
    settled: BTreeMap<u64, Journey>,
}

struct Open {
    event: Arc<Outgoing>,
    tries: usize,
    last: Last,
}

impl Book {
    fn new(pace: Pace) -> Self {
        Self {
            pace,
            begin: Instant::now(),
            made: 0,
            open: BTreeMap::new(),
            again: BinaryHeap::new(),
            settled: BTreeMap::new(),
        }
    }

    /// When the next new event is to be sent, if one is.
    fn new_at(&self) -> Option<Instant> {
        if self.made >= self.pace.count {
            return None;
        }
        let made = u32::try_from(self.made).unwrap_or(u32::MAX);
        let since = self.pace.every.checked_mul(made).unwrap_or(Duration::MAX);
        self.begin.checked_add(self.pace.shortened(since))
    }

    /// When something is to be sent, if anything is that is not on its way.
    fn next_at(&self) -> Option<Instant> {
        let again = self.again.peek().map(|Reverse((at, _))| *at);
        again.into_iter().chain(self.new_at()).min()
    }

    /// What is to be sent now, retries first.
    fn due(
        &mut self,
        now: Instant,
        make: impl FnOnce() -> Outgoing,
    ) -> Option<(u64, Arc<Outgoing>)> {
        if let Some(Reverse((at, number))) = self.again.peek().copied()
            && at <= now
        {
            self.again.pop();
            let open = self.open.get(&number)?;
            return Some((number, Arc::clone(&open.event)));
        }
        self.new_at().filter(|at| *at <= now)?;
        let (number, event) = (self.made, Arc::new(make()));
        self.made += 1;
        let open = Open { event: Arc::clone(&event), tries: 0, last: Last::Nothing };
        self.open.insert(number, open);
        Some((number, event))
    }

    fn settle(
        &mut self,
        call: &Call,
        retries: &Retries,
        seen: &mut impl FnMut(&Attempt<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(mut open) = self.open.remove(&call.number) else { return Ok(()) };
        open.tries += 1;
        let status = call.answer.as_ref().ok().map(|answer| answer.status.as_u16());
        let next = retries.after(open.tries, status);
        open.last = match &call.answer {
            Ok(answer) => Last::Status(answer.status.as_u16()),
            Err(error) => Last::Error(error.to_string()),
        };
        seen(&Attempt {
            event: &open.event,
            number: open.tries,
            began: call.began,
            ended: call.ended,
            answer: &call.answer,
            next,
        })?;
        let outcome = match next {
            Next::Delivered => Outcome::Delivered,
            Next::GivenUp => Outcome::GivenUp,
            Next::Again(wait) => {
                self.again.push(Reverse((call.ended + self.pace.shortened(wait), call.number)));
                self.open.insert(call.number, open);
                return Ok(());
            }
        };
        let mut journey = open.journey(outcome);
        if outcome == Outcome::Delivered {
            journey.event_id = call.answer.as_ref().ok().and_then(|a| a.event_id.clone());
        }
        self.settled.insert(call.number, journey);
        Ok(())
    }

    /// All journeys, those that are not over included.
    fn end(mut self) -> Vec<Journey> {
        let open = self.open.into_iter();
        self.settled.extend(open.map(|(number, open)| (number, open.journey(Outcome::Unfinished))));
        self.settled.into_values().collect()
    }
}

impl Open {
    fn journey(self, outcome: Outcome) -> Journey {
        let Self { event, tries, last } = self;
        let (event_type, id) = (event.event_type.clone(), event.id.clone());
        Journey { event_type, id, event_id: None, tries, last, outcome }
    }
}

#[cfg(test)]
mod tests;
