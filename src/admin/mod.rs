//! The admin side, for operators: is the process alive, does it take events, what has it counted, which
//! events there are, and what is to be done with them. Asks the store, and never reaches into the roads.
//! It has two doors: the admin listener, where `/healthz` and `/readyz` are for everyone who reaches it
//! and all else needs a token whose role includes it (`rights`); and the Unix socket in the store's
//! directory, for the store's owner and root.

mod access;
mod answer;
mod api;
mod caller;
mod guesses;
mod health;
mod metrics;
mod refusal;
mod rights;
pub mod socket;

use std::sync::Arc;

use http::{HeaderMap, Method};

use self::access::Access;
pub use self::access::Gate;
use self::answer::Problem;
use self::api::Api;
pub use self::api::{show_auth, show_source};
use self::caller::Caller;
use self::health::Health;
use self::refusal::{Denied, Seen, permit};
use self::rights::Asked;
use crate::audit::Refusals;
use crate::audit::chain::Chain;
use crate::clock::Clock;
use crate::config::Config;
use crate::listen::{Answer, Arrival, Origin};
use crate::metrics::Metrics;
use crate::store::Store;

/// Connections at once: probes and scrapers are few.
pub const MAX_CONNECTIONS: usize = 64;

/// Those of one client.
pub const MAX_OF_CLIENT: usize = MAX_CONNECTIONS / 4;

/// Answers the admin listener's requests.
#[derive(Debug)]
pub struct Admin {
    health: Health,
    access: Access,
    api: Api,
    store: Arc<Store>,
    chain: Arc<Chain>,
    metrics: Arc<Metrics>,
    refusals: Arc<Refusals>,
    clock: Clock,
}

/// Why a request does not get what it asks for.
enum Stop {
    /// There is no such thing.
    Problem(Problem),
    /// Not for this one: that is recorded.
    Denied(Denied),
}

/// What is not health.
enum Page {
    Metrics,
    Api,
}

impl Admin {
    /// The operators' side of a gateway with this store. Without a token in `[admin]`, or without
    /// that table, the listener answers for health only; the socket needs none. Who is turned away is
    /// recorded in `refusals`.
    pub fn new(
        config: &Arc<Config>,
        gate: Gate,
        store: Arc<Store>,
        chain: Arc<Chain>,
        metrics: Arc<Metrics>,
        refusals: Arc<Refusals>,
        clock: Clock,
    ) -> Self {
        let access = Access::new(gate);
        let health = Health::new(Arc::clone(&store), Arc::clone(&chain));
        let api = Api::new(config, Arc::clone(&store), Arc::clone(&chain), clock.clone());
        Self { health, access, api, store, chain, metrics, refusals, clock }
    }

    /// From here on this configuration holds, with its gate.
    pub fn reload(&self, config: &Arc<Config>, gate: Gate) {
        // What a withdrawn token has begun ends by itself.
        self.access.set(gate);
        self.api.reload(config);
    }

    /// From here on the gateway is alive, but not ready, and what operators have begun ends soon.
    pub fn drain(&self) {
        self.health.drain();
        self.api.drain();
    }

    /// Answers a request.
    pub async fn answer(&self, arrival: Arrival) -> Answer {
        let seen = Seen::of(&arrival);
        match self.route(arrival).await {
            Ok(answer) => answer,
            Err(Stop::Problem(problem)) => answer::problem(problem),
            Err(Stop::Denied(denied)) => {
                seen.refused(&denied, &self.refusals);
                answer::problem(denied.problem)
            }
        }
    }

    async fn route(&self, arrival: Arrival) -> Result<Answer, Stop> {
        let Arrival { request, origin, defect } = arrival;
        if let Some(defect) = defect {
            return Err(Stop::Denied(Denied::malformed(&defect)));
        }
        let path = request.uri().path();
        if let Some(answer) = self.health.answer(path) {
            only_get(request.method())?;
            return Ok(answer);
        }
        let page = Page::at(path);
        let caller = match self.admit(&origin, request.headers()).await {
            // Where no token can be right, there is nothing to keep back.
            Err(Denied { problem: Problem::NoToken, .. }) if page.is_none() => {
                return Err(Problem::NotFound.into());
            }
            // Else, who is not let in is not told either what there is.
            admitted => admitted?,
        };
        match page {
            Some(Page::Metrics) => {
                only_get(request.method())?;
                permit(&caller, Asked::Metrics)?;
                let (metrics, store) = (Arc::clone(&self.metrics), Arc::clone(&self.store));
                Ok(metrics::answer(metrics, store, Arc::clone(&self.chain)).await?)
            }
            Some(Page::Api) => Ok(self.api.answer(request, caller).await?),
            None => Err(Problem::NotFound.into()),
        }
    }

    /// Lets in whoever came by the socket, where only few can, or shows a token.
    async fn admit(&self, origin: &Origin, headers: &HeaderMap) -> Result<Caller, Denied> {
        match origin.local {
            Some(uid) => Ok(Caller::local(uid)),
            None => self.access.check(headers, origin, || self.clock.now()).await,
        }
    }
}

impl Page {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/metrics" => Some(Self::Metrics),
            path if path.starts_with(api::ROOT) => Some(Self::Api),
            _ => None,
        }
    }
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Denied> for Stop {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

/// Answers a request while the gateway starts: it is alive, and not ready.
pub fn starting(arrival: &Arrival) -> Answer {
    let found = match health::starting(arrival.request.uri().path()) {
        _ if arrival.defect.is_some() => Err(Problem::Malformed),
        Some(answer) => only_get(arrival.request.method()).map(|()| answer),
        None => Err(Problem::NotFound),
    };
    found.unwrap_or_else(answer::problem)
}

fn only_get(method: &Method) -> Result<(), Problem> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Problem::OnlyGet),
    }
}
