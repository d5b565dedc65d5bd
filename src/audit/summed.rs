//! How refusals reach the record without drowning it. Per client and reason the first hundred of a
//! clock minute stand singly; the others are counted, and each sum is told when its minute is
//! over. Bounded however many clients there are: those for whom there is no room are summed
//! together, and so is what would be more single lines than all clients may have in a minute. The first
//! few of each client and reason have lines of their own kept for them, and no network gets more than its
//! share of anything: whoever floods from a few addresses takes nothing from others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Reason;
use super::chain::{self, Chain};
use super::refused::{Client, Refused};
use crate::clock::{Clock, UnixMillis};
use crate::event::{EventId, SourceName};
use crate::listen::Listener;
use crate::network::{Network, Site};

/// Refusals of one client and reason that stand singly in a minute.
const SINGLE: u64 = 100;
/// Single lines of all clients together in a minute: about what the log's buffer holds.
const SINGLE_OF_ALL: u64 = 4_000;
/// Of each client and reason the first so many have lines beside those, as many again of all together.
const FIRST: u64 = 3;
const FIRST_OF_ALL: u64 = 4_000;
/// Pairs of client and reason that are counted apart: less than a megabyte.
const PAIRS: usize = 4_096;
/// What one network gets at most of each of these, one in so many: an IPv4 /24, an IPv6 /48.
const SHARE: u64 = 4;
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

/// All refusals of one gateway.
#[derive(Debug)]
pub struct Refusals {
    clock: Clock,
    minute: Mutex<Minute>,
    /// The trail on disk; `None`: there is only the log.
    chain: Option<Arc<Chain>>,
}

/// What is known of the current minute, and what is still to be told of those before.
#[derive(Debug, Default)]
struct Minute {
    /// Minutes since the epoch.
    number: u64,
    /// What all clients have taken, and those of each network that has a pair.
    all: Taken,
    networks: HashMap<Neighbours, Taken>,
    pairs: HashMap<(Network, Ending), Tally>,
    /// Those for whom there was no room. One for each ending there is.
    others: HashMap<Ending, Sum>,
    ended: Vec<Told>,
}

/// Addresses that commonly have one holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Neighbours {
    Unknown,
    V4([u8; 3]),
    V6(Option<Site>),
}

impl Neighbours {
    fn of(client: Network) -> Self {
        match client {
            Network::Unknown => Self::Unknown,
            Network::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self::V4([a, b, c])
            }
            Network::V6(_) => Self::V6(client.site()),
        }
    }
}

/// Lines and pairs that are taken in this minute.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    first: u64,
    single: u64,
    pairs: u64,
}

#[derive(Debug, Default)]
struct Tally {
    single: u64,
    sum: Option<Box<Sum>>,
}

/// Refusals that do not stand singly.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sum {
    count: u64,
    first: UnixMillis,
    last: UnixMillis,
    /// Of one source; `None`: of none, or of several.
    source: Option<SourceName>,
    /// Where all came in; `None`: at several, or it does not matter.
    listener: Option<Listener>,
    /// The first client's address.
    client: Option<IpAddr>,
}

