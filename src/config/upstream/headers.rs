//! `headers`: what every request to the upstream carries along. Values are secrets.

use std::collections::BTreeMap;

use http::HeaderName;

use crate::config::context::Context;
use crate::config::defaults as d;
use crate::config::forwarded::RESERVED;
use crate::config::problem::{ProblemKind, SecretProblem};
use crate::config::secrets::{self, Reference, Use};
use crate::config::selector::header_of;
use crate::config::tree::Node;
use crate::secret::Secret;

const HEADERS: &str = "a table such as { Authorization = { env = \"APP_TOKEN\" } }";

pub(super) type Headers = BTreeMap<String, (HeaderName, Secret)>;

/// Reads the table.
pub(super) fn read(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Headers> {
    if !node.is_table() && !node.is_list() {
        cx.problem(node.spot(), SecretProblem::Plaintext);
        return None;
    }
    let entries = node.open_table(HEADERS, cx)?.entries();
    if entries.len() > d::MAX_STATIC_HEADERS {
        let (found, accepted) =
            (entries.len().to_string(), format!("at most {}", d::MAX_STATIC_HEADERS));
        let accepted = accepted.into();
        cx.problem(node.spot(), ProblemKind::NotAccepted { found, accepted, nearest: None });
        return None;
    }
    let mut headers = Some(Headers::new());
    for (name, node) in entries {
        let header = read_header(name, &node, headers.as_ref(), cx);
        headers = headers.zip(header).map(|(mut all, (name, value))| {
            all.insert(name.as_str().to_owned(), (name, value));
            all
        });
    }
    headers
}

fn read_header(
    name: &str,
    node: &Node<'_>,
    others: Option<&Headers>,
    cx: &mut Context<'_>,
) -> Option<(HeaderName, Secret)> {
    let reference = Reference::read(node, cx);
    let header = header_of(node, name, cx)?;
    if RESERVED.contains(&header.as_str()) {
        let accepted = "any header but those of HTTP's framing and of Hookward itself";
        node.refuse(name, accepted, None, cx);
        return None;
    }
    if others.is_some_and(|others| others.contains_key(header.as_str())) {
        let (found, by) = (format!("\"{header}\""), "the same table".to_owned());
        cx.problem(node.spot(), ProblemKind::Taken { found, by });
        return None;
    }
    secrets::resolve(&reference?, Use::Header, cx).map(|value| (header, value.used))
}
