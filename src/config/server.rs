//! `[server]`: the public listener and its limits.

use std::net::SocketAddr;
use std::path::Path;

use ipnet::IpNet;

use super::context::{At, Context, Spot};
use super::defaults as d;
use super::problem::{Contradiction, ProblemKind, Warning};
use super::tree::Table;
use super::units::{ByteSize, Count, Quantity as _};
use super::{Server, Tls, address, rate, tls};

pub(super) const KEYS: &[&str] = &[
    "listen",
    "tls",
    "trusted_proxies",
    "proxy_protocol",
    "ack_deadline",
    "max_body",
    "body_memory",
    "min_body_rate",
    "max_connections",
    "max_connections_per_client",
    "max_requests_per_connection",
    "max_headers",
    "max_header_bytes",
    "max_target",
    "max_streams",
    "handshake_timeout",
    "header_timeout",
    "write_timeout",
    "idle_timeout",
    "drain_timeout",
    "client_rate_limit",
    "failure_rate_limit",
    "sandbox",
];

/// The listener, and what of it others ask for.
pub(super) struct Checked {
    pub(super) server: Server,
    /// Where its address stands.
    pub(super) listen: Spot,
    /// Whether it is to have TLS, even if that could not be read.
    pub(super) has_tls: bool,
    /// Where `handshake_timeout` stands, if it does.
    pub(super) handshake: Option<Spot>,
}

/// Reads the table; all defaults hold where it is absent. `store` is the store's directory.
pub(super) fn read(table: &Table<'_>, store: &Path, cx: &mut Context<'_>) -> Checked {
    let listen = listen(table, d::SERVER_LISTEN, cx);
    let flag = |key, cx: &mut Context<'_>| table.get(key).and_then(|node| node.flag(cx));
    let client_rate = table.get("client_rate_limit").and_then(|node| rate::read(&node, cx));
    let failure_rate = table.get("failure_rate_limit").and_then(|node| rate::read(&node, cx));
    let server = Server {
        listen: listen.value,
        tls: table.get("tls").and_then(|node| tls::read(&node, store, cx)),
        trusted_proxies: trusted_proxies(table, cx),
        proxy_protocol: flag("proxy_protocol", cx).unwrap_or(false),
        ack_deadline: table.duration("ack_deadline", &d::ACK_DEADLINE, cx).value,
        max_body: table.size("max_body", &d::MAX_BODY, cx).value.0,
        body_memory: table.size("body_memory", &d::BODY_MEMORY, cx).value.0,
        min_body_rate: table.size("min_body_rate", &d::MIN_BODY_RATE, cx).value.0,
        max_connections: count(table, "max_connections", &d::MAX_CONNECTIONS, cx),
        max_connections_per_client: count(
            table,
            "max_connections_per_client",
            &d::MAX_CONNECTIONS_PER_CLIENT,
            cx,
        ),
        max_requests_per_connection: table
            .count("max_requests_per_connection", &d::MAX_REQUESTS, cx)
            .value
            .0,
        max_headers: count(table, "max_headers", &d::MAX_HEADERS, cx),
        max_header_bytes: size(table, "max_header_bytes", &d::MAX_HEADER_BYTES, cx),
        max_target: size(table, "max_target", &d::MAX_TARGET, cx),
        max_streams: u32::try_from(table.count("max_streams", &d::MAX_STREAMS, cx).value.0)
            .unwrap_or(u32::MAX),
        handshake_timeout: table.duration("handshake_timeout", &d::HANDSHAKE_TIMEOUT, cx).value,
        header_timeout: table.duration("header_timeout", &d::HEADER_TIMEOUT, cx).value,
        write_timeout: table.duration("write_timeout", &d::WRITE_TIMEOUT, cx).value,
        idle_timeout: table.duration("idle_timeout", &d::IDLE_TIMEOUT, cx).value,
        drain_timeout: table.duration("drain_timeout", &d::DRAIN_TIMEOUT, cx).value,
        client_rate_limit: client_rate.or(d::CLIENT_RATE_LIMIT.default),
        failure_rate_limit: failure_rate.unwrap_or(d::FAILURES),
        sandbox: flag("sandbox", cx).unwrap_or(false),
    };
    let handshake = table.get("handshake_timeout").map(|node| node.spot().clone());
    let checked = Checked { server, listen: listen.spot, has_tls: table.has("tls"), handshake };
    agree(&checked, table, cx);
    checked
}

