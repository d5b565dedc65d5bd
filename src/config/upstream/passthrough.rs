//! `original_signature` and `resign`: by what the app knows that bytes which are passed through are
//! the provider's. Only for the format `passthrough`, since no other sends bytes that a provider signs.

use std::collections::BTreeMap;

use crate::config::context::Context;
use crate::config::defaults::ORIGINAL_SIGNATURE;
use crate::config::forwarded::{RESERVED, is_credential};
use crate::config::problem::{Contradiction, ProblemKind, SecretProblem};
use crate::config::secrets::{self, Reference};
use crate::config::tree::{Node, Table, nearest};
use crate::config::{
    Auth, Format, OriginalSignature, Resign, SignedPart, auth, credential, source,
};
use crate::event::SourceName;

use super::headers::Headers;

const RESIGN: &str = "a table of sources' names such as { novamed = { env = \"NOVAMED_KEY\" } }";

/// What the two keys say.
pub(super) struct Passthrough {
    pub(super) original_signature: OriginalSignature,
    pub(super) resign: BTreeMap<SourceName, Resign>,
}

/// Reads both. `format` and the static `headers` are those of the upstream, if they are valid.
pub(super) fn read(
    table: &Table<'_>,
    format: Option<Format>,
    sources: &[source::Checked],
    headers: Option<&Headers>,
    cx: &mut Context<'_>,
) -> Option<Passthrough> {
    let choices = [("drop", OriginalSignature::Drop), ("keep", OriginalSignature::Keep)];
    let original = table.get("original_signature").map(|node| (node.choice(&choices, cx), node));
    let resign = table.get("resign").map(|node| (read_resign(&node, sources, headers, cx), node));
    if format.is_some_and(|format| format != Format::Passthrough) {
        // What asks for nothing contradicts nothing.
        let kept = original.as_ref().filter(|(s, _)| *s == Some(OriginalSignature::Keep));
        let nodes = kept.map(|(_, node)| node).into_iter().chain(resign.as_ref().map(|(_, n)| n));
        for node in nodes {
            cx.problem(node.spot(), Contradiction::OnlyPassthrough);
        }
    }
    Some(Passthrough {
        original_signature: original.map_or(Some(ORIGINAL_SIGNATURE), |(read, _)| read)?,
        resign: resign.map_or(Some(BTreeMap::new()), |(read, _)| read)?,
    })
}

fn read_resign(
    node: &Node<'_>,
    sources: &[source::Checked],
    headers: Option<&Headers>,
    cx: &mut Context<'_>,
) -> Option<BTreeMap<SourceName, Resign>> {
    if !node.is_table() && !node.is_list() {
        cx.problem(node.spot(), SecretProblem::Plaintext);
        return None;
    }
    let entries = node.open_table(RESIGN, cx)?.entries();
    let read = entries.iter().map(|(name, node)| one(name, node, sources, headers, cx));
    let read: Vec<_> = read.collect();
    read.into_iter().collect()
}

fn one(
    name: &str,
    node: &Node<'_>,
    sources: &[source::Checked],
    headers: Option<&Headers>,
    cx: &mut Context<'_>,
) -> Option<(SourceName, Resign)> {
    let Some(checked) = sources.iter().find(|source| source.name == name) else {
        let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        let meant = nearest(name, &names).map(|name| format!("\"{name}\""));
        node.refuse(name, "the name of a source", meant, cx);
        return None;
    };
    let reference = Reference::read(node, cx);
    // What is wrong with the source itself has been told.
    let source = checked.source.as_ref()?;
    let standard = matches!(source.auth, Auth::StandardWebhooks { .. });
    match credential::header(&source.auth) {
        None => cx.problem(node.spot(), Contradiction::NothingToSign),
        Some(header) if !standard && RESERVED.contains(&header.as_str()) => {
            cx.problem(node.spot(), Contradiction::SignatureTaken);
        }
        Some(header) if headers.is_some_and(|all| all.contains_key(header.as_str())) => {
            let (found, by) = (format!("\"{header}\""), "the table `headers`".to_owned());
            cx.problem(node.spot(), ProblemKind::Taken { found, by });
        }
        Some(_) if covers_credential(&source.auth) => {
            cx.problem(node.spot(), Contradiction::CredentialCovered);
        }
        Some(_) => {}
    }
    let key = secrets::resolve(&reference?, auth::use_of_keys(&source.auth), cx)?.used;
    let auth = match &source.auth {
        // The provider's own keys are not needed for this.
        Auth::StandardWebhooks { tolerance, decoded: _ } => {
            Auth::StandardWebhooks { tolerance: *tolerance, decoded: Vec::new() }
        }
        auth => auth.clone(),
    };
    Some((source.name.clone(), Resign { auth, key }))
}

/// Whether the scheme signs a header that is never stored, so that nobody can sign it anew.
fn covers_credential(auth: &Auth) -> bool {
    let Auth::Hmac(scheme) = auth else { return false };
    let covered =
        |part: &SignedPart| matches!(part, SignedPart::Header(name) if is_credential(name));
    scheme.signed.iter().any(covered)
}
