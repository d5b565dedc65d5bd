//! The listener over real sockets, with handlers that stand in for the gateway. Time limits are
//! short where the test waits for them to pass, and out of reach where they must not.

mod agreement;
mod connections;
mod requests;
mod time;

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
    settings: Arc<ArcSwap<Settings>>,
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
    let running = Arc::clone(&settings);
    let ended = tokio::spawn(async move { run(listener, running, handler, shutdown).await });
    Running { address, settings, stop, ended }
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
