//! A Unix socket: HTTP/1.1 with the limits and timers of any listener, for users of this machine,
//! whom the kernel names.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;

use super::accept::{self, Occasionally, Trouble};
use super::{Answer, Arrival, Drained, Origin, Serving, Settings, connection, guard, overloaded};
use crate::audit::{Reason, Refused};
use crate::metrics::Metrics;

/// Serves `listener` until `shutdown` is ready, and then drains as [`super::run`] does. The
/// connections of users whom `admits` does not let in are closed at once, which is logged, not too
/// often. Over this listener `trusted_proxies` and TLS mean nothing.
pub async fn run<A, H, F>(
    listener: UnixListener,
    settings: Arc<ArcSwap<Settings>>,
    admits: A,
    handler: H,
    shutdown: impl Future<Output = ()>,
) -> Drained
where
    A: Fn(u32) -> bool,
    H: Fn(Arrival) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send,
{
    let mut shutdown = std::pin::pin!(shutdown);
    let serving = Serving::new(settings, handler, Metrics::new().listener(|_| 400));
    let (mut trouble, mut strangers) = (Trouble::default(), Occasionally::default());
    loop {
        let stream = tokio::select! {
            biased;
            () = &mut shutdown => break,
            stream = accept::next_local(&listener, &mut trouble) => stream,
        };
        // Who cannot be told is not let in either.
        let uid = stream.peer_cred().ok().map(|cred| cred.uid());
        match uid.filter(|uid| admits(*uid)) {
            Some(uid) => serving.admit_local(stream, uid),
            None => {
                serving.turn_away_local(uid);
                if let Some(times) = strangers.now(Instant::now()) {
                    tracing::warn!(target: "hookward::admin", uid, times, "not let in at the socket");
                }
            }
        }
    }
    drop(listener);
    serving.drain(std::future::pending()).await
}

impl<H, F> Serving<H>
where
    H: Fn(Arrival) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send,
{
    /// Records that this user was not let in; `None`: the kernel does not say who it is. The log has a
    /// line of these once in a while.
    fn turn_away_local(&self, uid: Option<u32>) {
        // The record's address is the socket's, whoever comes.
        let (origin, who) =
            (Origin::local(uid.unwrap_or(u32::MAX)), uid.map(|uid| format!("uid {uid}")));
        let (reason, detail) =
            (Reason::CredentialInvalid, "a user who is not let in at the socket");
        let refused = Refused::connection(reason, detail, &origin);
        self.settings.load().refusals.record_silently(&Refused { who: who.as_deref(), ..refused });
    }

    /// Serves this user's connection in a task of its own, or closes it when there are too many.
    fn admit_local(&self, stream: UnixStream, uid: u32) {
        let settings = self.settings.load_full();
        let Some(place) = self.crowd.enter(settings.limits.max_connections) else {
            return overloaded("too many connections", &Origin::local(uid), &settings);
        };
        let (handler, stage) = (Arc::clone(&self.handler), self.stage.subscribe());
        tokio::spawn(async move {
            let handler = &*handler;
            let guarded = |arrival| guard::answer(handler, arrival);
            let origin = Arc::new(Origin::local(uid));
            connection::serve(stream, origin, &settings, stage, &guarded).await;
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Response;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;
    use crate::audit::Refusals;
    use crate::clock::Clock;
    use crate::listen::{Limits, Timeouts};

    const BOUND: Duration = Duration::from_secs(20);

    fn settings() -> Arc<ArcSwap<Settings>> {
        let wait = Duration::from_secs(5);
        let timeouts = Timeouts { handshake: wait, header: wait, write: wait, idle: wait };
        let limits = Limits {
            max_connections: 2,
            max_connections_per_client: 2,
            max_requests: 10,
            max_headers: 100,
            max_header_bytes: 8 << 10,
            max_target: 1 << 10,
            max_streams: 1,
            timeouts,
            drain_timeout: wait,
        };
        let refusals = Arc::new(Refusals::new(Clock::System));
        Arc::new(ArcSwap::from_pointee(Settings::plain(limits, refusals)))
    }

    /// What is read on a connection to the end, once this was asked.
    async fn asked(path: &std::path::Path) -> String {
        let mut stream = UnixStream::connect(path).await.unwrap();
        let request = b"GET /who HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n";
        // It may have been closed already.
        let _ = stream.write_all(request).await;
        let mut answer = String::new();
        let _ = timeout(BOUND, stream.read_to_string(&mut answer)).await.expect("an end");
        answer
    }

    async fn answered(admits: impl Fn(u32) -> bool + Send + 'static) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let handler = |arrival: Arrival| async move {
            let who = format!("{:?}", arrival.origin.local);
            Response::new(Full::new(who.into()))
        };
        let shutdown = async { drop(stopped.await) };
        let running = tokio::spawn(run(listener, settings(), admits, handler, shutdown));
        let answer = asked(&path).await;
        stop.send(()).unwrap();
        let drained = timeout(BOUND, running).await.expect("the drain ends").unwrap();
        assert_eq!(drained, Drained { cut_off: 0 });
        answer
    }

    #[tokio::test]
    async fn the_kernel_says_who_is_there() {
        let uid = rustix::process::geteuid().as_raw();
        let answer = answered(move |who| who == uid).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with(&format!("Some({uid})")),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn who_is_not_let_in_gets_no_answer() {
        assert_eq!(answered(|_| false).await, "");
    }
}
