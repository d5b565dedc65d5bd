//! What can be wrong with a request's bytes, and what is said of it.

use std::error::Error;
use std::io;

use http::StatusCode;

use super::syntax::is_token;

/// What is wrong with a request as HTTP/1.1 (RFC 9112 and 9110; sections with each).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum Defect {
    /// A line that ends in LF alone (9112, 2.2).
    BareLf,
    /// A CR that no LF follows (9112, 2.2).
    BareCr,
    /// Line breaks before a request, more than are skipped (9112, 2.2).
    EmptyLines,
    /// Not three parts with one space between each (9112, 3).
    RequestLine,
    /// A method that is no token (9112, 3.1).
    Method,
    /// A TLS handshake (RFC 8446, 5.1) where plain HTTP was to come.
    Tls,
    /// CONNECT: this is no proxy (9110, 9.3.6).
    Connect,
    /// A version that is none (9112, 2.3).
    Version,
    /// A version other than 1.0 and 1.1 (9110, 15.6.6).
    OtherVersion,
    /// A target with bytes that none may hold (9112, 3.2).
    Target,
    /// A target with a fragment (9112, 3.2).
    Fragment,
    /// A target that is neither a path nor an absolute `http` URI (9112, 3.2).
    TargetForm,
    /// A target with user information (9110, 4.2.4).
    UserInfo,
    /// A target that is too long (9110, 15.5.15).
    LongTarget,
    /// Whitespace before the first field (9112, 2.2).
    LeadingSpace,
    /// A field line that is folded (9112, 5.2).
    Folded,
    /// Whitespace before the colon (9112, 5.1).
    SpaceBeforeColon,
    /// A field without a name, or with one that is no token (9110, 5.1).
    FieldName,
    /// A control byte in a value (9110, 5.5).
    FieldValue,
    /// More fields than are taken (9110, 5.4).
    ManyFields,
    /// More bytes than are taken (9110, 5.4).
    LongHead,
    /// HTTP/1.1 without Host (9112, 3.2).
    NoHost,
    /// More than one Host (9112, 3.2).
    RepeatedHost,
    /// A Host that is empty or no host (9112, 3.2).
    BadHost,
    /// A target whose authority is not the Host (9112, 3.2.2).
    OtherHost,
    /// More than one Content-Length, or a list of them (9112, 6.3).
    RepeatedLength,
    /// A Content-Length that is no number, or larger than any body (9112, 6.3).
    BadLength,
    /// A `:scheme` other than the listener's (9113, 8.3.1).
    Scheme,
    /// Whitespace around a value, which HTTP/1.1 would cut off (9113, 8.2.1).
    PaddedValue,
    /// A Transfer-Encoding other than one `chunked` (9112, 6.1 and 6.3).
    BadEncoding,
    /// Content-Length and Transfer-Encoding (9112, 6.3).
    LengthAndEncoding,
    /// Transfer-Encoding in HTTP/1.0 (9112, 6.1).
    OldEncoding,
    /// An Upgrade field (9110, 7.8): there is nothing to change to.
    Upgrade,
    /// An expectation other than `100-continue` (9110, 10.1.1).
    Expectation,
    /// A head that was not complete in time (9110, 15.5.9).
    LateHead,
    /// A chunk size that is none (9112, 7.1).
    ChunkSize,
    /// A chunk extension that is none, or more of them than are taken (9112, 7.1.1).
    ChunkExtension,
    /// Chunk data that no CRLF follows (9112, 7.1).
    ChunkEnd,
    /// A trailer field that is none (9112, 7.1.2).
    Trailer,
    /// More trailer fields than are taken (9112, 7.1.2).
    LongTrailers,
}

