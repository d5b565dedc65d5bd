//! The servers that stand beside Hookward, each a process of its own: this binary started again.
//! They print their port on a line and live until their standard input is closed, so that none
//! is left behind when the benchmark ends early.

use std::convert::Infallible;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use clap::ValueEnum;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::Result;
use crate::durable::Durable;

/// As many as Hookward has on two cores.
const WORKERS: usize = 2;

/// What this process is to be.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Role {
    /// Reads the body and answers 200.
    Bare,
    /// Verifies, parses, appends and syncs, then answers 200.
    Durable,
    /// The app behind Hookward: answers 200 and counts; `GET` returns the count.
    Sink,
}

impl Role {
    /// The word on the command line.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Durable => "durable",
            Self::Sink => "sink",
        }
    }
}

/// Serves until standard input is closed.
pub(crate) fn serve(role: Role, file: Option<PathBuf>) -> Result<()> {
    std::thread::spawn(exit_with_parent);
    let mut builder = match role {
        Role::Sink => tokio::runtime::Builder::new_current_thread(),
        Role::Bare | Role::Durable => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(WORKERS).enable_all().build()?;
    match role {
        Role::Bare => runtime.block_on(listen(bare)),
        Role::Durable => {
            let durable = Durable::open(&file.ok_or("the durable server needs --file")?)?;
            runtime.block_on(listen(move |request| {
                let durable = Arc::clone(&durable);
                async move { durable.handle(request).await }
            }))
        }
        Role::Sink => {
            let delivered = Arc::new(AtomicU64::new(0));
            runtime.block_on(listen(move |request| sink(request, Arc::clone(&delivered))))
        }
    }
}

async fn listen<H, F>(handle: H) -> Result<()>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    println!("{}", listener.local_addr()?.port());
    std::io::stdout().flush()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let handle = handle.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = handle(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            // A connection that breaks off is the generator's to report.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn bare(request: Request<Incoming>) -> Response<Full<Bytes>> {
    match request.into_body().collect().await {
        Ok(_) => answer(StatusCode::OK, r#"{"received":true}"#),
        Err(_) => answer(StatusCode::BAD_REQUEST, ""),
    }
}

async fn sink(request: Request<Incoming>, delivered: Arc<AtomicU64>) -> Response<Full<Bytes>> {
    if request.method() == Method::GET {
        return answer(StatusCode::OK, delivered.load(Ordering::Relaxed).to_string());
    }
    if request.into_body().collect().await.is_err() {
        return answer(StatusCode::BAD_REQUEST, "");
    }
    delivered.fetch_add(1, Ordering::Relaxed);
    answer(StatusCode::OK, "")
}

/// An answer with this status and body.
pub(crate) fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

fn exit_with_parent() {
    let mut rest = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut rest);
    std::process::exit(0);
}
