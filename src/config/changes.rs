//! What distinguishes two configurations, by the keys that an operator knows. For a reload: what
//! it would change, and what cannot change while the gateway runs. Values are never told: any of
//! them could be a secret, or say something about one.

use std::sync::Arc;

use super::{
    Acme, Admin, AdminTls, Audit, AuditOutput, AuditTarget, Auth, Config, EventPaths, Log, Retry,
    Route, Server, Source, Store, Syslog, Tls, Token, Upstream,
};
use crate::event::SourceName;
use crate::provider::Retries;

/// The keys of the fields in which two values differ. Each field is named, as a key or as left
/// out: one that is added later and forgotten here does not compile.
macro_rules! differing {
    ($old:expr, $new:expr, $type:ident { $($field:ident $(as $key:literal)?),* $(,)? }
        $(but { $($skipped:ident),* })?) => {{
        let (old, new): (&$type, &$type) = ($old, $new);
        let $type { $($field: _,)* $($($skipped: _,)*)? } = old;
        let mut keys: Vec<&'static str> = Vec::new();
        $(if old.$field != new.$field {
            keys.push(differing!(@key $field $($key)?));
        })*
        keys
    }};
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
}

/// The keys that differ and cannot change while the gateway runs: it would need another socket,
/// another store, or rights that it has given up. None: `new` can take over.
pub fn fixed(old: &Config, new: &Config) -> Vec<&'static str> {
    let admin = |config: &Config| config.admin.as_ref().map(|admin| admin.listen);
    let (before, after) = (admin(old), admin(new));
    let kept = (old.server.acme_cache(), new.server.acme_cache());
    [
        ("server.listen", old.server.listen != new.server.listen),
        ("server.tls", tls_kind(&old.server) != tls_kind(&new.server)),
        (
            "server.tls.acme.cache",
            kept.0.zip(kept.1).is_some_and(|(before, after)| before != after),
        ),
        ("server.sandbox", old.server.sandbox != new.server.sandbox),
        ("admin", before.is_some() != after.is_some()),
        ("admin.tls", admin_tls(old).zip(admin_tls(new)).is_some_and(|(old, new)| old != new)),
        ("admin.listen", before.zip(after).is_some_and(|(before, after)| before != after)),
        ("store.path", old.store.path != new.store.path),
        // What is known of events in memory is digested with a key, or without.
        (
            "store.encryption_key",
            old.store.encryption_keys.is_empty() && !new.store.encryption_keys.is_empty(),
        ),
        ("log.format", old.log.format != new.log.format),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

/// Whether the admin listener has TLS, if there is one.
fn admin_tls(config: &Config) -> Option<bool> {
    config.admin.as_ref().map(|admin| admin.tls.is_some())
}

/// What of TLS is decided at start.
#[derive(PartialEq)]
enum TlsKind {
    Plain,
    Files,
    Acme,
}

fn tls_kind(server: &Server) -> TlsKind {
    match server.tls {
        None => TlsKind::Plain,
        Some(Tls::Files { .. }) => TlsKind::Files,
        Some(Tls::Acme(_)) => TlsKind::Acme,
    }
}

/// The dotted keys that differ, in the order of the example; `source.NAME (added)` and
/// `source.NAME (removed)` for whole tables, upstreams alike. A secret or a certificate that was
/// replaced within its file counts as a change of the key that names the file. What means the same
/// does not count: a default that is written out, or tables in another order.
pub fn changes(old: &Config, new: &Config) -> Vec<String> {
    // The files are where settings come from, not settings.
    let Config {
        file: _,
        files: _,
        server,
        admin,
        store,
        audit,
        log,
        sources,
        upstreams,
        routes: _,
    } = old;
    let mut keys = under("server", server_keys(server, &new.server));
    keys.extend(tls_keys(server.tls.as_ref(), new.server.tls.as_ref()));
    match (admin, &new.admin) {
        (Some(old), Some(new)) => {
            keys.extend(admin_keys(old, new));
        }
        (None, Some(_)) => keys.push("admin (added)".to_owned()),
        (Some(_), None) => keys.push("admin (removed)".to_owned()),
        (None, None) => {}
    }
    let store = differing!(store, &new.store, Store {
        path,
        retention,
        encryption_keys as "encryption_key",
        min_free,
    });
    keys.extend(under("store", store));
    keys.extend(audit_keys(audit, &new.audit));
    keys.extend(under("log", differing!(log, &new.log, Log { format, level })));
    keys.extend(tables("source", sources, &new.sources, |s| s.name.as_str(), source_keys));
    keys.extend(tables("upstream", upstreams, &new.upstreams, |u| u.name.as_str(), upstream_keys));
    if routes_by_name(old) != routes_by_name(new) {
        keys.push("route".to_owned());
    }
    keys
}

fn under(table: &str, keys: Vec<&'static str>) -> Vec<String> {
    keys.into_iter().map(|key| format!("{table}.{key}")).collect()
}

fn audit_keys(old: &Audit, new: &Audit) -> Vec<String> {
    let keys = differing!(old, new, Audit {
        retention,
        max_size,
        archive,
        required,
        checkpoints,
    } but { outputs });
    let mut keys = under("audit", keys);
    keys.extend(tables(
        "audit.output",
        &old.outputs,
        &new.outputs,
        |o| o.name.as_str(),
        output_keys,
    ));
    keys
}

fn output_keys(old: &AuditOutput, new: &AuditOutput) -> Vec<&'static str> {
    let mut keys = match (&old.target, &new.target) {
        (AuditTarget::File(old), AuditTarget::File(new)) if old == new => Vec::new(),
        (AuditTarget::File(_), AuditTarget::File(_)) => vec!["path"],
        (AuditTarget::Syslog(old), AuditTarget::Syslog(new)) => {
            differing!(old, new, Syslog { address, facility, ca, identity as "cert" })
        }
        _ => vec!["kind"],
    };
    keys.extend(
        differing!(old, new, AuditOutput { format, from, checkpoints } but { name, target }),
    );
    keys
}

