//! Clients that take their time, and the ends of connections.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::raw::*;
use super::*;
use crate::listen::h2::progress::HEADS;

/// A round trip and the connection's last word.
const SLACK: Duration = Duration::from_secs(2);

async fn one_request(client: &mut Client) {
    client.send(&request(1, &POST)).await;
    assert_eq!(client.outcome().await.unwrap().status(), 200);
}

/// That the connection is closed after this long, and not before.
async fn closes_after(client: &mut Client, served: Served, patience: Duration) -> Vec<Frame> {
    let begun = Instant::now();
    let frames = client.rest().await;
    let took = begun.elapsed();
    assert!(took + SLACK >= patience && took <= patience + SLACK, "{took:?}");
    served.end().await;
    frames
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_let_go() {
    let (mut stream, served) = serve_one(echo);
    let begun = Instant::now();
    let mut all = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut all);
    timeout(BOUND, read).await.expect("the end").unwrap();
    assert!(begun.elapsed() >= HEADER && begun.elapsed() <= HEADER + SLACK);
    served.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_nothing_is_told_to_go() {
    let (stream, served) = serve_one(echo);
    let mut client = Client::new(stream).await;
    let frames = closes_after(&mut client, served, HEADER).await;
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY && frame.code() == 0));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_told_to_go() {
    for polite in [true, false] {
        let (stream, served) = serve_one(echo);
        let mut client = Client::new(stream).await;
        one_request(&mut client).await;
        client.polite = polite;
        let frames = closes_after(&mut client, served, IDLE).await;
        assert!(frames.iter().any(|frame| frame.kind == GOAWAY && frame.code() == 0), "{polite}");
    }
}

