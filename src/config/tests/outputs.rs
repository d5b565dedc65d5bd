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
                [audit.output.file]\nkind = \"file\"\npath = \"audit.jsonl\"\nfrom = \"beginning\"\nformat = \"json\"\n";
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
            format!("9:11: error: audit.output.a.address: found \"tcp://siem:514\"; accepted: {address}"),
        ),
        (
            "kind = \"syslog\"\naddress = \"unix:log\"",
            format!("9:11: error: audit.output.a.address: found \"unix:log\"; accepted: {address}"),
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
            "10:1: error: audit.output.a.address: unknown key; accepted: kind, path, format, from".to_owned(),
        ),
        ("kind = \"file\"", "7:1: error: audit.output.a.path: missing; accepted: a file's path".to_owned()),
        (
            "kind = \"file\"\npath = \"a\"\nformat = \"cef\"",
            "10:10: error: audit.output.a.format: found \"cef\"; accepted: \"json\"".to_owned(),
        ),
        (
            "kind = \"file\"\npath = \"a\"\n[audit.output.b]\nkind = \"file\"\npath = \"a\"",
            "10:1: error: audit.output.b: found a file's path, which audit.output.a has already; accepted: one of its own".to_owned(),
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
