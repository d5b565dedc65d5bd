//! `[upstream.NAME]`: where events go, and how hard it is tried.

use std::net::IpAddr;
use std::time::Duration;

use http::Uri;

use super::context::{At, Context, Spot};
use super::defaults as d;
use super::problem::{Contradiction, ProblemKind};
use super::secrets::{self, Reference, Use};
use super::server::as_usize;
use super::tree::{Node, Table, shorten};
use super::units::Quantity as _;
use super::{Authorities, Format, Ordering, Retry, Upstream, certificates, rate, source, tls};
use crate::event::UpstreamName;
use crate::network;
use crate::pem::Identity;
use crate::secret::Secret;

mod headers;
mod passthrough;

use headers::Headers;

pub(super) const KEYS: &[&str] = &[
    "url",
    "format",
    "headers",
    "signing_key",
    "original_signature",
    "resign",
    "ca",
    "client_cert",
    "allow_link_local",
    "timeout",
    "concurrency",
    "rate_limit",
    "ordering",
    "retry",
];
pub(super) const RETRY_KEYS: &[&str] = &["first", "max", "give_up"];
pub(super) const CLIENT_CERT_KEYS: &[&str] = &["cert", "key"];

const SIGNING_KEYS: &str =
    "a list of secrets such as [{ file = \"new.key\" }, { file = \"old.key\" }]";
const URL: &str = "an http or https URL with a host, without user or fragment, such as \"http://127.0.0.1:3000/webhooks\"";

/// An upstream as far as it could be read.
pub(super) struct Checked {
    /// The whole of it, when nothing in it is wrong.
    pub(super) upstream: Option<Upstream>,
    /// Where it begins.
    pub(super) spot: Spot,
    /// Its name.
    pub(super) name: String,
    /// When it is no longer tried.
    pub(super) give_up: Option<At<Duration>>,
}

/// Reads one upstream, which may get events of these sources.
pub(super) fn read(
    name: &str,
    node: &Node<'_>,
    sources: &[source::Checked],
    cx: &mut Context<'_>,
) -> Option<Checked> {
    let table = node.table(KEYS, cx)?;
    let valid_name = UpstreamName::new(name).ok();
    if valid_name.is_none() {
        node.refuse(name, d::NAME, None, cx);
    }
    let formats = [
        ("cloudevents", Format::CloudEvents),
        ("cloudevents-binary", Format::CloudEventsBinary),
        ("passthrough", Format::Passthrough),
    ];
    let format = table.get("format").map(|node| node.choice(&formats, cx));
    let format = format.unwrap_or(Some(d::FORMAT));
    let allow_link_local = table.get("allow_link_local").and_then(|node| node.flag(cx));
    let allow_link_local = allow_link_local.unwrap_or(false);
    let url = read_url(&table, allow_link_local, cx);
    let headers = match table.get("headers") {
        Some(node) => headers::read(&node, cx),
        None => Some(Headers::new()),
    };
    let passthrough = passthrough::read(&table, format, sources, headers.as_ref(), cx);
    let signing_keys = match table.get("signing_key") {
        Some(node) => read_signing_keys(&node, cx),
        None => Some(Vec::new()),
    };
    let ca = table.get("ca").and_then(|node| read_ca(&node, url.as_ref(), cx));
    let client_cert =
        table.get("client_cert").map(|node| read_client_cert(&node, url.as_ref(), cx));
    let orderings = [("subject", Ordering::Subject), ("none", Ordering::None)];
    let ordering = table.get("ordering").and_then(|node| node.choice(&orderings, cx));
    let timeout = table.duration("timeout", &d::TIMEOUT, cx).value;
    let concurrency = as_usize(table.count("concurrency", &d::CONCURRENCY, cx).value.0);
    let rate_limit = table.get("rate_limit").and_then(|node| rate::read(&node, cx));
    let (retry, give_up) = read_retry(&table, cx);
    let build = || {
        let passthrough = passthrough?;
        Some(Upstream {
            name: valid_name?,
            url: url?,
            format: format?,
            headers: headers?,
            signing_keys: signing_keys?,
            original_signature: passthrough.original_signature,
            resign: passthrough.resign,
            ca,
            client_cert: client_cert.map_or(Some(None), |identity| identity.map(Some))?,
            allow_link_local,
            rate_limit: rate_limit.or(d::UPSTREAM_RATE_LIMIT.default),
            timeout,
            concurrency,
            ordering: ordering.unwrap_or(d::ORDERING),
            retry: retry?,
        })
    };
    Some(Checked { upstream: build(), spot: table.spot().clone(), name: name.to_owned(), give_up })
}

