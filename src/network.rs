//! What addresses mean: whom limits count as one client, many networks at once, and what nobody
//! should be made to call. Imports nothing of ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What limits count as one client: an IPv4 address, or the /64 that an IPv6 address is in, since
/// its holder can take any other address of that (RFC 6177). An IPv4 address stays one behind NAT64
/// (`64:ff9b::/96`, RFC 6052), where all of them are in one /64. Addresses that cannot be told are
/// one client together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Network {
    /// Nobody knows.
    Unknown,
    /// An IPv4 address, also one that is mapped or translated into IPv6.
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
            Some(IpAddr::V6(v6)) => match v6.segments() {
                [0x64, 0xff9b, 0, 0, 0, 0, _, _] => {
                    let [.., a, b, c, d] = v6.octets();
                    Self::V4(Ipv4Addr::new(a, b, c, d))
                }
                [a, b, c, d, ..] => {
                    let upper = [a, b, c, d].into_iter();
                    Self::V6(upper.fold(0, |upper, segment| upper << 16 | u64::from(segment)))
                }
            },
        }
    }

    /// The /48 that an IPv6 client is in. It may have 65,536 clients, and commonly one holder.
    pub fn site(self) -> Option<Site> {
        match self {
            Self::V6(upper) => Some(Site(upper >> 16)),
            Self::Unknown | Self::V4(_) => None,
        }
    }
}

/// An IPv6 network of 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Site(u64);

impl Site {
    /// The first of its clients, which may stand for all of them.
    pub fn first(self) -> Network {
        Network::V6(self.0 << 16)
    }

    /// The /32 that it is in.
    pub fn holder(self) -> u32 {
        u32::try_from(self.0 >> 16).unwrap_or(u32::MAX)
    }
}

/// Any number of networks, in which an address is found in as many steps as their number has bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Box<[(u128, u128)]>);

impl Networks {
    /// These networks together.
    pub fn new(nets: impl IntoIterator<Item = IpNet>) -> Self {
        let bounds = |net: IpNet| (number(net.network()), number(net.broadcast()));
        let mut all: Vec<_> = nets.into_iter().map(bounds).collect();
        all.sort_unstable();
        // Two networks are apart, or one holds the other.
        all.dedup_by(|next, before| next.1 <= before.1);
        Self(all.into())
    }

    /// Whether one of them holds this address; an IPv4-mapped one is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = number(address);
        let after = self.0.partition_point(|(first, _)| *first <= address);
        let before = after.checked_sub(1).and_then(|at| self.0.get(at));
        before.is_some_and(|(_, last)| address <= *last)
    }
}

/// An address's place among all of both versions.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
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
/// service, also where it is wrapped in an IPv6 address (IPv4-mapped or -compatible, NAT64, 6to4). An app
/// behind a gateway has no such address; one that a name leads to is most likely an attack.
pub fn is_link_local(address: IpAddr) -> bool {
    let v6 = match address.to_canonical() {
        IpAddr::V4(v4) => return v4.is_link_local() || METADATA_V4.contains(&v4),
        IpAddr::V6(v6) => v6,
    };
    let wrapped = wrapped_v4(v6);
    if wrapped.is_some_and(|v4| v4.is_link_local() || METADATA_V4.contains(&v4)) {
        return true;
    }
    // AWS keeps fd00:ec2::/32 for its services on the instance, Google fd20:ce::/32; Scaleway's metadata
    // service has one address.
    let reserved = matches!(
        v6.segments(),
        [0xfd00, 0xec2, ..] | [0xfd20, 0xce, ..] | [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]
    );
    v6.is_unicast_link_local() || reserved
}

/// The IPv4 address that a translator or a tunnel takes out of this one: NAT64's prefixes (RFC 6052,
/// and RFC 8215, of which a network chooses its own /96), 6to4 (RFC 3056), and IPv4-compatible (RFC 4291).
fn wrapped_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..]
        | [0, 0, 0, 0, 0, 0, high, low] => (high, low),
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
            "64:ff9b:1:7::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "::169.254.169.254",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:42::42",
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
            "64:ff9b:1::10.0.0.1",
            "64:ff9b:2::169.254.169.254",
            "::10.0.0.1",
            "fd00:42::43",
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

    /// Behind NAT64 all of IPv4 was one client.
    #[test]
    fn ipv4_counts_by_address_behind_nat64_too() {
        assert_eq!(of("64:ff9b::192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("64:ff9b::192.0.2.1"), of("64:ff9b::192.0.2.2"));
        assert_eq!(of("64:ff9b::1:192.0.2.1"), of("64:ff9b::1:192.0.2.2"));
        assert_eq!(of("64:ff9b:1::192.0.2.1"), of("64:ff9b:1::192.0.2.2"));
    }

    #[test]
    fn ipv6_clients_are_in_a_48() {
        assert_eq!(of("2001:db8:1:2::1").site(), of("2001:db8:1:ffff::1").site());
        assert_ne!(of("2001:db8:1:2::1").site(), of("2001:db8:2:2::1").site());
        assert!(of("2001:db8:1:2::1").site().is_some());
        assert_eq!(of("192.0.2.1").site(), None);
        assert_eq!(Network::Unknown.site(), None);
    }

    #[test]
    fn many_networks_hold_what_each_of_them_does() {
        let nets: Vec<IpNet> = [
            "203.0.113.0/24",
            "203.0.113.7/32",
            "203.0.113.0/25",
            "192.0.2.4/30",
            "10.0.0.0/8",
            "2001:db8::/48",
            "2001:db8::1/128",
            "::1/128",
        ]
        .map(|net| net.parse().unwrap())
        .into();
        let all = Networks::new(nets.clone());
        for address in [
            "203.0.112.255",
            "203.0.113.0",
            "203.0.113.128",
            "203.0.113.255",
            "203.0.114.0",
            "192.0.2.3",
            "192.0.2.4",
            "192.0.2.7",
            "192.0.2.8",
            "9.255.255.255",
            "10.255.255.255",
            "0.0.0.0",
            "255.255.255.255",
            "::1",
            "::2",
            "::",
            "2001:db7:ffff::",
            "2001:db8:0:ffff::",
            "2001:db8:1::",
        ] {
            let address = address.parse().unwrap();
            let expected = nets.iter().any(|net| net.contains(&address));
            assert_eq!(all.contains(address), expected, "{address}");
        }
        assert!(all.contains("::ffff:192.0.2.5".parse().unwrap()));
        assert!(!Networks::default().contains("192.0.2.5".parse().unwrap()));
    }
}
