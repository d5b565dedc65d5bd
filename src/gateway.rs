//! The gateway: the only place that knows all the parts, and the order in which they start and
//! stop.

mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::admin::{self, Admin};
use crate::admit::VerifierError;
use crate::audit::Refusals;
use crate::clock::Clock;
use crate::config::{Config, Ordering, Server};
use crate::delivery::{Delivery, StartError, WorkerFailed};
use crate::ingress::{self, Ingress, Rules};
use crate::listen::tls::{Acceptor, watch_expiry};
use crate::listen::{self, Limits, Settings, Timeouts};
use crate::metrics::{ListenerMetrics, Metrics};
use crate::store::{self, OpenError, Store, UpstreamOptions};

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
    /// Opening the store has panicked; the log says where.
    #[error("opening the store has panicked")]
    Panicked,
    /// The public listener cannot speak TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The client certificates of a source cannot be judged.
    #[error(transparent)]
    Verifier(#[from] VerifierError),
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
    store: Arc<Store>,
    delivery: Delivery,
    operators: Arc<Admin>,
    public: Listening,
    admin: Option<Listening>,
    stop_public: watch::Sender<bool>,
    stop_admin: watch::Sender<bool>,
    drain_timeout: Duration,
    tls: Option<Arc<Acceptor>>,
    /// Tasks that only watch and tell. They end with the gateway, and it does without them.
    _watches: JoinSet<()>,
}

#[derive(Debug)]
struct Listening {
    address: SocketAddr,
    /// Until its end has been seen: a handle must not be asked again.
    task: Option<JoinHandle<()>>,
}

impl Listening {
    /// Ready once the listener has ended. Safe to cancel, and to ask again.
    async fn ended(&mut self) {
        if let Some(task) = &mut self.task {
            drop(task.await);
            self.task = None;
        }
    }
}

impl Gateway {
    /// Opens the store, takes the addresses, and starts both roads. Returns once requests are
    /// taken.
    ///
    /// # Errors
    /// [`GatewayError`]; then nothing is left running.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, GatewayError> {
        // The addresses first: two gateways by mistake should not wait for each other's store.
        let listener = bind(config.server.listen)?;
        let admin_listener = config.admin.as_ref().map(|admin| bind(admin.listen)).transpose()?;
        let tls = tls::acceptor(&config)?;
        let metrics = Arc::new(Metrics::new());
        let rules = Rules::new(&config, &metrics)?;
        if let Some(tls) = &tls {
            metrics.set_certificate_expiry(tls.expires_at());
        }
        let options = store_options(&config, clock.clone(), Arc::clone(&metrics));
        let opening = tokio::task::spawn_blocking(move || Store::open(options));
        // What a panic says stays untold; the hook has told where it was.
        let store = Arc::new(opening.await.map_err(|_| GatewayError::Panicked)??);
        let upstreams = &config.upstreams;
        let never = std::future::pending();
        let started = Delivery::start(
            upstreams,
            Arc::clone(&store),
            clock.clone(),
            Arc::clone(&metrics),
            never,
        );
        let delivery = match started {
            Ok(delivery) => delivery,
            Err(error) => {
                store.close().await;
                return Err(error.into());
            }
        };
        let operators = Admin::new(config.admin.as_ref(), Arc::clone(&store), Arc::clone(&metrics));
        let operators = Arc::new(operators);
        let counts = metrics.listener(ingress::status_of);
        let mut watches = JoinSet::new();
        if let Some(tls) = &tls {
            watches.spawn(watch_expiry(Arc::clone(tls), clock.clone()));
        }
        let ingress = Ingress::new(&config, rules, Arc::clone(&store), clock, metrics);
        let ingress = Arc::new(ingress);
        let refusals = Arc::clone(ingress.refusals());
        let (stop_public, stopped) = watch::channel(false);
        let public =
            listen_publicly(listener, &config.server, tls.clone(), ingress, counts, stopped);
        let (stop_admin, stopped) = watch::channel(false);
        let admin = admin_listener.map(|l| {
            listen_for_admins(l, &config.server, Arc::clone(&operators), refusals, stopped)
        });
        let drain_timeout = config.server.drain_timeout;
        Ok(Self {
            store,
            delivery,
            operators,
            public,
            admin,
            stop_public,
            stop_admin,
            drain_timeout,
            tls,
            _watches: watches,
        })
    }

    /// Where the providers call.
    pub fn public_addr(&self) -> SocketAddr {
        self.public.address
    }

    /// Where operators and probes call, if there is an admin listener.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// Reads the certificate, its key and the sources' client roots anew, and puts them in place
    /// for new connections. What happened is in the log. Without TLS there is nothing to read.
    ///
    /// # Errors
    /// When they cannot be used: then what was in place stays there.
    pub fn reload_certificates(&self, config: &Config) -> Result<(), TlsError> {
        self.tls.as_ref().map_or(Ok(()), |acceptor| tls::reload(acceptor, config))
    }

    /// What the public listener makes TLS with, if it does.
    pub fn tls(&self) -> Option<&Arc<Acceptor>> {
        self.tls.as_ref()
    }

    /// Waits until a part of the gateway has died, for ever if none does. Safe to cancel.
    pub async fn failed(&mut self) -> GatewayFailed {
        let admin = async {
            match &mut self.admin {
                Some(admin) => admin.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            failed = self.delivery.failed() => failed.into(),
            () = self.public.ended() => GatewayFailed::Listener("public"),
            () = admin => GatewayFailed::Listener("admin"),
        }
    }

    /// Stops: no further request is taken, those in hand are answered, attempts in flight finish,
    /// and everything is on stable storage; what takes longer than `drain_timeout` is cut off.
    /// Health is answered to the end. Whether everything that was accepted is safe.
    pub async fn shutdown(mut self) -> bool {
        self.operators.drain();
        let deadline = tokio::time::Instant::now() + self.drain_timeout;
        self.stop_public.send_replace(true);
        self.public.ended().await;
        self.delivery.drain(deadline).await;
        let safe = self.store.close().await;
        self.stop_admin.send_replace(true);
        if let Some(admin) = &mut self.admin {
            admin.ended().await;
        }
        safe
    }
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), GatewayError> {
    let bound = listen::bind(address).and_then(|l| l.local_addr().map(|local| (l, local)));
    bound.map_err(|source| GatewayError::Listen { address, source })
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
        clock,
        metrics,
        upstreams: upstreams.collect(),
    }
}

