//! The headers that are kept with an event, as they stand in its frame.

use http::{HeaderName, HeaderValue};

use super::input::Input;
use crate::event::KeptHeader;

/// Writes a count and the headers.
pub(super) fn put(out: &mut Vec<u8>, headers: &[KeptHeader]) {
    let count = u8::try_from(headers.len()).unwrap_or(u8::MAX);
    out.push(count);
    for KeptHeader { name, value, signature } in headers.iter().take(count.into()) {
        out.push((*signature).into());
        put_bytes(out, name.as_str().as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

/// Reads them; `None`: this is not what [`put`] writes.
pub(super) fn read(input: &mut Input<'_>) -> Option<Vec<KeptHeader>> {
    let count = input.u8()?;
    let mut headers = Vec::with_capacity(count.into());
    for _ in 0..count {
        let signature = match input.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let name = HeaderName::from_bytes(input.text()??.as_bytes()).ok()?;
        let value = HeaderValue::from_str(input.text()??).ok()?;
        headers.push(KeptHeader { name, value, signature });
    }
    Some(headers)
}

/// As a text16. Identification keeps 4 KiB of them all.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX - 1).min(u16::MAX - 1);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes.get(..len.into()).unwrap_or(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: &str, signature: bool) -> KeptHeader {
        KeptHeader { name: name.parse().unwrap(), value: value.parse().unwrap(), signature }
    }

    #[test]
    fn what_is_written_is_read() {
        let all = [header("x-event", "order.made", false), header("x-signature", "", true)];
        for headers in [&all[..0], &all] {
            let mut out = Vec::new();
            put(&mut out, headers);
            out.extend_from_slice(b"body");
            let mut input = Input(&out);
            assert_eq!(read(&mut input).unwrap(), headers);
            assert_eq!(input.0, b"body");
        }
    }

    #[test]
    fn what_is_cut_off_or_no_header_is_none() {
        let mut out = Vec::new();
        put(&mut out, &[header("x-event", "order.made", true)]);
        for end in 0..out.len() {
            assert!(read(&mut Input(&out[..end])).is_none(), "{end}");
        }
        for (at, byte) in [(1, 2), (4, b' '), (13, b'\n')] {
            let mut damaged = out.clone();
            damaged[at] = byte;
            assert!(read(&mut Input(&damaged)).is_none(), "{at}");
        }
    }
}
