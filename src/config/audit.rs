//! `[audit]`: how long the audit trail is kept, where it is sent to, and what hangs on it.

pub(super) mod files;
mod output;

use std::path::PathBuf;

use http::Uri;

use self::files::{Named, What};
use super::context::Context;
use super::defaults::audit::{KEEP, MAX_SIZE, REQUIRED};
use super::problem::Contradiction;
use super::secrets::{self, Reference, Use};
use super::tree::{Node, Table};
use super::upstream::{literal, parse_url};
use super::{Audit, CheckpointPost, Checkpoints, certificates};
use crate::network;

#[cfg(test)]
pub(super) use self::output::{FILE_KEYS, SYSLOG_KEYS};

pub(super) const KEYS: &[&str] =
    &["retention", "max_size", "archive", "required", "checkpoints", "output"];
pub(super) const CHECKPOINT_KEYS: &[&str] = &["file", "url", "token", "ca"];

const FILE: &str = "a file's path";
const URL: &str = "an https URL with a host, without user or fragment, such as \"https://notary.example/checkpoints\"";

impl Audit {
    /// What holds without the table.
    pub fn defaults() -> Self {
        Self {
            retention: KEEP.default,
            max_size: MAX_SIZE.default.0,
            archive: None,
            required: REQUIRED,
            checkpoints: Checkpoints::default(),
            outputs: Vec::new(),
        }
    }
}

/// The trail, and which files beside the store's it is written to.
pub(super) struct Checked {
    pub(super) audit: Audit,
    pub(super) named: Vec<Named>,
}

/// Reads the table; all defaults hold where it is absent.
pub(super) fn read(table: &Table<'_>, cx: &mut Context<'_>) -> Checked {
    let mut named = Vec::new();
    let archive = table.get("archive").and_then(|node| {
        let path = path(&node, "a directory's path", cx)?;
        named.push(Named { spot: node.spot().clone(), path: path.clone(), what: What::Directory });
        Some(path)
    });
    let required = table.get("required").and_then(|node| node.flag(cx));
    let checkpoints = table.get("checkpoints").and_then(|node| checkpoints(&node, &mut named, cx));
    let outputs = table.get("output").map(|node| output::read(&node, &mut named, cx));
    let audit = Audit {
        retention: table.duration("retention", &KEEP, cx).value,
        max_size: table.size("max_size", &MAX_SIZE, cx).value.0,
        archive,
        required: required.unwrap_or(REQUIRED),
        checkpoints: checkpoints.unwrap_or_default(),
        outputs: outputs.unwrap_or_default(),
    };
    Checked { audit, named }
}

fn checkpoints(
    node: &Node<'_>,
    named: &mut Vec<Named>,
    cx: &mut Context<'_>,
) -> Option<Checkpoints> {
    let table = node.table(CHECKPOINT_KEYS, cx)?;
    let file = table.get("file").and_then(|node| written_file(&node, named, cx));
    if ["token", "ca"].into_iter().any(|key| table.has(key)) && !table.has("url") {
        cx.missing(table.spot(), "url", URL);
    } else if !table.has("file") && !table.has("url") {
        cx.missing(table.spot(), "file", "a file's path, or the key `url`");
    }
    let url = table.get("url").and_then(|node| read_url(&node, cx));
    let token = table.get("token").and_then(|node| {
        let reference = Reference::read(&node, cx)?;
        secrets::resolve(&reference, Use::Header, cx)
    });
    let ca = table.get("ca").and_then(|node| certificates::authorities(&node, cx));
    let post = url.map(|url| CheckpointPost { url, token: token.map(|token| token.used), ca });
    Some(Checkpoints { file, post })
}

fn read_url(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Uri> {
    let text = node.text(URL, cx)?;
    let Some(url) = parse_url(text).filter(|url| url.scheme_str() == Some("https")) else {
        node.refuse_unseen(URL, cx);
        return None;
    };
    if literal(&url).is_some_and(network::is_link_local) {
        cx.problem(node.spot(), Contradiction::LinkLocalForGood);
    }
    Some(url)
}

/// A file that something is appended to; where else it may not be, is judged when all was read.
fn written_file(node: &Node<'_>, named: &mut Vec<Named>, cx: &mut Context<'_>) -> Option<PathBuf> {
    let path = path(node, FILE, cx)?;
    named.push(Named { spot: node.spot().clone(), path: path.clone(), what: What::File });
    Some(path)
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
