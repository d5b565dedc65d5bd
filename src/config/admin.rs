//! `[admin]`: the operators' listener.

use super::Admin;
use super::context::{Context, Spot};
use super::defaults::ADMIN_LISTEN;
use super::problem::Warning;
use super::secrets::{self, Reference, Use};
use super::server::listen;
use super::tree::Node;

pub(super) const KEYS: &[&str] = &["listen", "token"];

/// The listener, and where its address stands.
pub(super) struct Checked {
    pub(super) admin: Admin,
    pub(super) listen: Spot,
}

/// Reads the table.
pub(super) fn read(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Checked> {
    let table = node.table(KEYS, cx)?;
    let listen = listen(&table, ADMIN_LISTEN, cx);
    let token = table.get("token");
    if token.is_none() {
        cx.problem(&table.spot().child("token"), Warning::NoAdminToken);
    }
    let token = token.and_then(|node| {
        let reference = Reference::read(&node, cx)?;
        secrets::resolve(&reference, Use::Header, cx)
    });
    let admin = Admin { listen: listen.value, token: token.map(|token| token.used) };
    Some(Checked { admin, listen: listen.spot })
}
