//! Connections that ask for nothing, at the doors of operators, and users who are not let in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use super::*;
use crate::client::Connection;
use crate::process::{Process, hookward, run};

/// Connections from these addresses, as many from each as one client may have, that begin a request.
async fn hang(at: SocketAddr, addresses: &[[u8; 4]]) -> Vec<Connection> {
    let mut held = Vec::new();
    for address in addresses {
        for _ in 0..16 {
            let mut connection = Connection::open(at, Some((*address).into())).await;
            connection.write(b"GET /he").await;
            held.push(connection);
        }
    }
    held
}

/// They held the places of all operators, and of the probe that restarts the gateway when nobody answers.
#[tokio::test]
async fn connections_that_ask_for_nothing_give_way() {
    let gateway = start("header_timeout = \"1m\"").await;
    let at = admin(&gateway);
    let token = || with(&secret("VIEWER"), asking("GET", "/api/v1/sources", ""));
    let mut shown = token().from("127.0.0.2").connect(at).await;
    assert_eq!(shown.send(&token()).await.status, 200);
    let strangers = [[127, 0, 0, 2], [127, 0, 0, 3], [127, 0, 0, 4], [127, 0, 0, 5]];
    let _held = hang(at, &strangers).await;
    for from in ["127.0.0.1", "127.0.0.2", "127.0.0.5", "127.0.0.77"] {
        let health = asking("GET", "/healthz", "").from(from).send(at).await;
        assert_eq!(health.status, 200, "{from}");
        assert_eq!(token().from(from).send(at).await.status, 200, "{from}");
    }
    assert_eq!(shown.send(&token()).await.status, 200, "who has shown a token keeps its place");
    let recorded = records(&gateway, "overloaded", 1).await;
    assert!(recorded.iter().all(|record| record["listener"] == "admin"), "{recorded:?}");
    assert_eq!(recorded[0]["detail"], "others came, and it had shown no right token");
}

/// Whoever shared an address with sixteen of them was locked out.
#[tokio::test]
async fn a_client_s_own_idle_connections_give_way_to_it() {
    let gateway = start("header_timeout = \"1m\"").await;
    let at = admin(&gateway);
    let _held = hang(at, &[[127, 0, 0, 1]]).await;
    assert_eq!(asking("GET", "/healthz", "").send(at).await.status, 200);
    let token = with(&secret("VIEWER"), asking("GET", "/metrics", ""));
    assert_eq!(token.send(at).await.status, 200);
    assert_eq!(records(&gateway, "overloaded", 1).await[0]["client"], "127.0.0.1");
}

/// Makes the socket of the gateway in this directory one that everybody reaches.
fn open_up(dir: &Path) {
    for (path, mode) in [("", 0o755), ("data", 0o755), ("data/admin.sock", 0o777)] {
        fs::set_permissions(dir.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// Only the log had a line of it.
#[tokio::test]
async fn a_user_who_is_not_let_in_at_the_socket_is_in_the_trail() {
    const STRANGER: u32 = 61_992;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can start processes of another user");
        return;
    }
    let dir = api::configured("", "http://127.0.0.1:1/");
    let (mut process, _, _) = Process::serve(dir.path()).await;
    open_up(dir.path());
    // The binary may lie where others cannot go.
    let binary = dir.path().join("command");
    fs::copy(hookward(dir.path(), &[]).get_program(), &binary).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = std::process::Command::new(&binary);
    command.args(["events", "list", "--config", "hookward.toml"]).current_dir(dir.path());
    let said = run({
        command.env_clear().stdin(std::process::Stdio::null()).uid(STRANGER).gid(STRANGER);
        command
    });
    let said = said.await;
    assert_ne!(said.code, Some(0), "{said:?}");
    let page = api::ask(dir.path(), "GET /api/v1/audit?reason=credential_invalid", "").await.1;
    let record = &page["items"][0];
    for (name, value) in [
        ("who", json!(format!("uid {STRANGER}"))),
        ("listener", json!("socket")),
        ("client", json!("admin.sock")),
        ("detail", json!("a user who is not let in at the socket")),
    ] {
        assert_eq!(record[name], value, "{name}: {page}");
    }
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}
