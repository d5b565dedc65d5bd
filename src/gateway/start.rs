//! The start. What can fail quickly comes first; reading the journal, which may take minutes, comes
//! before anybody is let in.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::listeners::{self, AdminDesk, Listening, Reserved};
use super::stop::stopped;
use super::{Gateway, GatewayError, descriptors, share_trail, store_options, tls, trail_options};
use crate::admin::{Admin, Gate};
use crate::audit::chain::{self, Chain, Newest, Own};
use crate::audit::output::Outputs;
use crate::audit::{Refusals, Who};
use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::{Delivery, Plan};
use crate::gaps;
use crate::ingress::{Ingress, Rules};
use crate::listen::tls::watch_expiry;
use crate::metrics::Metrics;
use crate::store::disk::OsDisk;
use crate::store::{Cancel, Options, Store, Tuning};

impl Gateway {
    /// Opens the store, takes the addresses, and starts both roads. Returns once requests are
    /// taken. While the store opens, providers' connections are refused, and the admin listener
    /// says that the gateway is alive but not ready. Dropping the future gives the start up.
    ///
    /// # Errors
    /// [`GatewayError`]; then nothing is left running.
    pub async fn start(mut config: Config, clock: Clock) -> Result<Self, GatewayError> {
        descriptors::fit(&mut config);
        let config = Arc::new(config);
        // The addresses first: two gateways by mistake should not wait for each other's store.
        let public = Reserved::new(config.server.listen)?;
        let admin = config.admin.as_ref().map(|admin| Reserved::new(admin.listen)).transpose()?;
        let metrics = Arc::new(Metrics::new());
        let tls = tls::acceptor(&config)?;
        let rules = Rules::new(&config, &metrics)?;
        let plan = plan(&config, &clock).await?;
        let desk = Arc::new(AdminDesk::default());
        let chain = Arc::new(Chain::new(clock.clone()));
        let refusals = || Arc::new(Refusals::recorded(clock.clone(), Arc::clone(&chain)));
        let (refusals, turned_away) = (refusals(), refusals());
        share_trail(&config, [&refusals, &turned_away]);
        let admin_tls = tls::admin_acceptor(&config)?;
        let gate = Gate::of(&config)?;
        let admin = admin.map(|admin| {
            listeners::admin(admin, &config.server, admin_tls.clone(), &desk, &turned_away)
        });
        let admin = admin.transpose()?;
        // Reading a long journal takes its time, and nothing else is heard until then.
        tracing::info!(
            target: "hookward",
            store = %config.store.path.display(),
            admin = admin.as_ref().map(|admin: &Listening| tracing::field::display(admin.address)),
            "opening the store"
        );
        let store = open(store_options(&config, clock.clone(), Arc::clone(&metrics))).await?;
        let newest = Newest::default();
        let trail = match begin_trail(chain, &config, &newest).await {
            Ok(trail) => trail,
            Err(error) => {
                store.close().await;
                return Err(error);
            }
        };
        let ingress = Arc::new(Ingress::new(
            &config,
            rules,
            Arc::clone(&store),
            clock.clone(),
            &metrics,
            refusals,
        ));
        let mut outputs = Outputs::new(
            Arc::clone(trail.chain()),
            newest.clone(),
            &config.store.path,
            clock.clone(),
            Arc::clone(&metrics),
        );
        // Before the first record of this start, so that it is sent.
        outputs.set(&config.audit, config.store.min_free);
        trail.chain().own(started());
        let public = listeners::public(public, &config, tls.clone(), &ingress, &metrics);
        let public = match public {
            Ok(public) => public,
            Err(error) => {
                trail.chain().own(stopped(store.close().await));
                return Err(error);
            }
        };
        let mut watches = JoinSet::new();
        let (config_now, latest) = watch::channel(Arc::clone(&config));
        let before = store.presence();
        store.lets_in();
        watches.spawn(gaps::tell::watch(latest, Arc::clone(&store), clock.clone(), before));
        if let Some(tls) = &tls {
            metrics.set_certificate_expiry(tls.expires_at());
            watches.spawn(watch_expiry(Arc::clone(tls), clock.clone()));
        }
        if let Some(tls) = &admin_tls {
            metrics.set_admin_certificate_expiry(tls.expires_at());
            watches.spawn(watch_expiry(Arc::clone(tls), clock.clone()));
        }
        let told = Arc::clone(&turned_away);
        watches.spawn(async move { told.tell_sums().await });
        let (acme, renewal) = tls::keeper(&config, tls.as_ref(), &clock, &metrics).unzip();
        renewal.map(|renewal| watches.spawn(renewal));
        let delivery = Delivery::start(plan, &store.roster(), &store, Arc::clone(&metrics));
        let operators = Admin::new(
            &config,
            gate,
            Arc::clone(&store),
            Arc::clone(trail.chain()),
            Arc::clone(&metrics),
            Arc::clone(&turned_away),
            clock.clone(),
        );
        desk.open(operators);
        let socket = listeners::local(&config, &desk, &turned_away);
        Ok(Self {
            config,
            clock,
            metrics,
            store,
            delivery,
            ingress,
            desk,
            tls,
            admin_tls,
            turned_away,
            acme,
            public,
            admin,
            config_now,
            socket,
            trail,
            outputs,
            newest,
            _watches: watches,
        })
    }
}

async fn plan(config: &Arc<Config>, clock: &Clock) -> Result<Plan, GatewayError> {
    let (config, clock) = (Arc::clone(config), clock.clone());
    let prepared =
        tokio::task::spawn_blocking(move || Plan::prepare(&config.upstreams, &[], &clock));
    // What a panic says stays untold; the hook has told where it was.
    Ok(prepared.await.map_err(|_| GatewayError::Panicked)??)
}

/// Begins to write the audit trail, which is the store's.
async fn begin_trail(
    chain: Arc<Chain>,
    config: &Config,
    newest: &Newest,
) -> Result<chain::Running, GatewayError> {
    let (store, options) = (config.store.path.clone(), trail_options(config, newest));
    let start = move || chain.start(Arc::new(OsDisk), &store, options);
    let started = tokio::task::spawn_blocking(start).await;
    Ok(started.map_err(|_| GatewayError::Panicked)??)
}

/// The record of a start: who has started what.
fn started() -> Own {
    let who = Who::here();
    let details = json!({
        "version": env!("CARGO_PKG_VERSION"), "uid": who.uid, "login_uid": who.login_uid,
    });
    Own { reason: "started", who: format!("uid {}", who.uid), details }
}

/// Opens the store. When this is dropped before, the opening comes to an early end, and the
/// journal is as good as it was.
async fn open(options: Options) -> Result<Arc<Store>, GatewayError> {
    let opening = Opening(Cancel::default());
    let tuning = Tuning { cancel: opening.0.clone(), ..Tuning::default() };
    let opened = tokio::task::spawn_blocking(move || Store::open_with(options, tuning));
    let store = opened.await.map_err(|_| GatewayError::Panicked)??;
    Ok(Arc::new(store))
}

struct Opening(Cancel);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