impl Defect {
    /// What was wrong with a body that ended in this error; `None`: it only broke off.
    pub fn of_body(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return error.get_ref()?.downcast_ref().copied();
            }
            next = error.source();
        }
        None
    }

    /// For our own log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BareLf => "a line ends in LF without CR",
            Self::BareCr => "CR without LF",
            Self::EmptyLines => "too many empty lines before a request",
            Self::RequestLine => "the request line is not method, target and version",
            Self::Method => "the method is no token",
            Self::Tls => "TLS on a plain listener",
            Self::Connect => "CONNECT",
            Self::Version => "malformed version",
            Self::OtherVersion => "a version other than HTTP/1.0 and HTTP/1.1",
            Self::Target => "a byte in the target that no target may hold",
            Self::Fragment => "fragment in the request target",
            Self::TargetForm => "the target is neither a path nor an absolute http URI",
            Self::UserInfo => "user information in the target",
            Self::LongTarget => "the target is too long",
            Self::LeadingSpace => "whitespace before the first field",
            Self::Folded => "folded field line",
            Self::SpaceBeforeColon => "whitespace before a field's colon",
            Self::FieldName => "malformed field name",
            Self::FieldValue => "control byte in a field's value",
            Self::ManyFields => "too many fields",
            Self::LongHead => "the head is too large",
            Self::NoHost => "no host",
            Self::RepeatedHost => "repeated host",
            Self::BadHost => "malformed host",
            Self::OtherHost => "the target's authority is not the host",
            Self::RepeatedLength => "repeated content-length",
            Self::BadLength => "content-length is no number",
            Self::Scheme => "another :scheme than the listener's",
            Self::PaddedValue => "whitespace around a field's value",
            Self::BadEncoding => "transfer-encoding other than chunked",
            Self::LengthAndEncoding => "content-length together with transfer-encoding",
            Self::OldEncoding => "transfer-encoding in HTTP/1.0",
            Self::Upgrade => "upgrade",
            Self::Expectation => "an expectation other than 100-continue",
            Self::LateHead => "the head was not complete in time",
            Self::ChunkSize => "malformed chunk size",
            Self::ChunkExtension => "malformed or too long chunk extension",
            Self::ChunkEnd => "chunk data without its line end",
            Self::Trailer => "malformed trailer",
            Self::LongTrailers => "too many trailers",
        }
    }

    /// What such a request is answered.
    pub fn status(self) -> StatusCode {
        match self {
            Self::LongTarget => StatusCode::URI_TOO_LONG,
            Self::ManyFields | Self::LongHead => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::OtherVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::LateHead => StatusCode::REQUEST_TIMEOUT,
            Self::BareLf
            | Self::BareCr
            | Self::EmptyLines
            | Self::RequestLine
            | Self::Method
            | Self::Tls
            | Self::Connect
            | Self::Version
            | Self::Target
            | Self::Fragment
            | Self::TargetForm
            | Self::UserInfo
            | Self::LeadingSpace
            | Self::Folded
            | Self::SpaceBeforeColon
            | Self::FieldName
            | Self::FieldValue
            | Self::NoHost
            | Self::RepeatedHost
            | Self::BadHost
            | Self::OtherHost
            | Self::RepeatedLength
            | Self::BadLength
            | Self::Scheme
            | Self::PaddedValue
            | Self::BadEncoding
            | Self::LengthAndEncoding
            | Self::OldEncoding
            | Self::Upgrade
            | Self::ChunkSize
            | Self::ChunkExtension
            | Self::ChunkEnd
            | Self::Trailer
            | Self::LongTrailers => StatusCode::BAD_REQUEST,
        }
    }
}

/// Longest parts of a defective head that are kept: a byte more than any log line shows.
const MAX_METHOD: usize = 33;
const MAX_PATH: usize = 257;
const MAX_USER_AGENT: usize = 129;

/// A head that never became a request, and what of it a log line may show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defective {
    /// What is wrong.
    pub defect: Defect,
    /// The method, if it looks like one; bounded.
    pub method: String,
    /// The target's path without query, if it looks like one; bounded.
    pub path: String,
    /// The User-Agent field's value, if it stood before the defect; bounded.
    pub user_agent: Vec<u8>,
}

impl Defective {
    /// A head that could be read, and is not what it should be.
    pub(in crate::listen) fn of(defect: Defect, head: &http::request::Parts) -> Self {
        let user_agent = head.headers.get(http::header::USER_AGENT);
        let user_agent = user_agent.map_or(b"".as_slice(), http::HeaderValue::as_bytes);
        Self {
            defect,
            method: cut(head.method.as_str().as_bytes(), MAX_METHOD),
            path: cut(head.uri.path().as_bytes(), MAX_PATH),
            user_agent: user_agent.get(..MAX_USER_AGENT).unwrap_or(user_agent).to_vec(),
        }
    }

