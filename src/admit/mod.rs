//! Admission: who is calling, and may they. Works on a request's head and raw body only, never
//! imports the store, and is the only place that makes a [`Verified`].

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::audit::Reason;
use crate::clock::UnixMillis;
use crate::config::Source;

/// A request whose body has been read whole, from an allowed address, and nothing more.
#[derive(Debug)]
pub struct Received {
    /// Whose endpoint it came in on.
    pub source: Arc<Source>,
    /// Its header section.
    pub headers: HeaderMap,
    /// Its raw body.
    pub body: Bytes,
    /// When its headers were complete.
    pub received_at: UnixMillis,
}

/// A request that has proved who sent it. Made by [`verify`] only.
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
}

impl Refusal {
    /// A refusal for `reason`; `detail` is for our own log only.
    pub const fn new(reason: Reason, detail: &'static str) -> Self {
        Self { reason, detail }
    }
}

/// Whether the source's allowlist lets `client` in.
///
/// # Errors
/// [`Reason::IpNotAllowed`] when it does not.
pub fn check_address(_source: &Source, _client: IpAddr) -> Result<(), Refusal> {
    unimplemented!()
}

/// Proves that the request comes from the holder of one of the source's keys, over its raw bytes.
///
/// # Errors
/// One of the credential, signature and timestamp reasons.
pub fn verify(_request: Received) -> Result<Verified, Refusal> {
    unimplemented!()
}
