//! Requests and their answers, one after the other on a connection.

use super::*;

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let gateway = start(limits(), echo);
    let mut stream =
        gateway.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none").await;
    let first = read_until(&mut stream, "\r\n\r\none").await;
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n") && first.contains("content-length: 3\r\n"));
    assert!(!first.contains("connection:") && !first.contains("server:"), "{first}");
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\ntwo").await.unwrap();
    read_until(&mut stream, "\r\n\r\ntwo").await;
    drop(stream);
    assert_eq!(gateway.stop().await, Drained { cut_off: 0 });
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let gateway = start(limits(), echo);
    let one = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1";
    let two = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n\r\n2";
    let answers = gateway.ask(&format!("{one}{two}")).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2);
    assert!(answers.find("\r\n\r\n1").unwrap() < answers.find("\r\n\r\n2").unwrap());
}

#[tokio::test]
async fn ambiguous_framing_is_told_and_ends_the_connection() {
    let gateway = start(limits(), echo);
    let good = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1";
    for (fields, defect) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Defect::LengthAndEncoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Defect::LengthAndEncoding),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Defect::RepeatedLength),
        ("Content-Length: 5\n", Defect::BareLf),
    ] {
        let bad = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n0\r\n\r\n");
        let answer = gateway.ask(&bad).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(answer.ends_with(defect.as_str()), "{answer}");
        // The same behind a good request that came with it: only the second is refused.
        let answers = gateway.ask(&format!("{good}{bad}{good}")).await;
        assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{answers}");
        assert!(answers.ends_with(defect.as_str()), "{answers}");
    }
}

/// The answer to what is not HTTP is the handler's, in its turn, and the last.
#[tokio::test]
async fn a_defective_head_is_the_handlers_to_answer_and_ends_the_connection() {
    let gateway = start(limits(), echo);
    let good = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1";
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(40 << 10));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101));
    for (bad, defect) in [
        ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Defect::OldEncoding),
        ("GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n1", Defect::RepeatedLength),
        ("GET / HTTP/1.1\r\nA : b\r\n\r\n", Defect::SpaceBeforeColon),
        ("nonsense\r\n\r\n", Defect::RequestLine),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Defect::OtherVersion),
        (&long, Defect::LongHead),
        (&many, Defect::ManyFields),
    ] {
        let answers = gateway.ask(&format!("{good}{bad}{good}")).await;
        assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{answers}");
        assert!(answers.contains("connection: close\r\n"), "{answers}");
        assert!(answers.ends_with(defect.as_str()), "{answers}");
    }
}

