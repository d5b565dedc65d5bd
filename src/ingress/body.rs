//! Reading a request's body: whole, bounded, and by the deadline.

use std::pin::Pin;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::Sleep;

use super::by;
use crate::admit::Refusal;
use crate::audit::Reason;
use crate::listen::Defect;

/// What is reserved at once for a body of several pieces. A client that declares a megabyte and
/// sends a byte must not cost a megabyte.
const FIRST_RESERVE: usize = 64 << 10;

/// The length the client declared, if it did; else what is sure so far.
pub(super) fn declared(body: &impl Body) -> u64 {
    body.size_hint().lower()
}

/// Refuses a body by the length it declares, before any of it is read.
///
/// # Errors
/// [`Reason::BodyTooLarge`].
pub(super) fn check_declared(body: &impl Body, max: u64) -> Result<(), Refusal> {
    if declared(body) > max { Err(too_large("the declared length")) } else { Ok(()) }
}

/// Reads the body to its end: at most `max` bytes, until `deadline`. A body that arrives in one
/// piece is not copied. Trailers are read and left out.
///
/// # Errors
/// [`Reason::BodyTooLarge`], [`Reason::BodyTimeout`], and [`Reason::ProtocolError`] for one that
/// breaks off or is badly chunked.
pub(super) async fn read<B>(body: B, max: u64, deadline: Pin<&mut Sleep>) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes, Error: std::error::Error + 'static> + Unpin,
{
    match by(deadline, collect(body, max)).await {
        Some(result) => result,
        None => Err(Refusal::new(Reason::BodyTimeout, "the body was not there by the deadline")),
    }
}

async fn collect<B>(mut body: B, max: u64) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes, Error: std::error::Error + 'static> + Unpin,
{
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let expected = usize::try_from(declared(&body)).unwrap_or(usize::MAX).min(max);
    let first = next_piece(&mut body).await?.unwrap_or_default();
    if first.len() > max {
        return Err(too_large("the body"));
    }
    if body.is_end_stream() {
        return Ok(first);
    }
    let Some(second) = next_piece(&mut body).await? else {
        return Ok(first);
    };
    let reserve = expected.min(FIRST_RESERVE).max(first.len() + second.len()).min(max);
    let mut whole = Vec::with_capacity(reserve);
    whole.extend_from_slice(&first);
    let mut piece = second;
    loop {
        if piece.len() > max - whole.len() {
            return Err(too_large("the body"));
        }
        whole.extend_from_slice(&piece);
        match next_piece(&mut body).await? {
            Some(next) => piece = next,
            None => return Ok(Bytes::from(whole)),
        }
    }
}

async fn next_piece<B>(body: &mut B) -> Result<Option<Bytes>, Refusal>
where
    B: Body<Data = Bytes, Error: std::error::Error + 'static> + Unpin,
{
    while let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => return Ok(Some(data)),
            Ok(Err(_trailers)) => {}
            Err(error) => {
                let detail = Defect::of_body(&error).map_or("the body broke off", Defect::as_str);
                return Err(Refusal::new(Reason::ProtocolError, detail));
            }
        }
    }
    Ok(None)
}

fn too_large(detail: &'static str) -> Refusal {
    Refusal::new(Reason::BodyTooLarge, detail)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::pin;
    use std::time::Duration;

    use http_body_util::channel::Channel;
    use http_body_util::{Empty, Full};
    use hyper::body::Frame;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// A body of these pieces and nothing more, of undeclared length.
    async fn pieces(pieces: &[&'static [u8]]) -> Channel<Bytes, io::Error> {
        let (mut send, body) = Channel::new(16);
        for piece in pieces {
            send.send_data(Bytes::from_static(piece)).await.unwrap();
        }
        body
    }

    async fn read_now<B: Body<Data = Bytes, Error: std::error::Error + 'static> + Unpin>(
        body: B,
        max: u64,
    ) -> Result<Bytes, Reason> {
        let deadline = pin!(sleep(Duration::from_secs(4)));
        read(body, max, deadline).await.map_err(|refusal| refusal.reason)
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_up_to_the_limit_are_read() {
        assert_eq!(read_now(Empty::<Bytes>::new(), 4).await.unwrap(), "");
        assert_eq!(read_now(Full::from("abcd"), 4).await.unwrap(), "abcd");
        assert_eq!(read_now(pieces(&[b"ab", b"c", b"d"]).await, 4).await.unwrap(), "abcd");
    }

    #[tokio::test(start_paused = true)]
    async fn one_byte_more_is_too_large_however_it_comes() {
        assert_eq!(read_now(Full::from("abcde"), 4).await, Err(Reason::BodyTooLarge));
        for body in [[b"abcde".as_slice()].as_slice(), &[b"abcd", b"e"], &[b"ab", b"c", b"de"]] {
            assert_eq!(read_now(pieces(body).await, 4).await, Err(Reason::BodyTooLarge));
        }
        assert!(check_declared(&Full::<Bytes>::from("abcde"), 4).is_err());
        assert!(check_declared(&Full::<Bytes>::from("abcd"), 4).is_ok());
    }

    #[tokio::test]
    async fn a_body_in_one_piece_is_not_copied() {
        let sent = Bytes::from_static(b"{\"a\":1}");
        let read = read_now(Full::new(sent.clone()), 64).await.unwrap();
        assert_eq!(read.as_ptr(), sent.as_ptr());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stays_away_is_given_up_at_the_deadline() {
        let (mut send, body) = Channel::<Bytes, io::Error>::new(1);
        send.send_data(Bytes::from_static(b"{")).await.unwrap();
        let begun = Instant::now();
        assert_eq!(read_now(body, 64).await, Err(Reason::BodyTimeout));
        assert_eq!(begun.elapsed(), Duration::from_secs(4));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_malformed() {
        let (send, body) = Channel::<Bytes, io::Error>::new(1);
        send.abort(io::ErrorKind::UnexpectedEof.into());
        assert_eq!(read_now(body, 64).await, Err(Reason::ProtocolError));
    }

    #[tokio::test]
    async fn trailers_are_left_out() {
        let (mut send, body) = Channel::<Bytes, io::Error>::new(4);
        send.send_data(Bytes::from_static(b"{}")).await.unwrap();
        send.send(Frame::trailers(http::HeaderMap::new())).await.unwrap();
        drop(send);
        assert_eq!(read_now(body, 64).await.unwrap(), "{}");
    }
}
