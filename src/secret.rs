//! Secrets: keys and tokens that must never be seen again once they are read.
//!
//! A [`Secret`] has no `Display` and no `Serialize`, prints `[redacted]` under `Debug`, is
//! compared in constant time and zeroed when dropped.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// The bytes of a key, a token or a password.
#[derive(Clone)]
pub struct Secret {
    bytes: Zeroizing<Vec<u8>>,
    /// SHA-256 of the bytes: what comparisons run on, so that neither the length nor a common
    /// prefix of the secret shows in their timing.
    digest: Zeroizing<[u8; 32]>,
}

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        let digest = Zeroizing::new(Sha256::digest(&bytes).into());
        Self { bytes: Zeroizing::new(bytes), digest }
    }

    /// The bytes themselves, for keying a MAC or filling a header. Do not copy them anywhere
    /// that outlives the call.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether `presented` is this secret, in time that depends on the length of `presented` only.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.is(&Presented::new(presented)).into()
    }

    /// The same for what is compared with several secrets, in time that depends on nothing.
    pub fn is(&self, presented: &Presented) -> Choice {
        self.digest.ct_eq(&*presented.0)
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// What somebody has presented as a secret, digested once however many it is compared with.
pub struct Presented(Zeroizing<[u8; 32]>);

impl Presented {
    /// These bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(Sha256::digest(bytes).into()))
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// In constant time, as [`Secret::matches`].
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.digest.ct_eq(&*other.digest).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Whether a token was taken back by a reload, or its role changed, since it was shown. A user of this
/// machine is let in for good.
#[derive(Clone, Debug, Default)]
pub struct Withdrawal(Arc<AtomicBool>);

impl Withdrawal {
    /// From here on what was begun with it goes on no further.
    pub fn take_effect(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was taken back.
    pub fn has_taken_effect(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Fills `bytes` with what nobody can foretell.
///
/// # Errors
/// When the system has no randomness to give.
pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|error| match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error.to_string()),
    })
}

/// A key of 256 random bits. Zeroed when dropped, compared in constant time, never shown.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// Takes the bytes over.
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// A new one.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn generate() -> io::Result<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        random(&mut *bytes)?;
        Ok(Self(bytes))
    }

    /// The bytes themselves, for keying a cipher or a MAC. Do not copy them anywhere that outlives
    /// the call.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// In constant time.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_only_the_same_bytes() {
        let secret = Secret::new(b"correct horse battery".to_vec());
        assert!(secret.matches(b"correct horse battery"));
        assert!(!secret.matches(b"correct horse batterx"));
        assert!(!secret.matches(b"correct horse batter"));
        assert!(!secret.matches(b""));
    }

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::new(b"hunter2hunter2hunter2".to_vec());
        assert_eq!(format!("{secret:?}"), "[redacted]");
        let key = Key::new(Zeroizing::new([7; 32]));
        assert_eq!(format!("{key:?}"), "[redacted]");
        assert!(key == key.clone() && key != Key::new(Zeroizing::new([8; 32])));
    }
}
