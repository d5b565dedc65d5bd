//! Admission: who is calling, and may they. Works on a request's head and raw body only, never
//! imports the store, and is the only place that makes a [`Verified`].

mod address;
mod auth;
mod certificate;
mod client;
mod rate;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::audit::Reason;
use crate::clock::UnixMillis;
use crate::config::{Auth, Source};
use crate::listen::Origin;

pub use address::check_address;
pub(crate) use certificate::ClientRoots;
pub use certificate::VerifierError;
pub(crate) use client::X_FORWARDED_FOR;
pub use client::{Outlived, Proxies, client_address};
pub(crate) use rate::{ALL_FAILURES, SOURCE, times};
pub use rate::{Failures, REMEMBERED_CLIENTS, Rates};

/// A request whose body has been read whole, from an allowed address, and nothing more.
pub struct Received {
    /// Whose endpoint it came in on.
    pub source: Arc<Source>,
    /// Its header section.
    pub headers: HeaderMap,
    /// Its raw body.
    pub body: Bytes,
    /// When its headers were complete.
    pub received_at: UnixMillis,
    /// Where its connection comes from.
    pub origin: Arc<Origin>,
}

/// Without credentials and payload.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Received");
        shown.field("source", &self.source.name).field("received_at", &self.received_at);
        shown.field("len", &self.body.len()).finish_non_exhaustive()
    }
}

/// A request that has proved who sent it. Made by [`Verifier::verify`] only.
#[derive(Debug)]
pub struct Verified(Received);

impl Verified {
    /// The request that was verified.
    pub fn request(&self) -> &Received {
        &self.0
    }

    /// The request, for the next step.
    pub(crate) fn into_request(self) -> Received {
        self.0
    }
}

/// Why a request was refused at admission or identification: all of it is the sender's to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", reason.as_str())]
pub struct Refusal {
    /// The public name of the reason.
    pub reason: Reason,
    /// What exactly was wrong, for our own log. Fixed text: no secret, nothing out of the request.
    pub detail: &'static str,
    /// Whole seconds after which the sender may try again, where that is known.
    pub retry_after: Option<u8>,
}

impl Refusal {
    /// A refusal for `reason`; `detail` is for our own log only.
    pub const fn new(reason: Reason, detail: &'static str) -> Self {
        Self { reason, detail, retry_after: None }
    }
}

const OTHER_SOURCE: Refusal =
    Refusal::new(Reason::CredentialInvalid, "the verifier is another source's");

const NO_VERIFIER: Refusal =
    Refusal::new(Reason::CredentialInvalid, "the source's client_ca cannot be used");

/// What is needed to verify one source's requests, worked out once at start: its keys are already
/// in the MACs, the roots of its client certificates read.
pub struct Verifier {
    source: Arc<Source>,
    client_roots: Option<certificate::ClientRoots>,
    scheme: auth::Scheme,
}

impl Verifier {
    /// Prepares the source's scheme and keys, and reads its `client_ca`.
    ///
    /// # Errors
    /// When that cannot be read, or holds what is no root.
    pub fn new(source: Arc<Source>) -> Result<Self, VerifierError> {
        let client_roots = certificate::ClientRoots::of(&source)?;
        Ok(Self { scheme: auth::Scheme::of(&source), client_roots, source })
    }

    /// What the head alone decides, before any of the body is read: refuses what [`Self::verify`]
    /// would refuse whatever the body is. Proves nothing.
    ///
    /// # Errors
    /// One of the credential, signature and timestamp reasons.
    pub fn check_head(
        &self,
        headers: &HeaderMap,
        received_at: UnixMillis,
        origin: &Origin,
    ) -> Result<(), Refusal> {
        self.check_certificate(origin, received_at)?;
        self.scheme.check_head(&self.source, headers, received_at)
    }

    /// When the request says that it was signed, in Unix seconds, if its scheme has a timestamp
    /// and its credential is of the scheme's form. Nothing says that it is true.
    pub fn claimed_at(&self, headers: &HeaderMap) -> Option<u64> {
        self.scheme.claimed_at(headers)
    }

    /// The credential that a request presents, as its header has it, right or wrong: for a fingerprint of
    /// it. At most as many values as a request has of them; none: it presents nothing.
    pub fn presented(&self, headers: &HeaderMap) -> Vec<HeaderValue> {
        match self.scheme.credential_header() {
            Some(name) => headers.get_all(name).iter().cloned().collect(),
            None => Vec::new(),
        }
    }

    /// Whether its source asks for a credential at all.
    pub fn tells_strangers(&self) -> bool {
        self.client_roots.is_some() || !matches!(self.source.auth, Auth::NoneDangerous)
    }

    /// Proves that the request comes from the holder of one of the source's keys, over its raw
    /// bytes. Refuses a request to any other source than its own.
    ///
    /// # Errors
    /// One of the credential, signature and timestamp reasons.
    pub fn verify(&self, request: Received) -> Result<Verified, Refusal> {
        if !Arc::ptr_eq(&self.source, &request.source) {
            return Err(OTHER_SOURCE);
        }
        self.check_certificate(&request.origin, request.received_at)?;
        self.scheme.check(&self.source, &request)?;
        Ok(Verified(request))
    }

    fn check_certificate(&self, origin: &Origin, now: UnixMillis) -> Result<(), Refusal> {
        self.client_roots.as_ref().map_or(Ok(()), |roots| roots.check(origin, now))
    }
}

/// Shows no key.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("source", &self.source.name).finish_non_exhaustive()
    }
}

/// [`Verifier::verify`] for a single request. Where many come, keep a [`Verifier`].
///
/// # Errors
/// One of the credential, signature and timestamp reasons; `credential_invalid` when no verifier
/// can be made.
pub fn verify(request: Received) -> Result<Verified, Refusal> {
    let verifier = Verifier::new(Arc::clone(&request.source)).map_err(|_| NO_VERIFIER)?;
    verifier.verify(request)
}
