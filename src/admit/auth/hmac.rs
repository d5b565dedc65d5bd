//! An HMAC over the body, and maybe a timestamp and headers, as `auth = { kind = "hmac" }` spells
//! it out.
//!
//! The signature header is a list of items, separated by commas or spaces. An item under the
//! timestamp's key is the timestamp. Of the others, with a signature key, those under it are
//! signatures and the rest is passed over; without one, all are. Each signature carries the
//! prefix. Ones of another form (another version's, another algorithm's) are passed over as well,
//! as long as there is one to try.

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
use crate::config::{HmacScheme, SignedPart, TimestampPlace};
use crate::secret::Secret;

const SIGNATURE: Faults = Faults {
    missing: Refusal::new(SignatureMissing, "no signature header"),
    repeated: Refusal::new(SignatureMalformed, "repeated signature header"),
    unprintable: Refusal::new(
        SignatureMalformed,
        "signature header with bytes outside printable ASCII",
    ),
};
const TIMESTAMP: Faults = Faults {
    missing: Refusal::new(TimestampMissing, "no timestamp header"),
    repeated: Refusal::new(TimestampInvalid, "repeated timestamp header"),
    unprintable: Refusal::new(
        TimestampInvalid,
        "timestamp header with bytes outside printable ASCII",
    ),
};
const SIGNED_HEADER: Faults = Faults {
    missing: Refusal::new(SignatureMissing, "no header that the signature must cover"),
    repeated: Refusal::new(SignatureMalformed, "repeated header that the signature covers"),
    unprintable: Refusal::new(
        SignatureMalformed,
        "a header that the signature covers has bytes outside printable ASCII",
    ),
};
const NO_SIGNATURE: Refusal =
    Refusal::new(SignatureMalformed, "no signature of the scheme's prefix, length and encoding");
const TOO_MANY: Refusal = Refusal::new(SignatureMalformed, "too many signatures");
const NO_TIMESTAMP: Refusal =
    Refusal::new(TimestampMissing, "no timestamp in the signature header");
const TWO_TIMESTAMPS: Refusal =
    Refusal::new(TimestampInvalid, "two timestamps in the signature header");
const WRONG: Refusal =
    Refusal::new(SignatureInvalid, "no signature was made with a key of the source");

pub(in crate::admit) struct SignedContent {
    scheme: HmacScheme,
    macs: Vec<KeyedMac>,
}

/// Signatures to try, and the timestamp.
type Credential<'r> = (Vec<Tag>, Option<Timestamp<'r>>);

/// What a signature header holds.
struct Items<'r> {
    signatures: Vec<Tag>,
    timestamp: Option<&'r str>,
}

impl SignedContent {
    pub(super) fn new(scheme: &HmacScheme, keys: &[Secret]) -> Self {
        let macs = keys.iter().map(|key| KeyedMac::new(scheme.algorithm, key)).collect();
        Self { scheme: scheme.clone(), macs }
    }

    pub(super) fn header(&self) -> &HeaderName {
        &self.scheme.header
    }

    pub(super) fn check(&self, request: &Received) -> Result<(), Refusal> {
        let (signatures, timestamp) = self.credential(&request.headers)?;
        let message = self.message(&request.headers, &request.body, timestamp)?;
        if !self.macs.iter().any(|mac| mac.tag(&message).is_among(&signatures)) {
            return Err(WRONG);
        }
        self.check_time(timestamp, request.received_at)
    }

    pub(super) fn check_head(
        &self,
        headers: &HeaderMap,
        received_at: UnixMillis,
    ) -> Result<(), Refusal> {
        let (_, timestamp) = self.credential(headers)?;
        for part in &self.scheme.signed {
            if let SignedPart::Header(name) = part {
                exactly_one(headers, name, &SIGNED_HEADER)?;
            }
        }
        self.check_time(timestamp, received_at)
    }

    pub(super) fn claimed_at(&self, headers: &HeaderMap) -> Option<u64> {
        let (_, timestamp) = self.credential(headers).ok()?;
        timestamp.map(|timestamp| timestamp.seconds)
    }

    /// What the headers show: signatures to try, and the timestamp where the scheme has one.
    fn credential<'r>(&self, headers: &'r HeaderMap) -> Result<Credential<'r>, Refusal> {
        let items = self.items(exactly_one(headers, &self.scheme.header, &SIGNATURE)?)?;
        let timestamp = self.timestamp(headers, &items)?;
        Ok((items.signatures, timestamp))
    }

    fn check_time(&self, timestamp: Option<Timestamp<'_>>, now: UnixMillis) -> Result<(), Refusal> {
        match (timestamp, self.scheme.tolerance) {
            (Some(timestamp), Some(tolerance)) => timestamp.check(now, tolerance),
            _ => Ok(()),
        }
    }

    fn items<'r>(&self, header: &'r str) -> Result<Items<'r>, Refusal> {
        let mut items = Items { signatures: Vec::with_capacity(1), timestamp: None };
        for item in header.split([',', ' ']) {
            if let Some(timestamp) = self.timestamp_key().and_then(|key| under(key, item)) {
                if items.timestamp.replace(timestamp).is_some() {
                    return Err(TWO_TIMESTAMPS);
                }
            } else if let Some(signature) = self.signature(item) {
                if items.signatures.len() == MAX_SIGNATURES {
                    return Err(TOO_MANY);
                }
                items.signatures.push(signature);
            }
        }
        if items.signatures.is_empty() { Err(NO_SIGNATURE) } else { Ok(items) }
    }

    fn timestamp_key(&self) -> Option<&str> {
        match &self.scheme.timestamp {
            Some(TimestampPlace::Item(key)) => Some(key),
            _ => None,
        }
    }

    fn signature(&self, item: &str) -> Option<Tag> {
        let value = match &self.scheme.signature_key {
            Some(key) => under(key, item)?,
            None => item,
        };
        let encoded = value.strip_prefix(self.scheme.prefix.as_str())?;
        Tag::read(encoded, self.scheme.encoding, tag_len(self.scheme.algorithm))
    }

    fn timestamp<'r>(
        &self,
        headers: &'r HeaderMap,
        items: &Items<'r>,
    ) -> Result<Option<Timestamp<'r>>, Refusal> {
        let text = match &self.scheme.timestamp {
            None => return Ok(None),
            Some(TimestampPlace::Item(_)) => items.timestamp.ok_or(NO_TIMESTAMP)?,
            Some(TimestampPlace::Header(name)) => exactly_one(headers, name, &TIMESTAMP)?,
        };
        Timestamp::read(text).map(Some)
    }

    /// The pieces of the signed content, none of them copied.
    fn message<'m>(
        &'m self,
        headers: &'m HeaderMap,
        body: &'m [u8],
        timestamp: Option<Timestamp<'m>>,
    ) -> Result<Vec<&'m [u8]>, Refusal> {
        let header = |name: &HeaderName| exactly_one(headers, name, &SIGNED_HEADER);
        let piece = |part: &'m SignedPart| {
            Ok(match part {
                SignedPart::Literal(text) => text.as_bytes(),
                SignedPart::Timestamp => timestamp.ok_or(NO_TIMESTAMP)?.text.as_bytes(),
                SignedPart::Body => body,
                SignedPart::Header(name) => header(name)?.as_bytes(),
            })
        };
        self.scheme.signed.iter().map(piece).collect()
    }
}

/// The value of an item `key=value`.
fn under<'i>(key: &str, item: &'i str) -> Option<&'i str> {
    item.strip_prefix(key)?.strip_prefix('=')
}
