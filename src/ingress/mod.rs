//! The first road: from a provider's request to its answer, step by step. Nothing is answered
//! with 200 that the store has not accepted, and nothing reaches the store that was not verified:
//! [`Received`] -> `Verified` -> `Identified` -> [`Accepted`], each consumed by the next.

mod answer;
mod body;
mod head;
mod memory;
mod report;
mod routes;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Method;
use tokio::time::{Instant, Sleep, sleep_until};

use self::body::Pace;
use self::memory::{Bounds, Memory};
use self::report::Report;
use crate::admit::{self, Outlived, Proxies, Rates, Received, Refusal, VerifierError};
use crate::audit::{Reason, Refusals};
use crate::clock::Clock;
use crate::config::Config;
use crate::identify::{self, Identification};
use crate::listen::{self, Answer, Arrival, Defect, Defective, Origin, Unread};
use crate::metrics::{Metrics, SourceMetrics};
use crate::network::Network;
use crate::store::{AcceptError, Accepted, Roster, Store};

// The road's checks one by one, for `hookward verify`.
pub(crate) use self::body::check_declared;
pub(crate) use self::head::check as check_head;
pub(crate) use self::routes::Routes;

/// Answers the public listener's requests.
#[derive(Debug)]
pub struct Ingress {
    rules: ArcSwap<Rules>,
    rates: Rates,
    memory: Memory,
    store: Arc<Store>,
    clock: Clock,
    refusals: Arc<Refusals>,
    /// Where requests are counted that are no source's.
    unrouted: Arc<SourceMetrics>,
}

/// What a reload changes. A request keeps to the rules that it began with.
#[derive(Debug)]
pub struct Rules {
    routes: Routes,
    /// Whom the routes' targets mean.
    roster: Roster,
    proxies: Proxies,
    ack_deadline: Duration,
    max_body: u64,
    min_body_rate: u64,
    bodies: Bounds,
}

impl Rules {
    /// What this configuration says, with everything read and made ready that it needs.
    ///
    /// # Errors
    /// When a source's `client_ca` cannot be used.
    pub fn new(config: &Config, metrics: &Metrics) -> Result<Self, VerifierError> {
        Ok(Self {
            routes: Routes::new(config, metrics)?,
            roster: Roster::default(),
            proxies: Proxies {
                trusted: config.server.trusted_proxies.clone(),
                proxy_protocol: config.server.proxy_protocol,
            },
            ack_deadline: config.server.ack_deadline,
            max_body: config.server.max_body,
            min_body_rate: config.server.min_body_rate,
            bodies: Bounds::new(&config.server),
        })
    }

    /// The pace of a request whose headers are complete now.
    fn pace(&self) -> Pace {
        Pace { deadline: Instant::now() + self.ack_deadline, least: self.min_body_rate }
    }
}

/// A request at the beginning of its road.
struct Call {
    head: http::request::Parts,
    body: Unread,
    defect: Option<Box<Defective>>,
    origin: Arc<Origin>,
    /// Who is calling, as far as trusted proxies tell; `None`: it cannot be told.
    client: Option<IpAddr>,
}

/// A request that gets a 200.
enum Passed {
    /// Its event is on stable storage.
    Event(Accepted),
    /// It is answered with what it asked to hear.
    Challenge(String),
}

/// Why a request gets no 200, sorted by who is at fault.
enum Stop {
    /// The sender.
    Refused(Refusal),
    /// The sender: it is not HTTP as the RFCs have it.
    Defective(Defect),
    /// The store.
    Unavailable(AcceptError),
    /// We: the store had not answered by the deadline. What it has begun goes on.
    Late,
}

impl Ingress {
    /// The road for this configuration's sources, whose rules these are, into this store. Refusals
    /// are recorded with `refusals`: those of requests that never get here belong there too.
    pub fn new(
        config: &Config,
        rules: Rules,
        store: Arc<Store>,
        clock: Clock,
        metrics: &Metrics,
        refusals: Arc<Refusals>,
    ) -> Self {
        Self {
            rules: ArcSwap::from_pointee(Rules { roster: store.roster(), ..rules }),
            rates: Rates::new(config),
            memory: Memory::default(),
            unrouted: metrics.source("", status_of),
            refusals,
            store,
            clock,
        }
    }

