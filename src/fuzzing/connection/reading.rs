//! What a client's bytes mean as HTTP/1, read in the plainest way (RFC 9112): split at empty lines
//! and colons, after the fact, with all bytes at hand. Whatever could be read in another way is
//! [`End::Unclear`], and with it everything that follows.
//!
//! Takes more than the gateway does: limits and what single bytes may be are not looked at. What
//! the gateway takes must have been read here as the same request.

use std::fmt;

/// A request as it was read.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: Vec<u8>,
    /// The target without authority and query.
    pub(super) path: Vec<u8>,
    /// Names in lower case; values without the whitespace around them.
    pub(super) fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// `None`: it has no end.
    pub(super) body: Option<Vec<u8>>,
}

/// What is behind the last request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing.
    Clean,
    /// A part of a head, or of the last request's body.
    Cut,
    /// A head that must not be taken for one.
    UnclearHead,
    /// The last request's body, which must not be taken for one.
    UnclearBody,
}

impl Request {
    /// As somebody else has read it, without its body.
    pub(super) fn of<B>(request: &http::Request<B>) -> Self {
        let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec())
        };
        Self {
            method: request.method().as_str().into(),
            path: request.uri().path().into(),
            fields: request.headers().iter().map(field).collect(),
            body: None,
        }
    }

    /// The value of the only field of this name.
    pub(super) fn only<'r>(&'r self, name: &'r str) -> Option<&'r [u8]> {
        let mut values = self.all(name);
        values.next().filter(|_| values.next().is_none())
    }

    fn all<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r [u8]> {
        let fields = self.fields.iter().filter(move |(known, _)| known == name.as_bytes());
        fields.map(|(_, value)| &value[..])
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} {}", self.method.escape_ascii(), self.path.escape_ascii())?;
        for (name, value) in &self.fields {
            write!(f, " | {}: {}", name.escape_ascii(), value.escape_ascii())?;
        }
        match &self.body {
            Some(body) => write!(f, " | {}]", body.escape_ascii()),
            None => f.write_str(" | ...]"),
        }
    }
}

/// Empty lines before a request that are passed over (9112, 2.2); more are refused.
const EMPTY_LINES: usize = 4;

/// All requests, and what is behind them.
pub(super) fn read(mut bytes: &[u8]) -> (Vec<Request>, End) {
    let mut requests = Vec::new();
    loop {
        let mut empty_lines = 0;
        while let Some(rest) = bytes.strip_prefix(b"\r\n") {
            bytes = rest;
            empty_lines += 1;
        }
        if empty_lines > EMPTY_LINES {
            return (requests, End::UnclearHead);
        }
        if bytes.is_empty() {
            return (requests, End::Clean);
        }
        let Some((head, rest)) = split(bytes, b"\r\n\r\n") else {
            return (requests, End::Cut);
        };
        let Some((mut request, framing)) = read_head(head) else {
            return (requests, End::UnclearHead);
        };
        let body = match framing {
            Framing::Length(length) => Body::of_length(rest, length),
            Framing::Chunked => chunked(rest),
        };
        let (body, end) = match body {
            Body::Whole(body, rest) => {
                bytes = rest;
                (Some(body), None)
            }
            Body::Cut => (None, Some(End::Cut)),
            Body::Unclear => (None, Some(End::UnclearBody)),
        };
        request.body = body;
        requests.push(request);
        if let Some(end) = end {
            return (requests, end);
        }
    }
}

enum Framing {
    Length(u64),
    Chunked,
}

fn read_head(head: &[u8]) -> Option<(Request, Framing)> {
    let breaks = memchr::memmem::find_iter(head, b"\r\n").count();
    let count = |byte| memchr::memchr_iter(byte, head).count();
    if count(b'\r') != breaks || count(b'\n') != breaks || count(0) > 0 {
        return None;
    }
    let mut lines = Lines(Some(head));
    let line = lines.next()?;
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return None,
    };
    if words.next().is_some() || method == b"CONNECT" {
        return None;
    }
    let mut request = Request { method: method.to_vec(), ..Request::default() };
    for line in lines {
        request.fields.push(field(line)?);
    }
    let hosts = request.all("host").count();
    if hosts > 1 || (hosts == 0 && !old) {
        return None;
    }
    request.path = path(target, request.only("host"))?;
    if request.all("upgrade").next().is_some() {
        return None;
    }
    if request.all("expect").any(|value| !value.eq_ignore_ascii_case(b"100-continue")) {
        return None;
    }
    let framing = framing(&request, old)?;
    Some((request, framing))
}

