//! What editors and terminals put around a capture before it is one: it is taken off, and noted.

use super::capture::Note;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The capture without that, and what was taken off. What is none of it stays, byte for byte.
pub(super) fn cleaned(bytes: Vec<u8>) -> (Vec<u8>, Vec<Note>) {
    let mut notes = Vec::new();
    let mut text = bytes.as_slice();
    if let Some(behind) = text.strip_prefix(BYTE_ORDER_MARK) {
        notes.push(Note::ByteOrderMark);
        text = behind;
    }
    if let Some(shown) = as_shown(text) {
        notes.push(Note::Verbose);
        return (shown, notes);
    }
    (if notes.is_empty() { bytes } else { text.to_vec() }, notes)
}

/// The request out of what `curl -v` shows. `None`: that is none.
///
/// Of the request that is the head, a line behind `> ` each; curl's own lines begin with `* `, `{ ` or `} `, the
/// answer's with `< `. The body is not shown, unless somebody has put it there.
fn as_shown(text: &[u8]) -> Option<Vec<u8>> {
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    let mut out =
        sent(lines.by_ref().find(|line| !is_curls(line) && !line.trim_ascii().is_empty())?)?;
    if !is_request_line(&out) {
        return None;
    }
    let mut ended = false;
    for line in lines {
        match sent(line) {
            Some(line) if !ended => {
                ended = line.trim_ascii().is_empty();
                out.extend(line);
            }
            _ if is_curls(line) && !ended => {}
            _ if is_curls(line) || line.starts_with(b"< ") => break,
            _ => out.extend(line),
        }
    }
    Some(out)
}

/// A line that was sent, without what stands before it.
fn sent(line: &[u8]) -> Option<Vec<u8>> {
    let line = line.strip_prefix(b">")?;
    match line.strip_prefix(b" ") {
        Some(line) => Some(line.to_vec()),
        None => line.trim_ascii().is_empty().then(|| line.to_vec()),
    }
}

fn is_curls(line: &[u8]) -> bool {
    [&b"* "[..], b"{ [", b"} ["].iter().any(|begin| line.starts_with(begin))
}

/// `POST /hooks/lab HTTP/1.1`
fn is_request_line(line: &[u8]) -> bool {
    let mut words = line.trim_ascii().rsplit(|byte| *byte == b' ');
    words.next().is_some_and(|last| last.starts_with(b"HTTP/")) && words.count() == 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "POST /hooks/lab HTTP/1.1\nHost: gw\nContent-Length: 2\n\n";

    /// As curl 7.88 and 8 show it, on a terminal.
    #[test]
    fn what_curl_shows_is_the_head_that_it_has_sent() {
        let answer =
            "* upload completely sent off: 2 bytes\n< HTTP/1.1 401 Unauthorized\n< \n{\"a\":1}\n";
        for (shown, request) in [
            (
                format!(
                    "*   Trying 127.0.0.1:8080...\n* Connected to gw\n> POST /hooks/lab HTTP/1.1\n> Host: gw\n\
                     * a word between\n> Content-Length: 2\n> \n{answer}"
                ),
                HEAD.to_owned(),
            ),
            (
                "> POST /hooks/lab HTTP/1.1\n> Host: gw\n> Content-Length: 2\n>\n{}\n".to_owned(),
                format!("{HEAD}{{}}\n"),
            ),
            (
                format!(
                    "> POST /hooks/lab HTTP/1.1\n> Host: gw\n> Content-Length: 2\n>\n}} [2 bytes data]\n{answer}"
                ),
                HEAD.to_owned(),
            ),
            (
                "\r\n> POST /hooks/lab HTTP/2\r\n> Host: gw\r\n>\r\n".to_owned(),
                "POST /hooks/lab HTTP/2\r\nHost: gw\r\n\r\n".to_owned(),
            ),
        ] {
            let (bytes, notes) = cleaned(shown.clone().into());
            assert_eq!(String::from_utf8(bytes).unwrap(), request, "{shown}");
            assert_eq!(notes, [Note::Verbose], "{shown}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_none_of_the_request_s() {
        let (bytes, notes) = cleaned([BYTE_ORDER_MARK, HEAD.as_bytes()].concat());
        assert_eq!((&bytes[..], &notes[..]), (HEAD.as_bytes(), &[Note::ByteOrderMark][..]));
        // Before the body it is the body's.
        let (bytes, notes) = cleaned([HEAD.as_bytes(), BYTE_ORDER_MARK].concat());
        assert_eq!((bytes.len(), notes.len()), (HEAD.len() + 3, 0));
    }

    #[test]
    fn what_is_something_else_stays() {
        for text in [
            "> a",
            ">",
            "* x\n",
            "> quoted mail\n> more\n",
            "POST / HTTP/1.1\n> x\n\n",
            "",
            "> a HTTP/1.1",
        ] {
            assert_eq!(cleaned(text.into()), (text.into(), Vec::new()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_request_stays_as_it_is(body: Vec<u8>) {
            let bytes = [HEAD.as_bytes(), &body].concat();
            prop_assert_eq!(cleaned(bytes.clone()), (bytes, Vec::new()));
        }
    }
}