/// One key, or a list of them, newest first.
fn read_signing_keys(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Vec<Secret>> {
    let mut read = |node: &Node<'_>| {
        let reference = Reference::read(node, cx)?;
        secrets::resolve(&reference, Use::Encoded, cx).map(|key| key.used)
    };
    if !node.is_list() {
        return read(node).map(|key| vec![key]);
    }
    let nodes = node.elements();
    let keys: Vec<_> = nodes.iter().map(&mut read).collect();
    node.full_list(SIGNING_KEYS, d::MAX_SIGNING_KEYS, cx)?;
    let keys: Vec<Secret> = keys.into_iter().collect::<Option<_>>()?;
    for (at, (key, node)) in keys.iter().zip(&nodes).enumerate() {
        if keys.iter().take(at).any(|earlier| earlier == key) {
            let (found, by) = ("a key".to_owned(), "the same list".to_owned());
            cx.problem(node.spot(), ProblemKind::Taken { found, by });
        }
    }
    Some(keys)
}

fn read_url(table: &Table<'_>, allow_link_local: bool, cx: &mut Context<'_>) -> Option<Uri> {
    let Some(node) = table.get("url") else {
        cx.missing(table.spot(), "url", URL);
        return None;
    };
    let text = node.text(URL, cx)?;
    let url = parse_url(text);
    if url.is_none() {
        // Users come with passwords, and queries with tokens.
        let shown = text.split(['?', '#']).next().unwrap_or_default();
        let found = if text.contains('@') {
            "a URL with an `@` in it".to_owned()
        } else {
            format!("\"{}\"", shorten(shown))
        };
        let accepted = URL.into();
        cx.problem(node.spot(), ProblemKind::NotAccepted { found, accepted, nearest: None });
    }
    // A name is judged by its addresses whenever it is connected to.
    let refused = |url: &Uri| literal(url).is_some_and(network::is_link_local);
    if !allow_link_local && url.as_ref().is_some_and(refused) {
        cx.problem(node.spot(), Contradiction::LinkLocal);
    }
    url
}

/// The URL's host, if it is an address.
pub(super) fn literal(url: &Uri) -> Option<IpAddr> {
    url.host()?.trim_matches(['[', ']']).parse().ok()
}

/// The URL, if it can be called: `http::Uri` itself takes no offence at fragments, users and
/// ports that are none.
pub(super) fn parse_url(text: &str) -> Option<Uri> {
    let url: Uri =
        text.parse().ok().filter(|_| text.len() <= d::MAX_TEXT && !text.contains('#'))?;
    let authority = url.authority()?;
    let plain_scheme = matches!(url.scheme_str(), Some("http" | "https"));
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host)?;
    let port_is_one = port.is_empty() || authority.port_u16().is_some_and(|port| port != 0);
    (plain_scheme && !host.is_empty() && host != "[]" && port_is_one).then_some(url)
}

fn read_ca(node: &Node<'_>, url: Option<&Uri>, cx: &mut Context<'_>) -> Option<Authorities> {
    if url.is_some_and(|url| url.scheme_str() != Some("https")) {
        cx.problem(node.spot(), Contradiction::CaWithoutTls);
    }
    certificates::authorities(node, cx)
}

fn read_client_cert(node: &Node<'_>, url: Option<&Uri>, cx: &mut Context<'_>) -> Option<Identity> {
    if url.is_some_and(|url| url.scheme_str() != Some("https")) {
        cx.problem(node.spot(), Contradiction::CaWithoutTls);
    }
    let table = node.table(CLIENT_CERT_KEYS, cx)?;
    tls::read_pair(&table, cx).map(|(_, _, identity)| identity)
}

fn read_retry(table: &Table<'_>, cx: &mut Context<'_>) -> (Option<Retry>, Option<At<Duration>>) {
    let absent = Retry {
        first: d::RETRY_FIRST.default,
        max: d::RETRY_MAX.default,
        give_up: d::GIVE_UP.default,
    };
    let Some(node) = table.get("retry") else {
        let spot = table.spot().child("retry.give_up");
        return (Some(absent), Some(At { value: absent.give_up, spot }));
    };
    let Some(retry) = node.table(RETRY_KEYS, cx) else {
        return (None, None);
    };
    let first = retry.duration("first", &d::RETRY_FIRST, cx);
    let max = retry.duration("max", &d::RETRY_MAX, cx);
    let give_up = retry.duration("give_up", &d::GIVE_UP, cx);
    if first.value > max.value {
        let (found, bound) = (first.value.show(), max.value.show());
        let whose = format!("which is {}", max.spot.key);
        cx.problem(&first.spot, ProblemKind::Longer { found, bound, whose });
    }
    let read = Retry { first: first.value, max: max.value, give_up: give_up.value };
    (Some(read), Some(give_up))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_that_can_be_called_are_taken() {
        for good in [
            "http://127.0.0.1:3000/webhooks",
            "https://app.example",
            "https://app.example/a?b=c",
            "http://[::1]:3000/",
        ] {
            assert!(parse_url(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "/webhooks",
            "app.example",
            "ftp://app.example/",
            "http://user:password@app.example/",
            "http://user@app.example/",
            "http://app.example/#part",
            "http://app.example:99999/",
            "http://app.example:/",
            "http://app.example:0/",
            "http://:3000/",
            "http:///webhooks",
            "http://app example/",
        ] {
            assert!(parse_url(bad).is_none(), "{bad}");
        }
    }
}
