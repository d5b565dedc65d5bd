//! PEM files for TLS: certificates, keys, and what a certificate says about itself. Imports only
//! [`crate::clock`]; what is wrong with a file is told without a byte of it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{Error as SyntaxError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use zeroize::Zeroizing;

use crate::clock::UnixMillis;
use crate::regular;

/// The longest PEM file that is read, in bytes. The platforms' whole root stores have a quarter of
/// it.
pub const MAX_FILE: usize = 1 << 20;

/// The most certificates of a server's own chain. Real ones have two to four, and all of them are
/// sent in every handshake.
pub const MAX_CHAIN: usize = 16;

/// The most certificates of a file of roots.
pub const MAX_ROOTS: usize = 1024;

/// What is wrong with a PEM file. All of it is the operator's to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// It cannot be read.
    #[error("cannot be read: {}", regular::why(*.0))]
    Unreadable(io::ErrorKind),
    /// It is longer than [`MAX_FILE`].
    #[error("is longer than {MAX_FILE} bytes")]
    TooLong,
    /// It has no PEM sections where some are begun.
    #[error("is not well-formed PEM")]
    Malformed,
    /// There is no certificate in it.
    #[error("holds no certificate")]
    NoCertificate,
    /// There are more certificates in it than are taken.
    #[error("holds more than {0} certificates")]
    TooManyCertificates(usize),
    /// A certificate in it is none.
    #[error("certificate {0} in it is not a valid X.509 certificate")]
    BadCertificate(usize),
    /// There is no private key in it.
    #[error("holds no private key")]
    NoKey,
    /// There is more than one private key in it.
    #[error("holds more than one private key")]
    SeveralKeys,
    /// The key needs a passphrase.
    #[error("holds an encrypted private key; it must not need a passphrase")]
    EncryptedKey,
    /// The key is of a kind that is not supported, or malformed.
    #[error("the private key is not RSA (2048 bits or more), ECDSA P-256 or P-384, or Ed25519")]
    UnsupportedKey,
    /// The key is another certificate's.
    #[error("the private key does not belong to the first certificate")]
    Mismatch,
}

/// The bytes of a PEM file; wiped when dropped, as it may hold a key.
///
/// # Errors
/// [`PemError::Unreadable`] and [`PemError::TooLong`].
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, PemError> {
    read_file(path)
        .map_err(|error| PemError::Unreadable(error.kind()))
        .and_then(|bytes| if bytes.len() > MAX_FILE { Err(PemError::TooLong) } else { Ok(bytes) })
}

fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX).saturating_add(1);
    let length = usize::try_from(file.metadata()?.len().min(most)).unwrap_or(MAX_FILE);
    // Room for all of it from the start: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.saturating_add(1)));
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The certificates of a PEM file in its order, at least one and at most `most`
/// ([`MAX_CHAIN`], [`MAX_ROOTS`]). Each one is well-formed. Other sections are left out.
///
/// # Errors
/// What is wrong with the file.
pub fn certificates(pem: &[u8], most: usize) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(malformed)?;
        if found.len() == most {
            return Err(PemError::TooManyCertificates(most));
        }
        parse(&certificate).ok_or(PemError::BadCertificate(found.len() + 1))?;
        found.push(certificate);
    }
    if found.is_empty() { Err(PemError::NoCertificate) } else { Ok(found) }
}

/// The roots in a PEM file, all of which can be used.
///
/// # Errors
/// What is wrong with the file.
pub fn roots(pem: &[u8]) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for (at, root) in certificates(pem, MAX_ROOTS)?.into_iter().enumerate() {
        roots.add(root).map_err(|_| PemError::BadCertificate(at + 1))?;
    }
    Ok(roots)
}

