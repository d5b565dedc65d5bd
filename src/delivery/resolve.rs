//! The addresses of an upstream's host: the system resolver's, but for those that nobody should be made
//! to call. They are judged on each connect, after the look-up and in the same step, so that a name which
//! leads elsewhere the second time gains nothing.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower_service::Service;

use crate::network::is_link_local;

/// An address that is not called unless the configuration says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is link-local or a metadata service, and allow_link_local is not set")]
pub(super) struct LinkLocal(IpAddr);

impl From<LinkLocal> for std::io::Error {
    fn from(refused: LinkLocal) -> Self {
        Self::new(std::io::ErrorKind::PermissionDenied, refused)
    }
}

/// Refuses a URL whose host is such an address.
pub(super) fn check_literal(url: &Uri, allow_link_local: bool) -> Result<(), LinkLocal> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    match host.parse() {
        Ok(address) if !allow_link_local && is_link_local(address) => Err(LinkLocal(address)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Those of a host's addresses that may be called.
fn allowed(
    found: impl Iterator<Item = SocketAddr>,
    allow_link_local: bool,
) -> Result<std::vec::IntoIter<SocketAddr>, LinkLocal> {
    let (refused, allowed): (Vec<_>, Vec<_>) =
        found.partition(|address| !allow_link_local && is_link_local(address.ip()));
    match refused.first() {
        Some(refused) if allowed.is_empty() => Err(LinkLocal(refused.ip())),
        Some(_) | None => Ok(allowed.into_iter()),
    }
}

/// The system's resolver, judged.
#[derive(Clone, Debug)]
pub(crate) struct Guarded {
    system: GaiResolver,
    allow_link_local: bool,
}

impl Guarded {
    /// The system's resolver; with `allow_link_local`, whatever it says.
    pub(super) fn new(allow_link_local: bool) -> Self {
        Self { system: GaiResolver::new(), allow_link_local }
    }
}

impl Service<Name> for Guarded {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.system.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (looked_up, allow_link_local) = (self.system.call(name), self.allow_link_local);
        Box::pin(async move { Ok(allowed(looked_up.await?, allow_link_local)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect()
    }

    #[test]
    fn of_a_names_addresses_only_those_are_called_that_may_be() {
        let refused = "169.254.169.254";
        for (found, called) in [
            (&["127.0.0.1"][..], Ok(&["127.0.0.1"][..])),
            (&["10.0.0.1", refused], Ok(&["10.0.0.1"])),
            (&[refused, "fe80::1", "::1"], Ok(&["::1"])),
            (&[refused, "fe80::1"], Err(refused)),
            (&[], Ok(&[])),
        ] {
            let got = allowed(of(found).into_iter(), false).map(Iterator::collect::<Vec<_>>);
            let expected = called.map(of).map_err(|refused| LinkLocal(refused.parse().unwrap()));
            assert_eq!(got, expected, "{found:?}");
            let all: Vec<_> = allowed(of(found).into_iter(), true).unwrap().collect();
            assert_eq!(all, of(found));
        }
    }

    #[test]
    fn an_address_in_the_url_is_judged_as_well() {
        for (url, refused) in [
            ("http://169.254.169.254/latest", true),
            ("http://[fe80::1]:80/", true),
            ("http://[::ffff:169.254.169.254]/", true),
            ("http://127.0.0.1/", false),
            ("http://[::1]/", false),
            ("http://app.example/", false),
        ] {
            let url: Uri = url.parse().unwrap();
            assert_eq!(check_literal(&url, false).is_err(), refused, "{url}");
            assert_eq!(check_literal(&url, true), Ok(()), "{url}");
        }
    }

    /// The system's own resolver takes numbers for addresses that no parser of ours does.
    #[tokio::test]
    async fn an_address_in_disguise_is_refused_after_the_look_up() {
        for name in ["2852039166", "0xa9fea9fe", "169.254.43518"] {
            let refused = Guarded::new(false).call(name.parse().unwrap()).await.unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied, "{name}: {refused}");
            let mut found = Guarded::new(true).call(name.parse().unwrap()).await.unwrap();
            assert_eq!(found.next().unwrap().ip().to_string(), "169.254.169.254", "{name}");
        }
    }
}
