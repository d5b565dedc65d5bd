//! An answer's body that knows when the client has taken it.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::progress::Turn;

/// The body, and the turn that is over when it has been written. h2 keeps it while the client's
/// window is closed, and drops it when the client resets the stream.
#[derive(Debug)]
pub(super) struct Held {
    body: Full<Bytes>,
    turn: Option<Turn>,
}

impl Held {
    pub(super) fn new(body: Full<Bytes>, turn: Turn) -> Self {
        Self { body, turn: Some(turn) }
    }
}

impl Body for Held {
    type Data = Piece;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Infallible>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        frame.map_ok(|frame| frame.map_data(|bytes| Piece { bytes, _turn: self.turn.take() }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body's only piece.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    /// Over when the piece is dropped.
    _turn: Option<Turn>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [io::IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(dst)
    }

    fn advance(&mut self, cnt: usize) {
        self.bytes.advance(cnt);
    }
}