/// The one private key of a PEM file: PKCS #8, PKCS #1 or SEC 1. Wiped when dropped.
///
/// # Errors
/// What is wrong with the file.
pub fn private_key(pem: &[u8]) -> Result<Zeroizing<PrivateKeyDer<'static>>, PemError> {
    let mut keys = PrivateKeyDer::pem_slice_iter(pem).map(|key| key.map(Zeroizing::new));
    let Some(key) = keys.next() else {
        let encrypted = pem.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
        return Err(if encrypted { PemError::EncryptedKey } else { PemError::NoKey });
    };
    let key = key.map_err(malformed)?;
    match keys.next() {
        None => Ok(key),
        Some(Ok(_)) => Err(PemError::SeveralKeys),
        Some(Err(error)) => Err(malformed(error)),
    }
}

/// The label of a PKCS #8 key under a passphrase (RFC 7468, section 11).
const ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// The library's error can quote the file.
fn malformed(_: SyntaxError) -> PemError {
    PemError::Malformed
}

/// A server's chain, its own certificate first, with the key that belongs to it.
///
/// # Errors
/// [`PemError::UnsupportedKey`], [`PemError::Mismatch`], and what is wrong with the certificate.
pub fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, PemError> {
    if chain.is_empty() {
        return Err(PemError::NoCertificate);
    }
    let key = rustls::crypto::ring::sign::any_supported_type(key);
    let pair = CertifiedKey::new(chain, key.map_err(|_| PemError::UnsupportedKey)?);
    match pair.keys_match() {
        Ok(()) => Ok(Arc::new(pair)),
        Err(rustls::Error::InvalidCertificate(_)) => Err(PemError::BadCertificate(1)),
        Err(_) => Err(PemError::Mismatch),
    }
}

/// What a certificate says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The DNS names and addresses that it is for, or else its subject. Whatever is not printable
    /// ASCII is escaped.
    pub names: Vec<String>,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// When it begins to hold.
    pub not_before: UnixMillis,
    /// The last second at which it holds.
    pub not_after: UnixMillis,
    /// How long its key is, in bits, if that is an RSA key.
    pub rsa_bits: Option<usize>,
}

impl Facts {
    /// Reads them; `None` when it is no X.509 certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = parse(certificate)?;
        let validity = certificate.validity();
        Some(Self {
            names: names(&certificate),
            serial: hex::encode(certificate.raw_serial()),
            not_before: instant(validity.not_before.timestamp()),
            not_after: instant(validity.not_after.timestamp()),
            rsa_bits: rsa_bits(&certificate),
        })
    }
}

fn rsa_bits(certificate: &X509Certificate<'_>) -> Option<usize> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => Some(key.key_size()),
        Ok(_) | Err(_) => None,
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
    rest.is_empty().then_some(parsed)
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternative = alternative.map(|names| &names.value.general_names);
    let names: Vec<_> = alternative.into_iter().flatten().filter_map(name).collect();
    if names.is_empty() { vec![escaped(&certificate.subject().to_string())] } else { names }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(escaped(name)),
        GeneralName::IPAddress(bytes) => address(bytes).map(|ip| ip.to_string()),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
    v4().or_else(v6)
}

fn escaped(text: &str) -> String {
    text.as_bytes().escape_ascii().to_string()
}

fn instant(seconds: i64) -> UnixMillis {
    UnixMillis(u64::try_from(seconds).unwrap_or_default().saturating_mul(1000))
}

/// The server's own certificate and chain with their key: checked to belong together, and of a kind
/// that TLS can use.
#[derive(Clone)]
pub struct Identity {
    /// As rustls takes it. The key's own bytes have been wiped; what is left of it is in here.
    pub pair: Arc<CertifiedKey>,
    /// What the server's own certificate says.
    pub facts: Facts,
}

impl Identity {
    /// The certificates of `chain`, the server's own first, with the key that belongs to it.
    ///
    /// # Errors
    /// When they do not belong together, or TLS cannot use them.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, PemError> {
        let facts = chain.first().and_then(Facts::of).ok_or(PemError::NoCertificate)?;
        Ok(Self { pair: certified(chain, key)?, facts })
    }
}

/// Of the certificate alone.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts.fmt(f)
    }
}

