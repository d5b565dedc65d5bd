//! How far an HTTP/2 connection is: the requests in hand, the answers that are on their way, and
//! when the client must have moved on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::super::Timeouts;
use super::frames::Frames;

/// How long a connection that was told to go stays open for requests that crossed the GOAWAY,
/// once none is in hand: more than a round trip.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Bytes of the heads of all requests in hand, beyond which further ones are answered 503. A
/// hundred streams with heads of 32 KiB would be 3 MiB a connection; providers' heads are 1 KiB.
pub(in crate::listen) const HEADS: usize = 256 << 10;

/// Shared by a connection's wire, its requests and its timer, all in one task.
#[derive(Debug)]
pub(super) struct Progress(Mutex<State>);

#[derive(Debug)]
struct State {
    frames: Frames,
    /// Requests that were handed over, those that are over included.
    taken: u64,
    /// Requests that are not over: not answered, or their answer has not been taken.
    open: usize,
    /// Bytes of their heads.
    heads: usize,
    /// How many they may be.
    most_heads: usize,
    /// Those of them that are answered, and since when; the oldest first.
    answered: VecDeque<(u64, Instant)>,
    /// When the connection was opened, or the last request was over.
    quiet: Instant,
    /// Since when the client has not taken what was written.
    blocked: Option<Instant>,
    /// Whether an answer has asked for the connection's end.
    asked_to_leave: bool,
    /// When the client was told to open no further streams.
    leaving: Option<Instant>,
    /// To be woken when no request is in hand.
    waiting: Option<Waker>,
}

/// What is to be done about a client when its time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// It has nothing in hand: it is told to go.
    Idle,
    /// It was told to go, and had time for it.
    Gone,
    /// It does not get on with a head that it has begun.
    LateHead,
    /// It does not read what it is sent.
    Unread,
}

impl Progress {
    /// Of a connection that has the tokens for frames, and the room for heads, of this many clients.
    pub(super) fn new(clients: u64) -> Self {
        let now = Instant::now();
        Self(Mutex::new(State {
            frames: Frames::new(clients, now),
            taken: 0,
            open: 0,
            heads: 0,
            most_heads: usize::try_from(clients).unwrap_or(usize::MAX).saturating_mul(HEADS),
            answered: VecDeque::new(),
            quiet: now,
            blocked: None,
            asked_to_leave: false,
            leaving: None,
            waiting: None,
        }))
    }

    /// The next request has come, with a head of this many bytes.
    pub(super) fn begin(self: &Arc<Self>, head: usize) -> Turn {
        let mut state = self.0.lock();
        state.taken += 1;
        state.open += 1;
        state.heads += head;
        let (number, crowded) = (state.taken, state.heads > state.most_heads && state.open > 1);
        drop(state);
        Turn { progress: Arc::clone(self), number, head, crowded, answered: false }
    }

    /// Takes note of bytes that have arrived.
    ///
    /// # Errors
    /// With what there was too much of.
    pub(super) fn arrived(&self, bytes: &[u8]) -> Result<(), &'static str> {
        self.0.lock().frames.take(bytes, Instant::now())
    }

    /// What there was too much of.
    pub(super) fn flood(&self) -> Option<&'static str> {
        self.0.lock().frames.flood()
    }

    /// Requests that were handed over.
    pub(super) fn taken(&self) -> u64 {
        self.0.lock().taken
    }

    /// The client does not take what is written, or it has taken all.
    pub(super) fn blocked(&self, blocked: bool) {
        let mut state = self.0.lock();
        if blocked {
            state.blocked.get_or_insert_with(Instant::now);
        } else {
            state.blocked = None;
        }
    }

    /// Whether the client is to open no further streams: it has opened `most`, an answer has said
    /// so, or the frames of its many clients have cost enough.
    pub(super) fn must_leave(&self, most: u64) -> bool {
        let state = self.0.lock();
        state.taken >= most || state.asked_to_leave || state.frames.is_worn()
    }

    /// The client was told to open no further streams. Whether this is the first time.
    pub(super) fn leave(&self) -> bool {
        let mut state = self.0.lock();
        let first = state.leaving.is_none();
        state.leaving.get_or_insert_with(Instant::now);
        first
    }

    /// Whether no request is in hand. If not, `waker` is woken when that has changed.
    pub(super) fn is_quiet(&self, waker: &Waker) -> bool {
        let mut state = self.0.lock();
        if state.open > 0 {
            state.waiting = Some(waker.clone());
        }
        state.open == 0
    }

    /// When the client's time is up unless something happens before, and what then. `None` while
    /// requests are being answered: the handler has a deadline of its own.
    pub(super) fn due(&self, timeouts: &Timeouts) -> Option<(Instant, Expiry)> {
        let state = self.0.lock();
        let unanswered = state.answered.front().map(|(_, since)| *since);
        let late = [
            state.blocked.map(|since| (since + timeouts.write, Expiry::Unread)),
            unanswered.map(|since| (since + timeouts.write, Expiry::Unread)),
            state.frames.section().map(|since| (since + timeouts.header, Expiry::LateHead)),
        ];
        let late = late.into_iter().flatten();
        let quiet = (state.open == 0).then(|| match state.leaving {
            Some(since) => (since.max(state.quiet) + LAST_WORD, Expiry::Gone),
            None if state.taken == 0 => (state.quiet + timeouts.header, Expiry::Idle),
            None => (state.quiet + timeouts.idle, Expiry::Idle),
        });
        late.chain(quiet).min_by_key(|(due, _)| *due)
    }
}

/// One request in hand. It is over when this is dropped: its answer has been written, or the
/// client does not want it any more.
#[derive(Debug)]
pub(super) struct Turn {
    progress: Arc<Progress>,
    number: u64,
    head: usize,
    /// Whether the connection holds too much already to take this request.
    pub(super) crowded: bool,
    answered: bool,
}

impl Turn {
    /// The handler has answered the request: further frames are paid for.
    pub(super) fn earn(&self) {
        self.progress.0.lock().frames.answered();
    }

    /// The request's answer is the last but for those in hand.
    pub(super) fn ask_to_leave(&self) {
        self.progress.0.lock().asked_to_leave = true;
    }

    /// The request has an answer, which the client must take now.
    pub(super) fn answer(&mut self) {
        self.answered = true;
        self.progress.0.lock().answered.push_back((self.number, Instant::now()));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.progress.0.lock();
        state.open -= 1;
        state.heads -= self.head;
        if self.answered {
            state.answered.retain(|(number, _)| *number != self.number);
        } else {
            state.frames.abandoned();
        }
        if state.open == 0 {
            state.quiet = Instant::now();
            if let Some(waiting) = state.waiting.take() {
                waiting.wake();
            }
        }
    }
}
