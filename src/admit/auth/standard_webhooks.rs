//! The symmetric scheme of Standard Webhooks 1.0.0 (`spec/standard-webhooks.md`, "Signature
//! scheme"): HMAC-SHA256 over `{id}.{timestamp}.{body}`, in a list of `v1,BASE64` that spaces
//! separate. Signatures of other versions are passed over.
//!
//! An id with a dot in it is taken, as the reference libraries do. The specification asks senders
//! to keep dots out only of ids that somebody else chooses; to shift the boundary, such a somebody
//! would have to end up with a body that is JSON and begins with a timestamp's digits and a dot.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::MAX_SIGNATURES;
use super::header::{Faults, exactly_one};
use super::mac::{KeyedMac, Tag, tag_len};
use super::timestamp::Timestamp;
use crate::admit::{Received, Refusal};
use crate::audit::Reason::{
    SignatureInvalid, SignatureMalformed, SignatureMissing, TimestampInvalid, TimestampMissing,
};
use crate::clock::UnixMillis;
use crate::config::{Algorithm, Encoding};
use crate::secret::Secret;

static ID: HeaderName = HeaderName::from_static("webhook-id");
static TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
pub(super) static SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

const ID_FAULTS: Faults = Faults {
    missing: Refusal::new(SignatureMissing, "no webhook-id header"),
    repeated: Refusal::new(SignatureMalformed, "repeated webhook-id header"),
    unprintable: Refusal::new(SignatureMalformed, "webhook-id with bytes outside printable ASCII"),
};
const TIMESTAMP_FAULTS: Faults = Faults {
    missing: Refusal::new(TimestampMissing, "no webhook-timestamp header"),
    repeated: Refusal::new(TimestampInvalid, "repeated webhook-timestamp header"),
    unprintable: Refusal::new(
        TimestampInvalid,
        "webhook-timestamp with bytes outside printable ASCII",
    ),
};
const SIGNATURE_FAULTS: Faults = Faults {
    missing: Refusal::new(SignatureMissing, "no webhook-signature header"),
    repeated: Refusal::new(SignatureMalformed, "repeated webhook-signature header"),
    unprintable: Refusal::new(
        SignatureMalformed,
        "webhook-signature with bytes outside printable ASCII",
    ),
};
const EMPTY_ID: Refusal = Refusal::new(SignatureMalformed, "empty webhook-id header");
const NO_SIGNATURE: Refusal =
    Refusal::new(SignatureMalformed, "no v1 signature of 32 bytes in base64");
const TOO_MANY: Refusal = Refusal::new(SignatureMalformed, "too many v1 signatures");
const WRONG: Refusal =
    Refusal::new(SignatureInvalid, "no v1 signature was made with a key of the source");

pub(in crate::admit) struct StandardWebhooks {
    tolerance: Duration,
    macs: Vec<KeyedMac>,
}

impl StandardWebhooks {
    /// `keys` are those of the HMAC: decoded, without `whsec_`.
    pub(super) fn new(tolerance: Duration, keys: &[Secret]) -> Self {
        let macs = keys.iter().map(|key| KeyedMac::new(Algorithm::Sha256, key)).collect();
        Self { tolerance, macs }
    }

    pub(super) fn check(&self, request: &Received) -> Result<(), Refusal> {
        let Credential { signatures, id, timestamp } = Credential::read(&request.headers)?;
        let message: [&[u8]; 5] =
            [id.as_bytes(), b".", timestamp.text.as_bytes(), b".", &request.body];
        if !self.macs.iter().any(|mac| mac.tag(&message).is_among(&signatures)) {
            return Err(WRONG);
        }
        timestamp.check(request.received_at, self.tolerance)
    }

    pub(super) fn claimed_at(&self, headers: &HeaderMap) -> Option<u64> {
        Credential::read(headers).ok().map(|credential| credential.timestamp.seconds)
    }

    pub(super) fn check_head(
        &self,
        headers: &HeaderMap,
        received_at: UnixMillis,
    ) -> Result<(), Refusal> {
        Credential::read(headers)?.timestamp.check(received_at, self.tolerance)
    }
}

/// What the three headers show.
struct Credential<'r> {
    signatures: Vec<Tag>,
    id: &'r str,
    timestamp: Timestamp<'r>,
}

impl<'r> Credential<'r> {
    fn read(headers: &'r HeaderMap) -> Result<Self, Refusal> {
        let header = |name, faults| exactly_one(headers, name, faults);
        let signatures = signatures(header(&SIGNATURE, &SIGNATURE_FAULTS)?)?;
        let id = header(&ID, &ID_FAULTS)?;
        if id.is_empty() {
            return Err(EMPTY_ID);
        }
        let timestamp = Timestamp::read(header(&TIMESTAMP, &TIMESTAMP_FAULTS)?)?;
        Ok(Self { signatures, id, timestamp })
    }
}

fn signatures(header: &str) -> Result<Vec<Tag>, Refusal> {
    let mut signatures = Vec::with_capacity(1);
    for item in header.split(' ') {
        let Some(signature) = item.strip_prefix("v1,").and_then(read) else { continue };
        if signatures.len() == MAX_SIGNATURES {
            return Err(TOO_MANY);
        }
        signatures.push(signature);
    }
    if signatures.is_empty() { Err(NO_SIGNATURE) } else { Ok(signatures) }
}

fn read(encoded: &str) -> Option<Tag> {
    Tag::read(encoded, Encoding::Base64, tag_len(Algorithm::Sha256))
}
