//! One request's head, line by line (RFC 9112, sections 2 to 6).
//!
//! Lines are judged when they are complete, by what stands in them and by where they begin, never
//! by where the network has cut them: the same bytes have the same outcome.

use std::ops::Range;

use memchr::{memchr, memrchr};

use super::syntax::{self, is_blank, is_host, is_token, is_value, trim};
use super::{Body, Defect, HeadLimits};

/// Line breaks that are skipped before a request: old clients send one behind a body.
const MAX_EMPTY_LINES: u8 = 4;

/// What every record of a TLS handshake begins with (RFC 8446, 5.1): its type, and its version's first byte.
const TLS_HANDSHAKE: u8 = 0x16;
const TLS_MAJOR: u8 = 0x03;

/// What a request line may have besides its target.
const AROUND_TARGET: usize = 64;

/// Longest field name: hyper's own bound is 64 KiB, and no name is anywhere near.
const MAX_NAME: usize = 256;

/// How much of a request line without end may be shown.
const MAX_SHOWN: usize = 512;

/// Digits of a Content-Length; 2^64 has 20.
const MAX_DIGITS: usize = 20;

/// The largest Content-Length that hyper takes.
const MAX_LENGTH: u64 = u64::MAX - 2;

/// What a head's lines have said so far.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Bytes of lines that were judged.
    judged: usize,
    /// Bytes in which the next line's end was looked for.
    searched: usize,
    empty_lines: u8,
    /// Where the request line begins, once it was judged.
    begins: Option<usize>,
    http10: bool,
    /// The authority of an absolute target.
    authority: Option<Range<usize>>,
    fields: usize,
    host: Option<Range<usize>>,
    length: Option<u64>,
    chunked: bool,
    expects: bool,
}

impl Head {
    /// Whether more than line breaks has come, given the head's bytes so far.
    pub(super) fn has_begun(&self, bytes: &[u8]) -> bool {
        self.begins.is_some()
            || !matches!(bytes.get(self.judged..).unwrap_or_default(), [] | [b'\r'])
    }