    /// Reads what can be shown out of a head's lines up to the one with the defect. What follows a
    /// request whose length was wrong looks like a head and is none, but a body, which must never
    /// be shown: so only a method in capitals with a path or URI behind it is taken for one.
    pub(super) fn new(defect: Defect, head: &[u8]) -> Self {
        let mut lines = head.split(|byte| *byte == b'\n').skip_while(|line| is_empty(line));
        let (method, path) = lines.next().and_then(method_and_path).unwrap_or_default();
        let user_agent = lines.find_map(user_agent).filter(|_| !method.is_empty());
        Self {
            defect,
            method: cut(method, MAX_METHOD),
            path: cut(path, MAX_PATH),
            user_agent: user_agent.unwrap_or_default().to_vec(),
        }
    }
}

fn is_empty(line: &[u8]) -> bool {
    matches!(line, [] | b"\r")
}

fn method_and_path(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = line.split(|byte| byte.is_ascii_whitespace()).filter(|part| !part.is_empty());
    let (method, target) = (parts.next()?, parts.next()?);
    let is_method = is_token(method) && method.iter().all(u8::is_ascii_uppercase);
    let path = match target {
        [b'/', ..] => target,
        b"*" => target,
        _ => path_of_uri(target)?,
    };
    let path = path.split(|byte| matches!(byte, b'?' | b'#')).next();
    is_method.then_some((method, path.unwrap_or_default()))
}

/// An absolute URI's path. Its authority may hold a password.
fn path_of_uri(target: &[u8]) -> Option<&[u8]> {
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
    })?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    rest.get(end.unwrap_or(rest.len())..)
}

fn user_agent(line: &[u8]) -> Option<&[u8]> {
    let (name, value) = line.split_at_checked("user-agent:".len())?;
    let value = value.trim_ascii();
    name.eq_ignore_ascii_case(b"user-agent:").then(|| value.get(..MAX_USER_AGENT).unwrap_or(value))
}

fn cut(bytes: &[u8], most: usize) -> String {
    String::from_utf8_lossy(bytes.get(..most).unwrap_or(bytes)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(head: &str) -> (String, String, String) {
        let Defective { method, path, user_agent, .. } =
            Defective::new(Defect::BareLf, head.as_bytes());
        (method, path, String::from_utf8(user_agent).unwrap())
    }

    #[test]
    fn the_log_gets_method_path_and_user_agent() {
        for (head, method, path, user_agent) in [
            ("POST /a HTTP/1.1\r\nHost: b\r\nuser-agent:  c \r\n d", "POST", "/a", "c"),
            ("\r\nPOST /a?secret=1 HTTP/1.1\n", "POST", "/a", ""),
            ("PUT /a#b", "PUT", "/a", ""),
            ("POST  /a  HTTP/1.1", "POST", "/a", ""),
            ("GET http://user:password@gw/a?b HTTP/1.1", "GET", "/a", ""),
            ("GET HTTP://user:password@gw HTTP/1.1", "GET", "", ""),
            ("OPTIONS * HTTP/1.1\r\nUser-Agent: c", "OPTIONS", "*", "c"),
        ] {
            let expected = (method.to_owned(), path.to_owned(), user_agent.to_owned());
            assert_eq!(shown(head), expected, "{head:?}");
        }
    }

    /// The rest of a body that was longer than it was said to be is no head.
    #[test]
    fn what_looks_like_no_head_is_not_shown() {
        for rest in [
            r#"{"patient": "Doe"}"#,
            "Doe /x HTTP/1.1\r\nUser-Agent: Doe",
            "CONNECT doe:80 HTTP/1.1",
            "GET doe HTTP/1.1",
            "",
            "\r\n\r\n",
            "\u{16}\u{3}\u{1}",
        ] {
            assert_eq!(shown(rest), Default::default(), "{rest:?}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = "A".repeat(1000);
        let (method, path, user_agent) =
            shown(&format!("{long} /{long} HTTP/1.1\r\nUser-Agent: {long}\r\n"));
        let lengths = (method.len(), path.len(), user_agent.len());
        assert_eq!(lengths, (MAX_METHOD, MAX_PATH, MAX_USER_AGENT));
    }
}
