//! What addresses mean: whom limits count as one client, and what nobody should be made to call.
//! Imports nothing of ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// Metadata services outside the link-local ranges: whoever can make a machine call them gets its
/// credentials. Alibaba Cloud, Oracle Cloud Classic, Azure's WireServer.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// Whether the address is link-local (RFC 3927, RFC 4291 section 2.5.6) or that of a cloud's metadata
/// service, also where it is wrapped in an IPv6 address (IPv4-mapped, NAT64, 6to4). An app behind a
/// gateway has no such address; one that a name leads to is most likely an attack.
pub fn is_link_local(address: IpAddr) -> bool {
    let v6 = match address.to_canonical() {
        IpAddr::V4(v4) => return v4.is_link_local() || METADATA_V4.contains(&v4),
        IpAddr::V6(v6) => v6,
    };
    let wrapped = wrapped_v4(v6);
    if wrapped.is_some_and(|v4| v4.is_link_local() || METADATA_V4.contains(&v4)) {
        return true;
    }
    // AWS keeps fd00:ec2::/32 for its services on the instance, Google fd20:ce::/32.
    let reserved = matches!(v6.segments(), [0xfd00, 0xec2, ..] | [0xfd20, 0xce, ..]);
    v6.is_unicast_link_local() || reserved
}

/// The IPv4 address that a translator takes out of this one: NAT64's well-known prefix (RFC 6052)
/// and 6to4 (RFC 3056).
fn wrapped_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_and_metadata_addresses_are_known_however_they_are_written() {
        for bad in [
            "169.254.169.254",
            "169.254.0.1",
            "169.254.170.2",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
        ] {
            assert!(is_link_local(bad.parse().unwrap()), "{bad}");
        }
        for fine in [
            "127.0.0.1",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.253.255.255",
            "169.255.0.1",
            "100.64.0.1",
            "203.0.113.1",
            "::1",
            "::ffff:127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:a00:1::1",
            "fec0::1",
            "fd00::1",
            "fd00:ec3::254",
            "2001:db8::1",
        ] {
            assert!(!is_link_local(fine.parse().unwrap()), "{fine}");
        }
    }

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
