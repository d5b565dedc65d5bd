//! Version 2: binary. A signature, four bytes that say what follows and how long it is, two
//! addresses, and additional fields of which only the checksum is looked at.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crc32c::{crc32c, crc32c_append};

use super::{Header, HeaderError};

/// What each header begins with.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of the part that is always there.
const FIXED: usize = SIGNATURE.len() + 4;

/// Longest header, in bytes: what fits into the smallest segment that every TCP host takes. More
/// the specification does not allow senders.
pub(super) const MAX_HEADER: usize = 536;

/// The additional field with a CRC32C of the whole header, its own value taken as zero.
const CHECKSUM: u8 = 0x03;

/// How many bytes are missing of the header that begins so; none when it is whole, or too long.
pub(super) fn missing(header: &[u8]) -> usize {
    match total(header) {
        None => FIXED.saturating_sub(header.len()),
        Some(total) if total > MAX_HEADER => 0,
        Some(total) => total.saturating_sub(header.len()),
    }
}

/// Length of the whole header, as it says itself.
fn total(header: &[u8]) -> Option<usize> {
    let (fixed, _) = header.split_first_chunk::<FIXED>()?;
    let [.., high, low] = *fixed;
    Some(FIXED + usize::from(u16::from_be_bytes([high, low])))
}

/// The header at the beginning of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Result<Header, HeaderError> {
    let len = total(bytes).ok_or(HeaderError::Cut)?;
    if len > MAX_HEADER {
        return Err(HeaderError::TooLong);
    }
    let header = bytes.get(..len).ok_or(HeaderError::Cut)?;
    let (fixed, block) = header.split_first_chunk::<FIXED>().ok_or(HeaderError::Cut)?;
    let [.., command, family, _, _] = *fixed;
    let source = match command {
        // LOCAL: whatever the block holds is to be skipped.
        0x20 => None,
        0x21 => source(header, block, family)?,
        _ => return Err(HeaderError::Command),
    };
    Ok(Header { source, len })
}

/// Whom the block names. The combinations are those that exist: TCP over IPv4 and over IPv6, Unix
/// streams, and nothing that can be told. Others must be refused.
fn source(header: &[u8], block: &[u8], family: u8) -> Result<Option<SocketAddr>, HeaderError> {
    let (source, fields) = match family {
        0x00 => return Ok(None),
        0x11 => {
            let (addresses, fields) = split::<12>(block)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            let port = u16::from_be_bytes([high, low]);
            (Some((Ipv4Addr::new(a, b, c, d), port).into()), fields)
        }
        0x21 => {
            let (addresses, fields) = split::<36>(block)?;
            let (ip, rest) = addresses.split_first_chunk::<16>().ok_or(HeaderError::Length)?;
            let (_, ports) = rest.split_first_chunk::<16>().ok_or(HeaderError::Length)?;
            let (port, _) = ports.split_first_chunk::<2>().ok_or(HeaderError::Length)?;
            (Some((Ipv6Addr::from(*ip), u16::from_be_bytes(*port)).into()), fields)
        }
        0x31 => (None, split::<216>(block)?.1),
        0x12 | 0x22 | 0x32 => return Err(HeaderError::Datagram),
        _ => return Err(HeaderError::Family),
    };
    check_fields(header, fields)?;
    Ok(source)
}

fn split<const N: usize>(block: &[u8]) -> Result<(&[u8; N], &[u8]), HeaderError> {
    block.split_first_chunk::<N>().ok_or(HeaderError::Length)
}

/// Whether the additional fields (type, length, value) fill the rest of the header, and whether
/// the checksum is right if there is one.
fn check_fields(header: &[u8], mut fields: &[u8]) -> Result<(), HeaderError> {
    let mut checksum = None;
    while let Some((&[kind, high, low], rest)) = fields.split_first_chunk::<3>() {
        let len = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at_checked(len).ok_or(HeaderError::Length)?;
        if kind == CHECKSUM {
            let value =
                *value.first_chunk::<4>().filter(|_| len == 4).ok_or(HeaderError::Length)?;
            let place = header.len() - rest.len() - len;
            if checksum.replace((place, u32::from_be_bytes(value))).is_some() {
                return Err(HeaderError::Checksum);
            }
        }
        fields = rest;
    }
    match checksum {
        _ if !fields.is_empty() => Err(HeaderError::Length),
        Some((place, expected)) if checksum_of(header, place) != expected => {
            Err(HeaderError::Checksum)
        }
        _ => Ok(()),
    }
}

/// CRC32C of the header, with zeros for the four bytes at `place`.
fn checksum_of(header: &[u8], place: usize) -> u32 {
    let before = header.get(..place).unwrap_or_default();
    let after = header.get(place + 4..).unwrap_or_default();
    crc32c_append(crc32c_append(crc32c(before), &[0; 4]), after)
}
