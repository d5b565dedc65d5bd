//! Addresses: the listeners' sockets and the allowlists' networks.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use super::context::Context;
use super::defaults::MAX_ADDRESSES;
use super::tree::Node;

const SOCKET: &str = "an IP address and a port, such as \"127.0.0.1:8443\" or \"[::1]:8443\"";
const NETWORK: &str =
    "a network in canonical CIDR form, such as \"203.0.113.0/24\" or \"2001:db8::/32\"";
const PROXIES: &str = "a list of networks such as [\"10.0.0.0/8\"]";
const NETWORKS: &str = "a list of networks such as [\"203.0.113.0/24\", \"2001:db8::/32\"]";

/// A socket to listen on. Names are not resolved.
pub(super) fn socket(node: &Node<'_>, cx: &mut Context<'_>) -> Option<SocketAddr> {
    let text = node.text(SOCKET, cx)?;
    match text.parse() {
        Ok(socket) => Some(socket),
        Err(_) => {
            node.refuse(text, SOCKET, guess_socket(text), cx);
            None
        }
    }
}

fn guess_socket(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let host: IpAddr = match host {
        "" | "*" => [0, 0, 0, 0].into(),
        "localhost" => [127, 0, 0, 1].into(),
        other => other.parse().ok()?,
    };
    Some(format!("\"{}\"", SocketAddr::new(host, port)))
}

/// An allowlist: at least one network, each in canonical form.
pub(super) fn allowlist(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Vec<IpNet>> {
    let list = node.full_list(NETWORKS, MAX_ADDRESSES, cx)?;
    networks(&list, cx)
}

/// Proxies: none, or networks in canonical form.
pub(super) fn proxies(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Vec<IpNet>> {
    let list = node.list_up_to(PROXIES, MAX_ADDRESSES, cx)?;
    networks(&list, cx)
}

fn networks(list: &[Node<'_>], cx: &mut Context<'_>) -> Option<Vec<IpNet>> {
    let nets: Vec<_> = list.iter().map(|node| network(node, cx)).collect();
    nets.into_iter().collect()
}

fn network(node: &Node<'_>, cx: &mut Context<'_>) -> Option<IpNet> {
    let text = node.text(NETWORK, cx)?;
    let parsed = text.parse::<IpNet>().ok();
    let canonical = match parsed {
        Some(net) => Some(canonical(net)),
        None => text.trim().parse::<IpAddr>().ok().map(|ip| IpNet::from(ip.to_canonical())),
    };
    if parsed.is_some() && parsed == canonical {
        return parsed;
    }
    node.refuse(text, NETWORK, canonical.map(|net| format!("\"{net}\"")), cx);
    None
}

/// The network without host bits; one of IPv4-mapped addresses as the IPv4 network it stands for,
/// since clients' addresses are judged as IPv4.
fn canonical(net: IpNet) -> IpNet {
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => v6
            .addr()
            .to_ipv4_mapped()
            .and_then(|ip| Ipv4Net::new(ip, v6.prefix_len() - 96).ok())
            .map_or(net, IpNet::V4)
            .trunc(),
        _ => net.trunc(),
    }
}

/// Whether both could not be listened on at once.
pub(super) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_host = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && same_host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_one_canonical_form() {
        for (from, to) in [
            ("203.0.113.7/24", "203.0.113.0/24"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
            ("::ffff:203.0.113.9/120", "203.0.113.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            let net = canonical(from.parse().unwrap());
            assert_eq!(net.to_string(), to);
            assert_eq!(canonical(net), net);
        }
    }

    #[test]
    fn listeners_collide_on_one_port() {
        for (a, b, expected) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "[::]:1", true),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            assert_eq!(collide(a.parse().unwrap(), b.parse().unwrap()), expected, "{a} {b}");
        }
    }
}
