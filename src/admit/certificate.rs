//! Client certificates: whether the connection showed one that a source, or the admin listener, asks
//! for. The handshake has proved who holds its key; here it is judged whose it is, by their own roots.

use std::fmt;
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
use crate::config::{Authorities, Source};
use crate::listen::{Fault, Origin};

/// Why no verifier can be made. All of it is the operator's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{whose}: client_ca: {}: no certificate to trust", path.display())]
pub struct VerifierError {
    whose: String,
    path: PathBuf,
}

/// The roots of which callers must show a certificate: one source's, or the admin listener's. Worked
/// out once: a request is only compared with them.
pub(crate) struct ClientRoots {
    roots: Arc<RootCertStore>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientRoots {
    /// Those of the source; `None` when it asks for no client certificate.
    pub(super) fn of(source: &Source) -> Result<Option<Self>, VerifierError> {
        let asked = source.client_ca.as_ref();
        asked.map(|asked| Self::trusting(asked, || format!("source {}", source.name))).transpose()
    }

    /// These. `whose` names the table that they stand in.
    pub(crate) fn trusting(
        authorities: &Authorities,
        whose: impl Fn() -> String,
    ) -> Result<Self, VerifierError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::clone(&authorities.roots);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider).build();
        let failed = |_| VerifierError { whose: whose(), path: authorities.file.clone() };
        Ok(Self { roots, verifier: verifier.map_err(failed)? })
    }

    /// Whether the connection showed a certificate of these roots, for client authentication,
    /// that holds at this time. A connection without TLS showed none. One that goes on for long,
    /// or whose session is resumed, is judged anew; but not with every request, since strangers
    /// can have it done: [`Origin::verdicts`].
    ///
    /// # Errors
    /// `credential_missing` or `credential_invalid`.
    pub(crate) fn check(&self, origin: &Origin, now: UnixMillis) -> Result<(), Refusal> {
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

/// Without what is in them.
impl fmt::Debug for ClientRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} roots", self.roots.len())
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
        CertificateError::UnknownIssuer => {
            "the client certificate is not of the roots that are asked for"
        }
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
