//! Clients that take their time.

use super::*;

#[tokio::test]
async fn silence_slow_heads_and_idleness_end_the_connection() {
    let gateway = start(short(SOON, NEVER), echo);
    assert_eq!(gateway.ask("").await, "", "no first byte");
    let late = gateway.ask("POST / HTTP/1.1\r\nHost").await;
    assert!(late.ends_with(Defect::LateHead.as_str()), "an unfinished head: {late}");
    assert_eq!(late.matches("HTTP/1.1 ").count(), 1, "{late}");
    assert_eq!(gateway.ask("\r\n\r\n").await, "", "nothing but line breaks");

    // A head that trickles in is cut off just so: each byte is early enough, all are not.
    let mut stream = gateway.connect().await;
    let (mut read, mut write) = stream.split();
    let drip = async {
        while write.write_all(b"a").await.is_ok() {
            tokio::time::sleep(SOON / 6).await;
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = drip => {}
        ended = timeout(BOUND, read.read_to_end(&mut answer)) => { let _ = ended.expect("it ends"); }
    }
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "));

    // Between requests the other limit holds, and again the first for an unfinished head.
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1";
    let gateway = start(short(NEVER, SOON), echo);
    assert!(gateway.ask(request).await.ends_with("\r\n\r\n1"), "idle after an answer");
    let gateway = start(short(SOON, NEVER), echo);
    let answer = gateway.ask(&format!("{request}POST / HT")).await;
    assert!(answer.contains("\r\n\r\n1HTTP/1.1 400 "), "unfinished after an answer: {answer}");
    assert!(answer.ends_with(Defect::LateHead.as_str()), "{answer}");
}

#[tokio::test]
async fn a_request_that_is_being_answered_is_not_the_clients_delay() {
    let gateway = start(short(SOON, SOON), async |_| {
        tokio::time::sleep(SOON * 5).await;
        says(StatusCode::OK, "late")
    });
    let answer = gateway.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.ends_with("\r\n\r\nlate"), "{answer}");
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_let_go() {
    // Answers larger than what the sockets hold, to a client that never reads.
    let gateway = start(short(SOON, NEVER), async |_| says(StatusCode::OK, vec![b'a'; 64 << 20]));
    let stream = gateway.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    // Without that, the drain would wait for ever.
    assert_eq!(gateway.stop().await, Drained { cut_off: 0 });
    drop(stream);
}

/// Who took a little now and then could hold a connection for ever: each byte was progress.
#[tokio::test(start_paused = true)]
async fn an_answer_is_taken_in_time_as_a_whole() {
    let timeouts = Timeouts { write: Duration::from_secs(10), ..limits().timeouts };
    let settings = plain(Limits { timeouts, ..limits() });
    let (mut client, server) = tokio::io::duplex(1 << 10);
    let (_stage, stage) = watch::channel(Stage::Serving);
    let connection = tokio::spawn(async move {
        let handler = async |_| says(StatusCode::OK, vec![b'a'; 1 << 20]);
        connection::serve(server, Origin::nowhere(), &settings, stage, &handler).await;
    });
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let (begun, mut space) = (Instant::now(), [0; 100]);
    while client.read(&mut space).await.is_ok_and(|read| read > 0) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(begun.elapsed() < Duration::from_secs(60), "it goes on and on");
        if connection.is_finished() {
            break;
        }
    }
    let took = begun.elapsed().as_secs();
    assert!((10..=12).contains(&took), "{took} s");
}

/// Each line break before a request line started the time for the head anew.
#[tokio::test]
async fn line_breaks_do_not_put_off_the_end_of_a_connection() {
    let timeouts = Timeouts { header: SOON, ..limits().timeouts };
    let gateway = start(Limits { timeouts, ..limits() }, echo);
    let mut stream = gateway.connect().await;
    let begun = std::time::Instant::now();
    let dripped = async {
        while stream.write_all(b"\r\n\r").await.is_ok() {
            tokio::time::sleep(SOON / 4).await;
            if stream.write_all(b"\n").await.is_err() {
                break;
            }
        }
    };
    timeout(BOUND, dripped).await.expect("the connection ends");
    assert!(begun.elapsed() < BOUND / 2, "{:?}", begun.elapsed());
}
