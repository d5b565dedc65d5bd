//! Identification: type, id, time, subject and dedupe key out of a verified body. The only place
//! that makes an [`Identified`].

use std::sync::Arc;

use bytes::Bytes;

use crate::admit::{Refusal, Verified};
use crate::clock::UnixMillis;
use crate::config::Source;
use crate::event::{BodyHash, DedupeKey, EventMeta};

/// A verified event that is known by a key and ready to be stored. Made by [`identify`] only.
#[derive(Debug)]
pub struct Identified {
    source: Arc<Source>,
    received_at: UnixMillis,
    body: Bytes,
    body_hash: BodyHash,
    key: DedupeKey,
    meta: EventMeta,
    normalized_type: String,
    wanted: bool,
}

impl Identified {
    /// Whose event it is.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// When the request's headers were complete.
    pub fn received_at(&self) -> UnixMillis {
        self.received_at
    }

    /// The raw body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// SHA-256 of the body.
    pub fn body_hash(&self) -> BodyHash {
        self.body_hash
    }

    /// What makes it one with its repeats.
    pub fn key(&self) -> DedupeKey {
        self.key
    }

    /// What was read out of it.
    pub fn meta(&self) -> &EventMeta {
        &self.meta
    }

    /// The normalized event name.
    pub fn normalized_type(&self) -> &str {
        &self.normalized_type
    }

    /// Whether the source's `events` let it through to the upstreams.
    pub fn wanted(&self) -> bool {
        self.wanted
    }
}

/// What a verified request turned out to be.
#[derive(Debug)]
pub enum Identification {
    /// An event.
    Event(Box<Identified>),
    /// Slack's `url_verification`: to be answered with the challenge, and not stored.
    Challenge(String),
}

/// Reads the event out of a verified request.
///
/// # Errors
/// `unsupported_media_type`, `malformed_json` and `event_too_old`.
pub fn identify(_request: Verified) -> Result<Identification, Refusal> {
    unimplemented!()
}
