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

/// Why one has given way on which no right token was shown lately.
const DISPLACED: &str = "others came, and no right token was shown on it in the last minute";

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
    assert_eq!(recorded[0]["detail"], DISPLACED);
}

/// Sixteen connections from each of four addresses on which a token was shown once kept everybody out, probes
/// too, for as long as they asked for health: also after the token was taken back.
#[tokio::test]
async fn a_token_keeps_nobody_out_and_no_place_once_it_is_taken_back() {
    let dir = api::configured("header_timeout = \"1m\"", "http://127.0.0.1:1/");
    let file = dir.path().join("hookward.toml");
    let without = fs::read_to_string(&file).unwrap();
    let named = "[admin.tokens.vera]\nrole = \"viewer\"\nsecret = { env = \"TOKEN\" }\n";
    fs::write(&file, format!("{without}{named}")).unwrap();
    let (mut process, _, at) = Process::serve(dir.path()).await;
    let at = at.unwrap();
    let vera = with(&secret("TOKEN"), asking("GET", "/api/v1/sources", ""));
    let mut held = Vec::new();
    for n in 0..64 {
        let mut connection =
            vera.clone().from(&format!("127.0.0.{}", n / 16 + 2)).connect(at).await;
        assert_eq!(connection.send(&vera).await.status, 200);
        held.push(connection);
    }
    let health = || asking("GET", "/healthz", "").from("127.0.0.77");
    assert_eq!(health().send(at).await.status, 200);
    let mut probe = health().connect(at).await;
    assert_eq!(probe.send(&health()).await.status, 200);
    fs::write(&file, without).unwrap();
    process.signal("HUP");
    process.line("admin.tokens.vera (removed)").await;
    let admin = with(&secret("ADMIN"), asking("GET", "/api/v1/sources", "")).from("127.0.0.78");
    let mut shown = admin.connect(at).await;
    assert_eq!(shown.send(&admin).await.status, 200);
    assert_eq!(probe.send(&health()).await.status, 200, "another one of those has given way");
    let trail = || api::ask(dir.path(), "GET /api/v1/audit?reason=overloaded", "");
    let until = Instant::now() + BOUND;
    while !trail().await.1.to_string().contains(DISPLACED) {
        assert!(Instant::now() < until, "{:?}", trail().await);
        sleep(Duration::from_millis(20)).await;
    }
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
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
