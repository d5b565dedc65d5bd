//! `server.tls`: the public listener's certificate, out of two files or from an authority that
//! speaks ACME.

use std::path::{Path, PathBuf};

use rustls_pki_types::{DnsName, PrivateKeyDer};
use zeroize::Zeroizing;

use super::certificates::{self, CERTIFICATES, told, warn_of_its_cost, warn_of_its_end};
use super::context::Context;
use super::defaults::{ACME_CACHE, ACME_DIRECTORY, MAX_CONTACTS, MAX_DOMAINS, MAX_TEXT};
use super::problem::{Contradiction, ProblemKind, SecretProblem};
use super::secrets::{OPEN_TO_OTHERS, SecretFile};
use super::tree::{Node, Table};
use super::{Acme, Tls};
use crate::pem::Identity;
use crate::pem::{self, PemError};

pub(super) const KEYS: &[&str] = &["cert", "key", "acme"];
pub(super) const KEY_KEYS: &[&str] = &["file", "allow_readable"];
pub(super) const ACME_KEYS: &[&str] = &["domains", "contact", "directory", "cache", "ca"];

const TLS: &str = "{ cert = \"PATH\", key = \"PATH\" } or { acme = { domains = [..] } }";
const KEY: &str = "a PEM file's path, or { file = \"PATH\", allow_readable = true }";
const KEY_FILE: &str = "a file with one PEM private key";
const DOMAINS: &str = "a list of DNS names such as [\"hooks.clinic.example\"]";
const DOMAIN: &str = "a DNS name in lower case such as \"hooks.clinic.example\", without `*`, which the challenge (TLS-ALPN-01) cannot prove";
const CONTACTS: &str = "a list of e-mail addresses such as [\"it@clinic.example\"]";
const CONTACT: &str = "an e-mail address such as \"it@clinic.example\"";
const DIRECTORY: &str = "an https URL without user, query or fragment, such as \"https://acme-v02.api.letsencrypt.org/directory\"";
const CACHE: &str = "a directory's path";

/// Reads the table. `store` is the store's directory.
pub(super) fn read(node: &Node<'_>, store: &Path, cx: &mut Context<'_>) -> Option<Tls> {
    let table = node.table(KEYS, cx)?;
    let files = table.has("cert") || table.has("key");
    match (table.get("acme"), files) {
        (Some(_), true) => {
            cx.problem(node.spot(), Contradiction::TwoCertificates);
            None
        }
        (Some(node), false) => acme(&node, store, cx).map(Tls::Acme),
        (None, true) => read_files(&table, cx),
        (None, false) => {
            cx.problem(node.spot(), ProblemKind::Missing { accepted: TLS.into() });
            None
        }
    }
}

fn read_files(table: &Table<'_>, cx: &mut Context<'_>) -> Option<Tls> {
    let (cert, key, identity) = read_pair(table, cx)?;
    // Only a server is made to sign by whoever connects.
    if let Some(node) = table.get("cert") {
        warn_of_its_cost(&cert, &identity.facts, node.spot(), cx);
    }
    Some(Tls::Files { cert, key, identity })
}

/// Reads `cert` and `key`, two files that belong together.
pub(super) fn read_pair(
    table: &Table<'_>,
    cx: &mut Context<'_>,
) -> Option<(PathBuf, PathBuf, Identity)> {
    for key in ["cert", "key"].into_iter().filter(|key| !table.has(key)) {
        cx.missing(table.spot(), key, "a PEM file's path");
    }
    let (cert_node, key_node) = (table.get("cert"), table.get("key"));
    let chain = cert_node.as_ref().and_then(|node| certificates::chain(node, cx));
    let key = key_node.as_ref().and_then(|node| read_key(node, cx));
    let ((cert, chain), (key, der)) = chain.zip(key)?;
    let (cert_node, key_node) = cert_node.zip(key_node)?;
    let identity = Identity::new(chain, &der);
    // A certificate that is well-formed can still be one that TLS cannot use.
    let identity = match &identity {
        Err(PemError::BadCertificate(_)) => {
            told(identity, &cert_node, cert.clone(), CERTIFICATES, cx)
        }
        _ => told(identity, &key_node, key.clone(), KEY_FILE, cx),
    }?;
    warn_of_its_end(&cert, &identity.facts, cert_node.spot(), cx);
    Some((cert, key, identity))
}

