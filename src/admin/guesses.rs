//! Wrong tokens, client by client and IPv6 site by site: how many there were, and that whoever has shown
//! too many waits for what every further one comes to. The right one waits as well: else how fast the
//! answer comes would say which it is, and a guesser could try as many as the listener answers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::admit::{Failures, times};
use crate::config::RateLimit;
use crate::config::defaults::admin::{GUESS_PAUSE, MAX_WAITING_GUESSES};
use crate::network::Network;

/// Clients whose wrong tokens are remembered, and as many sites: the listener is for few.
const REMEMBERED: usize = 1024;

/// How many clients' guesses a /48 has, whatever clients it has: its holder has 65,536.
const CLIENTS_OF_SITE: u8 = 2;

/// What was wrong, and who waits.
#[derive(Debug)]
pub(super) struct Guesses {
    clients: Guessers,
    /// A site is remembered as the first of its clients.
    sites: Guessers,
}

/// Those who are counted in one way.
#[derive(Debug)]
struct Guessers {
    budgets: Failures,
    known: Mutex<HashMap<Network, Guesser>>,
    /// For how many clients each of these stands.
    factor: u8,
}

/// One that has shown what is wrong.
#[derive(Debug)]
struct Guesser {
    /// How often, since a right token was shown.
    failures: u64,
    last: Instant,
    /// Until when it is beyond its budget.
    beyond: Option<Instant>,
    /// How many of its requests wait.
    waiting: usize,
}

/// Too many requests of the client, or of its site, wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crowded;

impl Guesses {
    /// Nobody has failed yet. Each client may fail this often before it waits, and each site twice.
    pub(super) fn new(budget: RateLimit) -> Self {
        Self { clients: Guessers::new(budget, 1), sites: Guessers::new(budget, CLIENTS_OF_SITE) }
    }

    /// From here on clients may fail this often.
    pub(super) fn reload(&self, budget: RateLimit) {
        self.clients.reload(budget);
        self.sites.reload(budget);
    }

    /// Ready when what the client shows may be looked at: at once, or after a second where it or its site
    /// is beyond the budget.
    ///
    /// # Errors
    /// When as many of their requests as may wait do so.
    pub(super) async fn turn(&self, client: IpAddr) -> Result<(), Crowded> {
        let client = Network::of(Some(client));
        let of_client = self.clients.wait(client)?;
        let of_site = site(client).map(|site| self.sites.wait(site)).transpose()?.flatten();
        if of_client.is_some() || of_site.is_some() {
            sleep(GUESS_PAUSE).await;
        }
        Ok(())
    }

    /// The client has shown what is wrong. If that was too often: whole seconds, at most 60, for which
    /// it or its site is beyond the budget.
    pub(super) fn failed(&self, client: IpAddr) -> Option<u8> {
        let client = Network::of(Some(client));
        let of_client = self.clients.failed(client);
        of_client.max(site(client).and_then(|site| self.sites.failed(site)))
    }

    /// The client has shown what is right: how often it had failed before, since it last did.
    pub(super) fn succeeded(&self, client: IpAddr) -> u64 {
        self.clients.succeeded(Network::of(Some(client)))
    }
}

fn site(client: Network) -> Option<Network> {
    Some(client.site()?.first())
}

impl Guessers {
    fn new(budget: RateLimit, factor: u8) -> Self {
        let budgets = Failures::new(times(budget, factor.into()), REMEMBERED);
        Self { budgets, known: Mutex::default(), factor }
    }

    fn reload(&self, budget: RateLimit) {
        self.budgets.reload(times(budget, self.factor.into()), REMEMBERED);
    }

    /// `None`: it need not wait.
    fn wait(&self, whose: Network) -> Result<Option<Waiting<'_>>, Crowded> {
        let (mut known, now) = (self.known.lock(), Instant::now());
        // While some wait none is looked at before them: it would be one more try.
        let must_wait = |guesser: &&mut Guesser| guesser.waiting > 0 || guesser.is_beyond(now);
        let Some(guesser) = known.get_mut(&whose).filter(must_wait) else {
            return Ok(None);
        };
        if guesser.waiting >= MAX_WAITING_GUESSES * usize::from(self.factor) {
            return Err(Crowded);
        }
        guesser.waiting += 1;
        Ok(Some(Waiting { guessers: self, whose }))
    }

    fn failed(&self, whose: Network) -> Option<u8> {
        let (seconds, now) = (self.budgets.count(whose), Instant::now());
        let beyond = seconds.map(|seconds| now + Duration::from_secs(seconds.into()));
        let mut known = self.known.lock();
        if let Some(guesser) = known.get_mut(&whose) {
            guesser.failures += 1;
            guesser.last = now;
            guesser.beyond = beyond.or(guesser.beyond);
        } else if make_room(&mut known, now) {
            known.insert(whose, Guesser { failures: 1, last: now, beyond, waiting: 0 });
        }
        seconds
    }

    fn succeeded(&self, whose: Network) -> u64 {
        let mut known = self.known.lock();
        // Who has one token of its own is no freer to guess at the others.
        known.get_mut(&whose).map_or(0, |guesser| std::mem::take(&mut guesser.failures))
    }
}

