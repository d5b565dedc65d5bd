//! Whole connections: what a client sends goes through the listener, the request's road and the
//! store, all in memory, and what comes back and what was stored is held against what was sent.
//!
//! An input is text that [`script`] describes. A request is read a second time by [`reading`],
//! which knows nothing of the gateway, and its credential is checked by [`senders`], which knows
//! nothing of admission: an event that is stored must be one of these requests, byte for byte, and
//! proved. Nothing catches panics here.

mod answers;
mod client;
mod disk;
mod frames;
mod gateway;
mod judge;
mod reading;
mod script;
mod senders;
mod streams;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::timeout;

use self::gateway::Gateway;
use self::judge::Connection;
use self::script::Script;
use self::streams::Streams;
use crate::listen::{Origin, TlsSession, in_memory};

/// Where every connection comes from.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 4711);

/// How long a connection may last: more than all its waits and time limits together.
const LONGEST: Duration = Duration::from_secs(3600);

/// How often a connection may be looked at: it has some 64 KiB to send at most, 64 bytes at once.
const MOST_POLLS: u32 = 20_000;

/// A gateway in memory, one connection at a time.
#[derive(Debug)]
pub struct InMemory {
    runtime: Runtime,
    gateway: Gateway,
}

impl InMemory {
    /// `runtime`: of one thread, its time paused, so that waiting costs nothing.
    pub fn new(runtime: Runtime) -> Self {
        let gateway = runtime.block_on(async { Gateway::new() });
        Self { runtime, gateway }
    }

    /// What a client sends over HTTP/1: each answer is one that the contract knows, there is at
    /// most one a request, what is stored was sent by who holds the source's key, byte for byte,
    /// and is acknowledged, nothing follows what could be read in two ways, and it ends.
    pub fn request(&mut self, data: &[u8]) {
        self.runtime.block_on(over_http1(&mut self.gateway, data)).judge();
    }

    /// What a client sends over HTTP/2: there is at most one answer to a header section, what is
    /// stored is a stream's data, byte for byte, under a head that proves who holds the source's
    /// key, a 200 has its event, and it ends.
    pub fn http2(&mut self, data: &[u8]) {
        self.runtime.block_on(over_http2(&mut self.gateway, data)).judge();
    }
}

async fn over_http1<'g>(gateway: &'g mut Gateway, data: &[u8]) -> Connection<'g> {
    let script = Script::http1(data, &gateway.senders);
    let (requests, end) = reading::read(&script.sent());
    let (bytes, refused) = exchange(gateway, Origin::plain(PEER), &script).await;
    assert_eq!(refused, None, "hyper has refused what the gatekeeper let pass");
    drop(gateway.take_heard());
    let stored = gateway.take_events().await;
    let all_taken = !script.reads_late;
    let is_head = |at: usize| requests.get(at).is_some_and(|request| request.method == b"HEAD");
    let answers = bytes.map(|bytes| answers::read(&bytes, all_taken, is_head));
    Connection { senders: &gateway.senders, requests, end, answers, all_taken, stored }
}

async fn over_http2<'g>(gateway: &'g mut Gateway, data: &[u8]) -> Streams<'g> {
    let script = Script::http2(data, &gateway.senders);
    let sent = frames::read(&script.sent());
    let session = TlsSession {
        version: "TLSv1.3",
        server_name: None,
        http2: true,
        client_certificates: Vec::new(),
    };
    let origin = Origin { tls: Some(session), ..Origin::plain(PEER) };
    // Frames that make no sense end the connection, and are a refusal.
    let _ = exchange(gateway, origin, &script).await;
    let (heard, stored) = (gateway.take_heard(), gateway.take_events().await);
    Streams { senders: &gateway.senders, sent, heard, stored }
}

/// The connection from its first byte to its end: what the client got, and the status of what was
/// refused without a handler.
async fn exchange(
    gateway: &Gateway,
    origin: Origin,
    script: &Script,
) -> (Option<Vec<u8>>, Option<u16>) {
    // The same input does the same again.
    fastrand::seed(0);
    let (client, server) = tokio::io::duplex(script.buffer);
    let (drain, drained) = oneshot::channel();
    let both = async {
        let serving = serve(gateway, origin, server, drained);
        let (refused, answers) = tokio::join!(serving, client::talk(client, script, drain));
        (answers, refused)
    };
    let mut both = pin!(timeout(LONGEST, both));
    let mut polls = 0;
    let ended = std::future::poll_fn(|cx| {
        polls += 1;
        assert!(polls < MOST_POLLS, "the connection is busy without end");
        both.as_mut().poll(cx)
    });
    match ended.await {
        Ok(over) => over,
        Err(_) => unreachable!("the connection does not end"),
    }
}

async fn serve(
    gateway: &Gateway,
    origin: Origin,
    stream: DuplexStream,
    drained: oneshot::Receiver<()>,
) -> Option<u16> {
    let handler = |arrival| gateway.answer(arrival);
    let stop = async {
        // Who never drains drops the other end.
        if drained.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    in_memory::serve(stream, Arc::new(origin), &gateway.settings, &handler, stop).await
}
