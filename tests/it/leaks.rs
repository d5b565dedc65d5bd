//! The rule of the whole suite: what was secret, and what was payload, does not come out again where it
//! does not belong. The harness keeps it by itself, for every test that starts a gateway:
//!
//! - what it makes or sends is taken note of as it goes out: secrets, the configuration's secret files,
//!   queries, headers, bodies, and what the app answers. Queries, headers and answers carry a word of
//!   their own that is random in each run ([`canary`]);
//! - when a gateway ends, everything that it has said and left is searched for that: standard output and
//!   error, the log, metrics, answers of the API without `payload=1`, the audit trail, every file but
//!   plain segments of the journal, and its temporary directory. So is what commands print, and every
//!   answer that the harness's clients get;
//! - what is looked for is looked for in other forms, too (`forms`), and in pieces.
//!
//! Nothing may be found. `control` proves that it would be: it plants a word in each kind of place.
//!
//! Left out is what the contract shows on purpose: ids, types, subjects and times of events, addresses,
//! methods, paths and user agents.

mod control;
mod forms;
mod needles;
mod payload;
mod places;

use std::process::Command;
use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

pub use self::needles::Needles;
pub use self::places::{Found, Temporary, Watched, answers};

/// All that this run has made and sent.
static ALL: LazyLock<Needles> = LazyLock::new(Needles::default);

/// What makes this run's words its own.
static RUN: LazyLock<u64> = LazyLock::new(|| fastrand::u64(..));

/// All that this run has made and sent so far.
pub fn all() -> &'static Needles {
    &ALL
}

/// A word for one kind of place that stands nowhere else, the same over the whole run: letters only, for
/// whoever leaves secrets out of what is shown goes by digits.
pub fn canary(place: &str) -> String {
    let digest = Sha256::digest(format!("{} {place}", *RUN));
    let word: String = digest.iter().take(9).map(|byte| char::from(b'a' + byte % 26)).collect();
    let word = format!("canary{word}");
    ALL.add(&format!("the canary of {place}"), word.as_bytes(), 1);
    word
}

/// Takes note of a secret: not even a piece of it may be told.
pub fn secret(what: &str, value: &[u8]) {
    ALL.add(&format!("the secret {what}"), value.trim_ascii_end(), 1);
}

/// Takes note of a request to a source, with what it carries.
pub fn sent(path: &str, headers: &[(String, String)], body: &[u8]) {
    if path.starts_with("/api/") || path == "/login" {
        // An operator's: filters and reasons are shown.
        return;
    }
    if let Some((_, query)) = path.split_once('?') {
        ALL.add("a query", query.as_bytes(), 8);
    }
    for (name, value) in headers {
        let value = value.strip_prefix("Bearer ").unwrap_or(value);
        if !payload::is_shown(name) && payload::is_no_everyday_word(value) {
            ALL.add(&format!("the header {name}"), value.as_bytes(), 8);
        }
    }
    payload::note(&ALL, body);
}

/// An answer that was got, and was not asked to show a payload.
pub fn answered(what: &str, text: &str) {
    assert_clean(what, text.as_bytes());
}

/// What a command has printed, unless it is there to show payload or secrets.
pub fn printed(command: &Command, out: &str, err: &str) {
    let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let shows = args.iter().any(|arg| arg == "--payload")
        || args.first().is_some_and(|arg| arg == "keygen")
        || args.starts_with(&["store".to_owned(), "export".to_owned()]);
    let line = args.join(" ");
    if !shows {
        assert_clean(&format!("what `{line}` prints"), out.as_bytes());
    }
    assert_clean(&format!("the errors of `{line}`"), err.as_bytes());
}

fn assert_clean(place: &str, text: &[u8]) {
    let hits = ALL.search(text);
    assert!(hits.is_empty(), "{place} tells {hits:#?}:\n{}", String::from_utf8_lossy(text));
}
