//! What comes before HTTP on a connection: the PROXY header, the client's share of connections,
//! and the TLS handshake; then the version of HTTP that was agreed on.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::{Answer, Arrival, Origin, Settings, Stage, connection, h2, proxy_protocol};

/// Serves the connection until the client or the listener ends it.
pub(super) async fn serve<H, F>(
    stream: TcpStream,
    peer: SocketAddr,
    settings: &Settings,
    stage: watch::Receiver<Stage>,
    handler: &H,
) where
    H: Fn(Arrival) -> F + Sync,
    F: Future<Output = Answer> + Send,
{
    let deadline = Instant::now() + settings.limits.timeouts.handshake;
    let mut origin = Origin::plain(peer);
    let mut stream = stream;
    if settings.proxy_protocol {
        match timeout_at(deadline, proxy_protocol::read(&mut stream, peer, settings)).await {
            Ok(Ok(proxied)) => origin.proxied = proxied,
            Ok(Err(_)) | Err(_) => return,
        }
    }
    let Some(tls) = &settings.tls else {
        return connection::serve(stream, Arc::new(origin), &settings.limits, stage, handler).await;
    };
    let Ok(Ok((stream, session))) = timeout_at(deadline, tls.accept(stream)).await else {
        return;
    };
    let http2 = session.http2;
    origin.tls = Some(session);
    let origin = Arc::new(origin);
    if http2 {
        h2::serve(stream, origin, &settings.limits, stage, handler).await;
    } else {
        connection::serve(stream, origin, &settings.limits, stage, handler).await;
    }
}
