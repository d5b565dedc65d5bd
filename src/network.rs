//! Whom limits count as one client, and many networks at once. Imports nothing of ours.

use std::net::{IpAddr, Ipv4Addr};

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
