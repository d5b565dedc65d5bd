//! A shared key, verbatim in a header.

use http::{HeaderMap, HeaderName};

use super::header::{Faults, exactly_one};
use crate::admit::Refusal;
use crate::audit::Reason::{CredentialInvalid, CredentialMissing};
use crate::secret::Secret;

const FAULTS: Faults = Faults {
    missing: Refusal::new(CredentialMissing, "no API key header"),
    repeated: Refusal::new(CredentialInvalid, "repeated API key header"),
    unprintable: Refusal::new(CredentialInvalid, "API key with bytes outside printable ASCII"),
};
const WRONG: Refusal = Refusal::new(CredentialInvalid, "the API key is none of the source's");

pub(in crate::admit) struct ApiKey {
    header: HeaderName,
}

impl ApiKey {
    pub(super) fn new(header: &HeaderName) -> Self {
        Self { header: header.clone() }
    }

    pub(super) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Compares with every key, so that the time taken does not tell which one was right.
    pub(super) fn check(&self, keys: &[Secret], headers: &HeaderMap) -> Result<(), Refusal> {
        let presented = exactly_one(headers, &self.header, &FAULTS)?.as_bytes();
        let known = keys.iter().fold(false, |known, key| known | key.matches(presented));
        if known { Ok(()) } else { Err(WRONG) }
    }
}
