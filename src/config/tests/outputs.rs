//! `[audit]`: where the trail and its checkpoints are sent.

use super::*;

fn with(audit: &str) -> String {
    around(GOOD, "", audit)
}

fn output(keys: &str) -> String {
    with(&format!("[audit.output.a]\n{keys}"))
}

#[test]
fn outputs_are_read_with_their_defaults() {
    let text = "[audit.output.siem]\nkind = \"syslog\"\naddress = \"tls://siem.example\"\nca = \"ca.pem\"\n\
                cert = \"cert.pem\"\nkey = \"key.pem\"\n\
                [audit.output.local]\nkind = \"syslog\"\naddress = \"unix:/dev/log\"\nfacility = \"authpriv\"\n\
                [audit.output.file]\nkind = \"file\"\npath = \"audit.jsonl\"\nfrom = \"beginning\"\nformat = \"ocsf\"\n\
                checkpoints = true\n";
    let (config, _) = check(&with(text)).unwrap();
    let [siem, local, file] = &config.audit.outputs[..] else { panic!("{:?}", config.audit) };
    assert_eq!((siem.name.as_str(), siem.from), ("siem", AuditFrom::Now));
    let AuditTarget::Syslog(syslog) = &siem.target else { panic!("{siem:?}") };
    let address = SyslogAddress::Tls { host: "siem.example".to_owned(), port: 6514 };
    assert_eq!((&syslog.address, syslog.facility), (&address, Facility(13)));
    assert!(syslog.ca.is_some() && syslog.identity.is_some());
    let AuditTarget::Syslog(syslog) = &local.target else { panic!("{local:?}") };
    assert_eq!(syslog.address, SyslogAddress::Unix("/dev/log".into()));
    assert_eq!(syslog.facility, Facility(10));
    assert_eq!(file.target, AuditTarget::File(place("audit.jsonl").into()));
    assert_eq!(file.from, AuditFrom::Beginning);
    assert_eq!((file.format, file.checkpoints), (AuditFormat::Ocsf, true));
    assert_eq!((siem.format, siem.checkpoints), (AuditFormat::Json, false));
    for file in ["ca.pem", "cert.pem", "key.pem"] {
        assert!(config.files.contains(&place(file).into()), "{file} is watched and may be read");
    }
}

#[test]
fn mistakes_of_outputs_are_told_at_their_place() {
    let address = "\"tls://HOST:PORT\" or \"unix:/PATH\" (nothing is sent in clear over a network)";
    let link_local =
        "found a link-local address, or one of a cloud's metadata service; accepted: any other";
    for (keys, expected) in [
        ("", "7:1: error: audit.output.a.kind: missing; accepted: \"syslog\", \"file\"".to_owned()),
        (
            "kind = \"syslogd\"",
            "8:8: error: audit.output.a.kind: found \"syslogd\"; accepted: \"syslog\", \"file\"; did you mean \"syslog\"?".to_owned(),
        ),
        (
            "kind = \"syslog\"",
            format!("7:1: error: audit.output.a.address: missing; accepted: {address}"),
        ),
        (
            "kind = \"syslog\"\naddress = \"tcp://siem:514\"",
            format!("9:11: error: audit.output.a.address: found another string; accepted: {address}"),
        ),
        (
            "kind = \"syslog\"\naddress = \"unix:log\"",
            format!("9:11: error: audit.output.a.address: found another string; accepted: {address}"),
        ),
        (
            "kind = \"syslog\"\naddress = \"tls://169.254.169.254\"",
            format!("9:11: error: audit.output.a.address: {link_local}"),
        ),
        (
            "kind = \"syslog\"\naddress = \"unix:/dev/log\"\nca = \"ca.pem\"",
            "10:6: error: audit.output.a.ca: found with a Unix socket, which needs no certificates; accepted: with a tls:// address".to_owned(),
        ),
        (
            "kind = \"syslog\"\naddress = \"tls://siem\"\ncert = \"cert.pem\"",
            "7:1: error: audit.output.a.key: missing; accepted: a PEM file's path".to_owned(),
        ),
        (
            "kind = \"file\"\npath = \"a\"\naddress = \"tls://siem\"",
            "10:1: error: audit.output.a.address: unknown key; accepted: kind, path, format, from, checkpoints".to_owned(),
        ),
        ("kind = \"file\"", "7:1: error: audit.output.a.path: missing; accepted: a file's path".to_owned()),
        (
            "kind = \"file\"\npath = \"a\"\nformat = \"cef\"",
            "10:10: error: audit.output.a.format: found \"cef\"; accepted: \"json\", \"ocsf\"".to_owned(),
        ),
        (
            "kind = \"file\"\npath = \"a\"\n[audit.output.b]\nkind = \"file\"\npath = \"a\"",
            "12:8: error: audit.output.b.path: found a file's path, which audit.output.a.path has already; accepted: one of its own".to_owned(),
        ),
        (
            "kind = \"file\"\npath = \"a\"\n[audit.output.\"B c\"]\nkind = \"file\"\npath = \"b\"",
            "10:1: error: audit.output.\"B c\": found \"B c\"; accepted: 1 to 64 of a-z, 0-9, `-` and `_`, not starting with `-` or `_`".to_owned(),
        ),
    ] {
        one_error(&output(keys), &expected);
    }
    let many: String =
        (0..9).map(|n| format!("[audit.output.o{n}]\nkind = \"file\"\npath = \"{n}\"\n")).collect();
    let found = errors(&with(&many));
    assert!(
        found[0].contains("found 9; accepted: up to 8 tables [audit.output.NAME]"),
        "{found:?}"
    );
}

