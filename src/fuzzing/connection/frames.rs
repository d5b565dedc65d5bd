//! HTTP/2 frames (RFC 9113, section 4): made of the parts of an input, and told apart again in
//! what was sent. Header blocks are written in the plainest way that HPACK has (RFC 7541, section
//! 6.2.2), and not read at all.
//!
//! What a part of an input becomes goes by its first byte:
//!
//! | part | becomes |
//! | --- | --- |
//! | `#` and bytes | these bytes |
//! | `!6 0 0`, a line's end, and bytes | a frame of this type and these flags (hexadecimal), on this stream, with these bytes |
//! | anything else | HEADERS and DATA of the request that it is in HTTP/1 |
//!
//! Requests take odd streams in turn. A field `As` is not sent, but says how, by its letters:
//!
//! | letter | the request |
//! | --- | --- |
//! | `c` | has a CONTINUATION of half its fields |
//! | `x` | has fields that are to be remembered (RFC 7541, section 6.2.1) |
//! | `d` | has DATA of 7 bytes each |
//! | `p` | has padded DATA |
//! | `t` | has a trailer |
//! | `o` | has no end |
//! | `r` | is taken back |
//! | `s` | comes on the stream of the one before |

use std::collections::BTreeMap;

use super::reading::split;
use super::script::without_flow;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// How a connection begins: the preface, and SETTINGS that say nothing.
pub(super) fn opening() -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, b"");
    bytes
}

/// Makes frames, stream by stream.
#[derive(Debug, Default)]
pub(super) struct Frames {
    stream: u32,
}

impl Frames {
    /// The bytes that this part stands for. Its flow directives are kept, and count for nothing.
    pub(super) fn of(&mut self, part: &[u8]) -> Vec<u8> {
        match part.split_first() {
            Some((b'#', bytes)) => bytes.to_vec(),
            Some((b'!', part)) => raw(part).unwrap_or_default(),
            _ => self.request(part),
        }
    }

