//! What a reload asks: which files a configuration comes from, what differs, what cannot change.

use super::*;

fn config(text: &str) -> Config {
    check(text).unwrap_or_else(|invalid| panic!("{invalid:?}\n{text}")).0
}

fn names(files: &[PathBuf]) -> Vec<&str> {
    files.iter().filter_map(|file| file.to_str()?.strip_prefix("/etc/hookward/")).collect()
}

#[test]
fn all_files_of_a_configuration_are_known() {
    let text = around(
        "auth = { kind = \"api-key\", header = \"X\" }\nkeys = [{ file = \"good\" }, { env = \"KEY\" }]",
        "signing_key = { env = \"WHSEC\" }\n[upstream.v]\nurl = \"https://v/\"\nca = \"ca.pem\"",
        "[admin]\ntoken = { file = \"/etc/hookward/good\" }",
    );
    assert_eq!(names(&config(&text).files), ["hookward.toml", "good", "ca.pem"]);
}

/// A secret that is not there yet must be looked for again when it comes.
#[test]
fn the_files_of_an_invalid_configuration_are_known_too() {
    let text = good().replace("{ env = \"KEY\" }", "{ file = \"nope\" }, { file = \"open\" }");
    assert_eq!(names(&check(&text).unwrap_err().files), ["hookward.toml", "nope", "open"]);
    assert_eq!(names(&check("[").unwrap_err().files), ["hookward.toml"]);
    assert_eq!(names(&check(&"a.".repeat(100)).unwrap_err().files), ["hookward.toml"]);
    let missing = load(Path::new("/nowhere/hookward.toml"), &|_| None).unwrap_err();
    assert_eq!(missing.files, [Path::new("/nowhere/hookward.toml")]);
}

#[test]
fn what_means_the_same_is_no_change() {
    let old = config(&good());
    for text in [
        good(),
        good()
            + "[server]\nlisten = \"0.0.0.0:8443\"\nmax_body = \"1024KiB\"\n[log]\nlevel = \"info\"\n",
        good().replace("keys = ", "path = \"/hooks/s\"\nkeys = "),
        good().replace("{ env = \"KEY\" }", "{ file = \"good\" }"),
    ] {
        let new = config(&text);
        assert_eq!(changes(&old, &new), [""; 0], "{text}");
        assert_eq!(fixed(&old, &new), [""; 0], "{text}");
    }
    let two = "[upstream.a]\nurl = \"http://a/\"\n[[route]]\nto = [\"a\", \"u\"]\n";
    let (one, other) = (around(GOOD, "", two), format!("{two}{}", good()));
    assert_eq!(changes(&config(&one), &config(&other)), [""; 0]);
}

