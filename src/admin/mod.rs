//! The admin side, for operators: is the process alive, does it take events, what has it counted, which
//! events there are, and what is to be done with them. Asks the store, and never reaches into the roads.
//! It has two doors: the admin listener, where `/healthz` and `/readyz` are for everyone who reaches it
//! and all else needs the token; and the Unix socket in the store's directory, for the store's owner and
//! root.

mod access;
mod answer;
mod api;
mod caller;
mod health;
mod metrics;
pub mod socket;

use std::sync::Arc;

use http::{HeaderMap, Method};

use self::access::Access;
use self::answer::Problem;
use self::api::Api;
pub use self::api::{show_auth, show_source};
use self::health::Health;
use crate::audit::chain::Chain;
use crate::clock::Clock;
use crate::config::Config;
use crate::listen::{Answer, Arrival, Origin};
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::store::Store;

/// Connections at once: probes and scrapers are few.
pub const MAX_CONNECTIONS: usize = 64;

/// Answers the admin listener's requests.
#[derive(Debug)]
pub struct Admin {
    health: Health,
    access: Access,
    api: Api,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
}

impl Admin {
    /// The operators' side of a gateway with this store. Without a token in `[admin]`, or without
    /// that table, the listener answers for health only; the socket needs none.
    pub fn new(
        config: &Arc<Config>,
        store: Arc<Store>,
        chain: Arc<Chain>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let access = Access::new(token(config), config.server.failure_rate_limit);
        let health = Health::new(Arc::clone(&store), Arc::clone(&chain));
        let api = Api::new(config, Arc::clone(&store), chain, clock);
        Self { health, access, api, store, metrics }
    }

    /// From here on this configuration's token is asked for.
    pub fn reload(&self, config: &Arc<Config>) {
        self.access.set(token(config), config.server.failure_rate_limit);
        self.api.reload(config);
    }

    /// From here on the gateway is alive, but not ready, and what operators have begun ends soon.
    pub fn drain(&self) {
        self.health.drain();
        self.api.drain();
    }

    /// Answers a request.
    pub async fn answer(&self, arrival: Arrival) -> Answer {
        match self.route(arrival).await {
            Ok(answer) => answer,
            Err(problem) => answer::problem(problem),
        }
    }

    async fn route(&self, arrival: Arrival) -> Result<Answer, Problem> {
        let Arrival { request, origin, defect } = arrival;
        if defect.is_some() {
            return Err(Problem::Malformed);
        }
        let path = request.uri().path();
        if let Some(answer) = self.health.answer(path) {
            only_get(request.method())?;
            return Ok(answer);
        }
        match (path, self.admit(&origin, request.headers())) {
            // Who does not show the token is not told either what there is.
            (_, Err(problem @ (Problem::Unauthenticated | Problem::TooMany(_)))) => Err(problem),
            ("/metrics", admitted) => {
                admitted?;
                only_get(request.method())?;
                metrics::answer(Arc::clone(&self.metrics), Arc::clone(&self.store)).await
            }
            (path, admitted) if path.starts_with(api::ROOT) => {
                admitted?;
                Ok(self.api.answer(request, caller::operator(&origin)).await)
            }
            (_, _) => Err(Problem::NotFound),
        }
    }

    /// Lets in whoever came by the socket, where only few can, or shows the token.
    fn admit(&self, origin: &Origin, headers: &HeaderMap) -> Result<(), Problem> {
        match origin.local {
            Some(_) => Ok(()),
            None => self.access.check(headers, origin.address()),
        }
    }
}

fn token(config: &Config) -> Option<Secret> {
    config.admin.as_ref().and_then(|admin| admin.token.clone())
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
