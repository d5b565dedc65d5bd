//! The other end of an output: connected to, written to, and let go of, each within a bounded time.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_user_timeout;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixDatagram, UnixStream, lookup_host};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::file::{Lines, Room};
use super::heard::Heard;
use super::message::Message;
use super::syslog::Sender;
use crate::config::defaults::audit::{CONNECT_TIMEOUT, SEND_TIMEOUT, UNACKNOWLEDGED};
use crate::config::{AuditFormat, AuditOutput, AuditTarget, Syslog, SyslogAddress};
use crate::delivery::TlsError;
use crate::delivery::client::{PlatformRoots, tls_config};
use crate::network::is_link_local;

/// Why records cannot be sent now. All of it is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The trail cannot be read.
    #[error("reading the trail: {0}")]
    Trail(io::Error),
    /// The cursor cannot be kept.
    #[error("keeping the cursor: {0}")]
    Cursor(io::Error),
    /// The file or socket does not open, or nobody answers.
    #[error("opening: {0}")]
    Open(io::Error),
    /// Nothing of the host's addresses may be called.
    #[error("opening: the host has no address but link-local ones or those of a metadata service")]
    LinkLocal,
    /// There are no roots to trust.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It was not taken.
    #[error("sending: {0}")]
    Send(io::Error),
    /// It takes longer than it may.
    #[error("{0} takes too long")]
    TimedOut(&'static str),
    /// The other side has gone.
    #[error("the other side has closed the connection")]
    Closed,
    /// The other side has gone, and the session had not ended.
    #[error("the other side has broken the connection off")]
    Broken,
    /// A defect of ours.
    #[error("a panic, of which another line tells")]
    Panicked,
}

/// When what was sent counts as taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Once it was sent.
    AtOnce,
    /// Once [`Sink::sync`] has returned.
    Synced,
    /// When the connection has stood for a while since.
    Later,
}

/// A session of TLS.
pub(super) type Session = TlsStream<Heard<TcpStream>>;

/// The other end.
pub(super) struct Sink {
    end: End,
    sender: Option<Sender>,
    format: AuditFormat,
}

enum End {
    Tls(Box<Session>),
    Datagrams(UnixDatagram),
    Stream(Heard<UnixStream>),
    /// `None` while it is written to elsewhere.
    File(Option<Lines>),
}

impl Sink {
    /// Connects to it, or opens it. `room` is what a file leaves free.
    pub(super) async fn open(output: &AuditOutput, room: &Room) -> Result<Self, Failure> {
        let (end, sender) = match &output.target {
            AuditTarget::File(path) => {
                let (path, room) = (path.clone(), room.clone());
                let lines =
                    blocking(move || Lines::open(&path, &room)).await?.map_err(Failure::Open)?;
                (End::File(Some(lines)), None)
            }
            AuditTarget::Syslog(syslog) => {
                let opening = timeout(CONNECT_TIMEOUT, connect(syslog)).await;
                let end = opening.map_err(|_| Failure::TimedOut("connecting"))??;
                (end, Some(Sender::here(syslog.facility)))
            }
        };
        Ok(Self { end, sender, format: output.format })
    }

    /// When what was sent counts as taken.
    pub(super) fn taken(&self) -> Taken {
        match self.end {
            End::Tls(_) => Taken::Later,
            End::Datagrams(_) | End::Stream(_) => Taken::AtOnce,
            End::File(_) => Taken::Synced,
        }
    }

    /// Sends these messages, in order.
    pub(super) async fn send(&mut self, messages: &[Message]) -> Result<(), Failure> {
        let (sender, format) = (self.sender.as_ref(), self.format);
        let synced = self.taken() == Taken::Synced;
        let messages = messages.iter().map(|message| match sender {
            Some(sender) => sender.message(message, format),
            None => message.line(format).into_bytes(),
        });
        let sending = async {
            match &mut self.end {
                End::Tls(stream) => write(stream, &counted(messages)).await,
                End::Stream(stream) => write(stream, &lines(messages)).await,
                End::Datagrams(socket) => {
                    for message in messages {
                        socket.send(&message).await.map_err(Failure::Send)?;
                    }
                    Ok(())
                }
                End::File(file) => {
                    let lines = lines(messages);
                    on(file, move |mut file| (file.append(&lines), file)).await
                }
            }
        };
        if synced {
            // A file system that hangs is not tried a second time beside the first.
            return sending.await;
        }
        let sent = timeout(SEND_TIMEOUT, sending).await;
        sent.map_err(|_| Failure::TimedOut("sending")).flatten()
    }

