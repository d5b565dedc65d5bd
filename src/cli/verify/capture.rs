//! A request that somebody has captured: what goes for its head, what follows it, and what had to be
//! assumed to read it so.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::beside;
use super::curl::{self, CurlError, Files};
use super::{pasted, raw};
use crate::config::{Config, Server};
use crate::regular::{self, Link};

/// How it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As HTTP/1.1 has it on the wire.
    Raw,
    /// As a command that would send it.
    Curl,
}

/// What was assumed, or left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// A byte order mark before it.
    ByteOrderMark,
    /// As `curl -v` shows it.
    Verbose,
    /// Lines of the head that end in LF alone.
    BareLines,
    /// No empty line behind the head.
    NoEmptyLine,
    /// A request line of HTTP/2 or later.
    LaterVersion,
    /// HTTP/2's pseudo-header fields.
    PseudoHeaders,
    /// No Host, where HTTP/2 has none.
    NoHost,
    /// A body without any length.
    NoLength,
    /// A body that says it is chunked and is not.
    Dechunked,
    /// Newlines behind the body.
    NewlineBehind,
    /// Other bytes behind the body.
    BytesBehind,
    /// Another command behind curl's.
    MoreThanCurl,
    /// User and password.
    UserLeftOut,
    /// A Transfer-Encoding for curl.
    EncodingLeftOut,
}

impl Note {
    /// For people.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ByteOrderMark => {
                "the capture begins with a byte order mark, as some editors write it: left out"
            }
            Self::Verbose => {
                "the head's lines begin with `> `, as curl -v shows them: left out, and so are curl's own lines; curl -v does not show the body, which belongs behind the empty line"
            }
            Self::BareLines => {
                "the head's lines end in LF alone: taken for CRLF, which whatever wrote the capture has changed, perhaps in the body too"
            }
            Self::NoEmptyLine => "no empty line ends the head: taken to have no body",
            Self::LaterVersion => "captured as HTTP/2 or later: judged as the same in HTTP/1.1",
            Self::PseudoHeaders => "fields that begin with a colon are HTTP/2's own: left out",
            Self::NoHost => "the capture names no host: taken to be the right one",
            Self::NoLength => {
                "neither Content-Length nor Transfer-Encoding: all that follows the head is taken for the body, on the wire it would not be"
            }
            Self::Dechunked => {
                "the body says that it is chunked and is not: taken as it stands, whatever captured it has joined it"
            }
            Self::NewlineBehind => {
                "behind the body of Content-Length's size stands a newline, as editors add it: left out"
            }
            Self::BytesBehind => {
                "behind the body of Content-Length's size stand further bytes, which on the wire would be another request: left out; if they are the body's, the capture has changed it"
            }
            Self::MoreThanCurl => "what follows the curl command is left out",
            Self::UserLeftOut => {
                "user and password (-u) are left out: no source asks for basic authentication"
            }
            Self::EncodingLeftOut => {
                "Transfer-Encoding is left out: the body is sent in one piece here"
            }
        }
    }

    /// For programs.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::ByteOrderMark => "byte_order_mark",
            Self::Verbose => "curl_v",
            Self::BareLines => "bare_lf",
            Self::NoEmptyLine => "no_empty_line",
            Self::LaterVersion => "http2",
            Self::PseudoHeaders => "pseudo_headers",
            Self::NoHost => "no_host",
            Self::NoLength => "no_length",
            Self::Dechunked => "dechunked",
            Self::NewlineBehind => "newline_behind",
            Self::BytesBehind => "bytes_behind",
            Self::MoreThanCurl => "more_than_curl",
            Self::UserLeftOut => "user_left_out",
            Self::EncodingLeftOut => "encoding_left_out",
        }
    }
}

/// A request as captured.
#[derive(Debug)]
pub(super) struct Capture {
    pub(super) form: Form,
    /// With CRLFs, up to and with the empty line.
    pub(super) head: Vec<u8>,
    /// All that follows.
    pub(super) rest: Bytes,
    pub(super) notes: Vec<Note>,
}

/// Why nothing can be judged.
#[derive(Debug, thiserror::Error)]
pub(super) enum CaptureError {
    #[error("cannot read the request: {0}")]
    Read(#[from] io::Error),
    #[error("there is no request: nothing was read")]
    Empty,
    #[error(
        "more than {0} bytes: server.max_body and server.max_header_bytes allow no such request"
    )]
    TooLong(usize),
    #[error(transparent)]
    Curl(#[from] CurlError),
}

/// How much is read: head and body as the gateway bounds them, the body as long as shells and chunks
/// may write it.
fn most(server: &Server) -> usize {
    max_body(server)
        .saturating_mul(6)
        .saturating_add(server.max_header_bytes)
        .saturating_add(65_536)
}

fn max_body(server: &Server) -> usize {
    usize::try_from(server.max_body).unwrap_or(usize::MAX)
}

/// Reads a capture from a file, or from standard input where none is named or `-` is.
///
/// # Errors
/// When there is none that could be judged.
pub(super) fn read(from: Option<&Path>, config: &Config) -> Result<Capture, CaptureError> {
    let most = most(&config.server);
    let from = from.filter(|path| *path != Path::new("-"));
    let bytes = match from {
        Some(path) => {
            let mut options = OpenOptions::new();
            bounded(regular::open(options.read(true), path, Link::Follow)?, most)?
        }
        None => bounded(io::stdin().lock(), most)?,
    };
    if bytes.len() > most {
        return Err(CaptureError::TooLong(most));
    }
    of(bytes, &config.server, &beside::directory(from), &own(config))
}

/// Where secrets may be: the files of the configuration, the store, and what ACME has got.
fn own(config: &Config) -> Vec<PathBuf> {
    let cache = config.server.acme_cache().map(Path::to_owned);
    config.files.iter().cloned().chain([config.store.path.clone()]).chain(cache).collect()
}

/// The capture that these bytes are; files that it names are below `directory`, and none of the
/// gateway's `own`.
///
/// # Errors
/// As [`read`].
pub(super) fn of(
    bytes: Vec<u8>,
    server: &Server,
    directory: &Path,
    own: &[PathBuf],
) -> Result<Capture, CaptureError> {
    let most = max_body(server);
    of_with(bytes, server, &|path: &Path| beside::read(directory, path, most, own))
}

/// The same; what the capture names is read through `files`.
///
/// # Errors
/// As [`read`].
pub(super) fn of_with(
    bytes: Vec<u8>,
    server: &Server,
    files: Files<'_>,
) -> Result<Capture, CaptureError> {
    if bytes.trim_ascii().is_empty() {
        return Err(CaptureError::Empty);
    }
    let (bytes, mut notes) = pasted::cleaned(bytes);
    let mut capture = if curl::is_command(&bytes) {
        curl::read(&bytes, max_body(server), files)?
    } else {
        raw::read(bytes)
    };
    notes.append(&mut capture.notes);
    Ok(Capture { notes, ..capture })
}

/// At most one byte more than `most`.
fn bounded(from: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    from.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
