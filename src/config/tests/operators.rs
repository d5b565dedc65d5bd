//! `[admin]`: tokens with names and roles, and TLS.

use super::*;

/// A configuration with these lines at its end.
fn with(lines: &str) -> String {
    around(GOOD, "", lines)
}

const TOKENS: &str = "[admin]\ntoken = { env = \"OTHER\" }\n\
    [admin.tokens.alice]\nrole = \"viewer\"\nsecret = { env = \"KEY\" }\n\
    [admin.tokens.bob-2]\nrole = \"auditor\"\nsecret = { env = \"STORE\" }\n";

#[test]
fn tokens_have_a_name_a_role_and_a_secret() {
    let (config, problems) = check(&with(TOKENS)).unwrap();
    assert!(problems.iter().all(|p| !p.key.starts_with("admin")), "{problems:?}");
    let admin = config.admin.unwrap();
    assert!(admin.token.unwrap().matches(b"09".repeat(32).as_slice()));
    let named: Vec<_> = admin.tokens.iter().map(|t| (t.name.as_str(), t.role)).collect();
    assert_eq!(named, [("alice", Role::Viewer), ("bob-2", Role::Auditor)]);
    assert!(admin.tokens[0].secret.matches(b"0123456789abcdef"));
    for (name, role) in Role::NAMED {
        assert_eq!(role.as_str(), name);
    }
    // Named tokens do without the other one.
    let named = TOKENS.replace("token = { env = \"OTHER\" }\n", "");
    let told = warnings(&with(&named));
    assert!(!told.iter().any(|w| w.contains("no token")), "{told:?}");
    let none = warnings(&with("[admin]\n[admin.tokens]\n"));
    assert!(none.iter().any(|w| w.contains("admin.token: no token")), "{none:?}");
}

