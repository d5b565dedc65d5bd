//! Who is calling, through proxies that are trusted to tell.
//!
//! Only X-Forwarded-For is read, and only when the connection comes from a trusted proxy. Each
//! proxy appends whom it was called by, so what stands to the right of an untrusted address was
//! written by trusted proxies, and what stands to the left of it by anybody. Forwarded, X-Real-IP,
//! CF-Connecting-IP, True-Client-IP and the like are ignored whatever they say: a proxy that does
//! not set them passes on what the caller wrote.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::listen::Origin;

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whom to believe about who is calling.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Those that are trusted to tell.
    pub trusted: Vec<IpNet>,
    /// Whether each of their connections must begin with a PROXY header.
    pub proxy_protocol: bool,
}

/// A connection that began when others were believed, so that nobody can tell who is calling on it
/// now: its PROXY header is from a peer that is trusted no longer; it has none, and now there must
/// be one; or it speaks for somebody who is trusted only now, and until now has passed on what
/// anybody wrote into X-Forwarded-For.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection began when others were believed about who is calling")]
pub struct Outlived;

impl Proxies {
    fn outlived(&self, origin: &Origin) -> bool {
        let peer = origin.peer.ip().to_canonical();
        let is_new = !origin.forwards && self.trust(origin.address());
        let lacks_header = self.proxy_protocol && !origin.proxy_header;
        is_new || lacks_header || (origin.proxied.is_some() && !self.trust(peer))
    }

    fn trust(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&ip))
    }
}

/// The client's address, IPv4-mapped ones as IPv4.
///
/// Where the connection comes from, unless that is a trusted proxy. Then X-Forwarded-For is read
/// from right to left, over all its lines: the first address that is no trusted proxy's is the
/// client, and where all are trusted the left-most. `None`, on no allowlist, when an element on the
/// way is no address. Empty ones, `unknown`, `_hidden`, names, zones (`fe80::1%eth0`) and anything
/// in quotes are none: what a trusted proxy would not have written was not written by one.
///
/// A connection whose PROXY header names nobody is the proxy's own: nobody is forwarded on it.
///
/// Allocates nothing. Only as many elements are looked at as are trusted, and one more.
///
/// # Errors
/// When the connection has outlived what it began with: it cannot be told who is calling, and on a
/// new connection it can.
pub fn client_address(
    origin: &Origin,
    headers: &HeaderMap,
    proxies: &Proxies,
) -> Result<Option<IpAddr>, Outlived> {
    if proxies.outlived(origin) {
        return Err(Outlived);
    }
    Ok(named_address(origin, headers, proxies))
}

fn named_address(origin: &Origin, headers: &HeaderMap, proxies: &Proxies) -> Option<IpAddr> {
    let mut client = origin.address();
    if !proxies.trust(client) || (origin.proxy_header && origin.proxied.is_none()) {
        return Some(client);
    }
    for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        for element in line.as_bytes().rsplit(|byte| *byte == b',') {
            client = forwarded_address(element)?;
            if !proxies.trust(client) {
                return Some(client);
            }
        }
    }
    Some(client)
}

