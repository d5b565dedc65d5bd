//! Version 1: a line of text, such as `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use memchr::memchr;

use super::{Header, HeaderError};

/// What each line begins with.
pub(super) const START: &[u8] = b"PROXY ";

/// Longest line, in bytes, with its end.
pub(super) const MAX_LINE: usize = 107;

/// How many bytes are certain to be missing of the line that begins so; none when it has ended,
/// or may not go on.
///
/// A line ends in two bytes, so that two are to come unless the first of them was there.
pub(super) fn missing(line: &[u8]) -> usize {
    if memchr(b'\n', line).is_some() {
        return 0;
    }
    let likely = if line.ends_with(b"\r") { 1 } else { 2 };
    likely.min(MAX_LINE.saturating_sub(line.len()))
}

/// The line at the beginning of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Result<Header, HeaderError> {
    let within = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let Some(end) = memchr(b'\n', within) else {
        let full = within.len() == MAX_LINE;
        return Err(if full { HeaderError::TooLong } else { HeaderError::Cut });
    };
    let line = within.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let words = line.and_then(|line| line.strip_prefix(START));
    let words = words.filter(|words| memchr(b'\r', words).is_none()).ok_or(HeaderError::Line)?;
    Ok(Header { source: source(words)?, len: end + 1 })
}

/// Whom the words behind `PROXY` name.
fn source(words: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let mut words = words.split(|byte| *byte == b' ');
    let addresses = match words.next() {
        // Whatever else stands in the line is to be ignored.
        Some(b"UNKNOWN") => return Ok(None),
        Some(b"TCP4") => addresses::<Ipv4Addr>,
        Some(b"TCP6") => addresses::<Ipv6Addr>,
        _ => return Err(HeaderError::Line),
    };
    let mut next = || words.next().ok_or(HeaderError::Line);
    let (from, to, from_port, to_port) = (next()?, next()?, next()?, next()?);
    if words.next().is_some() {
        return Err(HeaderError::Line);
    }
    let source = addresses(from, to).zip(port(from_port)).filter(|_| port(to_port).is_some());
    source.map(|(ip, port)| Some(SocketAddr::new(ip, port))).ok_or(HeaderError::Address)
}

/// The first of two addresses of one family. `std` takes no zeros in front, no zones and no spaces.
fn addresses<Ip: FromStr + Into<IpAddr>>(from: &[u8], to: &[u8]) -> Option<IpAddr> {
    let ip = |word| str::from_utf8(word).ok()?.parse::<Ip>().ok();
    ip(to)?;
    ip(from).map(Into::into)
}

/// A port: digits only, and no zeros in front.
fn port(word: &[u8]) -> Option<u16> {
    let digits = word.iter().all(u8::is_ascii_digit);
    let plain = digits && (word == b"0" || !word.starts_with(b"0"));
    str::from_utf8(word).ok().filter(|_| plain)?.parse().ok()
}
