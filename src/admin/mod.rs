//! The admin listener, for operators: is the process alive, does it take events, and what has it
//! counted. Asks the store, and never reaches into the roads. `/healthz` and `/readyz` are for
//! everyone who reaches the listener; all else needs the token.

mod access;
mod answer;
mod health;
mod metrics;

use std::sync::Arc;

use http::Method;

use self::access::Access;
use self::answer::Problem;
use self::health::Health;
use crate::config::Config;
use crate::listen::{Answer, Arrival};
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
    store: Arc<Store>,
    metrics: Arc<Metrics>,
}

impl Admin {
    /// The operators' side of a gateway with this store. Without a token in `[admin]`, or without
    /// that table, only health is answered.
    pub fn new(config: &Config, store: Arc<Store>, metrics: Arc<Metrics>) -> Self {
        let access = Access::new(token(config), config.server.failure_rate_limit);
        Self { health: Health::new(Arc::clone(&store)), access, store, metrics }
    }

    /// From here on this configuration's token is asked for.
    pub fn reload(&self, config: &Config) {
        self.access.set(token(config), config.server.failure_rate_limit);
    }

    /// From here on the gateway is alive, but not ready.
    pub fn drain(&self) {
        self.health.drain();
    }

    /// Answers a request.
    pub async fn answer(&self, arrival: Arrival) -> Answer {
        match self.route(&arrival).await {
            Ok(answer) => answer,
            Err(problem) => answer::problem(problem),
        }
    }

    async fn route(&self, arrival: &Arrival) -> Result<Answer, Problem> {
        if arrival.defect.is_some() {
            return Err(Problem::Malformed);
        }
        let request = &arrival.request;
        let path = request.uri().path();
        if let Some(answer) = self.health.answer(path) {
            only_get(request.method())?;
            return Ok(answer);
        }
        let admitted = self.access.check(request.headers(), arrival.origin.address());
        match (path, admitted) {
            // Who does not show the token is not told either what there is.
            (_, Err(problem @ (Problem::Unauthenticated | Problem::TooMany(_)))) => Err(problem),
            ("/metrics", admitted) => {
                admitted?;
                only_get(request.method())?;
                metrics::answer(Arc::clone(&self.metrics), Arc::clone(&self.store)).await
            }
            (_, _) => Err(Problem::NotFound),
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
