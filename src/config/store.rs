//! `[store]`: where events are kept, and for how long.

use std::time::Duration;

use super::Store;
use super::context::{At, Context};
use super::defaults::{MIN_FREE, RETENTION, STORE_PATH};
use super::problem::{ProblemKind, Warning};
use super::secrets::Reference;
use super::tree::Table;

pub(super) const KEYS: &[&str] = &["path", "retention", "encryption_key", "min_free"];

/// The store, and where its retention stands.
pub(super) struct Checked {
    pub(super) store: Store,
    pub(super) retention: At<Duration>,
}

/// Reads the table; all defaults hold where it is absent.
pub(super) fn read(table: &Table<'_>, cx: &mut Context<'_>) -> Checked {
    match table.get("encryption_key") {
        Some(node) => {
            Reference::read(&node, cx);
            cx.problem(
                node.spot(),
                ProblemKind::NotAvailable(Some("an encrypted disk beneath store.path")),
            );
        }
        None => cx.problem(&table.spot().child("encryption_key"), Warning::Unencrypted),
    }
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
        min_free: table.size("min_free", &MIN_FREE, cx).value.0,
    };
    Checked { store, retention }
}