/// The address of one element of X-Forwarded-For: bare, with a port, or in brackets if it is IPv6;
/// with spaces or tabs around it.
fn forwarded_address(element: &[u8]) -> Option<IpAddr> {
    let element = str::from_utf8(element).ok()?.trim_matches([' ', '\t']);
    if let Some(rest) = element.strip_prefix('[') {
        let (ip, port) = rest.split_once(']')?;
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        let ip: Ipv6Addr = ip.parse().ok().filter(|_| is_port)?;
        return Some(ip.to_canonical());
    }
    match element.split_once(':') {
        Some((ip, port)) if is_port(port) => ip.parse::<Ipv4Addr>().ok().map(Into::into),
        _ => element.parse::<IpAddr>().ok().map(|ip| ip.to_canonical()),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::HeaderValue;

    use super::*;

    const TRUSTED: &[&str] = &["10.0.0.0/8", "192.0.2.7/32", "2001:db8:1::/48"];

    /// A connection from this peer that began when [`TRUSTED`] were.
    fn origin(peer: &str) -> Origin {
        let peer = SocketAddr::new(peer.parse().unwrap(), 40_000);
        let forwards = proxies(TRUSTED).trust(peer.ip().to_canonical());
        Origin { forwards, ..Origin::plain(peer) }
    }

    fn proxies(trusted: &[&str]) -> Proxies {
        let trusted = trusted.iter().map(|net| net.parse().unwrap()).collect();
        Proxies { trusted, proxy_protocol: false }
    }

    fn client_of(origin: &Origin, lines: &[&[u8]], trusted: &[&str]) -> String {
        client_by(origin, lines, &proxies(trusted))
    }

    fn client_by(origin: &Origin, lines: &[&[u8]], proxies: &Proxies) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(line).unwrap());
        }
        match client_address(origin, &headers, proxies) {
            Ok(client) => client.map_or("unknown".to_owned(), |ip| ip.to_string()),
            Err(Outlived) => "outlived".to_owned(),
        }
    }

    fn client(peer: &str, lines: &[&str]) -> String {
        let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
        client_of(&origin(peer), &lines, TRUSTED)
    }

    #[test]
    fn the_first_untrusted_address_from_the_right_is_the_client() {
        for (lines, expected) in [
            ([].as_slice(), "10.0.0.1"),
            (&["203.0.113.9"], "203.0.113.9"),
            (&["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
            (&["198.51.100.1,203.0.113.9, 10.1.1.1"], "203.0.113.9"),
            (&["198.51.100.1, 203.0.113.9", "10.1.1.1,192.0.2.7"], "203.0.113.9"),
            (&["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
            (&["198.51.100.1", "203.0.113.9", "10.1.1.1"], "203.0.113.9"),
            (&["192.0.2.8, 192.0.2.7"], "192.0.2.8"),
            (&["2001:db8:2::1, 2001:db8:1::1"], "2001:db8:2::1"),
            // All of them trusted: the left-most.
            (&["10.9.9.9, 10.1.1.1", "192.0.2.7"], "10.9.9.9"),
            // What a client makes up stands to the left of its own address.
            (&["garbage, 203.0.113.9"], "203.0.113.9"),
            (&["garbage", "203.0.113.9", "10.1.1.1"], "203.0.113.9"),
        ] {
            assert_eq!(client("10.0.0.1", lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn who_is_not_trusted_speaks_for_himself() {
        for peer in ["203.0.113.1", "192.0.2.8", "11.0.0.1", "2001:db8:2::1", "127.0.0.1"] {
            assert_eq!(client(peer, &["198.51.100.1"]), peer);
            assert_eq!(client(peer, &["garbage"]), peer);
        }
        assert_eq!(client_of(&origin("10.0.0.1"), &[b"198.51.100.1"], &[]), "10.0.0.1");
    }

    #[test]
    fn mapped_addresses_are_ipv4_wherever_they_stand() {
        assert_eq!(client("::ffff:10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("::ffff:203.0.113.1", &["198.51.100.1"]), "203.0.113.1");
        assert_eq!(client("10.0.0.1", &["::ffff:203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["203.0.113.9, ::ffff:10.1.1.1"]), "203.0.113.9");
        // What is trusted is IPv4; the deprecated compatible form is another address.
        assert_eq!(client("10.0.0.1", &["203.0.113.9, ::10.1.1.1"]), "::a01:101");
    }

    #[test]
    fn ports_and_brackets_are_cut_off() {
        for (element, expected) in [
            ("203.0.113.9:567", "203.0.113.9"),
            ("203.0.113.9:0", "203.0.113.9"),
            ("[2001:db8::9]:65535", "2001:db8::9"),
            ("[2001:db8::9]", "2001:db8::9"),
            ("[::ffff:203.0.113.9]:80", "203.0.113.9"),
            ("2001:DB8:0:0::9", "2001:db8::9"),
            // No port: an address may end so.
            ("2001:db8::1:567", "2001:db8::1:567"),
            (" \t203.0.113.9\t ", "203.0.113.9"),
            ("10.1.1.1:80", "10.1.1.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[element]), expected, "{element:?}");
        }
    }

    #[test]
    fn an_element_that_is_no_address_ends_the_walk() {
        for element in [
            "",
            " ",
            "unknown",
            "_hidden",
            "example.org",
            "203.0.113",
            "203.0.113.9.1",
            "203.0.113.256",
            "203.0.113.09",
            "203.0.113.9/32",
            "203.0.113.9:",
            "203.0.113.9:65536",
            "203.0.113.9:+80",
            "203.0.113.9:80:80",
            "203.0.113.9 :80",
            "203.0.113.9 198.51.100.1",
            "203.0.113.9;198.51.100.1",
            "0xcb007109",
            "3405803785",
            "\"203.0.113.9\"",
            "\"[2001:db8::9]:80\"",
            "[203.0.113.9]",
            "[203.0.113.9]:80",
            "[2001:db8::9",
            "2001:db8::9]",
            "[2001:db8::9]80",
            "[2001:db8::9]:",
            "[2001:db8::9]:http",
            "[[2001:db8::9]]",
            "[]",
            "fe80::1%eth0",
            "[fe80::1%1]:80",
            "2001:db8:::9",
            "for=203.0.113.9",
        ] {
            for lines in [
                [element].as_slice(),
                &[&format!("203.0.113.1, {element}")],
                &[&format!("203.0.113.1, {element}, 10.1.1.1")],
                &["203.0.113.1", element],
                &["203.0.113.1", element, "10.1.1.1"],
            ] {
                assert_eq!(client("10.0.0.1", lines), "unknown", "{lines:?}");
            }
        }
        let bytes = b"203.0.113.9\xff".as_slice();
        assert_eq!(client_of(&origin("10.0.0.1"), &[bytes], TRUSTED), "unknown");
    }

    #[test]
    fn a_proxy_header_comes_before_what_is_forwarded() {
        let proxied = |ip: &str| Origin {
            proxy_header: true,
            proxied: Some(SocketAddr::new(ip.parse().unwrap(), 1)),
            ..origin("10.0.0.1")
        };
        let lines = [b"198.51.100.1".as_slice()];
        assert_eq!(client_of(&proxied("203.0.113.9"), &lines, TRUSTED), "203.0.113.9");
        assert_eq!(client_of(&proxied("::ffff:203.0.113.9"), &lines, TRUSTED), "203.0.113.9");
        // The first proxy names a second that is trusted as well.
        assert_eq!(client_of(&proxied("10.0.0.2"), &lines, TRUSTED), "198.51.100.1");
        // It names nobody: an unknown caller behind it could have written anything.
        let own = Origin { proxy_header: true, ..origin("10.0.0.1") };
        assert_eq!(client_of(&own, &lines, TRUSTED), "10.0.0.1");
    }

    /// A stranger kept a connection through a TCP proxy open until a reload trusted that proxy:
    /// then what the stranger itself had written into X-Forwarded-For was believed.
    #[test]
    fn who_calls_on_a_connection_that_has_outlived_what_it_began_with_is_unknown() {
        let (lines, now) = ([b"203.0.113.9".as_slice()], proxies(TRUSTED));
        let by = |origin: &Origin, proxies: &Proxies| client_by(origin, &lines, proxies);
        let before = Origin { forwards: false, ..origin("10.0.0.1") };
        assert_eq!(by(&before, &now), "outlived");
        assert_eq!(by(&before, &proxies(&[])), "10.0.0.1");
        // Named by a proxy, and trusted itself only now.
        let inside = Some(SocketAddr::new([10, 0, 0, 2].into(), 1));
        let before = Origin { proxy_header: true, proxied: inside, ..before };
        assert_eq!(by(&before, &now), "outlived");
        // Named by a proxy that is trusted no longer.
        let named = Origin { forwards: true, ..before };
        assert_eq!(by(&named, &now), "203.0.113.9");
        assert_eq!(by(&named, &proxies(&["10.0.0.2/32"])), "outlived");
        // Trusted before and after, but without the header that there must be now.
        let strict = Proxies { proxy_protocol: true, ..now };
        assert_eq!(by(&named, &strict), "203.0.113.9");
        assert_eq!(by(&origin("10.0.0.1"), &strict), "outlived");
        assert_eq!(by(&origin("203.0.113.1"), &strict), "outlived");
    }

    #[test]
    fn other_headers_are_ignored() {
        let mut headers = HeaderMap::new();
        for name in ["forwarded", "x-real-ip", "cf-connecting-ip", "true-client-ip", "x-client-ip"]
        {
            headers.insert(name, HeaderValue::from_static("203.0.113.9"));
        }
        let client = client_address(&origin("10.0.0.1"), &headers, &proxies(TRUSTED));
        assert_eq!(client, Ok(Some([10, 0, 0, 1].into())));
    }
}
