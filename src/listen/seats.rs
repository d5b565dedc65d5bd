//! The operators' places: few, and a connection on which no right token was shown gives way to one that
//! comes. Else a few addresses with nothing to show could keep everybody out, probes included.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::accept::Occasionally;
use super::crowd::SHARES_OF_SITE;
use super::{Answer, Arrival, Limits, Origin, Serving, Settings, overloaded};
use crate::audit::Client;
use crate::network::Network;

/// The connections of one listener whose oldest give way, in the order in which they came. No more than
/// its limits allow.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: Mutex<Vec<Arc<Seat>>>,
    told: Mutex<Occasionally>,
}

/// One connection's place.
#[derive(Debug)]
pub(crate) struct Seat {
    peer: SocketAddr,
    client: Network,
    standing: Mutex<Standing>,
    displaced: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// No right token was shown on it, or a wrong one was shown last.
    Stranger,
    /// A right token was shown on it.
    Holder,
    /// It has given way: nothing is begun for it any more.
    Gone,
}

/// A place that is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Seated {
    seats: Arc<Seats>,
    seat: Arc<Seat>,
}

/// A place for a connection, and whose connections have given way to it.
#[derive(Debug)]
struct Entered {
    seated: Seated,
    displaced: Vec<SocketAddr>,
}

impl<H, F> Serving<H>
where
    H: Fn(Arrival) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send,
{
    /// Serves the connection in a task of its own; where there is no place, the oldest without a right
    /// token gives way to it.
    pub(super) fn admit_operator(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        settings: Arc<Settings>,
    ) {
        let origin = Origin::begin(peer, &settings);
        // Those that have given way may still be on their way out.
        let place = self.crowd.enter(usize::MAX);
        let Some((entered, place)) = self.seats.enter(peer, &settings.limits).zip(place) else {
            return overloaded("too many connections", &origin, &settings);
        };
        for peer in entered.displaced {
            let gone = Origin::begin(peer, &settings);
            overloaded("others came, and it had shown no right token", &gone, &settings);
        }
        let origin = Origin { seat: Some(entered.seated.seat()), ..origin };
        self.serve(stream, origin, settings, (place, Some(entered.seated)));
    }
}

/// Ready when the connection must give way to another; never, where none does.
pub(super) async fn displaced(seated: Option<&Seated>) {
    match seated {
        Some(seated) => seated.displaced().await,
        None => std::future::pending().await,
    }
}

impl Seats {
    /// A place for one more connection from this peer. Where there is none, in all, of its client or of
    /// its IPv6 site, the oldest on which no right token was shown gives way: of the same client or site
    /// if those have their share, else of the client that has most of such. `None`: a right token was
    /// shown on all of them.
    fn enter(self: &Arc<Self>, peer: SocketAddr, limits: &Limits) -> Option<Entered> {
        let client = Network::of(Some(peer.ip()));
        let (mut taken, mut displaced) = (self.taken.lock(), Vec::new());
        while let Some(full) = full(&taken, client, limits) {
            let at = eldest_stranger(&taken, client, full)?;
            displaced.push(taken.remove(at).peer);
        }
        let (standing, gone) = (Mutex::new(Standing::Stranger), Notify::new());
        let seat = Arc::new(Seat { peer, client, standing, displaced: gone });
        taken.push(Arc::clone(&seat));
        drop(taken);
        self.tell(&displaced);
        Some(Entered { seated: Seated { seats: Arc::clone(self), seat }, displaced })
    }

    /// Logs that some have given way, not too often.
    fn tell(&self, displaced: &[SocketAddr]) {
        let Some(latest) = displaced.last() else { return };
        if let Some(times) = self.told.lock().now(Instant::now()) {
            let client = Client(Some(latest.ip().to_canonical()));
            tracing::warn!(
                times, %client,
                "operators' connections closed: others came, and no right token was shown on these"
            );
        }
    }
}

/// Among whom there is no place left.
#[derive(Clone, Copy)]
enum Full {
    Client,
    Site,
    All,
}

fn full(taken: &[Arc<Seat>], client: Network, limits: &Limits) -> Option<Full> {
    let count = |full| taken.iter().filter(|seat| seat.is_among(client, full)).count();
    let share = limits.max_connections_per_client;
    if count(Full::Client) >= share {
        Some(Full::Client)
    } else if count(Full::Site) >= share.saturating_mul(SHARES_OF_SITE) {
        Some(Full::Site)
    } else {
        (taken.len() >= limits.max_connections).then_some(Full::All)
    }
}