#[test]
fn each_change_is_told_by_its_key() {
    let key = "[{ env = \"KEY\" }]";
    for (from, to, expected) in [
        ("[server]", "[server]\nmax_body = \"2MiB\"", &["server.max_body"][..]),
        (
            "[server]",
            "[server]\nidle_timeout = \"5s\"\nack_deadline = \"3s\"",
            &["server.ack_deadline", "server.idle_timeout"],
        ),
        (
            "[server]",
            "[server]\nmax_streams = 9\nfailure_rate_limit = { per_second = 1, burst = 1 }",
            &["server.max_streams", "server.failure_rate_limit"],
        ),
        ("[server]", "[server]\ntls = { acme = { domains = [\"a.b\"] } }", &["server.tls"]),
        ("[admin]", "[admin]\ntoken = { env = \"KEY\" }", &["admin.token"]),
        ("[admin]\n", "", &["admin (removed)"]),
        (
            "[store]",
            "[store]\nretention = \"40d\"\nmin_free = \"1MiB\"",
            &["store.retention", "store.min_free"],
        ),
        ("[store]", "[store]\nencryption_key = { env = \"STORE\" }", &["store.encryption_key"]),
        ("[log]", "[log]\nlevel = \"debug\"", &["log.level"]),
        (
            "[log]",
            "[log]\n[audit]\ncheckpoints = { url = \"https://n/\", token = { env = \"KEY\" } }",
            &["audit.checkpoints"],
        ),
        (
            "[log]",
            "[log]\n[audit.output.a]\nkind = \"file\"\npath = \"a\"",
            &["audit.output.a (added)"],
        ),
        (key, "[{ env = \"KEY\" }, { env = \"WHSEC\" }]", &["source.s.keys"]),
        (
            key,
            "[{ env = \"KEY\" }]\nretry_schedule = [\"1m\"]\nretry_horizon = \"1h\"",
            &["source.s.retry_schedule", "source.s.retry_horizon"],
        ),
        (
            key,
            "[{ env = \"KEY\" }]\nallow_ips = [\"10.0.0.0/8\"]\nevent.type = \"/t\"",
            &["source.s.allow_ips", "source.s.event.type"],
        ),
        ("X-Key", "X-Other", &["source.s.auth"]),
        ("[source.s]", "[source.t]", &["source.s (removed)", "source.t (added)"]),
        ("3000", "3001", &["upstream.u.url"]),
        (
            "3000/\"",
            "3000/\"\nretry = { first = \"2s\" }\nsigning_key = { env = \"WHSEC\" }",
            &["upstream.u.signing_key", "upstream.u.retry.first"],
        ),
        (
            "3000/\"",
            "3000/\"\nformat = \"passthrough\"\noriginal_signature = \"keep\"\nresign = { s = { env = \"KEY\" } }\n\
             allow_link_local = true\nrate_limit = { per_second = 1, burst = 1 }",
            &[
                "upstream.u.format",
                "upstream.u.original_signature",
                "upstream.u.resign",
                "upstream.u.allow_link_local",
                "upstream.u.rate_limit",
            ],
        ),
        (key, "[{ env = \"KEY\" }]\nforward_headers = [\"X-A\"]", &["source.s.forward_headers"]),
        ("[log]", "[log]\n[upstream.v]\nurl = \"http://v/\"", &["upstream.v (added)"]),
        ("[log]", "[log]\n[[route]]\nto = [\"u\"]", &["route"]),
    ] {
        let old = around(GOOD, "", "[server]\n[admin]\n[store]\n[log]");
        assert!(old.contains(from), "{from}");
        let new = old.replacen(from, to, 1);
        assert_eq!(changes(&config(&old), &config(&new)), expected, "{new}");
    }
}

#[test]
fn each_change_of_an_output_is_told_by_its_key() {
    let outputs = "[audit.output.a]\nkind = \"syslog\"\naddress = \"tls://a\"\nca = \"ca.pem\"\n\
                   [audit.output.b]\nkind = \"file\"\npath = \"b\"";
    for (from, to, expected) in [
        ("tls://a", "tls://c", &["audit.output.a.address"][..]),
        ("ca.pem", "cert.pem", &["audit.output.a.ca"]),
        (
            "ca = \"ca.pem\"",
            "cert = \"cert.pem\"\nkey = \"key.pem\"",
            &["audit.output.a.ca", "audit.output.a.cert"],
        ),
        (
            "ca = \"ca.pem\"",
            "ca = \"ca.pem\"\nfacility = \"authpriv\"",
            &["audit.output.a.facility"],
        ),
        ("\"b\"", "\"c\"\nfrom = \"beginning\"", &["audit.output.b.path", "audit.output.b.from"]),
        (
            "kind = \"file\"\npath = \"b\"",
            "kind = \"syslog\"\naddress = \"unix:/dev/log\"",
            &["audit.output.b.kind"],
        ),
        (".b]", ".c]", &["audit.output.b (removed)", "audit.output.c (added)"]),
    ] {
        let old = around(GOOD, "", outputs);
        assert!(old.contains(from), "{from}");
        let new = old.replacen(from, to, 1);
        assert_eq!(changes(&config(&old), &config(&new)), expected, "{new}");
        assert_eq!(fixed(&config(&old), &config(&new)), [""; 0]);
    }
}

