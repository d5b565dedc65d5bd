//! The road's checks in its order, each by the code that the gateway runs. All of them are judged,
//! also behind one that fails: who mends the first wants to know of the next.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::reading::{Content, Reading};
use super::request::{Request, Unreadable};
use super::time::Moment;
use super::tries::{self, Hint, KeyRef, Presented};
use crate::admit::{self, Proxies, Refusal, VerifierError};
use crate::audit::Reason;
use crate::config::{Auth, Config, Source};
use crate::identify::Identification;
use crate::ingress::{self, Routes};
use crate::listen::{Defect, Origin};
use crate::metrics::Metrics;

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Pass,
    /// And what the gateway would answer.
    Fail {
        reason: Reason,
        status: u16,
    },
    /// It cannot be told from a capture.
    Open,
}

/// One check.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) check: &'static str,
    pub(super) outcome: Outcome,
    pub(super) detail: String,
}

/// What came of all checks.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) steps: Vec<Step>,
    /// Of one that passes at another time: what it would be answered if it were sent now.
    pub(super) sent_now: Option<Result<(), (Reason, u16)>>,
    /// The source's keys with which the credential passes.
    pub(super) keys: Vec<KeyRef>,
    /// What would make it pass.
    pub(super) hints: Vec<Hint>,
    /// Whether that was looked for.
    pub(super) searched: bool,
    pub(super) reading: Option<Reading>,
    /// The upstreams that the event goes to.
    pub(super) upstreams: Vec<String>,
}

impl Verdict {
    /// The first check that fails.
    pub(super) fn refused(&self) -> Option<(Reason, u16)> {
        self.steps.iter().find_map(|step| match step.outcome {
            Outcome::Fail { reason, status } => Some((reason, status)),
            Outcome::Pass | Outcome::Open => None,
        })
    }

    pub(super) fn pass(&mut self, check: &'static str, detail: impl Into<String>) {
        self.steps.push(Step { check, outcome: Outcome::Pass, detail: detail.into() });
    }

    fn open(&mut self, check: &'static str, detail: impl Into<String>) {
        self.steps.push(Step { check, outcome: Outcome::Open, detail: detail.into() });
    }

    pub(super) fn fail(&mut self, check: &'static str, refusal: Refusal, more: &str) {
        let outcome =
            Outcome::Fail { reason: refusal.reason, status: ingress::status_of(refusal.reason) };
        let detail = format!("{}{more}", refusal.detail);
        self.steps.push(Step { check, outcome, detail });
    }
}

/// By what a request is judged.
pub(super) struct Court<'c> {
    pub(super) config: &'c Config,
    pub(super) source: &'c Arc<Source>,
    /// Where the connection came from, if that is given.
    pub(super) client: Option<IpAddr>,
    pub(super) moment: Moment,
}

const NOTHING: Verdict = Verdict {
    steps: Vec::new(),
    sent_now: None,
    keys: Vec::new(),
    hints: Vec::new(),
    searched: false,
    reading: None,
    upstreams: Vec::new(),
};

/// What is said of a request that is no HTTP.
pub(super) fn unreadable(unreadable: &Unreadable) -> Verdict {
    let mut verdict = NOTHING;
    let defect = unreadable.defect;
    let hint = match defect {
        Defect::RequestLine | Defect::Method | Defect::Version => {
            "; a capture begins with a request line such as `POST /hooks/lab HTTP/1.1`, or is a curl command"
        }
        _ => "",
    };
    let outcome = Outcome::Fail { reason: Reason::ProtocolError, status: defect.status().as_u16() };
    verdict.steps.push(Step { check: "http", outcome, detail: format!("{defect}{hint}") });
    verdict
}

