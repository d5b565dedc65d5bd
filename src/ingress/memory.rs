//! What bodies take of the memory: places for requests that wait for the rest of their body, each
//! of which may hold a little, and a common budget for what goes beyond. A connection that is
//! counted for its client has a place of its own for one request. All others wait on common places:
//! further requests on HTTP/2, and those that come through a proxy, whose connections are nobody's.
//! Of these and of the budget one client gets no more than his share. What is full is full: nobody
//! waits for room.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::admit::Refusal;
use crate::audit::Reason;
use crate::config::Server;
use crate::listen::Origin;
use crate::network::Network;

/// What a body may hold without a part of the budget: more than nearly all events have.
pub(super) const FREE: usize = 16 << 10;

/// Common places of one client beside those of its connections. Providers that send many events at
/// once on one connection send each with its body; who holds back that many bodies is up to something.
const PLACES_OF_CLIENT: usize = 64;

const NO_PLACE: Refusal =
    Refusal::new(Reason::Overloaded, "too many requests wait for their bodies");
const NO_PLACE_OF_CLIENT: Refusal =
    Refusal::new(Reason::Overloaded, "too many requests of this client wait for their bodies");
const NO_MEMORY: Refusal =
    Refusal::new(Reason::Overloaded, "bodies hold all of server.body_memory");
const NO_MEMORY_OF_CLIENT: Refusal =
    Refusal::new(Reason::Overloaded, "bodies of this client hold its share of server.body_memory");

/// How much there is, and how much of it for one client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    places: usize,
    places_of_client: usize,
    places_behind_proxies: usize,
    bytes: u64,
    bytes_of_client: u64,
}

impl Bounds {
    /// As many common places as there may be connections; for one client behind proxies as many as
    /// it could have connections of its own. Of the budget a quarter for one client, or
    /// what one body needs.
    pub(super) fn new(server: &Server) -> Self {
        Self {
            places: server.max_connections,
            places_of_client: PLACES_OF_CLIENT,
            places_behind_proxies: server.max_connections_per_client,
            bytes: server.body_memory,
            bytes_of_client: (server.body_memory / 4).max(server.max_body),
        }
    }
}

/// What all bodies hold. Has an entry for each client that holds something, and so no more than
/// there are requests in hand.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    all: Sum,
    clients: HashMap<Network, Sum>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    places: usize,
    bytes: u64,
}

impl Memory {
    /// A body's account, with nothing on it.
    pub(super) fn account<'a>(
        &'a self,
        connection: &'a Origin,
        client: Network,
        bounds: Bounds,
    ) -> Account<'a> {
        let held = Sum::default();
        Account { memory: self, connection, client, bounds, held, own_place: false }
    }

    /// Places and bytes that are held, and by how many clients.
    #[cfg(test)]
    fn held(&self) -> (usize, u64, usize) {
        let held = self.0.lock();
        (held.all.places, held.all.bytes, held.clients.len())
    }
}

/// What one body holds; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Account<'a> {
    memory: &'a Memory,
    connection: &'a Origin,
    client: Network,
    bounds: Bounds,
    held: Sum,
    /// Whether it has the connection's own place.
    own_place: bool,
}

