//! The keys that a request may have been made with: the source's, other sources', and each of them as
//! it is often mistaken.

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::Change;
use crate::config::{Auth, Config, Source};
use crate::event::SourceName;
use crate::secret::Secret;

/// A configured key by its place, never by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::verify) struct KeyRef {
    pub(in crate::cli::verify) source: SourceName,
    /// Counted from 1, in the order of the file.
    pub(in crate::cli::verify) number: usize,
    /// Where it is read: the variable's name, or the file's path.
    pub(in crate::cli::verify) place: String,
}

impl KeyRef {
    pub(in crate::cli::verify) fn of(source: &Source, index: usize) -> Self {
        let place = source.key_places.get(index).cloned().unwrap_or_default();
        Self { source: source.name.clone(), number: index + 1, place }
    }
}

/// A key to try.
pub(super) struct Candidate {
    pub(super) key: KeyRef,
    /// `None`: one of the source's own, as it is.
    pub(super) change: Option<Change>,
    /// As it would stand in the configuration.
    given: Secret,
    /// As it keys the MAC of Standard Webhooks.
    used: Secret,
}

impl Candidate {
    /// The source with this key and no other, authenticating so.
    pub(super) fn sole(&self, source: &Source, auth: &Auth) -> Source {
        let mut sole = super::offline(source);
        sole.keys = vec![self.given.clone()];
        sole.auth = match auth {
            Auth::StandardWebhooks { tolerance, .. } => {
                Auth::StandardWebhooks { tolerance: *tolerance, decoded: vec![self.used.clone()] }
            }
            other => other.clone(),
        };
        sole
    }
}

/// The source's own keys first, then each other one once.
pub(super) fn candidates(config: &Config, source: &Arc<Source>) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = Vec::new();
    let standard = matches!(source.auth, Auth::StandardWebhooks { .. });
    let mut add = |key: KeyRef, change: Option<Change>, given: &Secret, used: &Secret| {
        let known = |other: &Candidate| {
            if standard { other.used == *used } else { other.given == *given }
        };
        if !all.iter().any(known) {
            all.push(Candidate { key, change, given: given.clone(), used: used.clone() });
        }
    };
    for (index, key) in source.keys.iter().enumerate() {
        add(
            KeyRef::of(source, index),
            None,
            key,
            &decoded(source, index).unwrap_or_else(|| key.clone()),
        );
    }
    if !matches!(source.auth, Auth::ApiKey { .. }) {
        for (index, key) in source.keys.iter().enumerate() {
            for (words, other) in mistaken(key, standard) {
                let words = format!("the key is taken {words} by the sender");
                let change = Change { code: "key_form", words };
                add(KeyRef::of(source, index), Some(change), &other, &other);
            }
        }
    }
    for other in config.sources.iter().filter(|other| other.name != source.name) {
        for (index, key) in other.keys.iter().enumerate() {
            let words = format!("the key is one of source {}", other.name);
            let change = Change { code: "other_source_key", words };
            let used = decoded(other, index).or_else(|| base64(key)).unwrap_or_else(|| key.clone());
            add(KeyRef::of(other, index), Some(change), key, &used);
        }
    }
    all
}

fn decoded(source: &Source, index: usize) -> Option<Secret> {
    match &source.auth {
        Auth::StandardWebhooks { decoded, .. } => decoded.get(index).cloned(),
        Auth::ApiKey { .. } | Auth::Hmac(_) | Auth::NoneDangerous => None,
    }
}

/// The key as it is mistaken: decoded where its text is meant, or the other way round; with white
/// space that came along when it was copied.
fn mistaken(key: &Secret, standard: bool) -> Vec<(&'static str, Secret)> {
    let text = key.expose();
    let mut all = Vec::new();
    if standard {
        all.push(("as its text, without decoding it,", key.clone()));
        all.extend(
            text.strip_prefix(b"whsec_")
                .map(|rest| ("as its text behind `whsec_`", Secret::new(rest.to_vec()))),
        );
    } else {
        all.extend(base64(key).map(|key| ("decoded from base64", key)));
        all.extend(hex::decode(text).ok().map(|bytes| ("decoded from hex", Secret::new(bytes))));
    }
    if text.trim_ascii().len() != text.len() {
        all.push(("without the white space around it", Secret::new(text.trim_ascii().to_vec())));
    }
    let ended = [text, b"\n"].concat();
    all.push(("with a newline behind it", Secret::new(ended)));
    all
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn base64(key: &Secret) -> Option<Secret> {
    let text = key.expose();
    let text = text.strip_prefix(b"whsec_").unwrap_or(text);
    BASE64.decode(text).ok().filter(|bytes| !bytes.is_empty()).map(Secret::new)
}