fn limits(server: &Server, max_connections: usize) -> Limits {
    Limits {
        max_connections,
        max_connections_per_client: server.max_connections_per_client,
        max_requests: server.max_requests_per_connection,
        max_headers: server.max_headers,
        max_header_bytes: server.max_header_bytes,
        max_target: server.max_target,
        max_streams: server.max_streams,
        timeouts: Timeouts {
            handshake: server.handshake_timeout,
            header: server.header_timeout,
            write: server.write_timeout,
            idle: server.idle_timeout,
        },
        drain_timeout: server.drain_timeout,
    }
}

fn listen_publicly(
    (listener, address): (TcpListener, SocketAddr),
    server: &Server,
    tls: Option<Arc<Acceptor>>,
    ingress: Arc<Ingress>,
    counts: ListenerMetrics,
    stopped: watch::Receiver<bool>,
) -> Listening {
    let settings = Settings {
        limits: limits(server, server.max_connections),
        tls,
        trusted_proxies: server.trusted_proxies.clone(),
        proxy_protocol: server.proxy_protocol,
        refusals: Arc::clone(ingress.refusals()),
    };
    let refusals = Arc::clone(ingress.refusals());
    let settings = Arc::new(ArcSwap::from_pointee(settings));
    let handler = move |arrival| {
        let ingress = Arc::clone(&ingress);
        async move { ingress.answer(arrival).await }
    };
    let task = tokio::spawn(async move {
        let drained = tokio::select! {
            drained = listen::run_counted(listener, settings, handler, counts, told(stopped)) => drained,
            () = refusals.tell_sums() => return,
        };
        refusals.tell_rest().await;
        if drained.cut_off > 0 {
            let connections = drained.cut_off;
            tracing::warn!(target: "hookward", connections, "cut off at the drain timeout");
        }
    });
    Listening { address, task: Some(task) }
}

fn listen_for_admins(
    (listener, address): (TcpListener, SocketAddr),
    server: &Server,
    operators: Arc<Admin>,
    refusals: Arc<Refusals>,
    stopped: watch::Receiver<bool>,
) -> Listening {
    let settings = Settings::plain(limits(server, admin::MAX_CONNECTIONS), refusals);
    let settings = Arc::new(ArcSwap::from_pointee(settings));
    let handler = move |arrival| {
        let operators = Arc::clone(&operators);
        async move { operators.answer(arrival).await }
    };
    let task = tokio::spawn(async move {
        listen::run(listener, settings, handler, told(stopped)).await;
    });
    Listening { address, task: Some(task) }
}

/// Ready once `stopped` says so, or nobody is left who could.
async fn told(mut stopped: watch::Receiver<bool>) {
    drop(stopped.wait_for(|stop| *stop).await);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Placeholders, check_text};

    const TOML: &str = r#"
        [server]
        listen = "127.0.0.1:0"
        [store]
        path = "data"
        [source.lab]
        auth = { kind = "none-dangerous" }
        [upstream.app]
        url = "http://127.0.0.1:9/"
    "#;

    /// A stop used to wait a second time for the listener whose end had brought it about, which a
    /// task's handle answers with a panic: the store was never closed.
    #[tokio::test]
    async fn a_gateway_whose_listener_has_died_still_stops_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut gateway = Gateway::start(config(dir.path()), Clock::System).await.unwrap();
        gateway.public.task.as_ref().unwrap().abort();
        let failed = gateway.failed().await;
        assert_eq!(failed.to_string(), "the public listener has ended");
        assert!(gateway.shutdown().await, "the store closes cleanly");
    }

    fn config(dir: &Path) -> Config {
        let file = dir.join("hookward.toml");
        let (mut config, _) = check_text(&file, TOML, &Placeholders).unwrap();
        config.store.min_free = 0;
        config
    }
}