type Key = (PathBuf, Zeroizing<PrivateKeyDer<'static>>);

/// The key's file: private to its owner, as any secret.
fn read_key(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Key> {
    let (path, allow_readable) = key_reference(node, cx)?;
    let path = cx.path(path);
    let read = cx.pem(&path).map_err(|error| PemError::Unreadable(error.kind()));
    let SecretFile { bytes, mode } = told(read, node, path.clone(), KEY_FILE, cx)?;
    let mode = mode & 0o7777;
    if mode & OPEN_TO_OTHERS != 0 && !allow_readable {
        cx.problem(node.spot(), SecretProblem::Exposed { path, mode });
        return None;
    }
    let key = certificates::within(bytes).and_then(|bytes| pem::private_key(&bytes));
    told(key, node, path.clone(), KEY_FILE, cx).map(|key| (path, key))
}

/// A path, or a table that can say that others may read the file.
fn key_reference<'t>(node: &Node<'t>, cx: &mut Context<'_>) -> Option<(&'t str, bool)> {
    if !node.is_table() {
        return node.text(KEY, cx).map(|path| (path, false));
    }
    let table = node.table(KEY_KEYS, cx)?;
    let allow_readable = table.get("allow_readable").and_then(|node| node.flag(cx));
    let Some(file) = table.get("file") else {
        cx.missing(table.spot(), "file", "a PEM file's path");
        return None;
    };
    file.text("a PEM file's path", cx).map(|path| (path, allow_readable == Some(true)))
}

fn acme(node: &Node<'_>, store: &Path, cx: &mut Context<'_>) -> Option<Acme> {
    let table = node.table(ACME_KEYS, cx)?;
    let domains = match table.get("domains") {
        Some(node) => unique(&node.full_list(DOMAINS, MAX_DOMAINS, cx)?, domain, cx),
        None => {
            cx.missing(table.spot(), "domains", DOMAINS);
            None
        }
    };
    let contact = match table.get("contact") {
        Some(node) => unique(&node.list_up_to(CONTACTS, MAX_CONTACTS, cx)?, contact, cx),
        None => Some(Vec::new()),
    };
    let directory = match table.get("directory") {
        Some(node) => directory(&node, cx),
        None => Some(ACME_DIRECTORY.to_owned()),
    };
    let cache = match table.get("cache") {
        Some(node) => node.text(CACHE, cx).map(|path| cx.path(path)),
        None => Some(store.join(ACME_CACHE)),
    };
    let ca = table.get("ca").and_then(|node| certificates::authorities(&node, cx));
    Some(Acme { domains: domains?, contact: contact?, directory: directory?, cache: cache?, ca })
}

/// The elements of a list, each of which may stand in it once.
fn unique<'t>(
    list: &[Node<'t>],
    read: impl Fn(&Node<'t>, &mut Context<'_>) -> Option<&'t str>,
    cx: &mut Context<'_>,
) -> Option<Vec<String>> {
    let mut found: Vec<Option<String>> = Vec::new();
    for node in list {
        let text = read(node, cx).map(str::to_owned);
        if let Some(text) = &text
            && found.iter().flatten().any(|known| known == text)
        {
            let (found, by) = (format!("\"{text}\""), "the same list".to_owned());
            cx.problem(node.spot(), ProblemKind::Taken { found, by });
        }
        found.push(text);
    }
    found.into_iter().collect()
}

fn domain<'t>(node: &Node<'t>, cx: &mut Context<'_>) -> Option<&'t str> {
    let text = node.text(DOMAIN, cx)?;
    if is_domain(text) {
        return Some(text);
    }
    let meant = text.trim().trim_end_matches('.').to_ascii_lowercase();
    let nearest = is_domain(&meant).then(|| format!("\"{meant}\""));
    node.refuse(text, DOMAIN, nearest, cx);
    None
}

/// A name as certificates have it: RFC 5280 section 4.2.1.6, and no final dot.
fn is_domain(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    text.bytes().all(plain) && !text.ends_with('.') && DnsName::try_from(text).is_ok()
}

fn contact<'t>(node: &Node<'t>, cx: &mut Context<'_>) -> Option<&'t str> {
    let text = node.text(CONTACT, cx)?;
    if is_contact(text) {
        return Some(text);
    }
    let meant = text.trim().strip_prefix("mailto:").filter(|text| is_contact(text));
    node.refuse(text, CONTACT, meant.map(|text| format!("\"{text}\"")), cx);
    None
}

/// What a `mailto:` URL holds unescaped: one address (RFC 8555 section 7.3 has no lists).
fn is_contact(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!$'*+-._~/=^{}|`".contains(&b);
    let parts = text.split_once('@').filter(|_| text.len() <= MAX_TEXT);
    parts.is_some_and(|(user, host)| {
        !user.is_empty() && user.bytes().all(plain) && is_domain(&host.to_ascii_lowercase())
    })
}

fn directory(node: &Node<'_>, cx: &mut Context<'_>) -> Option<String> {
    let text = node.text(DIRECTORY, cx)?;
    let url = text.parse::<http::Uri>().ok().filter(|_| text.len() <= MAX_TEXT);
    let host = |url: &http::Uri| url.host().is_some_and(|host| !host.is_empty());
    let https = |url: &http::Uri| url.scheme_str() == Some("https");
    if url.is_some_and(|url| https(&url) && host(&url)) && !text.contains(['@', '?', '#']) {
        return Some(text.to_owned());
    }
    node.refuse_unseen(DIRECTORY, cx);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_names_that_an_authority_can_prove() {
        for good in ["hooks.clinic.example", "localhost", "a-1.example", "xn--bcher-kva.example"] {
            assert!(is_domain(good), "{good}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for bad in
            ["", ".", "a..b", "a.", ".a", "*.a.example", "A.example", "a_b.example", "-a.example"]
        {
            assert!(!is_domain(bad), "{bad}");
        }
        for bad in ["10.0.0.1", "::1", "a b.example", "bücher.example", "a.example:443", &long] {
            assert!(!is_domain(bad), "{bad}");
        }
    }

    #[test]
    fn contacts_are_single_addresses() {
        for good in ["it@clinic.example", "a.b+c@Clinic.Example", "o'neil@localhost"] {
            assert!(is_contact(good), "{good}");
        }
        for bad in ["", "it", "@clinic.example", "it@", "a@b@c", "a b@c", "a,b@c", "a?b@c", "ü@c"]
        {
            assert!(!is_contact(bad), "{bad}");
        }
    }
}
