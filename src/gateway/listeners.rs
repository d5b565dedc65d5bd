//! The listeners, two and the operators' Unix socket: their sockets, their settings, and what they
//! hand requests to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::GatewayError;
use crate::admin::socket::{self, Socket};
use crate::admin::{self, Admin, Gate};
use crate::audit::Refusals;
use crate::config::defaults::admin::MAX_LOCAL_CONNECTIONS;
use crate::config::{Config, Server};
use crate::ingress::{self, Ingress};
use crate::listen::tls::Acceptor;
use crate::listen::{self, Answer, Arrival, Drained, Limits, Listener, Settings, Stop, Timeouts};
use crate::metrics::Metrics;
use crate::network::Networks;

/// How long a stop waits for operators' requests, once everything else has ended: those that take
/// longer are questions about what is stored, which can be asked again.
const ADMIN_DRAIN: Duration = Duration::from_millis(250);

/// An address that is ours. Nobody is let in yet: until then connections are refused, rather than
/// left to wait.
#[derive(Debug)]
pub(super) struct Reserved {
    socket: TcpSocket,
    address: SocketAddr,
}

impl Reserved {
    pub(super) fn new(address: SocketAddr) -> Result<Self, GatewayError> {
        let reserved = listen::reserve(address).and_then(|socket| {
            let address = socket.local_addr()?;
            Ok(Self { socket, address })
        });
        reserved.map_err(|source| GatewayError::Listen { address, source })
    }

    fn open(self) -> Result<(TcpListener, SocketAddr), GatewayError> {
        let Self { socket, address } = self;
        let opened = listen::begin(socket).map(|listener| (listener, address));
        opened.map_err(|source| GatewayError::Listen { address, source })
    }
}

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How much a listener is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stopping {
    Not,
    /// Requests in hand finish.
    Soon,
    /// They are cut off.
    Now,
}

/// A listener that runs. Dropping it cuts its connections off.
#[derive(Debug)]
pub(super) struct Listening<A = SocketAddr> {
    pub(super) address: A,
    settings: Arc<ArcSwap<Settings>>,
    stop: watch::Sender<Stopping>,
    /// Until its end has been seen: a handle must not be asked again.
    task: Option<JoinHandle<()>>,
}

impl<A> Listening<A> {
    /// `run` makes the listener out of its settings, and of what is ready when it must stop.
    fn start<R, D>(address: A, settings: Settings, run: R) -> Self
    where
        R: FnOnce(Arc<ArcSwap<Settings>>, Stop<BoxFuture, BoxFuture>) -> D,
        D: Future<Output = Drained> + Send + 'static,
    {
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let (stop, stopped) = watch::channel(Stopping::Not);
        let at_least = |least| -> BoxFuture {
            let mut stopped = stopped.clone();
            Box::pin(async move {
                // Or nobody is left who could tell.
                drop(stopped.wait_for(|stop| *stop >= least).await);
            })
        };
        let told = Stop { soon: at_least(Stopping::Soon), now: at_least(Stopping::Now) };
        let run = run(Arc::clone(&settings), told);
        let task = tokio::spawn(async move {
            let drained = run.await;
            if drained.cut_off > 0 {
                let connections = drained.cut_off;
                tracing::warn!(target: "hookward", connections, "connections cut off");
            }
        });
        Self { address, settings, stop, task: Some(task) }
    }

    /// From here on new connections get these settings.
    pub(super) fn reload(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Takes no further connection, and lets the requests in hand finish.
    pub(super) fn stop(&self) {
        self.stop.send_replace(Stopping::Soon);
    }

    /// Takes no further connection, and cuts off the requests in hand.
    pub(super) fn cut_off(&self) {
        self.stop.send_replace(Stopping::Now);
    }

    /// Ready once the listener has ended. Safe to cancel, and to ask again.
    pub(super) async fn ended(&mut self) {
        if let Some(task) = &mut self.task {
            drop(task.await);
            self.task = None;
        }
    }
}

impl<A> Drop for Listening<A> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// What the admin listener's requests come to: before the store is open there is little to say.
#[derive(Debug, Default)]
pub(super) struct AdminDesk(OnceLock<Admin>);

impl AdminDesk {
    /// From here on `admin` answers.
    pub(super) fn open(&self, admin: Admin) {
        // It is opened once.
        drop(self.0.set(admin));
    }

    /// From here on this configuration holds, with its gate.
    pub(super) fn reload(&self, config: &Arc<Config>, gate: Gate) {
        if let Some(admin) = self.0.get() {
            admin.reload(config, gate);
        }
    }

    /// From here on the gateway is alive, but not ready.
    pub(super) fn drain(&self) {
        if let Some(admin) = self.0.get() {
            admin.drain();
        }
    }

