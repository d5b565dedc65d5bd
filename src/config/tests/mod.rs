//! The configuration as a whole. Here: what the tests share, and what a valid file becomes.

mod changes;
mod documents;
mod listener;
mod mistakes;
mod operators;
mod outputs;
mod presets;
mod robust;
mod upstreams;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use super::secrets::SecretFile;
use super::*;
use crate::clock::UnixMillis;
use crate::provider::Preset;
use crate::secret::Key;

/// A machine of the test's own making.
#[derive(Default)]
struct Fake {
    variables: HashMap<&'static str, &'static str>,
    files: HashMap<String, (String, u32)>,
    /// The time, in RFC 3339.
    now: String,
}

/// A certificate for `name` that holds from 2025 to the first day of this year, and its key.
fn certificate(name: &str, until: i32) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2025, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

static OWN: LazyLock<(String, String)> = LazyLock::new(|| certificate("hooks.example", 2030));
static OTHER: LazyLock<(String, String)> = LazyLock::new(|| certificate("other.example", 2029));

impl SecretReader for Fake {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(name).map(|value| (*value).into())
    }

    fn file(&self, path: &Path) -> io::Result<SecretFile> {
        let found = path.to_str().and_then(|path| self.files.get(path));
        let (text, mode) = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(SecretFile { bytes: text.clone().into_bytes().into(), mode: *mode })
    }

    fn pem(&self, path: &Path) -> io::Result<SecretFile> {
        self.file(path)
    }

    fn now(&self) -> UnixMillis {
        let now: jiff::Timestamp = self.now.parse().unwrap();
        UnixMillis(now.as_millisecond().try_into().unwrap())
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
            ("STORE", "0707070707070707070707070707070707070707070707070707070707070707"),
            ("OTHER", "0909090909090909090909090909090909090909090909090909090909090909"),
            ("STORE_BASE64", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="),
            ("WHSEC", "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="),
        ]),
        files: [
            ("good", "0123456789abcdef\n", 0o100600),
            ("open", "0123456789abcdef\n", 0o100640),
            ("newline", "\n", 0o100600),
            ("junk.pem", "nothing", 0o100600),
            ("cert.pem", &OWN.0, 0o100644),
            ("key.pem", &OWN.1, 0o100600),
            ("open-key.pem", &OWN.1, 0o100644),
            ("other-key.pem", &OTHER.1, 0o100600),
            ("ca.pem", &OTHER.0, 0o100644),
            ("rsa-3072.pem", include_str!("rsa-3072.pem"), 0o100600),
        ]
        .into_iter()
        .map(|(name, text, mode)| (place(name), (text.to_owned(), mode)))
        .collect(),
        now: "2028-12-01T00:00:00Z".to_owned(),
    }
}

const FILE: &str = "/etc/hookward/hookward.toml";

/// Where a file of this name stands beside the configuration.
fn place(name: &str) -> String {
    format!("/etc/hookward/{name}")
}

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
         [admin]\n[server]\nlisten = \"127.0.0.1:8080\"\nhandshake_timeout = \"5s\"\n[[route]]\nsource = \"t\"\nto = [\"u\"]",
    );
    assert_eq!(
        warnings(&text),
        [
            "1:1: warning: source.s: no route takes its events: they are stored and go nowhere",
            "1:1: warning: store.encryption_key: not set: events are stored unencrypted, and whoever gets at the disk reads them; `hookward keygen` makes a key",
            "2:8: warning: source.s.auth: DANGEROUS: nothing is authenticated; anyone who reaches this path can forge events, and all of them are forwarded",
            "6:1: warning: upstream.v: no route leads here: it gets no events",
            "11:1: warning: admin.token: no token: nothing but the health endpoints is served there",
            "14:21: warning: server.handshake_timeout: without effect: there is neither server.tls, admin.tls nor server.proxy_protocol",
        ]
    );
}

#[test]
fn the_first_encryption_key_of_a_list_comes_first() {
    let hex = |digit: u8| Key::new([digit; 32].into());
    for (given, expected) in [
        ("{ env = \"STORE\" }", vec![hex(7)]),
        ("[{ env = \"STORE_BASE64\" }]", vec![hex(7)]),
        ("[{ env = \"OTHER\" }, { env = \"STORE\" }]", vec![hex(9), hex(7)]),
    ] {
        let text = around(GOOD, "", &format!("[store]\nencryption_key = {given}"));
        let (config, problems) = check(&text).unwrap();
        assert_eq!(config.store.encryption_keys, expected, "{given}");
        assert!(problems.iter().all(|p| p.key != "store.encryption_key"), "{problems:?}");
    }
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
    assert!(missing[0].to_string().ends_with("nope.toml: error: cannot be read: no such file"));
    std::fs::write(&file, b"\xff").unwrap();
    assert_eq!(load(&file, &env).unwrap_err().problems[0].kind, ProblemKind::NotUtf8);
}
