//! Changing over to another configuration while running: all that can fail is made ready first,
//! beside what runs; then everything switches, and nothing of that can fail.

use std::sync::Arc;

use serde_json::json;

use super::listeners::{admin_settings, local_settings, public_settings};
use super::{Gateway, TlsError, descriptors, share_trail, store_options, tls, trail_options};
use crate::admin::Gate;
use crate::admit::VerifierError;
use crate::audit::Who;
use crate::audit::chain::Own;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::delivery::{Forwarder, Plan, StartError};
use crate::ingress::Rules;
use crate::listen::tls::{Acceptor, Replacement};
use crate::metrics::Metrics;
use crate::store::crypt::Keyring;
use crate::store::{KeysError, Store};

/// Why a configuration that is valid cannot take over from the one that runs.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// A key that differs, and does not change while the gateway runs.
    #[error("{0}: a change needs a restart")]
    NeedsRestart(&'static str),
    /// An upstream that could not be delivered to.
    #[error(transparent)]
    Delivery(#[from] StartError),
    /// A certificate that the public listener cannot use.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Encryption keys without which the journal cannot be read.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Client certificates of a source that cannot be judged.
    #[error(transparent)]
    Verifier(#[from] VerifierError),
}

/// What making ready needs to know of a running gateway. It can be taken to another thread.
#[derive(Clone, Debug)]
pub struct Running {
    config: Arc<Config>,
    forwarders: Vec<Arc<Forwarder>>,
    clock: Clock,
    metrics: Arc<Metrics>,
    tls: Option<Arc<Acceptor>>,
    admin_tls: Option<Arc<Acceptor>>,
    store: Arc<Store>,
}

/// A configuration that is ready to take over.
#[derive(Debug)]
pub struct Next {
    config: Arc<Config>,
    rules: Rules,
    plan: Plan,
    certificate: Option<Replacement>,
    admin_certificate: Option<Replacement>,
    gate: Gate,
    changes: Vec<String>,
}

impl Next {
    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The keys by which it differs from the one that runs, without their values.
    pub fn changes(&self) -> &[String] {
        &self.changes
    }
}

impl Running {
    /// Makes ready what `config` needs. Reads the files that it names: blocks. Nothing changes yet.
    ///
    /// # Errors
    /// All that is in the way, at least one.
    pub fn prepare(&self, mut config: Config) -> Result<Next, Vec<Obstacle>> {
        descriptors::fit(&mut config);
        let fixed = config::fixed(&self.config, &config);
        if !fixed.is_empty() {
            return Err(fixed.into_iter().map(Obstacle::NeedsRestart).collect());
        }
        let mut obstacles = Vec::new();
        let plan = Plan::prepare(&config.upstreams, &self.forwarders, &self.clock);
        let plan = plan.map_err(|error| obstacles.push(error.into())).ok();
        let rules = Rules::new(&config, &self.metrics);
        let rules = rules.map_err(|error| obstacles.push(error.into())).ok();
        let certificate = self.tls.as_ref().map(|acceptor| tls::prepare(acceptor, &config));
        let certificate = certificate.transpose();
        let certificate = certificate.map_err(|error| obstacles.push(error.into())).ok();
        let admin = self.prepare_admin(&config).map_err(|error| obstacles.push(error)).ok();
        if let Err(error) = self.check_keys(&config) {
            obstacles.push(error);
        }
        if !obstacles.is_empty() {
            return Err(obstacles);
        }
        match (plan, rules, certificate, admin) {
            (Some(plan), Some(rules), Some(certificate), Some((gate, admin_certificate))) => {
                let changes = config::changes(&self.config, &config);
                let config = Arc::new(config);
                Ok(Next { config, rules, plan, certificate, admin_certificate, gate, changes })
            }
            _ => Err(obstacles),
        }
    }
}

/// Keys that the record of a reload names; of the others it has the number.
const NAMED: usize = 100;

/// The first of these keys, and how many there are beside them.
fn named(keys: &[String]) -> Vec<String> {
    let more = keys.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("and {more} more"));
    keys.iter().take(NAMED).cloned().chain(more).collect()
}

impl Running {
    /// Who is let in as an operator, and what they are shown for it.
    fn prepare_admin(&self, config: &Config) -> Result<(Gate, Option<Replacement>), Obstacle> {
        let acceptor = self.admin_tls.as_ref();
        let certificate = acceptor.map(|acceptor| tls::prepare_admin(acceptor, config));
        Ok((Gate::of(config)?, certificate.transpose()?))
    }

    /// Whether the journal can be read with the configuration's keys, if they are others.
    fn check_keys(&self, config: &Config) -> Result<(), Obstacle> {
        let (old, new) = (&self.config.store.encryption_keys, &config.store.encryption_keys);
        if old == new {
            return Ok(());
        }
        self.store.check_keys(&Keyring::new(new.iter().cloned()))?;
        // The journal has no encrypted segment, and one may be about to begin.
        if new.is_empty() { Err(Obstacle::NeedsRestart("store.encryption_key")) } else { Ok(()) }
    }
}

impl Gateway {
    /// What [`Running::prepare`] needs. Only one reload may be under way at a time.
    pub fn running(&self) -> Running {
        Running {
            config: Arc::clone(&self.config),
            forwarders: self.delivery.running(),
            clock: self.clock.clone(),
            metrics: Arc::clone(&self.metrics),
            tls: self.tls.clone(),
            admin_tls: self.admin_tls.clone(),
            store: Arc::clone(&self.store),
        }
    }

    /// Records that `next` takes over, on whose account, and by which keys it differs.
    fn record(&self, next: &Next, cause: &'static str) {
        let details = json!({ "cause": cause, "changed": named(next.changes()) });
        let who = format!("uid {}", Who::here().uid);
        self.trail.chain().own(Own { reason: "config_reloaded", who, details });
    }

    /// From here on `next` holds; `cause` is what has brought it about. Requests, connections and attempts in hand keep to what they
    /// began with. Does not wait for anything but time in proportion to what waits for upstreams
    /// whose order or patience changes.
    pub fn switch(&mut self, next: Next, cause: &'static str) {
        self.record(&next, cause);
        let Next { config, rules, plan, certificate, admin_certificate, gate, changes: _ } = next;
        // The lanes first: an event that is accepted by the new rules must find them.
        let options = store_options(&config, self.clock.clone(), Arc::clone(&self.metrics));
        let roster = self.store.reconfigure(&options);
        self.ingress.reload(&config, rules, roster.clone());
        if let (Some(acceptor), Some(certificate)) = (&self.tls, certificate) {
            tls::put(acceptor, certificate);
            self.metrics.set_certificate_expiry(acceptor.expires_at());
        }
        if let (Some(acceptor), Some(certificate)) = (&self.admin_tls, admin_certificate) {
            tls::put(acceptor, certificate);
            self.metrics.set_admin_certificate_expiry(acceptor.expires_at());
        }
        if let (Some(keeper), Some(acme)) = (&self.acme, tls::acme(&config)) {
            keeper.reload(acme);
        }
        let settings = public_settings(&config, self.tls.clone(), &self.ingress);
        self.public.reload(settings);
        self.desk.reload(&config, gate);
        if let Some(admin) = &self.admin {
            let tls = self.admin_tls.clone();
            admin.reload(admin_settings(&config.server, tls, &self.turned_away));
        }
        if let Some(socket) = &self.socket {
            socket.reload(local_settings(&config.server, &self.turned_away));
        }
        // Until here the old upstreams were served; what came for the new ones meanwhile waits.
        self.delivery.reload(plan, &roster, &self.store);
        self.trail.chain().reload(trail_options(&config, &self.newest));
        share_trail(&config, [self.ingress.refusals(), &self.turned_away]);
        self.outputs.set(&config.audit, config.store.min_free);
        self.config_now.send_replace(Arc::clone(&config));
        self.config = config;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand sources were changed at once, and the record of it was longer than any reader takes.
    #[test]
    fn a_reload_names_a_hundred_keys_and_counts_the_others() {
        let keys: Vec<String> = (0..250).map(|n| format!("sources.s{n}.max_body")).collect();
        assert_eq!(named(&keys[..100]), keys[..100]);
        let named = named(&keys);
        assert_eq!((named.len(), named[100].as_str()), (101, "and 150 more"));
    }
}
