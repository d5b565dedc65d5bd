//! `[upstream.NAME]`: where events go, and how hard it is tried.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, Uri};

use super::certificates;
use super::context::{At, Context, Spot};
use super::defaults as d;
use super::problem::{Contradiction, ProblemKind, SecretProblem};
use super::secrets::{self, Reference, Use};
use super::selector::header_of;
use super::server::as_usize;
use super::tree::{Node, Table, shorten};
use super::units::Quantity as _;
use super::{Authorities, Ordering, Retry, Upstream};
use crate::event::UpstreamName;
use crate::secret::Secret;

pub(super) const KEYS: &[&str] = &[
    "url",
    "format",
    "headers",
    "signing_key",
    "ca",
    "timeout",
    "concurrency",
    "ordering",
    "retry",
];
pub(super) const RETRY_KEYS: &[&str] = &["first", "max", "give_up"];

const URL: &str = "an http or https URL with a host, without user or fragment, such as \"http://127.0.0.1:3000/webhooks\"";
const HEADERS: &str = "a table such as { Authorization = { env = \"APP_TOKEN\" } }";

/// Headers that belong to HTTP or to Hookward itself.
const RESERVED: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "hookward-attempt",
    "hookward-event-id",
    "hookward-source",
    "keep-alive",
    "proxy-connection",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

type Headers = BTreeMap<String, (HeaderName, Secret)>;

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

/// Reads one upstream.
pub(super) fn read(name: &str, node: &Node<'_>, cx: &mut Context<'_>) -> Option<Checked> {
    let table = node.table(KEYS, cx)?;
    let valid_name = UpstreamName::new(name).ok();
    if valid_name.is_none() {
        node.refuse(
            name,
            "1 to 64 of a-z, 0-9, `-` and `_`, not starting with `-` or `_`",
            None,
            cx,
        );
    }
    if let Some(node) = table.get("format") {
        check_format(&node, cx);
    }
    let url = read_url(&table, cx);
    let headers = match table.get("headers") {
        Some(node) => read_headers(&node, cx),
        None => Some(Headers::new()),
    };
    let signing_key = table.get("signing_key").and_then(|node| {
        let reference = Reference::read(&node, cx)?;
        secrets::resolve(&reference, Use::Encoded, cx).map(|key| key.used)
    });
    let ca = table.get("ca").and_then(|node| read_ca(&node, url.as_ref(), cx));
    let orderings = [("subject", Ordering::Subject), ("none", Ordering::None)];
    let ordering = table.get("ordering").and_then(|node| node.choice(&orderings, cx));
    let timeout = table.duration("timeout", &d::TIMEOUT, cx).value;
    let concurrency = as_usize(table.count("concurrency", &d::CONCURRENCY, cx).value.0);
    let (retry, give_up) = read_retry(&table, cx);
    let build = || {
        Some(Upstream {
            name: valid_name?,
            url: url?,
            headers: headers?,
            signing_key,
            ca,
            timeout,
            concurrency,
            ordering: ordering.unwrap_or(d::ORDERING),
            retry: retry?,
        })
    };
    Some(Checked { upstream: build(), spot: table.spot().clone(), name: name.to_owned(), give_up })
}

fn check_format(node: &Node<'_>, cx: &mut Context<'_>) {
    let formats = [("cloudevents", true), ("cloudevents-binary", false), ("passthrough", false)];
    if node.choice(&formats, cx) == Some(false) {
        cx.problem(node.spot(), ProblemKind::NotAvailable(Some("\"cloudevents\"")));
    }
}

fn read_url(table: &Table<'_>, cx: &mut Context<'_>) -> Option<Uri> {
    let Some(node) = table.get("url") else {
        cx.missing(table.spot(), "url", URL);
        return None;
    };
    let text = node.text(URL, cx)?;
    let url = parse_url(text);
    if url.is_none() {
        // Users come with passwords, and queries with tokens.
        let shown = text.split('?').next().unwrap_or_default();
        let found = if text.contains('@') {
            "a URL with an `@` in it".to_owned()
        } else {
            format!("\"{}\"", shorten(shown))
        };
        let accepted = URL.into();
        cx.problem(node.spot(), ProblemKind::NotAccepted { found, accepted, nearest: None });
    }
    url
}

/// The URL, if it can be called: `http::Uri` itself takes no offence at fragments, users and
/// ports that are none.
fn parse_url(text: &str) -> Option<Uri> {
    let url: Uri =
        text.parse().ok().filter(|_| text.len() <= d::MAX_TEXT && !text.contains('#'))?;
    let authority = url.authority()?;
    let plain_scheme = matches!(url.scheme_str(), Some("http" | "https"));
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host)?;
    let port_is_one = port.is_empty() || authority.port_u16().is_some_and(|port| port != 0);
    (plain_scheme && !host.is_empty() && host != "[]" && port_is_one).then_some(url)
}

fn read_headers(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Headers> {
    if !node.is_table() && !node.is_list() {
        cx.problem(node.spot(), SecretProblem::Plaintext);
        return None;
    }
    let entries = node.open_table(HEADERS, cx)?.entries();
    if entries.len() > d::MAX_STATIC_HEADERS {
        let (found, accepted) =
            (entries.len().to_string(), format!("at most {}", d::MAX_STATIC_HEADERS));
        let accepted = accepted.into();
        cx.problem(node.spot(), ProblemKind::NotAccepted { found, accepted, nearest: None });
        return None;
    }
    let mut headers = Some(Headers::new());
    for (name, node) in entries {
        let header = read_header(name, &node, headers.as_ref(), cx);
        headers = headers.zip(header).map(|(mut all, (name, value))| {
            all.insert(name.as_str().to_owned(), (name, value));
            all
        });
    }
    headers
}

fn read_header(
    name: &str,
    node: &Node<'_>,
    others: Option<&Headers>,
    cx: &mut Context<'_>,
) -> Option<(HeaderName, Secret)> {
    let reference = Reference::read(node, cx);
    let header = header_of(node, name, cx)?;
    if RESERVED.contains(&header.as_str()) {
        let accepted = "any header but those of HTTP's framing and of Hookward itself";
        node.refuse(name, accepted, None, cx);
        return None;
    }
    if others.is_some_and(|others| others.contains_key(header.as_str())) {
        let (found, by) = (format!("\"{header}\""), "the same table".to_owned());
        cx.problem(node.spot(), ProblemKind::Taken { found, by });
        return None;
    }
    secrets::resolve(&reference?, Use::Header, cx).map(|value| (header, value.used))
}

fn read_ca(node: &Node<'_>, url: Option<&Uri>, cx: &mut Context<'_>) -> Option<Authorities> {
    if url.is_some_and(|url| url.scheme_str() != Some("https")) {
        cx.problem(node.spot(), Contradiction::CaWithoutTls);
    }
    certificates::authorities(node, cx)
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