    /// Waits until the other side has gone; for ever where that cannot be seen. Safe to cancel.
    pub(super) async fn gone(&mut self) -> Failure {
        let mut ignored = [0; 512];
        loop {
            let read = match &mut self.end {
                End::Tls(stream) => stream.read(&mut ignored).await,
                End::Stream(stream) => stream.read(&mut ignored).await,
                End::Datagrams(_) | End::File(_) => std::future::pending().await,
            };
            match read {
                // Nothing is to be said by it; who says something all the same is not heard, nor for long.
                Ok(1..) => {}
                Ok(0) => return Failure::Closed,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Failure::Broken;
                }
                Err(error) => return Failure::Send(error),
            }
        }
    }

    /// Makes durable what was sent.
    pub(super) async fn sync(&mut self) -> Result<(), Failure> {
        match &mut self.end {
            End::File(file) => on(file, |mut file| (file.sync(), file)).await,
            End::Tls(_) | End::Datagrams(_) | End::Stream(_) => Ok(()),
        }
    }

    /// Ends it in order. Once this has returned, all that was sent was taken.
    pub(super) async fn close(mut self) -> Result<(), Failure> {
        match &mut self.end {
            End::Tls(stream) => {
                stream.shutdown().await.map_err(Failure::Send)?;
                // Its own end of the session, behind all that it has read.
                match self.gone().await {
                    Failure::Closed => Ok(()),
                    failure => Err(failure),
                }
            }
            End::File(_) => self.sync().await,
            End::Datagrams(_) | End::Stream(_) => Ok(()),
        }
    }
}

/// Octet counting: RFC 5425, section 4.3.
fn counted(messages: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        out.extend_from_slice(message.len().to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(&message);
    }
    out
}

/// A line each: no message of ours has a line's end in it.
fn lines(messages: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        out.extend_from_slice(&message);
        out.push(b'\n');
    }
    out
}

async fn write(
    stream: &mut (impl tokio::io::AsyncWrite + Unpin),
    bytes: &[u8],
) -> Result<(), Failure> {
    stream.write_all(bytes).await.map_err(Failure::Send)?;
    stream.flush().await.map_err(Failure::Send)
}

/// Does something with the file where that may block. After a panic there is none any more.
async fn on(
    file: &mut Option<Lines>,
    work: impl FnOnce(Lines) -> (io::Result<()>, Lines) + Send + 'static,
) -> Result<(), Failure> {
    let lines = file.take().ok_or(Failure::Panicked)?;
    let (done, lines) = blocking(move || work(lines)).await?;
    *file = Some(lines);
    done.map_err(Failure::Send)
}

/// Does what may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    spawn_blocking(work).await.map_err(|_| Failure::Panicked)
}

async fn connect(syslog: &Syslog) -> Result<End, Failure> {
    match &syslog.address {
        SyslogAddress::Unix(path) => unix(path).await.map_err(Failure::Open),
        SyslogAddress::Tls { host, port } => {
            let (ca, identity) = (syslog.ca.clone(), syslog.identity.clone());
            let config = blocking(move || {
                tls_config(ca.as_ref(), identity.as_ref(), &mut PlatformRoots::default())
            });
            let config = Arc::new(config.await??);
            Ok(End::Tls(Box::new(session(host, *port, config).await?)))
        }
    }
}

/// Connects to the host, which must prove that it is this one.
pub(super) async fn session(
    host: &str,
    port: u16,
    config: Arc<ClientConfig>,
) -> Result<Session, Failure> {
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|error| Failure::Open(io::Error::other(error)))?;
    let stream = Heard::new(tcp(host, port).await?);
    TlsConnector::from(config).connect(name, stream).await.map_err(Failure::Open)
}

/// Datagrams, or a stream where the socket is one.
async fn unix(path: &Path) -> io::Result<End> {
    let socket = UnixDatagram::unbound()?;
    match socket.connect(path) {
        Ok(()) => Ok(End::Datagrams(socket)),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::PROTOTYPE) => {
            Ok(End::Stream(Heard::new(UnixStream::connect(path).await?)))
        }
        Err(error) => Err(error),
    }
}

/// Connects to the first of the host's addresses that takes it. Addresses are judged on each connect, after
/// the look-up, as those of upstreams are.
async fn tcp(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let found = lookup_host((host, port)).await.map_err(Failure::Open)?;
    let addresses: Vec<SocketAddr> = found.filter(|address| !is_link_local(address.ip())).collect();
    if addresses.is_empty() {
        return Err(Failure::LinkLocal);
    }
    // So that a second one gets its turn.
    let share = CONNECT_TIMEOUT / u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
    let mut last = Failure::TimedOut("connecting");
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(Failure::Open)?;
                let millis = u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
                let bounded = set_tcp_user_timeout(&stream, millis);
                bounded.map_err(|error| Failure::Open(error.into()))?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = Failure::Open(error),
            Err(_) => {}
        }
    }
    Err(last)
}

/// How long to wait before the next attempt, after so many have failed: between half of the whole and all
/// of it.
pub(super) fn backoff(failed: u32, most: Duration) -> Duration {
    let whole =
        Duration::from_secs(1).saturating_mul(1 << failed.saturating_sub(1).min(16)).min(most);
    whole.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_in_octets() {
        let messages = ["<1>1 a", "\u{fc}"].map(|text| text.as_bytes().to_vec());
        assert_eq!(counted(messages.into_iter()), "6 <1>1 a2 \u{fc}".as_bytes());
    }

    #[test]
    fn waits_double_up_to_the_longest_and_are_never_alike() {
        let most = Duration::from_secs(60);
        for (failed, whole) in [(0, 1), (1, 1), (2, 2), (4, 8), (7, 60), (u32::MAX, 60)] {
            let whole = Duration::from_secs(whole);
            for _ in 0..100 {
                let wait = backoff(failed, most);
                assert!(wait >= whole / 2 && wait <= whole, "{failed}: {wait:?}");
            }
        }
        assert_ne!(backoff(7, most), backoff(7, most));
    }
}