    fn request(&mut self, part: &[u8]) -> Vec<u8> {
        let (head, body) = split(part, b"\r\n\r\n").unwrap_or((part, b""));
        let head = Head::read(&without_flow(head));
        let is = |letter| head.how.contains(&letter);
        if !is(b's') || self.stream == 0 {
            self.stream = self.stream.wrapping_add(if self.stream == 0 { 1 } else { 2 });
        }
        let stream = self.stream;
        let mut bytes = Vec::new();
        let left_open = is(b'o') || is(b't');
        let ends = if body.is_empty() && !left_open { END_STREAM } else { 0 };
        let block = |fields: &[Field]| block(fields, is(b'x'));
        let (first, second) = head.fields.split_at(head.fields.len() / 2);
        if is(b'c') {
            frame(&mut bytes, HEADERS, ends, stream, &block(first));
            frame(&mut bytes, CONTINUATION, END_HEADERS, stream, &block(second));
        } else {
            frame(&mut bytes, HEADERS, ends | END_HEADERS, stream, &block(&head.fields));
        }
        if !body.is_empty() {
            let at_once = if is(b'd') { 7 } else { body.len() };
            let last = body.len().div_ceil(at_once) - 1;
            for (at, piece) in body.chunks(at_once).enumerate() {
                let ends = if at == last && !left_open { END_STREAM } else { 0 };
                data(&mut bytes, ends, stream, piece, is(b'p'));
            }
        }
        if is(b't') {
            let ends = if is(b'o') { END_HEADERS } else { END_HEADERS | END_STREAM };
            let trailer = [(b"x-trailer".to_vec(), b"1".to_vec())];
            frame(&mut bytes, HEADERS, ends, stream, &block(&trailer));
        }
        if is(b'r') {
            frame(&mut bytes, RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        }
        bytes
    }
}

type Field = (Vec<u8>, Vec<u8>);

struct Head {
    how: Vec<u8>,
    fields: Vec<Field>,
}

impl Head {
    fn read(head: &[u8]) -> Self {
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let mut words = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut fields = vec![
            (b":method".to_vec(), method.to_vec()),
            (b":scheme".to_vec(), b"https".to_vec()),
            (b":path".to_vec(), path.to_vec()),
        ];
        let mut how = Vec::new();
        for line in lines {
            // A pseudo-header field begins with a colon.
            let begin = line.len().min(1);
            let Some(colon) = memchr::memchr(b':', line.get(begin..).unwrap_or_default()) else {
                continue;
            };
            let (name, value) = line.split_at(begin + colon);
            let value = value.get(1..).unwrap_or_default().trim_ascii().to_vec();
            match &*name.to_ascii_lowercase() {
                b"as" => how = value,
                b"host" => fields.insert(0, (b":authority".to_vec(), value)),
                name => fields.push((name.to_vec(), value)),
            }
        }
        Self { how, fields }
    }
}

fn raw(part: &[u8]) -> Option<Vec<u8>> {
    let (line, payload) = split(part, b"\n")?;
    let mut words = str::from_utf8(line).ok()?.split_ascii_whitespace();
    let (kind, flags) = (words.next()?, words.next()?);
    let number = |word| u8::from_str_radix(word, 16).ok();
    let stream = words.next()?.parse().ok()?;
    let mut bytes = Vec::new();
    frame(&mut bytes, number(kind)?, number(flags)?, stream, payload);
    Some(bytes)
}

fn data(to: &mut Vec<u8>, flags: u8, stream: u32, piece: &[u8], padded: bool) {
    if padded {
        frame(to, DATA, flags | PADDED, stream, &[b"\x03", piece, &[0; 3]].concat());
    } else {
        frame(to, DATA, flags, stream, piece);
    }
}

fn frame(to: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(without_flow(payload).len()).unwrap_or(u32::MAX);
    let [_, length @ ..] = length.to_be_bytes();
    to.extend(length);
    to.extend([kind, flags]);
    to.extend(stream.to_be_bytes());
    to.extend_from_slice(payload);
}

fn block(fields: &[Field], remembered: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(if remembered { 0x40 } else { 0 });
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541, section 5.1).
fn length(to: &mut Vec<u8>, length: usize) {
    const MOST: usize = 0x7f;
    let Some(mut rest) = length.checked_sub(MOST) else {
        to.push(u8::try_from(length).unwrap_or_default());
        return;
    };
    to.push(0x7f);
    while rest > MOST {
        to.push(u8::try_from(rest & MOST).unwrap_or_default() | 0x80);
        rest >>= 7;
    }
    to.push(u8::try_from(rest).unwrap_or_default());
}

/// What was sent on streams, as far as it can be told from frames alone.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Header sections that were begun.
    pub(super) heads: usize,
    /// The data of each stream that has an end.
    pub(super) bodies: Vec<Vec<u8>>,
}

pub(super) fn read(bytes: &[u8]) -> Sent {
    let mut sent = Sent::default();
    let mut open: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut rest = bytes.get(PREFACE.len()..).unwrap_or_default();
    while let Some(([a, b, c, kind, flags, stream @ ..], behind)) = rest.split_first_chunk::<9>() {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some((payload, behind)) = behind.split_at_checked(length) else { break };
        rest = behind;
        // The first bit is reserved, and passed over.
        let stream = u32::from_be_bytes(*stream) & (u32::MAX >> 1);
        match *kind {
            HEADERS => {
                sent.heads += 1;
                open.entry(stream).or_default();
            }
            DATA => open.entry(stream).or_default().extend_from_slice(unpadded(payload, *flags)),
            _ => continue,
        }
        if flags & END_STREAM != 0 {
            sent.bodies.extend(open.remove(&stream));
        }
    }
    sent
}

fn unpadded(payload: &[u8], flags: u8) -> &[u8] {
    if flags & PADDED == 0 {
        return payload;
    }
    let Some((padding, rest)) = payload.split_first() else { return payload };
    let length = rest.len().saturating_sub(usize::from(*padding));
    rest.get(..length).unwrap_or_default()
}
