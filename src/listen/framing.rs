//! Where one request ends and the next begins, told from the bytes as they arrive.
//!
//! hyper mends ambiguous framing in silence: of Content-Length beside Transfer-Encoding, and of a
//! repeated Content-Length, nothing is left in the head it hands over, and it takes a bare LF for
//! CRLF. A proxy in front may read such a request differently, so it is found here, before hyper
//! sees the bytes. Never decides what a request means: hyper parses, this only watches.

use std::time::Duration;

use memchr::memchr;
use tokio::time::Instant;

/// Longest head line that is followed. hyper gives up on longer heads by itself.
const MAX_LINE: usize = 64 << 10;

/// What is ambiguous about a request's head (RFC 9112, sections 2.2, 3.2 and 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Content-Length and Transfer-Encoding.
    LengthAndEncoding,
    /// More than one Content-Length.
    RepeatedLength,
    /// A Content-Length that is no number.
    BadLength,
    /// A Transfer-Encoding other than one `chunked`.
    BadEncoding,
    /// A line that ends in LF alone.
    BareLf,
    /// A fragment in the request target.
    Fragment,
    /// A line longer than any head may be.
    LongLine,
    /// HTTP/2: CONNECT.
    Connect,
    /// HTTP/2: a `:scheme` that is not the listener's.
    Scheme,
    /// HTTP/2: user information in `:authority`.
    UserInformation,
    /// HTTP/2: a `:path` that is none.
    NoOriginForm,
    /// HTTP/2: a field value that begins or ends with white space.
    PaddedValue,
}

impl Defect {
    /// For our own log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LengthAndEncoding => "content-length together with transfer-encoding",
            Self::RepeatedLength => "repeated content-length",
            Self::BadLength => "content-length is no number",
            Self::BadEncoding => "transfer-encoding other than chunked",
            Self::BareLf => "a line ends in LF without CR",
            Self::Fragment => "fragment in the request target",
            Self::LongLine => "a line longer than a head may be",
            Self::Connect => "CONNECT",
            Self::Scheme => "another :scheme than the listener's",
            Self::UserInformation => "user information in :authority",
            Self::NoOriginForm => ":path is not a path",
            Self::PaddedValue => "white space around a field's value",
        }
    }
}

/// Follows the requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Framing {
    /// Heads that are complete, defective ones included.
    heads: u64,
    place: Place,
    head: Head,
    defect: Option<Defect>,
}

/// What the next byte belongs to.
#[derive(Debug, Default)]
enum Place {
    /// A head, or the line breaks before one. Holds the unfinished line.
    #[default]
    Line,
    /// A body of which this many bytes are to come.
    Body(u64),
    /// Nobody knows: a chunked body whose end is not looked for, or what follows a defect. The
    /// connection ends with this request.
    Rest,
}

/// What the head's lines have said so far.
#[derive(Debug, Default)]
struct Head {
    line: Vec<u8>,
    /// When its first bytes had come and the rest had not.
    begun: Option<Instant>,
    any_line: bool,
    length: Option<u64>,
    chunked: bool,
    defect: Option<Defect>,
}

impl Framing {
    /// Takes note of bytes that have arrived.
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.place {
                Place::Rest => return,
                Place::Body(left) => {
                    let here = left.min(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                    let skip = usize::try_from(here).unwrap_or(bytes.len());
                    bytes = bytes.get(skip..).unwrap_or_default();
                    self.place = if here == left { Place::Line } else { Place::Body(left - here) };
                }
                Place::Line => bytes = self.line(bytes),
            }
        }
        if self.head.begun.is_none() && (self.head.any_line || !self.head.line.is_empty()) {
            self.head.begun = Some(Instant::now());
        }
    }

    /// Heads that are complete.
    #[cfg(test)]
    fn heads(&self) -> u64 {
        self.heads
    }

    /// What is wrong with the request of this number, counted from 1.
    pub(super) fn defect(&self, request: u64) -> Option<Defect> {
        self.defect.filter(|_| request >= self.heads)
    }

    /// Whether the connection must end after the request of this number: what follows it on the
    /// connection is not, or cannot be, read to its end.
    pub(super) fn is_last(&self, request: u64) -> bool {
        request >= self.heads && !matches!(self.place, Place::Line)
    }

    /// Whether something was sent that nobody will read.
    pub(super) fn is_unread(&self) -> bool {
        !matches!(self.place, Place::Line)
    }

    /// When the head that is unfinished must be complete, if one has begun.
    pub(super) fn head_due(&self, timeout: Duration) -> Option<Instant> {
        self.head.begun.map(|begun| begun + timeout)
    }

    /// Starts the unfinished head's time anew: until now, nobody was listening.
    pub(super) fn restart_head(&mut self, now: Instant) {
        self.head.begun = self.head.begun.map(|_| now);
    }

    /// Takes one line of a head, or the part of it that is there, and returns what follows.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let head = &mut self.head;
        let Some(end) = memchr(b'\n', bytes) else {
            head.line.extend_from_slice(bytes);
            if head.line.len() > MAX_LINE {
                head.defect = Some(Defect::LongLine);
                self.finish_head();
            }
            return &[];
        };
        let (line, rest) = (bytes.get(..end).unwrap_or_default(), bytes.get(end + 1..));
        let ended = if head.line.is_empty() {
            head.take(line)
        } else {
            let mut whole = std::mem::take(&mut head.line);
            whole.extend_from_slice(line);
            head.take(&whole)
        };
        if ended {
            self.finish_head();
        }
        rest.unwrap_or_default()
    }

    fn finish_head(&mut self) {
        let head = std::mem::take(&mut self.head);
        self.heads += 1;
        self.defect = head
            .defect
            .or((head.chunked && head.length.is_some()).then_some(Defect::LengthAndEncoding));
        self.place = match head.length {
            _ if self.defect.is_some() || head.chunked => Place::Rest,
            None | Some(0) => Place::Line,
            Some(length) => Place::Body(length),
        };
    }
}

