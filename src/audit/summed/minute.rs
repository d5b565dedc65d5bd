//! The refusals of one minute: which stand singly, and what is summed of the others.

use std::collections::HashMap;
use std::net::IpAddr;

use super::Ending;
use super::budget::{Bounds, Budget};
use super::reserve::Reserve;
use crate::clock::UnixMillis;
use crate::event::SourceName;
use crate::listen::Listener;
use crate::network::{Network, Site};

/// Refusals of one client and reason that stand singly in a minute.
pub(super) const SINGLE: u64 = 100;
/// Single lines of all clients together in a minute: about what the log's buffer holds.
pub(super) const SINGLE_OF_ALL: u64 = 4_000;
/// Of each client and reason the first so many have lines beside those, as many again of all together.
pub(super) const FIRST: u64 = 3;
pub(super) const FIRST_OF_ALL: u64 = 4_000;
/// Pairs of client and reason that are counted apart, and as many again from the reserve at most: less than
/// two megabytes.
pub(super) const PAIRS: usize = 4_096;
/// What one network gets at most of each of these, one in so many: an IPv4 /24, an IPv6 /48.
pub(super) const SHARE: u64 = 4;

/// What is known of the current minute, and what is still to be told of those before.
#[derive(Debug, Default)]
pub(super) struct Minute {
    /// Minutes since the epoch.
    number: u64,
    /// What all clients have taken, and those of each network that has a pair.
    all: Taken,
    networks: HashMap<Neighbours, Taken>,
    pairs: HashMap<Pair, Tally>,
    /// Those for whom there was no room. One for each ending there is.
    others: HashMap<Ending, Sum>,
    ended: Vec<Told>,
    budget: Budget,
    reserve: Reserve,
}

/// Whose refusals are counted apart.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Pair {
    client: Network,
    ending: Ending,
    /// Whose credential it showed, where that was right and was not enough.
    who: Option<Box<str>>,
}

/// Addresses that commonly have one holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Neighbours {
    Unknown,
    V4([u8; 3]),
    V6(Option<Site>),
}

impl Neighbours {
    pub(super) fn of(client: Network) -> Self {
        match client {
            Network::Unknown => Self::Unknown,
            Network::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self::V4([a, b, c])
            }
            Network::V6(_) => Self::V6(client.site()),
        }
    }

    /// The IPv6 network of 32 bits that it is in: what a registry gives to one who asks.
    pub(super) fn holder(self) -> Option<u32> {
        if let Self::V6(site) = self { Some(site?.holder()) } else { None }
    }
}

/// Lines and pairs that are taken in this minute.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    first: u64,
    single: u64,
    pairs: u64,
    /// Records in the trail that come of it: what is not a refusal has none.
    records: u64,
    /// What there is to take; `None`: that was not looked up yet.
    bounds: Option<Bounds>,
}

#[derive(Debug, Default)]
struct Tally {
    single: u64,
    sum: Option<Box<Sum>>,
}

/// Refusals that do not stand singly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) count: u64,
    pub(super) first: UnixMillis,
    pub(super) last: UnixMillis,
    /// Of one source; `None`: of none, or of several.
    pub(super) source: Option<SourceName>,
    /// Where all came in; `None`: at several, or it does not matter.
    pub(super) listener: Option<Listener>,
    /// The first client's address.
    pub(super) client: Option<IpAddr>,
    /// Whose credential all showed.
    pub(super) who: Option<Box<str>>,
}

/// A sum that is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) ending: Ending,
    pub(super) many_clients: bool,
    pub(super) sum: Sum,
}

impl Minute {
    /// Ends the minute if `now` is in another. The one before is no other: who has looked at the clock may
    /// come late, and the clock be set back a little, and each minute has its bounds once.
    pub(super) fn turn(&mut self, now: UnixMillis) {
        let number = now.as_secs() / 60;
        if number != self.number && number + 1 != self.number {
            self.end(number.saturating_sub(self.number));
            self.number = number;
        }
    }

