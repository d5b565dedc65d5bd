//! Invalid configurations: `check` and `run` print the same, exit 78, and start nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::process::{Said, hookward, run};

const VALID: &str = "[source.lab]\nauth = { kind = \"api-key\", header = \"X-Key\" }\nkeys = [{ env = \"LAB\" }]\n\n[upstream.app]\nurl = \"http://127.0.0.1:1/\"\n";

async fn both(dir: &Path, text: &str) -> Said {
    std::fs::write(dir.join("hookward.toml"), text).unwrap();
    let check = run(hookward(dir, &["check", "--config", "hookward.toml"])).await;
    assert_eq!(check.code, Some(78), "{text}\n{check:?}");
    let run = run(hookward(dir, &["run", "--config", "hookward.toml"])).await;
    assert_eq!(check, run, "check and run differ");
    assert!(!dir.join("data").exists(), "something was started");
    check
}

/// What is changed in a valid file, and what is said about it.
const INVALID: &[(&str, &str, &[&str])] = &[
    (
        "[source.lab]",
        "[server]\nlisten_on = \"127.0.0.1:1\"\n[source.lab]",
        &["hookward.toml:2:1: error: server.listen_on: unknown key", "did you mean \"listen\""],
    ),
    ("\"LAB\"", "\"NOT_SET\"", &["hookward.toml:3:", "source.lab.keys", "NOT_SET is not set"]),
    (
        "[{ env = \"LAB\" }]",
        "[\"hunter2hunter2hunter2\"]",
        &["the secret itself", "{ env = \"NAME\" }"],
    ),
    ("\"api-key\"", "\"apikey\"", &["source.lab.auth.kind", "did you mean \"api-key\""]),
    ("{ env = \"LAB\" }", "{ file = \"open\" }", &["open has mode 0644", "0600"]),
    ("{ env = \"LAB\" }", "{ file = \"nowhere\" }", &["nowhere: no such file"]),
    ("{ env = \"LAB\" }", "{ file = \"empty\" }", &["empty is empty"]),
    (
        "keys =",
        "allow_ips = [\"10.0.0.1/8\"]\nkeys =",
        &["allow_ips", "did you mean \"10.0.0.0/8\""],
    ),
    (
        "keys =",
        "max_event_age = \"31d\"\nevent.time = \"/t\"\nkeys =",
        &["max_event_age", "shorter than 30d"],
    ),
    ("keys =", "max_event_age = 5\nkeys =", &["max_event_age", "found"]),
    ("keys =", "path = \"hooks/x\"\nkeys =", &["source.lab.path"]),
    ("keys =", "event.id = \"$.id\"\nkeys =", &["event.id", "did you mean \"/id\""]),
    (
        "keys =",
        "rate_limit = { per_second = 0, burst = 2 }\nkeys =",
        &["rate_limit.per_second", "found 0", "1 to 1000000"],
    ),
    ("url = ", "format = \"xml\"\nurl = ", &["format: found \"xml\"", "\"passthrough\""]),
    (
        "[source.lab]",
        "[server]\ntls = { acme = {} }\n[source.lab]",
        &["server.tls.acme.domains: missing"],
    ),
    (
        "[source.lab]",
        "[server]\nack_deadline = \"5s\"\n[source.lab]",
        &["server.ack_deadline", "4500ms"],
    ),
    ("[source.lab]", "[store]\nretention = \"1h\"\n[source.lab]", &["give_up", "at most 1h"]),
    (
        "[source.lab]",
        "[server]\nproxy_protocol = true\n[source.lab]",
        &["proxy_protocol", "without `trusted_proxies`"],
    ),
    (
        "[source.lab]",
        "[store]\nencryption_key = { file = \"open\", allow_readable = true }\n[source.lab]",
        &["store.encryption_key: ", "open holds no encryption key"],
    ),
    (
        "[upstream.app]",
        "[source.two]\npath = \"/hooks/lab\"\nauth = { kind = \"none-dangerous\" }\n[upstream.app]",
        &["\"/hooks/lab\"", "source.lab has already"],
    ),
    (
        "[upstream.app]",
        "[[route]]\nto = [\"ap\"]\n[upstream.app]",
        &["route", "did you mean \"app\""],
    ),
    ("url = ", "concurrency = = 1\nurl = ", &["hookward.toml:6:", "not valid TOML"]),
    (
        "url = \"http://127.0.0.1:1/\"",
        "url = \"http://user:hunter2@app/\"",
        &["upstream.app.url", "`@`"],
    ),
    ("url = \"http://127.0.0.1:1/\"", "", &["upstream.app.url: missing"]),
];

