//! Whom limits count as one client. Imports nothing of ours.

use std::net::{IpAddr, Ipv4Addr};

/// What limits count as one client: an IPv4 address, or the /64 that an IPv6 address is in, since
/// its holder can take any other address of that (RFC 6177). Addresses that cannot be told are
/// one client together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Network {
    /// Nobody knows.
    Unknown,
    /// An IPv4 address, also one that is mapped into IPv6.
    V4(Ipv4Addr),
    /// The upper half of an IPv6 address.
    V6(u64),
}

impl Network {
    /// The client that calls from this address; `None`: it cannot be told.
    pub fn of(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::Unknown,
            Some(IpAddr::V4(v4)) => Self::V4(v4),
            Some(IpAddr::V6(v6)) => {
                let [a, b, c, d, ..] = v6.segments();
                let upper = [a, b, c, d].into_iter();
                Self::V6(upper.fold(0, |upper, segment| upper << 16 | u64::from(segment)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Network {
        Network::of(Some(address.parse().unwrap()))
    }

    #[test]
    fn ipv4_counts_by_address_and_ipv6_by_its_64() {
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("::192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("::"), Network::of(None));
    }
}
