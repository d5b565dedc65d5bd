//! A captured request as the gateway would read it: its head judged by the gateway's own gatekeeper,
//! its body as the head says how long that is.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request as Head, Uri, Version, header};

use super::capture::{Capture, Form, Note};
use super::raw;
use crate::config::Server;
use crate::ingress;
use crate::listen::Defect;
use crate::listen::framing::{Framing, HeadLimits};

/// A request that can be judged further.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) form: Form,
    pub(super) parts: Parts,
    /// What the gateway would take for its body.
    pub(super) body: Bytes,
    /// All that the capture has behind the head.
    pub(super) rest: Bytes,
    /// How long the head says that it is; `None`: it is chunked.
    pub(super) declared: Option<u64>,
    /// Why it could not be read to its end.
    pub(super) broken: Option<Broken>,
    pub(super) notes: Vec<Note>,
}

/// What is wrong with a body as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// So many bytes fewer than the head says.
    Short(u64),
    /// Its last chunk is not there.
    Cut,
    /// It is not chunked as HTTP has it.
    Chunks(Defect),
}

/// A request that is no HTTP: there is nothing more to judge.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) defect: Defect,
    pub(super) form: Form,
    pub(super) notes: Vec<Note>,
}

/// Reads what was captured.
///
/// # Errors
/// What the gateway would answer with 400 before it asks who calls.
pub(super) fn read(capture: Capture, server: &Server) -> Result<Request, Unreadable> {
    let Capture { form, head, rest, notes } = capture;
    let found = head_of(&head, server).and_then(|(parts, framing)| {
        ingress::check_head(&parts, None)?;
        Ok((parts, framing))
    });
    let (parts, framing) = match found {
        Ok(found) => found,
        Err(defect) => return Err(Unreadable { defect, form, notes }),
    };
    let mut reading = Reading { rest: &rest, notes, declared: None, broken: None };
    let body = reading.body(&parts, framing);
    let Reading { notes, declared, broken, .. } = reading;
    Ok(Request { form, parts, body, rest, declared, broken, notes })
}

/// The head, once the gatekeeper has let it pass.
fn head_of(head: &[u8], server: &Server) -> Result<(Parts, Framing), Defect> {
    let limits = HeadLimits::new(server.max_header_bytes, server.max_target, server.max_headers);
    let mut framing = Framing::new(limits);
    framing.advance(head);
    if let Some(bad) = framing.bad_head() {
        return Err(bad.defect);
    }
    // What it let pass has one head; anything else is no request at all.
    if framing.heads() != 1 {
        return Err(Defect::RequestLine);
    }
    Ok((parts(head).ok_or(Defect::Target)?, framing))
}

/// Takes a head apart that was judged.
fn parts(head: &[u8]) -> Option<Parts> {
    let mut lines = raw::lines(head).skip_while(|line| line.is_empty());
    let mut words = lines.next()?.split(|byte| *byte == b' ');
    let method = Method::from_bytes(words.next()?).ok()?;
    let uri = Uri::try_from(words.next()?).ok()?;
    let old = words.next() == Some(b"HTTP/1.0");
    let version = if old { Version::HTTP_10 } else { Version::HTTP_11 };
    let (mut parts, ()) =
        Head::builder().method(method).uri(uri).version(version).body(()).ok()?.into_parts();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
        let name = HeaderName::from_bytes(name).ok()?;
        let value = HeaderValue::from_bytes(value.get(1..)?.trim_ascii()).ok()?;
        parts.headers.try_append(name, value).ok()?;
    }
    Some(parts)
}

struct Reading<'r> {
    rest: &'r Bytes,
    notes: Vec<Note>,
    declared: Option<u64>,
    broken: Option<Broken>,
}