impl Account<'_> {
    /// Takes a place, unless it has one: the body is not all there.
    ///
    /// # Errors
    /// `overloaded`.
    pub(super) fn wait(&mut self) -> Result<(), Refusal> {
        if self.own_place || self.held.places > 0 {
            return Ok(());
        }
        // A proxy opens a connection for each request of whoever asks it to: places that came with
        // those would bound nobody.
        let counted = self.is_counted();
        self.own_place = counted && !self.connection.body_awaited.swap(true, Ordering::AcqRel);
        if self.own_place { Ok(()) } else { self.take(Sum { places: 1, bytes: 0 }) }
    }

    /// Whether the connection is one of the client's own `max_connections_per_client`.
    fn is_counted(&self) -> bool {
        self.connection.counted_for() == Some(self.client)
    }

    /// Gives the place back: the body is all there.
    pub(super) fn arrived(&mut self) {
        self.leave_own_place();
        let places = self.held.places;
        self.give_back(Sum { places, bytes: 0 });
    }

    /// Takes what a body of `size` bytes needs of the budget.
    ///
    /// # Errors
    /// `overloaded`.
    pub(super) fn hold(&mut self, size: usize) -> Result<(), Refusal> {
        let beyond = u64::try_from(size.saturating_sub(FREE)).unwrap_or(u64::MAX);
        match beyond.saturating_sub(self.held.bytes) {
            0 => Ok(()),
            bytes => self.take(Sum { places: 0, bytes }),
        }
    }

    /// Common places that the client may have.
    fn most_places(&self) -> usize {
        let Bounds { places_of_client, places_behind_proxies, .. } = self.bounds;
        if self.is_counted() { places_of_client } else { places_behind_proxies }
    }

    fn leave_own_place(&mut self) {
        if std::mem::take(&mut self.own_place) {
            self.connection.body_awaited.store(false, Ordering::Release);
        }
    }

    fn take(&mut self, more: Sum) -> Result<(), Refusal> {
        let mut held = self.memory.0.lock();
        let all = held.all.plus(more);
        if more.places > 0 && all.places > self.bounds.places {
            return Err(NO_PLACE);
        }
        if more.bytes > 0 && all.bytes > self.bounds.bytes {
            return Err(NO_MEMORY);
        }
        let of_client = held.clients.get(&self.client).copied().unwrap_or_default().plus(more);
        if more.places > 0 && of_client.places > self.most_places() {
            return Err(NO_PLACE_OF_CLIENT);
        }
        if more.bytes > 0 && of_client.bytes > self.bounds.bytes_of_client {
            return Err(NO_MEMORY_OF_CLIENT);
        }
        held.all = all;
        held.clients.insert(self.client, of_client);
        self.held = self.held.plus(more);
        Ok(())
    }

    fn give_back(&mut self, less: Sum) {
        if less == Sum::default() {
            return;
        }
        let mut held = self.memory.0.lock();
        held.all = held.all.minus(less);
        if let Entry::Occupied(mut entry) = held.clients.entry(self.client) {
            let left = entry.get().minus(less);
            if left == Sum::default() {
                entry.remove();
            } else {
                entry.insert(left);
            }
        }
        self.held = self.held.minus(less);
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        self.leave_own_place();
        self.give_back(self.held);
    }
}

