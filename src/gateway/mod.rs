//! The gateway: the only place that knows all the parts, and the order in which they start, change
//! over to another configuration, and stop.

mod descriptors;
mod listeners;
mod reload;
mod start;
mod stop;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use self::listeners::{AdminDesk, Listening};
use crate::acme::Keeper;
use crate::admit::VerifierError;
use crate::audit::output::Outputs;
use crate::audit::{Refusals, chain};
use crate::clock::Clock;
use crate::config::{Config, Ordering};
use crate::delivery::{Delivery, StartError, WorkerFailed};
use crate::ingress::Ingress;
use crate::listen::tls::Acceptor;
use crate::metrics::Metrics;
use crate::store::crypt::Keyring;
use crate::store::{self, OpenError, Store, UpstreamOptions};

pub use self::reload::{Next, Obstacle, Running};
pub use self::tls::TlsError;

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Deliveries cannot start.
    #[error(transparent)]
    Delivery(#[from] StartError),
    /// An address cannot be listened on.
    #[error("listening on {address} failed: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A part of the start has panicked; the log says where.
    #[error("starting has panicked")]
    Panicked,
    /// The public listener cannot speak TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The client certificates of a source cannot be judged.
    #[error(transparent)]
    Verifier(#[from] VerifierError),
    /// The audit trail cannot be written, and `audit.required` is set.
    #[error(transparent)]
    Audit(#[from] chain::StartError),
}

/// Why a running gateway must end: a part of it has died.
#[derive(Debug, thiserror::Error)]
pub enum GatewayFailed {
    /// A delivery worker has.
    #[error(transparent)]
    Worker(#[from] WorkerFailed),
    /// A listener has.
    #[error("the {0} listener has ended")]
    Listener(&'static str),
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    config: Arc<Config>,
    clock: Clock,
    metrics: Arc<Metrics>,
    store: Arc<Store>,
    delivery: Delivery,
    ingress: Arc<Ingress>,
    desk: Arc<AdminDesk>,
    tls: Option<Arc<Acceptor>>,
    /// What the admin listener makes TLS with.
    admin_tls: Option<Arc<Acceptor>>,
    /// Who was turned away there. They are counted apart from the public listener's, so that no flood
    /// there drowns them.
    turned_away: Arc<Refusals>,
    acme: Option<Keeper>,
    public: Listening,
    admin: Option<Listening>,
    /// Whoever watches over longer than one configuration sees the newest here.
    config_now: watch::Sender<Arc<Config>>,
    /// The operators' Unix socket; `None`: it could not be had.
    socket: Option<Listening<PathBuf>>,
    /// The audit trail. It is written to the very end.
    trail: chain::Running,
    /// Who sends it on.
    outputs: Outputs,
    /// Where it puts its newest checkpoint for them.
    newest: chain::Newest,
    /// Tasks that only watch and tell. They end with the gateway, and it does without them.
    _watches: JoinSet<()>,
}

impl Gateway {
    /// Where the providers call.
    pub fn public_addr(&self) -> SocketAddr {
        self.public.address
    }

    /// Where operators and probes call, if there is an admin listener.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// What the public listener makes TLS with, if it does.
    pub fn tls(&self) -> Option<&Arc<Acceptor>> {
        self.tls.as_ref()
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Waits until a part of the gateway has died, for ever if none does. Safe to cancel.
    pub async fn failed(&mut self) -> GatewayFailed {
        let admin = ended(&mut self.admin);
        let socket = ended(&mut self.socket);
        tokio::select! {
            failed = self.delivery.failed() => failed.into(),
            () = self.public.ended() => GatewayFailed::Listener("public"),
            () = admin => GatewayFailed::Listener("admin"),
            () = socket => GatewayFailed::Listener("socket"),
        }
    }
}

/// Ready once a listener that is there has ended.
async fn ended<A>(listening: &mut Option<Listening<A>>) {
    match listening {
        Some(listening) => listening.ended().await,
        None => std::future::pending().await,
    }
}

fn store_options(config: &Config, clock: Clock, metrics: Arc<Metrics>) -> store::Options {
    let upstreams = config.upstreams.iter().map(|upstream| UpstreamOptions {
        name: upstream.name.clone(),
        ordered: upstream.ordering == Ordering::Subject,
        give_up: upstream.retry.give_up,
        retry_max: upstream.retry.max,
    });
    store::Options {
        path: config.store.path.clone(),
        retention: config.store.retention,
        min_free: config.store.min_free,
        keys: Arc::new(Keyring::new(config.store.encryption_keys.iter().cloned())),
        clock,
        metrics,
        upstreams: upstreams.collect(),
    }
}

/// Half of the trail's room each, so that neither listener's refusals push out the other's.
fn share_trail(config: &Config, refusals: [&Refusals; 2]) {
    for refusals in refusals {
        refusals.resize(config.audit.max_size / 2);
    }
}

fn trail_options(config: &Config, newest: &chain::Newest) -> chain::Options {
    let audit = &config.audit;
    chain::Options {
        retention: chain::Retention {
            keep: audit.retention,
            max_bytes: audit.max_size,
            archive: audit.archive.clone(),
            min_free: config.store.min_free,
        },
        required: audit.required,
        checkpoints: Some(chain::Elsewhere {
            file: audit.checkpoints.file.clone(),
            newest: newest.clone(),
        }),
    }
}
