//! TLS on the admin listener: its certificate, those of operators, and commands that call there.

use std::path::Path;

use super::*;
use crate::pki::{Authority, Caller, Issued, ask, serial, status};

/// A certificate for this machine's address, by which commands call.
fn here(authority: &Authority, serial: u64) -> Issued {
    authority.issue(|params| {
        let address = rcgen::SanType::IpAddress("127.0.0.1".parse().unwrap());
        params.subject_alt_names.push(address);
        params.serial_number = Some(rcgen::SerialNumber::from(serial));
    })
}

fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A directory whose admin listener has this certificate, with these further keys in `tls`.
fn secured(own: &Issued, further: &str) -> tempfile::TempDir {
    let dir = api::configured("", "http://127.0.0.1:1/");
    let file = dir.path().join("hookward.toml");
    let tls = format!("[admin]\ntls = {{ cert = \"cert.pem\", key = \"key.pem\"{further} }}");
    let text = std::fs::read_to_string(&file).unwrap().replace("[admin]", &tls);
    std::fs::write(file, text).unwrap();
    replace(dir.path(), own);
    dir
}

fn replace(dir: &Path, own: &Issued) {
    private(&dir.join("key.pem"), &own.key_pem);
    private(&dir.join("cert.pem"), &own.pem);
}

/// A reload for the certificate alone.
const RENEWED: &str = "\"changed\":\"admin.tls.cert\"";

fn sources() -> Post {
    with(&secret("ADMIN"), asking("GET", "/api/v1/sources", ""))
}

#[tokio::test]
async fn the_admin_listener_speaks_tls_and_takes_a_renewed_certificate() {
    let authority = Authority::new("operators");
    let dir = secured(&here(&authority, 0x5c01), "");
    let (mut process, _, at) = Process::serve(dir.path()).await;
    let at = at.unwrap();
    let client = Caller::trusting(&authority).ready();
    let mut kept = client.connect(at).await.unwrap();
    assert_eq!(serial(&kept), "5c01");
    assert_eq!(status(&ask(&mut kept, &sources()).await.unwrap()), Some(200));
    let (_, shown) = api::ask(dir.path(), "GET /api/v1/sources", "").await;
    assert!(shown["items"].is_array(), "the socket stays as it is");
    // A hundred long answers could wait on one connection of HTTP/2.
    for (offered, agreed) in [(&["h2", "http/1.1"][..], true), (&["h2"], false)] {
        let stream = Caller::trusting(&authority).protocols(offered).ready().connect(at).await;
        let chosen = stream.map(|stream| stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec));
        assert_eq!(chosen.is_ok_and(|chosen| chosen == Some(b"http/1.1".to_vec())), agreed);
    }
    // Nothing but TLS is spoken there.
    let mut plain = sources().connect(at).await;
    plain.write(&sources().head()).await;
    assert!(!plain.rest().await.contains("HTTP"));
    // Renewed in its files without a word to anyone.
    replace(dir.path(), &here(&authority, 0x5c02));
    process.line(RENEWED).await;
    assert_eq!(serial(&client.connect(at).await.unwrap()), "5c02");
    assert_eq!(status(&ask(&mut kept, &sources()).await.unwrap()), Some(200));
    // By a signal as well; then the watch has nothing left to do, or the other way round.
    replace(dir.path(), &here(&authority, 0x5c03));
    process.signal("HUP");
    process.lines(RENEWED, 2).await;
    assert_eq!(serial(&client.connect(at).await.unwrap()), "5c03");
    let mut scraped = client.connect(at).await.unwrap();
    let metrics =
        with(&secret("ADMIN"), asking("GET", "/metrics", "")).header("Connection", "close");
    let text = text(&mut scraped, &metrics).await;
    let series = "hookward_tls_certificate_expiry_timestamp_seconds{listener=\"admin\"} 2208988800";
    assert!(text.contains(series), "{text}");
    let file = dir.path().join("hookward.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let off = text.replace("tls = { cert = \"cert.pem\", key = \"key.pem\" }\n", "");
    std::fs::write(&file, off).unwrap();
    process.line("admin.tls: a change needs a restart").await;
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}