impl Sum {
    fn plus(self, other: Self) -> Self {
        Self {
            places: self.places.saturating_add(other.places),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            places: self.places.saturating_sub(other.places),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// A connection one of whose requests waits for its body already.
#[cfg(test)]
pub(super) fn surplus() -> Origin {
    let connection = Origin::plain(([192, 0, 2, 1], 1).into());
    connection.body_awaited.store(true, Ordering::Release);
    connection
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ONE: Network = Network::V4(Ipv4Addr::new(192, 0, 2, 1));
    const TWO: Network = Network::V4(Ipv4Addr::new(192, 0, 2, 2));

    fn bounds() -> Bounds {
        Bounds {
            places: 4,
            places_of_client: 3,
            places_behind_proxies: 2,
            bytes: 400,
            bytes_of_client: 300,
        }
    }

    /// A connection of [`ONE`].
    fn own() -> Origin {
        Origin::plain(([192, 0, 2, 1], 1).into())
    }

    /// A connection of a proxy.
    fn proxy() -> Origin {
        Origin { forwards: true, ..Origin::plain(([10, 0, 0, 1], 1).into()) }
    }

    #[test]
    fn one_request_of_a_connection_needs_no_common_place() {
        let (memory, connection) = (Memory::default(), own());
        let account = || memory.account(&connection, ONE, bounds());
        let (mut first, mut second) = (account(), account());
        first.wait().unwrap();
        first.wait().unwrap();
        assert_eq!(memory.held(), (0, 0, 0));
        second.wait().unwrap();
        assert_eq!(memory.held(), (1, 0, 1));
        first.arrived();
        let mut third = account();
        third.wait().unwrap();
        drop((second, third));
        assert_eq!(memory.held(), (0, 0, 0));
        assert!(!connection.body_awaited.load(Ordering::Acquire));
    }

    #[test]
    fn places_are_bounded_in_all_and_for_one_client() {
        let (memory, connection, proxy) = (Memory::default(), surplus(), proxy());
        let waiting = |client| {
            let connection = if client == ONE { &connection } else { &proxy };
            let mut account = memory.account(connection, client, bounds());
            account.wait().map(|()| account)
        };
        let mut of_one: Vec<_> = (0..3).map(|_| waiting(ONE).unwrap()).collect();
        of_one[0].wait().unwrap();
        assert_eq!(waiting(ONE).unwrap_err(), NO_PLACE_OF_CLIENT);
        let _two = waiting(TWO).unwrap();
        assert_eq!(waiting(TWO).unwrap_err(), NO_PLACE);
        assert_eq!(memory.held(), (4, 0, 2));
        of_one[0].arrived();
        let _again = waiting(ONE).unwrap();
        drop(of_one);
        assert_eq!(memory.held(), (2, 0, 2));
    }

    /// Behind a proxy one client could wait on as many connections as the proxy would open for it:
    /// each brought a place of its own.
    #[test]
    fn a_proxy_s_connections_bring_no_places() {
        let memory = Memory::default();
        let (first, second, third, own) = (proxy(), proxy(), proxy(), own());
        let waiting = |connection, client| {
            let mut account = memory.account(connection, client, bounds());
            account.wait().map(|()| account)
        };
        let _held = [waiting(&first, ONE).unwrap(), waiting(&second, ONE).unwrap()];
        assert_eq!(waiting(&third, ONE).unwrap_err(), NO_PLACE_OF_CLIENT);
        // The rest is for others, and the client's own connections are still its own.
        let _other = waiting(&third, TWO).unwrap();
        let _unknown = waiting(&third, Network::Unknown).unwrap();
        let _own = waiting(&own, ONE).unwrap();
        assert_eq!(memory.held(), (4, 0, 3));
    }

    #[test]
    fn what_a_body_has_beyond_the_free_part_is_bounded_in_all_and_for_one_client() {
        let (memory, connection) = (Memory::default(), surplus());
        let (mut one, mut two) = (
            memory.account(&connection, ONE, bounds()),
            memory.account(&connection, TWO, bounds()),
        );
        one.hold(FREE).unwrap();
        assert_eq!(memory.held(), (0, 0, 0));
        one.hold(FREE + 200).unwrap();
        one.hold(FREE + 300).unwrap();
        one.hold(FREE + 250).unwrap();
        assert_eq!(memory.held(), (0, 300, 1));
        assert_eq!(one.hold(FREE + 301), Err(NO_MEMORY_OF_CLIENT));
        assert_eq!(
            memory.account(&connection, ONE, bounds()).hold(FREE + 1),
            Err(NO_MEMORY_OF_CLIENT)
        );
        two.hold(FREE + 100).unwrap();
        assert_eq!(two.hold(FREE + 101), Err(NO_MEMORY));
        drop(one);
        two.hold(FREE + 300).unwrap();
        drop(two);
        assert_eq!(memory.held(), (0, 0, 0));
    }

    #[test]
    fn one_body_fits_into_its_clients_share_however_small_the_budget() {
        let mut server = Server::defaults();
        server.body_memory = 2 << 20;
        server.max_body = 1 << 20;
        let (memory, connection) = (Memory::default(), surplus());
        memory.account(&connection, ONE, Bounds::new(&server)).hold(1 << 20).unwrap();
    }
}