    /// The part of the head's bytes so far that may be shown: what was judged, or the beginning of
    /// a request line that has no end yet.
    pub(super) fn shown<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let end = if self.begins.is_some() { self.judged } else { self.judged + MAX_SHOWN };
        bytes.get(..end).unwrap_or(bytes)
    }

    /// Goes on with `bytes`, which are all of the head that is there, and perhaps what follows it.
    /// When the head is complete, its length and what body it announces.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<(usize, Body)>, Defect> {
        loop {
            self.check_first_byte(bytes)?;
            let from = self.searched.max(self.judged);
            let end = memchr(b'\n', bytes.get(from..).unwrap_or_default()).map(|at| from + at);
            self.check_size(end.map_or(bytes.len(), |end| end + 1), limits)?;
            let Some(end) = end else {
                self.searched = bytes.len();
                return Ok(None);
            };
            let start = std::mem::replace(&mut self.judged, end + 1);
            let line = bytes.get(start..end).unwrap_or_default();
            let Some((b'\r', line)) = line.split_last() else {
                return Err(Defect::BareLf);
            };
            if !line.is_empty() {
                self.line(line, start, limits).map_err(|defect| or_bare_cr(defect, line))?;
            } else if self.begins.is_some() {
                return Ok(Some((self.judged, self.finish(bytes)?)));
            } else {
                self.empty_lines += 1;
                if self.empty_lines > MAX_EMPTY_LINES {
                    return Err(Defect::EmptyLines);
                }
            }
        }
    }

    /// What cannot be a method is told from its first byte, and TLS from the second: who speaks TLS here, or sends a body
    /// that is longer than it said, waits for no line's end.
    fn check_first_byte(&self, bytes: &[u8]) -> Result<(), Defect> {
        match bytes.get(self.judged) {
            Some(b'\n') => Err(Defect::BareLf),
            Some(&TLS_HANDSHAKE) if self.begins.is_none() => match bytes.get(self.judged + 1) {
                Some(&TLS_MAJOR) => Err(Defect::Tls),
                Some(_) => Err(Defect::Method),
                None => Ok(()),
            },
            Some(byte) if self.begins.is_none() && *byte != b'\r' => {
                if syntax::is_token_byte(*byte) { Ok(()) } else { Err(Defect::Method) }
            }
            _ => Ok(()),
        }
    }

    /// `end` is where the current line ends, or how much of it is there.
    fn check_size(&self, end: usize, limits: &HeadLimits) -> Result<(), Defect> {
        match self.begins {
            None if end - self.judged > limits.max_bytes.min(limits.max_target + AROUND_TARGET) => {
                Err(Defect::LongTarget)
            }
            Some(begins) if end - begins > limits.max_bytes => Err(Defect::LongHead),
            None | Some(_) => Ok(()),
        }
    }

    /// Judges a line that begins at `at`.
    fn line(&mut self, line: &[u8], at: usize, limits: &HeadLimits) -> Result<(), Defect> {
        if self.begins.is_some() {
            return self.field(line, at, limits);
        }
        self.begins = Some(at);
        self.request_line(line, at, limits)
    }

    fn request_line(&mut self, line: &[u8], at: usize, limits: &HeadLimits) -> Result<(), Defect> {
        let (Some(first), Some(last)) = (memchr(b' ', line), memrchr(b' ', line)) else {
            return Err(Defect::RequestLine);
        };
        let method = line.get(..first).unwrap_or_default();
        let target = line.get(first + 1..last).unwrap_or_default();
        let version = line.get(last + 1..).unwrap_or_default();
        if target.is_empty() || version.is_empty() || target.iter().any(|byte| is_blank(*byte)) {
            return Err(Defect::RequestLine);
        }
        if !is_token(method) {
            return Err(Defect::Method);
        }
        self.http10 = is_http10(version)?;
        if target.len() > limits.max_target {
            return Err(Defect::LongTarget);
        }
        if method == b"CONNECT" {
            return Err(Defect::Connect);
        }
        let authority = check_target(target)?;
        let shift = at + first + 1;
        self.authority = authority.map(|range| range.start + shift..range.end + shift);
        Ok(())
    }

    fn field(&mut self, line: &[u8], at: usize, limits: &HeadLimits) -> Result<(), Defect> {
        if line.first().is_some_and(|byte| is_blank(*byte)) {
            return Err(if self.fields == 0 { Defect::LeadingSpace } else { Defect::Folded });
        }
        let colon = memchr(b':', line).ok_or(Defect::FieldName)?;
        let name = line.get(..colon).unwrap_or_default();
        let raw = line.get(colon + 1..).unwrap_or_default();
        if !is_token(name) {
            let spaced = name.last().is_some_and(|byte| is_blank(*byte));
            return Err(if spaced { Defect::SpaceBeforeColon } else { Defect::FieldName });
        }
        if name.len() > MAX_NAME {
            return Err(Defect::LongHead);
        }
        if !is_value(raw) {
            return Err(Defect::FieldValue);
        }
        self.fields += 1;
        if self.fields > limits.max_fields {
            return Err(Defect::ManyFields);
        }
        self.meaning(name, raw, at + colon + 1)
    }

    /// Takes note of the fields that say how the request is to be read.
    fn meaning(&mut self, name: &[u8], raw: &[u8], at: usize) -> Result<(), Defect> {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        match name.len() {
            4 if is("host") => self.host(raw, at),
            6 if is("expect") => self.expect(trim(raw)),
            7 if is("upgrade") => Err(Defect::Upgrade),
            14 if is("content-length") => self.content_length(trim(raw)),
            17 if is("transfer-encoding") => self.transfer_encoding(trim(raw)),
            _ => Ok(()),
        }
    }

    fn host(&mut self, raw: &[u8], at: usize) -> Result<(), Defect> {
        if self.host.replace(at..at + raw.len()).is_some() {
            return Err(Defect::RepeatedHost);
        }
        if is_host(trim(raw)) { Ok(()) } else { Err(Defect::BadHost) }
    }

    /// hyper asks for the body only where the field is exactly this; a list, though legal, would
    /// leave the client waiting.
    fn expect(&mut self, value: &[u8]) -> Result<(), Defect> {
        let again = std::mem::replace(&mut self.expects, true);
        let known = value.eq_ignore_ascii_case(b"100-continue");
        if known && !again { Ok(()) } else { Err(Defect::Expectation) }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Defect> {
        if self.length.is_some() || memchr(b',', value).is_some() {
            return Err(Defect::RepeatedLength);
        }
        let digits =
            (1..=MAX_DIGITS).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        let number = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        let length = number.filter(|length| digits && *length <= MAX_LENGTH);
        self.length = Some(length.ok_or(Defect::BadLength)?);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Defect> {
        let again = std::mem::replace(&mut self.chunked, true);
        let known = value.eq_ignore_ascii_case(b"chunked");
        if known && !again { Ok(()) } else { Err(Defect::BadEncoding) }
    }

    /// What can be said only when all fields are known.
    fn finish(&self, bytes: &[u8]) -> Result<Body, Defect> {
        let part = |range: &Range<usize>| trim(bytes.get(range.clone()).unwrap_or_default());
        match (&self.host, &self.authority) {
            (None, _) if !self.http10 => return Err(Defect::NoHost),
            (Some(host), Some(authority)) if !is_same(part(host), part(authority)) => {
                return Err(Defect::OtherHost);
            }
            (None | Some(_), None | Some(_)) => {}
        }
        match (self.chunked, self.length) {
            (true, _) if self.http10 => Err(Defect::OldEncoding),
            (true, Some(_)) => Err(Defect::LengthAndEncoding),
            (true, None) => Ok(Body::Chunked),
            (false, length) => Ok(Body::Length(length.unwrap_or(0))),
        }
    }
}

/// A CR that is not the line's end is what is wrong with the line, whatever else it breaks.
fn or_bare_cr(defect: Defect, line: &[u8]) -> Defect {
    if memchr(b'\r', line).is_some() { Defect::BareCr } else { defect }
}

fn is_http10(version: &[u8]) -> Result<bool, Defect> {
    match version {
        b"HTTP/1.1" => Ok(false),
        b"HTTP/1.0" => Ok(true),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Defect::OtherVersion)
        }
        _ => Err(Defect::Version),
    }
}