impl Court<'_> {
    /// Judges a request.
    ///
    /// # Errors
    /// When a source's `client_ca` cannot be used.
    pub(super) fn judge(&self, request: &Request) -> Result<Verdict, VerifierError> {
        let mut verdict = NOTHING;
        verdict.pass("http", "a request as HTTP/1.1 has it");
        let routes = Routes::new(self.config, &Metrics::new())?;
        self.route(request, &routes, &mut verdict);
        match ingress::check_method(&request.parts.method) {
            Ok(()) => verdict.pass("method", request.parts.method.as_str()),
            Err(refusal) => verdict.fail("method", refusal, ""),
        }
        self.address(request, &mut verdict);
        verdict.open("rate", "not judged: it depends on what else arrives");
        self.size(request, &mut verdict);
        // Of a credential that the head alone shows to be wrong, the body is never read.
        if self.head(request).is_ok() {
            self.body(request, &mut verdict);
            self.credential(request, &mut verdict);
        } else {
            self.credential(request, &mut verdict);
            self.body(request, &mut verdict);
        }
        self.content(request, &routes, &mut verdict);
        verdict.open(
            "store",
            "not judged: whether it is a repeat, and whether there is room, the store knows",
        );
        if verdict.refused().is_none() && self.moment.at != self.moment.now {
            verdict.sent_now = Some(self.sent_now(request));
        }
        Ok(verdict)
    }

    /// What is judged by the time, once more as if the request came now.
    fn sent_now(&self, request: &Request) -> Result<(), (Reason, u16)> {
        let (headers, body, at) = (&request.parts.headers, &request.body, self.moment.now);
        let judged = tries::judge(tries::offline(self.source), headers, body, at);
        let content = Content { source: self.source, headers, body, at };
        let judged = judged.and_then(|()| content.identify().map(drop));
        judged.map_err(|refusal| (refusal.reason, ingress::status_of(refusal.reason)))
    }

    fn route(&self, request: &Request, routes: &Routes, verdict: &mut Verdict) {
        let path = request.parts.uri.path();
        match routes.find(path) {
            Some(endpoint) if endpoint.source.name == self.source.name => {
                verdict.pass("route", format!("{} is the source's path", self.source.path));
            }
            Some(endpoint) => {
                let other = Refusal::new(Reason::UnknownRoute, "the path is another source's");
                let more = format!(
                    ": {}; {} has {}",
                    endpoint.source.name, self.source.name, self.source.path
                );
                verdict.fail("route", other, &more);
            }
            None => {
                let none = Refusal::new(Reason::UnknownRoute, "no source has this path");
                let more =
                    format!("; {} has {}, byte for byte", self.source.name, self.source.path);
                verdict.fail("route", none, &more);
            }
        }
    }

    fn address(&self, request: &Request, verdict: &mut Verdict) {
        let listed = || {
            let nets = self.source.allow_ips.iter().flatten().map(ToString::to_string);
            nets.collect::<Vec<_>>().join(", ")
        };
        let Some(peer) = self.client else {
            return match &self.source.allow_ips {
                None => verdict.pass("address", "the source has no allowlist"),
                Some(_) => verdict.open(
                    "address",
                    format!("not judged: name the caller with --client; allowed: {}", listed()),
                ),
            };
        };
        let server = &self.config.server;
        let trusted = server.trusted_proxies.clone();
        let forwards = trusted.iter().any(|net| net.contains(&peer.to_canonical()));
        // What a PROXY header has said, no capture shows: --client is whom it named.
        let proxies = Proxies { trusted, proxy_protocol: false };
        let origin = Origin { forwards, ..Origin::plain(SocketAddr::new(peer, 0)) };
        let client =
            admit::client_address(&origin, &request.parts.headers, &proxies).ok().flatten();
        let shown = client.map_or_else(|| "unknown".to_owned(), |client| client.to_string());
        let forwarded = forwards && request.parts.headers.contains_key(admit::X_FORWARDED_FOR);
        let through = if forwarded { ", by X-Forwarded-For of a trusted proxy" } else { "" };
        match admit::check_address(self.source, client) {
            Ok(()) => verdict.pass("address", format!("{shown}{through}")),
            Err(refusal) => {
                let more = format!(": {shown}{through}; allowed: {}", listed());
                verdict.fail("address", refusal, &more);
            }
        }
    }

    fn credential(&self, request: &Request, verdict: &mut Verdict) {
        if self.source.client_ca.is_some() {
            verdict.open(
                "client certificate",
                "not judged: it is shown in the TLS handshake, which no capture holds",
            );
        }
        let Moment { at, .. } = self.moment;
        let presented = Presented {
            config: self.config,
            source: self.source,
            headers: &request.parts.headers,
            body: &request.body,
            at,
        };
        match tries::judge(tries::offline(self.source), presented.headers, presented.body, at) {
            Ok(()) => {
                verdict.keys = tries::matching(&presented);
                let detail = match (&self.source.auth, verdict.keys.as_slice()) {
                    (Auth::NoneDangerous, _) => "the source asks for none".to_owned(),
                    (_, keys) => format!(
                        "passes with {}",
                        keys.iter().map(key_words).collect::<Vec<_>>().join(" and ")
                    ),
                };
                verdict.pass("credential", detail);
            }
            Err(refusal) => {
                let more = self.where_it_stands();
                let is_missing = matches!(
                    refusal.reason,
                    Reason::CredentialMissing | Reason::SignatureMissing | Reason::TimestampMissing
                );
                verdict.fail("credential", refusal, &more);
                verdict.hints = tries::search(&presented, &request.rest);
                // Where none was presented there is nothing that could have been changed on the way.
                verdict.searched = !is_missing || !verdict.hints.is_empty();
            }
        }
    }

    /// Where the source looks for a credential.
    fn where_it_stands(&self) -> String {
        match &self.source.auth {
            Auth::ApiKey { header } => format!(" (read from `{header}`)"),
            Auth::Hmac(scheme) => format!(" (read from `{}`)", scheme.header),
            Auth::StandardWebhooks { .. } => " (read from `webhook-signature`)".to_owned(),
            Auth::NoneDangerous => String::new(),
        }
    }

    /// Content type, JSON and identity, which one function judges.
    fn content(&self, request: &Request, routes: &Routes, verdict: &mut Verdict) {
        let (headers, body) = (&request.parts.headers, &request.body);
        let content = Content { source: self.source, headers, body, at: self.moment.at };
        let as_json = content.as_json();
        let mut read = content.identify();
        match read {
            Err(refusal) if refusal.reason == Reason::UnsupportedMediaType => {
                verdict.fail("content type", refusal, "; it must be JSON, or absent");
                read = Content { headers: &as_json, ..content }.identify();
            }
            _ => verdict.pass("content type", "JSON, or absent"),
        }
        match &read {
            Err(refusal) if refusal.reason == Reason::MalformedJson => {
                return verdict.fail("json", *refusal, "");
            }
            _ => verdict.pass("json", "I-JSON"),
        }
        match &read {
            Err(refusal) => verdict.fail("identity", *refusal, &self.age()),
            Ok(Identification::Challenge(_)) => {
                verdict
                    .pass("identity", "Slack's url_verification: it is answered, and not stored");
            }
            Ok(Identification::Event(event)) => {
                let wanted = if event.wanted() {
                    "an event"
                } else {
                    "an event that `events` leaves out: it is acknowledged and not forwarded"
                };
                verdict.pass("identity", wanted);
            }
        }
        verdict.reading = Content { headers: &as_json, ..content }.read();
        if let (Some(Reading::Event(event)), Some(endpoint)) =
            (&verdict.reading, routes.find(&self.source.path))
        {
            let name =
                |upstream: usize| Some(self.config.upstreams.get(upstream)?.name.to_string());
            verdict.upstreams = endpoint.targets(&event.event).iter().filter_map(name).collect();
        }
    }

    fn age(&self) -> String {
        let age = self.source.max_event_age.map(crate::config::units::show_duration);
        age.map_or_else(String::new, |age| format!(" (max_event_age is {age})"))
    }
}

/// A key by its place.
pub(super) fn key_words(key: &KeyRef) -> String {
    format!("key {} of source.{} ({})", key.number, key.source, key.place)
}