#[test]
fn each_bad_token_is_told_at_its_place() {
    for (from, to, expected) in [
        (
            "role = \"viewer\"\n",
            "",
            "9:1: error: admin.tokens.alice.role: missing; accepted: \"viewer\", \"operator\" or \"auditor\"",
        ),
        (
            "\"viewer\"",
            "\"viewers\"",
            "10:8: error: admin.tokens.alice.role: found \"viewers\"; accepted: \"viewer\", \"operator\", \"auditor\"; did you mean \"viewer\"?",
        ),
        (
            "\"viewer\"",
            "\"admin\"",
            "10:8: error: admin.tokens.alice.role: found \"admin\"; accepted: \"viewer\", \"operator\", \"auditor\"",
        ),
        (
            "secret = { env = \"KEY\" }\n",
            "",
            "9:1: error: admin.tokens.alice.secret: missing; accepted: { env = \"NAME\" } or { file = \"PATH\" }",
        ),
        (
            "{ env = \"KEY\" }",
            "\"hunter2hunter2\"",
            "11:10: error: admin.tokens.alice.secret: found the secret itself; secrets do not stand in this file; accepted: { env = \"NAME\" } or { file = \"PATH\" }",
        ),
        (
            "{ env = \"KEY\" }",
            "{ env = \"UNSET\" }",
            "11:10: error: admin.tokens.alice.secret: the environment variable UNSET is not set; accepted: one that is",
        ),
        (
            "{ env = \"KEY\" }",
            "{ file = \"open\" }",
            "11:10: error: admin.tokens.alice.secret: /etc/hookward/open",
        ),
        // The same bytes, from another place.
        (
            "\"STORE\"",
            "\"OTHER\"",
            "14:10: error: admin.tokens.bob-2.secret: found the same secret, which admin.token has already; accepted: one of its own",
        ),
        (
            "{ env = \"STORE\" }",
            "{ file = \"good\" }",
            "14:10: error: admin.tokens.bob-2.secret: found the same secret, which admin.tokens.alice.secret has already; accepted: one of its own",
        ),
        (
            "tokens.alice",
            "tokens.admin",
            "9:1: error: admin.tokens.admin: found the name \"admin\", which admin.token has already; accepted: one of its own",
        ),
        (
            "tokens.alice",
            "tokens.Alice",
            "9:1: error: admin.tokens.Alice: found \"Alice\"; accepted: 1 to 64 of a-z, 0-9, `-` and `_`, not starting with `-` or `_`",
        ),
        (
            "role = \"viewer\"",
            "rights = \"viewer\"\nrole = \"viewer\"",
            "10:1: error: admin.tokens.alice.rights: unknown key; accepted: role, secret",
        ),
    ] {
        let text = with(&TOKENS.replacen(from, to, 1));
        let found = errors(&text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{expected}\n{found:#?}");
    }
    let short = warnings(&with(&TOKENS.replace("\"KEY\"", "\"SHORT\"")));
    let told = "11:10: warning: admin.tokens.alice.secret: the environment variable SHORT has 15 bytes; a secret should have at least 16: nobody is locked out for guessing, so its length is what protects it";
    assert!(short.iter().any(|w| w == told), "{short:?}");
}

#[test]
fn there_is_a_bound_to_them() {
    let most = defaults::admin::MAX_TOKENS;
    let many = |n: usize| {
        let token =
            |n| format!("[admin.tokens.t{n}]\nrole = \"viewer\"\nsecret = {{ env = \"T{n}\" }}\n");
        with(&(0..n).map(token).collect::<String>())
    };
    let checked = |n| check_text(Path::new(FILE), &many(n), &Placeholders);
    assert_eq!(checked(most).unwrap().0.admin.unwrap().tokens.len(), most);
    let problems = checked(most + 1).unwrap_err().problems;
    let told = |problem: &Problem| problem.to_string().contains("found 65; accepted: at most 64");
    assert!(problems.iter().any(told), "{problems:?}");
}

const TLS: &str = "[admin]\ntoken = { env = \"KEY\" }\nlisten = \"0.0.0.0:9443\"\n\
    tls = { cert = \"cert.pem\", key = \"key.pem\", client_ca = \"ca.pem\" }\n";

#[test]
fn the_operators_listener_can_have_tls_and_ask_for_certificates() {
    let (config, _) = check(&with(TLS)).unwrap();
    let tls = config.admin.unwrap().tls.unwrap();
    assert_eq!(tls.client_ca.as_ref().map(|ca| ca.roots.len()), Some(1));
    for name in ["cert.pem", "key.pem", "ca.pem"] {
        assert!(config.files.contains(&place(name).into()), "{name} is watched");
    }
    for (from, to, expected) in [
        ("ca.pem", "junk.pem", "admin.tls.client_ca: /etc/hookward/junk.pem: holds no certificate"),
        ("key.pem", "other-key.pem", "admin.tls.key: /etc/hookward/other-key.pem"),
        ("key.pem", "open-key.pem", "admin.tls.key: /etc/hookward/open-key.pem"),
        ("cert = \"cert.pem\", ", "", "admin.tls.cert: missing"),
        ("client_ca", "acme", "admin.tls.acme: unknown key; accepted: cert, key, client_ca"),
    ] {
        let found = errors(&with(&TLS.replace(from, to)));
        assert!(found.len() == 1 && found[0].contains(expected), "{expected}\n{found:#?}");
    }
}

#[test]
fn a_plain_operators_listener_is_for_this_machine() {
    let told = |text: &str| {
        let found = warnings(&with(text));
        found.iter().any(|w| w.contains("admin.listen: plain HTTP for more than this machine"))
    };
    let plain = "[admin]\ntoken = { env = \"KEY\" }\nlisten = \"0.0.0.0:9443\"\n";
    assert!(told(plain));
    assert!(!told(TLS));
    assert!(!told(&plain.replace("0.0.0.0", "127.0.0.1")));
    assert!(!told(&plain.replace("0.0.0.0", "[::1]")));
}
