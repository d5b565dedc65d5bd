//! Client certificates: whether the connection showed one that the source asks for. The handshake
//! has proved who holds its key; here it is judged whose it is, by the source's own roots.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::UnixTime;

use super::Refusal;
use crate::audit::Reason;
use crate::clock::UnixMillis;
use crate::config::Source;
use crate::event::SourceName;
use crate::listen::{Fault, Origin};

/// Why no verifier can be made for a source. All of it is the operator's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("source {name}: client_ca: {}: no certificate to trust", path.display())]
pub struct VerifierError {
    name: SourceName,
    path: PathBuf,
}

/// The roots of which one source's callers must show a certificate. Worked out once: a request is
/// only compared with them.
pub(super) struct ClientRoots {
    roots: Arc<RootCertStore>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientRoots {
    /// Those of the source; `None` when it asks for no client certificate.
    pub(super) fn of(source: &Source) -> Result<Option<Self>, VerifierError> {
        let Some(authorities) = &source.client_ca else {
            return Ok(None);
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::clone(&authorities.roots);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider).build();
        let failed =
            |_| VerifierError { name: source.name.clone(), path: authorities.file.clone() };
        Ok(Some(Self { roots, verifier: verifier.map_err(failed)? }))
    }

    /// Whether the connection showed a certificate of these roots, for client authentication,
    /// that holds at this time. A connection without TLS showed none. One that goes on for long,
    /// or whose session is resumed, is judged anew; but not with every request, since strangers
    /// can have it done: [`Origin::verdicts`].
    ///
    /// # Errors
    /// `credential_missing` or `credential_invalid`.
    pub(super) fn check(&self, origin: &Origin, now: UnixMillis) -> Result<(), Refusal> {
        let session = origin.tls.as_ref().ok_or(NOT_TLS)?;
        let (own, others) = session.client_certificates.split_first().ok_or(NONE)?;
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now.0));
        let judge = || {
            let verified = self.verifier.verify_client_cert(own, others, now);
            verified.map(drop).map_err(|error| detail(&error))
        };
        let verdict = origin.verdicts.of(&self.roots, now.as_secs(), judge);
        verdict.map_err(|fault| Refusal::new(Reason::CredentialInvalid, fault))
    }
}

const NOT_TLS: Refusal =
    Refusal::new(Reason::CredentialMissing, "no client certificate: the connection is not TLS");
const NONE: Refusal = Refusal::new(Reason::CredentialMissing, "no client certificate");

fn detail(error: &Error) -> Fault {
    let Error::InvalidCertificate(error) = error else {
        return "the client certificate cannot be judged";
    };
    match error {
        CertificateError::UnknownIssuer => "the client certificate is not of the source's roots",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the client certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the client certificate does not hold yet"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the client certificate is not for client authentication"
        }
        _ => "the client certificate is not valid",
    }
}
