//! The Standard Webhooks signature of a delivery, so the app can tell the gateway from anyone
//! else. Signs exactly the bytes that are sent; knows nothing of what they mean. With several keys there
//! is a signature of each, so that a key can be changed on both sides one after the other.
//!
//! The scheme: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use std::fmt;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::Secret;

/// The signatures of all of an upstream's keys, newest first.
#[derive(Clone, Debug)]
pub(super) struct Signers(Vec<Signer>);

impl Signers {
    /// Signers with the decoded keys.
    pub(super) fn new<'k>(keys: impl IntoIterator<Item = &'k Secret>) -> Self {
        Self(keys.into_iter().map(Signer::new).collect())
    }

    /// The value of `webhook-signature`: signatures with a space between them. `more` has another key
    /// that this delivery alone is signed with. `None`: there is no key.
    pub(super) fn sign(
        &self,
        more: Option<&Signer>,
        id: &str,
        timestamp: u64,
        body: &[u8],
    ) -> Option<String> {
        let signatures = self.0.iter().chain(more).map(|s| s.sign(id, timestamp, body));
        signatures.reduce(|all, one| all + " " + &one)
    }
}

/// A keyed HMAC-SHA256, set up once: each signature starts from a copy of its inner state instead
/// of hashing the key again.
#[derive(Clone)]
pub(super) struct Signer(Hmac<Sha256>);

impl Signer {
    /// A signer with the decoded key.
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104, section 3)")]
    pub(super) fn new(key: &Secret) -> Self {
        Self(Hmac::new_from_slice(key.expose()).expect("a key of any length"))
    }

    /// `v1,BASE64` over `ID.TIMESTAMP.BODY`, with the timestamp in Unix seconds.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(id.as_bytes());
        let mut stamp = [0; 22];
        let mut rest = stamp.as_mut_slice();
        // 22 bytes hold two dots and the longest u64, so that this write cannot fail.
        let _ = write!(rest, ".{timestamp}.");
        let unused = rest.len();
        mac.update(stamp.get(..stamp.len() - unused).unwrap_or_default());
        mac.update(body);
        let mut out = String::with_capacity(3 + 44);
        out.push_str("v1,");
        STANDARD.encode_string(mac.finalize().into_bytes(), &mut out);
        out
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification's reference libraries.
    #[test]
    fn signs_as_the_published_vector() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signer = Signer::new(&Secret::new(key));
        assert_eq!(
            signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn each_key_has_its_signature_in_the_order_of_the_keys() {
        let keys = [b"new", b"old"].map(|key| Secret::new(key.to_vec()));
        let sign = |keys: &[Secret], more| Signers::new(keys).sign(more, "id", 7, b"body");
        let [new, old] = [0, 1].map(|n| sign(&keys[n..=n], None).unwrap());
        assert_eq!(sign(&keys, None).unwrap(), format!("{new} {old}"));
        let more = Signer::new(&keys[1]);
        assert_eq!(sign(&keys[..1], Some(&more)).unwrap(), format!("{new} {old}"));
        assert_eq!(sign(&[], Some(&more)), Some(old));
        assert_eq!(sign(&[], None), None);
    }

    #[test]
    fn the_largest_timestamp_is_signed_whole() {
        let signer = Signer::new(&Secret::new(b"key".to_vec()));
        let mut mac = Hmac::<Sha256>::new_from_slice(b"key").unwrap();
        mac.update(b"id.18446744073709551615.body");
        let expected = STANDARD.encode(mac.finalize().into_bytes());
        assert_eq!(signer.sign("id", u64::MAX, b"body"), format!("v1,{expected}"));
    }

    #[test]
    fn debug_shows_no_key() {
        let signer = Signer::new(&Secret::new(b"hunter2".to_vec()));
        assert_eq!(format!("{signer:?}"), "Signer([redacted])");
    }
}
