//! How refusals reach the record without drowning it. Per client and reason the first hundred of a
//! clock minute stand singly; the others are counted, and each sum is told when its minute is
//! over. Bounded however many clients there are: those for whom there is no room are summed
//! together, and so is what would be more single lines than all clients may have in a minute. The first
//! few of each client and reason have lines of their own kept for them, and no network gets more than its
//! share of anything. Who goes on for hours gets less, so that years of records are not pushed out of the
//! trail by days of a flood ([`budget`]); and for whoever comes from elsewhere meanwhile a little is kept
//! ([`reserve`]), so that a flood hides nobody.

mod budget;
mod minute;
mod reserve;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use self::minute::{Minute, Sum, Told};
use super::Reason;
use super::chain::{self, Chain};
use super::refused::{Client, Conflict, Refused};
use crate::clock::Clock;
use crate::event::{EventId, SourceName};

/// Sums that are told in one go, and the pause after it, so that the log's writer keeps up.
const AT_ONCE: usize = 256;
const PAUSE: Duration = Duration::from_millis(20);
/// How often somebody looks whether the minute is over.
const TICK: Duration = Duration::from_secs(1);

/// What became of a request that was not answered as its sender wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It was refused.
    Refused(Reason),
    /// The client went away before the answer.
    Abandoned,
    /// We were told to stop, and did not wait for its end.
    CutOff,
}

impl Ending {
    /// Whether the trail has a record of it, and not the log alone: where somebody was refused.
    fn is_recorded(self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// All refusals of one gateway.
#[derive(Debug)]
pub struct Refusals {
    clock: Clock,
    minute: Mutex<Minute>,
    /// The trail on disk; `None`: there is only the log.
    chain: Option<Arc<Chain>>,
}

impl Refusals {
    /// None yet. Minutes are those of this clock.
    pub fn new(clock: Clock) -> Self {
        Self { clock, minute: Mutex::default(), chain: None }
    }

    /// The same, and each is in this trail as well.
    pub fn recorded(clock: Clock, chain: Arc<Chain>) -> Self {
        Self { chain: Some(chain), ..Self::new(clock) }
    }

    /// The trail has room for so many bytes of these. Sums that are not told yet stay.
    pub fn resize(&self, bytes: u64) {
        self.minute.lock().resize(bytes);
    }

    /// The trail that they are in, if there is one.
    pub fn chain(&self) -> Option<&Arc<Chain>> {
        self.chain.as_ref()
    }

    /// Records a refusal: as a line of its own, or as a part of its client's sum.
    pub fn record(&self, refused: &Refused<'_>) {
        if self.refused_singly(refused) {
            refused.tell(self.keep(refused, None));
        }
    }

    /// The same for what the log has a line of already.
    pub fn record_silently(&self, refused: &Refused<'_>) {
        if self.refused_singly(refused) {
            self.keep(refused, None);
        }
    }

    /// Records an event that was not let through although its sender is told that it is stored. The log
    /// has a line of it in any case: this is the id of the record for it, if it has one of its own.
    pub fn record_conflict(&self, refused: &Refused<'_>, conflict: Conflict) -> Option<EventId> {
        self.refused_singly(refused).then(|| self.keep(refused, Some(conflict)))
    }

    fn refused_singly(&self, refused: &Refused<'_>) -> bool {
        let ending = Ending::Refused(refused.reason);
        let (listener, who) = (Some(refused.listener), refused.who.map(Box::from));
        self.count(ending, refused.client, |one| Sum {
            source: refused.source.cloned(),
            listener,
            who,
            ..one
        })
    }

    /// Puts it into the trail, under the id that is returned.
    fn keep(&self, refused: &Refused<'_>, conflict: Option<Conflict>) -> EventId {
        let now = self.clock.now();
        let id = chain::new_id(now);
        if let Some(chain) = &self.chain {
            chain.refused(refused, conflict.map(Conflict::details), id, now);
        }
        id
    }

    /// Counts a request that ended like this. Whether it is to have a line of its own.
    pub fn stands_singly(
        &self,
        ending: Ending,
        client: Option<IpAddr>,
        source: Option<&SourceName>,
    ) -> bool {
        self.count(ending, client, |one| Sum { source: source.cloned(), ..one })
    }

    fn count(&self, ending: Ending, client: Option<IpAddr>, with: impl FnOnce(Sum) -> Sum) -> bool {
        let now = self.clock.now();
        let (source, listener, who) = (None, None, None);
        let one = with(Sum { count: 1, first: now, last: now, source, listener, client, who });
        let mut minute = self.minute.lock();
        minute.turn(now);
        minute.count(ending, one)
    }

    /// Tells each minute's sums when it is over. Never ends; safe to cancel.
    pub async fn tell_sums(&self) {
        loop {
            tokio::time::sleep(TICK).await;
            let now = self.clock.now();
            self.minute.lock().turn(now);
            self.tell_ended().await;
        }
    }

    /// Tells the sums of the minute that is not over yet as well.
    pub async fn tell_rest(&self) {
        self.minute.lock().end(0);
        self.tell_ended().await;
    }

    async fn tell_ended(&self) {
        loop {
            let some = self.some_ended();
            if some.is_empty() {
                return;
            }
            for told in &some {
                told.tell();
                if let (Some(chain), Some(sum)) = (&self.chain, told.record()) {
                    chain.sum(sum);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn some_ended(&self) -> Vec<Told> {
        self.minute.lock().take_ended(AT_ONCE)
    }
}

impl Told {
    fn client(&self) -> String {
        match self.many_clients {
            true => "many".to_owned(),
            false => Client(self.sum.client).to_string(),
        }
    }

    /// What the trail has of it; `None`: nothing, for nobody was refused.
    fn record(&self) -> Option<chain::Sum> {
        let Ending::Refused(reason) = self.ending else { return None };
        let Sum { count, first, last, .. } = self.sum;
        Some(chain::Sum {
            reason: reason.as_str(),
            detail: "",
            source: self.sum.source.as_ref().map(|source| source.as_str().to_owned()),
            listener: self.sum.listener,
            client: self.client(),
            who: self.sum.who.as_deref().map(str::to_owned),
            count,
            first,
            last,
        })
    }

    fn tell(&self) {
        let Sum { count, first, last, .. } = self.sum;
        let source = self.sum.source.as_ref().map_or("", SourceName::as_str);
        let client = self.client();
        match self.ending {
            Ending::Refused(reason) => tracing::warn!(
                target: "hookward::request",
                reason = reason.as_str(),
                source,
                client,
                count,
                %first,
                %last,
                "refused further"
            ),
            Ending::Abandoned => tracing::info!(
                target: "hookward::request",
                outcome = "client_gone",
                source,
                client,
                count,
                %first,
                %last,
                "abandoned further"
            ),
            Ending::CutOff => tracing::warn!(
                target: "hookward::request",
                outcome = "cut_off",
                source,
                client,
                count,
                %first,
                %last,
                "cut off further"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
