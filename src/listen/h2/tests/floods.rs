//! Frames that never end: each is cut off within a bounded count.

use super::raw::*;
use super::*;
use crate::listen::h2::frames::{BURST, PER_SECOND};

/// More than any flood may get through.
const PLENTY: usize = 20_000;

/// How many times this client's frames were taken before the connection ended. Answers are read
/// and thrown away meanwhile, so that none of it ends because the client does not read.
async fn taken<H, F>(handler: H, first: Vec<u8>, mut flood: impl FnMut(usize) -> Vec<u8>) -> usize
where
    H: Fn(Arrival) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let (stream, served) = serve_one(handler);
    let (mut reading, mut writing) = tokio::io::split(stream);
    let sink = tokio::spawn(async move {
        tokio::io::copy(&mut reading, &mut tokio::io::sink()).await.unwrap();
    });
    let mut taken = 0;
    let writes = async {
        use tokio::io::AsyncWriteExt;
        writing.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        writing.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        writing.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
        writing.write_all(&first).await.unwrap();
        while taken < PLENTY && writing.write_all(&flood(taken)).await.is_ok() {
            taken += 1;
        }
    };
    timeout(BOUND, writes).await.expect("the flood is read or cut off");
    assert!(taken < PLENTY, "the flood was never cut off");
    served.end().await;
    sink.await.unwrap();
    taken
}

/// What may be on its way beyond what was counted: 64 KiB of the smallest frames.
const UNREAD: usize = (64 << 10) / 9;

#[tokio::test(start_paused = true)]
async fn control_frames_are_cut_off() {
    let burst = usize::try_from(BURST).unwrap();
    for (name, each, most) in [
        ("SETTINGS", frame(SETTINGS, 0, 0, &[]), burst / 10),
        ("SETTINGS of a window", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 9]), burst / 10),
        ("PING", frame(PING, 0, 0, &[0; 8]), burst),
        ("PING that answers none", frame(PING, ACK, 0, &[0; 8]), burst),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 9]), burst),
        ("PRIORITY of streams to come", frame(PRIORITY, 0, 9999, &[0, 0, 0, 3, 9]), burst),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), burst),
        ("WINDOW_UPDATE of a stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), burst),
        ("RST_STREAM of a closed stream", frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), burst),
        ("empty DATA", frame(DATA, 0, 1, &[]), burst),
        ("DATA of a byte", frame(DATA, 0, 1, b"{"), burst),
        ("unknown frames", frame(0xbb, 0, 0, &[]), burst),
        ("unknown frames with payload", frame(0xbb, 0, 7, &[0; 100]), burst),
    ] {
        let unread = (64 << 10) / each.len();
        let taken = taken(echo, head(1), |_| each.clone()).await;
        assert!(taken <= most + unread, "{name}: {taken}");
        assert!(taken >= 20, "{name}: {taken}");
    }
}

/// CVE-2023-44487: requests that are taken back at once, in bursts and one after the other.
#[tokio::test(start_paused = true)]
async fn requests_that_are_taken_back_are_cut_off() {
    let reset = |n| frame(RST_STREAM, 0, stream(n), &[0, 0, 0, 8]);
    let both = |n| [head(stream(n)), reset(n)].concat();
    let taken = taken(hang, Vec::new(), both).await;
    assert!(taken <= 100 + UNREAD / 8, "{taken}");

    // Each waits until the handler has the request.
    let (entered, mut each) = tokio::sync::mpsc::unbounded_channel();
    let (stream_, served) = serve_one(move |_| {
        let entered = entered.clone();
        async move {
            entered.send(()).unwrap();
            std::future::pending().await
        }
    });
    let mut client = Client::new(stream_).await;
    let mut handled = 0;
    while handled < PLENTY && client.try_send(&head(stream(handled))).await {
        let Some(()) = each.recv().await else { break };
        handled += 1;
        if !client.try_send(&reset(handled - 1)).await {
            break;
        }
    }
    assert!((90..=110).contains(&handled), "{handled}");
    served.end().await;
}

