//! Why no certificate was issued.

use instant_acme::{Error, Problem};

use super::cache::CacheError;
use super::schedule::Patience;
use crate::pem::PemError;

/// The most characters of a failure that are told: most of it is the authority's.
const MOST_TOLD: usize = 1000;

/// An account that the authority has forgotten (RFC 8555, section 6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// A nonce that the authority did not take, however good it was.
const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The operator's: nobody would be trusted.
    #[error("the platform has no root certificates ({0}); name the authority's with `ca`")]
    NoPlatformRoots(String),
    /// The operator's: certificates cannot be kept, and the next start would order anew.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The authority's, or the network's.
    #[error(transparent)]
    Authority(#[from] Error),
    /// Mostly the operator's: the authority looked for a name, and did not find us.
    #[error("the authority did not reach us as {name}: {}", reason(.problem.as_ref()))]
    Unproved {
        /// The name.
        name: String,
        /// What it says about it.
        problem: Option<Problem>,
    },
    /// The authority's: it would be convinced only in ways that we do not have.
    #[error("the authority does not offer tls-alpn-01 for {0}")]
    NoChallenge(String),
    /// The authority's: it asks for a name that was not ordered.
    #[error("the authority asks for another name")]
    UnknownName,
    /// It took longer than an attempt may.
    #[error("the authority has not come to an end in time")]
    TooSlow,
    /// The authority's: what it issued cannot be used.
    #[error("the certificate that was issued {0}")]
    Unusable(#[from] PemError),
    /// The authority's: what it issued is for others.
    #[error("the certificate that was issued is for other names: {}", .0.join(" "))]
    OtherNames(Vec<String>),
    /// Ours: no key or request could be made.
    #[error("no request could be made: {0}")]
    Request(#[from] rcgen::Error),
    /// Ours: the TLS library does not accept its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    /// Ours, or the library's.
    #[error("the attempt has panicked")]
    Panicked,
}

impl Failure {
    /// How soon it is worth while to try again.
    pub(super) fn patience(&self) -> Patience {
        match self {
            Self::Authority(Error::Api(problem)) if problem.status.is_none_or(|s| s < 500) => {
                Patience::Refused
            }
            Self::Authority(_) | Self::TooSlow => Patience::Unreachable,
            Self::NoPlatformRoots(_)
            | Self::Cache(_)
            | Self::Unproved { .. }
            | Self::NoChallenge(_)
            | Self::UnknownName
            | Self::Unusable(_)
            | Self::OtherNames(_)
            | Self::Request(_)
            | Self::Setup(_)
            | Self::Panicked => Patience::Refused,
        }
    }

    /// Whether the authority does not know the account that it once gave.
    pub(super) fn is_unknown_account(&self) -> bool {
        matches!(self, Self::Authority(error) if is(error, NO_ACCOUNT))
    }

    /// For the log: one line of bounded length, whatever the authority says.
    pub(super) fn told(&self) -> String {
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        self.to_string().chars().map(plain).take(MOST_TOLD).collect()
    }
}

/// Whether the authority has refused a nonce: the same again is all that is needed.
pub(super) fn is_bad_nonce(error: &Error) -> bool {
    is(error, BAD_NONCE)
}

fn is(error: &Error, kind: &str) -> bool {
    matches!(error, Error::Api(problem) if problem.r#type.as_deref() == Some(kind))
}

fn reason(problem: Option<&Problem>) -> String {
    problem.map_or_else(|| "it does not say why".to_owned(), Problem::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: &str, detail: &str, status: u16) -> Failure {
        Failure::Authority(Error::Api(Problem {
            r#type: Some(kind.to_owned()),
            detail: Some(detail.to_owned()),
            status: Some(status),
            subproblems: Vec::new(),
        }))
    }

    #[test]
    fn what_an_authority_says_is_told_on_one_line_of_bounded_length() {
        let told = refused("urn:x", &"a\n\u{1b}[31mb".repeat(1000), 400).told();
        assert!(told.starts_with("API error: a  [31mb"), "{told}");
        assert!(told.chars().count() <= MOST_TOLD && !told.contains(char::is_control));
    }

    #[test]
    fn refusals_are_waited_out_longer_than_what_passes_by_itself() {
        assert_eq!(refused("urn:x", "", 429).patience(), Patience::Refused);
        assert_eq!(refused("urn:x", "", 503).patience(), Patience::Unreachable);
        assert_eq!(Failure::TooSlow.patience(), Patience::Unreachable);
        assert_eq!(Failure::Authority(Error::Crypto).patience(), Patience::Unreachable);
        assert!(refused(NO_ACCOUNT, "", 400).is_unknown_account());
    }
}
