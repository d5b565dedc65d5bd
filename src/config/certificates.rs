//! Certificates: the server's own with its key, and those that are trusted. All are read and parsed
//! here, once: what the rest of the crate gets is known to work.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::context::{Context, Spot};
use super::defaults::{ENOUGH_RSA, EXPIRY_WARNING};
use super::problem::{ProblemKind, Warning};
use super::tree::Node;
use crate::clock::UnixMillis;
use crate::pem::{self, Facts, PemError};

pub(super) const CERTIFICATES: &str = "a file of PEM certificates";

/// Whom to trust: the certificates of one PEM file, and nobody else.
#[derive(Clone)]
pub struct Authorities {
    /// The file.
    pub file: PathBuf,
    /// What is in it; at least one.
    pub roots: Arc<RootCertStore>,
}

impl Authorities {
    /// All certificates of `pem`, which is what `file` holds.
    ///
    /// # Errors
    /// What is wrong with the file: a certificate that cannot be used is an error, not a gap.
    pub fn new(file: PathBuf, pem: &[u8]) -> Result<Self, PemError> {
        Ok(Self { file, roots: Arc::new(pem::roots(pem)?) })
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} certificates of {}", self.roots.len(), self.file.display())
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file && self.roots.roots == other.roots.roots
    }
}

impl Eq for Authorities {}

/// Reads the PEM file that the node names, as certificates to trust.
pub(super) fn authorities(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Authorities> {
    let path = node.text(CERTIFICATES, cx)?;
    let path = cx.path(path);
    let read = read(&path, cx).and_then(|pem| Authorities::new(path.clone(), &pem));
    told(read, node, path, CERTIFICATES, cx)
}

/// Reads the chain that the node names.
pub(super) fn chain(
    node: &Node<'_>,
    cx: &mut Context<'_>,
) -> Option<(PathBuf, Vec<CertificateDer<'static>>)> {
    let path = node.text(CERTIFICATES, cx)?;
    let path = cx.path(path);
    let read = read(&path, cx).and_then(|pem| pem::certificates(&pem, pem::MAX_CHAIN));
    told(read, node, path.clone(), CERTIFICATES, cx).map(|chain| (path, chain))
}

fn read(path: &Path, cx: &mut Context<'_>) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let file = cx.pem(path).map_err(|error| PemError::Unreadable(error.kind()))?;
    within(file.bytes)
}

/// The bytes of a PEM file, unless they are more than any has.
pub(super) fn within(bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, PemError> {
    if bytes.len() > pem::MAX_FILE { Err(PemError::TooLong) } else { Ok(bytes) }
}

/// The value, or a note of what is wrong with the file `path`.
pub(super) fn told<T>(
    read: Result<T, PemError>,
    node: &Node<'_>,
    path: PathBuf,
    accepted: &'static str,
    cx: &mut Context<'_>,
) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(error) => {
            cx.problem(node.spot(), ProblemKind::Pem { path, error, accepted });
            None
        }
    }
}

/// Warns of a certificate that is refused now, or will be soon.
pub(super) fn warn_of_its_end(path: &Path, facts: &Facts, at: &Spot, cx: &mut Context<'_>) {
    let now = cx.now();
    let path = path.to_owned();
    if facts.not_after < now {
        cx.problem(at, Warning::Expired { path, on: day(facts.not_after) });
    } else if facts.not_before > now {
        cx.problem(at, Warning::NotYetValid { path, on: day(facts.not_before) });
    } else if facts.not_after < now.after(EXPIRY_WARNING) {
        let days = facts.not_after.since(now).as_secs() / 86_400;
        cx.problem(at, Warning::Expires { path, on: day(facts.not_after), days });
    }
}

/// Warns of a certificate whose handshakes are costly: they come before anybody has proved anything.
pub(super) fn warn_of_its_cost(path: &Path, facts: &Facts, at: &Spot, cx: &mut Context<'_>) {
    if let Some(bits) = facts.rsa_bits.filter(|bits| *bits > ENOUGH_RSA) {
        cx.problem(at, Warning::LargeKey { path: path.to_owned(), bits, enough: ENOUGH_RSA });
    }
}

/// The day on which a point of time lies, in UTC: `2025-01-15`.
pub fn day(time: UnixMillis) -> String {
    time.to_string().chars().take_while(|c| *c != 'T').collect()
}
