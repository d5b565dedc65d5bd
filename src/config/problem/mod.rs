//! What can be wrong with a configuration, as data: each problem with its place, its key, what was
//! found and what is accepted. Never holds a secret: a string that stands where a secret belongs
//! is not repeated.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::pem::PemError;
use crate::regular::why;

mod warning;

pub use warning::Warning;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing runs with it.
    Error,
    /// It runs, and the operator should know.
    Warning,
}

/// A place in the file, both counted from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One thing that is wrong or doubtful, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The configuration file, as it was named.
    pub file: PathBuf,
    /// Where in it; absent when the problem is the file itself.
    pub position: Option<Position>,
    /// The dotted path of the key, such as `source.lab.auth.kind`; empty for the whole file.
    pub key: String,
    /// What is wrong.
    pub kind: ProblemKind,
}

impl Problem {
    /// Whether nothing runs with it.
    pub fn severity(&self) -> Severity {
        match self.kind {
            ProblemKind::Warning(_) => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

impl Problem {
    /// The file that it is about, if that is that the system denies it to us.
    pub fn denied(&self) -> Option<&Path> {
        let (file, error) = match &self.kind {
            ProblemKind::Unreadable(error) => (&self.file, error),
            ProblemKind::Pem { path, error: PemError::Unreadable(error), .. } => (path, error),
            ProblemKind::Secret(SecretProblem::Unreadable { path, error }) => (path, error),
            _ => return None,
        };
        (*error == io::ErrorKind::PermissionDenied).then_some(file)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        match self.severity() {
            Severity::Error => f.write_str(" error: ")?,
            Severity::Warning => f.write_str(" warning: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        self.kind.fmt(f)
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProblemKind {
    /// The file cannot be read.
    #[error("cannot be read: {}", why(*.0))]
    Unreadable(io::ErrorKind),
    /// The file is not UTF-8.
    #[error("found bytes that are not UTF-8; accepted: TOML, which is UTF-8")]
    NotUtf8,
    /// The file is longer than any configuration can sensibly be.
    #[error("found {found} bytes; accepted: at most {most}")]
    TooLong {
        /// Its length in bytes.
        found: usize,
        /// The longest that is read.
        most: usize,
    },
    /// Not TOML. Several of them may be reported for one file.
    #[error("not valid TOML: {0}")]
    Syntax(String),
    /// A key that does not exist at this place.
    #[error("unknown key; accepted: {accepted}{}", did_you_mean(nearest))]
    UnknownKey {
        /// The keys that do.
        accepted: String,
        /// The most similar of them.
        nearest: Option<String>,
    },
    /// A value of the wrong type, form or range.
    #[error("found {found}; accepted: {accepted}{}", did_you_mean(nearest))]
    NotAccepted {
        /// The value, or its type alone where it could be a secret.
        found: String,
        /// The values or forms that are accepted here.
        accepted: Cow<'static, str>,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// A key that has to be there and is not.
    #[error("missing; accepted: {accepted}")]
    Missing {
        /// What is accepted there.
        accepted: Cow<'static, str>,
    },
    /// A value that only one may have, and another has already.
    #[error("found {found}, which {by} has already; accepted: one of its own")]
    Taken {
        /// The value.
        found: String,
        /// Who has it.
        by: String,
    },
    /// A time that must be longer than another.
    #[error("found {found}; accepted: longer than {bound}, {whose}")]
    NotLonger {
        /// The time found.
        found: String,
        /// The other time.
        bound: String,
        /// What the other time is.
        whose: String,
    },
    /// A time that must be shorter than another.
    #[error("found {found}; accepted: shorter than {bound}, {whose}")]
    NotShorter {
        /// The time found.
        found: String,
        /// The other time.
        bound: String,
        /// What the other time is.
        whose: String,
    },
    /// A quantity that must not exceed another.
    #[error("found {found}; accepted: at most {bound}, {whose}")]
    Longer {
        /// The quantity found.
        found: String,
        /// The other one.
        bound: String,
        /// What the other one is.
        whose: String,
    },
    /// A quantity that must not fall short of another.
    #[error("found {found}; accepted: at least {bound}, {whose}")]
    Less {
        /// The quantity found.
        found: String,
        /// The other one.
        bound: String,
        /// What the other one is.
        whose: String,
    },
    /// Keys that do not go together.
    #[error("{0}")]
    Contradiction(Contradiction),
    /// A key of the schema whose feature comes in a later release.
    #[error("not available in this version{}", instead(*.0))]
    NotAvailable(Option<&'static str>),
    /// A file of certificates, or of a key, that does not serve.
    #[error("{}: {error}; accepted: {accepted}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: PemError,
        /// What it should be.
        accepted: &'static str,
    },
    /// A secret that is not given as it should be.
    #[error("{0}")]
    Secret(SecretProblem),
    /// Doubtful, but it runs.
    #[error("{0}")]
    Warning(Warning),
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|n| format!("; did you mean {n}?")).unwrap_or_default()
}

fn instead(accepted: Option<&'static str>) -> String {
    accepted.map(|a| format!("; accepted: {a}")).unwrap_or_default()
}

/// Keys that do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// `signed` leaves the body out.
    #[error("the body is not signed; accepted: a template with {{body}} in it, once")]
    BodyNotSigned,
    /// `timestamp` without `{timestamp}` in `signed`.
    #[error(
        "the timestamp is not signed, so it proves nothing; accepted: with {{timestamp}} in `signed`"
    )]
    TimestampNotSigned,
    /// `{timestamp}` in `signed` without `timestamp`.
    #[error(
        "found {{timestamp}} without the key `timestamp`, which says where it stands; accepted: with timestamp = \"t\" or \"header:NAME\""
    )]
    TimestampNowhere,
    /// `timestamp = "t"` without `signature`.
    #[error(
        "found an item of the signature header without `signature`, the item that holds the signature; accepted: with signature = \"v1\", or timestamp = \"header:NAME\""
    )]
    ItemWithoutSignature,
    /// `tolerance` without `timestamp`.
    #[error("found without `timestamp`, so there is nothing to tolerate; accepted: with it")]
    ToleranceWithoutTimestamp,
    /// `max_event_age` without `event.time`.
    #[error("found without `event.time`, so no event has an age; accepted: with it")]
    AgeWithoutTime,
    /// `require_event_time` without `event.time`.
    #[error("found true without `event.time`, so every event would be refused; accepted: with it")]
    RequiredTimeNowhere,
    /// `event.data` from a header.
    #[error("found a header; accepted: a JSON Pointer, since the data stands in the body")]
    DataInHeader,
    /// `ca` or `client_cert` for an upstream that is not `https`.
    #[error("found with an http url, which needs no certificates; accepted: with an https url")]
    CaWithoutTls,
    /// `original_signature` or `resign` where the provider's bytes are not sent.
    #[error(
        "found with another format, whose bytes no provider has signed; accepted: with format = \"passthrough\""
    )]
    OnlyPassthrough,
    /// `resign` for a source that proves nothing.
    #[error(
        "found for a source with kind = \"none-dangerous\", which has no signature; accepted: a source that has"
    )]
    NothingToSign,
    /// `resign` for a source whose signature would stand where Hookward's own does.
    #[error(
        "the source's signature stands in a header that Hookward sets itself; accepted: `signing_key`, whose signature stands there"
    )]
    SignatureTaken,
    /// `resign` for a source whose signature covers what is never stored.
    #[error(
        "the source's signature covers a header with a credential, which is never stored; accepted: a source whose signature does not"
    )]
    CredentialCovered,
    /// A credential in `forward_headers`.
    #[error(
        "found the header that holds the source's credential; accepted: any other, since a credential must not be stored (for signatures there is original_signature = \"keep\" of the upstream)"
    )]
    CredentialForwarded,
    /// An upstream's address that nobody should be made to call.
    #[error(
        "found a link-local address, or one of a cloud's metadata service, which gives its credentials to whoever asks; accepted: any other, or with allow_link_local = true"
    )]
    LinkLocal,
    /// The same, where nothing allows it.
    #[error(
        "found a link-local address, or one of a cloud's metadata service; accepted: any other"
    )]
    LinkLocalForGood,
    /// A file that is written to, among the store's own.
    #[error(
        "found a file below store.path, where nothing may be but what the store has put there; accepted: one in another directory"
    )]
    InTheStore,
    /// A directory for segments that go, in the store that they go from.
    #[error(
        "found a directory below store.path, that one itself, or a directory that a part of the store is linked to: what the audit trail lets go of would stay among what the store has put there; accepted: one elsewhere"
    )]
    ArchiveInTheStore,
    /// An output to a socket in the store: the gateway's own.
    #[error(
        "found a socket below store.path, where nobody listens but the gateway itself, which would record what it sent there as refused, and send that again; accepted: that of a syslog elsewhere"
    )]
    SocketInTheStore,
    /// A file that is written to and holds what the configuration reads.
    #[error(
        "found a file that this configuration is read from, which what is appended to it would spoil; accepted: one of its own"
    )]
    ReadAsWell,
    /// Certificates for an output that speaks no TLS.
    #[error(
        "found with a Unix socket, which needs no certificates; accepted: with a tls:// address"
    )]
    CaWithoutTlsAddress,
    /// `proxy_protocol` without `trusted_proxies`.
    #[error(
        "found true without `trusted_proxies`, so every connection would be refused; accepted: with the proxies' networks there"
    )]
    ProxyProtocolWithoutProxies,
    /// Both files and ACME.
    #[error("found both files and `acme`; accepted: one of them")]
    TwoCertificates,
    /// `client_ca` on a plain listener.
    #[error(
        "found without `server.tls`, so no caller can show a certificate and every request would be refused; accepted: with it"
    )]
    ClientCaWithoutTls,
    /// `client_ca` where only an HTTP proxy is ever on the other end of TLS.
    #[error(
        "found where only proxies on this machine connect, which end the callers' TLS, so that no caller's certificate gets here; accepted: with server.proxy_protocol = true and proxies that pass TLS on"
    )]
    ClientCaBehindProxies,
    /// A credential that would identify events.
    #[error(
        "found the header that holds the source's credential; accepted: any other place, since a credential says nothing about the event and must not be stored"
    )]
    CredentialAsEvent,
    /// A secret given twice over.
    #[error("found both `env` and `file`; accepted: one of them")]
    TwoSecretPlaces,
}