    /// Where refusals are recorded.
    pub fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }

    /// From here on this configuration's sources and limits hold; `rules` are its own, and `roster`
    /// is what the store made of its upstreams.
    pub fn reload(&self, config: &Config, rules: Rules, roster: Roster) {
        self.rates.reload(config);
        self.rules.store(Arc::new(Rules { roster, ..rules }));
    }

    /// Answers a request within `ack_deadline`, whatever happens.
    pub async fn answer(&self, arrival: Arrival) -> Answer {
        let rules = self.rules.load_full();
        let declared = arrival.declared();
        let Arrival { request, origin, defect } = arrival;
        let (head, body) = request.into_parts();
        let named = admit::client_address(&origin, &head.headers, &rules.proxies);
        let client = named.ok().flatten();
        let size = body::declared(&body);
        let told = report::Told { refusals: &self.refusals, counts: &self.unrouted };
        let mut report = Report::new(&head, &origin, client, size, told);
        report.unreadable.clone_from(&defect);
        report.declared = declared;
        let call = Call { head, body, defect, origin, client };
        let result = self.road(call, &rules, &mut report).await;
        let mut answer = answer_to(result, report);
        if named == Err(Outlived) {
            // On the next one it can be told again who is calling.
            listen::end_with(&mut answer);
        }
        answer
    }

    /// The road itself. The order of its checks is a contract.
    ///
    /// When the client goes away, this is dropped where it waits: while the body is read, and
    /// then nothing has happened yet; or in the store's `accept`, which finishes what it has
    /// begun. Between the two nothing waits, so an event that was read whole is always stored.
    async fn road<'r>(
        &'r self,
        call: Call,
        rules: &'r Rules,
        report: &mut Report<'r>,
    ) -> Result<Passed, Stop> {
        let Call { head, body, defect, origin, client } = call;
        let received_at = self.clock.now();
        let pace = rules.pace();
        head::check(&head, defect.map(|defective| defective.defect))?;
        // Only the path counts; a query is left to those providers that like to add one.
        let endpoint = rules.routes.find(head.uri.path()).ok_or(NO_ROUTE)?;
        let source = &endpoint.source;
        report.source = Some(source.name.clone());
        report.counts = &endpoint.metrics;
        report.credential = endpoint.verifier.presented(&head.headers);
        check_method(&head.method)?;
        admit::check_address(source, client)?;
        self.rates.arrived(source, client)?;
        body::check_declared(&body, rules.max_body)?;
        endpoint
            .verifier
            .check_head(&head.headers, received_at, &origin)
            .map_err(|refusal| self.rates.failed(source, client, refusal))?;

        // Held to the end: the body is in memory for as long as the request is.
        let connection = Arc::clone(&origin);
        let network = Network::of(client);
        let mut account = self.memory.account(&connection, network, rules.bodies);
        let mut timer = pin!(sleep_until(pace.deadline));
        let body =
            body::read(body, head.version, rules.max_body, pace, &mut account, timer.as_mut())
                .await
                .map_err(|broken| report.not_read(broken))?;
        report.size = u64::try_from(body.len()).unwrap_or(u64::MAX);
        report.body = Some(body.clone());
        let source = Arc::clone(source);
        let received = Received { source, headers: head.headers, body, received_at, origin };
        let verified = endpoint.verifier.verify(received);
        let verified =
            verified.map_err(|refusal| self.rates.failed(&endpoint.source, client, refusal))?;
        if endpoint.verifier.tells_strangers() {
            connection.has_proven_itself();
        }
        self.rates.verified(&endpoint.source)?;
        let event = match identify::identify(verified)? {
            Identification::Event(event) => event,
            Identification::Challenge(challenge) => return Ok(Passed::Challenge(challenge)),
        };
        report.kind = report.shows_accepted().then(|| event.normalized_type().to_owned());
        let to = rules.roster.select(endpoint.targets(&event));
        timer.as_mut().reset(pace.deadline);
        // Where each refusal has to be recorded, nothing is taken while none can be.
        let may = || !self.refusals.chain().is_some_and(|chain| chain.blocks());
        let accepted = self.store.accept_if(*event, to, may);
        let accepted = by(timer, accepted).await.ok_or(Stop::Late)?;
        Ok(Passed::Event(accepted?))
    }
}

