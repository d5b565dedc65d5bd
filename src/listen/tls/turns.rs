//! Turns at the handshakes' arithmetic, handed round among clients.
//!
//! The first answer to a stranger's ClientHello is signed with our key, and one hello that was
//! recorded once can be sent over and over: up to 5 ms of a core each, where the key is RSA-4096. The
//! runtime would do them in the order in which they come, so that a client waits behind all that
//! another has sent. Here each client stands in a line of its own, and only the first of each line
//! waits for a turn.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread::available_parallelism;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::network::Network;

/// Turns, of which a client has one at a time. Whoever has one computes, and never waits for a
/// client meanwhile: so nobody can keep it.
#[derive(Debug)]
pub(super) struct Turns {
    /// First come, first served; at most one of each client is there.
    turns: Semaphore,
    /// How many are in a client's line, and its first place. There are no more lines than handshakes.
    lines: Mutex<HashMap<Network, (usize, Arc<Semaphore>)>>,
}

impl Turns {
    /// As many as there are cores but one, which is left to those who have their connection.
    pub(super) fn new() -> Self {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        Self::of(cores.saturating_sub(1).max(1))
    }

    fn of(turns: usize) -> Self {
        Self { turns: Semaphore::new(turns), lines: Mutex::default() }
    }

    /// What `work` comes to. It gets a turn for each step: from when it is woken to where it waits
    /// again.
    pub(super) async fn run<F: Future>(&self, client: Network, work: F) -> F::Output {
        let mut work = pin!(work);
        let line = self.line(client);
        loop {
            // Neither is ever closed.
            let first = line.first.acquire().await;
            let turn: Result<SemaphorePermit<'_>, _> = self.turns.acquire().await;
            // Who is ready already gets to stand in line before this goes on. Else there would be no
            // line on a single thread, but only the runtime's order.
            pause(true).await;
            let step = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
            drop((turn, first));
            match step {
                Poll::Ready(output) => return output,
                Poll::Pending => pause(false).await,
            }
        }
    }

    #[cfg(test)]
    pub(super) async fn take_all(&self) -> SemaphorePermit<'_> {
        let all = self.turns.available_permits().try_into().unwrap();
        self.turns.acquire_many(all).await.unwrap()
    }

    #[cfg(test)]
    pub(super) fn lines(&self) -> usize {
        self.lines.lock().len()
    }

    fn line(&self, client: Network) -> Line<'_> {
        let mut lines = self.lines.lock();
        let (places, first) =
            lines.entry(client).or_insert_with(|| (0, Arc::new(Semaphore::new(1))));
        *places += 1;
        Line { turns: self, client, first: Arc::clone(first) }
    }
}

/// A place in a client's line.
struct Line<'t> {
    turns: &'t Turns,
    client: Network,
    first: Arc<Semaphore>,
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let mut lines = self.turns.lines.lock();
        if let Entry::Occupied(mut line) = lines.entry(self.client) {
            match &mut line.get_mut().0 {
                0 | 1 => drop(line.remove()),
                places => *places -= 1,
            }
        }
    }
}

/// Ready when the task is polled again: at once behind those who are ready, or when what it waits
/// for wakes it.
async fn pause(wake: bool) {
    let mut paused = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        if wake {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::sync::Notify;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    const ATTACKER: Network = Network::V6(1);
    const HONEST: Network = Network::V6(2);
    const BOUND: Duration = Duration::from_secs(60);

    /// 900 hellos of one address, and who came after them waited for all of their signatures.
    #[tokio::test]
    async fn a_client_waits_for_one_step_of_another_and_not_for_all() {
        let turns = Arc::new(Turns::of(1));
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for client in [vec![ATTACKER; 900], vec![HONEST; 2]].concat() {
            let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            tasks
                .spawn(async move { turns.run(client, async { order.lock().push(client) }).await });
        }
        while timeout(BOUND, tasks.join_next()).await.unwrap().is_some() {}
        let order = order.lock();
        assert_eq!(order[..5], [ATTACKER, HONEST, ATTACKER, HONEST, ATTACKER]);
        assert_eq!(order.len(), 902);
        assert_eq!(turns.lines(), 0);
    }

    #[tokio::test]
    async fn who_waits_for_a_client_has_no_turn_and_who_gives_up_has_no_place() {
        let (turns, told) = (Arc::new(Turns::of(1)), Arc::new(Notify::new()));
        let (line, late) = (Arc::clone(&turns), Arc::clone(&told));
        let stuck = tokio::spawn(async move { line.run(ATTACKER, pending::<()>()).await });
        let line = Arc::clone(&turns);
        let slow = tokio::spawn(async move { line.run(ATTACKER, late.notified()).await });
        timeout(BOUND, turns.run(ATTACKER, async {})).await.expect("the same client goes on");
        timeout(BOUND, turns.run(HONEST, async {})).await.expect("another goes on");
        told.notify_one();
        timeout(BOUND, slow).await.expect("it is woken").unwrap();
        stuck.abort();
        assert!(stuck.await.unwrap_err().is_cancelled());
        assert_eq!((turns.lines(), turns.turns.available_permits()), (0, 1));
    }
}
