//! `forward_headers`: what of a provider's request is kept with its event beside the body, so that an
//! upstream with the format `passthrough` gets it. It stands in the store, so no credential may be
//! among it.

use http::HeaderName;

use super::context::Context;
use super::defaults::{MAX_FORWARD_HEADERS, MAX_FORWARD_NAME};
use super::problem::{Contradiction, ProblemKind};
use super::tree::{Node, Table};
use super::{Source, credential, selector};

const HEADERS: &str = "a list of headers' names such as [\"X-Event-Type\"]";
const HEADER: &str =
    "any header but credentials, those of HTTP's framing and those of Hookward itself";

/// Headers that hold credentials, whatever the source's scheme is.
const CREDENTIALS: &[&str] = &["authorization", "cookie", "proxy-authorization", "x-api-key"];

/// Whether a header of this name holds a credential, whatever the source's scheme is.
pub fn is_credential(name: &HeaderName) -> bool {
    CREDENTIALS.contains(&name.as_str())
}

/// Headers that an upstream's request has of its own, because they belong to HTTP or to Hookward.
pub(super) const RESERVED: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "hookward-attempt",
    "hookward-event-id",
    "hookward-source",
    "keep-alive",
    "proxy-connection",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// Reads the list. An empty one keeps nothing, also of what a preset would.
pub(super) fn read(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Vec<HeaderName>> {
    let list = node.list_up_to(HEADERS, MAX_FORWARD_HEADERS, cx)?;
    let mut names: Vec<Option<HeaderName>> = Vec::new();
    for node in &list {
        let name = header(node, cx);
        if let Some(name) = &name
            && names.iter().flatten().any(|known| known == name)
        {
            let (found, by) = (format!("\"{name}\""), "the same list".to_owned());
            cx.problem(node.spot(), ProblemKind::Taken { found, by });
        }
        names.push(name);
    }
    names.into_iter().collect()
}

fn header(node: &Node<'_>, cx: &mut Context<'_>) -> Option<HeaderName> {
    let name = selector::header(node, cx)?;
    let text = name.as_str();
    if RESERVED.contains(&text) || is_credential(&name) || text.len() > MAX_FORWARD_NAME {
        node.refuse(text, HEADER, None, cx);
        return None;
    }
    Some(name)
}

/// Refuses the header with the source's own credential. Where only the preset names it, and `auth` is
/// another than the preset's, it is just not kept.
pub(super) fn check(source: &mut Source, table: &Table<'_>, cx: &mut Context<'_>) {
    let Some(credential) = credential::header(&source.auth) else {
        return;
    };
    let before = source.forward_headers.len();
    source.forward_headers.retain(|header| *header != credential);
    let named = source.forward_headers.len() < before;
    if let Some(node) = table.get("forward_headers").filter(|_| named) {
        cx.problem(node.spot(), Contradiction::CredentialForwarded);
    }
}
