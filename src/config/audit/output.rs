//! `[audit.output.NAME]`: where the trail is sent to.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Uri;
use rustls_pki_types::ServerName;

use super::super::context::Context;
use super::super::defaults::audit::{FACILITY, FORMAT, FROM, MAX_OUTPUTS, SENDS_CHECKPOINTS};
use super::super::defaults::{MAX_TEXT, NAME};
use super::super::problem::{Contradiction, ProblemKind};
use super::super::tree::{Node, Table};
use super::super::{
    AuditFormat, AuditFrom, AuditOutput, AuditTarget, Facility, Syslog, SyslogAddress,
    certificates, tls,
};
use super::files::{Named, What};
use super::{FILE, written_file};
use crate::event::OutputName;
use crate::network;

pub(in super::super) const SYSLOG_KEYS: &[&str] =
    &["kind", "address", "ca", "cert", "key", "facility", "format", "from", "checkpoints"];
pub(in super::super) const FILE_KEYS: &[&str] = &["kind", "path", "format", "from", "checkpoints"];

const KIND: &str = "\"syslog\", \"file\"";
const ADDRESS: &str =
    "\"tls://HOST:PORT\" or \"unix:/PATH\" (nothing is sent in clear over a network)";

/// The port of syslog over TLS: RFC 5425, section 4.1.
const PORT: u16 = 6514;

#[derive(Clone, Copy)]
enum Kind {
    Syslog,
    File,
}

