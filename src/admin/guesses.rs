//! Wrong tokens, client by client: how many there were, and that whoever has shown too many waits for
//! what every further one comes to. The right one waits as well: else how fast the answer comes would
//! say which it is, and a guesser could try as many as the listener answers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::admit::Failures;
use crate::config::RateLimit;
use crate::config::defaults::admin::{GUESS_PAUSE, MAX_WAITING_GUESSES};
use crate::network::Network;

/// Clients whose wrong tokens are remembered: the listener is for few.
const REMEMBERED: usize = 1024;

/// What was wrong, and who waits.
#[derive(Debug)]
pub(super) struct Guesses {
    budgets: Failures,
    clients: Mutex<HashMap<Network, Guesser>>,
}

/// A client that has shown what is wrong.
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

/// Too many requests of the client wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crowded;

impl Guesses {
    /// Nobody has failed yet. Each client may fail this often before it waits.
    pub(super) fn new(budget: RateLimit) -> Self {
        Self { budgets: Failures::new(budget, REMEMBERED), clients: Mutex::default() }
    }

    /// From here on clients may fail this often.
    pub(super) fn reload(&self, budget: RateLimit) {
        self.budgets.reload(budget, REMEMBERED);
    }

    /// Ready when what the client shows may be looked at: at once, or after a second where it is beyond
    /// its budget.
    ///
    /// # Errors
    /// When as many of its requests as may wait do so.
    pub(super) async fn turn(&self, client: IpAddr) -> Result<(), Crowded> {
        if let Some(_waiting) = self.wait(Network::of(Some(client)))? {
            sleep(GUESS_PAUSE).await;
        }
        Ok(())
    }

    fn wait(&self, client: Network) -> Result<Option<Waiting<'_>>, Crowded> {
        let (mut clients, now) = (self.clients.lock(), Instant::now());
        // While some wait none is looked at before them: it would be one more try.
        let must_wait = |guesser: &&mut Guesser| guesser.waiting > 0 || guesser.is_beyond(now);
        let Some(guesser) = clients.get_mut(&client).filter(must_wait) else {
            return Ok(None);
        };
        if guesser.waiting >= MAX_WAITING_GUESSES {
            return Err(Crowded);
        }
        guesser.waiting += 1;
        Ok(Some(Waiting { guesses: self, client }))
    }

    /// The client has shown what is wrong. If that was too often: whole seconds, at most 60, for which
    /// it is beyond its budget.
    pub(super) fn failed(&self, client: IpAddr) -> Option<u8> {
        let (seconds, now) = (self.budgets.count(Some(client)), Instant::now());
        let beyond = seconds.map(|seconds| now + Duration::from_secs(seconds.into()));
        let (mut clients, client) = (self.clients.lock(), Network::of(Some(client)));
        if let Some(guesser) = clients.get_mut(&client) {
            guesser.failures += 1;
            guesser.last = now;
            guesser.beyond = beyond.or(guesser.beyond);
        } else if make_room(&mut clients, now) {
            clients.insert(client, Guesser { failures: 1, last: now, beyond, waiting: 0 });
        }
        seconds
    }

    /// The client has shown what is right: how often it had failed before, since it last did.
    pub(super) fn succeeded(&self, client: IpAddr) -> u64 {
        let client = Network::of(Some(client));
        let mut clients = self.clients.lock();
        // Who has one token of its own is no freer to guess at the others.
        clients.get_mut(&client).map_or(0, |guesser| std::mem::take(&mut guesser.failures))
    }
}

impl Guesser {
    fn is_beyond(&self, now: Instant) -> bool {
        self.beyond.is_some_and(|until| now < until)
    }
}

/// Forgets who failed longest ago, where there are too many, and of whom nothing waits; those within
/// their budget first. False: there is none.
fn make_room(clients: &mut HashMap<Network, Guesser>, now: Instant) -> bool {
    if clients.len() < REMEMBERED {
        return true;
    }
    let idle = clients.iter().filter(|(_, guesser)| guesser.waiting == 0);
    let eldest = idle.min_by_key(|(_, guesser)| (guesser.is_beyond(now), guesser.last));
    let eldest = eldest.map(|(client, _)| *client);
    eldest.is_some_and(|client| clients.remove(&client).is_some())
}

/// A request that waits, until this is dropped.
#[derive(Debug)]
struct Waiting<'a> {
    guesses: &'a Guesses,
    client: Network,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(guesser) = self.guesses.clients.lock().get_mut(&self.client) {
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
        assert_eq!(guesses.clients.lock().len(), REMEMBERED);
        assert_eq!(guesses.succeeded(CLIENT), 2);
    }
}
