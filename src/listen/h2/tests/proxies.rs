//! A proxy's connection, which many clients share: what one of them makes the proxy send must not
//! cost the others their requests.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::unbounded_channel;

use super::raw::*;
use super::*;

/// More than one client's connection would take.
const PLENTY: usize = 20_000;

/// A client of the proxy hung up again and again: after a hundred times the connection was cut off,
/// with all others' requests on it.
#[tokio::test(start_paused = true)]
async fn requests_that_are_taken_back_let_the_others_be_answered() {
    let (entered, mut each) = unbounded_channel();
    let (stream_, served) = serve_proxy(move |arrival| {
        entered.send(()).unwrap();
        async {
            match arrival.request.into_body().collect().await {
                Ok(_) => says(StatusCode::OK, ""),
                Err(_) => std::future::pending().await,
            }
        }
    });
    let mut client = Client::new(stream_).await;
    client.send(&head(1)).await;
    each.recv().await.unwrap();
    let mut taken_back = 0;
    let told = loop {
        assert!(taken_back < PLENTY, "never told to go");
        taken_back += 1;
        let id = stream(taken_back);
        client.send(&head(id)).await;
        tokio::select! {
            biased;
            frame = client.until(GOAWAY) => break frame.expect("not cut off"),
            entered = each.recv() => entered.unwrap(),
        }
        client.send(&frame(RST_STREAM, 0, id, &[0, 0, 0, 8])).await;
    };
    assert_eq!(told.code(), 0);
    assert!((4_900..=5_100).contains(&taken_back), "{taken_back}");
    client.send(&frame(DATA, END_STREAM, 1, b"{}")).await;
    let answer = client.until(HEADERS).await.unwrap();
    assert_eq!((answer.id, answer.status()), (1, 200));
    client.send(&frame(RST_STREAM, 0, stream(taken_back), &[0, 0, 0, 8])).await;
    client.rest().await;
    served.end().await;
}

/// So it was after 256 streams that we had to reset over the connection's life, as HAProxy brings
/// them about for clients that hang up in the middle of a body.
#[tokio::test(start_paused = true)]
async fn malformed_requests_let_the_others_be_answered() {
    let (stream_, _served) = serve_proxy(echo);
    let mut client = Client::new(stream_).await;
    client.send(&head(1)).await;
    for n in 1..=2 * MAX_RESET_BY_US {
        client.send(&request(stream(n), &[(":method", "POST"), (":path", "/")])).await;
        let refused = client.until(RST_STREAM).await.unwrap();
        assert_eq!(refused.id, stream(n));
    }
    client.send(&frame(DATA, END_STREAM, 1, b"{}")).await;
    let answer = client.until(HEADERS).await.unwrap();
    assert_eq!((answer.id, answer.status()), (1, 200));
}

/// Sixteen slow requests of one client with heads of 16 KiB had all others answered 503.
#[tokio::test(start_paused = true)]
async fn heads_of_one_client_leave_room_for_the_others() {
    let held = Arc::new(AtomicUsize::new(0));
    let holding = Arc::clone(&held);
    let (stream_, _served) = serve_proxy(move |arrival| {
        holding.fetch_add(1, Ordering::Relaxed);
        echo(arrival)
    });
    let mut client = Client::new(stream_).await;
    let value = "v".repeat(12 << 10);
    let large = fields(&[POST.as_slice(), &[("x", &value)]].concat());
    for n in 0..99 {
        client.send(&frame(HEADERS, END_HEADERS, stream(n), &large)).await;
    }
    client.send(&request(stream(99), &POST)).await;
    let answer = client.outcome().await.unwrap();
    assert_eq!((answer.id, answer.status()), (stream(99), 200));
    assert_eq!(held.load(Ordering::Relaxed), 100);
}
