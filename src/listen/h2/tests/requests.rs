//! Good clients.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use h2::client::{ResponseFuture, SendRequest};
use tokio::sync::Barrier;

use super::raw::{
    Client, DATA, END_STREAM, FLOW_CONTROL_ERROR, GOAWAY, SETTINGS, WINDOW_UPDATE, frame, head,
};
use super::*;

/// A client, and its connection in a task of its own.
async fn connect(stream: DuplexStream) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

fn post(path: &str) -> http::request::Builder {
    Request::post(format!("http://gw{path}"))
}

fn send(client: &mut SendRequest<Bytes>, body: impl Into<Bytes>) -> ResponseFuture {
    let (answer, mut sending) = client.send_request(post("/").body(()).unwrap(), false).unwrap();
    sending.send_data(body.into(), true).unwrap();
    answer
}

/// Status, header fields and body of an answer.
async fn read(answer: ResponseFuture) -> (StatusCode, http::HeaderMap, Vec<u8>) {
    let (head, mut body) = timeout(BOUND, answer).await.unwrap().unwrap().into_parts();
    let mut whole = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        whole.extend_from_slice(&piece);
    }
    (head.status, head.headers, whole)
}

#[tokio::test(start_paused = true)]
async fn requests_are_served_side_by_side() {
    // None is answered before all have come.
    let all = Arc::new(Barrier::new(50));
    let (stream, _served) = serve_one(move |arrival: Arrival| {
        let all = Arc::clone(&all);
        async move {
            all.wait().await;
            echo(arrival).await
        }
    });
    let mut client = connect(stream).await;
    let answers: Vec<_> = (0..50).map(|n| send(&mut client, n.to_string())).collect();
    for (n, answer) in answers.into_iter().enumerate() {
        let (status, headers, body) = read(answer).await;
        assert_eq!((status, body), (StatusCode::OK, n.to_string().into_bytes()));
        assert_eq!(headers["content-length"], n.to_string().len().to_string());
        assert!(!headers.contains_key("connection"));
    }
}

