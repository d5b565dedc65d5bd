//! `[server]`: the public listener and its limits.

use std::net::SocketAddr;

use super::context::{At, Context, Spot};
use super::defaults as d;
use super::problem::{ProblemKind, Warning};
use super::tree::{Node, Table};
use super::{Server, address};

pub(super) const KEYS: &[&str] = &[
    "listen",
    "tls",
    "trusted_proxies",
    "proxy_protocol",
    "ack_deadline",
    "max_body",
    "max_connections",
    "handshake_timeout",
    "header_timeout",
    "idle_timeout",
    "drain_timeout",
];
const TLS_KEYS: &[&str] = &["cert", "key"];

/// The listener, and where its address stands.
pub(super) struct Checked {
    pub(super) server: Server,
    pub(super) listen: Spot,
}

/// Reads the table; all defaults hold where it is absent.
pub(super) fn read(table: &Table<'_>, cx: &mut Context<'_>) -> Checked {
    refuse_later_keys(table, cx);
    let listen = listen(table, d::SERVER_LISTEN, cx);
    let handshake = table.duration("handshake_timeout", &d::HANDSHAKE_TIMEOUT, cx);
    if table.has("handshake_timeout") {
        cx.problem(&handshake.spot, Warning::NoHandshake);
    }
    let server = Server {
        listen: listen.value,
        ack_deadline: table.duration("ack_deadline", &d::ACK_DEADLINE, cx).value,
        max_body: table.size("max_body", &d::MAX_BODY, cx).value.0,
        max_connections: as_usize(table.count("max_connections", &d::MAX_CONNECTIONS, cx).value.0),
        max_connections_per_client: 1024,
        max_requests_per_connection: 10_000,
        max_headers: 100,
        max_header_bytes: 32 << 10,
        max_target: 8 << 10,
        max_streams: 100,
        body_memory: 256 << 20,
        min_body_rate: 1 << 10,
        handshake_timeout: handshake.value,
        write_timeout: std::time::Duration::from_secs(5),
        tls: None,
        trusted_proxies: Vec::new(),
        proxy_protocol: false,
        client_rate_limit: None,
        failure_rate_limit: super::RateLimit {
            per_second: std::num::NonZeroU32::MIN,
            burst: std::num::NonZeroU32::MAX,
        },
        sandbox: false,
        header_timeout: table.duration("header_timeout", &d::HEADER_TIMEOUT, cx).value,
        idle_timeout: table.duration("idle_timeout", &d::IDLE_TIMEOUT, cx).value,
        drain_timeout: table.duration("drain_timeout", &d::DRAIN_TIMEOUT, cx).value,
    };
    Checked { server, listen: listen.spot }
}

impl Server {
    /// Every default.
    pub fn defaults() -> Self {
        let file = std::path::Path::new("");
        let empty = toml::de::DeTable::new();
        let mut cx = Context::new(file, "", &super::Placeholders);
        let spot = Spot { key: "server".to_owned(), at: 0 };
        read(&Table::absent(spot, &empty), &mut cx).server
    }
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

/// A count that the configuration has bounded already.
pub(super) fn as_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn refuse_later_keys(table: &Table<'_>, cx: &mut Context<'_>) {
    if let Some(node) = table.get("tls") {
        check_tls(&node, cx);
        let instead = Some("no `tls`, behind a TLS terminator");
        cx.problem(node.spot(), ProblemKind::NotAvailable(instead));
    }
    if let Some(node) = table.get("trusted_proxies")
        && let Some(list) = node.list("a list of networks such as [\"10.0.0.0/8\"]", cx)
        && !list.is_empty()
    {
        address::networks(&list, cx);
        cx.problem(node.spot(), ProblemKind::NotAvailable(Some("[]")));
    }
    if let Some(node) = table.get("proxy_protocol")
        && node.flag(cx) == Some(true)
    {
        cx.problem(node.spot(), ProblemKind::NotAvailable(Some("false")));
    }
}

fn check_tls(node: &Node<'_>, cx: &mut Context<'_>) {
    let Some(table) = node.table(TLS_KEYS, cx) else {
        return;
    };
    for key in TLS_KEYS {
        match table.get(key) {
            Some(path) => drop(path.text("a PEM file's path", cx)),
            None => cx.missing(table.spot(), key, "a PEM file's path"),
        }
    }
}