    async fn answer(&self, arrival: Arrival) -> Answer {
        match self.0.get() {
            Some(admin) => admin.answer(arrival).await,
            None => admin::starting(&arrival),
        }
    }
}

/// Lets providers in.
pub(super) fn public(
    reserved: Reserved,
    config: &Config,
    tls: Option<Arc<Acceptor>>,
    ingress: &Arc<Ingress>,
    metrics: &Metrics,
) -> Result<Listening, GatewayError> {
    let refusals = Arc::clone(ingress.refusals());
    let settings = public_settings(config, tls, ingress);
    let ingress = Arc::clone(ingress);
    let handler = move |arrival| {
        let ingress = Arc::clone(&ingress);
        async move { ingress.answer(arrival).await }
    };
    let counts = metrics.listener(ingress::status_of);
    let (listener, address) = reserved.open()?;
    Ok(Listening::start(address, settings, |settings, stop| async move {
        let drained = tokio::select! {
            drained = listen::run_counted(listener, settings, handler, counts, stop) => drained,
            () = refusals.tell_sums() => Drained { cut_off: 0 },
        };
        refusals.tell_rest().await;
        drained
    }))
}

/// Lets operators and probes in.
pub(super) fn admin(
    reserved: Reserved,
    server: &Server,
    tls: Option<Arc<Acceptor>>,
    desk: &Arc<AdminDesk>,
    refusals: &Arc<Refusals>,
) -> Result<Listening, GatewayError> {
    let desk = Arc::clone(desk);
    let handler = move |arrival| {
        let desk = Arc::clone(&desk);
        async move { desk.answer(arrival).await }
    };
    let (listener, address) = reserved.open()?;
    let settings = admin_settings(server, tls, refusals);
    Ok(Listening::start(address, settings, |settings, stop| {
        listen::run(listener, settings, handler, stop.soon)
    }))
}

/// Lets operators in who are on this machine. Without the socket the gateway does its work all the
/// same; why there is none is told.
pub(super) fn local(
    config: &Config,
    desk: &Arc<AdminDesk>,
    refusals: &Arc<Refusals>,
) -> Option<Listening<PathBuf>> {
    let bound = Socket::bind(&config.store.path).inspect_err(|error| {
        tracing::error!(target: "hookward", %error, "no Unix socket for operators");
    });
    let Socket { listener, path } = bound.ok()?;
    let desk = Arc::clone(desk);
    let handler = move |arrival| {
        let desk = Arc::clone(&desk);
        async move { desk.answer(arrival).await }
    };
    let settings = local_settings(&config.server, refusals);
    Some(Listening::start(path, settings, |settings, stop| {
        listen::run_local(listener, settings, socket::admits, handler, stop.soon)
    }))
}

pub(super) fn public_settings(
    config: &Config,
    tls: Option<Arc<Acceptor>>,
    ingress: &Ingress,
) -> Settings {
    let server = &config.server;
    Settings {
        listener: Listener::Public,
        limits: limits(server),
        tls,
        trusted_proxies: server.trusted_proxies.clone(),
        proxy_protocol: server.proxy_protocol,
        expected: expected(config),
        refusals: Arc::clone(ingress.refusals()),
    }
}

/// The widest networks that name providers rather than half the world.
const WIDEST_V4: u8 = 24;
const WIDEST_V6: u8 = 48;

/// Who is expected to call: the sources' allowlists, but for what is wide in them.
fn expected(config: &Config) -> Networks {
    let allowed = config.sources.iter().filter_map(|source| source.allow_ips.as_deref());
    let is_narrow = |net: &IpNet| match net {
        IpNet::V4(net) => net.prefix_len() >= WIDEST_V4,
        IpNet::V6(net) => net.prefix_len() >= WIDEST_V6,
    };
    Networks::new(allowed.flatten().copied().filter(is_narrow))
}

pub(super) fn admin_settings(
    server: &Server,
    tls: Option<Arc<Acceptor>>,
    refusals: &Arc<Refusals>,
) -> Settings {
    let drain_timeout = ADMIN_DRAIN.min(server.drain_timeout);
    // Probes and scrapers ask and go. None may take the place of the others.
    let limits = limits(server);
    let timeouts = Timeouts { idle: limits.timeouts.header, ..limits.timeouts };
    let limits = Limits {
        max_connections: admin::MAX_CONNECTIONS,
        max_connections_per_client: admin::MAX_OF_CLIENT,
        drain_timeout,
        timeouts,
        ..limits
    };
    Settings { listener: Listener::Admin, tls, ..Settings::plain(limits, Arc::clone(refusals)) }
}

pub(super) fn local_settings(server: &Server, refusals: &Arc<Refusals>) -> Settings {
    let admin = admin_settings(server, None, refusals);
    let most = MAX_LOCAL_CONNECTIONS;
    let limits = Limits { max_connections: most, max_connections_per_client: most, ..admin.limits };
    Settings { listener: Listener::Socket, limits, ..admin }
}

fn limits(server: &Server) -> Limits {
    Limits {
        max_connections: server.max_connections,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::event::SourceName;

    #[test]
    fn narrow_allowlists_say_who_is_expected() {
        let source = |name: &str, nets: Option<&[&str]>| {
            let allow_ips = nets.map(|nets| nets.iter().map(|net| net.parse().unwrap()).collect());
            Arc::new(config::Source {
                allow_ips,
                ..config::Source::open(SourceName::new(name).unwrap())
            })
        };
        let toml = crate::gateway::tests::TOML;
        let mut config = crate::gateway::tests::config(std::path::Path::new("/"), toml);
        config.sources = vec![
            source("a", Some(&["203.0.113.0/24", "198.51.100.0/23", "0.0.0.0/0"])),
            source("b", None),
            source("c", Some(&["2001:db8::/48", "2001:db9::/47", "::/0"])),
        ];
        let expected = expected(&config);
        for (address, is) in [
            ("203.0.113.255", true),
            ("198.51.100.1", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
            ("192.0.2.1", false),
        ] {
            assert_eq!(expected.contains(address.parse().unwrap()), is, "{address}");
        }
    }
}
