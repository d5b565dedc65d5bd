//! What identifies an event must not be what proves who sent it: credentials would end up as event
//! ids in the store, in logs and with the app, and a rotated key would make new events of old ones.

use http::HeaderName;

use super::context::{Context, Spot};
use super::problem::Contradiction;
use super::tree::Table;
use super::{Auth, EventPaths, Place, Selector};

/// The header that the scheme's credential comes in.
pub(super) fn header(auth: &Auth) -> Option<HeaderName> {
    match auth {
        Auth::ApiKey { header } => Some(header.clone()),
        Auth::Hmac(scheme) => Some(scheme.header.clone()),
        Auth::StandardWebhooks { .. } => Some(HeaderName::from_static("webhook-signature")),
        Auth::NoneDangerous => None,
    }
}

/// Refuses each part of an event, and each value of a dedupe key, that is taken from the header
/// with the credential. `table` is the source's.
pub(super) fn check(
    auth: &Auth,
    event: &EventPaths,
    dedupe: Option<&[Selector]>,
    table: &Table<'_>,
    cx: &mut Context<'_>,
) {
    let Some(header) = header(auth) else {
        return;
    };
    let EventPaths { kind, id, time, subject, tenant, data: _ } = event;
    let parts =
        [("type", kind), ("id", id), ("time", time), ("subject", subject), ("tenant", tenant)];
    for (key, _) in parts.into_iter().filter(|(_, selector)| looks_at(selector, &header)) {
        cx.problem(&place(table, "event", Some(key)), Contradiction::CredentialAsEvent);
    }
    if dedupe.is_some_and(|values| values.iter().any(|value| looks_at(value, &header))) {
        cx.problem(&place(table, "dedupe", None), Contradiction::CredentialAsEvent);
    }
}

fn looks_at(selector: &Selector, header: &HeaderName) -> bool {
    selector.0.iter().any(|place| matches!(place, Place::Header(name) if name == header))
}

/// Where the key stands; where it would, when a preset has filled it in.
fn place(table: &Table<'_>, key: &str, part: Option<&str>) -> Spot {
    let node = table.get(key);
    let spot = node.as_ref().map_or_else(|| table.spot().child(key), |node| node.spot().clone());
    let Some(part) = part else {
        return spot;
    };
    let inner = node.as_ref().and_then(|node| node.child(part));
    inner.map_or_else(|| spot.child(part), |node| node.spot().clone())
}
