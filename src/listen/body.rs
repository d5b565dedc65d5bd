//! A request's body as it arrives, and what becomes of what nobody has read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;

/// The body of a request, yet to be read. hyper's own, but that on HTTP/2 one that is not read to its
/// end goes back to its connection.
#[derive(Debug)]
pub struct Unread {
    /// `None`: it has gone back.
    body: Option<Incoming>,
    unwanted: Option<Unwanted>,
}

/// Where a connection finds the bodies that its handlers have left.
#[derive(Clone, Debug, Default)]
pub(super) struct Unwanted(Arc<Mutex<Vec<Incoming>>>);

impl Unwanted {
    /// What has been left since this was last asked.
    pub(super) fn take(&self) -> Vec<Incoming> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Unread {
    /// A body that is gone when it is dropped.
    pub(super) fn new(body: Incoming) -> Self {
        Self { body: Some(body), unwanted: None }
    }

    /// A body that goes to `unwanted` when it is dropped before its end.
    pub(super) fn or_else(body: Incoming, unwanted: &Unwanted) -> Self {
        Self { body: Some(body), unwanted: Some(unwanted.clone()) }
    }
}

impl Body for Unread {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let Some(unwanted) = &self.unwanted else { return };
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            unwanted.0.lock().push(body);
        }
    }
}
