//! The bytes that HTTP's grammar allows where (RFC 9110, section 5; RFC 3986).

use std::net::Ipv6Addr;

use memchr::memchr;

/// The longest name that DNS knows.
const MAX_HOST: usize = 255;

/// What a byte may stand in.
const IN_TOKEN: u8 = 1;
const IN_PATH: u8 = 2;
const IN_QUERY: u8 = 4;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let token = if is_tchar(byte as u8) { IN_TOKEN } else { 0 };
        let path = if is_path_byte(byte as u8) { IN_PATH } else { 0 };
        let query = if is_query_byte(byte as u8) { IN_QUERY } else { 0 };
        classes[byte] = token | path | query;
        byte += 1;
    }
    classes
};

/// Token characters (RFC 9110, section 5.6.2).
const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.')
        || matches!(byte, b'^' | b'_' | b'`' | b'|' | b'~')
}

/// Characters of a path (RFC 3986, section 3.3). What a `%` stands before is not looked at: paths
/// are compared byte for byte, and none of ours holds one.
const fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~' | b'%' | b':' | b'@')
        || is_sub_delim(byte)
}

/// Characters of a query. Senders leave brackets and the like in one as they are, and nobody reads
/// it here, so of visible ASCII only what would end it or quote it is refused.
const fn is_query_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'#' | b'<' | b'>')
}

const fn is_sub_delim(byte: u8) -> bool {
    matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

/// Whether all of the bytes are of this class. Without an early end it takes no branch a byte.
fn are(class: u8, bytes: &[u8]) -> bool {
    let class_of = |byte: &u8| CLASSES.get(usize::from(*byte)).copied().unwrap_or_default();
    bytes.iter().fold(class, |all, byte| all & class_of(byte)) == class
}

/// Whether the byte may stand in a token.
pub(super) fn is_token_byte(byte: u8) -> bool {
    are(IN_TOKEN, &[byte])
}

/// Whether this is a token: one byte or more, all of them token characters.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && are(IN_TOKEN, bytes)
}

/// Whether this may be a target's path.
pub(super) fn is_path(bytes: &[u8]) -> bool {
    are(IN_PATH, bytes)
}

/// Whether this may be a target's query.
pub(super) fn is_query(bytes: &[u8]) -> bool {
    are(IN_QUERY, bytes)
}

/// Whether the byte may stand in a field's value: visible ASCII, obs-text, space and tab.
pub(super) fn is_value_byte(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

/// Whether this may be a field's value, whitespace around it included (RFC 9110, section 5.5).
pub(super) fn is_value(bytes: &[u8]) -> bool {
    // Without an early end the compiler looks at many bytes at once.
    bytes.iter().fold(true, |all, byte| all & is_value_byte(*byte))
}

/// Space and tab.
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// A field's value without the optional whitespace around it.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = value
        && is_blank(*first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && is_blank(*last)
    {
        value = rest;
    }
    value
}

/// Whether this may be a Host field's value, or an authority without user information: a name or
/// an address and perhaps a port (RFC 9110, section 7.2; RFC 3986, section 3.2). Not empty, as in
/// `http` no host may be; and without percent-encoding, as no name in DNS needs it.
pub(crate) fn is_host(value: &[u8]) -> bool {
    if let [b'[', rest @ ..] = value {
        let Some((address, port)) = memchr(b']', rest).and_then(|at| rest.split_at_checked(at))
        else {
            return false;
        };
        return is_ipv6(address) && port.get(1..).is_some_and(is_port);
    }
    let colon = memchr(b':', value).unwrap_or(value.len());
    let Some((name, port)) = value.split_at_checked(colon) else {
        return false;
    };
    let is_named = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~')
            || is_sub_delim(*byte)
    };
    (1..=MAX_HOST).contains(&name.len()) && name.iter().all(is_named) && is_port(port)
}

fn is_ipv6(address: &[u8]) -> bool {
    str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// Nothing, or a colon and a port; the port may be left out behind it.
fn is_port(bytes: &[u8]) -> bool {
    match bytes {
        [] | [b':'] => true,
        [b':', digits @ ..] => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && str::from_utf8(digits).is_ok_and(|text| text.parse::<u16>().is_ok())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_or_without_a_port() {
        for host in [
            "gw",
            "GW.example",
            "gw:",
            "gw:8443",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:443",
            "a_b",
            "x,y",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            ":80",
            "gw:80:80",
            "gw:x",
            "gw:+1",
            "gw:65536",
            "gw:000080",
            "a b",
            "a/b",
            "u@gw",
            "[::1",
            "[::1]x",
            "[]",
            "[gw]",
            "[fe80::1%25eth0]",
            "%67w",
            "gü",
            "gw?",
            "gw#",
            "gw\\",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
        assert!(!is_host(&[b'a'; MAX_HOST + 1]));
    }

    #[test]
    fn tokens_hold_no_delimiter() {
        for byte in 0..=255_u8 {
            let delimiter = b"\"(),/:;<=>?@[\\]{}".contains(&byte);
            assert_eq!(is_token_byte(byte), byte.is_ascii_graphic() && !delimiter, "{byte:#x}");
        }
        assert!(!is_token(b"") && !is_token(b"a b") && is_token(b"x-1"));
    }

    #[test]
    fn values_hold_no_control_but_tab() {
        for byte in 0..=255_u8 {
            assert_eq!(is_value(&[b'a', byte]), byte == b'\t' || !byte.is_ascii_control());
        }
    }

    #[test]
    fn only_space_and_tab_go_around_a_value() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t "), b"");
        assert_eq!(trim(b"\x0ca\x0b"), b"\x0ca\x0b");
    }
}
