//! How many connections there are, in all and from one client.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::accept::Occasionally;
use super::known::Known;
use super::{Origin, Settings};
use crate::audit::Client;
use crate::network::{Network, Site};

/// From how many connections on the last places are kept for known clients. A smaller number is
/// meant as it stands.
const KEPT_FROM: usize = 512;

/// Which part of the places that is: an eighth.
const KEPT_PART: usize = 8;

/// The connections of one listener.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    connections: AtomicUsize,
    all_gone: Notify,
    clients: Mutex<Clients>,
    known: Arc<Known>,
    full: Mutex<Occasionally>,
    kept: Mutex<Occasionally>,
}

/// How many times a client's share one IPv6 site may have, whatever clients it has. By default that
/// is half of all connections.
pub(super) const SHARES_OF_SITE: usize = 2;

/// Connections by client, and by IPv6 site. Has an entry for each that has one, and so no more than
/// there are connections.
#[derive(Debug, Default)]
struct Clients {
    connections: HashMap<Network, usize>,
    sites: HashMap<Site, usize>,
    full: Occasionally,
}

impl Clients {
    /// Whether the client, and its site, have a place left of `most` for a client.
    fn have_room(&self, client: Network, most: usize) -> bool {
        let of_client = self.connections.get(&client).copied().unwrap_or(0);
        let of_site = client.site().and_then(|site| self.sites.get(&site)).copied().unwrap_or(0);
        of_client < most && of_site < most.saturating_mul(SHARES_OF_SITE)
    }

    fn enter(&mut self, client: Network) {
        *self.connections.entry(client).or_default() += 1;
        if let Some(site) = client.site() {
            *self.sites.entry(site).or_default() += 1;
        }
    }

    fn leave(&mut self, client: Network) {
        leave(&mut self.connections, client);
        if let Some(site) = client.site() {
            leave(&mut self.sites, site);
        }
    }
}

fn leave<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut entry) = counts.entry(key) {
        match entry.get_mut() {
            0 | 1 => drop(entry.remove()),
            count => *count -= 1,
        }
    }
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    /// Whether it is one of the last, which are kept for known clients.
    kept: bool,
}

/// A connection's place among those of its client, given back when it is dropped.
#[derive(Debug)]
pub(super) struct ClientPlace {
    crowd: Arc<Crowd>,
    /// `None`: the connection is a proxy's, which is not counted.
    client: Option<Network>,
}

impl Crowd {
    /// A place for one more connection. `None` when there are `most` already: that is logged, not
    /// too often.
    pub(super) fn enter(self: &Arc<Self>, most: usize) -> Option<Place> {
        let before = self.connections.fetch_add(1, Ordering::AcqRel);
        let kept = before >= most - kept_of(most);
        let place = Place { crowd: Arc::clone(self), kept };
        if before < most {
            return Some(place);
        }
        if let Some(times) = self.full.lock().now(Instant::now()) {
            tracing::warn!(times, most, "connections closed: there are too many");
        }
        None
    }

    /// Whether the connection may have this place: any but the last ones, which are for trusted
    /// proxies, expected clients, and those that have proven themselves. Else a few addresses could
    /// hold all places with next to no requests. A stranger's being turned away is logged, not too
    /// often.
    pub(super) fn may_stay(&self, place: &Place, origin: &Origin, settings: &Settings) -> bool {
        if !place.kept || self.knows(origin, settings) {
            return true;
        }
        if let Some(times) = self.kept.lock().now(Instant::now()) {
            let most = settings.limits.max_connections;
            let (kept, client) = (kept_of(most), Client(Some(origin.address())));
            tracing::warn!(
                times, most, kept, %client,
                "connections closed: the last places are kept for known clients"
            );
        }
        false
    }

    fn knows(&self, origin: &Origin, settings: &Settings) -> bool {
        let Some(client) = origin.counted_for() else { return true };
        settings.expected.contains(origin.address()) || self.known.holds(client)
    }