/// The key belongs to the certificate, so that the chain says it all.
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.pair.cert == other.pair.cert
    }
}

impl Eq for Identity {}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use rcgen::{CertificateParams, DnType, KeyPair, SerialNumber, date_time_ymd};

    use super::*;

    fn certificate(names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "the gateway");
        params.serial_number = Some(SerialNumber::from_slice(&[0x0a, 0xbc]));
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2026, 1, 1);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_chain_and_its_key_are_read() {
        let ((own, key), (issuer, _)) = (certificate(&["gw.example"]), certificate(&[]));
        let chain = certificates(format!("{own}{issuer}").as_bytes(), MAX_CHAIN).unwrap();
        let pair = certified(chain, &private_key(key.as_bytes()).unwrap()).unwrap();
        assert_eq!(pair.cert.len(), 2);
    }

    #[test]
    fn a_certificate_tells_its_names_serial_and_validity() {
        let v6 = Ipv6Addr::LOCALHOST.to_string();
        let (pem, _) = certificate(&["gw.example", "*.clinic.example", "192.0.2.1", &v6]);
        let facts = Facts::of(&certificates(pem.as_bytes(), 1).unwrap()[0]).unwrap();
        assert_eq!(facts.names, ["gw.example", "*.clinic.example", "192.0.2.1", "::1"]);
        assert_eq!(facts.serial, "0abc");
        assert_eq!(facts.not_before.to_string(), "2025-01-01T00:00:00.000Z");
        assert_eq!(facts.not_after.to_string(), "2026-01-01T00:00:00.000Z");

        let (pem, _) = certificate(&[]);
        let facts = Facts::of(&certificates(pem.as_bytes(), 1).unwrap()[0]).unwrap();
        assert_eq!(facts.names, ["CN=the gateway"]);
    }

    #[test]
    fn what_is_wrong_with_a_certificate_file_is_told() {
        let (pem, key) = certificate(&["gw.example"]);
        let cut = pem.replace("-----END CERTIFICATE-----", "");
        let other = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (text, error) in [
            (String::new(), PemError::NoCertificate),
            ("gw.example".to_owned(), PemError::NoCertificate),
            (key, PemError::NoCertificate),
            (cut, PemError::Malformed),
            (format!("{pem}{other}"), PemError::BadCertificate(2)),
            (pem.repeat(3), PemError::TooManyCertificates(2)),
        ] {
            assert_eq!(certificates(text.as_bytes(), 2).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_key_is_told() {
        let (pem, key) = certificate(&["gw.example"]);
        let (_, other) = certificate(&["gw.example"]);
        let encrypted = key.replace(" PRIVATE", " ENCRYPTED PRIVATE");
        for (text, error) in [
            (pem.clone(), PemError::NoKey),
            (encrypted, PemError::EncryptedKey),
            (format!("{key}{other}"), PemError::SeveralKeys),
            (key.replace("-----END", "END"), PemError::Malformed),
        ] {
            assert_eq!(private_key(text.as_bytes()).unwrap_err(), error);
        }
        let chain = certificates(pem.as_bytes(), 1).unwrap();
        let mismatch = certified(chain.clone(), &private_key(other.as_bytes()).unwrap());
        assert_eq!(mismatch.unwrap_err(), PemError::Mismatch);
        let odd = PrivateKeyDer::Pkcs8(vec![0; 8].into());
        assert_eq!(certified(chain, &odd).unwrap_err(), PemError::UnsupportedKey);
    }

    #[test]
    fn a_file_is_read_up_to_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cert.pem");
        assert_eq!(read(&path).unwrap_err(), PemError::Unreadable(io::ErrorKind::NotFound));
        std::fs::write(&path, vec![b'a'; MAX_FILE]).unwrap();
        assert_eq!(read(&path).unwrap().len(), MAX_FILE);
        std::fs::write(&path, vec![b'a'; MAX_FILE + 1]).unwrap();
        assert_eq!(read(&path).unwrap_err(), PemError::TooLong);
    }
}
