//! The listener over real sockets, with handlers that stand in for the gateway. Time limits are
//! short where the test waits for them to pass, and out of reach where they must not.

mod agreement;

use http::StatusCode;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::clock::Clock;

const SOON: Duration = Duration::from_millis(60);
const NEVER: Duration = Duration::from_secs(3600);
/// What a test waits at most for something that must happen.
const BOUND: Duration = Duration::from_secs(20);

pub(super) fn limits() -> Limits {
    let timeouts = Timeouts { handshake: NEVER, header: NEVER, write: NEVER, idle: NEVER };
    Limits {
        max_connections: 8,
        max_connections_per_client: 8,
        max_requests: 1000,
        max_headers: 100,
        max_header_bytes: 32 << 10,
        max_target: 8 << 10,
        max_streams: 100,
        timeouts,
        drain_timeout: NEVER,
    }
}

pub(super) fn plain(limits: Limits) -> Settings {
    Settings::plain(limits, Arc::new(Refusals::new(Clock::System)))
}

/// A running listener.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Drained>,
}

fn start<H, F>(limits: Limits, handler: H) -> Running
where
    H: Fn(Arrival) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send,
{
    let listener = begin(reserve(([127, 0, 0, 1], 0).into()).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        let _ = stopped.await;
    };
    let settings = Arc::new(ArcSwap::from_pointee(plain(limits)));
    let ended = tokio::spawn(async move { run(listener, settings, handler, shutdown).await });
    Running { address, stop, ended }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn send(&self, bytes: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }

    /// The listener's whole answer to these bytes, until it closes.
    async fn ask(&self, bytes: &str) -> String {
        to_end(&mut self.send(bytes).await).await
    }

    async fn stop(self) -> Drained {
        self.stop.send(()).unwrap();
        timeout(BOUND, self.ended).await.expect("the drain ends").unwrap()
    }
}

async fn to_end(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = timeout(BOUND, stream.read_to_end(&mut all)).await.expect("the connection ends");
    if let Err(error) = read {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    String::from_utf8(all).unwrap()
}

/// Reads until an answer with this body has come.
async fn read_until(stream: &mut TcpStream, ending: &str) -> String {
    let mut all = Vec::new();
    while !all.ends_with(ending.as_bytes()) {
        let mut space = [0; 1024];
        let read = timeout(BOUND, stream.read(&mut space)).await.expect("an answer").unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&space[..read]);
    }
    String::from_utf8(all).unwrap()
}

fn says(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
}

/// Answers with the body that was sent, or with what is wrong with the framing.
async fn echo(arrival: Arrival) -> Answer {
    if let Some(defect) = arrival.defect {
        return says(StatusCode::BAD_REQUEST, defect.defect.as_str());
    }
    match arrival.request.into_body().collect().await {
        Ok(body) => says(StatusCode::OK, body.to_bytes()),
        Err(_) => says(StatusCode::BAD_REQUEST, "body"),
    }
}

/// Answers without looking at the body.
async fn refuse(_: Arrival) -> Answer {
    says(StatusCode::PAYLOAD_TOO_LARGE, "no")
}

fn short(header: Duration, idle: Duration) -> Limits {
    let timeouts = Timeouts { header, idle, write: header, ..limits().timeouts };
    Limits { timeouts, ..limits() }
}

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
    assert!(answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{answer}");
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

#[tokio::test]
async fn a_drain_does_not_wait_for_the_rest_of_a_head() {
    let gateway = start(limits(), echo);
    let mut fresh = gateway.send("GET / HTTP/1.1\r\nHo").await;
    let mut used = gateway.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    read_until(&mut used, "\r\n\r\n").await;
    used.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    assert_eq!(gateway.stop().await, Drained { cut_off: 0 });
    assert_eq!(to_end(&mut fresh).await, "");
    assert_eq!(to_end(&mut used).await, "");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let gateway = start(Limits { max_connections: 2, ..limits() }, echo);
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1";
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = gateway.send(request).await;
        read_until(&mut stream, "\r\n\r\n1").await;
        held.push(stream);
    }
    assert_eq!(to_end(&mut gateway.connect().await).await, "");
    held.pop();
    // The place is free once the listener has seen the close.
    let served = async {
        while !gateway
            .ask(&request.replace("Content", "Connection: close\r\nContent"))
            .await
            .ends_with('1')
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(BOUND, served).await.expect("a place is free again");
}

#[tokio::test]
async fn one_client_gets_no_more_than_its_connections() {
    let gateway = start(Limits { max_connections_per_client: 2, ..limits() }, echo);
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1";
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = gateway.send(request).await;
        read_until(&mut stream, "\r\n\r\n1").await;
        held.push(stream);
    }
    assert_eq!(to_end(&mut gateway.connect().await).await, "");
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut other = socket.connect(gateway.address).await.unwrap();
    other.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut other, "\r\n\r\n1").await;
}

/// The number of connections was fixed when the listener started.
#[tokio::test]
async fn a_reload_changes_how_many_connections_there_may_be() {
    let settings = Arc::new(ArcSwap::from_pointee(plain(limits())));
    let listener = begin(reserve(([127, 0, 0, 1], 0).into()).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async { drop(stopped.await) };
    let running = Arc::clone(&settings);
    let ended = tokio::spawn(async move { run(listener, running, echo, shutdown).await });
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1";
    let connect = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(request).await;
        stream
    };
    let mut held = Vec::new();
    for most in [1, 3, 2] {
        let limits = Limits { max_connections: most, ..limits() };
        settings.store(Arc::new(plain(limits)));
        while held.len() < most {
            let mut stream = connect().await;
            read_until(&mut stream, "\r\n\r\n1").await;
            held.push(stream);
        }
        assert_eq!(to_end(&mut connect().await).await, "", "{most}");
    }
    drop(held);
    stop.send(()).unwrap();
    assert_eq!(timeout(BOUND, ended).await.unwrap().unwrap(), Drained { cut_off: 0 });
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_hand_and_closes_the_rest() {
    let (entered, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, gate) = (Arc::clone(&entered), Arc::clone(&go));
    let gateway = start(limits(), move |arrival: Arrival| {
        let (inside, gate) = (Arc::clone(&inside), Arc::clone(&gate));
        async move {
            if arrival.request.uri().path() == "/slow" {
                inside.notify_one();
                gate.notified().await;
            }
            says(StatusCode::OK, "done")
        }
    });
    let mut silent = gateway.connect().await;
    let mut idle = gateway.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    read_until(&mut idle, "done").await;
    let mut busy = gateway.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    entered.notified().await;

    let address = gateway.address;
    let ended = tokio::spawn(gateway.stop());
    assert_eq!(to_end(&mut silent).await, "");
    assert_eq!(to_end(&mut idle).await, "");
    assert!(TcpStream::connect(address).await.is_err(), "no new connections");
    assert!(!ended.is_finished(), "the slow request is waited for");
    go.notify_one();
    let answer = to_end(&mut busy).await;
    assert!(answer.ends_with("done") && answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(ended.await.unwrap(), Drained { cut_off: 0 });
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let entered = Arc::new(Notify::new());
    let inside = Arc::clone(&entered);
    let gateway = start(Limits { drain_timeout: SOON, ..limits() }, move |_| {
        inside.notify_one();
        std::future::pending()
    });
    let mut stream = gateway.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    entered.notified().await;
    assert_eq!(gateway.stop().await, Drained { cut_off: 1 });
    assert_eq!(to_end(&mut stream).await, "");
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
