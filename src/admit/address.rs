//! The client address against the source's allowlist.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Refusal;
use crate::audit::Reason;
use crate::config::{Source, canonical_ip};

const NOT_ALLOWED: Refusal =
    Refusal::new(Reason::IpNotAllowed, "the client address is not on the source's allowlist");

/// Whether the source's allowlist lets `client` in. An IPv4-mapped IPv6 address is judged as the
/// IPv4 address, one that cannot be told is on no list; a source without an allowlist lets anyone in,
/// one with an empty list nobody.
///
/// # Errors
/// [`Reason::IpNotAllowed`] when it does not.
pub fn check_address(source: &Source, client: Option<IpAddr>) -> Result<(), Refusal> {
    let client = client.map(canonical_ip);
    let holds = |net: &IpNet| client.is_some_and(|client| net.contains(&client));
    match &source.allow_ips {
        Some(nets) if !nets.iter().any(holds) => Err(NOT_ALLOWED),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing;

    fn allowed(nets: Option<&[&str]>, client: &str) -> bool {
        let mut source = fuzzing::open_source();
        source.allow_ips = nets.map(|n| n.iter().map(|net| net.parse().unwrap()).collect());
        let answer = check_address(&source, client.parse().ok());
        assert!(answer.is_ok() || answer == Err(NOT_ALLOWED));
        answer.is_ok()
    }

    #[test]
    fn only_listed_addresses_get_in() {
        let lab = Some(&["203.0.113.0/24", "198.51.100.7/32", "2001:db8::/32"][..]);
        for (client, expected) in [
            ("203.0.113.0", true),
            ("203.0.113.255", true),
            ("203.0.114.0", false),
            ("198.51.100.7", true),
            ("198.51.100.8", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
            ("::ffff:203.0.113.9", true),
            ("::ffff:203.0.112.9", false),
            ("::203.0.113.9", false),
            ("127.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(allowed(lab, client), expected, "{client}");
        }
    }

    #[test]
    fn no_list_is_anyone_and_an_empty_one_is_nobody() {
        assert!(allowed(None, "192.0.2.1"));
        assert!(!allowed(Some(&[]), "192.0.2.1"));
    }

    #[test]
    fn an_address_that_cannot_be_told_is_on_no_list() {
        assert!(!allowed(Some(&["0.0.0.0/0", "::/0"]), "unknown"));
        assert!(allowed(None, "unknown"));
    }

    #[test]
    fn all_of_ipv6_does_not_hold_ipv4() {
        assert!(!allowed(Some(&["::/0"]), "::ffff:203.0.113.9"));
        assert!(allowed(Some(&["0.0.0.0/0"]), "::ffff:203.0.113.9"));
    }
}
