//! What was refused, and why: the fixed vocabulary, and the record of each refusal. And what operators
//! do with the store. Both end in one trail on disk, link by link (`chain`), which is sent on from there
//! (`output`).

mod act;
pub mod chain;
mod left_free;
pub mod ocsf;
pub mod output;
mod refused;
mod summed;
mod trail;

pub use self::act::{Acts, Operator, Who};
pub use self::refused::{Client, Conflict, Refused, ServerName, micros};
pub use self::summed::{Ending, Refusals};
pub use self::trail::Trail;

/// Why a request was refused. The vocabulary is a contract: names are added, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No source has this path.
    UnknownRoute,
    /// Only POST is answered.
    MethodNotAllowed,
    /// The client's address is not on the source's allowlist.
    IpNotAllowed,
    /// More requests than the source or client may send.
    RateLimited,
    /// The body is longer than `max_body`.
    BodyTooLarge,
    /// The body was not there by the deadline.
    BodyTimeout,
    /// Not JSON by its content type, or encoded.
    UnsupportedMediaType,
    /// No API key header.
    CredentialMissing,
    /// A wrong, repeated or malformed API key.
    CredentialInvalid,
    /// No signature header.
    SignatureMissing,
    /// A signature that is not of the scheme's form.
    SignatureMalformed,
    /// No signature matches any key.
    SignatureInvalid,
    /// The scheme needs a timestamp and there is none.
    TimestampMissing,
    /// A timestamp that is none, or two of them.
    TimestampInvalid,
    /// A timestamp further from now than the tolerance.
    TimestampOutOfRange,
    /// The body is not I-JSON.
    MalformedJson,
    /// The event's time is older than `max_event_age`, or missing where one is required.
    EventTooOld,
    /// The same key as a stored event, with other content.
    Conflict,
    /// A queue or the connection limit is full.
    Overloaded,
    /// Nothing can be stored now.
    StoreUnavailable,
    /// Malformed or ambiguous HTTP.
    ProtocolError,
    /// A defect of ours: handling the request has panicked.
    InternalError,
    /// An operator whose token's role does not include what was asked for.
    NotPermitted,
}

/// What operators and the gateway itself have done, as it is called in the trail.
pub const ACTS: [&str; 13] = [
    "payload_viewed",
    "replayed",
    "released",
    "discarded",
    "exported",
    "rekeyed",
    "config_reloaded",
    "started",
    "stopped",
    "trail_shortened",
    "act_unreadable",
    "acts_replaced",
    "trail_missing",
];

impl Reason {
    /// The one of this public name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 23] = [
        Self::UnknownRoute,
        Self::MethodNotAllowed,
        Self::IpNotAllowed,
        Self::RateLimited,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::UnsupportedMediaType,
        Self::CredentialMissing,
        Self::CredentialInvalid,
        Self::SignatureMissing,
        Self::SignatureMalformed,
        Self::SignatureInvalid,
        Self::TimestampMissing,
        Self::TimestampInvalid,
        Self::TimestampOutOfRange,
        Self::MalformedJson,
        Self::EventTooOld,
        Self::Conflict,
        Self::Overloaded,
        Self::StoreUnavailable,
        Self::ProtocolError,
        Self::InternalError,
        Self::NotPermitted,
    ];

    /// The name in logs, metrics and the audit trail.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownRoute => "unknown_route",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::IpNotAllowed => "ip_not_allowed",
            Self::RateLimited => "rate_limited",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::CredentialMissing => "credential_missing",
            Self::CredentialInvalid => "credential_invalid",
            Self::SignatureMissing => "signature_missing",
            Self::SignatureMalformed => "signature_malformed",
            Self::SignatureInvalid => "signature_invalid",
            Self::TimestampMissing => "timestamp_missing",
            Self::TimestampInvalid => "timestamp_invalid",
            Self::TimestampOutOfRange => "timestamp_out_of_range",
            Self::MalformedJson => "malformed_json",
            Self::EventTooOld => "event_too_old",
            Self::Conflict => "conflict",
            Self::Overloaded => "overloaded",
            Self::StoreUnavailable => "store_unavailable",
            Self::ProtocolError => "protocol_error",
            Self::InternalError => "internal_error",
            Self::NotPermitted => "not_permitted",
        }
    }
}