#[tokio::test]
async fn run_prints_what_check_prints_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for (name, mode, content) in [("open", 0o644, "0123456789abcdef"), ("empty", 0o600, "\n")] {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    for (from, to, expected) in INVALID {
        assert!(VALID.contains(from), "{from}");
        let said = both(dir.path(), &VALID.replacen(from, to, 1)).await;
        assert_eq!((said.code, said.out.as_str()), (Some(78), ""), "{to}: {said:?}");
        for words in *expected {
            assert!(said.err.contains(words), "{to}: no {words:?} in {}", said.err);
        }
        assert!(said.err.ends_with("error: nothing is started\n"), "{}", said.err);
        assert!(!said.err.contains("hunter2"), "{}", said.err);
        let errors = said.err.lines().filter(|line| line.contains(": error: ")).count();
        assert_eq!(errors, 1, "{to}: {}", said.err);
    }
}

#[tokio::test]
async fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let text = VALID
        .replace("\"LAB\"", "\"NOT_SET\"")
        .replace("\"api-key\"", "\"apikey\"")
        .replace("http://", "gopher://")
        + "timeout = \"1y\"\nconcurency = 1\n";
    let said = both(dir.path(), &text).await;
    let places: Vec<&str> = said
        .err
        .lines()
        .filter(|line| line.contains(": error: "))
        .map(|line| line.split(": error: ").next().unwrap())
        .collect();
    let lines: Vec<&str> = places.iter().map(|place| place.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["2", "3", "6", "7", "8"], "{}", said.err);
    assert!(said.err.ends_with("5 errors: nothing is started\n"), "{}", said.err);
}

#[tokio::test]
async fn a_file_that_is_not_there_is_told() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["check", "run", "sources"] {
        let said = run(hookward(dir.path(), &[command, "--config", "gone.toml"])).await;
        assert_eq!((said.code, said.out.as_str()), (Some(78), ""), "{command}");
        assert!(said.err.contains("gone.toml: error: cannot be read"), "{}", said.err);
    }
}

#[tokio::test]
async fn a_valid_file_is_summed_up_and_exits_0() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hookward.toml"), VALID).unwrap();
    let said = run(hookward(dir.path(), &["check", "--config", "hookward.toml"])).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    for words in ["hookward.toml is valid", "/hooks/lab", "api key in x-key", "127.0.0.1:1"] {
        assert!(said.out.contains(words), "no {words:?} in {}", said.out);
    }
    assert!(!dir.path().join("data").exists(), "check starts nothing");
}

/// `--config`, then `HOOKWARD_CONFIG`, then the file here.
#[tokio::test]
async fn the_file_is_found_in_its_places() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, source: &str| {
        let text = VALID.replace("source.lab", &format!("source.{source}"));
        std::fs::write(dir.path().join(name), text).unwrap();
    };
    write("hookward.toml", "here");
    write("variable.toml", "variable");
    write("named.toml", "named");
    let here = run(hookward(dir.path(), &["check"])).await;
    assert!(here.out.contains("source here"), "{here:?}");
    let mut command = hookward(dir.path(), &["check"]);
    command.env("HOOKWARD_CONFIG", "variable.toml");
    assert!(run(command).await.out.contains("source variable"));
    let mut command = hookward(dir.path(), &["check", "--config", "named.toml"]);
    command.env("HOOKWARD_CONFIG", "variable.toml");
    assert!(run(command).await.out.contains("source named"));
}
