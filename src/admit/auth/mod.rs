//! The authentication schemes. Each checks a request's headers and raw body against all the keys
//! of its source, and says no more than yes or the reason why not.
//!
//! The form of a credential is judged before its truth: a header that is missing, repeated or not
//! printable ASCII is told apart from one that matches no key.
//!
//! `check_head` judges what the headers alone decide, before the body is read: who has no
//! credential to show does not get to send a body. Its verdicts are those of `check`, but for one:
//! a timestamp's distance from now is judged before the signature there, and after it in `check`.

mod api_key;
mod header;
mod hmac;
mod mac;
mod standard_webhooks;
mod timestamp;

use http::{HeaderMap, HeaderName};

use super::{Received, Refusal};
use crate::clock::UnixMillis;
use crate::config::{Auth, Source};

/// How many signatures of one request are tried. Senders that rotate keys send two or three; more
/// than this is refused.
const MAX_SIGNATURES: usize = 16;

/// A source's [`Auth`], with its keys worked in.
pub(super) enum Scheme {
    ApiKey(api_key::ApiKey),
    Hmac(hmac::SignedContent),
    StandardWebhooks(standard_webhooks::StandardWebhooks),
    NoneDangerous,
}

impl Scheme {
    pub(super) fn of(source: &Source) -> Self {
        match &source.auth {
            Auth::ApiKey { header } => Self::ApiKey(api_key::ApiKey::new(header)),
            Auth::Hmac(scheme) => Self::Hmac(hmac::SignedContent::new(scheme, &source.keys)),
            Auth::StandardWebhooks { tolerance, decoded } => Self::StandardWebhooks(
                standard_webhooks::StandardWebhooks::new(*tolerance, decoded),
            ),
            Auth::NoneDangerous => Self::NoneDangerous,
        }
    }

    /// Where the credential is.
    pub(super) fn credential_header(&self) -> Option<&HeaderName> {
        match self {
            Self::ApiKey(scheme) => Some(scheme.header()),
            Self::Hmac(scheme) => Some(scheme.header()),
            Self::StandardWebhooks(_) => Some(&standard_webhooks::SIGNATURE),
            Self::NoneDangerous => None,
        }
    }

    /// Refuses what `check` would refuse with any body.
    pub(super) fn check_head(
        &self,
        source: &Source,
        headers: &HeaderMap,
        received_at: UnixMillis,
    ) -> Result<(), Refusal> {
        match self {
            Self::ApiKey(scheme) => scheme.check(&source.keys, headers),
            Self::Hmac(scheme) => scheme.check_head(headers, received_at),
            Self::StandardWebhooks(scheme) => scheme.check_head(headers, received_at),
            Self::NoneDangerous => Ok(()),
        }
    }

    /// The timestamp that the headers show.
    pub(super) fn claimed_at(&self, headers: &HeaderMap) -> Option<u64> {
        match self {
            Self::Hmac(scheme) => scheme.claimed_at(headers),
            Self::StandardWebhooks(scheme) => scheme.claimed_at(headers),
            Self::ApiKey(_) | Self::NoneDangerous => None,
        }
    }

    pub(super) fn check(&self, source: &Source, request: &Received) -> Result<(), Refusal> {
        match self {
            Self::ApiKey(scheme) => scheme.check(&source.keys, &request.headers),
            Self::Hmac(scheme) => scheme.check(request),
            Self::StandardWebhooks(scheme) => scheme.check(request),
            Self::NoneDangerous => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
