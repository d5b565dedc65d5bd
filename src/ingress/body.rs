//! Reading a request's body: whole, bounded, not too slowly, and by the deadline.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use hyper::body::Body;
use tokio::time::{Instant, Sleep};

use super::memory::{Account, FREE};
use crate::admit::Refusal;
use crate::audit::Reason;
use crate::listen::Defect;

/// How long a body has before its rate is looked at: some clients wait for `100 Continue`, and a
/// lost packet costs a second.
const GRACE: Duration = Duration::from_secs(1);

const LATE: Refusal = Refusal::new(Reason::BodyTimeout, "the body was not there by the deadline");
const SLOW: Refusal =
    Refusal::new(Reason::BodyTimeout, "the body came more slowly than server.min_body_rate");

const BROKEN_OFF: Refusal = Refusal::new(Reason::ProtocolError, "the body broke off");

/// How fast a body must arrive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// When all of it must be there.
    pub(super) deadline: Instant,
    /// Bytes a second, on average, once a second has passed since the first of them; 0: any.
    pub(super) least: u64,
}

impl Pace {
    /// When more than `read` bytes must be there, of which the first came at `since`.
    fn due(&self, read: u64, since: Instant) -> Instant {
        match read.saturating_mul(1000).checked_div(self.least) {
            None => self.deadline,
            Some(millis) => {
                let due = since + GRACE.max(Duration::from_millis(millis));
                due.min(self.deadline)
            }
        }
    }
}

/// A body that was not read to its end.
#[derive(Debug)]
pub(super) struct Broken {
    /// Why.
    pub(super) refusal: Refusal,
    /// What of it was read.
    pub(super) read: Bytes,
}

/// The length the client declared, if it did; else what is sure so far.
pub(super) fn declared(body: &impl Body) -> u64 {
    body.size_hint().lower()
}

/// Refuses a body by the length it declares, before any of it is read.
///
/// # Errors
/// [`Reason::BodyTooLarge`].
pub(crate) fn check_declared(body: &impl Body, max: u64) -> Result<(), Refusal> {
    if declared(body) > max { Err(too_large("the declared length")) } else { Ok(()) }
}

/// Reads the body of a request of this version to its end: at most `max` bytes, at this pace, as far
/// as `account` has room. A body that arrives in one piece is not copied. Trailers are read and left
/// out. `timer` is set to [`Pace::deadline`], and afterwards to anything.
///
/// # Errors
/// [`Reason::BodyTooLarge`], [`Reason::BodyTimeout`], [`Reason::Overloaded`], and
/// [`Reason::ProtocolError`] for one that breaks off or is badly chunked.
pub(super) async fn read<B>(
    body: B,
    version: Version,
    max: u64,
    pace: Pace,
    account: &mut Account<'_>,
    timer: Pin<&mut Sleep>,
) -> Result<Bytes, Broken>
where
    B: Body<Data = Bytes, Error: std::error::Error + 'static> + Unpin,
{
    let length = body.size_hint().exact();
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let expected = usize::try_from(declared(&body)).unwrap_or(usize::MAX).min(max);
    let mut reading = Reading {
        body,
        version,
        length,
        pace,
        account,
        timer,
        read: 0,
        since: None,
        expected,
        max,
    };
    let (mut first, mut whole) = (Bytes::new(), Vec::new());
    let done = reading.all(&mut first, &mut whole).await;
    let read = if whole.is_empty() { first } else { Bytes::from(whole) };
    match done {
        Ok(()) => {
            reading.account.arrived();
            Ok(read)
        }
        Err(refusal) => Err(Broken { refusal, read }),
    }
}

struct Reading<'r, 'm, B> {
    body: B,
    version: Version,
    /// What the client declared.
    length: Option<u64>,
    pace: Pace,
    account: &'r mut Account<'m>,
    timer: Pin<&'r mut Sleep>,
    read: u64,
    /// When the first of them were there and the rest was not.
    since: Option<Instant>,
    expected: usize,
    max: usize,
}