/// Tables with names: which came, which went, and what differs in those that stayed.
fn tables<T>(
    family: &str,
    old: &[Arc<T>],
    new: &[Arc<T>],
    name: impl Fn(&T) -> &str,
    differing: impl Fn(&T, &T) -> Vec<&'static str>,
) -> Vec<String> {
    let find = |all: &[Arc<T>], wanted: &str| all.iter().find(|t| name(t) == wanted).cloned();
    let mut keys = Vec::new();
    for before in old {
        let table = format!("{family}.{}", name(before));
        match find(new, name(before)) {
            Some(after) => keys.extend(under(&table, differing(before, &after))),
            None => keys.push(format!("{table} (removed)")),
        }
    }
    let added = new.iter().filter(|after| find(old, name(after)).is_none());
    keys.extend(added.map(|after| format!("{family}.{} (added)", name(after))));
    keys
}

fn server_keys(old: &Server, new: &Server) -> Vec<&'static str> {
    differing!(old, new, Server {
        listen,
        trusted_proxies,
        proxy_protocol,
        ack_deadline,
        max_body,
        body_memory,
        min_body_rate,
        max_connections,
        max_connections_per_client,
        max_requests_per_connection,
        max_headers,
        max_header_bytes,
        max_target,
        max_streams,
        handshake_timeout,
        header_timeout,
        write_timeout,
        idle_timeout,
        drain_timeout,
        client_rate_limit,
        failure_rate_limit,
        sandbox,
    } but { tls })
}