/// A secret that is not given as it should be. Never the secret itself.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SecretProblem {
    /// A string where a reference belongs.
    #[error(
        "found the secret itself; secrets do not stand in this file; accepted: {{ env = \"NAME\" }} or {{ file = \"PATH\" }}"
    )]
    Plaintext,
    /// A name that no environment variable has. Not repeated: it may be the secret itself.
    #[error(
        "found a string that is no variable's name; accepted: letters, digits and `_`, not starting with a digit"
    )]
    NotAVariable,
    /// The environment has no such variable.
    #[error("the environment variable {0} is not set; accepted: one that is")]
    Unset(String),
    /// The secret has no bytes.
    #[error("{0} is empty; accepted: a secret of at least 16 bytes")]
    Empty(String),
    /// The file cannot be read.
    #[error("cannot read {}: {}; accepted: a file that this user can read", path.display(), why(*error))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::ErrorKind,
    },
    /// Others than its owner can read or change the file.
    #[error(
        "{} has mode {mode:04o}; accepted: 0600, readable by its owner alone (or allow_readable = true beside it)",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// More bytes than any key has.
    #[error("{from} is longer than {most} bytes; accepted: at most that")]
    TooLong {
        /// The variable or file.
        from: String,
        /// The longest that is taken.
        most: usize,
    },
    /// The scheme's keys are base64, and this is not.
    #[error("{0} does not decode; accepted: base64, with or without whsec_ before it")]
    NotBase64(String),
    /// It keys the store's cipher, and is no key.
    #[error(
        "{0} holds no encryption key; accepted: 32 random bytes as `hookward keygen` prints them, 64 hexadecimal digits or base64"
    )]
    NotAKey(String),
    /// A key that stands in the list twice.
    #[error("found a key that stands before it in the list; accepted: each key once")]
    Repeated,
    /// It is compared with or sent as a header's value, and cannot be one.
    #[error(
        "{0} holds bytes that no header value has; accepted: printable ASCII, without spaces at its ends"
    )]
    NotAHeaderValue(String),
}

impl From<SecretProblem> for ProblemKind {
    fn from(problem: SecretProblem) -> Self {
        Self::Secret(problem)
    }
}

impl From<Contradiction> for ProblemKind {
    fn from(contradiction: Contradiction) -> Self {
        Self::Contradiction(contradiction)
    }
}

impl From<Warning> for ProblemKind {
    fn from(warning: Warning) -> Self {
        Self::Warning(warning)
    }
}
