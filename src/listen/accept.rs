//! Taking connections: the socket, and what to do when the kernel has none to give.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::time::Instant;

/// Connections that the kernel holds for us while we are busy; it cuts this down to its own limit
/// (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

/// The first and the longest wait after the kernel could not hand over a connection.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// How often the same trouble is logged at most.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// A socket with this address; port 0 takes a free port. Until it begins to listen, connections are
/// refused. A restart may take the address over at once (`SO_REUSEADDR`); two processes may not
/// listen on it.
///
/// # Errors
/// The operating system's, such as `AddrInUse`.
pub fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Makes a reserved socket listen.
///
/// # Errors
/// The operating system's, such as `AddrInUse`.
pub fn begin(socket: TcpSocket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)
}

/// The next connection. Errors never end this: it waits a little and tries again.
pub(super) async fn next(listener: &TcpListener, trouble: &mut Trouble) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                trouble.over();
                // Answers are one small write each; waiting to fill a packet only delays them.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) => {
                if let Some(wait) = trouble.with(&error) {
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

/// The next connection over a Unix socket, likewise.
pub(super) async fn next_local(listener: &UnixListener, trouble: &mut Trouble) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                trouble.over();
                return stream;
            }
            Err(error) => {
                if let Some(wait) = trouble.with(&error) {
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

/// How long accepting has been failing, and when that was last told.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    wait: Option<Duration>,
    log: Occasionally,
}

impl Trouble {
    /// How long to wait after this error; `None` for those of one connection that has gone away.
    fn with(&mut self, error: &io::Error) -> Option<Duration> {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        if matches!(
            error.kind(),
            ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
        ) {
            return None;
        }
        let wait = self.wait.map_or(FIRST_WAIT, |wait| LONGEST_WAIT.min(wait * 2));
        self.wait = Some(wait);
        if let Some(times) = self.log.now(Instant::now()) {
            tracing::error!(%error, times, "cannot accept connections; trying on");
        }
        Some(wait)
    }

    fn over(&mut self) {
        self.wait = None;
    }
}

/// Lets a repeated message through once in a while.
#[derive(Debug, Default)]
pub(crate) struct Occasionally {
    last: Option<Instant>,
    times: u64,
}

impl Occasionally {
    /// It has happened again. How often since it was last told, when it is time to tell.
    pub(crate) fn now(&mut self, now: Instant) -> Option<u64> {
        self.times += 1;
        if self.last.is_some_and(|last| now < last + LOG_EVERY) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_descriptors_is_waited_out_ever_longer() {
        let mut trouble = Trouble::default();
        let emfile = io::Error::from_raw_os_error(24);
        let waits: Vec<_> = (0..6).map(|_| trouble.with(&emfile).unwrap().as_millis()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 100, 100]);
        trouble.over();
        assert_eq!(trouble.with(&emfile), Some(FIRST_WAIT));
    }

    #[test]
    fn a_client_that_has_gone_away_costs_no_wait() {
        let gone = io::Error::from(io::ErrorKind::ConnectionAborted);
        assert_eq!(Trouble::default().with(&gone), None);
    }

    #[test]
    fn trouble_is_told_once_in_a_while_with_its_count() {
        let (mut log, start) = (Occasionally::default(), Instant::now());
        assert_eq!(log.now(start), Some(1));
        assert_eq!(log.now(start), None);
        assert_eq!(log.now(start + LOG_EVERY / 2), None);
        assert_eq!(log.now(start + LOG_EVERY), Some(3));
    }
}
