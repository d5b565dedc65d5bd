//! How far a connection is: which request it is at, when the client must have moved on, and
//! whether something was left unread.
//!
//! hyper's own header timeout would cover the idle time as well and costs a timer a request;
//! here the times are only noted, and [`super::connection`] keeps one timer for all of them.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Limits;
use super::framing::{Defect, Defective, Framing, HeadLimits};

/// How long a closed connection is still read.
const LINGER: Duration = Duration::from_secs(2);

/// The same of a proxy's: it is near, and has an answer at once. But it does not close while its own
/// client goes on sending, and as none of these connections is counted for that client, a longer wait
/// would let one client hold them all with requests that are refused.
const LINGER_OF_PROXY: Duration = Duration::from_millis(100);

/// How long a client may take for each step.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From accepting to the end of the PROXY header and the TLS handshake.
    pub handshake: Duration,
    /// To the first byte, and from there to the end of the headers.
    pub header: Duration,
    /// To take an answer, all of it.
    pub write: Duration,
    /// Between an answer and the next request.
    pub idle: Duration,
}

/// How far a connection is. Shared by its wire, its requests and its timer, all in one task.
#[derive(Debug)]
pub(super) struct Progress(Mutex<State>);

#[derive(Debug)]
struct State {
    framing: Framing,
    max_requests: u64,
    /// Requests that were handed to the handler.
    taken: u64,
    /// Requests that it has answered.
    answered: u64,
    /// When the connection was opened, or the last answer was given.
    since: Instant,
    /// Which head has begun and is not complete, and since when.
    head: Option<(u64, Instant)>,
    /// Whether that head has taken too long.
    late: bool,
    /// Since when the client has not taken all that was written.
    blocked: Option<Instant>,
    /// Whether we end the connection although the client may go on.
    cut: bool,
    /// When writing was over and the rest of what the client sends is being dropped.
    lingering: Option<Instant>,
    /// For how long.
    linger: Duration,
}

/// What the listener knows of a request beside hyper's head.
#[derive(Debug)]
pub(super) struct Turn {
    /// Its number on the connection, counted from 1.
    number: u64,
    /// What is wrong with it; then hyper's head is a stand-in.
    pub(super) defect: Option<Box<Defective>>,
}

/// What the next bytes for hyper are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    /// The client's.
    Open,
    /// A stand-in for a head with a defect, of a HEAD request or another; then nothing.
    BadHead { head: bool },
    /// None: the body has this defect.
    BadBody(Defect),
}

impl Progress {
    /// Of a client's connection.
    pub(super) fn new(limits: &Limits) -> Self {
        Self::with(limits, LINGER)
    }

    /// Of a trusted proxy's connection, which may be any client's.
    pub(super) fn of_proxy(limits: &Limits) -> Self {
        Self::with(limits, LINGER_OF_PROXY)
    }

    fn with(limits: &Limits, linger: Duration) -> Self {
        let Limits { max_header_bytes, max_target, max_headers, max_requests, .. } = *limits;
        Self(Mutex::new(State {
            framing: Framing::new(HeadLimits::new(max_header_bytes, max_target, max_headers)),
            max_requests,
            taken: 0,
            answered: 0,
            since: Instant::now(),
            head: None,
            late: false,
            blocked: None,
            cut: false,
            lingering: None,
            linger,
        }))
    }

    /// Bytes have come that nobody has judged to their end: how many may pass, and whether the
    /// others are to be kept.
    pub(super) fn arrived(&self, bytes: &[u8]) -> (usize, bool) {
        let mut state = self.0.lock();
        let passed = state.framing.advance(bytes);
        let number = state.framing.heads();
        state.head = match state.head {
            _ if !state.framing.is_mid_head() => None,
            Some((begun, since)) if begun == number => Some((begun, since)),
            _ => Some((number, Instant::now())),
        };
        (passed, state.framing.is_open())
    }

    /// What hyper is to get next, when these bytes are held back.
    pub(super) fn entry(&self, held: &[u8]) -> Entry {
        let mut state = self.0.lock();
        if state.late {
            state.framing.give_up(held);
            state.head = None;
        }
        match (state.framing.bad_head(), state.framing.bad_body()) {
            (Some(bad), _) => Entry::BadHead { head: bad.method == "HEAD" },
            (None, Some(defect)) => Entry::BadBody(defect),
            (None, None) => Entry::Open,
        }
    }

