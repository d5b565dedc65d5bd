//! Upstreams and the routes to them, as the gateway runs them.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;

use super::{Auth, Pattern, RateLimit};
use crate::config::Authorities;
use crate::event::{SourceName, UpstreamName};
use crate::pem::Identity;
use crate::secret::Secret;

/// `[upstream.NAME]`: where events go.
#[derive(Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `NAME`
    pub name: UpstreamName,
    /// `http` or `https`, with a host.
    pub url: http::Uri,
    /// What an event becomes on its way there.
    pub format: Format,
    /// Static headers, their values secret.
    pub headers: BTreeMap<String, (HeaderName, Secret)>,
    /// The Standard Webhooks keys, decoded, newest first: a delivery has a signature of each. None:
    /// deliveries are not signed.
    pub signing_keys: Vec<Secret>,
    /// Whether an event in [`Format::Passthrough`] has the signature that its provider made.
    pub original_signature: OriginalSignature,
    /// How events of these sources are signed anew in [`Format::Passthrough`].
    pub resign: BTreeMap<SourceName, Resign>,
    /// Whom to trust instead of the platform's roots, for `https`.
    pub ca: Option<Authorities>,
    /// What to prove oneself with, for `https`.
    pub client_cert: Option<Identity>,
    /// Whether a link-local address, or one of a metadata service, may be connected to.
    pub allow_link_local: bool,
    /// For one attempt, from connecting to the end of the answer's head.
    pub timeout: Duration,
    /// Attempts at once.
    pub concurrency: usize,
    /// Attempts in a time. `None`: no limit.
    pub rate_limit: Option<RateLimit>,
    /// Whether deliveries about one subject wait for each other.
    pub ordering: Ordering,
    /// When to try again, and when no more.
    pub retry: Retry,
}

/// What an event becomes on its way to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// CloudEvents 1.0 in structured mode: one JSON document.
    CloudEvents,
    /// CloudEvents 1.0 in binary mode: attributes in headers, the event's data as the body.
    CloudEventsBinary,
    /// What the provider sent: its bytes, its content type, its chosen headers.
    Passthrough,
}

/// What becomes of the signature that a provider made, when its bytes are passed through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginalSignature {
    /// It is not kept.
    Drop,
    /// It is stored with the event and sent along.
    Keep,
}

/// How a source's events are signed for the app: as the provider signs them, with another key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resign {
    /// The source's own scheme; never [`Auth::NoneDangerous`].
    pub auth: Auth,
    /// The key that the app has; for [`Auth::StandardWebhooks`] decoded.
    pub key: Secret,
}

/// In which order deliveries go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordering {
    /// In the order of acceptance for each subject.
    Subject,
    /// As they come.
    None,
}

/// Exponential backoff with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The bound of the first wait.
    pub first: Duration,
    /// The bound that no wait exceeds.
    pub max: Duration,
    /// From reception to dead letter; at most the retention.
    pub give_up: Duration,
}

/// `[[route]]`
#[derive(Clone, Debug)]
pub struct Route {
    /// Only events of this source; `None`: of any.
    pub source: Option<SourceName>,
    /// Only events whose normalized name fits; `None`: all.
    pub kind: Option<Pattern>,
    /// Indexes into [`crate::config::Config::upstreams`].
    pub to: Vec<usize>,
}
