//! Whether the client is who the gateway takes for it: what stands behind a proxy that is not believed
//! looks like the proxy.

use std::net::IpAddr;

use ipnet::IpNet;

use super::case::Case;

/// What is known of who called, and what to check about it.
#[derive(Default)]
pub(super) struct Caller {
    pub(super) known: Option<String>,
    pub(super) check: Option<String>,
}

impl Caller {
    pub(super) fn of(case: &Case<'_>) -> Self {
        let record = case.record;
        let client = record.client.as_deref();
        let peer = record.peer.as_deref().and_then(|peer| peer.parse::<IpAddr>().ok());
        let trusted =
            |ip: IpAddr| case.setup.map(|setup| holds(&setup.config.server.trusted_proxies, ip));
        match (client, peer) {
            (Some("many"), _) => Self::default(),
            (Some("unknown"), Some(peer)) => Self::unknown(peer),
            (Some(client), Some(peer)) if client != peer.to_string() => Self {
                known: Some(format!(
                    "{client} is what the trusted proxy {peer} has in X-Forwarded-For, or in its PROXY header"
                )),
                check: None,
            },
            (Some(_), Some(peer)) => match trusted(peer) {
                Some(true) => Self::silent(peer),
                Some(false) | None if is_private(peer) => Self::unbelieved(peer),
                Some(false) | None => Self::default(),
            },
            _ => Self::default(),
        }
    }

    fn unknown(peer: IpAddr) -> Self {
        Self {
            known: Some(format!(
                "who called cannot be told: {peer} is a trusted proxy, and what it has in X-Forwarded-For is no address"
            )),
            check: Some(format!(
                "what {peer} writes into X-Forwarded-For: bare addresses, separated by commas; none of them may be what a client has sent"
            )),
        }
    }

    fn silent(peer: IpAddr) -> Self {
        Self {
            known: Some(format!(
                "{peer} is one of server.trusted_proxies and was taken for the client: it has named nobody, or only other trusted proxies"
            )),
            check: Some(format!(
                "whether {peer} sets X-Forwarded-For, and whether server.trusted_proxies holds more than the proxies"
            )),
        }
    }

    fn unbelieved(peer: IpAddr) -> Self {
        Self {
            known: Some(format!(
                "the client is the connection's other end, {peer}, a private address: most likely a proxy or load balancer that server.trusted_proxies does not hold, so that its X-Forwarded-For is not believed and all who come through it count as one client"
            )),
            check: Some(format!(
                "whether {peer} is your proxy; if so, and if it replaces X-Forwarded-For or appends to it, add it to server.trusted_proxies"
            )),
        }
    }
}

/// Whether one of the networks holds it.
pub(super) fn holds(nets: &[IpNet], ip: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&ip.to_canonical()))
}

/// Whether nobody on the Internet has this address: private use (RFC 1918, RFC 4193), shared by a
/// carrier (RFC 6598), link-local, or the machine itself.
pub(super) fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let shared = matches!(v4.octets(), [100, b, ..] if (64..128).contains(&b));
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_those_that_nobody_on_the_internet_has() {
        for (address, private) in [
            ("10.0.0.1", true),
            ("172.31.255.255", true),
            ("172.32.0.0", false),
            ("192.168.1.1", true),
            ("127.0.0.1", true),
            ("169.254.1.1", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("203.0.113.9", false),
            ("::ffff:10.0.0.1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), private, "{address}");
        }
    }
}