/// The password in an output's address was in what `check` printed and in the log; the one in
/// an authority's as well.
#[test]
fn nothing_of_an_address_that_is_refused_is_shown() {
    for (rest, key) in [
        (
            "[audit.output.a]\nkind = \"syslog\"\naddress = \"tls://me:hunter2@siem:6514\"",
            "audit.output.a.address",
        ),
        (
            "[audit.output.a]\nkind = \"syslog\"\naddress = \"tls://siem?token=hunter2\"",
            "audit.output.a.address",
        ),
        (
            "[audit.output.a]\nkind = \"syslog\"\naddress = \"https://siem/hunter2\"",
            "audit.output.a.address",
        ),
        ("[audit]\ncheckpoints = { url = \"http://n/?hunter2\" }", "audit.checkpoints.url"),
        (
            "[server.tls.acme]\ndomains = [\"a.b\"]\ndirectory = \"https://me:hunter2@ca/\"",
            "server.tls.acme.directory",
        ),
        (
            "[server.tls.acme]\ndomains = [\"a.b\"]\ndirectory = \"https://ca/?token=hunter2\"",
            "server.tls.acme.directory",
        ),
        ("[upstream.v]\nurl = \"https://a b/#hunter2\"", "upstream.v.url"),
    ] {
        let found = errors(&with(rest));
        assert!(found.len() == 1 && found[0].contains(&format!("{key}: found ")), "{found:?}");
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }
}

/// A line of an output stood in the midst of a journal's segment, and in a file of checkpoints.
#[test]
fn an_output_s_file_is_nobody_else_s_however_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("real");
    std::fs::create_dir_all(real.join("data/audit")).unwrap();
    std::os::unix::fs::symlink(&real, dir.path().join("link")).unwrap();
    let at = |path: &str| dir.path().join(path).display().to_string();
    let store = "found a file below store.path, where nothing may be but what the store has put there; accepted: one in another directory";
    let taken =
        |by: &str| format!("found a file's path, which {by} has already; accepted: one of its own");
    for (store_path, path, expected) in [
        ("real/data", "real/data/out", Some(store.to_owned())),
        ("real/data", "link/data/audit/audit-00000001.hwa", Some(store.to_owned())),
        ("link/data", "real/data/new/out", Some(store.to_owned())),
        ("link/none", "real/none/out", Some(store.to_owned())),
        ("real/data", "real/x/../data/out", Some(store.to_owned())),
        ("real/data", "link/checkpoints", Some(taken("audit.checkpoints.file"))),
        ("real/data", "link/first", Some(taken("audit.output.a.path"))),
        ("real/data", "real/data-out", None),
        ("real/data", "link/other", None),
    ] {
        std::fs::create_dir_all(real.join("x")).unwrap();
        let audit = format!(
            "[store]\npath = \"{}\"\n[audit]\ncheckpoints = {{ file = \"{}\" }}\n\
             [audit.output.a]\nkind = \"file\"\npath = \"{}\"\n\
             [audit.output.b]\nkind = \"file\"\npath = \"{}\"\n",
            at(store_path),
            at("real/checkpoints"),
            at("real/first"),
            at(path)
        );
        match expected {
            Some(expected) => {
                let found = errors(&with(&audit));
                assert!(found.len() == 1 && found[0].ends_with(&expected), "{path}: {found:?}");
            }
            None => drop(check(&with(&audit)).unwrap()),
        }
    }
}

/// An output appended its lines to a key, which no start could read any more; and kept checkpoints stood in
/// the midst of the store.
#[test]
fn what_the_store_and_the_configuration_have_is_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["key", "kept"] {
        std::fs::write(at(name), "0123456789abcdef").unwrap();
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    std::fs::hard_link(at("key"), at("second-name")).unwrap();
    std::os::unix::fs::symlink(at("key"), at("link")).unwrap();
    std::fs::create_dir(at("sub")).unwrap();
    let file = at("hookward.toml");
    let store = "found a file below store.path, where nothing may be";
    let read = "found a file that this configuration is read from";
    for (path, expected) in [
        ("data/audit/acts.jsonl", Some(store)),
        ("data/journal/0000000001.journal", Some(store)),
        ("data", Some(store)),
        ("hookward.toml", Some(read)),
        ("sub/../hookward.toml", Some(read)),
        ("key", Some(read)),
        ("second-name", Some(read)),
        ("link", Some(read)),
        ("kept", None),
        ("not-yet", None),
    ] {
        for (key, audit) in [
            ("checkpoints.file", format!("[audit]\ncheckpoints = {{ file = \"{path}\" }}")),
            ("output.a.path", format!("[audit.output.a]\nkind = \"file\"\npath = \"{path}\"")),
        ] {
            let text = with(&audit).replace("{ env = \"KEY\" }", "{ file = \"key\" }");
            std::fs::write(&file, &text).unwrap();
            let Err(invalid) = load(&file, &|_| None) else {
                assert_eq!(expected, None, "{key} {path}");
                continue;
            };
            let found: Vec<String> = invalid.problems.iter().map(ToString::to_string).collect();
            let says = format!("error: audit.{key}: {}", expected.unwrap_or("nothing"));
            assert_eq!(found.iter().filter(|told| told.contains(&says)).count(), 1, "{found:#?}");
        }
    }
}

