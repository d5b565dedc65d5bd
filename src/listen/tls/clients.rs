//! Client certificates, as far as the handshake goes: they are asked for, never required, and a
//! client that shows one has to prove that it holds the key. Whose they must be differs from
//! source to source, and the source is not known before the request: it is judged there.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme, crypto,
};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};

/// The most certificates of a client's chain: its own, two of intermediates, and the root that many
/// send along. Who looks for a way to a root tries every order of those whose names fit, with a
/// signature check each: that grows with the factorial, so see [`ambiguous`] as well.
const MAX_CHAIN: usize = 4;

/// The most bytes of a client's chain. It is kept with the connection and with each session;
/// RSA certificates have about 1.5 KiB each.
const MAX_CHAIN_BYTES: usize = 16 << 10;

/// The most bytes of names that clients are told to choose their certificate by. They are sent in
/// every handshake, and there they must fit in 64 KiB; without them a client shows what it has.
const MAX_HINT_BYTES: usize = 8 << 10;

/// Whether clients are asked for certificates, and by which names they can tell which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificates {
    asked: bool,
    /// DER names; empty: clients are left to themselves.
    hints: BTreeSet<Vec<u8>>,
}

impl ClientCertificates {
    /// Nobody is asked for one.
    pub fn none() -> Self {
        Self::default()
    }

    /// Everybody is asked for one of any of these roots; nobody is when there is none.
    pub fn of<'a>(roots: impl IntoIterator<Item = &'a RootCertStore>) -> Self {
        let subjects = roots.into_iter().flat_map(RootCertStore::subjects);
        let mut hints: BTreeSet<_> = subjects.map(|name| name.as_ref().to_vec()).collect();
        let asked = !hints.is_empty();
        if hints.iter().map(|name| name.len() + 2).sum::<usize>() > MAX_HINT_BYTES {
            hints.clear();
        }
        Self { asked, hints }
    }

    pub(super) fn verifier(&self, provider: &CryptoProvider) -> Arc<dyn ClientCertVerifier> {
        if !self.asked {
            return WebPkiClientVerifier::no_client_auth();
        }
        let algorithms = provider.signature_verification_algorithms;
        let hints = self.hints.iter().cloned().map(DistinguishedName::from).collect();
        Arc::new(HoldersOfTheirKey { hints, algorithms })
    }
}

/// Takes every certificate whose key the client proves to hold. What it says about the chain is
/// nothing: a `ClientCertVerified` of its is no proof of anything else.
#[derive(Debug)]
struct HoldersOfTheirKey {
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for HoldersOfTheirKey {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes = end_entity.len() + intermediates.iter().map(|der| der.len()).sum::<usize>();
        if intermediates.len() >= MAX_CHAIN || bytes > MAX_CHAIN_BYTES || ambiguous(intermediates) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether two issuers go by one name and have different keys, so that one would have to be tried
/// after the other. One with one key may be there twice, issued by an old root and a new one: no
/// way leads through both. So no more than five signatures are ever checked for one chain.
fn ambiguous(intermediates: &[CertificateDer<'_>]) -> bool {
    let mut issuers = RootCertStore::empty();
    // What cannot be parsed here is no step on anybody's way.
    issuers.add_parsable_certificates(intermediates.iter().cloned());
    let mut rest = issuers.roots.as_slice();
    while let Some((issuer, others)) = rest.split_first() {
        let namesake = |other: &TrustAnchor<'_>| {
            other.subject == issuer.subject
                && other.subject_public_key_info != issuer.subject_public_key_info
        };
        if others.iter().any(namesake) {
            return true;
        }
        rest = others;
    }
    false
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

    use super::*;

    fn authority(name: &str, key: &KeyPair) -> CertificateDer<'static> {
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.distinguished_name.push(DnType::CommonName, name);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.self_signed(key).unwrap().der().clone()
    }

    fn roots(names: impl IntoIterator<Item = String>) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        for name in names {
            roots.add(authority(&name, &KeyPair::generate().unwrap())).unwrap();
        }
        roots
    }

    #[test]
    fn clients_are_told_the_names_of_all_roots_once() {
        let [one, two] = ["one", "two"].map(|name| roots([name.to_owned()]));
        assert_eq!(ClientCertificates::of([&one, &two, &one]).hints.len(), 2);
        assert_ne!(ClientCertificates::of([&one]), ClientCertificates::of([&two]));
        assert_eq!(ClientCertificates::of([]), ClientCertificates::none());
    }

    #[test]
    fn a_chain_is_bounded_in_number_and_length() {
        let provider = rustls::crypto::ring::default_provider();
        let verifier = ClientCertificates::of([&roots(["one".to_owned()])]).verifier(&provider);
        let check = |own: usize, others: usize, each: usize| {
            let der = |bytes| CertificateDer::from(vec![0; bytes]);
            let others = vec![der(each); others];
            verifier.verify_client_cert(&der(own), &others, UnixTime::since_unix_epoch(NO_TIME))
        };
        assert!(check(1000, MAX_CHAIN - 1, 1000).is_ok());
        assert!(check(1000, MAX_CHAIN, 1000).is_err());
        assert!(check(MAX_CHAIN_BYTES, 0, 0).is_ok());
        assert!(check(MAX_CHAIN_BYTES, 1, 1).is_err());
    }

    /// A leaf with seven made-up issuers, all named like the root, kept a thread busy for 100
    /// signature checks.
    #[test]
    fn no_two_issuers_of_one_name_are_taken_unless_they_have_one_key() {
        let keys = [(); 3].map(|()| KeyPair::generate().unwrap());
        let of = |named: &[(&str, usize)]| {
            named.iter().map(|(name, key)| authority(name, &keys[*key])).collect::<Vec<_>>()
        };
        for (issuers, refused) in [
            (vec![], false),
            (vec![("one", 0)], false),
            (vec![("one", 0), ("two", 1), ("root", 2)], false),
            (vec![("one", 0), ("two", 0), ("root", 0)], false),
            (vec![("one", 0), ("one", 0), ("root", 2)], false),
            (vec![("one", 0), ("one", 1)], true),
            (vec![("one", 0), ("two", 1), ("one", 2)], true),
            (vec![("two", 1), ("one", 0), ("one", 2)], true),
        ] {
            assert_eq!(ambiguous(&of(&issuers)), refused, "{issuers:?}");
        }
        assert!(!ambiguous(&[CertificateDer::from(vec![0; 9]), CertificateDer::from(vec![1; 9])]));
    }

    const NO_TIME: std::time::Duration = std::time::Duration::ZERO;

    #[test]
    fn names_that_do_not_fit_are_left_out_and_clients_still_asked() {
        let many = roots((0..60).map(|n| format!("{n:0>200}")));
        let asked = ClientCertificates::of([&many]);
        assert!(asked.asked && asked.hints.is_empty());
    }
}