impl Guesser {
    fn is_beyond(&self, now: Instant) -> bool {
        self.beyond.is_some_and(|until| now < until)
    }
}

/// Forgets who failed longest ago, where there are too many, and of whom nothing waits; those within
/// their budget first. False: there is none.
fn make_room(known: &mut HashMap<Network, Guesser>, now: Instant) -> bool {
    if known.len() < REMEMBERED {
        return true;
    }
    let idle = known.iter().filter(|(_, guesser)| guesser.waiting == 0);
    let eldest = idle.min_by_key(|(_, guesser)| (guesser.is_beyond(now), guesser.last));
    let eldest = eldest.map(|(whose, _)| *whose);
    eldest.is_some_and(|whose| known.remove(&whose).is_some())
}

/// A request that waits, until this is dropped.
#[derive(Debug)]
struct Waiting<'a> {
    guessers: &'a Guessers,
    whose: Network,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(guesser) = self.guessers.known.lock().get_mut(&self.whose) {
            guesser.waiting = guesser.waiting.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use super::*;

    fn guesses(per_second: u32, burst: u32) -> Arc<Guesses> {
        let count = |n| NonZeroU32::new(n).unwrap();
        Arc::new(Guesses::new(RateLimit { per_second: count(per_second), burst: count(burst) }))
    }

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    /// Four thousand a second were answered, and the right one among them.
    #[tokio::test(start_paused = true)]
    async fn whoever_has_failed_too_often_waits_a_second_eight_at_a_time() {
        let guesses = guesses(1, 2);
        assert_eq!((guesses.failed(CLIENT), guesses.failed(CLIENT)), (None, None));
        let begun = Instant::now();
        assert_eq!(guesses.turn(CLIENT).await, Ok(()));
        assert_eq!(begun.elapsed(), Duration::ZERO, "within the budget");
        assert_eq!(guesses.failed(CLIENT), Some(1));
        let eight: Vec<_> = (0..MAX_WAITING_GUESSES)
            .map(|_| {
                let guesses = Arc::clone(&guesses);
                tokio::spawn(async move { guesses.turn(CLIENT).await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(guesses.turn(CLIENT).await, Err(Crowded));
        assert_eq!(guesses.turn(Ipv4Addr::LOCALHOST.into()).await, Ok(()), "another client");
        assert_eq!(begun.elapsed(), Duration::ZERO, "both at once");
        for turn in eight {
            assert_eq!(turn.await.unwrap(), Ok(()));
        }
        assert_eq!(begun.elapsed(), GUESS_PAUSE);
        assert_eq!((guesses.succeeded(CLIENT), guesses.succeeded(CLIENT)), (3, 0));
        // One who goes away gives its place back.
        assert_eq!((guesses.failed(CLIENT), guesses.failed(CLIENT)), (None, Some(1)));
        for _ in 0..=MAX_WAITING_GUESSES {
            let given_up = tokio::time::timeout(GUESS_PAUSE / 100, guesses.turn(CLIENT));
            assert!(given_up.await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_a_thousand_clients_are_remembered_and_not_those_that_are_slowed_first() {
        let guesses = guesses(1, 1);
        assert_eq!((guesses.failed(CLIENT), guesses.failed(CLIENT)), (None, Some(1)));
        for n in 0..5_000 {
            guesses.failed(Ipv4Addr::from_bits(0x0a00_0000 + n).into());
        }
        assert_eq!(guesses.clients.known.lock().len(), REMEMBERED);
        assert_eq!(guesses.succeeded(CLIENT), 2);
    }

    fn of_site(site: u128, client: u128) -> IpAddr {
        std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | site << 80 | client << 64 | 1).into()
    }

    /// The holder of a /48 has 65,536 clients' budgets: 19,200 wrong tokens came to their answer within
    /// four seconds, and none waited.
    #[tokio::test(start_paused = true)]
    async fn a_site_guesses_no_faster_than_two_clients() {
        let guesses = guesses(1, 10);
        let at_once = (0..40).filter(|n| guesses.failed(of_site(1, *n)).is_none()).count();
        assert_eq!(at_once, 20);
        let turns = (0..40).map(|n| guesses.turn(of_site(1, 1_000 + n)));
        let begun = Instant::now();
        let turns = futures_util::future::join_all(turns).await;
        assert_eq!(turns.iter().filter(|turn| turn.is_ok()).count(), 2 * MAX_WAITING_GUESSES);
        assert_eq!(begun.elapsed(), GUESS_PAUSE);
        for other in [of_site(2, 1), CLIENT] {
            assert_eq!(guesses.turn(other).await, Ok(()));
        }
        assert_eq!(begun.elapsed(), GUESS_PAUSE, "others do not wait");
    }
}