#[tokio::test(start_paused = true)]
async fn pings_do_not_keep_a_connection() {
    let (stream, served) = serve_one(echo);
    let mut client = Client::new(stream).await;
    one_request(&mut client).await;
    let begun = Instant::now();
    while client.try_send(&frame(PING, 0, 0, &[0; 8])).await {
        if client.until(PING).await.is_none() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert!(begun.elapsed() <= IDLE + SLACK, "{:?}", begun.elapsed());
    served.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_crosses_the_goaway_is_answered() {
    let (stream, served) = serve_one(echo);
    let mut client = Client::new(stream).await;
    one_request(&mut client).await;
    client.polite = false;
    while client.until(GOAWAY).await.is_none() {}
    client.send(&request(3, &POST)).await;
    assert_eq!(client.outcome().await.unwrap().status(), 200);
    closes_after(&mut client, served, Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_drips_is_cut_off() {
    let (stream, served) = serve_one(hang);
    let mut client = Client::new(stream).await;
    // Beside a request in hand, which holds off every other timer.
    client.send(&head(1)).await;
    client.until(SETTINGS).await.unwrap();
    client.send(&frame(HEADERS, 0, 3, &fields(&POST))).await;
    let begun = Instant::now();
    for _ in 0..3 {
        sleep(HEADER / 4).await;
        client.send(&frame(CONTINUATION, 0, 3, &fields(&[("x", "y")]))).await;
    }
    let frames = client.rest().await;
    let took = begun.elapsed();
    assert!(took >= HEADER && took <= HEADER + SLACK, "{took:?}");
    assert!(!frames.iter().any(|frame| frame.kind == GOAWAY), "{frames:?}");
    // It was closed without a trace in the record.
    assert_eq!(served.end().await, Ended::Refused(408));
}

#[tokio::test(start_paused = true)]
async fn a_frame_of_a_head_that_drips_is_cut_off() {
    let (stream, served) = serve_one(hang);
    let mut client = Client::new(stream).await;
    client.send(&head(1)).await;
    client.until(SETTINGS).await.unwrap();
    client.send(&head(3)[..20]).await;
    closes_after(&mut client, served, HEADER).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_window_stays_closed_is_cut_off() {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    for window in [0, 1] {
        let (stream, served) = serve_one(|_| async { says(StatusCode::OK, "received") });
        let mut client = Client::with_settings(stream, &[(INITIAL_WINDOW_SIZE, window)]).await;
        client.send(&request(1, &POST)).await;
        assert_eq!(client.outcome().await.unwrap().status(), 200);
        // What else it asks for does not help it.
        sleep(WRITE / 2).await;
        client.send(&request(3, &POST)).await;
        closes_after(&mut client, served, WRITE / 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_that_opens_in_time_lets_the_answer_through() {
    let (stream, _served) = serve_one(|_| async { says(StatusCode::OK, "received") });
    let mut client = Client::with_settings(stream, &[(4, 1)]).await;
    client.send(&request(1, &POST)).await;
    assert_eq!(client.until(DATA).await.unwrap().payload, b"r");
    sleep(WRITE / 2).await;
    client.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 100])).await;
    assert_eq!(client.until(DATA).await.unwrap().payload, b"eceived");
    sleep(WRITE).await;
    client.send(&request(3, &POST)).await;
    assert_eq!(client.outcome().await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_off() {
    let answer = |_| async { says(StatusCode::OK, vec![b'a'; 4 << 10]) };
    let (stream, served) = serve_with(limits(), 1 << 10, answer);
    let mut client = Client::new(stream).await;
    let begun = Instant::now();
    client.send(&request(1, &POST)).await;
    assert_eq!(served.end().await, Ended::Quietly, "nothing was refused");
    assert!(begun.elapsed() >= WRITE && begun.elapsed() <= WRITE + SLACK);
}

/// h2 lets go of everything when it hears the end; the client would send its event again.
#[tokio::test(start_paused = true)]
async fn a_client_that_has_said_all_still_gets_its_answer() {
    let (stream, served) = serve_one(|arrival: Arrival| async {
        sleep(Duration::from_secs(1)).await;
        echo(arrival).await
    });
    let mut client = Client::new(stream).await;
    client.send(&[head(1), frame(DATA, END_STREAM, 1, b"{}")].concat()).await;
    client.finish().await;
    assert_eq!(client.outcome().await.unwrap().status(), 200);
    assert_eq!(client.until(DATA).await.unwrap().payload, b"{}");
    closes_after(&mut client, served, Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_is_in_hand() {
    let gate = Arc::new(Notify::new());
    let inside = Arc::clone(&gate);
    let (stream, served) = serve_one(move |_| {
        let gate = Arc::clone(&inside);
        async move {
            gate.notified().await;
            says(StatusCode::OK, "done")
        }
    });
    let mut client = Client::new(stream).await;
    client.send(&request(1, &POST)).await;
    client.until(SETTINGS).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    served.stage.send_replace(Stage::Draining);
    assert_eq!(client.until(GOAWAY).await.unwrap().code(), 0);
    sleep(IDLE).await;
    assert!(!served.ended.is_finished(), "the request is waited for");
    gate.notify_one();
    assert_eq!(client.outcome().await.unwrap().kind, GOAWAY, "the last stream is named");
    assert_eq!(client.outcome().await.unwrap().status(), 200);
    assert_eq!(client.until(DATA).await.unwrap().payload, b"done");
    closes_after(&mut client, served, Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_idle_connections_at_once() {
    for polite in [true, false] {
        let (stream, served) = serve_one(echo);
        let mut client = Client::new(stream).await;
        one_request(&mut client).await;
        client.polite = polite;
        served.stage.send_replace(Stage::Draining);
        closes_after(&mut client, served, Duration::ZERO).await;
    }
    // One that has not even begun.
    let (stream, served) = serve_one(echo);
    tokio::task::yield_now().await;
    served.stage.send_replace(Stage::Draining);
    timeout(SLACK, served.end()).await.expect("it is closed");
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_drain_cuts_off() {
    let (stream, served) = serve_one(hang);
    let mut client = Client::new(stream).await;
    client.send(&request(1, &POST)).await;
    client.until(SETTINGS).await.unwrap();
    served.stage.send_replace(Stage::Forced);
    closes_after(&mut client, served, Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_has_so_many_requests() {
    let (stream_, served) = serve_with(Limits { max_requests: 3, ..limits() }, 64 << 10, echo);
    let mut client = Client::new(stream_).await;
    for n in 0..3 {
        client.send(&request(stream(n), &POST)).await;
        let mut answer = client.outcome().await.unwrap();
        while answer.kind == GOAWAY {
            answer = client.outcome().await.unwrap();
        }
        assert_eq!((answer.id, answer.status()), (stream(n), 200));
    }
    let frames = closes_after(&mut client, served, Duration::ZERO).await;
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY && frame.code() == 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_be_the_connection_s_last() {
    let (stream, served) = serve_one(async |_| {
        let mut answer = says(StatusCode::OK, "");
        end_with(&mut answer);
        answer
    });
    let mut client = Client::new(stream).await;
    client.send(&request(1, &POST)).await;
    let frames = closes_after(&mut client, served, Duration::ZERO).await;
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY && frame.code() == 0));
    assert!(frames.iter().any(|frame| frame.kind == HEADERS && frame.status() == 200));
}

/// Without an answer to the ping behind the first GOAWAY, h2 would take requests for ever.
#[tokio::test(start_paused = true)]
async fn a_client_that_goes_on_after_the_goaway_is_cut_off() {
    let few = Limits { max_requests: 3, max_streams: 2, ..limits() };
    let (stream_, served) = serve_with(few, 64 << 10, echo);
    let mut client = Client::new(stream_).await;
    client.polite = false;
    let mut answered = 0;
    for n in 0..100 {
        if !client.try_send(&request(stream(n), &POST)).await {
            break;
        }
        while let Some(outcome) = client.outcome().await {
            if outcome.kind == HEADERS {
                answered += 1;
                break;
            }
        }
    }
    assert!((3..=7).contains(&answered), "{answered}");
    served.end().await;
}

/// Heads that are in hand together are bounded, whatever the number of streams.
#[tokio::test(start_paused = true)]
async fn requests_with_large_heads_are_not_held_in_any_number() {
    let held = Arc::new(AtomicUsize::new(0));
    let holding = Arc::clone(&held);
    let (stream_, _served) = serve_one(move |_| {
        holding.fetch_add(1, Ordering::Relaxed);
        hang_forever()
    });
    let mut client = Client::new(stream_).await;
    let value = "v".repeat(12 << 10);
    let fields = fields(&[POST.as_slice(), &[("x", &value)]].concat());
    for n in 0..40 {
        client.send(&frame(HEADERS, END_HEADERS, stream(n), &fields)).await;
    }
    let answer = client.outcome().await.unwrap();
    assert_eq!((answer.kind, answer.status()), (HEADERS, 0), "503");
    sleep(Duration::from_secs(1)).await;
    let held = held.load(Ordering::Relaxed);
    assert!(held >= 10 && held <= HEADS / value.len(), "{held}");
}

async fn hang_forever() -> Answer {
    std::future::pending().await
}
