//! `[admin]`: who may reach the operators' side, and as what.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::Authorities;
use crate::event::TokenName;
use crate::pem::Identity;
use crate::secret::Secret;

/// `[admin]`: health, metrics and API.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Never the public listener's address.
    pub listen: SocketAddr,
    /// TLS on this listener. `None`: plain HTTP/1.1.
    pub tls: Option<AdminTls>,
    /// The bearer token that may do everything, and whose name is [`Admin::NAME`].
    pub token: Option<Secret>,
    /// `[admin.tokens.NAME]`, in the order of the file. No two secrets are equal, nor is one
    /// `token`'s.
    pub tokens: Vec<Arc<Token>>,
}

impl Admin {
    /// What `admin.token` is called in records; no other token has this name.
    pub const NAME: &'static str = "admin";
}

/// `[admin.tokens.NAME]`: an operator, or a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is called in records.
    pub name: TokenName,
    /// What it may do.
    pub role: Role,
    /// The token itself.
    pub secret: Secret,
}

/// What a token may do; `admin::rights` says what that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Look, but at no payload.
    Viewer,
    /// Look at everything but the audit trail, and act.
    Operator,
    /// Look at the audit trail, and at what it speaks of without payloads.
    Auditor,
    /// Everything: `admin.token`, and the Unix socket. No named token has it.
    Admin,
}

impl Role {
    /// Those that a named token can have, as they are written.
    pub const NAMED: [(&'static str, Self); 3] =
        [("viewer", Self::Viewer), ("operator", Self::Operator), ("auditor", Self::Auditor)];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }
}

/// `admin.tls`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminTls {
    /// The file of the chain, the server's own certificate first.
    pub cert: PathBuf,
    /// The file of its key.
    pub key: PathBuf,
    /// What the two hold.
    pub identity: Identity,
    /// Whose client certificates are asked for beside the token. `None`: nobody's.
    pub client_ca: Option<Authorities>,
}