    /// The clients that have proven themselves.
    pub(super) fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known)
    }

    /// A place for one more connection of the client that it speaks for. `None` when that has
    /// `max_connections_per_client` already, or its IPv6 site twice as many: that is logged, not too
    /// often. A trusted proxy's is not counted ([`Origin::counted_for`]).
    pub(super) fn enter_client(
        self: &Arc<Self>,
        origin: &Origin,
        settings: &Settings,
    ) -> Option<ClientPlace> {
        let crowd = Arc::clone(self);
        // Who has a seat is counted there.
        let Some(client) = origin.counted_for().filter(|_| origin.seat.is_none()) else {
            return Some(ClientPlace { crowd, client: None });
        };
        let most = settings.limits.max_connections_per_client;
        let mut clients = self.clients.lock();
        if clients.have_room(client, most) {
            clients.enter(client);
            return Some(ClientPlace { crowd, client: Some(client) });
        }
        let told = clients.full.now(Instant::now());
        drop(clients);
        if let Some(times) = told {
            let client = Client(Some(origin.address()));
            tracing::warn!(times, most, %client, "connections closed: too many of one client");
        }
        None
    }

    /// How many there are.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// Ready when there is none.
    pub(super) async fn all_gone(&self) {
        loop {
            let gone = self.all_gone.notified();
            if self.connections() == 0 {
                return;
            }
            gone.await;
        }
    }

    /// How many clients have connections.
    #[cfg(test)]
    fn clients(&self) -> usize {
        self.clients.lock().connections.len()
    }
}

