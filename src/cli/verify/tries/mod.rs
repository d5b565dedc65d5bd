//! What would make a refused credential pass: with which key, over which body, written in which way.
//! Everything is judged by admission itself, with a source that differs in nothing but what is tried.
//!
//! Never shows a key, nor a signature that would be right: whoever got that for a body of their own
//! could forge events, and `verify` would be the oracle to ask. It says no more than whether what is
//! presented fits, and bodies are tried only as the captured one may have been before something
//! changed it.

mod bodies;
mod keys;
mod restyle;
mod shapes;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use self::bodies::Variant;
use self::keys::{Candidate, candidates};
use self::shapes::{Shape, shapes};
use crate::admit::{Received, Refusal, Verifier};
use crate::audit::Reason;
use crate::clock::UnixMillis;
use crate::config::{Auth, Config, Source};
use crate::listen::Origin;

pub(super) use self::keys::KeyRef;

/// Unix times from here on are no seconds (the year 5138), but milliseconds.
pub(super) const FIRST_MILLIS: u64 = 100_000_000_000;

/// How many bytes of bodies are hashed in search of one that fits, and how many requests are judged.
const MOST_BYTES: usize = 512 << 20;
const MOST_TRIES: usize = 20_000;

/// How many ways to pass are named.
const MOST_HINTS: usize = 5;

/// Something that is not as the source has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// For programs.
    pub(super) code: &'static str,
    /// For people.
    pub(super) words: String,
}

/// A way to pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hint {
    /// With this key; `None`: no key is needed, or any of the other source's.
    pub(super) key: Option<KeyRef>,
    /// And with all of these.
    pub(super) changes: Vec<Change>,
}

/// A credential, and by what it is judged.
#[derive(Clone, Copy)]
pub(super) struct Presented<'r> {
    pub(super) config: &'r Config,
    pub(super) source: &'r Arc<Source>,
    pub(super) headers: &'r HeaderMap,
    pub(super) body: &'r Bytes,
    pub(super) at: UnixMillis,
}

/// The source without what no capture can show: a client certificate is part of the handshake.
pub(super) fn offline(source: &Source) -> Source {
    Source { client_ca: None, ..source.clone() }
}

/// What admission says of the head alone, before the body is read.
///
/// # Errors
/// Why it is refused.
pub(super) fn judge_head(
    source: Source,
    headers: &HeaderMap,
    at: UnixMillis,
) -> Result<(), Refusal> {
    verifier(&Arc::new(source))?.check_head(headers, at, &Origin::nowhere())
}

/// What admission says, in the order in which the gateway asks it: first of the head alone.
///
/// # Errors
/// Why it is refused.
pub(super) fn judge(
    source: Source,
    headers: &HeaderMap,
    body: &Bytes,
    at: UnixMillis,
) -> Result<(), Refusal> {
    let source = Arc::new(source);
    let verifier = verifier(&source)?;
    let origin = Origin::nowhere();
    verifier.check_head(headers, at, &origin)?;
    let (headers, body) = (headers.clone(), body.clone());
    verifier.verify(Received { source, headers, body, received_at: at, origin }).map(drop)
}

fn verifier(source: &Arc<Source>) -> Result<Verifier, Refusal> {
    let unusable = Refusal::new(Reason::CredentialInvalid, "the source's client_ca cannot be used");
    Verifier::new(Arc::clone(source)).map_err(|_| unusable)
}

/// When the request says that it was signed, in Unix seconds as the source reads it.
pub(super) fn claimed(source: &Source, headers: &HeaderMap) -> Option<u64> {
    verifier(&Arc::new(offline(source))).ok()?.claimed_at(headers)
}

/// Those of the source's keys with which the credential passes.
pub(super) fn matching(presented: &Presented<'_>) -> Vec<KeyRef> {
    let Presented { config, source, headers, body, at } = *presented;
    let passes = |candidate: &Candidate| {
        candidate.change.is_none()
            && judge(candidate.sole(source, &source.auth), headers, body, at).is_ok()
    };
    candidates(config, source).into_iter().filter(passes).map(|candidate| candidate.key).collect()
}

