//! `[admin]`: the operators' listener, and who may use it.

use std::sync::Arc;

use super::certificates::{self, warn_of_its_cost};
use super::context::{Context, Spot};
use super::defaults::ADMIN_LISTEN;
use super::defaults::admin::MAX_TOKENS;
use super::problem::{ProblemKind, Warning};
use super::secrets::{self, REFERENCE, Reference, Use};
use super::server::listen;
use super::tree::{Node, Table};
use super::{Admin, AdminTls, Role, Token, tls};
use crate::event::TokenName;
use crate::secret::Secret;

pub(super) const KEYS: &[&str] = &["listen", "tls", "token", "tokens"];
pub(super) const TLS_KEYS: &[&str] = &["cert", "key", "client_ca"];
pub(super) const TOKEN_KEYS: &[&str] = &["role", "secret"];

const ROLES: &str = "\"viewer\", \"operator\" or \"auditor\"";

/// The listener, and what of it others ask for.
pub(super) struct Checked {
    pub(super) admin: Admin,
    /// Where its address stands.
    pub(super) listen: Spot,
    /// Whether it is to have TLS, even if that could not be read.
    pub(super) has_tls: bool,
}

/// Reads the table.
pub(super) fn read(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Checked> {
    let table = node.table(KEYS, cx)?;
    let listen = listen(&table, ADMIN_LISTEN, cx);
    let has_tls = table.has("tls");
    let mut known = Known::default();
    let token = table.get("token").and_then(|node| known.read(&node, cx));
    let named = table.get("tokens").map(|node| tokens(&node, &mut known, cx));
    if !table.has("token") && named.as_ref().is_none_or(|(count, _)| *count == 0) {
        cx.problem(&table.spot().child("token"), Warning::NoAdminToken);
    }
    if !has_tls && !listen.value.ip().is_loopback() {
        cx.problem(&listen.spot, Warning::PlainAdmin);
    }
    let admin = Admin {
        listen: listen.value,
        tls: table.get("tls").and_then(|node| read_tls(&node, cx)),
        token,
        tokens: named.map(|(_, tokens)| tokens).unwrap_or_default(),
    };
    Some(Checked { admin, listen: listen.spot, has_tls })
}

fn read_tls(node: &Node<'_>, cx: &mut Context<'_>) -> Option<AdminTls> {
    let table = node.table(TLS_KEYS, cx)?;
    let client_ca = table.get("client_ca").map(|node| certificates::authorities(&node, cx));
    let (cert, key, identity) = tls::read_pair(&table, cx)?;
    if let Some(node) = table.get("cert") {
        warn_of_its_cost(&cert, &identity.facts, node.spot(), cx);
    }
    // Named and not read: that is an error, and never a listener that asks for less.
    let client_ca = client_ca.map_or(Some(None), |read| read.map(Some))?;
    Some(AdminTls { cert, key, identity, client_ca })
}

/// The tables `[admin.tokens.NAME]`: how many there are, and those that could be read.
fn tokens(node: &Node<'_>, known: &mut Known, cx: &mut Context<'_>) -> (usize, Vec<Arc<Token>>) {
    let Some(table) = node.open_table("tables with a name each", cx) else {
        return (0, Vec::new());
    };
    let entries = table.entries();
    if entries.len() > MAX_TOKENS {
        let found = entries.len().to_string();
        let accepted = format!("at most {MAX_TOKENS} tables [admin.tokens.NAME]").into();
        cx.problem(node.spot(), ProblemKind::NotAccepted { found, accepted, nearest: None });
        return (entries.len(), Vec::new());
    }
    let read = entries.iter().filter_map(|(name, node)| token(name, node, known, cx));
    let tokens = read.map(Arc::new).collect();
    (entries.len(), tokens)
}

fn token(name: &str, node: &Node<'_>, known: &mut Known, cx: &mut Context<'_>) -> Option<Token> {
    let table = node.table(TOKEN_KEYS, cx)?;
    let name = token_name(name, node, cx);
    let role = role(&table, cx);
    let secret = match table.get("secret") {
        Some(node) => known.read(&node, cx),
        None => {
            cx.missing(table.spot(), "secret", REFERENCE);
            None
        }
    };
    Some(Token { name: name?, role: role?, secret: secret? })
}

fn token_name(name: &str, node: &Node<'_>, cx: &mut Context<'_>) -> Option<TokenName> {
    if name == Admin::NAME {
        let (found, by) = (format!("the name \"{name}\""), "admin.token".to_owned());
        cx.problem(node.spot(), ProblemKind::Taken { found, by });
        return None;
    }
    let valid = TokenName::new(name).ok();
    if valid.is_none() {
        let accepted = "1 to 64 of a-z, 0-9, `-` and `_`, not starting with `-` or `_`";
        node.refuse(name, accepted, None, cx);
    }
    valid
}

fn role(table: &Table<'_>, cx: &mut Context<'_>) -> Option<Role> {
    let Some(node) = table.get("role") else {
        cx.missing(table.spot(), "role", ROLES);
        return None;
    };
    node.choice(&Role::NAMED, cx)
}

/// The secrets read so far: who shows one must be one person, with one role.
#[derive(Default)]
struct Known(Vec<(Secret, String)>);

impl Known {
    fn read(&mut self, node: &Node<'_>, cx: &mut Context<'_>) -> Option<Secret> {
        let reference = Reference::read(node, cx)?;
        let secret = secrets::resolve(&reference, Use::Header, cx)?.used;
        if let Some((_, by)) = self.0.iter().find(|(other, _)| *other == secret) {
            let (found, by) = ("the same secret".to_owned(), by.clone());
            cx.problem(node.spot(), ProblemKind::Taken { found, by });
            return None;
        }
        self.0.push((secret.clone(), node.spot().key.clone()));
        Some(secret)
    }
}
