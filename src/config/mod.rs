//! Configuration: raw TOML -> checked, immutable [`Config`]; every problem at once, each with its
//! place. Imports only `event`, `clock`, `secret`, `network`, `pem` and the presets' data.
//!
//! The TOML is walked by hand (`tree`), one file for each family of settings. What is absent gets
//! its default from [`defaults`]; what is invalid is noted and stands in for itself as its
//! default, so that reading goes on; and only a file without errors becomes a [`Config`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

mod address;
mod admin;
mod audit;
mod auth;
pub mod certificates;
mod changes;
mod context;
mod credential;
pub mod defaults;
mod forwarded;
mod log;
pub mod problem;
mod rate;
mod resolved;
mod retries;
mod route;
mod rules;
mod same_file;
pub mod secrets;
mod selector;
mod server;
mod source;
mod store;
mod tls;
mod tree;
pub mod units;
mod upstream;

#[cfg(test)]
mod tests;

pub use certificates::Authorities;
pub use changes::{changes, fixed};
pub(crate) use forwarded::is_credential;
pub use problem::{Position, Problem, ProblemKind, Severity};
pub use resolved::*;
pub use secrets::{Machine, Placeholders, SecretReader};
pub(crate) use tree::nearest;

use context::{Context, Spot};
use defaults::{MAX_DOTS, MAX_FILE, MAX_SOURCES, MAX_UPSTREAMS};
use tree::Table;

const KEYS: &[&str] = &["server", "admin", "store", "audit", "log", "source", "upstream", "route"];

/// A configuration with its warnings; or why there is none.
pub type Checked = Result<(Config, Vec<Problem>), Invalid>;

/// What a file that is no valid configuration leaves.
#[derive(Clone, Debug)]
pub struct Invalid {
    /// Errors, at least one, and warnings, in the order of the file.
    pub problems: Vec<Problem>,
    /// What was read, or would have been if it were there: as [`Config::files`].
    pub files: Vec<PathBuf>,
}

/// Reads and checks the file, with secrets out of the environment `env` and the file system.
///
/// # Errors
/// All problems of the file, at least one of them an error.
pub fn load(file: &Path, env: &dyn Fn(&str) -> Option<OsString>) -> Checked {
    let whole_file = |kind| {
        let problem = Problem { file: file.into(), position: None, key: String::new(), kind };
        Err(Invalid { problems: vec![problem], files: vec![file.into()] })
    };
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => return whole_file(ProblemKind::Unreadable(error.kind())),
    };
    match String::from_utf8(bytes) {
        Ok(text) => check_text(file, &text, &Machine { env }),
        Err(_) => whole_file(ProblemKind::NotUtf8),
    }
}

