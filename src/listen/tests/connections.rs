//! How many connections there may be, and how they end with the listener.

use super::*;

const REQUEST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1";

/// Opens connections until there are so many that have been answered and go on.
async fn hold(gateway: &Running, held: &mut Vec<TcpStream>, count: usize) {
    while held.len() < count {
        let mut stream = gateway.send(REQUEST).await;
        read_until(&mut stream, "\r\n\r\n1").await;
        held.push(stream);
    }
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
    let mut held = Vec::new();
    hold(&gateway, &mut held, 2).await;
    assert_eq!(to_end(&mut gateway.connect().await).await, "");
    held.pop();
    // The place is free once the listener has seen the close.
    let last = REQUEST.replace("Content", "Connection: close\r\nContent");
    let served = async {
        while !gateway.ask(&last).await.ends_with('1') {
            tokio::task::yield_now().await;
        }
    };
    timeout(BOUND, served).await.expect("a place is free again");
}

#[tokio::test]
async fn one_client_gets_no_more_than_its_connections() {
    let gateway = start(Limits { max_connections_per_client: 2, ..limits() }, echo);
    let mut held = Vec::new();
    hold(&gateway, &mut held, 2).await;
    assert_eq!(to_end(&mut gateway.connect().await).await, "");
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut other = socket.connect(gateway.address).await.unwrap();
    other.write_all(REQUEST.as_bytes()).await.unwrap();
    read_until(&mut other, "\r\n\r\n1").await;
}

/// The number of connections was fixed when the listener started.
#[tokio::test]
async fn a_reload_changes_how_many_connections_there_may_be() {
    let gateway = start(limits(), echo);
    let mut held = Vec::new();
    for most in [1, 3, 2] {
        let limits = Limits { max_connections: most, ..limits() };
        gateway.settings.store(Arc::new(plain(limits)));
        hold(&gateway, &mut held, most).await;
        // One too many may be cut off before its request is written.
        let mut beyond = gateway.connect().await;
        drop(beyond.write_all(REQUEST.as_bytes()).await);
        assert_eq!(to_end(&mut beyond).await, "", "{most}");
    }
    drop(held);
    assert_eq!(gateway.stop().await, Drained { cut_off: 0 });
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
