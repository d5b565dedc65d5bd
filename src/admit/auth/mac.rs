//! HMAC (RFC 2104) with the key already absorbed, and the tags it makes and reads.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};

use crate::config::{Algorithm, Encoding};
use crate::secret::Secret;

/// The longest tag, HMAC-SHA512's, in bytes.
const MAX_TAG: usize = 64;

/// What base64 makes of a longest tag decodes to whole groups of three.
const MAX_DECODED: usize = MAX_TAG.next_multiple_of(3);

/// An HMAC that is keyed and waits for its message. Cloning the state for each message saves
/// hashing the key again; it is zeroed when dropped, as the key itself is.
pub(super) enum KeyedMac {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

impl KeyedMac {
    pub(super) fn new(algorithm: Algorithm, key: &Secret) -> Self {
        match algorithm {
            Algorithm::Sha1 => Self::Sha1(keyed(key)),
            Algorithm::Sha256 => Self::Sha256(keyed(key)),
            Algorithm::Sha512 => Self::Sha512(keyed(key)),
        }
    }

    /// The tag of the message that these parts make up.
    pub(super) fn tag(&self, parts: &[&[u8]]) -> Tag {
        match self {
            Self::Sha1(mac) => tag(mac, parts),
            Self::Sha256(mac) => tag(mac, parts),
            Self::Sha512(mac) => tag(mac, parts),
        }
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length, RFC 2104 section 3")]
fn keyed<M: KeyInit>(key: &Secret) -> M {
    M::new_from_slice(key.expose()).expect("HMAC takes keys of any length")
}

fn tag<M: Mac + Clone>(keyed: &M, parts: &[&[u8]]) -> Tag {
    let mut mac = keyed.clone();
    parts.iter().for_each(|part| mac.update(part));
    let made = mac.finalize().into_bytes();
    let mut tag = Tag { bytes: [0; MAX_TAG], len: made.len() };
    tag.bytes.iter_mut().zip(made).for_each(|(to, from)| *to = from);
    tag
}

/// How long the algorithm's tags are, in bytes.
pub(super) fn tag_len(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Sha1 => 20,
        Algorithm::Sha256 => 32,
        Algorithm::Sha512 => 64,
    }
}

/// A tag, made or presented. Deliberately without `PartialEq`.
pub(super) struct Tag {
    /// Zeroes beyond `len`.
    bytes: [u8; MAX_TAG],
    len: usize,
}

impl Tag {
    /// Reads a tag of `len` bytes. `None`: it is anything else.
    pub(super) fn read(text: &str, encoding: Encoding, len: usize) -> Option<Self> {
        match encoding {
            Encoding::Hex => Self::from_hex(text, len),
            Encoding::Base64 => Self::from_base64(text, len),
        }
    }

    fn from_hex(text: &str, len: usize) -> Option<Self> {
        let mut bytes = [0; MAX_TAG];
        hex::decode_to_slice(text, bytes.get_mut(..len)?).ok()?;
        Some(Self { bytes, len })
    }

    fn from_base64(text: &str, len: usize) -> Option<Self> {
        let mut decoded = [0; MAX_DECODED];
        let read = STANDARD.decode_slice(text, &mut decoded).ok()?;
        let bytes = *decoded.first_chunk()?;
        (read == len).then_some(Self { bytes, len })
    }

    /// Whether this is one of the presented ones, in time that depends on their number only.
    pub(super) fn is_among(&self, presented: &[Self]) -> bool {
        let same = |other: &Self| self.bytes.ct_eq(&other.bytes) & self.len.ct_eq(&other.len);
        presented.iter().fold(Choice::from(0), |any, other| any | same(other)).into()
    }
}