fn tls_keys(old: Option<&Tls>, new: Option<&Tls>) -> Vec<String> {
    match (old, new) {
        (None, None) => Vec::new(),
        (
            Some(Tls::Files { cert, key, identity }),
            Some(Tls::Files { cert: new_cert, key: new_key, identity: new_identity }),
        ) => {
            let renewed = cert != new_cert || identity != new_identity;
            let differ = [("cert", renewed), ("key", key != new_key)];
            let keys = differ.into_iter().filter_map(|(key, differs)| differs.then_some(key));
            under("server.tls", keys.collect())
        }
        (Some(Tls::Acme(old)), Some(Tls::Acme(new))) => {
            let keys = differing!(old, new, Acme { domains, contact, directory, cache, ca });
            under("server.tls.acme", keys)
        }
        _ => vec!["server.tls".to_owned()],
    }
}

fn admin_keys(old: &Admin, new: &Admin) -> Vec<String> {
    let mut keys =
        under("admin", differing!(old, new, Admin { listen, token } but { tls, tokens }));
    match (&old.tls, &new.tls) {
        (Some(old), Some(new)) => {
            let AdminTls { cert, key, identity, client_ca } = old;
            let differ = [
                ("cert", *cert != new.cert || *identity != new.identity),
                ("key", *key != new.key),
                ("client_ca", *client_ca != new.client_ca),
            ];
            let differ = differ.into_iter().filter_map(|(key, differs)| differs.then_some(key));
            keys.extend(under("admin.tls", differ.collect()));
        }
        (None, None) => {}
        (Some(_), None) | (None, Some(_)) => keys.push("admin.tls".to_owned()),
    }
    let token_keys =
        |old: &Token, new: &Token| differing!(old, new, Token { role, secret } but { name });
    keys.extend(tables("admin.tokens", &old.tokens, &new.tokens, |t| t.name.as_str(), token_keys));
    keys
}

fn source_keys(old: &Source, new: &Source) -> Vec<&'static str> {
    let mut keys = differing!(old, new, Source {
        preset,
        path,
        keys,
        allow_ips,
        max_event_age,
        require_event_time,
        dedupe,
        on_conflict,
        events,
        forward_headers,
        rate_limit,
        client_ca,
    } but { name, auth, event, key_places, keep_signature, retries });
    if !same_scheme(&old.auth, &new.auth) {
        keys.push("auth");
    }
    keys.extend(differing!(&old.event, &new.event, EventPaths {
        kind as "event.type",
        id as "event.id",
        time as "event.time",
        subject as "event.subject",
        tenant as "event.tenant",
        data as "event.data",
    }));
    keys.extend(differing!(&old.retries, &new.retries, Retries {
        waits as "retry_schedule",
        horizon as "retry_horizon",
    } but { by_hand, timeout, success, final_statuses, published }));
    keys
}

/// Whether both authenticate alike, whatever their keys.
fn same_scheme(old: &Auth, new: &Auth) -> bool {
    match (old, new) {
        (
            Auth::StandardWebhooks { tolerance: old, decoded: _ },
            Auth::StandardWebhooks { tolerance: new, decoded: _ },
        ) => old == new,
        (old, new) => old == new,
    }
}

fn upstream_keys(old: &Upstream, new: &Upstream) -> Vec<&'static str> {
    let mut keys = differing!(old, new, Upstream {
        url,
        format,
        headers,
        signing_keys as "signing_key",
        original_signature,
        resign,
        ca,
        client_cert,
        allow_link_local,
        timeout,
        concurrency,
        rate_limit,
        ordering,
    } but { name, retry });
    keys.extend(differing!(&old.retry, &new.retry, Retry {
        first as "retry.first",
        max as "retry.max",
        give_up as "retry.give_up",
    }));
    keys
}

/// The routes with their targets' names, which their indexes stand for.
fn routes_by_name(config: &Config) -> Vec<(Option<&str>, Option<&str>, Vec<&str>)> {
    let name = |target: &usize| config.upstreams.get(*target).map(|u| u.name.as_str());
    let routes = config.routes.iter().map(|Route { source, kind, to }| {
        let source = source.as_ref().map(SourceName::as_str);
        let kind = kind.as_ref().map(|pattern| pattern.0.as_str());
        (source, kind, to.iter().filter_map(name).collect())
    });
    routes.collect()
}
