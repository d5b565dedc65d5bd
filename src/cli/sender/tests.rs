//! A provider against listeners that fail as a test wants it. Waits are shortened until they
//! hardly take time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::config::Auth;
use crate::provider::sign::tests::source;

/// What a listener does with the attempt of this number at an event.
#[derive(Clone, Copy, Debug)]
enum Act {
    Answer(u16),
    HangUp,
    Hold,
}

/// Listens, and does with the first, second and further attempts at each event what `acts` say,
/// at last the last of them. Tells how many requests were in hand at once at most.
async fn listener(acts: &'static [Act]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let crowd = Arc::clone(&most);
    tokio::spawn(async move {
        let tries = Arc::new(Mutex::new(HashMap::<Bytes, usize>::new()));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (tries, now, most) = (Arc::clone(&tries), Arc::clone(&now), Arc::clone(&crowd));
            let service = service_fn(move |request: Request<Incoming>| {
                let (tries, now, most) = (Arc::clone(&tries), Arc::clone(&now), Arc::clone(&most));
                async move {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let tried = {
                        let mut tries = tries.lock().unwrap();
                        let tried = tries.entry(body).or_default();
                        *tried += 1;
                        *tried - 1
                    };
                    tokio::task::yield_now().await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    match acts[tried.min(acts.len() - 1)] {
                        Act::Answer(status) => {
                            let answer = Response::builder().status(status);
                            let answer = answer.header("hookward-event-id", "0193");
                            Ok(answer.body(Empty::<Bytes>::new()).unwrap())
                        }
                        Act::HangUp => Err(std::io::Error::other("hung up")),
                        Act::Hold => std::future::pending().await,
                    }
                }
            });
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    });
    (addr, most)
}

const MINUTE: Duration = Duration::from_secs(60);
/// A minute takes a millisecond.
const FAST: u32 = 60_000;

fn after(minutes: &[u32]) -> Retries {
    Retries { waits: Some(minutes.iter().map(|n| MINUTE * *n).collect()), ..Retries::default() }
}

fn pace(count: u64, every: Duration, scale: u32) -> Pace {
    Pace { count, every, scale: NonZeroU32::new(scale).unwrap() }
}

/// One attempt of all: of which event, which number, when, and what followed.
type Step = (String, usize, Instant, Instant, Next);

async fn run(
    addr: SocketAddr,
    retries: &Retries,
    pace: Pace,
    stop: impl Future<Output = ()>,
) -> (Journeys, Vec<Step>) {
    let source = source(Auth::NoneDangerous);
    let sender = Sender {
        source: &source,
        key: &Secret::new(Vec::new()),
        url: &format!("http://{addr}/hooks/lab").parse().unwrap(),
        caller: &Caller::plain(None).unwrap(),
        tamper: false,
        retries,
        clock: &Clock::System,
        pace,
    };
    let (mut made, mut steps) = (0, Vec::new());
    let make = |_| {
        made += 1;
        Outgoing { event_type: "t".into(), id: format!("e{made}"), body: format!("{made}").into() }
    };
    let seen = |a: &Attempt<'_>| {
        steps.push((a.event.id.clone(), a.number, a.began, a.ended, a.next));
        Ok(())
    };
    let journeys = sender.run(make, seen, stop).await.unwrap();
    (journeys, steps)
}

fn ends(journeys: &Journeys) -> Vec<(&str, usize, Outcome)> {
    journeys.events.iter().map(|j| (&*j.id, j.tries, j.outcome)).collect()
}

async fn never() {
    std::future::pending().await
}

#[tokio::test]
async fn tries_again_through_failures_of_all_kinds_after_the_waits() {
    let acts =
        &[Act::Answer(503), Act::Answer(429), Act::HangUp, Act::Answer(302), Act::Answer(200)];
    let (addr, _) = listener(acts).await;
    let retries = after(&[10, 20, 30, 40]);
    let (journeys, steps) = run(addr, &retries, pace(1, Duration::ZERO, FAST), never()).await;
    assert_eq!(ends(&journeys), [("e1", 5, Outcome::Delivered)]);
    assert_eq!(journeys.events[0].event_id.as_deref(), Some("0193"));
    assert!(!journeys.stopped);
    for (n, pair) in steps.windows(2).enumerate() {
        let wait = MINUTE * 10 * u32::try_from(n + 1).unwrap();
        assert_eq!(pair[0].4, Next::Again(wait));
        assert!(pair[1].2 - pair[0].3 >= wait / FAST, "{steps:?}");
    }
}

