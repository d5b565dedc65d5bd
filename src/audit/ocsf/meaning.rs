//! What a record is in the schema's terms: which activity, how severe, and how it ended.

use super::super::Reason;
use super::super::chain::Record;

/// An id of an enumeration, and its caption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caption(pub(super) u32, pub(super) &'static str);

const UNKNOWN: Caption = Caption(0, "Unknown");
const CREATE: Caption = Caption(1, "Create");
const READ: Caption = Caption(2, "Read");
const UPDATE: Caption = Caption(3, "Update");
const DELETE: Caption = Caption(4, "Delete");

const INFORMATIONAL: Caption = Caption(1, "Informational");
const LOW: Caption = Caption(2, "Low");
const MEDIUM: Caption = Caption(3, "Medium");
const HIGH: Caption = Caption(4, "High");

const SUCCESS: Caption = Caption(1, "Success");
const FAILURE: Caption = Caption(2, "Failure");

const BLOCKED: Caption = Caption(2, "Blocked");
const REJECTED: Caption = Caption(25, "Rejected");
const UNAUTHORIZED: Caption = Caption(26, "Unauthorized");
const ERROR: Caption = Caption(27, "Error");
/// Which of the two, `on_conflict` of the source had said.
const CONFLICT: Caption = Caption(99, "Kept back or dropped");

/// The id for what has no id of its own.
const OTHER: u32 = 99;

/// A record in the schema's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) activity: Caption,
    pub(super) severity: Caption,
    pub(super) status: Caption,
    /// What became of a request that was refused.
    pub(super) denied: Option<Caption>,
}

impl Meaning {
    pub(super) fn of(record: &Record) -> Self {
        match Reason::parse(&record.reason) {
            Some(reason) => Self {
                activity: attempted(record.method.as_deref()),
                severity: severity(reason),
                status: FAILURE,
                denied: Some(disposition(reason)),
            },
            None if record.lost_evidence() => {
                Self { severity: HIGH, ..Self::of_act(&record.reason) }
            }
            None => Self::of_act(&record.reason),
        }
    }

    fn of_act(act: &str) -> Self {
        let (activity, severity) = match act {
            "payload_viewed" | "exported" => (READ, INFORMATIONAL),
            "replayed" | "released" | "rekeyed" | "config_reloaded" => (UPDATE, INFORMATIONAL),
            "discarded" | "trail_shortened" => (DELETE, INFORMATIONAL),
            "started" => (Caption(OTHER, "Start"), INFORMATIONAL),
            "stopped" => (Caption(OTHER, "Stop"), INFORMATIONAL),
            "act_unreadable" => (UNKNOWN, MEDIUM),
            "acts_replaced" => (UPDATE, MEDIUM),
            "trail_missing" | "output_gap" => (DELETE, HIGH),
            "checkpoint" => (CREATE, INFORMATIONAL),
            _ => (UNKNOWN, INFORMATIONAL),
        };
        let status = if act == "act_unreadable" { UNKNOWN } else { SUCCESS };
        Self { activity, severity, status, denied: None }
    }

    /// The activity in the caption of the event's type.
    pub(super) fn type_caption(&self) -> &'static str {
        let Caption(id, caption) = self.activity;
        if id == OTHER { "Other" } else { caption }
    }
}

/// What the request would have been: an event that is sent is created.
fn attempted(method: Option<&str>) -> Caption {
    match method {
        Some("POST") => CREATE,
        Some("GET" | "HEAD" | "OPTIONS") => READ,
        Some("PUT" | "PATCH") => UPDATE,
        Some("DELETE") => DELETE,
        _ => UNKNOWN,
    }
}

fn severity(reason: Reason) -> Caption {
    match reason {
        Reason::UnknownRoute
        | Reason::MethodNotAllowed
        | Reason::BodyTooLarge
        | Reason::BodyTimeout
        | Reason::UnsupportedMediaType
        | Reason::MalformedJson
        | Reason::ProtocolError => LOW,
        Reason::IpNotAllowed
        | Reason::RateLimited
        | Reason::CredentialMissing
        | Reason::CredentialInvalid
        | Reason::SignatureMissing
        | Reason::SignatureMalformed
        | Reason::SignatureInvalid
        | Reason::TimestampMissing
        | Reason::TimestampInvalid
        | Reason::TimestampOutOfRange
        | Reason::EventTooOld
        | Reason::Conflict
        | Reason::NotPermitted
        | Reason::Overloaded => MEDIUM,
        Reason::StoreUnavailable | Reason::InternalError => HIGH,
    }
}

fn disposition(reason: Reason) -> Caption {
    match reason {
        Reason::IpNotAllowed | Reason::RateLimited => BLOCKED,
        Reason::UnknownRoute
        | Reason::MethodNotAllowed
        | Reason::BodyTooLarge
        | Reason::BodyTimeout
        | Reason::UnsupportedMediaType
        | Reason::MalformedJson
        | Reason::EventTooOld
        | Reason::ProtocolError => REJECTED,
        Reason::CredentialMissing
        | Reason::CredentialInvalid
        | Reason::SignatureMissing
        | Reason::SignatureMalformed
        | Reason::SignatureInvalid
        | Reason::TimestampMissing
        | Reason::TimestampInvalid
        | Reason::TimestampOutOfRange
        | Reason::NotPermitted => UNAUTHORIZED,
        Reason::Conflict => CONFLICT,
        Reason::Overloaded | Reason::StoreUnavailable | Reason::InternalError => ERROR,
    }
}
