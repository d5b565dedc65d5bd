//! `[store]`: where events are kept, and for how long.

use std::time::Duration;

use super::Store;
use super::context::{At, Context};
use super::defaults::{MAX_KEYS, MIN_FREE, RETENTION, STORE_PATH};
use super::problem::{SecretProblem, Warning};
use super::secrets::{self, Reference};
use super::tree::{Node, Table};
use crate::secret::Key;

pub(super) const KEYS: &[&str] = &["path", "retention", "encryption_key", "min_free"];

const KEY_LIST: &str =
    "{ file = \"PATH\" } or { env = \"NAME\" }, or a list of them, the key for new events first";

/// The store, and where its retention stands.
pub(super) struct Checked {
    pub(super) store: Store,
    pub(super) retention: At<Duration>,
}

/// Reads the table; all defaults hold where it is absent.
pub(super) fn read(table: &Table<'_>, cx: &mut Context<'_>) -> Checked {
    let encryption_keys = match table.get("encryption_key") {
        Some(node) => read_keys(&node, cx),
        None => {
            cx.problem(&table.spot().child("encryption_key"), Warning::Unencrypted);
            Vec::new()
        }
    };
    let path = match table.get("path") {
        Some(node) => match node.text("a directory's path", cx) {
            Some("") => {
                node.refuse("", "a directory's path", None, cx);
                STORE_PATH
            }
            other => other.unwrap_or(STORE_PATH),
        },
        None => STORE_PATH,
    };
    let retention = table.duration("retention", &RETENTION, cx);
    let store = Store {
        path: cx.path(path),
        retention: retention.value,
        encryption_keys,
        min_free: table.size("min_free", &MIN_FREE, cx).value.0,
    };
    Checked { store, retention }
}

/// One key, or a list of them. What is wrong with one is a problem, and then nothing starts.
fn read_keys(node: &Node<'_>, cx: &mut Context<'_>) -> Vec<Key> {
    let nodes = if node.is_list() {
        node.full_list(KEY_LIST, MAX_KEYS, cx).unwrap_or_default()
    } else {
        Vec::new()
    };
    let nodes = if node.is_list() { &nodes[..] } else { std::slice::from_ref(node) };
    let mut keys: Vec<Key> = Vec::new();
    for node in nodes {
        let reference = Reference::read(node, cx);
        let Some(key) = reference.and_then(|reference| secrets::key(&reference, cx)) else {
            continue;
        };
        if keys.contains(&key) {
            cx.problem(node.spot(), SecretProblem::Repeated);
        }
        keys.push(key);
    }
    keys
}