impl<B> Reading<'_, '_, B>
where
    B: Body<Data = Bytes, Error: std::error::Error + 'static> + Unpin,
{
    /// Reads into `first` what comes in one piece, and into `whole` what comes in several.
    async fn all(&mut self, first: &mut Bytes, whole: &mut Vec<u8>) -> Result<(), Refusal> {
        *first = self.next().await?.unwrap_or_default();
        if first.len() > self.max {
            return Err(too_large("the body"));
        }
        self.account.hold(first.len())?;
        if self.body.is_end_stream() {
            return Ok(());
        }
        let Some(second) = self.next().await? else {
            return Ok(());
        };
        self.make_room(whole, first.len().saturating_add(second.len()))?;
        whole.extend_from_slice(first);
        whole.extend_from_slice(&second);
        while let Some(piece) = self.next().await? {
            self.make_room(whole, piece.len())?;
            whole.extend_from_slice(&piece);
        }
        Ok(())
    }

    /// Makes room for `more` bytes, and takes of the budget what is reserved. A client that
    /// declares a megabyte and sends a byte must not cost a megabyte, so it grows by doubling.
    fn make_room(&mut self, whole: &mut Vec<u8>, more: usize) -> Result<(), Refusal> {
        let needed = whole.len().saturating_add(more);
        if needed > self.max {
            return Err(too_large("the body"));
        }
        if needed > whole.capacity() {
            let most = if self.expected >= needed { self.expected } else { self.max };
            let doubled = whole.capacity().saturating_mul(2).max(FREE);
            let capacity = doubled.min(most).max(needed);
            self.account.hold(capacity)?;
            whole.reserve_exact(capacity - whole.len());
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Refusal>> {
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(self.ended().map(|()| None)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(broken(&error))),
                Poll::Ready(Some(Ok(frame))) => {
                    // Else it is trailers.
                    if let Ok(data) = frame.into_data() {
                        let more = u64::try_from(data.len()).unwrap_or(u64::MAX);
                        self.read = self.read.saturating_add(more);
                        return Poll::Ready(Ok(Some(data)));
                    }
                }
                Poll::Pending => {
                    self.account.wait()?;
                    self.start_pace();
                    return self.poll_too_slow(cx).map(Err);
                }
            }
        }
    }

    /// Whether what has ended is whole. hyper takes it for the end, and not for an error, when the
    /// client resets an HTTP/2 stream with NO_ERROR, wherever it is in its body. Whether END_STREAM
    /// was there h2 knows. HTTP/1 has nothing of the kind.
    fn ended(&self) -> Result<(), Refusal> {
        let short = self.length.is_some_and(|length| length != self.read);
        let reset = self.version == Version::HTTP_2 && !self.body.is_end_stream();
        if short || reset { Err(BROKEN_OFF) } else { Ok(()) }
    }

    /// From the first bytes on there is a rate to keep up; until then, only the deadline: some
    /// clients wait a while for `100 Continue`.
    fn start_pace(&mut self) {
        if self.read > 0 && self.since.is_none() {
            let now = Instant::now();
            self.since = Some(now);
            self.timer.as_mut().reset(self.pace.due(self.read, now));
        }
    }

    /// Ready when the body should be further.
    fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<Refusal> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            if self.pace.deadline <= now {
                return Poll::Ready(LATE);
            }
            let since = self.since.unwrap_or(now);
            let due = self.pace.due(self.read, since);
            if due <= now {
                return Poll::Ready(SLOW);
            }
            self.timer.as_mut().reset(due);
        }
    }
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Refusal {
    let defect = Defect::of_body(error);
    defect.map_or(BROKEN_OFF, |defect| Refusal::new(Reason::ProtocolError, defect.as_str()))
}