/// How many of the last places are kept, of so many in all.
fn kept_of(most: usize) -> usize {
    if most < KEPT_FROM { 0 } else { most / KEPT_PART }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.crowd.connections.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.crowd.all_gone.notify_waiters();
        }
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let Some(client) = self.client else { return };
        self.crowd.clients.lock().leave(client);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::tests::{limits, plain};
    use super::*;
    use crate::network::Networks;

    fn settings(per_client: usize) -> Settings {
        let mut limits = limits();
        limits.max_connections_per_client = per_client;
        Settings { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..plain(limits) }
    }

    fn address(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), 1)
    }

    fn from(ip: &str) -> Origin {
        Origin::begin(address(ip), &settings(1))
    }

    /// Whom a proxy has named in a PROXY header.
    fn proxied(ip: &str) -> Origin {
        let mut origin = from("10.0.0.1");
        origin.name(Some(address(ip)), &settings(1));
        origin
    }

    #[test]
    fn connections_are_counted_in_all() {
        let crowd = Arc::new(Crowd::default());
        let first = crowd.enter(2).unwrap();
        let _second = crowd.enter(2).unwrap();
        assert!(crowd.enter(2).is_none());
        drop(first);
        let _third = crowd.enter(2).unwrap();
        // A reload may change how many there may be.
        assert!(crowd.enter(2).is_none());
        let _fourth = crowd.enter(3).unwrap();
        assert_eq!(crowd.connections(), 3);
    }

    #[test]
    fn connections_are_counted_by_client() {
        let crowd = Arc::new(Crowd::default());
        let settings = settings(2);
        let enter = |ip| crowd.enter_client(&from(ip), &settings);
        let first = enter("192.0.2.1").unwrap();
        let _second = enter("::ffff:192.0.2.1").unwrap();
        assert!(enter("192.0.2.1").is_none());
        let _other = enter("192.0.2.2").unwrap();
        let _one = enter("2001:db8::1").unwrap();
        let _two = enter("2001:db8::2").unwrap();
        assert!(enter("2001:db8::3").is_none());
        drop(first);
        let _again = enter("192.0.2.1").unwrap();
    }

    /// The holder of a /48 has 65,536 networks of 64 bits, each of which was a client of its own.
    #[test]
    fn an_ipv6_site_has_the_share_of_two_clients() {
        let crowd = Arc::new(Crowd::default());
        let settings = settings(2);
        let enter = |ip: &str| crowd.enter_client(&from(ip), &settings);
        let mut places: Vec<_> =
            ["1", "1", "2", "3"].map(|n| enter(&format!("2001:db8:1:{n}::1")).unwrap()).into();
        assert!(enter("2001:db8:1:4::1").is_none());
        let _other_site = enter("2001:db8:2:4::1").unwrap();
        let _ipv4 = enter("192.0.2.1").unwrap();
        places.pop();
        places.push(enter("2001:db8:1:4::1").unwrap());
        assert!(enter("2001:db8:1:5::1").is_none());
        drop((places, _other_site, _ipv4));
        assert_eq!((crowd.clients(), crowd.clients.lock().sites.len()), (0, 0));
    }

    #[test]
    fn a_proxy_is_not_counted_but_whom_it_names_is() {
        let crowd = Arc::new(Crowd::default());
        let settings = settings(1);
        let enter = |origin: &Origin| crowd.enter_client(origin, &settings);
        let _some: Vec<_> = (0..9).map(|_| enter(&from("10.0.0.1")).unwrap()).collect();
        let named = proxied("192.0.2.1");
        let _first = enter(&named).unwrap();
        assert!(enter(&named).is_none());
        assert!(enter(&from("192.0.2.1")).is_none());
        let inside = proxied("10.0.0.9");
        let _inside = enter(&inside).unwrap();
        assert!(enter(&inside).is_none());
    }

    /// Four addresses with a quarter of the places each held all of them, on a request a minute.
    #[tokio::test(start_paused = true)]
    async fn the_last_eighth_is_kept_for_known_clients() {
        let crowd = Arc::new(Crowd::default());
        let expected = Networks::new(["198.51.100.0/30".parse().unwrap()]);
        let mut settings = Settings { expected, ..settings(128) };
        settings.limits.max_connections = 512;
        let enter = |origin: &Origin| {
            let place = crowd.enter(settings.limits.max_connections)?;
            crowd.may_stay(&place, origin, &settings).then_some(place)
        };
        let strangers: Vec<_> = (0..512).map_while(|_| enter(&from("192.0.2.1"))).collect();
        assert_eq!(strangers.len(), 448);
        let proven = Origin { known: Some(crowd.known()), ..from("203.0.113.9") };
        assert!(enter(&proven).is_none());
        let named = proxied("203.0.113.9");
        assert!(enter(&named).is_none());
        proven.has_proven_itself();
        let known = [
            &proven,
            &named,
            &from("::ffff:203.0.113.9"),
            &from("198.51.100.3"),
            &proxied("198.51.100.3"),
            &from("10.0.0.1"),
        ];
        let places: Vec<_> = known.map(|origin| enter(origin).unwrap()).into();
        assert!(enter(&from("198.51.100.4")).is_none());
        assert!(enter(&from("203.0.113.10")).is_none());
        // Not even a known one gets more than there is.
        let rest: Vec<_> = (0..512).map_while(|_| enter(&proven)).collect();
        assert_eq!(strangers.len() + places.len() + rest.len(), 512);
        drop((rest, places));
        drop(strangers);
        assert!(enter(&from("192.0.2.1")).is_some());
    }

    #[test]
    fn small_settings_are_meant_as_they_stand() {
        for (most, kept) in [(1, 0), (64, 0), (511, 0), (512, 64), (4096, 512)] {
            assert_eq!(kept_of(most), kept, "{most}");
        }
    }

    #[test]
    fn a_million_clients_that_come_and_go_leave_nothing_behind() {
        let crowd = Arc::new(Crowd::default());
        let settings = settings(1);
        for n in 0..1_000_000_u32 {
            let ip = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
            let origin = Origin::plain((ip, 1).into());
            let place = crowd.enter_client(&origin, &settings).unwrap();
            assert_eq!(crowd.clients(), 1);
            drop(place);
        }
        assert_eq!(crowd.clients(), 0);
        assert!(crowd.clients.lock().connections.capacity() < 16);
    }
}
