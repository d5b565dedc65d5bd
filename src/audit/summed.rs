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
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::listen::Origin;

    const START: UnixMillis = UnixMillis(1_736_937_000_000);
    const FORGED: Ending = Ending::Refused(Reason::SignatureInvalid);
    const MINUTE: Duration = Duration::from_secs(60);

    fn refusals() -> (Refusals, Clock) {
        let clock = Clock::manual(START);
        (Refusals::new(clock.clone()), clock)
    }

    fn client(n: u32) -> Option<IpAddr> {
        Some(Ipv4Addr::from_bits(0x0a00_0000 + n).into())
    }

    fn name(name: &str) -> SourceName {
        SourceName::new(name).unwrap()
    }

    /// All that is to be told, the most frequent first.
    fn told(refusals: &Refusals) -> Vec<Told> {
        let now = refusals.clock.now();
        refusals.minute.lock().turn(now);
        let mut told: Vec<Told> = Vec::new();
        loop {
            let some = refusals.some_ended();
            if some.is_empty() {
                told.sort_by_key(|told| std::cmp::Reverse(told.sum.count));
                return told;
            }
            told.extend(some);
        }
    }

    #[test]
    fn a_hundred_of_a_client_and_reason_stand_singly_in_a_minute() {
        let (refusals, clock) = refusals();
        let lab = name("lab");
        for n in 0..250 {
            let single = refusals.stands_singly(FORGED, client(1), Some(&lab));
            assert_eq!(single, n < 100, "{n}");
            clock.advance(Duration::from_millis(10));
        }
        assert!(refusals.stands_singly(FORGED, client(2), None));
        assert!(refusals.stands_singly(Ending::Abandoned, client(1), None));
        assert!(refusals.stands_singly(FORGED, None, None));
        assert_eq!(told(&refusals), [], "the minute is not over");
        clock.advance(MINUTE);
        let sum = Sum {
            count: 150,
            first: UnixMillis(START.0 + 1000),
            last: UnixMillis(START.0 + 2490),
            source: Some(lab),
            listener: None,
            client: client(1),
        };
        assert_eq!(told(&refusals), [Told { ending: FORGED, many_clients: false, sum }]);
        assert!(refusals.stands_singly(FORGED, client(1), None), "a new minute");
        clock.advance(MINUTE);
        assert_eq!(told(&refusals), []);
    }

    #[test]
    fn minutes_are_the_clocks() {
        let (refusals, clock) = refusals();
        clock.advance(Duration::from_secs(59));
        for _ in 0..101 {
            refusals.stands_singly(FORGED, client(1), None);
        }
        clock.advance(Duration::from_secs(1));
        assert!(refusals.stands_singly(FORGED, client(1), None));
        assert_eq!(told(&refusals).len(), 1);
    }

    #[test]
    fn a_sum_names_the_listener_if_it_is_one() {
        let (refusals, clock) = refusals();
        let refuse = |listener, n: u8| {
            let peer = ([192, 0, 2, n], 9).into();
            let origin = Origin { listener, ..Origin::plain(peer) };
            refusals.record(&Refused::connection(Reason::CredentialInvalid, "why", &origin));
        };
        for _ in 0..101 {
            refuse(Listener::Admin, 1);
            refuse(Listener::Admin, 2);
        }
        refuse(Listener::Socket, 2);
        clock.advance(MINUTE);
        let mut sums = told(&refusals);
        sums.sort_by_key(|told| told.sum.client);
        let named: Vec<_> = sums.iter().map(|told| told.record().unwrap().listener).collect();
        assert_eq!(named, [Some(Listener::Admin), None]);
    }

    #[test]
    fn a_sum_names_the_source_if_it_is_one() {
        let (refusals, clock) = refusals();
        for source in ["lab", "pharmacy"] {
            for _ in 0..101 {
                refusals.stands_singly(FORGED, client(1), Some(&name(source)));
            }
        }
        clock.advance(MINUTE);
        assert_eq!(told(&refusals)[0].sum.source, None);
    }

    #[test]
    fn a_million_clients_take_no_more_room_than_a_few_thousand() {
        let (refusals, clock) = refusals();
        let mut single = 0;
        for n in 0..1_000_000 {
            single += u64::from(refusals.stands_singly(FORGED, client(n), None));
        }
        assert_eq!(single, PAIRS as u64);
        {
            let minute = refusals.minute.lock();
            assert_eq!((minute.pairs.len(), minute.others.len()), (PAIRS, 1));
            assert_eq!(minute.networks.len(), PAIRS / 256);
        }
        clock.advance(MINUTE);
        let told = told(&refusals);
        assert_eq!(told[0].sum.count, 1_000_000 - PAIRS as u64);
        assert!(told[0].many_clients);
        let counted: u64 = told.iter().map(|told| told.sum.count).sum();
        assert_eq!(counted + single, 1_000_000, "nothing is lost");
    }

    /// Forty addresses had used up all single lines, and a forged request from another one had no
    /// record of its own.
    #[test]
    fn the_first_few_of_a_client_stand_singly_whatever_others_send() {
        let (refusals, clock) = refusals();
        let mut single = 0;
        for n in 0..100 {
            for _ in 0..100 {
                // Each in a network of its own.
                single += u64::from(refusals.stands_singly(FORGED, client(n << 8), None));
            }
        }
        assert_eq!(single, SINGLE_OF_ALL + 100 * FIRST, "bounded for all together");
        let other = client(1000 << 8);
        for n in 0..5 {
            assert_eq!(refusals.stands_singly(FORGED, other, None), n < FIRST, "{n}");
        }
        clock.advance(MINUTE);
        let told = told(&refusals);
        let sum = told.iter().find(|told| told.sum.client == other);
        assert_eq!(sum.map(|told| told.sum.count), Some(2));
    }

    /// 4,200 addresses of one IPv6 network had used up all pairs, and who came from elsewhere was one of
    /// "many", without an address.
    #[test]
    fn a_network_takes_no_more_than_its_share() {
        let (refusals, _clock) = refusals();
        let from = |site: u128, n: u128| {
            Some(IpAddr::from(std::net::Ipv6Addr::from_bits(site << 80 | n << 64 | 1)))
        };
        let mut single = 0;
        for n in 0..5_000 {
            for _ in 0..5 {
                single +=
                    u64::from(refusals.stands_singly(FORGED, from(0x2001_0db8_0001, n), None));
            }
        }
        assert_eq!(single, (SINGLE_OF_ALL + FIRST_OF_ALL) / SHARE);
        assert_eq!(refusals.minute.lock().pairs.len() as u64, PAIRS as u64 / SHARE);
        let elsewhere = from(0x2001_0db8_0002, 1);
        assert!((0..SINGLE).all(|_| refusals.stands_singly(FORGED, elsewhere, None)));
    }

    #[test]
    fn sums_that_nobody_tells_are_bounded_and_not_lost() {
        let (refusals, clock) = refusals();
        for _ in 0..10 {
            for n in 0..2 * 4_096 {
                refusals.stands_singly(FORGED, client(n), None);
            }
            clock.advance(MINUTE);
        }
        let now = refusals.clock.now();
        refusals.minute.lock().turn(now);
        assert!(refusals.minute.lock().ended.len() <= 2 * PAIRS);
        let early: u64 = told(&refusals).iter().map(|told| told.sum.count).sum();
        clock.advance(MINUTE);
        let late: u64 = told(&refusals).iter().map(|told| told.sum.count).sum();
        assert_eq!(early + late, 10 * (2 * 4_096 - PAIRS as u64));
    }
}
