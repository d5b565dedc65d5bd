//! Why a handshake came to nothing, in a few fixed words. The library's own errors can quote what
//! the client sent.

use std::io;

use rustls::{Error, InvalidMessage, PeerIncompatible};

/// Why there was no TLS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::listen) enum Failure {
    /// The client went away.
    Closed,
    /// What it sent is no TLS.
    NotTls,
    /// It offers no version that is taken.
    Version,
    /// It offers a version that is taken, but no cipher suite, group or signature with it.
    Incompatible,
    /// It offers protocols by ALPN, and none that is spoken here.
    Application,
    /// Its certificate is too long, malformed, or not proved to be its own.
    ClientCertificate,
    /// It sent an alert: mostly, that it does not trust our certificate.
    Alert,
    /// It broke the protocol.
    Protocol,
    /// There is no certificate yet.
    NoCertificate,
    /// We could not go on.
    Internal,
}

impl Failure {
    /// For our own log.
    pub(in crate::listen) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "the client went away",
            Self::NotTls => "not TLS",
            Self::Version => "no TLS version in common",
            Self::Incompatible => "no TLS parameters in common",
            Self::Application => "no application protocol in common",
            Self::ClientCertificate => "unacceptable client certificate",
            Self::Alert => "the client sent an alert",
            Self::Protocol => "TLS protocol error",
            Self::NoCertificate => "no certificate yet",
            Self::Internal => "internal TLS error",
        }
    }

    /// Whether the client has asked for something that it does not get.
    pub(in crate::listen) fn is_refusal(self) -> bool {
        match self {
            Self::Closed | Self::NoCertificate | Self::Internal => false,
            Self::NotTls
            | Self::Version
            | Self::Incompatible
            | Self::Application
            | Self::ClientCertificate
            | Self::Alert
            | Self::Protocol => true,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        tls.map_or(Self::Closed, Self::of)
    }
}

impl Failure {
    fn of(error: &Error) -> Self {
        match error {
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::NotTls,
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::SupportedVersionsExtensionRequired
                // Every client of 1.2 and later has it (RFC 5246, section 7.4.1.4.1).
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            )
            | Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => Self::Version,
            Error::PeerIncompatible(_) => Self::Incompatible,
            Error::NoApplicationProtocol => Self::Application,
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented => {
                Self::ClientCertificate
            }
            Error::AlertReceived(_) => Self::Alert,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::PeerSentOversizedRecord
            | Error::DecryptError => Self::Protocol,
            _ => Self::Internal,
        }
    }
}
