//! Why a command has no answer of the gateway to go on with, and its exit code.

use std::io;
use std::path::{Path, PathBuf};

use http::StatusCode;

use super::{TIMEOUT, TOKEN, WRONG_USAGE};
use crate::pem::PemError;

/// Why there is no answer to go on with.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Trouble {
    #[error(
        "no gateway runs on this store (nothing answers at {}). Start it with `hookward run`; without \
         it, `hookward store stat` and `hookward store export` look at the store's files",
        .0.display()
    )]
    NotRunning(PathBuf),
    #[error("{} is for root and the user that the gateway runs as: run this as one of them", .0.display())]
    Denied(PathBuf),
    #[error(
        "{} is too long for a Unix socket: ask the admin listener with --url", .0.display()
    )]
    TooLong(PathBuf),
    #[error("--url: http:// or https://, a host, and a port if it is not the scheme's")]
    Url,
    #[error("--url needs the admin token in the environment, in {TOKEN}")]
    NoToken,
    #[error("the token in {TOKEN} is no visible ASCII")]
    Token,
    #[error("{url}: {source}; is the gateway running, and is that its admin listener?")]
    Connect { url: String, source: io::Error },
    #[error("{url}: {source}; --ca names whose certificates to believe")]
    Handshake { url: String, source: io::Error },
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    #[error("--ca, --cert and --key are for a --url that begins with https://")]
    NotTls,
    #[error("{}: {error}", .path.display())]
    Pem { path: PathBuf, error: PemError },
    #[error(
        "the gateway has ended the connection before it answered: {0}; if it speaks TLS there, the URL begins with https://"
    )]
    Broken(#[from] hyper::Error),
    #[error("the request cannot be built: {0}")]
    Request(#[from] http::Error),
    #[error("the answer cannot be read: {0}")]
    Answer(Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer within {} seconds", TIMEOUT.as_secs())]
    TimedOut,
    /// What the gateway says about it.
    #[error("{detail}")]
    Refused { status: StatusCode, detail: String },
    #[error("the answer is not what the API of this version answers")]
    Unexpected,
    /// It is broken, or somebody else's.
    #[error(
        "there was nothing on {0} pages one after the other, and always another page: that is given up"
    )]
    Endless(u32),
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
    #[error("the runtime cannot start: {0}")]
    Runtime(io::Error),
    /// It is told already.
    #[error("")]
    Told(u8),
}

impl Trouble {
    pub(super) fn pem(path: &Path, error: PemError) -> Self {
        Self::Pem { path: path.to_owned(), error }
    }

    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Refused { status: StatusCode::BAD_REQUEST, .. } | Self::Url | Self::NotTls => {
                WRONG_USAGE
            }
            Self::Told(code) => *code,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was `ca.pem cannot be read: entity not found`.
    #[test]
    fn a_pem_file_and_what_is_wrong_with_it_are_told_apart() {
        let missing = PemError::Unreadable(io::ErrorKind::NotFound);
        let told = Trouble::pem(Path::new("ca.pem"), missing).to_string();
        assert_eq!(told, "ca.pem: cannot be read: no such file");
    }
}
