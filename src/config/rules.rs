//! What must hold between tables: times that bound each other, and what only one may have.

use std::collections::HashMap;
use std::time::Duration;

use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

use super::context::{At, Context};
use super::problem::{Contradiction, ProblemKind, Warning};
use super::units::Quantity as _;
use super::{Server, address, admin, server, source, upstream};

/// Checks what no table can check for itself.
pub(super) fn check(
    server: &server::Checked,
    admin: Option<&admin::Checked>,
    retention: &At<Duration>,
    sources: &[source::Checked],
    upstreams: &[upstream::Checked],
    cx: &mut Context<'_>,
) {
    if let Some(admin) = admin
        && address::collide(admin.admin.listen, server.server.listen)
    {
        let found = format!("\"{}\"", admin.admin.listen);
        cx.problem(&admin.listen, ProblemKind::Taken { found, by: server.listen.key.clone() });
    }
    let shakes_hands = server.has_tls || server.server.proxy_protocol;
    if let Some(spot) = &server.handshake
        && !shakes_hands
        && !admin.is_some_and(|admin| admin.has_tls)
    {
        cx.problem(spot, Warning::NoHandshake);
    }
    unique_paths(sources, cx);
    unique_keys(sources, cx);
    for source in sources {
        ages(source, retention, cx);
        reachable(source, &server.server, cx);
        client_certificates(source, server, cx);
    }
    for give_up in upstreams.iter().filter_map(|upstream| upstream.give_up.as_ref()) {
        if give_up.value > retention.value {
            let (found, bound) = (give_up.value.show(), retention.value.show());
            let whose = "which is store.retention".to_owned();
            cx.problem(&give_up.spot, ProblemKind::Longer { found, bound, whose });
        }
    }
}

fn unique_paths(sources: &[source::Checked], cx: &mut Context<'_>) {
    let mut taken: HashMap<&str, &str> = HashMap::new();
    for source in sources {
        let Some(path) = &source.path else {
            continue;
        };
        if let Some(first) = taken.insert(&path.value, &source.name) {
            let (found, by) = (format!("the path \"{}\"", path.value), format!("source.{first}"));
            cx.problem(&path.spot, ProblemKind::Taken { found, by });
        }
    }
}

/// Each provider its own keys: else one of them can speak for another.
fn unique_keys(sources: &[source::Checked], cx: &mut Context<'_>) {
    let mut known: HashMap<[u8; 32], &source::Checked> = HashMap::new();
    for checked in sources {
        let Some(source) = &checked.source else {
            continue;
        };
        for (key, spot) in source.keys.iter().zip(&checked.keys) {
            let first = known.entry(Sha256::digest(key.expose()).into()).or_insert(checked);
            if first.name != checked.name {
                cx.problem(spot, Warning::SharedKey(format!("a key of source.{}", first.name)));
            }
        }
    }
}

/// Behind a TLS terminator on the same machine, an allowlist of the provider's addresses lets nobody
/// in, unless the terminator is believed when it says who is calling.
fn reachable(source: &source::Checked, server: &Server, cx: &mut Context<'_>) {
    let allowed = source.source.as_ref().and_then(|source| source.allow_ips.as_deref());
    let believed = local(&server.trusted_proxies);
    if server.listen.ip().is_loopback() && !believed && allowed.is_some_and(|nets| !local(nets)) {
        cx.problem(&source.spot, Warning::AllowsNobody);
    }
}

/// Whether an address of this machine is among them.
fn local(nets: &[IpNet]) -> bool {
    let any = |text: &str| text.parse().is_ok_and(|net| nets.iter().any(|n| overlap(n, &net)));
    any("127.0.0.0/8") || any("::1/128")
}

/// A client certificate is shown to whoever ends TLS. That must be this listener.
fn client_certificates(source: &source::Checked, server: &server::Checked, cx: &mut Context<'_>) {
    let Some(spot) = &source.client_ca else {
        return;
    };
    let server::Checked { server, listen: _, has_tls, handshake: _ } = server;
    let only_proxies = server.listen.ip().is_loopback() && local(&server.trusted_proxies);
    if !has_tls {
        cx.problem(spot, Contradiction::ClientCaWithoutTls);
    } else if only_proxies && !server.proxy_protocol {
        cx.problem(spot, Contradiction::ClientCaBehindProxies);
    }
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// A key must outlive every repeat of its event, and a replay must be refused for its age before
/// its key is forgotten.
fn ages(source: &source::Checked, retention: &At<Duration>, cx: &mut Context<'_>) {
    if let Some(age) = &source.max_event_age {
        if retention.value <= age.value {
            let (found, bound) = (age.value.show(), retention.value.show());
            let whose = "which is store.retention".to_owned();
            cx.problem(&age.spot, ProblemKind::NotShorter { found, bound, whose });
        }
        if let Some(latest) = source.latest_repeat.filter(|latest| age.value <= *latest) {
            not_longer(age, latest, "over which the provider retries".to_owned(), cx);
        }
    }
    if let Some(latest) = source.latest_repeat.filter(|latest| retention.value <= *latest) {
        let whose = format!("over which the provider of source.{} retries", source.name);
        not_longer(retention, latest, whose, cx);
    }
}

fn not_longer(found: &At<Duration>, bound: Duration, whose: String, cx: &mut Context<'_>) {
    let (shown, bound) = (found.value.show(), bound.show());
    cx.problem(&found.spot, ProblemKind::NotLonger { found: shown, bound, whose });
}
