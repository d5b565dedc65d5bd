//! A request as HTTP/1.1 has it on the wire, or as a proxy or an editor has left it. Only what tools
//! change in the writing is undone, and noted; whatever else is wrong stays, to be judged.

use std::borrow::Cow;

use bytes::Bytes;

use super::capture::{Capture, Form, Note};

/// Reads a capture; whatever it holds, there is one.
pub(super) fn read(bytes: Vec<u8>) -> Capture {
    let mut notes = Vec::new();
    let (end, complete) = end_of_head(&bytes);
    let bytes = Bytes::from(bytes);
    let head = bytes.get(..end).unwrap_or_default();
    if !complete {
        notes.push(Note::NoEmptyLine);
    }
    let mut head = with_crlf(head, complete, &mut notes);
    if let Some(older) = as_http11(&head, &mut notes) {
        head = older;
    }
    let rest = bytes.get(end..).map_or_else(Bytes::new, |rest| bytes.slice_ref(rest));
    Capture { form: Form::Raw, head, rest, notes }
}

/// Where the head ends, and whether with an empty line. Empty lines before it are not its end.
fn end_of_head(bytes: &[u8]) -> (usize, bool) {
    let mut begun = false;
    let mut at = 0;
    while let Some(end) = memchr::memchr(b'\n', bytes.get(at..).unwrap_or_default()) {
        let line = bytes.get(at..at + end).unwrap_or_default();
        at += end + 1;
        match line {
            [] | [b'\r'] if begun => return (at, true),
            [] | [b'\r'] => {}
            _ => begun = true,
        }
    }
    (bytes.len(), false)
}

/// The head with CRLF behind each line if all of them have LF alone; a mixed one stays as it is.
fn with_crlf(head: &[u8], complete: bool, notes: &mut Vec<Note>) -> Vec<u8> {
    let mut head = Cow::Borrowed(head);
    if memchr::memchr(b'\n', &head).is_some() && memchr::memchr(b'\r', &head).is_none() {
        notes.push(Note::BareLines);
        let lines: Vec<&[u8]> = head.split(|byte| *byte == b'\n').collect();
        head = Cow::Owned(lines.join(&b"\r\n"[..]));
    }
    let mut head = head.into_owned();
    if !complete {
        let missing: &[u8] = if head.ends_with(b"\r\n") { b"\r\n" } else { b"\r\n\r\n" };
        head.extend_from_slice(missing);
    }
    head
}

/// The head of HTTP/2 as proxies write it down, in HTTP/1.1. `None`: it is none.
fn as_http11(head: &[u8], notes: &mut Vec<Note>) -> Option<Vec<u8>> {
    let mut lines = lines(head).skip_while(|line| line.is_empty());
    let request_line = lines.next()?;
    let end = memchr::memrchr(b' ', request_line)?;
    let (start, version) = request_line.split_at_checked(end)?;
    if !matches!(version, b" HTTP/2" | b" HTTP/2.0" | b" HTTP/3" | b" HTTP/3.0") {
        return None;
    }
    notes.push(Note::LaterVersion);
    let mut out = [start, b" HTTP/1.1\r\n"].concat();
    let (mut host, mut authority) = (false, None);
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some(pseudo) = line.strip_prefix(b":") {
            authority = pseudo.strip_prefix(b"authority:").map(<[u8]>::trim_ascii).or(authority);
            if !notes.contains(&Note::PseudoHeaders) {
                notes.push(Note::PseudoHeaders);
            }
            continue;
        }
        host |= line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"host:"));
        out.extend([line, b"\r\n"].concat());
    }
    if !host {
        if authority.is_none() {
            notes.push(Note::NoHost);
        }
        out.extend([&b"Host: "[..], authority.unwrap_or(b"captured.invalid"), b"\r\n"].concat());
    }
    out.extend_from_slice(b"\r\n");
    Some(out)
}

