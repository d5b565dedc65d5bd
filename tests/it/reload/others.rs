//! What else of a configuration changes, and what an older connection may still say.

use super::*;
use crate::client::Connection;

/// A stranger kept a connection through a TCP proxy open until a reload trusted that proxy: what the
/// stranger had written into X-Forwarded-For then passed the allowlist.
#[tokio::test]
async fn older_connections_are_not_believed_what_newer_ones_are() {
    let app = App::start().await;
    let mut files = Files::new(&app.url());
    files.source += "\nallow_ips = [\"203.0.113.9/32\"]";
    files.write();
    let (mut process, public, _) = Process::serve(files.path()).await;
    let forged = |n| post(n, "one").header("X-Forwarded-For", "203.0.113.9");
    let mut kept = forged(0).connect(public).await;
    assert_eq!(kept.send(&forged(0)).await.status, 403);
    let mut proxied = forged(0).connect(public).await;
    assert_eq!(proxied.send(&forged(0)).await.status, 403);

    files.server += "\ntrusted_proxies = [\"127.0.0.1/32\"]";
    files.write();
    process.signal("HUP");
    process.line(RELOADED).await;
    let answer = kept.send(&forged(1)).await;
    assert_eq!((answer.status, answer.header("connection")), (403, Some("close")));
    let mut trusted = forged(2).connect(public).await;
    assert_eq!(trusted.send(&forged(2)).await.status, 200);

    files.server += "\nproxy_protocol = true";
    files.write();
    process.signal("HUP");
    process.lines(RELOADED, 2).await;
    for mut older in [proxied, trusted] {
        let answer = older.send(&forged(3)).await;
        assert_eq!((answer.status, answer.header("connection")), (403, Some("close")));
    }
    let mut named = forged(4).connect(public).await;
    named.write(&forged(4).behind(b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2\r\n")).await;
    assert_eq!(named.answer().await.status, 200);
    assert_eq!(named.send(&forged(5)).await.status, 200);
    end(process).await;
}

#[tokio::test]
async fn sources_limits_and_routes_change() {
    let (app, lab) = (App::start().await, App::start().await);
    let mut files = Files::new(&app.url());
    let (mut process, public, _) = Process::serve(files.path()).await;
    accepted(public, 0).await;
    app.wait(1).await;
    files.server += "\nmax_body = \"1KiB\"";
    files.source +=
        "\npath = \"/elsewhere\"\nallow_ips = [\"127.0.0.1/32\"]\nevent.type = \"/type\"";
    files.rest += &upstream("lab", &lab.url());
    files.rest += "[[route]]\ntype = \"results.*\"\nto = [\"lab\"]\n";
    files.rest += "[source.new]\nauth = { kind = \"none-dangerous\" }\n";
    files.write();
    process.signal("HUP");
    process.line(RELOADED).await;
    assert_eq!(post(1, "one").send(public).await.status, 404);
    let elsewhere = Post::to("/elsewhere").header("X-Key", &key("one"));
    let long = elsewhere.clone().body(format!("\"{}\"", "x".repeat(1024)));
    assert_eq!(long.send(public).await.status, 413);
    assert_eq!(elsewhere.clone().from("127.0.0.2").send(public).await.status, 403);
    let routed = elsewhere.body(r#"{"id":"r","type":"results.ready"}"#).send(public).await;
    assert_eq!(routed.status, 200);
    assert_eq!(lab.wait(1).await[0].id(), routed.event_id());
    assert_eq!(Post::to("/hooks/new").send(public).await.status, 200);
    end(process).await;
    assert_eq!(app.seen().len(), 1, "no route leads there any more");
}

#[tokio::test]
async fn the_logs_level_changes() {
    let app = App::start().await;
    let mut files = Files::new(&app.url());
    let (mut process, public, _) = Process::serve(files.path()).await;
    files.log = "level = \"error\"".to_owned();
    files.source = key_files(&["one", "two"]);
    files.write();
    process.signal("HUP");
    // It says nothing any more, not even that.
    while post(0, "two").send(public).await.status != 200 {
        tokio::task::yield_now().await;
    }
    let quiet = post(1, "two").send(public).await;
    files.log = "level = \"info\"".to_owned();
    files.write();
    process.signal("HUP");
    let line = process.line(RELOADED).await;
    assert_eq!(field(&line, "changed"), "log.level");
    let heard = post(2, "two").send(public).await;
    process.line(heard.event_id()).await;
    // Its delivery may have been told since.
    let told = |line: &String| line.contains("\"accepted\"") && line.contains(quiet.event_id());
    assert!(!process.said().iter().any(told));
    end(process).await;
}

#[tokio::test]
async fn the_admin_token_changes_and_reloads_are_counted() {
    let app = App::start().await;
    let mut files = Files::new(&app.url());
    files.admin = "token = { file = \"secrets/one\" }".to_owned();
    files.write();
    let (mut process, _, admin) = Process::serve(files.path()).await;
    assert_eq!(metrics(admin.unwrap(), "one").await.status, 200);
    files.admin = "token = { file = \"secrets/two\" }".to_owned();
    files.write();
    process.signal("HUP");
    let line = process.line(RELOADED).await;
    assert_eq!(field(&line, "changed"), "admin.token");
    assert_eq!(metrics(admin.unwrap(), "one").await.status, 401);
    files.write_text("nothing");
    process.signal("HUP");
    process.line(REJECTED).await;
    let counted = metrics(admin.unwrap(), "two").await.body;
    for (result, times) in [("ok", 1), ("rejected", 1)] {
        let sample = format!("hookward_config_reloads_total{{result=\"{result}\"}} {times}\n");
        assert!(counted.contains(&sample), "{counted}");
    }
    end(process).await;
}

async fn metrics(admin: SocketAddr, token: &str) -> Answer {
    let mut connection = Connection::open(admin, None).await;
    let authorization = format!("Authorization: Bearer {}", key(token));
    let get = format!("GET /metrics HTTP/1.1\r\nHost: a\r\n{authorization}\r\n\r\n");
    connection.write(get.as_bytes()).await;
    connection.answer().await
}