async fn text(
    stream: &mut tokio_rustls::client::TlsStream<tokio::net::TcpStream>,
    post: &Post,
) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    stream.write_all(&[post.head(), post.bytes().to_vec()].concat()).await.unwrap();
    let mut all = Vec::new();
    tokio::time::timeout(BOUND, stream.read_to_end(&mut all)).await.unwrap().unwrap();
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn a_client_certificate_is_asked_for_beside_the_token() {
    let [authority, operators, strangers] =
        ["server", "operators", "strangers"].map(Authority::new);
    let dir = secured(&here(&authority, 1), ", client_ca = \"operators.pem\"");
    std::fs::write(dir.path().join("operators.pem"), &operators.pem).unwrap();
    let (process, public, at) = Process::serve(dir.path()).await;
    let at = at.unwrap();
    let (own, foreign) = (operators.client(), strangers.client());
    let bare = Caller::trusting(&authority);
    let caller = |own: &Issued| Caller::trusting(&authority).showing(own).ready();
    let asked = asking("GET", "/api/v1/sources", "");
    for (case, client, post, expected) in [
        ("both", caller(&own), sources(), 200),
        ("no token", caller(&own), asked.clone(), 401),
        ("no certificate", bare.ready(), sources(), 401),
        ("somebody else's", caller(&foreign), sources(), 401),
        ("a server's", caller(&operators.server(7)), sources(), 401),
        ("health without one", bare.ready(), asking("GET", "/healthz", ""), 200),
    ] {
        let answer = client.send(at, &post).await.unwrap();
        assert_eq!(status(&answer), Some(expected), "{case}: {answer}");
    }
    // Shown, and not its own.
    let pretending = Caller::trusting(&authority).pretending(&own, &foreign).ready();
    assert!(pretending.send(at, &sources()).await.is_err());
    // The public listener knows nothing of it.
    assert_eq!(lab(r#"{"id":"1"}"#).send(public).await.status, 200);

    let until = Instant::now() + BOUND;
    let recorded = loop {
        let (_, page) = api::ask(dir.path(), "GET /api/v1/audit?limit=50", "").await;
        let items = page["items"].as_array().unwrap().clone();
        let refused = items.into_iter().filter(|item| item["listener"] == "admin");
        let refused: Vec<Value> = refused.collect();
        if refused.len() >= 5 {
            break refused;
        }
        assert!(Instant::now() < until, "{refused:#?}");
        sleep(Duration::from_millis(20)).await;
    };
    let told: Vec<_> = recorded
        .iter()
        .rev()
        .map(|item| (item["reason"].as_str().unwrap(), item["detail"].as_str().unwrap()))
        .collect();
    let expected = [
        ("credential_missing", "no credential"),
        ("credential_missing", "no client certificate"),
        ("credential_invalid", "the client certificate is not of the roots that are asked for"),
        ("credential_invalid", "the client certificate is not for client authentication"),
        ("credential_invalid", "unacceptable client certificate"),
    ];
    assert_eq!(told, expected);
    assert!(recorded.iter().skip(1).all(|item| item["tls"] == "TLSv1.3"), "{recorded:#?}");

    // Commands get through with all three files, and say what is missing without.
    private(&dir.path().join("own.pem"), &own.pem);
    private(&dir.path().join("own-key.pem"), &own.key_pem);
    std::fs::write(dir.path().join("roots.pem"), &authority.pem).unwrap();
    let url = format!("https://{at}");
    let listing = ["events", "list", "--url", &url];
    let (ca, shown) = (["--ca", "roots.pem"], ["--cert", "own.pem", "--key", "own-key.pem"]);
    let plain = format!("http://{at}");
    for (args, code, says) in [
        ([&listing[..], &ca, &shown].concat(), 0, ""),
        ([&listing[..], &ca].concat(), 1, "A client certificate of admin.tls.client_ca"),
        ([&listing[..], &shown].concat(), 1, "--ca names"),
        (
            [&listing[..], &["--ca", "hookward.toml"]].concat(),
            1,
            "hookward.toml: holds no certificate",
        ),
        ([&listing[..], &ca, &["--cert", "own.pem"]].concat(), 2, "--key"),
        (["events", "list", "--ca", "roots.pem"].to_vec(), 2, "--url"),
        (["events", "list", "--url", &plain, "--ca", "roots.pem"].to_vec(), 2, "https://"),
    ] {
        let mut command = hookward(dir.path(), &args);
        command.env("HOOKWARD_ADMIN_TOKEN", secret("ADMIN"));
        let said = run(command).await;
        assert_eq!(said.code, Some(code), "{args:?}: {said:?}");
        assert!(said.err.contains(says), "{args:?}: {said:?}");
    }
    drop(process);
}