/// CVE-2025-8671: the client makes us reset the streams ourselves.
#[tokio::test(start_paused = true)]
async fn streams_that_we_are_made_to_reset_are_cut_off() {
    for (name, provocation) in [
        ("a window of nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a window too large", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("dependence on itself", frame(PRIORITY, 0, 0, &[0, 0, 0, 0, 9])),
    ] {
        let taken = taken(hang, Vec::new(), |n| {
            let mut provocation = provocation.clone();
            provocation[5..9].copy_from_slice(&stream(n).to_be_bytes());
            if provocation[3] == PRIORITY {
                provocation[9..13].copy_from_slice(&stream(n).to_be_bytes());
            }
            [head(stream(n)), provocation].concat()
        })
        .await;
        assert!(taken <= MAX_RESET_BY_US + UNREAD / 8, "{name}: {taken}");
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_requests_are_cut_off() {
    let malformed = |n| request(stream(n), &[(":method", "POST"), (":path", "/")]);
    let taken = taken(echo, Vec::new(), malformed).await;
    assert!(taken <= MAX_RESET_BY_US + UNREAD / 4, "{taken}");
}

#[tokio::test(start_paused = true)]
async fn heads_that_are_too_large_are_cut_off() {
    let value = "v".repeat(15_000);
    let fields = fields(&[POST.as_slice(), &[("x", &value)]].concat());
    let more = self::fields(&[("y", &value), ("z", "")]);
    let even = self::fields(&[("z", &value)]);
    let taken = taken(echo, Vec::new(), |n| {
        [
            frame(HEADERS, END_STREAM, stream(n), &fields),
            frame(CONTINUATION, 0, stream(n), &more),
            frame(CONTINUATION, END_HEADERS, stream(n), &even),
        ]
        .concat()
    })
    .await;
    assert!(taken <= usize::try_from(BURST).unwrap() / 3 + 2, "{taken}");
}

/// What the handler does not get to see earns nothing.
#[tokio::test(start_paused = true)]
async fn heads_with_too_many_fields_are_cut_off() {
    let many: Vec<_> = (0..101).map(|_| ("x", "")).collect();
    let fields = [POST.as_slice(), &many].concat();
    let taken = taken(echo, Vec::new(), |n| request(stream(n), &fields)).await;
    assert!(taken <= usize::try_from(BURST).unwrap() + UNREAD / 40, "{taken}");
}

/// CVE-2024-27316: a header section that never ends.
#[tokio::test(start_paused = true)]
async fn a_header_section_without_end_is_cut_off() {
    let begin = frame(HEADERS, 0, 1, &fields(&POST));
    for payload in [b"".as_slice(), &fields(&[("x", "y")])] {
        let (stream, served) = serve_one(echo);
        let mut client = Client::new(stream).await;
        client.send(&begin).await;
        for _ in 0..7 {
            client.try_send(&frame(CONTINUATION, 0, 1, payload)).await;
        }
        let outcome = client.outcome().await.unwrap();
        assert_eq!((outcome.kind, outcome.code()), (GOAWAY, ENHANCE_YOUR_CALM));
        drop(client);
        served.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn streams_beyond_the_limit_are_refused_and_then_cut_off() {
    let (stream_, _served) = serve_with(Limits { max_streams: 3, ..limits() }, 64 << 10, hang);
    let mut client = Client::new(stream_).await;
    for n in 0..4 {
        client.send(&head(stream(n))).await;
    }
    let refused = client.outcome().await.unwrap();
    assert_eq!((refused.kind, refused.id, refused.code()), (RST_STREAM, 7, REFUSED_STREAM));

    let taken = taken(hang, Vec::new(), |n| head(stream(n))).await;
    assert!(taken <= 100 + MAX_RESET_BY_US + UNREAD / 4, "{taken}");
}

/// An honest client may hold on to a connection for long, with pings and windows as it likes them.
#[tokio::test(start_paused = true)]
async fn an_honest_client_is_never_cut_off() {
    let (stream_, _served) = serve_one(echo);
    let mut client = Client::new(stream_).await;
    for n in 0..3000 {
        let id = stream(n);
        client.send(&head(id)).await;
        client.send(&frame(DATA, END_STREAM, id, b"{}")).await;
        client.send(&frame(PING, 0, 0, &[0; 8])).await;
        let answer = client.until(DATA).await.unwrap();
        assert_eq!((answer.id, answer.payload.as_slice()), (id, b"{}".as_slice()));
        client.send(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 2])).await;
        client.send(&frame(RST_STREAM, 0, id, &[0; 4])).await;
    }
    // Alone it may ping as often as time allows.
    let every = Duration::from_secs(1) / u32::try_from(PER_SECOND).unwrap();
    for _ in 0..550 {
        tokio::time::sleep(every + Duration::from_millis(1)).await;
        client.send(&frame(PING, 0, 0, &[0; 8])).await;
        client.until(PING).await.unwrap();
    }
}