/// A hundred requests that came together were all answered before anybody else on the thread.
#[tokio::test(start_paused = true)]
async fn others_get_their_turn_between_a_connections_requests() {
    let turn = Arc::new([const { AtomicUsize::new(0) }; 2]);
    let others = Arc::clone(&turn);
    tokio::spawn(poll_fn(move |cx| {
        let [answered, most] = &*others;
        most.fetch_max(answered.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        cx.waker().wake_by_ref();
        Poll::<()>::Pending
    }));
    let counted = Arc::clone(&turn);
    let (stream, _served) = serve_one(move |_| {
        counted[0].fetch_add(1, Ordering::Relaxed);
        async { says(StatusCode::OK, "") }
    });
    let mut client = connect(stream).await;
    let answers: Vec<_> = (0..64).map(|_| send(&mut client, "")).collect();
    for answer in answers {
        assert_eq!(read(answer).await.0, StatusCode::OK);
    }
    assert_eq!(turn[1].load(Ordering::Relaxed), AT_ONCE);
}

#[tokio::test(start_paused = true)]
async fn a_body_larger_than_the_windows_comes_through() {
    let (stream, _served) = serve_one(echo);
    let mut client = connect(stream).await;
    let body: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_be_bytes).collect();
    assert_eq!(body.len(), 1 << 20);
    let (status, _, echoed) = read(send(&mut client, body.clone())).await;
    assert_eq!(status, StatusCode::OK);
    assert!(echoed == body);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_wants_does_not_hinder_the_next_request() {
    let (stream, _served) = serve_one(|arrival: Arrival| async move {
        if arrival.request.headers().contains_key("content-length") {
            return refuse_body(arrival).await;
        }
        echo(arrival).await
    });
    let mut client = connect(stream).await;
    for _ in 0..20 {
        let large = post("/").header("content-length", 8 << 20).body(()).unwrap();
        let (answer, mut sending) = client.send_request(large, false).unwrap();
        sending.send_data(vec![b'a'; 1 << 20].into(), false).unwrap();
        assert_eq!(read(answer).await.0, StatusCode::PAYLOAD_TOO_LARGE);
        let reason = std::future::poll_fn(|cx| sending.poll_reset(cx)).await.unwrap();
        assert_eq!(reason, h2::Reason::NO_ERROR);
        assert_eq!(read(send(&mut client, "{}")).await.0, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_may_be_cut_off_in_its_midst() {
    let (stream, _served) = serve_one(|arrival: Arrival| async move {
        let mut body = arrival.request.into_body();
        let mut read = 0;
        while let Some(Ok(piece)) = body.frame().await {
            read += piece.into_data().unwrap().len();
            if read > 1 << 20 {
                return says(StatusCode::PAYLOAD_TOO_LARGE, "no");
            }
        }
        says(StatusCode::OK, "all")
    });
    let mut client = connect(stream).await;
    let answer = send(&mut client, vec![b'a'; 4 << 20]);
    assert_eq!(read(answer).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(read(send(&mut client, "{}")).await.0, StatusCode::OK);
}

/// As with HTTP/1.1, the handler is dropped where it waits; what it has handed on goes on.
#[tokio::test(start_paused = true)]
async fn a_reset_ends_the_handler_and_not_the_connection() {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (dropped, stored) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (drops, stores) = (Arc::clone(&dropped), Arc::clone(&stored));
    let (stream, _served) = serve_one(move |arrival: Arrival| {
        let (drops, stores) = (Arc::clone(&drops), Arc::clone(&stores));
        async move {
            if arrival.request.uri().path() != "/slow" {
                return echo(arrival).await;
            }
            let _dropped = Dropped(drops);
            let storing = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                stores.store(true, Ordering::Relaxed);
            });
            storing.await.unwrap();
            says(StatusCode::OK, "stored")
        }
    });
    let mut client = connect(stream).await;
    let (_answer, mut sending) =
        client.send_request(post("/slow").body(()).unwrap(), true).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    sending.send_reset(h2::Reason::CANCEL);
    assert_eq!(read(send(&mut client, "{}")).await.0, StatusCode::OK);
    assert!(dropped.load(Ordering::Relaxed) && !stored.load(Ordering::Relaxed));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(stored.load(Ordering::Relaxed));
}

/// hyper sends no 100 over HTTP/2; a client that has waited long enough sends its body.
#[tokio::test(start_paused = true)]
async fn expecting_100_continue_does_no_harm() {
    let (stream, _served) = serve_one(echo);
    let mut client = connect(stream).await;
    let expecting = post("/").header("expect", "100-continue").body(()).unwrap();
    let (answer, mut sending) = client.send_request(expecting, false).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    sending.send_data("{}".into(), true).unwrap();
    let (status, _, body) = read(answer).await;
    assert_eq!((status, body.as_slice()), (StatusCode::OK, b"{}".as_slice()));
}

#[tokio::test(start_paused = true)]
async fn heads_that_are_too_large_are_answered_so() {
    let (stream, _served) = serve_one(echo);
    let mut client = connect(stream).await;
    let long = post(&format!("/{}", "a".repeat(9 << 10)));
    let large = post("/").header("x", "v".repeat(33 << 10));
    let many = (0..101).fold(post("/"), |request, n| request.header(format!("x-{n}"), ""));
    for (request, status) in [
        (long, StatusCode::URI_TOO_LONG),
        (large, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        (many, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        (post("/"), StatusCode::OK),
    ] {
        let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
        assert_eq!(read(answer).await.0, status);
    }
}

/// Bodies that nobody reads are bounded by the connection's window, whatever is sent.
#[tokio::test(start_paused = true)]
async fn unread_bodies_do_not_pile_up() {
    let (stream, _served) = serve_one(|arrival: Arrival| async move {
        let _unread = arrival.request;
        std::future::pending().await
    });
    let mut client = Client::new(stream).await;
    let settings = client.until(SETTINGS).await.unwrap().payload;
    let setting = |name: u8| {
        let mut all = settings.chunks(6).filter(|setting| setting[..2] == [0, name]);
        let value = all.next().expect("it is set");
        u32::from_be_bytes(value[2..].try_into().unwrap())
    };
    const MAX_CONCURRENT_STREAMS: u8 = 3;
    const INITIAL_WINDOW_SIZE: u8 = 4;
    const MAX_HEADER_LIST_SIZE: u8 = 6;
    assert_eq!(setting(MAX_CONCURRENT_STREAMS), 100);
    assert_eq!(setting(INITIAL_WINDOW_SIZE), STREAM_WINDOW);
    assert_eq!(setting(MAX_HEADER_LIST_SIZE), 32 << 10);
    let update = client.until(WINDOW_UPDATE).await.unwrap().payload;
    let grown = u32::from_be_bytes(update.try_into().unwrap());
    assert_eq!(65_535 + grown, CONNECTION_WINDOW);

    let piece = vec![b'a'; 16 << 10];
    let pieces = usize::try_from(CONNECTION_WINDOW).unwrap() / piece.len();
    for n in 0..=pieces {
        let id = raw::stream(n);
        client.send(&[head(id), frame(DATA, END_STREAM, id, &piece)].concat()).await;
    }
    let end = client.until(GOAWAY).await.unwrap();
    assert_eq!(end.code(), FLOW_CONTROL_ERROR);
}
