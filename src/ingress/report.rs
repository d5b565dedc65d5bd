//! What is told about a request once it is over: one log line and its counts, whatever became of
//! it. Holds nothing that must not be logged: no header but User-Agent, and no part of the body.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Uri, header, request};

use super::body::Broken;
use super::{Passed, Stop, answer};
use crate::admit::Refusal;
use crate::audit::{Client, Conflict, Ending, Reason, Refusals, Refused, ServerName, micros};
use crate::event::{EventId, SourceName};
use crate::listen::{Defective, Origin, TlsSession};
use crate::metrics::SourceMetrics;
use crate::store::{Accepted, Outcome};

/// What is said of an event in quarantine.
const KEPT_BACK: &str = "kept back: the key of a stored event with other content";
/// And of one that is forgotten.
const DROPPED: &str = "dropped: the key of a stored event with other content";

/// Where a request is told of.
#[derive(Clone, Copy)]
pub(super) struct Told<'r> {
    /// In words.
    pub(super) refusals: &'r Refusals,
    /// In numbers.
    pub(super) counts: &'r SourceMetrics,
}

/// Gathers what the line says while the request is on its way.
pub(super) struct Report<'r> {
    refusals: &'r Refusals,
    /// Where the request is counted: with its source, from when that is known.
    pub(super) counts: &'r SourceMetrics,
    begun: Instant,
    origin: Arc<Origin>,
    client: Option<IpAddr>,
    method: Method,
    uri: Uri,
    user_agent: Option<HeaderValue>,
    /// What can be shown of a head that had a defect.
    pub(super) unreadable: Option<Box<Defective>>,
    /// The source, from when it is known.
    pub(super) source: Option<SourceName>,
    /// The normalized event name, when it is known and a line will show it.
    pub(super) kind: Option<String>,
    /// Length of the body: what is declared, then what was read.
    pub(super) size: u64,
    /// What its head declares; `None`: nothing.
    pub(super) declared: Option<u64>,
    /// The body as far as it was read: of one that is refused, its hash is recorded.
    pub(super) body: Option<Bytes>,
    /// The credential as it was presented: of one that is refused, a keyed fingerprint is recorded.
    pub(super) credential: Vec<HeaderValue>,
    told: bool,
}

impl<'r> Report<'r> {
    pub(super) fn new(
        head: &request::Parts,
        origin: &Arc<Origin>,
        client: Option<IpAddr>,
        size: u64,
        told: Told<'r>,
    ) -> Self {
        let Told { refusals, counts } = told;
        Self {
            refusals,
            counts,
            begun: Instant::now(),
            origin: Arc::clone(origin),
            client,
            method: head.method.clone(),
            uri: head.uri.clone(),
            user_agent: head.headers.get(header::USER_AGENT).cloned(),
            unreadable: None,
            source: None,
            kind: None,
            size,
            declared: None,
            body: None,
            credential: Vec::new(),
            told: false,
        }
    }

    /// Whether a line about an accepted event will be written at all.
    pub(super) fn shows_accepted(&self) -> bool {
        tracing::enabled!(target: "hookward::request", tracing::Level::INFO)
    }