/// Where the one is that gives way; it has done so when this returns.
fn eldest_stranger(taken: &[Arc<Seat>], client: Network, full: Full) -> Option<usize> {
    let strangers = || {
        let among = taken.iter().enumerate().filter(|(_, seat)| seat.is_among(client, full));
        among.filter(|(_, seat)| *seat.standing.lock() == Standing::Stranger)
    };
    // Where all places are taken, whoever has one connection does not pay for who has many.
    let of_same =
        |seat: &Seat| strangers().filter(|(_, other)| other.client == seat.client).count();
    loop {
        let (at, seat) = strangers().max_by_key(|(at, seat)| (of_same(seat), Reverse(*at)))?;
        // A right token may have been shown on it meanwhile.
        if seat.leave() {
            return Some(at);
        }
    }
}

impl Seat {
    fn is_among(&self, client: Network, full: Full) -> bool {
        match full {
            Full::Client => self.client == client,
            Full::Site => client.site().is_some() && self.client.site() == client.site(),
            Full::All => true,
        }
    }

    /// Makes it give way. False: it need not.
    fn leave(&self) -> bool {
        let mut standing = self.standing.lock();
        if *standing != Standing::Stranger {
            return false;
        }
        *standing = Standing::Gone;
        self.displaced.notify_one();
        true
    }

    /// A token was shown on it that is right, or is not. False: it has given way.
    pub(super) fn judged(&self, right: bool) -> bool {
        let mut standing = self.standing.lock();
        if *standing == Standing::Gone {
            return false;
        }
        *standing = if right { Standing::Holder } else { Standing::Stranger };
        true
    }
}

impl Seated {
    /// The place.
    fn seat(&self) -> Arc<Seat> {
        Arc::clone(&self.seat)
    }

    /// Ready when the connection must give way.
    async fn displaced(&self) {
        self.seat.displaced.notified().await;
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.seats.taken.lock().retain(|seat| !Arc::ptr_eq(seat, &self.seat));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::limits;
    use super::*;

    fn four_and_two() -> Limits {
        Limits { max_connections: 4, max_connections_per_client: 2, ..limits() }
    }

    fn enter(seats: &Arc<Seats>, ip: &str) -> Option<Entered> {
        seats.enter(SocketAddr::new(ip.parse().unwrap(), 1), &four_and_two())
    }

    fn ips(entered: &Entered) -> Vec<String> {
        entered.displaced.iter().map(|peer| peer.ip().to_string()).collect()
    }

    #[test]
    fn the_oldest_of_the_client_with_most_gives_way_and_who_has_shown_a_token_does_not() {
        let seats = Arc::new(Seats::default());
        let one = enter(&seats, "192.0.2.1").unwrap();
        let held: Vec<_> =
            ["192.0.2.2", "192.0.2.3", "192.0.2.2"].map(|ip| enter(&seats, ip).unwrap()).into();
        let third = enter(&seats, "192.0.2.4").unwrap();
        assert_eq!(ips(&third), ["192.0.2.2"]);
        assert!(!held[0].seated.seat.judged(true), "nothing is begun for it any more");
        assert!(one.seated.seat.judged(true));
        let fourth = enter(&seats, "192.0.2.5").unwrap();
        assert_eq!(ips(&fourth), ["192.0.2.3"], "the oldest but for the first");
        for entered in [&held[2], &third, &fourth] {
            assert!(entered.seated.seat.judged(true));
        }
        assert!(enter(&seats, "192.0.2.6").is_none());
        assert!(one.seated.seat.judged(false), "a wrong token was shown since");
        assert_eq!(ips(&enter(&seats, "192.0.2.6").unwrap()), ["192.0.2.1"]);
        drop((one, held, third, fourth));
        assert_eq!(seats.taken.lock().len(), 0);
    }

    #[test]
    fn who_has_its_share_makes_room_among_its_own() {
        let seats = Arc::new(Seats::default());
        let _held: Vec<_> =
            ["192.0.2.9", "192.0.2.1", "192.0.2.1"].map(|ip| enter(&seats, ip).unwrap()).into();
        let again = enter(&seats, "::ffff:192.0.2.1").unwrap();
        assert_eq!(ips(&again), ["192.0.2.1"]);
        let seats = Arc::new(Seats::default());
        let limits = Limits { max_connections: 9, ..four_and_two() };
        let enter = |n: usize| {
            let ip = format!("2001:db8:1:{n}::1").parse().unwrap();
            seats.enter(SocketAddr::new(ip, 1), &limits).unwrap()
        };
        let _site: Vec<_> = (0..4).map(enter).collect();
        assert_eq!(ips(&enter(4)), ["2001:db8:1::1"]);
    }
}