fn field(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (name, value) = split(line, b":")?;
    let spaced = name.iter().any(u8::is_ascii_whitespace);
    (!name.is_empty() && !spaced).then(|| (name.to_ascii_lowercase(), value.trim_ascii().to_vec()))
}

fn path(target: &[u8], host: Option<&[u8]>) -> Option<Vec<u8>> {
    let origin_form = if target.first() == Some(&b'/') {
        target
    } else {
        let lower = target.to_ascii_lowercase();
        let scheme = [&b"http://"[..], b"https://"].into_iter().find(|s| lower.starts_with(s))?;
        let rest = target.get(scheme.len()..)?;
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
        let (authority, path) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
        if host.is_some_and(|host| !host.eq_ignore_ascii_case(authority)) {
            return None;
        }
        path
    };
    let path = origin_form.split(|byte| *byte == b'?').next().unwrap_or_default();
    Some(if path.is_empty() { b"/".to_vec() } else { path.to_vec() })
}

fn framing(request: &Request, old: bool) -> Option<Framing> {
    let mut lengths = request.all("content-length");
    let mut codings = request.all("transfer-encoding");
    match (lengths.next(), codings.next()) {
        (None, None) => Some(Framing::Length(0)),
        (Some(length), None) => {
            let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let length = str::from_utf8(length).ok()?.parse().ok()?;
            (digits && lengths.next().is_none()).then_some(Framing::Length(length))
        }
        (None, Some(coding)) => {
            let known = coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
            (known && !old).then_some(Framing::Chunked)
        }
        (Some(_), Some(_)) => None,
    }
}

enum Body<'b> {
    /// And what is behind it.
    Whole(Vec<u8>, &'b [u8]),
    Cut,
    Unclear,
}

impl<'b> Body<'b> {
    fn of_length(bytes: &'b [u8], length: u64) -> Self {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        match bytes.split_at_checked(length) {
            Some((body, rest)) => Self::Whole(body.to_vec(), rest),
            None => Self::Cut,
        }
    }
}

fn chunked(mut bytes: &[u8]) -> Body<'_> {
    let mut whole = Vec::new();
    loop {
        let Some((line, rest)) = split(bytes, b"\r\n") else { return Body::Cut };
        let size = line.split(|byte| matches!(byte, b';' | b' ' | b'\t')).next();
        let size = str::from_utf8(size.unwrap_or_default()).unwrap_or_default();
        let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some(size) = u64::from_str_radix(size, 16).ok().filter(|_| digits) else {
            return Body::Unclear;
        };
        if size == 0 {
            return trailers(whole, rest);
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let Some((data, rest)) = rest.split_at_checked(size) else { return Body::Cut };
        whole.extend_from_slice(data);
        bytes = match rest.strip_prefix(b"\r\n") {
            Some(rest) => rest,
            None if rest.is_empty() || rest == b"\r" => return Body::Cut,
            None => return Body::Unclear,
        };
    }
}

fn trailers(whole: Vec<u8>, mut bytes: &[u8]) -> Body<'_> {
    loop {
        match split(bytes, b"\r\n") {
            None => return Body::Cut,
            Some((b"", rest)) => return Body::Whole(whole, rest),
            Some((line, rest)) if field(line).is_some() => bytes = rest,
            Some(_) => return Body::Unclear,
        }
    }
}

/// What stands before and behind the first of these.
pub(super) fn split<'b>(bytes: &'b [u8], at: &[u8]) -> Option<(&'b [u8], &'b [u8])> {
    let found = memchr::memmem::find(bytes, at)?;
    Some((bytes.get(..found)?, bytes.get(found + at.len()..)?))
}

struct Lines<'b>(Option<&'b [u8]>);

impl<'b> Iterator for Lines<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        let left = self.0.take()?;
        match split(left, b"\r\n") {
            Some((line, rest)) => {
                self.0 = Some(rest);
                Some(line)
            }
            None => Some(left),
        }
    }
}