    /// The request passed.
    pub(super) fn passed(mut self, passed: &Passed) {
        self.told = true;
        let took = self.took();
        self.counts.answered(took);
        if let Passed::Event(accepted) = passed {
            count(self.counts, accepted.outcome());
        }
        // Under which id an operator finds it in the trail.
        let record = match passed {
            Passed::Event(accepted) => self.record_conflict(accepted, took),
            Passed::Challenge(_) => None,
        };
        match passed {
            Passed::Event(accepted) if accepted.outcome() == Outcome::ConflictQuarantined => {
                tracing::warn!(
                    target: "hookward::request",
                    id = record.map(tracing::field::display),
                    status = 200,
                    source = self.source_name(),
                    event = %accepted.id(),
                    outcome = outcome(accepted.outcome()),
                    r#type = self.kind.as_deref().unwrap_or_default(),
                    reason = Reason::Conflict.as_str(),
                    detail = KEPT_BACK,
                    client = %Client(self.client),
                    peer = self.peer().map(tracing::field::display),
                    tls = self.tls().map(|session| session.version),
                    server_name = ServerName::of(self.tls()),
                    size = self.size,
                    duration_us = micros(took),
                    "accepted"
                );
            }
            Passed::Event(accepted) => tracing::info!(
                target: "hookward::request",
                id = record.map(tracing::field::display),
                status = 200,
                source = self.source_name(),
                event = %accepted.id(),
                outcome = outcome(accepted.outcome()),
                r#type = self.kind.as_deref().unwrap_or_default(),
                client = %Client(self.client),
                peer = self.peer().map(tracing::field::display),
                tls = self.tls().map(|session| session.version),
                server_name = ServerName::of(self.tls()),
                size = self.size,
                duration_us = micros(took),
                "accepted"
            ),
            Passed::Challenge(_) => tracing::info!(
                target: "hookward::request",
                status = 200,
                source = self.source_name(),
                outcome = "challenge",
                client = %Client(self.client),
                peer = self.peer().map(tracing::field::display),
                tls = self.tls().map(|session| session.version),
                server_name = ServerName::of(self.tls()),
                duration_us = micros(took),
                "answered"
            ),
        }
    }

    /// The body was not read to its end.
    pub(super) fn not_read(&mut self, broken: Broken) -> Refusal {
        self.body = Some(broken.read);
        broken.refusal
    }

    /// The request was refused, and answered with `status`.
    pub(super) fn stopped(mut self, stop: &Stop, status: u16) {
        self.told = true;
        self.refused(stop.reason(), stop.detail(), status);
    }

    fn refused(&self, reason: Reason, detail: &'static str, status: u16) {
        self.counts.refused(reason, status);
        self.refusals.record(&self.refusal(reason, detail, status, self.took()));
    }

    /// Records an event that was not let through, although its sender is told that it is stored. The
    /// record's id, if it has one of its own.
    fn record_conflict(&self, accepted: &Accepted, took: Duration) -> Option<EventId> {
        let (detail, event) = match accepted.outcome() {
            Outcome::ConflictQuarantined => (KEPT_BACK, Some(accepted.id())),
            Outcome::ConflictDropped => (DROPPED, None),
            Outcome::Stored | Outcome::Filtered | Outcome::Repeat | Outcome::ConflictDelivered => {
                return None;
            }
        };
        let refused = self.refusal(Reason::Conflict, detail, 200, took);
        self.refusals.record_conflict(&refused, Conflict { event, against: accepted.against() })
    }

    fn refusal(
        &self,
        reason: Reason,
        detail: &'static str,
        status: u16,
        duration: Duration,
    ) -> Refused<'_> {
        let user_agent = self.user_agent.as_ref().map_or(b"".as_slice(), HeaderValue::as_bytes);
        let (method, path, user_agent) = match &self.unreadable {
            Some(bad) => (bad.method.as_str(), bad.path.as_str(), bad.user_agent.as_slice()),
            None => (self.method.as_str(), self.uri.path(), user_agent),
        };
        Refused {
            reason,
            detail,
            source: self.source.as_ref(),
            client: self.client,
            peer: self.peer(),
            method,
            path,
            user_agent,
            listener: self.origin.listener,
            who: None,
            declared: self.declared,
            size: self.size,
            body: self.body.clone(),
            credential: &self.credential,
            status,
            duration,
            tls: self.tls(),
        }
    }

    fn peer(&self) -> Option<IpAddr> {
        self.origin.peer_beside(self.client)
    }

    fn source_name(&self) -> &str {
        self.source.as_ref().map_or("", SourceName::as_str)
    }

    fn tls(&self) -> Option<&TlsSession> {
        self.origin.tls.as_ref()
    }

    fn took(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// A request whose client has gone away before the answer, or that a stop has cut off, is told of as
/// well, but counted by nobody: it has no status. If its event was already handed to the store, it is
/// stored, and the sender's next attempt is a repeat.
impl Drop for Report<'_> {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        if std::thread::panicking() {
            // Where it was raised is told by the panic hook; the answer is the listener's.
            let status = answer::status(Reason::InternalError);
            self.refused(Reason::InternalError, "handling the request has panicked", status);
        } else {
            self.unanswered();
        }
    }
}