impl Head {
    /// Takes a line without its LF; whether it was the head's last, the empty one.
    fn take(&mut self, line: &[u8]) -> bool {
        let Some((b'\r', line)) = line.split_last() else {
            self.defect = self.defect.or(Some(Defect::BareLf));
            return self.after(line);
        };
        self.after(line)
    }

    fn after(&mut self, line: &[u8]) -> bool {
        if line.is_empty() {
            if self.any_line {
                return true;
            }
            // Line breaks before a request line are skipped, as RFC 9112, section 2.2 asks. They do
            // not start the head's time anew: a client could go on with them for ever.
            return false;
        }
        if self.any_line {
            self.field(line);
        } else {
            self.any_line = true;
            if memchr(b'#', line).is_some() {
                self.note(Defect::Fragment);
            }
        }
        false
    }

    fn field(&mut self, line: &[u8]) {
        // The only two names that matter are 14 and 17 bytes long and start with c and t.
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
            return;
        }
        let Some((name, value)) = memchr(b':', line).and_then(|at| line.split_at_checked(at))
        else {
            return;
        };
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            self.content_length(value);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                self.note(Defect::BadEncoding);
            }
            self.chunked = true;
        }
    }

    fn content_length(&mut self, value: &[u8]) {
        if self.length.is_some() || memchr(b',', value).is_some() {
            return self.note(Defect::RepeatedLength);
        }
        let digits = value.iter().all(u8::is_ascii_digit);
        let number = str::from_utf8(value).ok().and_then(|v| v.parse().ok());
        match number.filter(|_| digits) {
            Some(length) => self.length = Some(length),
            None => self.note(Defect::BadLength),
        }
    }

    fn note(&mut self, defect: Defect) {
        self.defect = self.defect.or(Some(defect));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    fn after(bytes: &[u8]) -> Framing {
        let mut framing = Framing::default();
        framing.take(bytes);
        framing
    }

    #[test]
    fn ambiguous_heads_are_found() {
        for (fields, defect) in [
            ("Content-Length: 2\r\nTransfer-Encoding: chunked", Defect::LengthAndEncoding),
            ("Transfer-Encoding: chunked\r\nContent-Length: 2", Defect::LengthAndEncoding),
            ("Content-Length: 2\r\nContent-Length: 2", Defect::RepeatedLength),
            ("content-length: 2, 2", Defect::RepeatedLength),
            ("Content-Length: +2", Defect::BadLength),
            ("Content-Length:", Defect::BadLength),
            ("Content-Length: 99999999999999999999999", Defect::BadLength),
            ("Transfer-Encoding: gzip, chunked", Defect::BadEncoding),
            ("Transfer-Encoding: chunked\r\nTRANSFER-ENCODING: chunked", Defect::BadEncoding),
            ("Transfer-Encoding: identity", Defect::BadEncoding),
            ("X: a\nContent-Length: 2", Defect::BareLf),
        ] {
            let framing = after(format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes());
            assert_eq!(framing.defect(1), Some(defect), "{fields:?}");
            assert!(framing.is_last(1), "{fields:?}");
        }
        assert_eq!(after(b"GET /a#b HTTP/1.1\r\n\r\n").defect(1), Some(Defect::Fragment));
        assert_eq!(after(b"GET / HTTP/1.1\r\nHost: a\r\n\n").defect(1), Some(Defect::BareLf));
    }

    #[test]
    fn plain_requests_follow_each_other() {
        let post =
            b"POST / HTTP/1.1\r\nContent-Type: a\r\nContent-Length: 4\r\n\r\n\n\n\n\n".as_slice();
        let framing = after(&[GET, post, b"\r\n", post, GET].concat());
        assert_eq!(framing.heads(), 4);
        assert_eq!((1..=4).find_map(|n| framing.defect(n)), None);
        assert!(!framing.is_last(4));
    }

    #[test]
    fn bytes_may_come_one_by_one() {
        let mut framing = Framing::default();
        let post = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".as_slice();
        for byte in
            [post, GET, b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"]
                .concat()
        {
            framing.take(&[byte]);
        }
        assert_eq!(framing.heads(), 3);
        assert_eq!((framing.defect(1), framing.defect(2)), (None, None));
        assert_eq!(framing.defect(3), Some(Defect::RepeatedLength));
    }

    #[test]
    fn an_unfinished_body_is_seen() {
        let mut framing = after(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab");
        assert!(framing.is_unread() && framing.is_last(1));
        framing.take(b"c");
        assert!(!framing.is_unread() && !framing.is_last(1));
    }

    #[test]
    fn a_chunked_request_is_the_last() {
        let framing = after(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
        assert_eq!(framing.defect(1), None);
        assert!(framing.is_last(1));
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let mut framing = Framing::default();
        for _ in 0..100 {
            framing.take(&[b'a'; 1024]);
        }
        assert_eq!(framing.defect(1), Some(Defect::LongLine));
        assert!(framing.head.line.capacity() == 0);
    }
}