impl Reading<'_> {
    fn body(&mut self, parts: &Parts, framing: Framing) -> Bytes {
        if parts.headers.contains_key(header::TRANSFER_ENCODING) {
            return self.chunked(framing);
        }
        let declared = parts.headers.get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|value| value.to_str().ok()?.parse().ok());
        let there = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        self.declared = Some(declared.unwrap_or(there));
        match declared {
            Some(declared) if declared > there => {
                self.broken = Some(Broken::Short(declared - there));
                self.rest.clone()
            }
            Some(declared) => self.declared(declared),
            None => {
                if !self.rest.is_empty() {
                    self.notes.push(Note::NoLength);
                }
                self.rest.clone()
            }
        }
    }

    /// So many bytes of those that are there.
    fn declared(&mut self, declared: u64) -> Bytes {
        let length = usize::try_from(declared).unwrap_or(usize::MAX).min(self.rest.len());
        match self.rest.get(length..).unwrap_or_default() {
            [] => {}
            b"\n" | b"\r\n" | b"\n\n" | b"\r\n\r\n" => self.notes.push(Note::NewlineBehind),
            _ => self.notes.push(Note::BytesBehind),
        }
        self.rest.slice(..length)
    }

    /// The data of the chunks, as far as they are any.
    fn chunked(&mut self, mut framing: Framing) -> Bytes {
        // No chunk begins so: whatever captured it has joined the chunks.
        let joined = self.rest.first().is_none_or(|byte| !byte.is_ascii_hexdigit());
        if joined {
            self.notes.push(Note::Dechunked);
            return self.rest.clone();
        }
        framing.advance(self.rest);
        let ended = framing.is_at_head() || framing.bad_head().is_some();
        let (data, whole) = raw::unchunked(self.rest);
        self.broken = match framing.bad_body() {
            Some(defect) => Some(Broken::Chunks(defect)),
            None if whole && ended => None,
            None => Some(Broken::Cut),
        };
        data.into()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::capture;
    use super::*;

    fn request(text: &[u8]) -> Result<Request, Unreadable> {
        let server = Server::defaults();
        read(capture::of(text.to_vec(), &server, Path::new("/nowhere"), &[]).unwrap(), &server)
    }

    fn told(text: &str) -> (String, Option<Broken>, Vec<Note>) {
        let read = request(format!("POST /hooks/a HTTP/1.1\r\nHost: g\r\n{text}").as_bytes());
        let Request { body, broken, notes, .. } = read.unwrap();
        (String::from_utf8_lossy(&body).into_owned(), broken, notes)
    }

    #[test]
    fn the_body_is_what_the_head_says() {
        for (text, body, broken, notes) in [
            ("Content-Length: 2\r\n\r\n{}", "{}", None, &[][..]),
            ("Content-Length: 2\r\n\r\n{}\n", "{}", None, &[Note::NewlineBehind]),
            ("Content-Length: 2\r\n\r\n{}{}", "{}", None, &[Note::BytesBehind]),
            ("Content-Length: 4\r\n\r\n{}\n", "{}\n", Some(Broken::Short(1)), &[]),
            ("\r\n{}\n", "{}\n", None, &[Note::NoLength]),
            ("\r\n", "", None, &[]),
            ("Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "{}", None, &[]),
            ("Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n\n", "{}", None, &[]),
            ("Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "{}", Some(Broken::Cut), &[]),
            ("Transfer-Encoding: chunked\r\n\r\n9\r\n{}", "{}", Some(Broken::Cut), &[]),
            (
                "Transfer-Encoding: chunked\r\n\r\n2x",
                "",
                Some(Broken::Chunks(Defect::ChunkSize)),
                &[],
            ),
            ("Transfer-Encoding: chunked\r\n\r\n{}", "{}", None, &[Note::Dechunked]),
        ] {
            assert_eq!(told(text), (body.to_owned(), broken, notes.to_vec()), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_http_stays_so() {
        for (text, defect) in [
            ("POST /a HTTP/1.1\r\nA: b\r\n\r\n", Defect::NoHost),
            ("POST /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Defect::RepeatedHost),
            ("POST /a HTTP/1.1\r\nHost: a\nA: b\r\n\r\n", Defect::BareLf),
            ("{\"a\": 1}", Defect::Method),
            ("X-Signature: a\r\n\r\n{}", Defect::RequestLine),
            (
                "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Defect::LengthAndEncoding,
            ),
            ("curl x -H 'A b: c'", Defect::FieldName),
            ("curl x -H $'A: b\\r\\nHost: c'", Defect::RepeatedHost),
        ] {
            assert_eq!(request(text.as_bytes()).err().unwrap().defect, defect, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(head in "(POST /a HTTP/1.1\r\nHost: a\r\n)?.{0,40}(\r\n\r\n)?", rest: Vec<u8>) {
            let bytes = [head.as_bytes(), &rest].concat();
            if let Ok(capture) = capture::of(bytes, &Server::defaults(), Path::new("/nowhere"), &[]) {
                let _ = read(capture, &Server::defaults());
            }
        }
    }
}