#[tokio::test]
async fn gives_up_when_its_schedule_ends_or_an_answer_is_final() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let fast = pace(2, Duration::ZERO, FAST);
    let (journeys, _) = run(nobody, &after(&[1, 5]), fast, never()).await;
    assert_eq!(ends(&journeys), [("e1", 3, Outcome::GivenUp), ("e2", 3, Outcome::GivenUp)]);
    assert!(
        matches!(&journeys.events[0].last, Last::Error(why) if why.starts_with("cannot connect"))
    );

    let (gone, _) = listener(&[Act::Answer(503), Act::Answer(410)]).await;
    let retries = Retries { final_statuses: vec![410], ..after(&[1, 1, 1]) };
    let (journeys, _) = run(gone, &retries, fast, never()).await;
    assert_eq!(ends(&journeys), [("e1", 2, Outcome::GivenUp), ("e2", 2, Outcome::GivenUp)]);
    assert_eq!(journeys.events[0].last, Last::Status(410));

    let (journeys, _) = run(nobody, &Retries::default(), fast, never()).await;
    assert_eq!(ends(&journeys), [("e1", 1, Outcome::GivenUp), ("e2", 1, Outcome::GivenUp)]);
}

/// A provider that waits five seconds for an answer does so at any time scale.
#[tokio::test]
async fn timeouts_are_not_shortened() {
    let (addr, _) = listener(&[Act::Hold, Act::Answer(200)]).await;
    let timeout = Duration::from_millis(200);
    let retries = Retries { timeout: Some(timeout), ..after(&[1]) };
    let (journeys, steps) = run(addr, &retries, pace(1, Duration::ZERO, FAST), never()).await;
    assert_eq!(ends(&journeys), [("e1", 2, Outcome::Delivered)]);
    assert!(steps[0].3 - steps[0].2 >= timeout, "{steps:?}");
}

#[tokio::test]
async fn never_has_more_than_its_share_of_requests_on_the_way() {
    let (addr, most) = listener(&[Act::Answer(500), Act::Answer(200)]).await;
    let (journeys, _) = run(addr, &after(&[1]), pace(500, Duration::ZERO, FAST), never()).await;
    assert!(journeys.events.iter().all(|j| (j.tries, j.outcome) == (2, Outcome::Delivered)));
    assert_eq!(journeys.events.len(), 500);
    let most = most.load(Ordering::SeqCst);
    assert!((2..=AT_ONCE).contains(&most), "{most}");
}

#[tokio::test]
async fn events_keep_to_the_pace_while_others_wait_for_their_retries() {
    let (addr, _) = listener(&[Act::Answer(500), Act::Answer(200)]).await;
    let pace = pace(4, MINUTE * 10, FAST);
    let (journeys, steps) = run(addr, &after(&[200]), pace, never()).await;
    assert!(journeys.events.iter().all(|j| (j.tries, j.outcome) == (2, Outcome::Delivered)));
    let first: Vec<_> = steps.iter().filter(|s| s.1 == 1).map(|s| s.2).collect();
    assert!(first[3] - first[0] >= Duration::from_millis(29), "{steps:?}");
    assert_eq!(steps.iter().take(4).map(|s| s.1).collect::<Vec<_>>(), [1; 4], "{steps:?}");
}

#[tokio::test]
async fn a_stop_leaves_what_is_not_settled_unfinished() {
    let (addr, _) = listener(&[Act::Answer(500)]).await;
    let (told, stop) = tokio::sync::oneshot::channel::<()>();
    let mut told = Some(told);
    let source = source(Auth::NoneDangerous);
    let sender = Sender {
        source: &source,
        key: &Secret::new(Vec::new()),
        url: &format!("http://{addr}/hooks/lab").parse().unwrap(),
        caller: &Caller::plain(None).unwrap(),
        tamper: false,
        retries: &after(&[60]),
        clock: &Clock::System,
        pace: pace(3, MINUTE * 60, 1),
    };
    let make = |_| Outgoing { event_type: "t".into(), id: "e".into(), body: b"1".to_vec() };
    let seen = |_: &Attempt<'_>| {
        if let Some(told) = told.take() {
            told.send(()).unwrap();
        }
        Ok(())
    };
    let journeys = sender.run(make, seen, async { drop(stop.await) }).await.unwrap();
    assert!(journeys.stopped);
    assert_eq!(ends(&journeys), [("e", 1, Outcome::Unfinished)]);
    assert_eq!(journeys.events[0].last, Last::Status(StatusCode::INTERNAL_SERVER_ERROR.as_u16()));
}