impl Server {
    /// Where what ACME has got is kept, keys included.
    pub(crate) fn acme_cache(&self) -> Option<&Path> {
        match &self.tls {
            Some(Tls::Acme(acme)) => Some(&acme.cache),
            Some(Tls::Files { .. }) | None => None,
        }
    }

    /// Every default.
    pub fn defaults() -> Self {
        let file = Path::new("");
        let empty = toml::de::DeTable::new();
        let mut cx = Context::new(file, "", &super::Placeholders);
        let spot = Spot { key: "server".to_owned(), at: 0 };
        read(&Table::absent(spot, &empty), Path::new(d::STORE_PATH), &mut cx).server
    }
}

/// The keys that only make sense together.
fn agree(checked: &Checked, table: &Table<'_>, cx: &mut Context<'_>) {
    let Checked { server, listen, has_tls, handshake: _ } = checked;
    let here = |key| table.get(key).map_or_else(|| table.spot().child(key), |n| n.spot().clone());
    // Named, even if not well: then that has been told.
    let proxies = table.get("trusted_proxies").is_some_and(|node| !node.elements().is_empty());
    if server.proxy_protocol && !proxies {
        cx.problem(&here("proxy_protocol"), Contradiction::ProxyProtocolWithoutProxies);
    }
    if server.body_memory < server.max_body {
        let show = |bytes| ByteSize(bytes).show();
        let (found, bound) = (show(server.body_memory), show(server.max_body));
        let whose = "which is server.max_body".to_owned();
        cx.problem(&here("body_memory"), ProblemKind::Less { found, bound, whose });
    }
    if server.max_target > server.max_header_bytes {
        let show = |bytes: usize| ByteSize(bytes as u64).show();
        let (found, bound) = (show(server.max_target), show(server.max_header_bytes));
        let whose = "which is server.max_header_bytes".to_owned();
        cx.problem(&here("max_target"), ProblemKind::Longer { found, bound, whose });
    }
    if !server.listen.ip().is_loopback() && !has_tls && !proxies {
        cx.problem(listen, Warning::PlainInPublic);
    }
}

/// Whose word about clients' addresses is taken; may be nobody's.
fn trusted_proxies(table: &Table<'_>, cx: &mut Context<'_>) -> Vec<IpNet> {
    let Some(node) = table.get("trusted_proxies") else {
        return Vec::new();
    };
    let nets = address::proxies(&node, cx).unwrap_or_default();
    if nets.iter().any(|net| net.prefix_len() == 0) {
        cx.problem(node.spot(), Warning::TrustsEveryone);
    }
    nets
}

/// A table's `listen`.
pub(super) fn listen(
    table: &Table<'_>,
    default: SocketAddr,
    cx: &mut Context<'_>,
) -> At<SocketAddr> {
    let node = table.get("listen");
    let value = node.as_ref().and_then(|node| address::socket(node, cx)).unwrap_or(default);
    let spot = node.map_or_else(|| table.spot().child("listen"), |node| node.spot().clone());
    At { value, spot }
}

fn count(table: &Table<'_>, key: &str, limit: &d::Limit<Count>, cx: &mut Context<'_>) -> usize {
    as_usize(table.count(key, limit, cx).value.0)
}

fn size(table: &Table<'_>, key: &str, limit: &d::Limit<ByteSize>, cx: &mut Context<'_>) -> usize {
    as_usize(table.size(key, limit, cx).value.0)
}

/// A count that the configuration has bounded already.
pub(super) fn as_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