#[tokio::test]
async fn the_answer_to_a_defective_head_request_has_no_body() {
    let gateway = start(limits(), echo);
    let answer = gateway.ask("HEAD / HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("\r\n\r\n"), "{answer}");
}

/// Larger than what hyper reads at first, and in pieces.
#[tokio::test]
async fn a_large_head_arrives_whole() {
    let gateway = start(limits(), async |arrival: Arrival| {
        let length = arrival.request.headers()["x"].len();
        let body = arrival.request.into_body().collect().await.unwrap().to_bytes();
        says(StatusCode::OK, format!("{length} {}", body.len()))
    });
    let mut stream = gateway.connect().await;
    for _ in 0..2 {
        let start = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\nX: ";
        let request = format!("{start}{}\r\n\r\n{}", "b".repeat(30_000), "c".repeat(30_000));
        for piece in request.as_bytes().chunks(7000) {
            stream.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        read_until(&mut stream, "\r\n\r\n30000 30000").await;
    }
}

#[tokio::test]
async fn after_a_chunked_body_the_connection_goes_on() {
    let gateway = start(limits(), echo);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut stream = gateway.send(&format!("{head}2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")).await;
    let answer = read_until(&mut stream, "\r\n\r\nabc").await;
    assert!(!answer.contains("connection:"), "{answer}");
    stream.write_all(format!("{head}1\r\nd\r\n").as_bytes()).await.unwrap();
    stream.write_all(b"0\r\nTrailer: x\r\n\r\n").await.unwrap();
    read_until(&mut stream, "\r\n\r\nd").await;
}

#[tokio::test]
async fn a_defect_in_a_chunked_body_is_the_bodys_error_and_ends_the_connection() {
    let gateway = start(limits(), async |arrival: Arrival| {
        let error = arrival.request.into_body().collect().await.unwrap_err();
        says(StatusCode::BAD_REQUEST, Defect::of_body(&error).map_or("?", Defect::as_str))
    });
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, defect) in [
        ("zz\r\n", Defect::ChunkSize),
        ("1\r\na\r\n1 \r\n", Defect::ChunkExtension),
        ("1\r\nab\r\n", Defect::ChunkEnd),
        ("1\r\na\r\n0\r\n b\r\n\r\n", Defect::Trailer),
    ] {
        let answer = gateway.ask(&format!("{head}{body}{head}0\r\n\r\n")).await;
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{}", defect.as_str())), "{answer}");
    }
}

/// hyper skips no more than a chunk of a body that nobody reads.
#[tokio::test]
async fn a_refusal_before_a_chunked_body_ends_the_connection() {
    let gateway = start(limits(), refuse);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let request = format!("{head}1\r\na\r\n1\r\nb\r\n0\r\n\r\n");
    let answer = gateway.ask(&format!("{request}{request}")).await;
    assert_eq!(answer.matches("HTTP/1.1 413").count(), 1, "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn a_connection_carries_so_many_requests_and_no_more() {
    let gateway = start(Limits { max_requests: 2, ..limits() }, echo);
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1";
    let mut stream = gateway.send(request).await;
    let first = read_until(&mut stream, "\r\n\r\n1").await;
    assert!(!first.contains("connection:"), "{first}");
    stream.write_all(request.repeat(3).as_bytes()).await.unwrap();
    let rest = to_end(&mut stream).await;
    assert_eq!(rest.matches("HTTP/1.1 200").count(), 1, "{rest}");
    assert!(rest.contains("connection: close\r\n"), "{rest}");
}

#[tokio::test]
async fn a_client_that_is_still_sending_gets_to_read_its_refusal() {
    let gateway = start(limits(), refuse);
    let mut stream = gateway.connect().await;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 4 << 20);
    stream.write_all(head.as_bytes()).await.unwrap();
    // More than the sockets' buffers hold: without a reader on the other side this would fail.
    let sent = timeout(BOUND, stream.write_all(&vec![b'a'; 4 << 20])).await;
    sent.expect("somebody reads").unwrap();
    let answer = to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 Content Too Large\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn continue_is_sent_only_for_a_body_that_is_wanted() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    let refusing = start(limits(), refuse);
    let answer = {
        let mut stream = refusing.send(head).await;
        let answer = read_until(&mut stream, "\r\n\r\nno").await;
        stream.shutdown().await.unwrap();
        answer + &to_end(&mut stream).await
    };
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");

    let reading = start(limits(), echo);
    let mut stream = reading.send(head).await;
    assert_eq!(read_until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"ok").await.unwrap();
    read_until(&mut stream, "\r\n\r\nok").await;
}

/// A client that had closed its side after the request got no answer, and sent its event again and
/// again although it was stored each time.
#[tokio::test]
async fn a_client_that_has_said_all_still_gets_its_answer() {
    let gateway = start(limits(), echo);
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let mut stream = gateway.send(request).await;
    stream.shutdown().await.unwrap();
    let answer = to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("abc"), "{answer}");
    assert_eq!(gateway.stop().await, Drained { cut_off: 0 });
}

/// A handler with a defect: some paths bring it down, with the client's own words in the message.
fn defective(arrival: Arrival) -> impl Future<Output = Answer> + Send {
    let path = arrival.request.uri().path().to_owned();
    assert!(!path.starts_with("/at-once"), "{path}");
    async move {
        tokio::task::yield_now().await;
        assert!(!path.starts_with("/later"), "{path}");
        echo(arrival).await
    }
}

#[tokio::test]
async fn a_handler_that_panics_costs_its_own_request_a_500_and_nobody_else_anything() {
    let gateway = start(limits(), defective);
    let mut other = gateway.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n").await;
    for path in ["/at-once/jane-doe", "/later/jane-doe"] {
        let request = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{{}}");
        // The second one on the connection is not answered: it ends with the first.
        let answer = gateway.ask(&format!("{request}{request}")).await;
        assert!(answer.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{answer}");
        assert!(answer.contains("content-type: application/problem+json\r\n"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{INTERNAL_ERROR}")), "{answer}");
        assert!(!answer.contains("jane-doe"), "{answer}");
    }
    other.write_all(b"x").await.unwrap();
    let answer = read_until(&mut other, "x").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    drop(other);
    assert_eq!(gateway.stop().await.cut_off, 0);
}
