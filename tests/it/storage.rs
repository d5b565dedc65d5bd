//! Never a 200 for what is not stored, and what the probes say about it.

use crate::app::Down;
use crate::client::{Answer, Connection, Post};
use crate::gateway::{Running, setup};
use crate::lines;

fn text(app: &Down) -> String {
    let source = "[source.lab]\nauth = { kind = \"none-dangerous\" }\nevent.id = \"/id\"\n";
    format!("[admin]\nlisten = \"127.0.0.1:0\"\n{source}[upstream.app]\nurl = \"{}\"\n", app.url())
}

async fn get(gateway: &Running, path: &str) -> Answer {
    let admin = gateway.gateway.admin_addr().unwrap();
    let mut connection = Connection::open(admin, None).await;
    connection.write(format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n").as_bytes()).await;
    connection.answer().await
}

#[tokio::test]
async fn a_full_disk_is_503_for_what_is_new_and_200_for_what_is_stored() {
    let down = Down::new();
    let gateway = setup(&text(&down)).start().await;
    let known = Post::to("/hooks/lab").body(r#"{"id":"known"}"#);
    let id = gateway.accepts(&known).await;
    assert_eq!(get(&gateway, "/readyz").await.status, 200);
    assert_eq!(get(&gateway, "/healthz").await.status, 200);
    let dir = gateway.stop().await;

    // No disk has so much free.
    let full = setup(&text(&down)).store("min_free = \"1048576GiB\"").start_in(dir).await;
    assert_eq!(full.accepts(&known).await, id);
    for n in 0..2 {
        let new = Post::to("/hooks/lab").body(format!(r#"{{"id":"new{n}"}}"#));
        let answer = full.refuses("full", &new, 503, "store_unavailable").await;
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!(after > 0);
    }
    let ready = get(&full, "/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("min_free"), "it says why: {}", ready.body);
    assert_eq!(get(&full, "/healthz").await.status, 200);
    // What is stored is delivered all the same, and what was refused is not.
    let app = down.come_up();
    let seen = app.wait(1).await;
    assert_eq!(seen[0].id(), id);
    lines::verdict(&id, "delivered").await;
    let dir = full.stop().await;

    // With room again, what was refused is taken as new.
    let down_again = setup(&text(&Down::new())).start_in(dir).await;
    let new = Post::to("/hooks/lab").body(r#"{"id":"new0"}"#);
    assert_ne!(down_again.accepts(&new).await, id);
    assert_eq!(app.seen().len(), 1);
}

#[tokio::test]
async fn the_public_listener_serves_no_health_and_the_admin_listener_no_hooks() {
    let gateway = setup(&text(&Down::new())).start().await;
    gateway.refuses("health", &Post::to("/healthz"), 404, "unknown_route").await;
    for path in ["/hooks/lab", "/hooks/", "/readyz/", "/healthz?x/.."] {
        let status = get(&gateway, path).await.status;
        assert_eq!(status, if path.starts_with("/healthz?") { 200 } else { 404 }, "{path}");
    }
}
