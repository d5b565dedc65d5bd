//! An operator at work meanwhile: has events delivered once more that the app has, until the gateway is
//! gone. A replay that was answered is a promise like an acknowledgement.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::gateway::KEY;
use crate::ledger::{Ledger, Replay};

/// How long an operator looks at the screen, at most.
const LONGEST_LOOK: Duration = Duration::from_millis(40);
/// For the act to be on the disk, and the answer to be there.
const LONGEST_ANSWER: Duration = Duration::from_secs(30);

/// Replays now and then, in this life of the gateway.
pub(crate) async fn replay_until_gone(
    admin: SocketAddr,
    life: u32,
    ledger: Arc<Ledger>,
    mut rng: Rng,
) {
    let Some(mut connection) = connect(admin).await else { return };
    while !connection.is_closed() {
        tokio::time::sleep(LONGEST_LOOK.mul_f64(rng.f64())).await;
        let Some(replay) = ledger.ask_for_replay(&mut rng) else { continue };
        match ask(&mut connection, &replay).await {
            Ok(Some(StatusCode::OK)) => ledger.note_replayed(&replay, life),
            // Its delivery is not settled on the disk yet, it is gone, or nothing can be written now.
            Ok(Some(
                StatusCode::CONFLICT | StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE,
            )) => ledger.note_not_replayed(&replay),
            Ok(Some(other)) => {
                ledger.note_problem(format!("a replay was answered with {other}"));
            }
            // Then it is done or not.
            Ok(None) => return,
            Err(_) => return ledger.note_problem("a replay got no answer at all".to_owned()),
        }
    }
}

async fn connect(admin: SocketAddr) -> Option<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(admin).await.ok()?;
    let (connection, driver) = handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(driver);
    Some(connection)
}

/// The answer's status; `None` when the connection is gone.
async fn ask(
    connection: &mut SendRequest<Full<Bytes>>,
    replay: &Replay,
) -> Result<Option<StatusCode>, tokio::time::error::Elapsed> {
    let token = std::str::from_utf8(KEY).unwrap();
    let request = Request::post(format!("/api/v1/events/{}/replay", replay.id))
        .header("host", "gateway.example")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Full::from(r#"{"reason":"the app asked for it"}"#))
        .unwrap();
    tokio::time::timeout(LONGEST_ANSWER, async {
        connection.ready().await.ok()?;
        let response = connection.send_request(request).await.ok()?;
        let status = response.status();
        // An answer counts when it has arrived whole.
        response.into_body().collect().await.ok()?;
        Some(status)
    })
    .await
}
