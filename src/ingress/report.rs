//! What is told about a request once it is over: one log line, whatever became of it. Holds
//! nothing that must not be logged: no header but User-Agent, and no part of the body.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Uri, header, request};

use super::{Passed, Stop};
use crate::audit::{Client, Reason, Refused, micros};
use crate::event::SourceName;
use crate::listen::Defective;
use crate::store::Outcome;

/// Gathers what the line says while the request is on its way.
pub(super) struct Report {
    begun: Instant,
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
    told: bool,
}

impl Report {
    pub(super) fn new(head: &request::Parts, client: Option<IpAddr>, size: u64) -> Self {
        Self {
            begun: Instant::now(),
            client,
            method: head.method.clone(),
            uri: head.uri.clone(),
            user_agent: head.headers.get(header::USER_AGENT).cloned(),
            unreadable: None,
            source: None,
            kind: None,
            size,
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
        match passed {
            Passed::Event(accepted) if accepted.outcome() == Outcome::ConflictQuarantined => {
                tracing::warn!(
                    target: "hookward::request",
                    status = 200,
                    source = self.source_name(),
                    event = %accepted.id(),
                    outcome = outcome(accepted.outcome()),
                    r#type = self.kind.as_deref().unwrap_or_default(),
                    reason = Reason::Conflict.as_str(),
                    detail = "kept back: the key of a stored event with other content",
                    client = %Client(self.client),
                    size = self.size,
                    duration_us = micros(self.took()),
                    "accepted"
                );
            }
            Passed::Event(accepted) => tracing::info!(
                target: "hookward::request",
                status = 200,
                source = self.source_name(),
                event = %accepted.id(),
                outcome = outcome(accepted.outcome()),
                r#type = self.kind.as_deref().unwrap_or_default(),
                client = %Client(self.client),
                size = self.size,
                duration_us = micros(self.took()),
                "accepted"
            ),
            Passed::Challenge(_) => tracing::info!(
                target: "hookward::request",
                status = 200,
                source = self.source_name(),
                outcome = "challenge",
                client = %Client(self.client),
                duration_us = micros(self.took()),
                "answered"
            ),
        }
    }

    /// The request was refused, and answered with `status`.
    pub(super) fn stopped(mut self, stop: &Stop, status: u16) {
        self.told = true;
        let user_agent = self.user_agent.as_ref().map_or(b"".as_slice(), HeaderValue::as_bytes);
        let (method, path, user_agent) = match &self.unreadable {
            Some(bad) => (bad.method.as_str(), bad.path.as_str(), bad.user_agent.as_slice()),
            None => (self.method.as_str(), self.uri.path(), user_agent),
        };
        let refused = Refused {
            reason: stop.reason(),
            detail: stop.detail(),
            source: self.source.as_ref(),
            client: self.client,
            method,
            path,
            user_agent,
            size: self.size,
            status,
            duration: self.took(),
        };
        refused.record();
    }

    fn source_name(&self) -> &str {
        self.source.as_ref().map_or("", SourceName::as_str)
    }

    fn took(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// A request whose client has gone away before the answer is told of as well. If its event was
/// already handed to the store, it is stored, and the sender's next attempt is a repeat.
impl Drop for Report {
    fn drop(&mut self) {
        if !self.told {
            tracing::info!(
                target: "hookward::request",
                source = self.source_name(),
                outcome = "client_gone",
                client = %Client(self.client),
                size = self.size,
                duration_us = micros(self.took()),
                "abandoned by the client"
            );
        }
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
