//! The public listener's certificate by ACME (RFC 8555): ordered when there is none, renewed when a
//! third of its lifetime is left, kept in files, and put in place. What fails is told and tried
//! again, later each time; until then what is in place stays there. Never stops the gateway.

mod authority;
mod cache;
mod failure;
mod order;
mod schedule;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use self::authority::Asked;
use self::cache::{Cache, Kept};
use self::failure::Failure;
use self::order::Order;
use self::schedule::{ATTEMPT, Next};
use crate::clock::Clock;
use crate::config::Acme;
use crate::listen::tls::{Acceptor, Expiry, shown};
use crate::metrics::Metrics;
use crate::panics;
use crate::pem::{Facts, Identity};

pub use self::cache::CacheError;

/// The certificate that is kept from before for these names, whether it still holds or not.
///
/// # Errors
/// When certificates cannot be kept where they are to be.
pub fn kept(acme: &Acme) -> Result<Option<Identity>, CacheError> {
    let cache = Cache::open(&acme.cache)?;
    Ok(Kept::of(acme).read(&cache))
}

/// Looks after the certificate as long as it is there.
#[derive(Debug)]
pub struct Keeper {
    settings: watch::Sender<Acme>,
}

impl Keeper {
    /// The keeper, and its work, which is to be run beside the listener: it ends with the keeper.
    /// What is in place already must be what [`kept`] has found.
    pub fn new(
        acme: &Acme,
        acceptor: Arc<Acceptor>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (settings, changed) = watch::channel(acme.clone());
        let held = acceptor.facts().map(|_| Kept::of(acme));
        let work = Work { settings: changed, held, failures: 0, acceptor, clock, metrics };
        (Self { settings }, work.run())
    }

    /// From here on these settings hold; `cache` must be what it was. A certificate for other names
    /// or of another authority is got at once, or taken from what is kept.
    pub fn reload(&self, acme: &Acme) {
        self.settings.send_if_modified(|held| {
            let differs = held != acme;
            if differs {
                held.clone_from(acme);
            }
            differs
        });
    }
}

struct Work {
    settings: watch::Receiver<Acme>,
    /// Which certificate is in place; `None`: there is none.
    held: Option<Kept>,
    /// Attempts that have failed one after the other.
    failures: u32,
    acceptor: Arc<Acceptor>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Work {
    async fn run(mut self) {
        if self.held.is_none() {
            tracing::warn!(
                target: "hookward::tls",
                "there is no certificate yet; until the first is issued, no provider gets through"
            );
        }
        let mut next = self.due();
        loop {
            tokio::select! {
                biased;
                changed = self.settings.changed() => match changed {
                    Ok(()) => next = self.adopt().await,
                    Err(_) => return,
                },
                () = next.come(&self.clock) => next = self.attempt().await,
            }
        }
    }

    /// When the certificate in place is to be replaced: now, if it is not the one that is wanted.
    fn due(&self) -> Next {
        let wanted = Kept::of(&self.settings.borrow());
        let facts = self.acceptor.facts().filter(|_| self.held.as_ref() == Some(&wanted));
        facts.map_or(Next::Now, |facts| Next::At(schedule::renew_at(&facts)))
    }

    /// New settings: what is kept for them is put in place.
    async fn adopt(&mut self) -> Next {
        self.failures = 0;
        let acme = self.settings.borrow_and_update().clone();
        let wanted = Kept::of(&acme);
        if self.held.as_ref() != Some(&wanted) {
            // What cannot be read is told when it is to be written.
            let kept = spawn_blocking(move || kept(&acme));
            // One that is over is no better than one for other names.
            if let Ok(Ok(Some(identity))) = kept.await
                && identity.facts.not_after > self.clock.now()
            {
                self.put(identity, wanted, "certificate loaded");
            }
        }
        self.due()
    }

    async fn attempt(&mut self) -> Next {
        let acme = self.settings.borrow().clone();
        let (domains, directory) = (shown(&acme.domains), acme.directory.as_str());
        tracing::info!(target: "hookward::tls", domains, directory, "ordering a certificate");
        let asked = Asked::default();
        match self.order(&acme, &asked).await {
            Ok(()) => {
                self.failures = 0;
                self.due().not_at_once(&self.clock)
            }
            Err(failure) => {
                self.failures = self.failures.saturating_add(1);
                let patience = failure.patience();
                let wait =
                    patience.wait(self.failures, asked.for_how_long(), &mut fastrand::Rng::new());
                self.tell(&acme, &failure, wait.as_secs());
                Next::after(wait)
            }
        }
    }

    /// Whatever becomes of it, it comes to an end, and nothing is on offer to the authority then.
    async fn order(&mut self, acme: &Acme, asked: &Asked) -> Result<(), Failure> {
        let dir = acme.cache.clone();
        let cache = spawn_blocking(move || Cache::open(&dir)).await;
        let cache = cache.map_err(|_| Failure::Panicked)??;
        let wanted = Kept::of(acme);
        let order = Order {
            acme,
            cache: &cache,
            challenges: self.acceptor.challenges(),
            clock: &self.clock,
            asked,
        };
        let issued = panics::caught(|| timeout(ATTEMPT, order.fulfil())).await;
        let issued = issued.map_err(|_| Failure::Panicked)?.map_err(|_| Failure::TooSlow)??;
        let identity = issued.identity()?;
        if !covers(&identity.facts, &acme.domains) {
            return Err(Failure::OtherNames(identity.facts.names));
        }
        // It holds even if it is lost with the process.
        let written = cache.write(wanted.file(), issued.into_pem()).await;
        self.put(identity, wanted, "certificate issued");
        if let Err(error) = written {
            tracing::error!(
                target: "hookward::tls",
                %error, "the certificate is in use, but cannot be kept: a restart will order another"
            );
        }
        Ok(())
    }

    fn put(&mut self, identity: Identity, kept: Kept, message: &'static str) {
        self.acceptor.put_certificate(identity);
        self.held = Some(kept);
        self.metrics.set_certificate_expiry(self.acceptor.expires_at());
        self.acceptor.announce(message);
    }

    /// While the certificate in place holds for long, a failure is not urgent.
    fn tell(&self, acme: &Acme, failure: &Failure, retry_in: u64) {
        let domains = shown(&acme.domains);
        let (directory, failures, error) = (acme.directory.as_str(), self.failures, failure.told());
        let facts = self.acceptor.facts();
        let far = facts.is_some_and(|facts| Expiry::of(&facts, self.clock.now()) == Expiry::Far);
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    target: "hookward::tls",
                    domains, directory, error, failures, retry_in, "no certificate was issued"
                )
            };
        }
        if far { tell!(warn) } else { tell!(error) }
    }
}

/// Whether a certificate is for all of these names. It may be for more.
fn covers(facts: &Facts, domains: &[String]) -> bool {
    let names: BTreeSet<_> = facts.names.iter().map(|name| name.to_ascii_lowercase()).collect();
    domains.iter().all(|domain| names.contains(domain))
}