/// The lines of a head without their ends.
pub(super) fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// The data of a chunked body as far as it goes, and whether its last chunk is there.
pub(super) fn unchunked(bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut data = Vec::new();
    let mut rest = bytes;
    while let Some((size, behind)) = chunk(rest) {
        if size == 0 {
            return (data, true);
        }
        data.extend_from_slice(behind.get(..size).unwrap_or(behind));
        rest = size.checked_add(2).and_then(|end| behind.get(end..)).unwrap_or_default();
    }
    (data, false)
}

/// The size of the chunk that begins here, and what follows its line.
fn chunk(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (line, behind) = bytes.split_at_checked(memchr::memchr(b'\n', bytes)?)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let size = std::str::from_utf8(line.get(..digits)?).ok()?;
    Some((usize::from_str_radix(size, 16).ok()?, behind.get(1..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_capture_is_head_and_rest() {
        for (text, head, rest, notes) in [
            (
                "POST /a HTTP/1.1\r\nA: b\r\n\r\n{}\n",
                "POST /a HTTP/1.1\r\nA: b\r\n\r\n",
                "{}\n",
                &[][..],
            ),
            ("\r\nPOST /a HTTP/1.1\r\n\r\n\r\n", "\r\nPOST /a HTTP/1.1\r\n\r\n", "\r\n", &[]),
            (
                "POST /a HTTP/1.1\nA: b\n\n{\r\n}",
                "POST /a HTTP/1.1\r\nA: b\r\n\r\n",
                "{\r\n}",
                &[Note::BareLines],
            ),
            ("P / HTTP/1.1\r\nA: b", "P / HTTP/1.1\r\nA: b\r\n\r\n", "", &[Note::NoEmptyLine]),
            ("P / HTTP/1.1\r\nA: b\n\r\n", "P / HTTP/1.1\r\nA: b\n\r\n", "", &[]),
            (
                "P /a HTTP/2\r\nhost: x\r\n\r\n",
                "P /a HTTP/1.1\r\nhost: x\r\n\r\n",
                "",
                &[Note::LaterVersion],
            ),
            (
                "P /a HTTP/2.0\n:authority: x\nA: b\n\n",
                "P /a HTTP/1.1\r\nA: b\r\nHost: x\r\n\r\n",
                "",
                &[Note::BareLines, Note::LaterVersion, Note::PseudoHeaders],
            ),
        ] {
            let read = read(text.into());
            assert_eq!(String::from_utf8_lossy(&read.head), head, "{text:?}");
            assert_eq!((&read.rest[..], &read.notes[..]), (rest.as_bytes(), notes), "{text:?}");
        }
    }

    #[test]
    fn chunks_are_joined() {
        let data = |bytes: &[u8]| unchunked(bytes);
        assert_eq!(data(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"), (b"abcde".to_vec(), true));
        assert_eq!(data(b"0\r\n\r\n"), (Vec::new(), true));
        for (cut, there) in [
            ("", ""),
            ("3\r\nab", "ab"),
            ("3\r\nabc\r\n", "abc"),
            ("3\r\nabc\r\n2\r", "abc"),
            ("ffffffffffffffff\r\nabc", "abc"),
            ("x\r\nabc", ""),
        ] {
            assert_eq!(data(cut.as_bytes()), (there.as_bytes().to_vec(), false), "{cut:?}");
        }
    }

    proptest! {
        /// Whatever is there is in one of the two, and the rest is never changed.
        #[test]
        fn nothing_is_lost(bytes: Vec<u8>) {
            let capture = read(bytes.clone());
            prop_assert!(bytes.ends_with(&capture.rest));
            prop_assert!(capture.head.ends_with(b"\r\n") || capture.head.ends_with(b"\n"));
            let _ = unchunked(&bytes);
        }

        #[test]
        fn any_body_comes_back_exactly(body: Vec<u8>) {
            let bytes = [&b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"[..], &body].concat();
            prop_assert_eq!(&read(bytes).rest[..], &body[..]);
        }

        #[test]
        fn chunks_of_any_size_are_joined(chunks: Vec<Vec<u8>>) {
            let chunks: Vec<_> = chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect();
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                wire.extend([chunk.as_slice(), b"\r\n"].concat());
            }
            wire.extend(b"0\r\n\r\n");
            prop_assert_eq!(unchunked(&wire), (chunks.concat(), true));
        }
    }
}
