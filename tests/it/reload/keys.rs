//! Keys and certificates that change in their files.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::*;
use crate::pki::{self, Authority, Caller};

/// Sends with this key, one request after the other on new connections, until it is told to stop.
struct Sender {
    key: &'static str,
    numbers: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Sender {
    fn new(key: &'static str, numbers: &Arc<AtomicUsize>) -> Self {
        let numbers = Arc::clone(numbers);
        Self { key, numbers, sent: Arc::default(), stop: Arc::default() }
    }

    fn start(&self, public: SocketAddr, tasks: &mut JoinSet<Vec<String>>) {
        for _ in 0..4 {
            let (key, numbers) = (self.key, Arc::clone(&self.numbers));
            let (sent, stop) = (Arc::clone(&self.sent), Arc::clone(&self.stop));
            tasks.spawn(async move {
                let mut ids = Vec::new();
                let mut kept = post(0, key).connect(public).await;
                while !stop.load(Ordering::SeqCst) {
                    for on_kept in [true, false] {
                        let post = post(numbers.fetch_add(1, Ordering::SeqCst), key);
                        let answer =
                            if on_kept { kept.send(&post).await } else { post.send(public).await };
                        assert_eq!(answer.status, 200, "{key}: {answer:?}");
                        ids.push(answer.event_id().to_owned());
                        sent.fetch_add(1, Ordering::SeqCst);
                    }
                }
                ids
            });
        }
    }

    /// Waits until so many more requests have been answered.
    async fn more(&self, count: usize) {
        let goal = self.sent.load(Ordering::SeqCst) + count;
        let more = async {
            while self.sent.load(Ordering::SeqCst) < goal {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(crate::client::BOUND, more).await.expect("requests are answered");
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// A key that the configurations before and after both have is good all the time: not one request
/// is refused, and every event arrives.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_under_load_without_a_refusal() {
    let app = App::start().await;
    let mut files = Files::new(&app.url());
    let (mut process, public, _) = Process::serve(files.path()).await;
    let (numbers, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    let (old, new) = (Sender::new("one", &numbers), Sender::new("two", &numbers));
    old.start(public, &mut tasks);
    old.more(20).await;
    assert_eq!(post(1, "two").send(public).await.status, 401);

    files.source = key_files(&["one", "two"]);
    files.write();
    process.signal("HUP");
    let line = process.line(RELOADED).await;
    assert_eq!(field(&line, "changed"), "source.lab.keys");
    new.start(public, &mut tasks);
    // Over and over: with both keys before and after.
    for n in 0..5 {
        files.server = format!("listen = \"127.0.0.1:0\"\nmax_body = \"{}KiB\"", 10 + n);
        files.write();
        process.signal("HUP");
        process.lines(RELOADED, 2 + n).await;
        old.more(10).await;
        new.more(10).await;
    }
    old.stop();
    old.more(0).await;
    files.source = key_files(&["two"]);
    files.write();
    // Until then the old key's last requests may be on their way.
    let mut ids = Vec::new();
    while ids.len() < 4 {
        ids.push(tasks.join_next().await.unwrap().unwrap());
    }
    process.lines(RELOADED, 7).await;
    new.more(20).await;
    new.stop();
    while let Some(more) = tasks.join_next().await {
        ids.push(more.unwrap());
    }
    assert_eq!(post(1, "one").send(public).await.status, 401);
    let mut ids: Vec<String> = ids.into_iter().flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), numbers.load(Ordering::SeqCst));
    let seen = app.wait(ids.len()).await;
    let mut delivered: Vec<&str> = seen.iter().map(|d| d.id()).collect();
    delivered.sort_unstable();
    delivered.dedup();
    assert_eq!(delivered, ids);
    end(process).await;
}

#[tokio::test]
async fn a_secret_that_changes_in_its_file_is_taken_without_a_signal() {
    let app = App::start().await;
    let files = Files::new(&app.url());
    // As secrets are mounted: links to a directory that is exchanged as a whole.
    let path = |name: &str| files.path().join("secrets").join(name);
    for (version, value) in [("v1", key("one")), ("v2", key("two"))] {
        std::fs::create_dir(path(version)).unwrap();
        files.secret(&format!("{version}/one"), &value);
    }
    std::fs::remove_file(path("one")).unwrap();
    symlink("v1", path("..data")).unwrap();
    symlink("..data/one", path("one")).unwrap();
    let (mut process, public, _) = Process::serve(files.path()).await;
    assert_eq!(post(1, "one").send(public).await.status, 200);
    symlink("v2", path("..next")).unwrap();
    std::fs::rename(path("..next"), path("..data")).unwrap();
    let line = process.line(RELOADED).await;
    assert_eq!(field(&line, "changed"), "source.lab.keys");
    assert_eq!(post(2, "two").send(public).await.status, 200);
    assert_eq!(post(3, "one").send(public).await.status, 401);
    end(process).await;
}

/// Renewed in its files without a word to anyone, as those that renew do; half of a pair keeps the
/// old one in place.
#[tokio::test]
async fn a_renewed_certificate_is_taken_and_half_a_pair_is_not() {
    let (app, authority) = (App::start().await, Authority::new("roots"));
    let mut files = Files::new(&app.url());
    files.pair(&authority.server(0x5c01));
    files.server += "\ntls = { cert = \"secrets/cert.pem\", key = \"secrets/key.pem\" }";
    files.write();
    let (mut process, public, _) = Process::serve(files.path()).await;
    let client = Caller::trusting(&authority).ready();
    let mut kept = client.connect(public).await.unwrap();
    assert_eq!(pki::status(&pki::ask(&mut kept, &post(1, "one")).await.unwrap()), Some(200));
    files.secret("cert.pem", &authority.server(0x5c02).pem);
    let rejected = process.line(REJECTED).await;
    assert_eq!(field(&rejected, "errors"), 1);
    assert_eq!(pki::serial(&client.connect(public).await.unwrap()), "5c01");
    files.pair(&authority.server(0x5c03));
    let line = process.line(RELOADED).await;
    assert_eq!(field(&line, "changed"), "server.tls.cert");
    assert_eq!(pki::serial(&client.connect(public).await.unwrap()), "5c03");
    assert_eq!(pki::status(&pki::ask(&mut kept, &post(2, "one")).await.unwrap()), Some(200));
    // TLS itself stays on until a restart.
    files.server = "listen = \"127.0.0.1:0\"".to_owned();
    files.write();
    process.signal("HUP");
    process.line("server.tls: a change needs a restart").await;
    assert_eq!(pki::serial(&client.connect(public).await.unwrap()), "5c03");
    end(process).await;
}
