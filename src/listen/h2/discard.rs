//! What is left of a body when its request has been answered.
//!
//! Dropping it would reset the stream (RFC 9113, section 8.1). Some clients, libcurl before 8 among
//! them, take that for a failure and do not show the answer, if both reach them together. So a client
//! gets time to see the answer, and to stop sending or to come to the end.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use super::CONNECTION_WINDOW;

/// How much more of it is taken: what a client may have on its way when it is answered, and as much
/// again as it is allowed before it can have seen that.
pub(super) const AT_MOST: usize = CONNECTION_WINDOW as usize;

/// How long its stream stays: more than a round trip.
pub(super) const FOR: Duration = Duration::from_secs(1);

/// Takes the rest and throws it away, within both bounds. The stream is one of `max_streams` until
/// then, and its frames cost what they always do; no memory is held but the connection's window.
pub(super) async fn discard(body: Incoming) {
    // Its end is as good as running out of time.
    drop(timeout(FOR, read(body)).await);
}

async fn read(mut body: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        read += frame.data_ref().map_or(0, bytes::Bytes::len);
        if read > AT_MOST {
            return;
        }
    }
}
