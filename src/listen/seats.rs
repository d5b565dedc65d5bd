//! The operators' places: few, and a connection on which no right token was shown gives way to one that
//! comes. Else a few addresses with nothing to show could keep everybody out, probes included. Nor can
//! whoever has a token: it keeps a place for a minute, no longer than it is right, and never all of them.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::accept::Occasionally;
use super::crowd::SHARES_OF_SITE;
use super::{Answer, Arrival, Limits, Origin, Serving, Settings, overloaded};
use crate::audit::Client;
use crate::network::Network;
use crate::secret::Withdrawal;

/// How long a right token keeps its connection's place. Shown again, it does so anew; asking for health
/// does not count.
const KEEPS: Duration = Duration::from_secs(60);

/// Which part of the places tokens do not keep, of all, of a client's and of a site's: an eighth. Probes
/// show none, and one token would do to keep everybody else out.
const OPEN_PART: usize = 8;

/// Why a connection gives way. For our own records.
const STRANGER: &str = "others came, and no right token was shown on it in the last minute";
const ONE_OF_MANY: &str = "others came, and right tokens had more places than they keep";

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

#[derive(Clone, Debug)]
enum Standing {
    /// No right token was shown on it, or a wrong one was shown last.
    Stranger,
    /// This token was shown on it, then for the last time.
    Holder { token: Withdrawal, shown: Instant },
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
    displaced: Vec<Displaced>,
}

/// A connection that has given way.
#[derive(Clone, Copy, Debug)]
struct Displaced {
    peer: SocketAddr,
    why: &'static str,
}

impl<H, F> Serving<H>
where
    H: Fn(Arrival) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send,
{
    /// Serves the connection in a task of its own; where there is no place, another one gives
    /// way to it.
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
        for Displaced { peer, why } in entered.displaced {
            overloaded(why, &Origin::begin(peer, &settings), &settings);
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
    /// its IPv6 site, the oldest on which no right token was shown lately gives way: of the same client or
    /// site if those have their share, else of the site and then the client that have most of such. Where
    /// tokens have more than they keep, one of those does, by the same order. `None`: they keep all.
    fn enter(self: &Arc<Self>, peer: SocketAddr, limits: &Limits) -> Option<Entered> {
        let client = Network::of(Some(peer.ip()));
        let (mut taken, mut displaced) = (self.taken.lock(), Vec::new());
        while let Some(full) = full(&taken, client, limits) {
            let (at, why) = make_room(&taken, client, full)?;
            displaced.push(Displaced { peer: taken.remove(at).peer, why });
        }
        let (standing, gone) = (Mutex::new(Standing::Stranger), Notify::new());
        let seat = Arc::new(Seat { peer, client, standing, displaced: gone });
        taken.push(Arc::clone(&seat));
        drop(taken);
        self.tell(&displaced);
        Some(Entered { seated: Seated { seats: Arc::clone(self), seat }, displaced })
    }

    /// Logs that some have given way, not too often.
    fn tell(&self, displaced: &[Displaced]) {
        let Some(Displaced { peer, why }) = displaced.last() else { return };
        if let Some(times) = self.told.lock().now(Instant::now()) {
            let client = Client(Some(peer.ip().to_canonical()));
            tracing::warn!(
                times, %client, why, "operators' connections closed, to make room for others"
            );
        }
    }
}

/// Places of which none is left.
#[derive(Clone, Copy)]
struct Full {
    whose: Whose,
    places: usize,
}

#[derive(Clone, Copy)]
enum Whose {
    Client,
    Site,
    All,
}

fn full(taken: &[Arc<Seat>], client: Network, limits: &Limits) -> Option<Full> {
    let share = limits.max_connections_per_client;
    let each = [
        (Whose::Client, share),
        (Whose::Site, share.saturating_mul(SHARES_OF_SITE)),
        (Whose::All, limits.max_connections),
    ];
    let mut each = each.into_iter().map(|(whose, places)| Full { whose, places });
    each.find(|full| {
        taken.iter().filter(|seat| seat.is_among(client, full.whose)).count() >= full.places
    })
}

/// One of those that may give way.
struct Candidate<'a> {
    at: usize,
    seat: &'a Seat,
    /// When the token was shown that keeps its place.
    shown: Option<Instant>,
}

/// Where the one is that gives way, and why it does; it has done so when this returns.
fn make_room(taken: &[Arc<Seat>], client: Network, full: Full) -> Option<(usize, &'static str)> {
    let now = Instant::now();
    loop {
        let among = taken.iter().enumerate().filter(|(_, seat)| seat.is_among(client, full.whose));
        let (holders, strangers): (Vec<_>, Vec<_>) = among
            .map(|(at, seat)| Candidate { at, seat, shown: seat.shown(now) })
            .partition(|candidate| candidate.shown.is_some());
        let kept = full.places - full.places / OPEN_PART;
        let (candidates, why) =
            if holders.len() > kept { (holders, ONE_OF_MANY) } else { (strangers, STRANGER) };
        let first = first_to_go(&candidates)?;
        // A right token may have been shown on it meanwhile.
        if first.seat.leave(first.shown, now) {
            return Some((first.at, why));
        }
    }
}

/// Whoever has one connection does not pay for who has many, and no client for what others of its site
/// have; but those of one site together are one, or a few sites would hold all with a connection each of
/// their clients. Of several the one that came first, or whose token was shown longest ago.
fn first_to_go<'a, 'b>(candidates: &'b [Candidate<'a>]) -> Option<&'b Candidate<'a>> {
    let number = |is_same: &dyn Fn(Network) -> bool| {
        candidates.iter().filter(|other| is_same(other.seat.client)).count()
    };
    candidates.iter().max_by_key(|one| {
        let client = one.seat.client;
        let of_client = number(&|other| other == client);
        let of_site = number(&|other| client.site().is_some() && other.site() == client.site());
        (of_site.max(of_client), of_client, Reverse((one.shown, one.at)))
    })
}

impl Seat {
    fn is_among(&self, client: Network, whose: Whose) -> bool {
        match whose {
            Whose::Client => self.client == client,
            Whose::Site => client.site().is_some() && self.client.site() == client.site(),
            Whose::All => true,
        }
    }

    /// When the token was shown that keeps its place; `None`: none does.
    fn shown(&self, now: Instant) -> Option<Instant> {
        self.standing.lock().shown(now)
    }

    /// Makes it give way. False: a token was shown since then, right or wrong.
    fn leave(&self, shown: Option<Instant>, now: Instant) -> bool {
        let mut standing = self.standing.lock();
        if standing.shown(now) != shown {
            return false;
        }
        *standing = Standing::Gone;
        self.displaced.notify_one();
        true
    }

    /// A token was shown on it: this one, or `None`, none that is right. False: it has given way.
    pub(super) fn judged(&self, token: Option<&Withdrawal>) -> bool {
        let mut standing = self.standing.lock();
        if matches!(*standing, Standing::Gone) {
            return false;
        }
        *standing = token.map_or(Standing::Stranger, |token| Standing::Holder {
            token: token.clone(),
            shown: Instant::now(),
        });
        true
    }
}

impl Standing {
    fn shown(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Holder { token, shown } => {
                let keeps = !token.has_taken_effect() && now.duration_since(*shown) < KEEPS;
                keeps.then_some(*shown)
            }
            Self::Stranger | Self::Gone => None,
        }
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
mod tests;