/// A sum that is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    ending: Ending,
    many_clients: bool,
    sum: Sum,
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

    /// The trail that they are in, if there is one.
    pub fn chain(&self) -> Option<&Arc<Chain>> {
        self.chain.as_ref()
    }

    /// Records a refusal: as a line of its own, or as a part of its client's sum.
    pub fn record(&self, refused: &Refused<'_>) {
        if self.refused_singly(refused) {
            refused.tell(self.keep(refused));
        }
    }

    /// The same for what the log has a line of already.
    pub fn record_silently(&self, refused: &Refused<'_>) {
        if self.refused_singly(refused) {
            self.keep(refused);
        }
    }

    fn refused_singly(&self, refused: &Refused<'_>) -> bool {
        let ending = Ending::Refused(refused.reason);
        self.count(ending, refused.client, refused.source, Some(refused.listener))
    }

    /// Puts it into the trail, under the id that is returned.
    fn keep(&self, refused: &Refused<'_>) -> EventId {
        let now = self.clock.now();
        let id = chain::new_id(now);
        if let Some(chain) = &self.chain {
            chain.refused(refused, id, now);
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
        self.count(ending, client, source, None)
    }

    fn count(
        &self,
        ending: Ending,
        client: Option<IpAddr>,
        source: Option<&SourceName>,
        listener: Option<Listener>,
    ) -> bool {
        let now = self.clock.now();
        let mut minute = self.minute.lock();
        minute.turn(now);
        let source = || source.cloned();
        let one = || Sum { count: 1, first: now, last: now, source: source(), listener, client };
        minute.count(ending, Network::of(client), one)
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
        self.minute.lock().end();
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
        let mut minute = self.minute.lock();
        let keep = minute.ended.len().saturating_sub(AT_ONCE);
        minute.ended.split_off(keep)
    }
}

impl Minute {
    /// Ends the minute if `now` is in another.
    fn turn(&mut self, now: UnixMillis) {
        let number = now.as_secs() / 60;
        if number != self.number {
            self.end();
            self.number = number;
        }
    }

    fn end(&mut self) {
        self.all = Taken::default();
        self.networks.clear();
        let others = std::mem::take(&mut self.others);
        let others = others.into_iter().map(|(ending, sum)| (ending, true, sum));
        let pairs = std::mem::take(&mut self.pairs).into_iter();
        let pairs = pairs.filter_map(|((_, ending), tally)| Some((ending, false, *tally.sum?)));
        for (ending, many_clients, sum) in others.chain(pairs) {
            if self.ended.len() < 2 * PAIRS {
                self.ended.push(Told { ending, many_clients, sum });
            } else {
                // Nobody has told the last ones yet: these are told with the next.
                add(&mut self.others, ending, sum);
            }
        }
    }

    fn count(&mut self, ending: Ending, client: Network, one: impl FnOnce() -> Sum) -> bool {
        let neighbours = Neighbours::of(client);
        if !self.pairs.contains_key(&(client, ending)) {
            let theirs = self.networks.get(&neighbours).map_or(0, |taken| taken.pairs);
            if self.pairs.len() >= PAIRS || theirs >= PAIRS as u64 / SHARE {
                add(&mut self.others, ending, one());
                return false;
            }
            self.networks.entry(neighbours).or_default().pairs += 1;
        }
        let tally = self.pairs.entry((client, ending)).or_default();
        let theirs = self.networks.entry(neighbours).or_default();
        let early = tally.single < FIRST;
        if early && self.all.first < FIRST_OF_ALL && theirs.first < FIRST_OF_ALL / SHARE {
            (self.all.first, theirs.first) = (self.all.first + 1, theirs.first + 1);
            tally.single += 1;
            return true;
        }
        let more = tally.single < SINGLE;
        if more && self.all.single < SINGLE_OF_ALL && theirs.single < SINGLE_OF_ALL / SHARE {
            (self.all.single, theirs.single) = (self.all.single + 1, theirs.single + 1);
            tally.single += 1;
            return true;
        }
        match &mut tally.sum {
            Some(sum) => sum.add(one()),
            None => tally.sum = Some(Box::new(one())),
        }
        false
    }
}

fn add(sums: &mut HashMap<Ending, Sum>, ending: Ending, more: Sum) {
    match sums.get_mut(&ending) {
        Some(sum) => sum.add(more),
        None => drop(sums.insert(ending, more)),
    }
}

impl Sum {
    fn add(&mut self, more: Self) {
        self.count = self.count.saturating_add(more.count);
        self.first = self.first.min(more.first);
        self.last = self.last.max(more.last);
        if self.source != more.source {
            self.source = None;
        }
        if self.listener != more.listener {
            self.listener = None;
        }
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