/// The environment of this process, for [`load`].
pub fn process_env(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Checks the text of a configuration that is, or could be, the file `file`.
///
/// # Errors
/// All problems of the text, at least one of them an error.
pub fn check_text(file: &Path, text: &str, secrets: &impl SecretReader) -> Checked {
    let mut cx = Context::new(file, text, secrets);
    if let Some(kind) = unfit(text) {
        cx.problem(&Spot { key: String::new(), at: 0 }, kind);
        let (problems, files) = cx.finish();
        return Err(Invalid { problems, files });
    }
    let (tree, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(text.len(), |span| span.start);
        let message = error.message().to_owned();
        cx.problem(&Spot { key: String::new(), at }, ProblemKind::Syntax(message));
    }
    let config = read(file, tree.get_ref(), &mut cx);
    let (problems, files) = cx.finish();
    match config {
        Some(config) if problems.iter().all(|p| p.severity() == Severity::Warning) => {
            Ok((Config { files, ..config }, problems))
        }
        _ => Err(Invalid { problems, files }),
    }
}

/// What must not even be parsed. Tables nested thousands deep by a dotted key would overflow the
/// stack when they are freed.
fn unfit(text: &str) -> Option<ProblemKind> {
    if text.len() > MAX_FILE {
        return Some(ProblemKind::TooLong { found: text.len(), most: MAX_FILE });
    }
    // A string over several lines could hide dots from a look at single lines.
    let strings_end_on_their_line = !text.contains("\"\"\"") && !text.contains("'''");
    let dots = |line: &str| dots_in_keys(line, strings_end_on_their_line);
    let deep = text.split('\n').any(|line| dots(line) > MAX_DOTS);
    deep.then(|| ProblemKind::Syntax(format!("more than {MAX_DOTS} dots in one line's keys")))
}

fn dots_in_keys(line: &str, skip_strings: bool) -> usize {
    let (mut quote, mut escaped, mut dots) = (None, false, 0);
    for c in line.chars() {
        match (quote, c) {
            (Some('"'), '\\') => escaped = !escaped,
            (Some(open), c) if c == open && !escaped => quote = None,
            (Some(_), _) => escaped = false,
            (None, '"' | '\'') if skip_strings => quote = Some(c),
            (None, '#') if skip_strings => break,
            (None, '.') => dots += 1,
            (None, _) => {}
        }
    }
    dots
}

fn read(file: &Path, tree: &DeTable<'_>, cx: &mut Context<'_>) -> Option<Config> {
    let root = Table::root(tree, KEYS, None, cx);
    let empty = DeTable::new();
    let store = store::read(&section(&root, "store", store::KEYS, &empty, cx), cx);
    let server = section(&root, "server", server::KEYS, &empty, cx);
    let server = server::read(&server, &store.store.path, cx);
    let admin = root.get("admin").and_then(|node| admin::read(&node, cx));
    let audit = section(&root, "audit", audit::KEYS, &empty, cx);
    let audit = audit::read(&audit, cx);
    let log = log::read(&section(&root, "log", log::KEYS, &empty, cx), cx);
    let sources = named(&root, "source", MAX_SOURCES, source::read, cx);
    let read_upstream = |name: &str, node: &tree::Node<'_>, cx: &mut Context<'_>| {
        upstream::read(name, node, &sources, cx)
    };
    let upstreams = named(&root, "upstream", MAX_UPSTREAMS, read_upstream, cx);
    let routes = match root.get("route") {
        Some(node) => route::read(&node, &sources, &upstreams, cx),
        None => Some(Vec::new()),
    };
    rules::check(&server, admin.as_ref(), &store.retention, &sources, &upstreams, cx);
    audit::files::check(&audit.named, &store.store, cx);
    let keep = upstreams.iter().filter_map(|u| u.upstream.as_ref());
    let keep_signature = keep.map(|u| u.original_signature).any(|s| s == OriginalSignature::Keep);
    Some(Config {
        file: file.into(),
        files: Vec::new(),
        server: server.server,
        admin: admin.map(|admin| admin.admin),
        store: store.store,
        audit: audit.audit,
        log,
        sources: sources
            .into_iter()
            .map(|s| s.source.map(|source| Arc::new(Source { keep_signature, ..source })))
            .collect::<Option<_>>()?,
        upstreams: upstreams
            .into_iter()
            .map(|u| u.upstream.map(Arc::new))
            .collect::<Option<_>>()?,
        routes: routes?,
    })
}

/// A top-level table, or an empty one.
fn section<'t>(
    root: &Table<'t>,
    key: &str,
    allowed: &[&str],
    empty: &'t DeTable<'t>,
    cx: &mut Context<'_>,
) -> Table<'t> {
    let found = root.get(key).and_then(|node| node.table(allowed, cx));
    found.unwrap_or_else(|| Table::absent(root.spot().child(key), empty))
}

/// The tables `[key.NAME]`: at least one, at most `most`.
fn named<T>(
    root: &Table<'_>,
    key: &'static str,
    most: usize,
    read: impl Fn(&str, &tree::Node<'_>, &mut Context<'_>) -> Option<T>,
    cx: &mut Context<'_>,
) -> Vec<T> {
    let accepted = format!("1 to {most} tables [{key}.NAME]");
    let Some(node) = root.get(key) else {
        let kind = ProblemKind::Missing { accepted: accepted.into() };
        cx.problem(&root.spot().child(key), kind);
        return Vec::new();
    };
    let Some(table) = node.open_table("tables with a name each", cx) else {
        return Vec::new();
    };
    let entries = table.entries();
    if entries.is_empty() || entries.len() > most {
        let (found, accepted) = (entries.len().to_string(), accepted.into());
        cx.problem(node.spot(), ProblemKind::NotAccepted { found, accepted, nearest: None });
        return Vec::new();
    }
    entries.iter().filter_map(|(name, node)| read(name, node, cx)).collect()
}
