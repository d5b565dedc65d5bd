//! The Standard Webhooks signature of a delivery, so the app can tell the gateway from anyone
//! else. Signs exactly the bytes that are sent; knows nothing of what they mean.
//!
//! The scheme: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use std::fmt;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::Secret;

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