/// Where the target's authority is, if it is an absolute URI.
fn check_target(target: &[u8]) -> Result<Option<Range<usize>>, Defect> {
    if target.starts_with(b"/") {
        return check_path(target).map(|()| None);
    }
    let scheme = ["http://", "https://"].into_iter().find(|scheme| {
        let start = target.get(..scheme.len()).unwrap_or_default();
        start.eq_ignore_ascii_case(scheme.as_bytes())
    });
    let start = scheme.ok_or(Defect::TargetForm)?.len();
    let rest = target.get(start..).unwrap_or_default();
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let (authority, path) = rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or_default();
    if memchr(b'@', authority).is_some() {
        return Err(Defect::UserInfo);
    }
    if !is_host(authority) {
        return Err(Defect::Target);
    }
    check_path(path)?;
    Ok(Some(start..start + authority.len()))
}

/// A path and perhaps a query.
fn check_path(target: &[u8]) -> Result<(), Defect> {
    let query = memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at_checked(query).unwrap_or_default();
    if syntax::is_path(path) && syntax::is_query(query) {
        return Ok(());
    }
    Err(if memchr(b'#', target).is_some() { Defect::Fragment } else { Defect::Target })
}

/// Byte for byte, but for case. That a default port may be left out is not considered: whoever
/// sends the absolute form can repeat it.
fn is_same(host: &[u8], authority: &[u8]) -> bool {
    host.eq_ignore_ascii_case(authority)
}
