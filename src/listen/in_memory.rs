//! A connection that has no socket: any stream, from its first byte of HTTP on. For fuzzing.

use std::pin::pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::{Answer, Arrival, Ended, Origin, Settings, Stage, connection, h2};

/// Serves the connection until the client or the listener ends it, in the version of HTTP that
/// `origin` agreed on; once `stop` is ready the listener drains. A panic of the handler is not
/// caught. The status that a request was refused with which no handler got to see, if one was.
pub(crate) async fn serve<S, H, F>(
    stream: S,
    origin: Arc<Origin>,
    settings: &Settings,
    handler: &H,
    stop: impl Future<Output = ()>,
) -> Option<u16>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Arrival) -> F + Sync,
    F: Future<Output = Answer> + Send,
{
    let (stage, seen) = watch::channel(Stage::Serving);
    let http2 = origin.tls.as_ref().is_some_and(|session| session.http2);
    let serving = async {
        if http2 {
            h2::serve(stream, origin, settings, seen, handler).await
        } else {
            connection::serve(stream, origin, settings, seen, handler).await
        }
    };
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        biased;
        ended = serving.as_mut() => ended,
        () = stop => {
            stage.send_replace(Stage::Draining);
            serving.await
        }
    };
    match ended {
        Ended::Quietly => None,
        Ended::Refused(status) => Some(status),
    }
}