    /// Ends it, so many minutes after it began.
    pub(super) fn end(&mut self, minutes: u64) {
        self.all = Taken::default();
        let taken = self.networks.drain().map(|(network, taken)| (network, taken.records));
        let of_others = self.others.keys().filter(|ending| ending.is_recorded()).count();
        self.budget.pass(minutes, taken, of_others as u64);
        self.reserve.pass(minutes);
        let others = std::mem::take(&mut self.others);
        let others = others.into_iter().map(|(ending, sum)| (ending, true, sum));
        let pairs = std::mem::take(&mut self.pairs).into_iter();
        let pairs = pairs.filter_map(|(pair, tally)| Some((pair.ending, false, *tally.sum?)));
        for (ending, many_clients, sum) in others.chain(pairs) {
            if self.ended.len() < 2 * PAIRS {
                self.ended.push(Told { ending, many_clients, sum });
            } else {
                // Nobody has told the last ones yet: these are told with the next.
                add(&mut self.others, ending, sum);
            }
        }
    }

    /// The trail has room for so many bytes of these.
    pub(super) fn resize(&mut self, bytes: u64) {
        self.budget.resize(bytes);
    }

    /// Some of the sums that are to be told, so many at most.
    pub(super) fn take_ended(&mut self, most: usize) -> Vec<Told> {
        let keep = self.ended.len().saturating_sub(most);
        self.ended.split_off(keep)
    }

    /// Pairs, networks, sums of those for whom there was no room, and sums that are to be told.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        [self.pairs.len(), self.networks.len(), self.others.len(), self.ended.len()]
    }

    /// Counts one. Whether it is to have a line of its own.
    pub(super) fn count(&mut self, ending: Ending, sum: Sum) -> bool {
        let client = Network::of(sum.client);
        let neighbours = Neighbours::of(client);
        let of_all = *self.all.bounds.get_or_insert_with(|| self.budget.of_all());
        let theirs = self.networks.get(&neighbours).copied().unwrap_or_default();
        let bounds = theirs.bounds.unwrap_or_else(|| self.budget.of(neighbours, of_all));
        let pair = Pair { client, ending, who: sum.who.clone() };
        if !self.pairs.contains_key(&pair) {
            let is_room = (self.pairs.len() as u64) < of_all.pairs && theirs.pairs < bounds.pairs;
            let mut may = || {
                let is_room = ending.is_recorded() && self.pairs.len() < 2 * PAIRS;
                is_room && self.reserve.take(neighbours)
            };
            if !is_room && !may() {
                add(&mut self.others, ending, sum);
                return false;
            }
            let theirs = self.networks.entry(neighbours).or_default();
            (theirs.pairs, theirs.bounds) = (theirs.pairs + 1, Some(bounds));
        }
        let tally = self.pairs.entry(pair).or_default();
        let theirs = self.networks.entry(neighbours).or_default();
        let Bounds { first, single, .. } = bounds;
        let is_first = tally.single < FIRST;
        let is_within = if is_first && self.all.first < of_all.first && theirs.first < first {
            (self.all.first, theirs.first) = (self.all.first + 1, theirs.first + 1);
            true
        } else if tally.single < SINGLE && self.all.single < of_all.single && theirs.single < single
        {
            (self.all.single, theirs.single) = (self.all.single + 1, theirs.single + 1);
            true
        } else {
            false
        };
        let is_recorded = ending.is_recorded();
        if is_within || (is_first && is_recorded && self.reserve.take(neighbours)) {
            theirs.records += u64::from(is_within && is_recorded);
            tally.single += 1;
            return true;
        }
        match &mut tally.sum {
            Some(sums) => sums.add(sum),
            None => {
                tally.sum = Some(Box::new(sum));
                theirs.records += u64::from(is_recorded);
            }
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
        if self.who != more.who {
            self.who = None;
        }
    }
}
