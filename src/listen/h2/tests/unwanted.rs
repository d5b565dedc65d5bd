//! Bodies that nobody has read when their request is answered.

use super::raw::*;
use super::*;
use crate::listen::h2::discard::{AT_MOST, FOR};

const NO_ERROR: u32 = 0;

/// The stream was reset at once. libcurl before 8 took that for a failure, and showed no answer.
#[tokio::test(start_paused = true)]
async fn a_client_may_finish_a_body_that_nobody_wants() {
    let (stream, _served) = serve_one(refuse_body);
    let mut client = Client::new(stream).await;
    for n in 0..1000 {
        let id = raw::stream(n);
        client.send(&head(id)).await;
        let answer = client.outcome().await.unwrap();
        assert_eq!((answer.kind, answer.id), (HEADERS, id), "nothing comes in between");
        let piece = vec![b'a'; 10 << 10];
        for flags in [0, 0, 0, END_STREAM] {
            client.send(&frame(DATA, flags, id, &piece)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_stays_no_longer_than_its_second() {
    let (stream, _served) = serve_one(refuse_body);
    let mut client = Client::new(stream).await;
    let begun = tokio::time::Instant::now();
    // All that a connection may have.
    for n in 0..100 {
        client.send(&head(raw::stream(n))).await;
        assert_eq!(client.outcome().await.unwrap().kind, HEADERS);
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    client.send(&head(raw::stream(100))).await;
    assert_eq!(client.outcome().await.unwrap().code(), REFUSED_STREAM);
    for n in 0..100 {
        let reset = client.outcome().await.unwrap();
        assert_eq!((reset.kind, reset.id, reset.code()), (RST_STREAM, raw::stream(n), NO_ERROR));
        assert!((FOR..FOR * 2).contains(&begun.elapsed()));
    }
    client.send(&request(raw::stream(101), &POST)).await;
    assert_eq!(client.outcome().await.unwrap().kind, HEADERS);
}

#[tokio::test(start_paused = true)]
async fn a_body_without_end_is_not_taken_for_long() {
    let (stream, _served) = serve_with(limits(), 1 << 10, refuse_body);
    let mut client = Client::new(stream).await;
    client.send(&head(1)).await;
    assert_eq!(client.outcome().await.unwrap().kind, HEADERS);
    let begun = tokio::time::Instant::now();
    let (piece, mut window, mut sent) = (vec![b'a'; 16 << 10], 0, 0);
    let reset = loop {
        while window >= piece.len() || sent < 64 << 10 {
            client.send(&frame(DATA, 0, 1, &piece)).await;
            sent += piece.len();
            window = window.saturating_sub(piece.len());
        }
        let frame = client.next().await.unwrap();
        match frame.kind {
            WINDOW_UPDATE if frame.id == 1 => {
                window += u32::from_be_bytes(frame.payload.try_into().unwrap()) as usize;
            }
            RST_STREAM => break frame,
            _ => {}
        }
    };
    assert_eq!((reset.id, reset.code()), (1, NO_ERROR));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let most = AT_MOST + usize::try_from(STREAM_WINDOW).unwrap();
    assert!((AT_MOST..=most).contains(&sent), "{sent}");
}

/// What is left of a body puts off the end of its connection by its second, and no more.
#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_the_rest_no_longer_than_that() {
    let (stream, served) = serve_one(refuse_body);
    let mut client = Client::new(stream).await;
    client.send(&head(1)).await;
    assert_eq!(client.outcome().await.unwrap().kind, HEADERS);
    let begun = tokio::time::Instant::now();
    served.stage.send_replace(Stage::Draining);
    client.rest().await;
    assert!(begun.elapsed() <= FOR * 2, "{:?}", begun.elapsed());
    served.end().await;
}