/// Reads the tables, one for each output.
pub(super) fn read(
    node: &Node<'_>,
    named: &mut Vec<Named>,
    cx: &mut Context<'_>,
) -> Vec<Arc<AuditOutput>> {
    let Some(table) = node.open_table("tables with a name each", cx) else { return Vec::new() };
    let entries = table.entries();
    if entries.len() > MAX_OUTPUTS {
        let found = entries.len().to_string();
        let accepted = format!("up to {MAX_OUTPUTS} tables [audit.output.NAME]").into();
        cx.problem(node.spot(), ProblemKind::NotAccepted { found, accepted, nearest: None });
        return Vec::new();
    }
    let one = |(name, node): &(&str, Node<'_>)| one(name, node, named, cx).map(Arc::new);
    entries.iter().filter_map(one).collect()
}

fn one(
    name: &str,
    node: &Node<'_>,
    named: &mut Vec<Named>,
    cx: &mut Context<'_>,
) -> Option<AuditOutput> {
    let valid_name = OutputName::new(name).ok();
    if valid_name.is_none() {
        node.refuse(name, NAME, None, cx);
    }
    let Some(kind) = node.child("kind") else {
        // What else is in it, only its kind can tell.
        let table = node.open_table("a table", cx)?;
        cx.missing(table.spot(), "kind", KIND);
        return None;
    };
    let kind = kind.choice(&[("syslog", Kind::Syslog), ("file", Kind::File)], cx)?;
    let keys = match kind {
        Kind::Syslog => SYSLOG_KEYS,
        Kind::File => FILE_KEYS,
    };
    let table = node.table(keys, cx)?;
    let target = match kind {
        Kind::Syslog => syslog(&table, named, cx).map(AuditTarget::Syslog),
        Kind::File => file(&table, named, cx).map(AuditTarget::File),
    };
    let formats = [("json", AuditFormat::Json), ("ocsf", AuditFormat::Ocsf)];
    let format = table.get("format").and_then(|node| node.choice(&formats, cx));
    let froms = [("now", AuditFrom::Now), ("beginning", AuditFrom::Beginning)];
    let from = table.get("from").and_then(|node| node.choice(&froms, cx));
    let checkpoints = table.get("checkpoints").and_then(|node| node.flag(cx));
    Some(AuditOutput {
        name: valid_name?,
        target: target?,
        format: format.unwrap_or(FORMAT),
        from: from.unwrap_or(FROM),
        checkpoints: checkpoints.unwrap_or(SENDS_CHECKPOINTS),
    })
}

fn file(table: &Table<'_>, named: &mut Vec<Named>, cx: &mut Context<'_>) -> Option<PathBuf> {
    let Some(node) = table.get("path") else {
        cx.missing(table.spot(), "path", FILE);
        return None;
    };
    written_file(&node, named, cx)
}

fn syslog(table: &Table<'_>, named: &mut Vec<Named>, cx: &mut Context<'_>) -> Option<Syslog> {
    let address = match table.get("address") {
        Some(node) => address(&node, named, cx),
        None => {
            cx.missing(table.spot(), "address", ADDRESS);
            None
        }
    };
    let plain = matches!(address, Some(SyslogAddress::Unix(_)));
    for node in ["ca", "cert", "key"].into_iter().filter_map(|key| table.get(key)) {
        if plain {
            cx.problem(node.spot(), Contradiction::CaWithoutTlsAddress);
        }
    }
    let ca = table.get("ca").and_then(|node| certificates::authorities(&node, cx));
    let shows = table.has("cert") || table.has("key");
    let identity = shows.then(|| tls::read_pair(table, cx).map(|(_, _, identity)| identity));
    let facility = table.get("facility").and_then(|node| node.choice(Facility::ALL, cx));
    Some(Syslog {
        address: address?,
        facility: facility.unwrap_or(FACILITY),
        ca,
        identity: identity.map_or(Some(None), |identity| identity.map(Some))?,
    })
}

fn address(node: &Node<'_>, named: &mut Vec<Named>, cx: &mut Context<'_>) -> Option<SyslogAddress> {
    let text = node.text(ADDRESS, cx)?;
    if let Some(path) = text.strip_prefix("unix:").filter(|path| Path::new(path).is_absolute()) {
        named.push(Named { spot: node.spot().clone(), path: path.into(), what: What::Socket });
        return Some(SyslogAddress::Unix(path.into()));
    }
    let Some((host, port)) = tls_address(text) else {
        node.refuse_unseen(ADDRESS, cx);
        return None;
    };
    if host.parse::<IpAddr>().is_ok_and(network::is_link_local) {
        cx.problem(node.spot(), Contradiction::LinkLocalForGood);
    }
    Some(SyslogAddress::Tls { host, port })
}

/// Host, without the brackets of IPv6, and port.
fn tls_address(text: &str) -> Option<(String, u16)> {
    let plain = text.len() <= MAX_TEXT && !text.contains(['@', '#', '?']);
    let url: Uri = text.parse().ok().filter(|_| plain)?;
    let authority = url.authority().filter(|_| url.scheme_str() == Some("tls"))?;
    let port = match authority.as_str().strip_prefix(authority.host())? {
        "" => PORT,
        _ => authority.port_u16().filter(|port| *port != 0)?,
    };
    let host = authority.host().trim_matches(['[', ']']);
    let named = ServerName::try_from(host).is_ok();
    (named && matches!(url.path(), "" | "/")).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_names_or_ip_addresses_with_a_port() {
        for (text, host, port) in [
            ("tls://siem.example:6514", "siem.example", 6514),
            ("tls://siem.example", "siem.example", 6514),
            ("tls://siem.example/", "siem.example", 6514),
            ("tls://192.0.2.1:10514", "192.0.2.1", 10514),
            ("tls://[2001:db8::1]:1", "2001:db8::1", 1),
            ("tls://[::1]", "::1", 6514),
        ] {
            assert_eq!(tls_address(text), Some((host.to_owned(), port)), "{text}");
        }
        for text in [
            "",
            "siem.example:6514",
            "tcp://siem.example:514",
            "tls://",
            "tls://:6514",
            "tls://siem.example:0",
            "tls://siem.example:",
            "tls://siem.example:99999",
            "tls://siem.example/x",
            "tls://siem.example?x",
            "tls://me:secret@siem.example",
            "tls://siem_example .x",
        ] {
            assert_eq!(tls_address(text), None, "{text}");
        }
    }
}
