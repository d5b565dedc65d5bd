//! A backup is a copy of the journal's files, made as docs/backup.md says, while the gateway runs.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::{store, store_json};
use crate::app::{App, reply};
use crate::client::Connection;
use crate::process::Process;

/// As it stands in the documentation.
const COPY: &str = "(umask 077 && mkdir -p backup/data/journal && cp -p data/journal/*.journal backup/data/journal/)";
const SENDERS: usize = 4;
/// Events before the copy begins, and while it is made.
const BEFORE: usize = 400;
const MEANWHILE: usize = 100;

/// Events, and deliveries, are kept that long.
fn config(app: &App, retention: &str) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[store]\nmin_free = \"0B\"\nretention = \"{retention}\"\n\
         [source.lab]\nauth = {{ kind = \"none-dangerous\" }}\nevent.id = \"/id\"\n\
         on_conflict = \"quarantine\"\n\
         [upstream.app]\nurl = \"{}\"\nretry = {{ first = \"1ms\", max = \"50ms\", give_up = \"{retention}\" }}\n",
        app.url()
    )
}

/// Sends until it is told to stop, and notes what is acknowledged.
struct Load {
    acked: Arc<Mutex<Vec<(u64, String)>>>,
    count: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    senders: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(to: SocketAddr) -> Self {
        let mut load = Self {
            acked: Arc::default(),
            count: Arc::default(),
            stop: Arc::default(),
            senders: Vec::new(),
        };
        for sender in 0..SENDERS {
            let (acked, count) = (Arc::clone(&load.acked), Arc::clone(&load.count));
            let stop = Arc::clone(&load.stop);
            load.senders.push(tokio::spawn(async move {
                let mut connection = Connection::open(to, None).await;
                for n in 0u64.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let number = n * SENDERS as u64 + sender as u64;
                    let body = format!(r#"{{"id":"e{number}"}}"#);
                    let post = crate::client::Post::to("/hooks/lab").body(body);
                    let answer = connection.send(&post).await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    acked.lock().push((number, answer.event_id().to_owned()));
                    count.fetch_add(1, Ordering::SeqCst);
                }
            }));
        }
        load
    }

    async fn until(&self, count: usize) {
        let enough = async {
            while self.count.load(Ordering::SeqCst) < count {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(crate::client::BOUND, enough).await.unwrap();
    }

    fn acked(&self) -> Vec<(u64, String)> {
        self.acked.lock().clone()
    }

    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for sender in self.senders {
            sender.await.unwrap();
        }
    }
}

async fn copy(dir: &Path) -> std::process::ExitStatus {
    let documented =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/backup.md"));
    assert!(documented.unwrap().lines().any(|line| line == COPY));
    let mut command = Command::new("sh");
    command.args(["-c", COPY]).current_dir(dir);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    output.status
}

/// Every event that was acknowledged before the copy began is in it: those that the original has
/// delivered are known, the others are delivered from it, by a gateway that finds no index, no lock
/// and another path.
#[tokio::test]
async fn a_copy_of_a_running_store_has_all_that_was_acknowledged_before_it() {
    let dir = tempfile::tempdir().unwrap();
    // The original's app takes half of what it gets.
    let half = App::answering(|d, _| {
        let number = d.event()["id"].as_str().unwrap()[1..].parse::<u64>().unwrap();
        reply(if number.is_multiple_of(2) { 200 } else { 503 })
    })
    .await;
    std::fs::write(dir.path().join("hookward.toml"), config(&half, "10m")).unwrap();
    let (mut original, address, _) = Process::serve(dir.path()).await;
    let load = Load::start(address);
    load.until(BEFORE).await;
    let before = load.acked();
    assert!(copy(dir.path()).await.success());
    load.until(BEFORE + MEANWHILE).await;
    load.end().await;
    original.signal("TERM");
    assert_eq!(original.end().await, Some(0));

    let place = dir.path().join("backup");
    let (code, verified) = store_json(&place, &["verify", "--live-copy"]).await;
    assert_eq!(code, Some(0), "{verified}");
    assert!(verified["events"].as_u64().unwrap() >= before.len() as u64, "{verified}");

    let app = App::start().await;
    std::fs::write(place.join("hookward.toml"), config(&app, "10m")).unwrap();
    let (mut restored, address, _) = Process::serve(&place).await;
    let odd = |(number, id): &(u64, String)| (!number.is_multiple_of(2)).then(|| id.clone());
    let undelivered: HashSet<String> = before.iter().filter_map(odd).collect();
    assert!(undelivered.len() > BEFORE / 4);
    app.wait_for(|seen| {
        let seen: HashSet<&str> = seen.iter().map(|delivery| delivery.id()).collect();
        undelivered.iter().all(|id| seen.contains(id.as_str()))
    })
    .await;
    let mut connection = Connection::open(address, None).await;
    for (number, id) in &before {
        let body = format!(r#"{{"id":"e{number}"}}"#);
        let answer = connection.send(&crate::client::Post::to("/hooks/lab").body(body)).await;
        assert_eq!((answer.status, answer.event_id()), (200, id.as_str()), "{number} is known");
    }
    restored.signal("TERM");
    assert_eq!(restored.end().await, Some(0));
    let said = restored.said();
    assert!(!said.iter().any(|line| line.contains("\"ERROR\"")), "{said:#?}");
}

/// Retention takes segments all the time. `cp` complains if one goes before it gets to it; a copy that it
/// does not complain about is sound, and has what was carried beyond the retention.
#[tokio::test]
async fn copies_that_are_made_while_retention_takes_segments_are_sound_or_told() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::start().await;
    std::fs::write(dir.path().join("hookward.toml"), config(&app, "2s")).unwrap();
    let (mut original, address, _) = Process::serve(dir.path()).await;
    let mut connection = Connection::open(address, None).await;
    let mut kept_back = String::new();
    for body in [r#"{"id":"x"}"#, r#"{"id":"x","other":1}"#] {
        let post = crate::client::Post::to("/hooks/lab").body(body);
        kept_back = connection.send(&post).await.event_id().to_owned();
    }
    let load = Load::start(address);
    let sound = async {
        loop {
            drop(std::fs::remove_dir_all(dir.path().join("backup")));
            if !copy(dir.path()).await.success() {
                continue;
            }
            let place = dir.path().join("backup");
            let (code, verified) = store_json(&place, &["verify", "--live-copy"]).await;
            assert_eq!(code, Some(0), "{verified}");
            if verified["carried"].as_u64().unwrap() > 0 {
                return place;
            }
        }
    };
    let place = tokio::time::timeout(3 * crate::client::BOUND, sound).await.unwrap();
    load.end().await;
    original.signal("TERM");
    assert_eq!(original.end().await, Some(0));
    let said = store(&place, &["export", "--state", "quarantined"]).await;
    assert_eq!((said.code, said.out.lines().count()), (Some(0), 1), "once, wherever it stands");
    assert!(said.out.contains(&kept_back), "{said:?}");
    let (_, stat) = store_json(&place, &["stat"]).await;
    assert_eq!(stat["events"]["states"]["quarantined"], 1, "{stat}");
}