#[test]
fn a_secret_that_was_replaced_in_its_place_is_told_by_its_key_alone() {
    let text = around(
        "preset = \"standard-webhooks\"\nkeys = [{ file = \"rotated\" }]",
        "headers = { A = { file = \"rotated\" } }",
        "",
    );
    let with = |secret: &str| {
        let mut machine = fake();
        machine.files.insert(place("rotated"), (secret.to_owned(), 0o100600));
        check_text(Path::new(FILE), &text, &machine).unwrap().0
    };
    let (old, new) = (with("MDEyMzQ1Njc4OWFiY2RlZg=="), with("ZmVkY2JhOTg3NjU0MzIxMA=="));
    assert_eq!(changes(&old, &new), ["source.s.keys", "upstream.u.headers"]);
    assert_eq!(fixed(&old, &new), [""; 0]);
}

const FILES: &str = "tls = { cert = \"cert.pem\", key = \"key.pem\" }";

/// The same files with other content: how certificates are renewed.
#[test]
fn renewed_certificates_are_told_by_their_keys() {
    let text = around(
        &format!("{GOOD}\nclient_ca = \"ca.pem\""),
        "",
        &format!(
            "[server]\n{FILES}\n[upstream.v]\nurl = \"https://v/\"\nca = \"ca.pem\"\nclient_cert = {{ cert = \"cert.pem\", key = \"key.pem\" }}"
        ),
    );
    let old = config(&text);
    let mut machine = fake();
    let (cert, key) = certificate("hooks.example", 2040);
    machine.files.insert(place("ca.pem"), (cert.clone(), 0o100644));
    machine.files.insert(place("cert.pem"), (cert, 0o100644));
    machine.files.insert(place("key.pem"), (key, 0o100600));
    let new = check_text(Path::new(FILE), &text, &machine).unwrap().0;
    assert_eq!(
        changes(&old, &new),
        ["server.tls.cert", "source.s.client_ca", "upstream.v.ca", "upstream.v.client_cert"]
    );
    assert_eq!(changes(&old, &config(&text)), [""; 0]);
    assert_eq!(fixed(&old, &new), [""; 0]);

    let acme = |domain: &str| {
        config(&text.replace(FILES, &format!("tls = {{ acme = {{ domains = [\"{domain}\"] }} }}")))
    };
    assert_eq!(changes(&acme("a.b"), &acme("c.d")), ["server.tls.acme.domains"]);
    assert_eq!(fixed(&acme("a.b"), &acme("c.d")), [""; 0]);
    assert_eq!(fixed(&old, &acme("a.b")), ["server.tls"]);
    // Where keys are kept may be out of reach by then.
    let elsewhere = acme("a.b\"], cache = \"elsewhere\", contact = [\"it@a.b");
    assert_eq!(fixed(&acme("a.b"), &elsewhere), ["server.tls.acme.cache"]);
}

#[test]
fn what_cannot_change_while_running_is_named() {
    let old = around(GOOD, "", "[server]\n[admin]\n[store]");
    for (from, to, expected) in [
        ("[server]", "[server]\nlisten = \"0.0.0.0:1\"", &["server.listen"][..]),
        ("[admin]", "[admin]\nlisten = \"127.0.0.1:1\"", &["admin.listen"]),
        ("[admin]\n", "", &["admin"]),
        ("[store]", "[store]\npath = \"other\"", &["store.path"]),
        ("[store]", "[store]\nretention = \"40d\"", &[]),
        ("[server]", &format!("[server]\n{FILES}"), &["server.tls"]),
        ("[server]", "[server]\nsandbox = true", &["server.sandbox"]),
    ] {
        let (a, b) = (config(&old), config(&old.replacen(from, to, 1)));
        assert_eq!(fixed(&a, &b), expected, "{to}");
        assert_eq!(fixed(&b, &a), expected, "back from {to}");
    }
}

/// That it needs a restart is true of the way there only: on the way back the store says what would
/// be lost.
#[test]
fn encryption_begins_with_a_restart() {
    let text = |store: &str| config(&around(GOOD, "", &format!("[store]\n{store}")));
    let plain = text("");
    let one = text("encryption_key = { env = \"STORE\" }");
    let two = text("encryption_key = [{ env = \"OTHER\" }, { env = \"STORE\" }]");
    assert_eq!(fixed(&plain, &one), ["store.encryption_key"]);
    for (old, new) in [(&one, &two), (&two, &one), (&one, &plain)] {
        assert_eq!(fixed(old, new), [""; 0]);
        assert_eq!(changes(old, new), ["store.encryption_key"]);
    }
}
