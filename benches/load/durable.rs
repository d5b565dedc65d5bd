//! The minimal durable server: the least that earns a durable ack. It verifies the signature,
//! parses the body, appends new events with one write and one `fdatasync` a batch on one writer
//! thread, and answers when its event is safe. It keeps the ids in memory, never forgets one,
//! never delivers anything and cannot recover: a yardstick, not a store.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode};
use serde_json::Value;
use sha2::Sha256;
use tokio::sync::oneshot;

use crate::event;
use crate::servers::answer;

/// The request's side of the server; the writer thread has the other.
pub(crate) struct Durable {
    keyed: Hmac<Sha256>,
    queue: Arc<Queue>,
}

/// What waits for the writer.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Vec<Append>>,
    arrived: Condvar,
}

/// An event to be made durable, and whom to tell.
struct Append {
    id: String,
    body: Bytes,
    done: oneshot::Sender<()>,
}

impl Durable {
    /// Opens the file and starts the writer.
    pub(crate) fn open(path: &Path) -> crate::Result<Arc<Self>> {
        let file = File::options().create(true).append(true).open(path)?;
        let queue = Arc::new(Queue::default());
        let theirs = Arc::clone(&queue);
        std::thread::spawn(move || {
            let failed = write_batches(file, &theirs);
            // After a failed write or sync nothing may be acked any more.
            println!("durable: {failed:?}");
            std::process::exit(1);
        });
        Ok(Arc::new(Self { keyed: Hmac::new_from_slice(event::KEY)?, queue }))
    }

    /// A request's life.
    pub(crate) async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return answer(StatusCode::BAD_REQUEST, "");
        };
        let body = body.to_bytes();
        if !self.is_signed(&head.headers, &body) {
            return answer(StatusCode::UNAUTHORIZED, "");
        }
        let Some(id) = event_id(&body) else {
            return answer(StatusCode::BAD_REQUEST, "");
        };
        match self.queue.append(id, body).await {
            Ok(()) => answer(StatusCode::OK, r#"{"received":true}"#),
            Err(_) => answer(StatusCode::SERVICE_UNAVAILABLE, ""),
        }
    }

    fn is_signed(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let mut signature = [0; 32];
        let presented = headers
            .get(event::SIGNATURE_HEADER)
            .and_then(|value| value.as_bytes().strip_prefix(b"sha256="));
        if presented.is_none_or(|hex| hex::decode_to_slice(hex, &mut signature).is_err()) {
            return false;
        }
        let mut mac = self.keyed.clone();
        mac.update(body);
        mac.verify_slice(&signature).is_ok()
    }
}

fn event_id(body: &[u8]) -> Option<String> {
    match serde_json::from_slice::<Value>(body).ok()?.get_mut("id")?.take() {
        Value::String(id) => Some(id),
        _ => None,
    }
}

impl Queue {
    /// Returns when the event is on the disk.
    async fn append(&self, id: String, body: Bytes) -> Result<(), oneshot::error::RecvError> {
        let (done, safe) = oneshot::channel();
        if self.push(Append { id, body, done }) {
            self.arrived.notify_one();
        }
        safe.await
    }

    /// Whether it is the first of a batch, for which the writer may have to be woken.
    fn push(&self, append: Append) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(append);
        waiting.len() == 1
    }

    /// Waits until there is something, and takes all of it.
    fn take(&self, batch: &mut Vec<Append>) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = self
            .arrived
            .wait_while(waiting, |waiting| waiting.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *waiting, batch);
    }
}

/// Never returns but with the write or sync that failed.
fn write_batches(mut file: File, queue: &Queue) -> io::Result<()> {
    let mut known = HashSet::new();
    let mut batch = Vec::new();
    let mut lines = Vec::new();
    loop {
        queue.take(&mut batch);
        lines.clear();
        for append in &mut batch {
            if known.insert(std::mem::take(&mut append.id)) {
                lines.extend_from_slice(&append.body);
                lines.push(b'\n');
            }
        }
        if !lines.is_empty() {
            file.write_all(&lines)?;
            file.sync_data()?;
        }
        for append in batch.drain(..) {
            // Nobody to tell when the client has gone.
            let _ = append.done.send(());
        }
    }
}