/// The fewest changes with which the credential would pass, up to a few ways; none when nothing of
/// what is tried would do. `rest` is all that the capture has behind the head.
pub(super) fn search(presented: &Presented<'_>, rest: &Bytes) -> Vec<Hint> {
    let mut hints = as_other_sources(presented);
    let Presented { config, source, headers, .. } = *presented;
    let bodied = matches!(source.auth, Auth::Hmac(_) | Auth::StandardWebhooks { .. });
    let most = usize::try_from(config.server.max_body).unwrap_or(usize::MAX);
    let mut bodies = bodies::variants(presented.body, rest, most);
    if !bodied {
        bodies.truncate(1);
    }
    let shapes = shapes(source, headers, &|shape| is_readable(source, shape));
    let keys = candidates(config, source);
    let mut found = None;
    let mut bytes = 0_usize;
    for (cost, shape, body, key) in in_order(&shapes, &bodies, &keys).take(MOST_TRIES) {
        bytes = bytes.saturating_add(body.body.len());
        let worse = found.is_some_and(|found| cost > found);
        if worse || bytes > MOST_BYTES || hints.len() >= MOST_HINTS {
            break;
        }
        let sole = key.sole(source, &shape.auth);
        let Some(time) = fits(sole, shape, &body.body, presented.at) else { continue };
        found = Some(cost);
        let mut changes = shape.changes.clone();
        changes.extend(body.change.clone());
        changes.extend(key.change.clone());
        changes.extend(time);
        hints.push(Hint { key: Some(key.key.clone()), changes });
    }
    hints
}

/// All that can be tried together: what needs the fewest changes first.
fn in_order<'a>(
    shapes: &'a [Shape],
    bodies: &'a [Variant],
    keys: &'a [Candidate],
) -> impl Iterator<Item = (usize, &'a Shape, &'a Variant, &'a Candidate)> {
    let of_body = |body: &Variant| usize::from(body.change.is_some());
    let of_key = |key: &Candidate| usize::from(key.change.is_some());
    let most = shapes.iter().map(|shape| shape.changes.len()).max().unwrap_or_default() + 2;
    (0..=most).flat_map(move |cost| {
        // What a body and a key may add is two at most.
        let near =
            move |shape: &&Shape| (shape.changes.len()..=shape.changes.len() + 2).contains(&cost);
        shapes.iter().filter(near).flat_map(move |shape| {
            bodies.iter().flat_map(move |body| {
                let left = cost.checked_sub(shape.changes.len() + of_body(body));
                let fit = move |key: &&Candidate| left == Some(of_key(key));
                keys.iter().filter(fit).map(move |key| (cost, shape, body, key))
            })
        })
    })
}

/// Whether the shape's credential is of a form that can be checked at all.
fn is_readable(source: &Source, shape: &Shape) -> bool {
    let source = Source { auth: shape.auth.clone(), ..offline(source) };
    claims(&source, &shape.headers).is_ok()
}

/// The time that the headers claim, if a credential can be read out of them.
fn claims(source: &Source, headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let verifier = verifier(&Arc::new(source.clone()))?;
    let seconds = verifier.claimed_at(headers);
    let at = UnixMillis(seconds.unwrap_or_default().saturating_mul(1000));
    verifier.check_head(headers, at, &Origin::nowhere()).map(|()| seconds)
}

/// Whether the credential fits at the time judged, or else at the time that it claims itself: then
/// with what is wrong with that.
fn fits(source: Source, shape: &Shape, body: &Bytes, at: UnixMillis) -> Option<Option<Change>> {
    if judge(source.clone(), &shape.headers, body, at).is_ok() {
        return Some(None);
    }
    let seconds = claims(&source, &shape.headers).ok().flatten()?;
    let own = UnixMillis(seconds.saturating_mul(1000));
    judge(source, &shape.headers, body, own).ok()?;
    let change = if seconds >= FIRST_MILLIS {
        let words = "the timestamp is in milliseconds, and the source reads seconds";
        Change { code: "timestamp_unit", words: words.to_owned() }
    } else {
        let words = format!("it is judged at its own time, {own} (--at {seconds})");
        Change { code: "time", words }
    };
    Some(Some(change))
}

/// Other sources that would take the request as it is.
fn as_other_sources(presented: &Presented<'_>) -> Vec<Hint> {
    let Presented { config, source, headers, .. } = *presented;
    let mut hints = Vec::new();
    for other in config.sources.iter().filter(|other| other.name != source.name) {
        if matches!(other.auth, Auth::NoneDangerous) || hints.len() >= MOST_HINTS {
            continue;
        }
        // At its own time, where the source at hand has read none.
        let at = claimed(other, headers).filter(|seconds| *seconds < FIRST_MILLIS);
        let at = at.map_or(presented.at, |seconds| UnixMillis(seconds.saturating_mul(1000)));
        let keys = matching(&Presented { source: other, at, ..*presented });
        if let Some(key) = keys.into_iter().next() {
            let words = format!("it goes to source {} ({})", other.name, other.path);
            hints.push(Hint {
                key: Some(key),
                changes: vec![Change { code: "other_source", words }],
            });
        }
    }
    hints
}
