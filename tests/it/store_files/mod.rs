//! `hookward store`: what an operator does with a store's files.

mod backup;
mod export;
mod rebuild;
mod stat;
mod usage;
mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::app::Down;
use crate::client::Post;
use crate::gateway::{Setup, setup};
use crate::process::{Said, hookward, run};

/// Runs `hookward store COMMAND --store data` in the directory.
async fn store(dir: &Path, command: &[&str]) -> Said {
    let all = [&["store"], command, &["--store", "data"]].concat();
    run(hookward(dir, &all)).await
}

/// The same, which prints JSON.
async fn store_json(dir: &Path, command: &[&str]) -> (Option<i32>, Value) {
    let said = store(dir, &[command, &["--json"]].concat()).await;
    let json = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"));
    (said.code, json)
}

fn lab(url: &str) -> Setup {
    setup(&format!(
        "[source.lab]\nauth = {{ kind = \"none-dangerous\" }}\nevent.id = \"/id\"\n\
         event.subject = \"/subject\"\nevent.type = \"/type\"\n\
         [upstream.app]\nurl = \"{url}\"\nretry = {{ first = \"1ms\", max = \"2ms\", give_up = \"1h\" }}\n"
    ))
}

fn post(n: usize) -> Post {
    let body = format!(r#"{{"id":"e{n}","subject":"s{n}","type":"order.shipped","n":{n}}}"#);
    Post::to("/hooks/lab").body(body)
}

/// A store of so many segments with so many events each, none of which the app has taken, and the
/// events' ids.
async fn stopped(segments: usize, events: usize) -> (TempDir, Vec<String>, Down) {
    let down = Down::new();
    let setup = lab(&down.url());
    let mut ids = Vec::new();
    let mut dir = tempfile::tempdir().unwrap();
    for _ in 0..segments {
        let gateway = setup.start_in(dir).await;
        for _ in 0..events {
            ids.push(gateway.accepts(&post(ids.len())).await);
        }
        dir = gateway.stop().await;
    }
    (dir, ids, down)
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("data/journal")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Flips a bit in the first place where this stands in the file; returns where that is.
fn flip(path: &Path, text: &str) -> usize {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(text.len()).position(|w| w == text.as_bytes());
    let at = at.unwrap_or_else(|| panic!("no {text} in {}", path.display()));
    bytes[at] ^= 4;
    std::fs::write(path, bytes).unwrap();
    at
}

/// All files of the store with their content and when they were changed.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![dir.join("data")];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let changed = path.metadata().unwrap().modified().unwrap();
            if path.is_dir() {
                files.insert(path.clone(), (Vec::new(), changed));
                dirs.push(path);
            } else {
                files.insert(path.clone(), (std::fs::read(&path).unwrap(), changed));
            }
        }
    }
    files
}
