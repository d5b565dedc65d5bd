//! `[audit]`: how long the audit trail is kept, and what hangs on it.

use std::path::PathBuf;

use super::Audit;
use super::context::Context;
use super::defaults::audit::{KEEP, MAX_SIZE, REQUIRED};
use super::tree::{Node, Table};

pub(super) const KEYS: &[&str] = &["retention", "max_size", "archive", "required", "checkpoints"];

impl Audit {
    /// What holds without the table.
    pub fn defaults() -> Self {
        Self {
            retention: KEEP.default,
            max_size: MAX_SIZE.default.0,
            archive: None,
            required: REQUIRED,
            checkpoints: None,
        }
    }
}

/// Reads the table; all defaults hold where it is absent.
pub(super) fn read(table: &Table<'_>, cx: &mut Context<'_>) -> Audit {
    let archive = table.get("archive").and_then(|node| path(&node, "a directory's path", cx));
    let required = table.get("required").and_then(|node| node.flag(cx));
    let checkpoints = table.get("checkpoints").and_then(|node| {
        let table = node.table(&["file"], cx)?;
        match table.get("file") {
            Some(node) => path(&node, "a file's path", cx),
            None => {
                cx.missing(table.spot(), "file", "a file's path");
                None
            }
        }
    });
    Audit {
        retention: table.duration("retention", &KEEP, cx).value,
        max_size: table.size("max_size", &MAX_SIZE, cx).value.0,
        archive,
        required: required.unwrap_or(REQUIRED),
        checkpoints,
    }
}

fn path(node: &Node<'_>, accepted: &'static str, cx: &mut Context<'_>) -> Option<PathBuf> {
    match node.text(accepted, cx)? {
        "" => {
            node.refuse("", accepted, None, cx);
            None
        }
        path => Some(cx.path(path)),
    }
}
