//! One HTTP/2 connection: hyper's, with every bound set by us.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::{Answer, Arrival, Limits, Origin, Stage};

/// Serves the connection until the client or the listener ends it.
pub(super) async fn serve<S, H, F>(
    _stream: S,
    _origin: Arc<Origin>,
    _limits: &Limits,
    _stage: watch::Receiver<Stage>,
    _handler: &H,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Arrival) -> F,
    F: Future<Output = Answer>,
{
}
