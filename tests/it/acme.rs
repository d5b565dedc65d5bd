//! Certificates by ACME, against a real authority: [`Pebble`]. Without it these tests say so and do
//! nothing. The challenge's handshake itself is tested in the listener.

use std::cell::Cell;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use hookward::clock::Clock;
use hookward::config::{Config, Tls};
use hookward::gateway::Gateway;
use hookward::metrics::Exposition;
use hookward::pem::Facts;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

use crate::client::Post;
use crate::gateway::{Setup, setup, watched};
use crate::leaks::Watched;
use crate::lines;
use crate::pebble::{Pebble, free_port};
use crate::pki::{Authority, Caller, ask, status};

/// What a test waits at most for a certificate.
const ISSUE: Duration = Duration::from_secs(60);

/// Nothing is renewed within a test, in seconds.
const LONG: u32 = 90 * 86_400;

const SOURCES: &str = "
[source.open]
auth = { kind = \"none-dangerous\" }
[source.known]
auth = { kind = \"none-dangerous\" }
client_ca = \"clients.pem\"
[upstream.app]
url = \"http://127.0.0.1:1/\"
";

fn post() -> Post {
    Post::to("/hooks/open")
}

/// A gateway for these names at this port, with its certificate from this directory.
struct Plan {
    port: u16,
    /// Of the gateway that was started last.
    watched: Cell<Option<Watched>>,
    dir: TempDir,
    clients: Authority,
}

impl Plan {
    fn new(ca: &Authority) -> Self {
        let (dir, clients) = (tempfile::tempdir().unwrap(), Authority::new("clients"));
        std::fs::write(dir.path().join("directory.pem"), &ca.pem).unwrap();
        std::fs::write(dir.path().join("clients.pem"), &clients.pem).unwrap();
        Self { port: free_port(), dir, clients, watched: Cell::new(None) }
    }

    fn config(&self, domains: &[&str], directory: &str) -> Config {
        let Setup { server: _, store, rest } = setup(SOURCES);
        let server = format!(
            "listen = \"127.0.0.1:{}\"\n[server.tls.acme]\ndomains = {domains:?}\n\
             contact = [\"it@clinic.example\"]\ndirectory = \"{directory}\"\n\
             cache = \"certificates\"\nca = \"directory.pem\"",
            self.port
        );
        Setup { server, store, rest }.config(self.dir.path())
    }

    async fn start(&self, domains: &[&str], directory: &str) -> Gateway {
        let config = self.config(domains, directory);
        let (gateway, watched) = watched(config, Clock::System, self.dir.path()).await;
        self.watched.set(Some(watched));
        gateway
    }
}

/// Waits until a certificate is in place of which this is true.
async fn issued(gateway: &Gateway, is: impl Fn(&Facts) -> bool) -> Facts {
    let tls = gateway.tls().unwrap();
    let wanted = async {
        loop {
            match tls.facts().filter(&is) {
                Some(facts) => break facts,
                None => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let issued = timeout(ISSUE, wanted).await;
    issued.unwrap_or_else(|_| panic!("no certificate: {:#?}", lines::about("hookward::tls")))
}

fn serial(stream: &TlsStream<TcpStream>) -> String {
    Facts::of(&stream.get_ref().1.peer_certificates().unwrap()[0]).unwrap().serial
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn orders(domain: &str) -> usize {
    lines::count(&format!("\"domains\":\"{domain}\""), "ordering a certificate")
}

#[tokio::test]
async fn a_first_certificate_is_issued_kept_and_served_again_without_another_order() {
    let name = "first.example";
    let https = Authority::new("nobody");
    let mut plan = Plan::new(&https);
    let Some(mut pebble) = Pebble::start(plan.port, LONG).await else { return };
    std::fs::write(plan.dir.path().join("directory.pem"), &pebble.https.pem).unwrap();
    let gateway = plan.start(&[name], &pebble.directory()).await;
    let facts = issued(&gateway, |_| true).await;
    assert_eq!(facts.names, [name]);
    let said = lines::said(&facts.serial, "certificate issued").await;
    assert_eq!((&said["names"], &said["level"]), (&name.into(), &"INFO".into()));
    assert_eq!(said["not_after"], facts.not_after.to_string());
    serves(&gateway, &pebble, &plan.clients, name).await;

    let cache = plan.dir.path().join("certificates");
    assert_eq!(mode(&cache), 0o700);
    let mut files = Vec::new();
    for file in std::fs::read_dir(&cache).unwrap().map(Result::unwrap) {
        assert_eq!(mode(&file.path()), 0o600);
        files.push(file.file_name().into_string().unwrap());
    }
    files.sort();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files[0].starts_with("account-") && files[1].starts_with("certificate-"), "{files:?}");

    assert!(gateway.shutdown().await);
    assert_eq!((pebble.orders(), orders(name)), (1, 1));
    plan.port = free_port();
    let gateway = plan.start(&[name], &pebble.directory()).await;
    assert_eq!(gateway.tls().unwrap().facts(), Some(facts));
    serves(&gateway, &pebble, &plan.clients, name).await;
    assert_eq!((pebble.orders(), orders(name)), (1, 1));
    pebble.stop();
    assert!(gateway.shutdown().await);
}

/// HTTP/1.1, ALPN and client certificates are what they are with a certificate out of files.
async fn serves(gateway: &Gateway, pebble: &Pebble, clients: &Authority, name: &'static str) {
    let (to, trusting) = (gateway.public_addr(), Caller::trusting_root(pebble.root().await));
    let mut plain = trusting.ready().connect_as(to, name).await.unwrap();
    assert_eq!(status(&ask(&mut plain, &post()).await.unwrap()), Some(200));
    assert_eq!(status(&ask(&mut plain, &Post::to("/hooks/known")).await.unwrap()), Some(401));
    let known = trusting.clone().showing(&clients.client()).ready();
    let mut known = known.connect_as(to, name).await.unwrap();
    assert_eq!(status(&ask(&mut known, &Post::to("/hooks/known")).await.unwrap()), Some(200));
    let http2 = trusting.clone().protocols(&["h2", "http/1.1"]).ready();
    let http2 = http2.connect_as(to, name).await.unwrap();
    assert_eq!(http2.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    // No order is under way: there is no challenge to be looked for.
    let stranger = trusting.protocols(&["acme-tls/1"]).ready();
    let error = stranger.connect_as(to, name).await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
}

#[tokio::test]
async fn a_renewal_drops_no_connection_and_an_authority_that_is_away_costs_no_certificate() {
    let name = "renewed.example";
    let plan = Plan::new(&Authority::new("nobody"));
    // Two thirds of this go by until the renewal.
    let Some(mut pebble) = Pebble::start(plan.port, 12).await else { return };
    std::fs::write(plan.dir.path().join("directory.pem"), &pebble.https.pem).unwrap();
    let mut gateway = plan.start(&[name], &pebble.directory()).await;
    let first = issued(&gateway, |_| true).await;
    let client = Caller::believing_all().ready();
    let mut old = client.connect_as(gateway.public_addr(), name).await.unwrap();
    assert_eq!(status(&ask(&mut old, &post()).await.unwrap()), Some(200));

    let renewed = issued(&gateway, |facts| facts.serial != first.serial).await;
    assert!(renewed.not_before > first.not_before, "{renewed:?}");
    assert_eq!(status(&ask(&mut old, &post()).await.unwrap()), Some(200));
    let new = client.connect_as(gateway.public_addr(), name).await.unwrap();
    assert_ne!(serial(&new), first.serial);
    // As for one out of files, warning and metric are there.
    let warned = lines::said(&first.serial, "the certificate will expire").await;
    assert_eq!(warned["not_after"], first.not_after.to_string());
    assert!(expiry(&gateway) > first.not_after.as_secs());

    pebble.stop();
    let failed = timeout(ISSUE, failure(name)).await.expect("the renewal is tried");
    assert_eq!((&failed["failures"], &failed["level"]), (&1.into(), &"ERROR".into()));
    assert!(failed["error"].as_str().unwrap().contains("authority"), "{failed}");
    assert!((30..=45).contains(&failed["retry_in"].as_u64().unwrap()), "{failed}");
    let held = gateway.tls().unwrap().facts().unwrap();
    let mut still = client.connect_as(gateway.public_addr(), name).await.unwrap();
    assert_eq!(serial(&still), held.serial);
    assert_eq!(status(&ask(&mut still, &post()).await.unwrap()), Some(200));

    // Another name is ordered at once; that the authority has forgotten the account is no obstacle,
    // and the next time it has not.
    pebble.run().await;
    let mut names = vec![name];
    for (more, contact) in
        [("second.example", "a@clinic.example"), ("third.example", "b@clinic.example")]
    {
        names.push(more);
        let mut config = plan.config(&names, &pebble.directory());
        let Some(Tls::Acme(acme)) = &mut config.server.tls else { panic!() };
        acme.contact = vec![contact.to_owned()];
        let next = gateway.running().prepare(config).unwrap();
        gateway.switch(next, "a test");
        issued(&gateway, |facts| facts.names.len() == names.len()).await;
        let stream = client.connect_as(gateway.public_addr(), more).await.unwrap();
        assert_ne!(serial(&stream), held.serial);
        assert_eq!(accounts(&plan).matches(contact).count(), 1);
    }
    assert!(gateway.shutdown().await);
}

/// What the metric says.
fn expiry(gateway: &Gateway) -> u64 {
    let mut text = Exposition::default();
    gateway.metrics().write(&mut text);
    let text = text.finish();
    let name = "hookward_tls_certificate_expiry_timestamp_seconds ";
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

/// What is kept of the account.
fn accounts(plan: &Plan) -> String {
    let files = std::fs::read_dir(plan.dir.path().join("certificates")).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let accounts = files.filter(|path| path.extension().is_some_and(|e| e == "json"));
    accounts.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

async fn failure(domain: &str) -> serde_json::Value {
    let needle = format!("\"domains\":\"{domain}\"");
    while lines::count(&needle, "no certificate was issued") == 0 {
        sleep(Duration::from_millis(50)).await;
    }
    lines::said(&needle, "no certificate was issued").await
}

#[tokio::test]
async fn a_name_that_the_authority_does_not_find_here_is_told_with_its_reason() {
    let name = "lost.example";
    let plan = Plan::new(&Authority::new("nobody"));
    let Some(pebble) = Pebble::start(free_port(), LONG).await else { return };
    std::fs::write(plan.dir.path().join("directory.pem"), &pebble.https.pem).unwrap();
    let gateway = plan.start(&[name], &pebble.directory()).await;
    let failed = timeout(ISSUE, failure(name)).await.expect("the order fails");
    let error = failed["error"].as_str().unwrap();
    let expected = format!("the authority did not reach us as {name}: ");
    assert!(error.starts_with(&expected) && error.contains("Failed to connect"), "{error}");
    assert!(failed["retry_in"].as_u64().unwrap() >= 900, "{failed}");
    no_handshake(gateway.public_addr(), name).await;
    assert!(gateway.shutdown().await);
}

#[tokio::test]
async fn without_a_certificate_the_gateway_runs_and_says_so_and_lets_nobody_through() {
    let name = "never.example";
    let plan = Plan::new(&Authority::new("nobody"));
    let gateway = plan.start(&[name], &format!("https://127.0.0.1:{}/dir", free_port())).await;
    let failed = timeout(ISSUE, failure(name)).await.expect("the order fails");
    assert!(failed["error"].as_str().unwrap().contains("Connection refused"), "{failed}");
    assert_eq!(gateway.tls().unwrap().facts(), None);
    no_handshake(gateway.public_addr(), name).await;
    lines::said("\"failure\":\"no certificate yet\"", "connections without a request").await;
    assert!(gateway.shutdown().await);
}

async fn no_handshake(to: SocketAddr, name: &'static str) {
    let error = Caller::believing_all().ready().connect_as(to, name).await.unwrap_err();
    assert!(error.to_string().contains("received fatal alert"), "{error}");
}

#[tokio::test]
async fn a_gateway_whose_keys_would_lie_open_does_not_start() {
    let plan = Plan::new(&Authority::new("nobody"));
    let cache = plan.dir.path().join("certificates");
    std::fs::create_dir(&cache).unwrap();
    std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = plan.config(&["open.example"], "https://127.0.0.1:1/dir");
    let error = Gateway::start(config, Clock::System).await.unwrap_err().to_string();
    assert!(error.ends_with("is open to others (mode 0755); chmod 700 it"), "{error}");
}
