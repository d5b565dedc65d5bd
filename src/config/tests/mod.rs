//! The configuration as a whole. Here: what the tests share, and what a valid file becomes.

mod changes;
mod documents;
mod mistakes;
mod presets;
mod robust;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::secrets::SecretFile;
use super::*;
use crate::provider::Preset;

/// A machine of the test's own making.
#[derive(Default)]
struct Fake {
    variables: HashMap<&'static str, &'static str>,
    files: HashMap<&'static str, (&'static str, u32)>,
}

impl SecretReader for Fake {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(name).map(|value| (*value).into())
    }

    fn file(&self, path: &Path) -> io::Result<SecretFile> {
        let found = path.to_str().and_then(|path| self.files.get(path));
        let (text, mode) = *found.ok_or(io::ErrorKind::NotFound)?;
        Ok(SecretFile { bytes: text.into(), mode })
    }

    fn certificates(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.file(path).map(|file| file.bytes)
    }
}

fn fake() -> Fake {
    Fake {
        variables: HashMap::from([
            ("KEY", "0123456789abcdef"),
            ("SHORT", "0123456789abcde"),
            ("EMPTY", ""),
            ("CONTROL", "0123456789abcdef\n"),
            ("SPACED", "0123456789abcdef "),
            ("WHSEC", "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="),
        ]),
        files: HashMap::from([
            ("/etc/hookward/good", ("0123456789abcdef\n", 0o100600)),
            ("/etc/hookward/open", ("0123456789abcdef\n", 0o100640)),
            ("/etc/hookward/newline", ("\n", 0o100600)),
            ("/etc/hookward/junk.pem", ("nothing", 0o100644)),
            (
                "/etc/hookward/ca.pem",
                ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o100644),
            ),
        ]),
    }
}

const FILE: &str = "/etc/hookward/hookward.toml";

fn check(text: &str) -> Checked {
    check_text(Path::new(FILE), text, &fake())
}

/// A whole configuration around a source `s` and an upstream `u`.
fn around(source: &str, upstream: &str, rest: &str) -> String {
    format!(
        "[source.s]\n{source}\n[upstream.u]\nurl = \"http://127.0.0.1:3000/\"\n{upstream}\n{rest}\n"
    )
}

const GOOD: &str = "auth = { kind = \"api-key\", header = \"X-Key\" }\nkeys = [{ env = \"KEY\" }]";

fn good() -> String {
    around(GOOD, "", "")
}

fn errors(text: &str) -> Vec<String> {
    let problems = match check(text) {
        Ok(_) => return Vec::new(),
        Err(invalid) => invalid.problems,
    };
    let errors = problems.iter().filter(|p| p.severity() == Severity::Error);
    errors.map(|p| p.to_string().replace(&format!("{FILE}:"), "")).collect()
}

fn warnings(text: &str) -> Vec<String> {
    let (_, warnings) = check(text).unwrap();
    warnings.iter().map(|p| p.to_string().replace(&format!("{FILE}:"), "")).collect()
}

/// Asserts that the text has exactly one error, and which.
#[track_caller]
fn one_error(text: &str, expected: &str) {
    assert_eq!(errors(text), [expected], "\n{text}");
}

const EXAMPLE: &str = include_str!("../../../config/hookward.example.toml");

#[test]
fn a_small_file_gets_the_documented_defaults() {
    let (config, _) = check(&good()).unwrap();
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:8443");
    assert_eq!(config.server.ack_deadline, Duration::from_secs(4));
    assert_eq!(config.server.max_body, 1 << 20);
    assert_eq!(config.server.max_connections, 4096);
    assert!(config.admin.is_none());
    assert_eq!(config.store.path, Path::new("/etc/hookward/data"));
    assert_eq!(config.store.retention, Duration::from_secs(30 * 86_400));
    assert_eq!(config.store.min_free, 256 << 20);
    assert_eq!(config.log.format, LogFormat::Json);
    let source = &config.sources[0];
    assert_eq!(source.path, "/hooks/s");
    assert_eq!(source.on_conflict, OnConflict::Quarantine);
    assert!(source.allow_ips.is_none() && source.dedupe.is_none() && source.events.is_none());
    let upstream = &config.upstreams[0];
    assert_eq!((upstream.timeout, upstream.concurrency), (Duration::from_secs(10), 16));
    assert_eq!(upstream.ordering, Ordering::Subject);
    assert_eq!(upstream.retry.give_up, Duration::from_secs(72 * 3600));
    assert!(config.routes.is_empty());
}