    /// The next request has come.
    pub(super) fn begin(&self) -> Turn {
        let mut state = self.0.lock();
        state.taken += 1;
        let number = state.taken;
        // Nothing follows a head with a defect, so it is the last one.
        let bad = state.framing.bad_head().filter(|_| number >= state.framing.heads());
        Turn { number, defect: bad.cloned().map(Box::new) }
    }

    /// The request has an answer. Whether the connection must end with it: it may carry no more,
    /// or the body was not read to its end (`unread`), or has not come to it.
    pub(super) fn answer(&self, turn: &Turn, unread: bool) -> bool {
        let mut state = self.0.lock();
        let now = Instant::now();
        state.answered += 1;
        state.since = now;
        // Until now, nobody was listening.
        state.head = state.head.map(|(number, _)| (number, now));
        let cut = unread || turn.number >= state.max_requests;
        state.cut |= cut;
        cut || (turn.number >= state.framing.heads() && !state.framing.is_at_head())
    }

    /// The client does not take what is written.
    pub(super) fn blocked(&self) {
        self.0.lock().blocked.get_or_insert_with(Instant::now);
    }

    /// The client has taken all that was written.
    pub(super) fn caught_up(&self) {
        self.0.lock().blocked = None;
    }

    /// The client has taken too long. Whether it is for a head that it has begun: then there is
    /// something to answer, and whoever reads next is told.
    pub(super) fn give_up_head(&self) -> bool {
        let mut state = self.0.lock();
        let is_waiting = state.blocked.is_none() && state.lingering.is_none();
        let late = is_waiting && !state.late && state.taken == state.answered;
        state.late |= late && state.framing.is_mid_head();
        late && state.late
    }

    /// Whether what the client still sends is being dropped.
    pub(super) fn lingers(&self) -> bool {
        self.0.lock().lingering.is_some()
    }

    /// All is written. Whether the client may still be sending what nobody will read, so that it
    /// has to be dropped for a while. Who was too slow already is not waited for.
    pub(super) fn linger(&self) -> bool {
        let mut state = self.0.lock();
        state.blocked = None;
        let unread = state.cut || !state.framing.is_at_head();
        if unread && !state.late {
            state.lingering = Some(Instant::now());
        }
        state.lingering.is_some()
    }

    /// When the connection is to be closed unless something happens before. `None` while a
    /// request is being answered: the handler has a deadline of its own.
    pub(super) fn due(&self, timeouts: &Timeouts) -> Option<Instant> {
        let state = self.0.lock();
        if let Some(since) = state.lingering {
            return Some(since + state.linger);
        }
        if let Some(since) = state.blocked {
            return Some(since + timeouts.write);
        }
        if state.taken > state.answered {
            return None;
        }
        if let Some((_, since)) = state.head {
            return Some(since + timeouts.header);
        }
        let patience = if state.taken == 0 { timeouts.header } else { timeouts.idle };
        Some(state.since + patience)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::io::{AsyncWriteExt, duplex};

    use super::super::tests::{limits, plain};
    use super::super::{Answer, Arrival, Origin, in_memory};
    use super::*;

    async fn refuse(_: Arrival) -> Answer {
        let mut answer = Answer::new(Full::new(Bytes::new()));
        *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        answer
    }

    /// Requests of one client that were refused before their bodies came held a proxy's connections
    /// for two seconds each, until there was none left.
    #[tokio::test(start_paused = true)]
    async fn a_proxy_s_connection_is_not_read_for_long_after_its_last_answer() {
        for (forwards, linger) in [(false, LINGER), (true, LINGER_OF_PROXY)] {
            let origin = Origin { forwards, ..Origin::plain(([10, 0, 0, 1], 1).into()) };
            let (mut client, server) = duplex(4096);
            let head = b"POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 5000\r\n\r\n";
            client.write_all(head).await.unwrap();
            let (settings, begun) = (plain(limits()), Instant::now());
            let stop = std::future::pending();
            in_memory::serve(server, Arc::new(origin), &settings, &refuse, stop).await;
            let took = begun.elapsed();
            assert!(took >= linger && took < linger + LINGER_OF_PROXY, "{took:?}");
            drop(client);
        }
    }
}