impl Report<'_> {
    fn unanswered(&self) {
        // Whoever goes away does so of their own accord; what a stop cuts off, an operator must see.
        let cut_off = self.origin.is_cut_off();
        let (ending, outcome, said) = if cut_off {
            (Ending::CutOff, "cut_off", "cut off by the stop")
        } else {
            (Ending::Abandoned, "client_gone", "abandoned by the client")
        };
        if !self.refusals.stands_singly(ending, self.client, self.source.as_ref()) {
            return;
        }
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    target: "hookward::request",
                    source = self.source_name(),
                    outcome,
                    client = %Client(self.client),
                    peer = self.peer().map(tracing::field::display),
                    tls = self.tls().map(|session| session.version),
                    server_name = ServerName::of(self.tls()),
                    size = self.size,
                    duration_us = micros(self.took()),
                    "{said}"
                )
            };
        }
        if cut_off {
            tell!(warn);
        } else {
            tell!(info);
        }
    }
}

fn count(counts: &SourceMetrics, outcome: Outcome) {
    if outcome == Outcome::Filtered {
        counts.filtered.add();
    }
    let (accepted, conflict) = match outcome {
        Outcome::Stored | Outcome::Filtered => (true, false),
        Outcome::Repeat => return counts.duplicate.add(),
        Outcome::ConflictDelivered | Outcome::ConflictQuarantined => (true, true),
        Outcome::ConflictDropped => (false, true),
    };
    if accepted {
        counts.accepted.add();
    }
    if conflict {
        counts.conflict.add();
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Stored => "stored",
        Outcome::Filtered => "filtered",
        Outcome::Repeat => "repeat",
        Outcome::ConflictDelivered => "conflict_delivered",
        Outcome::ConflictQuarantined => "conflict_quarantined",
        Outcome::ConflictDropped => "conflict_dropped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_request_that_panics_is_counted_as_an_internal_error() {
        let metrics = Metrics::new();
        let counts = metrics.source("lab", answer::status);
        let (head, ()) = http::Request::new(()).into_parts();
        let refusals = Refusals::new(crate::clock::Clock::System);
        let told = Told { refusals: &refusals, counts: &counts };
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _report = Report::new(&head, &Origin::nowhere(), None, 0, told);
            panic!("on the way");
        }));
        assert!(panicked.is_err());
        assert_eq!(counts.refused_for(Reason::InternalError), 1);
        assert_eq!(counts.ok(), 0);
    }

    #[test]
    fn outcomes_are_counted_as_what_they_are() {
        for (outcome, expected) in [
            (Outcome::Stored, [1, 0, 0, 0]),
            (Outcome::Filtered, [1, 1, 0, 0]),
            (Outcome::Repeat, [0, 0, 1, 0]),
            (Outcome::ConflictDelivered, [1, 0, 0, 1]),
            (Outcome::ConflictQuarantined, [1, 0, 0, 1]),
            (Outcome::ConflictDropped, [0, 0, 0, 1]),
        ] {
            let counts = Metrics::new().source("lab", answer::status);
            count(&counts, outcome);
            let SourceMetrics { accepted, filtered, duplicate, conflict, .. } = &*counts;
            let counted = [accepted, filtered, duplicate, conflict];
            assert_eq!(counted.map(|counter| counter.get()), expected, "{outcome:?}");
        }
    }
}