/// A file that is to come later, and which a key names that is missing, is known by its path alone.
#[test]
fn a_file_that_is_not_there_is_told_by_its_path() {
    let text = with("[audit]\ncheckpoints = { file = \"none\" }")
        .replace("{ env = \"KEY\" }", "{ file = \"none\" }");
    let found = errors(&text);
    assert!(found.len() == 2 && found[1].contains("is read from"), "{found:?}");
    one_error(
        &with("[audit]\ncheckpoints = { file = \"hookward.toml\" }"),
        "8:24: error: audit.checkpoints.file: found a file that this configuration is read from, which what is appended to it would spoil; accepted: one of its own",
    );
}

#[test]
fn checkpoints_go_to_a_file_to_a_url_or_to_both() {
    let read = |keys: &str| {
        check(&with(&format!("[audit]\ncheckpoints = {{ {keys} }}"))).unwrap().0.audit.checkpoints
    };
    assert_eq!(read("file = \"c\"").file, Some(place("c").into()));
    assert!(read("file = \"c\"").post.is_none());
    let both = read(
        "file = \"c\", url = \"https://n.example/c\", token = { env = \"KEY\" }, ca = \"ca.pem\"",
    );
    let post = both.post.unwrap();
    assert!(both.file.is_some() && post.ca.is_some());
    assert_eq!(
        (post.url.to_string().as_str(), post.token.unwrap().expose()),
        ("https://n.example/c", &b"0123456789abcdef"[..])
    );
    let url = "an https URL with a host, without user or fragment, such as \"https://notary.example/checkpoints\"";
    for (keys, expected) in [
        ("", "8:15: error: audit.checkpoints.file: missing; accepted: a file's path, or the key `url`".to_owned()),
        ("file = \"c\", ca = \"ca.pem\"", format!("8:15: error: audit.checkpoints.url: missing; accepted: {url}")),
        ("url = \"http://n/\"", format!("8:23: error: audit.checkpoints.url: found another string; accepted: {url}")),
        ("url = \"https://me:secret@n/\"", format!("8:23: error: audit.checkpoints.url: found another string; accepted: {url}")),
        (
            "url = \"https://169.254.169.254/\"",
            "8:23: error: audit.checkpoints.url: found a link-local address, or one of a cloud's metadata service; accepted: any other".to_owned(),
        ),
    ] {
        one_error(&with(&format!("[audit]\ncheckpoints = {{ {keys} }}")), &expected);
    }
}

/// Segments were "archived" to where they lay, each time in vain; and an output sent the gateway's own socket
/// what it then recorded as refused, and sent again.
#[test]
fn neither_the_archive_nor_a_socket_is_in_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path).display().to_string();
    std::fs::create_dir_all(dir.path().join("data")).unwrap();
    std::fs::create_dir_all(dir.path().join("disk/audit")).unwrap();
    std::os::unix::fs::symlink(at("data"), at("link")).unwrap();
    std::os::unix::fs::symlink(at("disk/audit"), at("data/audit")).unwrap();
    for (path, refused) in [
        ("data", true),
        ("data/audit", true),
        ("data/journal", true),
        ("data/new/archive", true),
        ("link/x", true),
        ("x/../data/admin.sock", true),
        ("disk/audit", true),
        ("disk", false),
        ("data-archive", false),
        ("", false),
    ] {
        std::fs::create_dir_all(dir.path().join("x")).unwrap();
        for (key, what, audit) in [
            (
                "archive",
                "found a directory below store.path",
                format!("archive = \"{}\"\n", at(path)),
            ),
            (
                "output.a.address",
                "found a socket below store.path",
                format!("[audit.output.a]\nkind = \"syslog\"\naddress = \"unix:{}\"\n", at(path)),
            ),
        ] {
            let text = with(&format!("[store]\npath = \"{}\"\n[audit]\n{audit}", at("data")));
            if refused {
                let found = errors(&text);
                let says = format!("error: audit.{key}: {what}");
                assert!(found.len() == 1 && found[0].contains(&says), "{path}: {found:?}");
            } else {
                drop(check(&text).unwrap());
            }
        }
    }
}