fn too_large(detail: &'static str) -> Refusal {
    Refusal::new(Reason::BodyTooLarge, detail)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::pin;

    use http_body_util::channel::Channel;
    use http_body_util::{Empty, Full};
    use hyper::body::{Frame, SizeHint};
    use tokio::time::{sleep, sleep_until};

    use super::super::memory::{Bounds, Memory, surplus};
    use super::*;
    use crate::config::Server;
    use crate::network::Network;

    const DEADLINE: Duration = Duration::from_secs(4);
    const PIECE: &[u8] = &[b'a'; 12 << 10];

    /// A body of these pieces and nothing more, of undeclared length.
    async fn pieces(pieces: &[&'static [u8]]) -> Channel<Bytes, io::Error> {
        let (mut send, body) = Channel::new(16);
        for piece in pieces {
            send.send_data(Bytes::from_static(piece)).await.unwrap();
        }
        body
    }

    async fn read_into<B: Body<Data = Bytes, Error: std::error::Error + 'static> + Unpin>(
        body: B,
        max: u64,
        least: u64,
        account: &mut Account<'_>,
    ) -> Result<Bytes, Refusal> {
        let begun = Instant::now();
        let pace = Pace { deadline: begun + DEADLINE, least };
        let timer = pin!(sleep_until(pace.deadline));
        let read = read(body, Version::HTTP_11, max, pace, account, timer).await;
        read.map_err(|broken| broken.refusal)
    }

    async fn read_now<B: Body<Data = Bytes, Error: std::error::Error + 'static> + Unpin>(
        body: B,
        max: u64,
    ) -> Result<Bytes, Reason> {
        let (memory, connection) = (Memory::default(), surplus());
        let mut account =
            memory.account(&connection, Network::Unknown, Bounds::new(&Server::defaults()));
        read_into(body, max, 0, &mut account).await.map_err(|refusal| refusal.reason)
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
        assert_eq!(begun.elapsed(), DEADLINE);
    }

    /// Sends a piece of this length each quarter of a second. What reading it comes to at 1000
    /// bytes a second at least, and when.
    async fn drip(pieces: &[usize]) -> (Result<usize, &'static str>, Duration) {
        let (memory, connection) = (Memory::default(), surplus());
        let mut account =
            memory.account(&connection, Network::Unknown, Bounds::new(&Server::defaults()));
        let (mut send, body) = Channel::<Bytes, io::Error>::new(1);
        let begun = Instant::now();
        let drip = async {
            for length in pieces {
                if send.send_data(vec![b'a'; *length].into()).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(250)).await;
            }
            drop(send);
        };
        let read = async {
            let read = read_into(body, 1 << 20, 1000, &mut account).await;
            (read.map(|body| body.len()).map_err(|refusal| refusal.detail), begun.elapsed())
        };
        tokio::join!(drip, read).1
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_must_keep_up_its_rate_once_a_second_has_passed() {
        let ms = Duration::from_millis;
        // Nothing but one byte: a second of grace.
        assert_eq!(drip(&[1, 0, 0, 0, 0, 0]).await, (Err(SLOW.detail), ms(1000)));
        // Slower than asked for, but over within the grace.
        assert_eq!(drip(&[1, 1, 1]).await, (Ok(3), ms(750)));
        // As fast as asked for, to the end.
        assert_eq!(drip(&[251; 12]).await, (Ok(12 * 251), ms(3000)));
        // What came early counts: the average falls below at the 2000th millisecond.
        assert_eq!(drip(&[2000, 0, 0, 0, 0, 0, 0, 0, 0]).await, (Err(SLOW.detail), ms(2000)));
        // However fast, not beyond the deadline.
        assert_eq!(drip(&[300; 40]).await, (Err(LATE.detail), DEADLINE));
    }

    /// Clients that wait for `100 Continue` in vain, or lost a packet, were cut off a second after
    /// their headers.
    #[tokio::test(start_paused = true)]
    async fn a_body_may_begin_late() {
        let ms = Duration::from_millis;
        assert_eq!(drip(&[0, 0, 0, 0, 0, 0, 0, 0, 9, 9]).await, (Ok(18), ms(2500)));
        assert_eq!(drip(&[0, 0, 0, 0, 9, 0, 0, 0, 0]).await, (Err(SLOW.detail), ms(2000)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_without_a_place_or_beyond_the_budget_is_refused_at_once() {
        let mut server = Server::defaults();
        (server.max_connections, server.body_memory, server.max_body) = (2, 64 << 10, 1 << 10);
        let (memory, connection) = (Memory::default(), surplus());
        let account = |n| memory.account(&connection, Network::V6(n), Bounds::new(&server));
        let begun = Instant::now();
        let (_send, body) = Channel::<Bytes, io::Error>::new(1);
        let (_send, other) = Channel::<Bytes, io::Error>::new(1);
        let (mut one, mut two, mut three) = (account(1), account(2), account(3));
        one.wait().unwrap();
        two.wait().unwrap();
        let refused = read_into(body, 1 << 20, 0, &mut three).await.unwrap_err();
        assert_eq!((refused.reason, begun.elapsed()), (Reason::Overloaded, Duration::ZERO));
        // What is there needs no place.
        assert_eq!(read_into(Full::from("abc"), 8, 0, &mut three).await.unwrap(), "abc");
        drop(two);
        // A client's quarter is 16 KiB beyond the free part, and it has to be taken as it grows.
        let large = pieces(&[PIECE; 3]).await;
        let refused = read_into(large, 1 << 20, 0, &mut three).await.unwrap_err();
        assert_eq!((refused.reason, begun.elapsed()), (Reason::Overloaded, Duration::ZERO));
        let fits = pieces(&[PIECE; 2]).await;
        assert_eq!(read_into(fits, 1 << 20, 0, &mut account(4)).await.unwrap().len(), 24 << 10);
        drop(other);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_malformed() {
        let (send, body) = Channel::<Bytes, io::Error>::new(1);
        send.abort(io::ErrorKind::UnexpectedEof.into());
        assert_eq!(read_now(body, 64).await, Err(Reason::ProtocolError));
    }

    /// A stream that was reset in mid-body ended as if it were whole, and what was there was stored.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_ends_too_soon_is_malformed() {
        let (memory, connection) = (Memory::default(), surplus());
        let begun = Instant::now();
        let pace = Pace { deadline: begun + DEADLINE, least: 0 };
        for (declared, ends, version, whole) in [
            (Some(6), true, Version::HTTP_2, true),
            (None, true, Version::HTTP_2, true),
            (Some(6), false, Version::HTTP_11, true),
            (None, false, Version::HTTP_11, true),
            (None, false, Version::HTTP_2, false),
            (Some(6), false, Version::HTTP_2, false),
            (Some(7), false, Version::HTTP_2, false),
            (Some(7), false, Version::HTTP_11, false),
        ] {
            for pieces in [&["777777"][..], &["777", "777"], &["7", "77", "777"]] {
                let body = Cut { pieces: pieces.to_vec(), declared, ends };
                let bounds = Bounds::new(&Server::defaults());
                let mut account = memory.account(&connection, Network::Unknown, bounds);
                let timer = pin!(sleep_until(pace.deadline));
                let read = read(body, version, 64, pace, &mut account, timer).await;
                let expected = if whole { Ok("777777".into()) } else { Err(BROKEN_OFF) };
                let read = read.map_err(|broken| broken.refusal);
                assert_eq!(read, expected, "{declared:?} {ends} {version:?} {pieces:?}");
            }
        }
    }

    /// A body as hyper has them: its end may be a mere stop.
    struct Cut {
        pieces: Vec<&'static str>,
        declared: Option<u64>,
        ends: bool,
    }

    impl Body for Cut {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            let piece = (!self.pieces.is_empty()).then(|| self.pieces.remove(0));
            Poll::Ready(piece.map(|piece| Ok(Frame::data(piece.into()))))
        }

        fn is_end_stream(&self) -> bool {
            self.ends && self.pieces.is_empty()
        }

        fn size_hint(&self) -> SizeHint {
            self.declared.map_or_else(SizeHint::default, SizeHint::with_exact)
        }
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
