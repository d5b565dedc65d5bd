//! Where one request ends and the next begins, and what is HTTP at all: what RFC 9112 wants refused
//! is refused, what it wants taken is taken, and behind a refused request nothing is read as one.

mod bodies;
mod heads;
mod logged;
mod refused;
mod taken;

use crate::app::App;
use crate::client::{Connection, Post};
use crate::gateway::{Running, setup};

const OPEN: &str = "
[source.open]
auth = { kind = \"none-dangerous\" }
event.id = \"/id\"
";

async fn start(app: &App) -> Running {
    setup(&format!("{OPEN}\n[upstream.app]\nurl = \"{}\"\nconcurrency = 1", app.url()))
        .start()
        .await
}

/// One row of a table: a request as bytes, and what must become of it.
struct Case {
    name: &'static str,
    /// The section that says so, of RFC 9112 unless another is named.
    section: &'static str,
    bytes: Vec<u8>,
    status: u16,
    /// What the log says is wrong with it; nothing for a request that is taken.
    detail: &'static str,
}

/// A request that must be 400.
fn bad(
    name: &'static str,
    section: &'static str,
    bytes: impl Into<Vec<u8>>,
    detail: &'static str,
) -> Case {
    Case { name, section, bytes: bytes.into(), status: 400, detail }
}

/// A request that must be accepted.
fn good(name: &'static str, section: &'static str, bytes: impl Into<Vec<u8>>) -> Case {
    Case { name, section, bytes: bytes.into(), status: 200, detail: "" }
}

impl Case {
    fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

/// A request with this request line.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: gw\r\nContent-Length: 2\r\n\r\n{{}}")
}

/// A request with these fields besides Host and Content-Length, each with its line end.
fn fields(fields: &str) -> String {
    format!("POST /hooks/open HTTP/1.1\r\nHost: gw\r\n{fields}Content-Length: 2\r\n\r\n{{}}")
}

/// A request with exactly these fields, and something that could be its body.
fn exactly(fields: &str) -> String {
    format!("POST /hooks/open HTTP/1.1\r\n{fields}\r\n{{}}")
}

/// A chunked request with this body.
fn chunked(body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = "POST /hooks/open HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n";
    [head.as_bytes(), body.as_ref()].concat()
}

#[tokio::test]
async fn a_connection_carries_one_request_after_the_other_past_refusals_too() {
    let app = App::start().await;
    let gateway = start(&app).await;
    let posts = [
        (Post::to("/hooks/open").body(r#"{"id":1}"#), 200),
        (Post::to("/hooks/nowhere").body(r#"{"id":2}"#), 404),
        (Post::to("/hooks/open").body("no JSON"), 400),
        (Post::to("/hooks/open").body(r#"{"id":3}"#), 200),
    ];
    let bytes = |post: &Post, body: &str| [post.head(), body.into()].concat();
    let bodies = [r#"{"id":1}"#, r#"{"id":2}"#, "no JSON", r#"{"id":3}"#];
    // First one at a time, then all at once.
    let mut connection = Connection::open(gateway.address, None).await;
    for ((post, status), body) in posts.iter().zip(bodies) {
        connection.write(&bytes(post, body)).await;
        assert_eq!(connection.answer().await.status, *status, "{post:?}");
    }
    let all = posts.iter().zip(bodies).map(|((post, _), body)| bytes(post, body));
    connection.write(&all.collect::<Vec<_>>().concat()).await;
    for (post, status) in &posts {
        assert_eq!(connection.answer().await.status, *status, "{post:?}");
    }
}