#[test]
fn what_is_doubtful_is_warned_about() {
    let text = around(
        "auth = { kind = \"none-dangerous\" }",
        "",
        "[upstream.v]\nurl = \"http://127.0.0.1/\"\n[source.t]\npreset = \"drx\"\nkeys = [{ env = \"KEY\" }]\n\
         [admin]\n[server]\nhandshake_timeout = \"5s\"\n[[route]]\nsource = \"t\"\nto = [\"u\"]",
    );
    assert_eq!(
        warnings(&text),
        [
            "1:1: warning: source.s: no route takes its events: they are stored and go nowhere",
            "1:1: warning: store.encryption_key: events are stored unencrypted: encryption at rest comes in a later version",
            "2:8: warning: source.s.auth: DANGEROUS: nothing is authenticated; anyone who reaches this path can forge events, and all of them are forwarded",
            "6:1: warning: upstream.v: no route leads here: it gets no events",
            "11:1: warning: admin.token: no token: nothing but the health endpoints is served there",
            "13:21: warning: server.handshake_timeout: without effect: the public listener has no TLS in this version",
        ]
    );
}

#[test]
fn routes_know_their_upstreams_by_index() {
    let text = around(
        GOOD,
        "",
        "[upstream.a]\nurl = \"http://a/\"\n[[route]]\ntype = \"order.*\"\nto = [\"a\", \"u\"]\n[[route]]\nsource = \"s\"\nto = [\"u\"]",
    );
    let (config, _) = check(&text).unwrap();
    let names: Vec<_> = config.upstreams.iter().map(|u| u.name.as_str()).collect();
    assert_eq!(names, ["u", "a"]);
    assert_eq!(config.routes[0].to, [1, 0]);
    assert!(config.routes[0].kind.as_ref().is_some_and(|kind| kind.matches("order.shipped")));
    assert_eq!(config.routes[1].source.as_ref().map(|s| s.as_str()), Some("s"));
}

#[test]
fn a_file_is_loaded_with_its_secrets_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let (file, key) = (dir.path().join("hookward.toml"), dir.path().join("key"));
    std::fs::write(
        &file,
        good().replace("{ env = \"KEY\" }", "{ env = \"A\" }, { file = \"key\" }"),
    )
    .unwrap();
    std::fs::write(&key, "fedcba9876543210\r\n").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let env = |name: &str| (name == "A").then(|| OsString::from("0123456789abcdef"));
    let (config, _) = load(&file, &env).unwrap();
    assert!(config.sources[0].keys[0].matches(b"0123456789abcdef"));
    assert!(config.sources[0].keys[1].matches(b"fedcba9876543210"));
    assert_eq!(config.store.path, dir.path().join("data"));

    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o604)).unwrap();
    let problems = load(&file, &|_| None).unwrap_err().problems;
    let kinds: Vec<_> =
        problems.iter().map(|p| &p.kind).filter(|k| matches!(k, ProblemKind::Secret(_))).collect();
    assert_eq!(kinds.len(), 2, "{problems:?}");

    let missing = load(&dir.path().join("nope.toml"), &env).unwrap_err().problems;
    assert!(missing[0].to_string().ends_with("nope.toml: error: cannot be read: entity not found"));
    std::fs::write(&file, b"\xff").unwrap();
    assert_eq!(load(&file, &env).unwrap_err().problems[0].kind, ProblemKind::NotUtf8);
}