/// The status that a refusal for this reason is answered with on the public listener.
pub fn status_of(reason: Reason) -> u16 {
    answer::status(reason)
}

const NO_ROUTE: Refusal = Refusal::new(Reason::UnknownRoute, "no source has this path");

/// Refuses every method but POST.
pub(crate) fn check_method(method: &Method) -> Result<(), Refusal> {
    if method == Method::POST {
        return Ok(());
    }
    Err(Refusal::new(Reason::MethodNotAllowed, "only POST is answered"))
}

fn answer_to(result: Result<Passed, Stop>, report: Report<'_>) -> Answer {
    match result {
        Ok(passed) => {
            report.passed(&passed);
            match passed {
                Passed::Event(accepted) => answer::received(&accepted),
                Passed::Challenge(challenge) => answer::challenge(challenge),
            }
        }
        Err(stop) => {
            let answer = match &stop {
                Stop::Defective(defect) => answer::defective(defect.status()),
                Stop::Refused(_) | Stop::Unavailable(_) | Stop::Late => {
                    answer::refused(stop.reason(), stop.retry_after())
                }
            };
            report.stopped(&stop, answer.status().as_u16());
            answer
        }
    }
}

impl Stop {
    fn reason(&self) -> Reason {
        match self {
            Self::Refused(refusal) => refusal.reason,
            Self::Defective(_) => Reason::ProtocolError,
            Self::Unavailable(AcceptError::Overloaded | AcceptError::OverShare) => {
                Reason::Overloaded
            }
            Self::Unavailable(
                AcceptError::Low
                | AcceptError::NoRoom
                | AcceptError::Failed
                | AcceptError::Unreadable
                | AcceptError::Closing
                | AcceptError::Barred,
            ) => Reason::StoreUnavailable,
            Self::Late => Reason::StoreUnavailable,
        }
    }

    /// When the sender may try again, in seconds, if that is known.
    fn retry_after(&self) -> Option<u8> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::Defective(_) | Self::Unavailable(_) | Self::Late => None,
        }
    }

    /// For our own log.
    fn detail(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.detail,
            Self::Defective(defect) => defect.as_str(),
            Self::Unavailable(AcceptError::Overloaded) => "the journal's queue is full",
            Self::Unavailable(AcceptError::OverShare) => {
                "the journal's queue holds the source's share"
            }
            Self::Unavailable(AcceptError::Low) => "free space is below store.min_free",
            Self::Unavailable(AcceptError::NoRoom) => "the disk is full",
            Self::Unavailable(AcceptError::Failed) => "the journal has failed",
            Self::Unavailable(AcceptError::Unreadable) => "the journal cannot be read",
            Self::Unavailable(AcceptError::Closing) => "the store is closing",
            Self::Unavailable(AcceptError::Barred) => {
                "the audit trail cannot be written, and audit.required is set"
            }
            Self::Late => "the store has not answered by the deadline",
        }
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Defect> for Stop {
    fn from(defect: Defect) -> Self {
        Self::Defective(defect)
    }
}

impl From<AcceptError> for Stop {
    fn from(error: AcceptError) -> Self {
        Self::Unavailable(error)
    }
}

/// What `work` comes to, unless the deadline is first. `work` is polled at least once, however
/// late it is.
async fn by<F: Future>(deadline: Pin<&mut Sleep>, work: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = deadline => None,
    }
}
