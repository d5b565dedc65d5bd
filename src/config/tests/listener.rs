//! `[server]`: TLS, proxies, limits and rates, and what must hold between them and the sources.

use super::*;

/// A whole configuration with these lines in `[server]`, the first of which is line 8.
fn server(lines: &str) -> String {
    around(GOOD, "", &format!("[server]\n{lines}"))
}

/// Warnings but the two that a small file always has.
fn further(text: &str) -> Vec<String> {
    let expected = ["store.encryption_key", "server.listen: plain HTTP"];
    let usual = |w: &String| expected.iter().any(|usual| w.contains(usual));
    warnings(text).into_iter().filter(|w| !usual(w)).collect()
}

const FILES: &str = "tls = { cert = \"cert.pem\", key = \"key.pem\" }";

#[test]
fn every_key_of_the_listener_is_taken_over() {
    let (config, _) = check(&server(
        "trusted_proxies = [\"10.0.0.0/8\", \"2001:db8::/32\"]\nproxy_protocol = true\n\
         max_connections_per_client = 7\nmax_requests_per_connection = 8\nmax_headers = 20\n\
         max_header_bytes = \"16KiB\"\nmax_target = \"4KiB\"\nmax_streams = 9\n\
         body_memory = \"2MiB\"\nmin_body_rate = \"2KiB\"\nwrite_timeout = \"3s\"\n\
         handshake_timeout = \"2s\"\nclient_rate_limit = { per_second = 5, burst = 6 }\n\
         failure_rate_limit = { per_second = 1, burst = 2 }\nsandbox = true",
    ))
    .unwrap();
    let server = config.server;
    let nets: Vec<_> = server.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(nets, ["10.0.0.0/8", "2001:db8::/32"]);
    assert!(server.proxy_protocol && server.sandbox);
    assert_eq!((server.max_connections_per_client, server.max_requests_per_connection), (7, 8));
    assert_eq!((server.max_headers, server.max_header_bytes), (20, 16 << 10));
    assert_eq!((server.max_target, server.max_streams), (4 << 10, 9));
    assert_eq!((server.body_memory, server.min_body_rate), (2 << 20, 2 << 10));
    let seconds = (server.write_timeout.as_secs(), server.handshake_timeout.as_secs());
    assert_eq!(seconds, (3, 2));
    assert_eq!(server.client_rate_limit, Some(rate(5, 6)));
    assert_eq!(server.failure_rate_limit, rate(1, 2));
}

fn rate(per_second: u32, burst: u32) -> RateLimit {
    RateLimit { per_second: per_second.try_into().unwrap(), burst: burst.try_into().unwrap() }
}

#[test]
fn a_listener_without_keys_has_the_documented_limits() {
    let server = Server::defaults();
    assert!(server.tls.is_none() && server.trusted_proxies.is_empty());
    assert!(!server.proxy_protocol && !server.sandbox);
    assert_eq!(
        (server.max_connections_per_client, server.max_requests_per_connection),
        (1024, 10_000)
    );
    assert_eq!((server.max_headers, server.max_header_bytes), (100, 32 << 10));
    assert_eq!((server.max_target, server.max_streams), (8 << 10, 100));
    assert_eq!((server.body_memory, server.min_body_rate), (256 << 20, 1 << 10));
    assert_eq!(server.write_timeout, Duration::from_secs(5));
    assert_eq!((server.client_rate_limit, server.failure_rate_limit), (None, rate(5, 500)));
}

#[test]
fn each_bad_limit_is_told_at_its_place() {
    let cidr = "a network in canonical CIDR form, such as \"203.0.113.0/24\" or \"2001:db8::/32\"";
    for (line, expected) in [
        ("max_connections_per_client = 0", "8:30: error: server.max_connections_per_client: found 0; accepted: a whole number, 1 to 1000000".to_owned()),
        ("max_headers = 15", "8:15: error: server.max_headers: found 15; accepted: a whole number, 16 to 1024".into()),
        ("max_header_bytes = \"4KiB\"", "8:20: error: server.max_header_bytes: found \"4KiB\"; accepted: \"8KiB\" to \"1MiB\"".into()),
        ("max_target = 8192", "8:14: error: server.max_target: found 8192; accepted: a whole number with B, KiB, MiB or GiB, such as \"1MiB\"".into()),
        ("max_target = \"64KiB\"", "8:14: error: server.max_target: found 64KiB; accepted: at most 32KiB, which is server.max_header_bytes".into()),
        ("max_streams = 1001", "8:15: error: server.max_streams: found 1001; accepted: a whole number, 1 to 1000".into()),
        ("max_body = \"2MiB\"\nbody_memory = \"1MiB\"", "9:15: error: server.body_memory: found 1MiB; accepted: at least 2MiB, which is server.max_body".into()),
        ("min_body_rate = \"1KiB/s\"", "8:17: error: server.min_body_rate: found \"1KiB/s\"; accepted: a whole number with B, KiB, MiB or GiB, such as \"1MiB\"".into()),
        ("write_timeout = \"0s\"", "8:17: error: server.write_timeout: found \"0s\"; accepted: \"100ms\" to \"1m\"".into()),
        ("client_rate_limit = { burst = 5 }", "8:21: error: server.client_rate_limit.per_second: missing; accepted: a whole number".into()),
        ("failure_rate_limit = { per_second = 1000001, burst = 1 }", "8:37: error: server.failure_rate_limit.per_second: found 1000001; accepted: a whole number, 1 to 1000000".into()),
        ("failure_rate_limit = { per_second = 1, burst = 1, by = 2 }", "8:51: error: server.failure_rate_limit.by: unknown key; accepted: per_second, burst".into()),
        ("sandbox = 1", "8:11: error: server.sandbox: found 1; accepted: true or false".into()),
        ("trusted_proxies = \"10.0.0.0/8\"", "8:19: error: server.trusted_proxies: found a string; accepted: a list of networks such as [\"10.0.0.0/8\"]".into()),
        ("trusted_proxies = [\"10.0.0.1/8\"]", format!("8:20: error: server.trusted_proxies[0]: found \"10.0.0.1/8\"; accepted: {cidr}; did you mean \"10.0.0.0/8\"?")),
        ("trusted_proxies = [\"::ffff:10.0.0.0/104\"]", format!("8:20: error: server.trusted_proxies[0]: found \"::ffff:10.0.0.0/104\"; accepted: {cidr}; did you mean \"10.0.0.0/8\"?")),
        ("proxy_protocol = true", "8:18: error: server.proxy_protocol: found true without `trusted_proxies`, so every connection would be refused; accepted: with the proxies' networks there".into()),
        ("trusted_proxies = []\nproxy_protocol = true", "9:18: error: server.proxy_protocol: found true without `trusted_proxies`, so every connection would be refused; accepted: with the proxies' networks there".into()),
    ] {
        one_error(&server(line), &expected);
    }
    // A list that could not be read is told as such, and not as missing too.
    assert_eq!(errors(&server("trusted_proxies = [\"x\"]\nproxy_protocol = true")).len(), 1);
}

#[test]
fn a_chain_and_its_key_are_read_once() {
    let (config, warnings) = check(&server(FILES)).unwrap();
    let Some(Tls::Files { cert, key, identity }) = config.server.tls else { panic!() };
    assert_eq!((cert, key), (place("cert.pem").into(), place("key.pem").into()));
    assert_eq!(identity.facts.names, ["hooks.example"]);
    assert_eq!(identity.pair.cert.len(), 1);
    assert!(!format!("{identity:?}").contains("pair"));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let files: Vec<_> = config.files.iter().filter_map(|f| f.file_name()?.to_str()).collect();
    assert_eq!(files, ["hookward.toml", "cert.pem", "key.pem"]);
}

#[test]
fn each_bad_certificate_or_key_is_told_at_its_place() {
    let (certs, key) = ("a file of PEM certificates", "a file with one PEM private key");
    for (tls, expected) in [
        ("{}", "8:7: error: server.tls: missing; accepted: { cert = \"PATH\", key = \"PATH\" } or { acme = { domains = [..] } }".to_owned()),
        ("{ cert = \"cert.pem\" }", "8:7: error: server.tls.key: missing; accepted: a PEM file's path".into()),
        ("{ key = \"key.pem\" }", "8:7: error: server.tls.cert: missing; accepted: a PEM file's path".into()),
        ("{ cert = \"no.pem\", key = \"key.pem\" }", format!("8:16: error: server.tls.cert: /etc/hookward/no.pem: cannot be read: no such file; accepted: {certs}")),
        ("{ cert = \"key.pem\", key = \"key.pem\" }", format!("8:16: error: server.tls.cert: /etc/hookward/key.pem: holds no certificate; accepted: {certs}")),
        ("{ cert = \"cert.pem\", key = \"junk.pem\" }", format!("8:34: error: server.tls.key: /etc/hookward/junk.pem: holds no private key; accepted: {key}")),
        ("{ cert = \"cert.pem\", key = \"no.pem\" }", format!("8:34: error: server.tls.key: /etc/hookward/no.pem: cannot be read: no such file; accepted: {key}")),
        ("{ cert = \"cert.pem\", key = \"other-key.pem\" }", format!("8:34: error: server.tls.key: /etc/hookward/other-key.pem: the private key does not belong to the first certificate; accepted: {key}")),
        ("{ cert = \"cert.pem\", key = \"open-key.pem\" }", "8:34: error: server.tls.key: /etc/hookward/open-key.pem has mode 0644; accepted: 0600, readable by its owner alone (or allow_readable = true beside it)".into()),
        ("{ cert = \"cert.pem\", key = { file = \"open-key.pem\" } }", "8:34: error: server.tls.key: /etc/hookward/open-key.pem has mode 0644; accepted: 0600, readable by its owner alone (or allow_readable = true beside it)".into()),
        ("{ cert = \"cert.pem\", key = { env = \"KEY\", file = \"key.pem\" } }", "8:36: error: server.tls.key.env: unknown key; accepted: file, allow_readable".into()),
        ("{ cert = \"cert.pem\", key = { allow_readable = true } }", "8:34: error: server.tls.key.file: missing; accepted: a PEM file's path".into()),
        ("{ cert = \"cert.pem\", key = 5 }", "8:34: error: server.tls.key: found 5; accepted: a PEM file's path, or { file = \"PATH\", allow_readable = true }".into()),
        ("{ cert = \"cert.pem\", key = \"key.pem\", acme = { domains = [\"a.example\"] } }", "8:7: error: server.tls: found both files and `acme`; accepted: one of them".into()),
        ("true", "8:7: error: server.tls: found true; accepted: a table".into()),
    ] {
        one_error(&server(&format!("tls = {tls}")), &expected);
    }
    let open =
        "tls = { cert = \"cert.pem\", key = { file = \"open-key.pem\", allow_readable = true } }";
    assert_eq!(errors(&server(open)), [""; 0]);
}

#[test]
fn a_certificate_near_its_end_is_warned_about() {
    let with = |now: &str| {
        let mut machine = fake();
        machine.now = now.to_owned();
        let (_, warnings) = check_text(Path::new(FILE), &server(FILES), &machine).unwrap();
        let of_tls = warnings.iter().filter(|w| w.key == "server.tls.cert");
        of_tls.map(|w| w.kind.to_string()).collect::<Vec<_>>()
    };
    let file = "/etc/hookward/cert.pem";
    assert_eq!(with("2029-12-10T23:59:59Z"), [""; 0]);
    for (now, expected) in [
        ("2024-12-31T23:59:59Z", "holds from 2025-01-01 on: until then it is refused"),
        ("2029-12-11T00:00:01Z", "ends on 2030-01-01, in 20 days"),
        ("2029-12-31T23:00:00Z", "ends on 2030-01-01, in 0 days"),
        ("2030-01-01T00:00:01Z", "ended on 2030-01-01: it is refused"),
    ] {
        assert_eq!(with(now), [format!("{file} {expected}")], "{now}");
    }
}

/// Strangers had a gateway with RSA-4096 sign 200 handshakes a second, and it had time for nothing
/// else.
#[test]
fn a_key_that_makes_handshakes_costly_is_warned_about() {
    let tls = "tls = { cert = \"rsa-3072.pem\", key = \"rsa-3072.pem\" }";
    let [warning] = further(&server(tls)).try_into().unwrap();
    let expected =
        "8:16: warning: server.tls.cert: /etc/hookward/rsa-3072.pem has an RSA key of 3072 bits";
    assert!(warning.starts_with(expected), "{warning}");
    assert_eq!(further(&server(FILES)), [""; 0]);
}

#[test]
fn acme_has_its_defaults_and_its_own_mistakes() {
    let acme =
        |keys: &str| server(&format!("tls = {{ acme = {{ {keys} }} }}\n[store]\npath = \"state\""));
    let (config, _) = check(&acme("domains = [\"hooks.example\"]")).unwrap();
    let Some(Tls::Acme(found)) = config.server.tls else { panic!() };
    assert_eq!(found.domains, ["hooks.example"]);
    assert_eq!(found.directory, "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!((found.cache, found.contact.len(), found.ca), (place("state/acme").into(), 0, None));
    let (config, _) = check(&acme(
        "domains = [\"a.example\", \"b.example\"], contact = [\"it@clinic.example\"], \
         directory = \"https://localhost:14000/dir\", cache = \"acme\", ca = \"ca.pem\"",
    ))
    .unwrap();
    let Some(Tls::Acme(found)) = &config.server.tls else { panic!() };
    assert_eq!((found.contact.len(), found.cache.as_path()), (1, Path::new("/etc/hookward/acme")));
    assert_eq!(found.ca.as_ref().map(|ca| ca.roots.len()), Some(1));
    assert!(config.files.contains(&place("ca.pem").into()));

    let domain = "a DNS name in lower case such as \"hooks.clinic.example\", without `*`, which the challenge (TLS-ALPN-01) cannot prove";
    for (keys, expected) in [
        ("", "8:16: error: server.tls.acme.domains: missing; accepted: a list of DNS names such as [\"hooks.clinic.example\"]".to_owned()),
        ("domains = []", "8:28: error: server.tls.acme.domains: found an empty list; accepted: a list of DNS names such as [\"hooks.clinic.example\"], 1 to 100 of them".into()),
        ("domains = [\"*.a.example\"]", format!("8:29: error: server.tls.acme.domains[0]: found \"*.a.example\"; accepted: {domain}")),
        ("domains = [\"A.example.\"]", format!("8:29: error: server.tls.acme.domains[0]: found \"A.example.\"; accepted: {domain}; did you mean \"a.example\"?")),
        ("domains = [\"10.0.0.1\"]", format!("8:29: error: server.tls.acme.domains[0]: found \"10.0.0.1\"; accepted: {domain}")),
        ("domains = [\"a.b\", \"a.b\"]", "8:36: error: server.tls.acme.domains[1]: found \"a.b\", which the same list has already; accepted: one of its own".into()),
        ("domains = [\"a.b\"], contact = [\"mailto:it@a.b\"]", "8:48: error: server.tls.acme.contact[0]: found \"mailto:it@a.b\"; accepted: an e-mail address such as \"it@clinic.example\"; did you mean \"it@a.b\"?".into()),
        ("domains = [\"a.b\"], directory = \"http://a.b/\"", "8:49: error: server.tls.acme.directory: found another string; accepted: an https URL without user, query or fragment, such as \"https://acme-v02.api.letsencrypt.org/directory\"".into()),
        ("domains = [\"a.b\"], ca = \"no.pem\"", "8:42: error: server.tls.acme.ca: /etc/hookward/no.pem: cannot be read: no such file; accepted: a file of PEM certificates".into()),
        ("domains = [\"a.b\"], port = 80", "8:37: error: server.tls.acme.port: unknown key; accepted: domains, contact, directory, cache, ca".into()),
    ] {
        one_error(&acme(keys), &expected);
    }
}

#[test]
fn a_listener_in_public_is_warned_about_unless_something_ends_tls() {
    let public = |lines: &str| {
        warnings(&server(lines)).iter().any(|w| w.contains("plain HTTP for more than this machine"))
    };
    for (lines, warned) in [
        ("", true),
        ("listen = \"192.0.2.1:80\"", true),
        ("listen = \"[::]:80\"\ntrusted_proxies = []", true),
        ("listen = \"127.0.0.1:80\"", false),
        ("listen = \"[::1]:80\"", false),
        ("trusted_proxies = [\"10.0.0.0/8\"]", false),
        (FILES, false),
    ] {
        assert_eq!(public(lines), warned, "{lines}");
    }
}

#[test]
fn a_handshake_timeout_needs_a_handshake_and_trust_needs_bounds() {
    for (lines, expected) in [
        (
            "handshake_timeout = \"5s\"",
            Some(
                "8:21: warning: server.handshake_timeout: without effect: there is neither server.tls, admin.tls nor server.proxy_protocol",
            ),
        ),
        (
            "handshake_timeout = \"5s\"\nproxy_protocol = true\ntrusted_proxies = [\"10.0.0.0/8\"]",
            None,
        ),
        ("handshake_timeout = \"5s\"\ntls = { cert = \"cert.pem\", key = \"key.pem\" }", None),
        (
            "trusted_proxies = [\"0.0.0.0/0\"]",
            Some(
                "8:19: warning: server.trusted_proxies: everyone is trusted to say who is calling, so allow_ips and rate limits keep nobody out",
            ),
        ),
    ] {
        assert_eq!(further(&server(lines)), expected.into_iter().collect::<Vec<_>>(), "{lines}");
    }
}

/// An allowlist of the provider's addresses on a loopback listener used to be told as one that lets
/// nobody in, whether or not the terminator before it says who is calling.
#[test]
fn an_allowlist_on_loopback_needs_a_proxy_that_is_believed() {
    let nobody = |lines: &str| {
        let source = format!("{GOOD}\nallow_ips = [\"203.0.113.0/24\"]");
        let text = around(&source, "", &format!("[server]\nlisten = \"127.0.0.1:80\"\n{lines}"));
        further(&text).len() == 1
    };
    assert!(nobody(""));
    assert!(nobody("trusted_proxies = [\"10.0.0.0/8\"]"));
    assert!(!nobody("trusted_proxies = [\"127.0.0.1/32\"]"));
    assert!(!nobody("trusted_proxies = [\"127.0.0.0/8\"]\nproxy_protocol = true"));
}

#[test]
fn client_certificates_need_a_caller_who_can_show_one() {
    let source =
        format!("{GOOD}\nclient_ca = \"ca.pem\"\nrate_limit = {{ per_second = 5, burst = 9 }}");
    let with = |lines: &str| around(&source, "", &format!("[server]\n{FILES}\n{lines}"));
    let (config, _) = check(&with("")).unwrap();
    let source = &config.sources[0];
    assert_eq!(source.rate_limit, Some(rate(5, 9)));
    assert_eq!(source.client_ca.as_ref().map(|ca| ca.roots.len()), Some(1));
    assert!(config.files.contains(&place("ca.pem").into()));

    let behind = "listen = \"127.0.0.1:443\"\ntrusted_proxies = [\"127.0.0.1/32\"]";
    one_error(
        &with(behind),
        "4:13: error: source.s.client_ca: found where only proxies on this machine connect, which end the callers' TLS, so that no caller's certificate gets here; accepted: with server.proxy_protocol = true and proxies that pass TLS on",
    );
    assert_eq!(errors(&with(&format!("{behind}\nproxy_protocol = true"))), [""; 0]);
    one_error(
        &with("").replace("ca.pem", "junk.pem"),
        "4:13: error: source.s.client_ca: /etc/hookward/junk.pem: holds no certificate; accepted: a file of PEM certificates",
    );
}

#[test]
fn a_key_that_two_sources_share_is_warned_about() {
    let two = |keys: &str| {
        format!(
            "{}[source.t]\nauth = {{ kind = \"api-key\", header = \"X\" }}\nkeys = {keys}\n",
            good()
        )
    };
    // The same secret, from another place.
    assert_eq!(
        further(&two("[{ env = \"WHSEC\" }, { file = \"good\" }]")),
        [
            "10:28: warning: source.t.keys[1]: the same secret as a key of source.s: whoever may send to one of the two sources can forge events of the other"
        ]
    );
    assert_eq!(further(&two("[{ env = \"WHSEC\" }, { env = \"WHSEC\" }]")), [""; 0]);
}

#[test]
fn whitespace_at_the_end_of_a_secret_is_warned_about_where_it_would_be_signed_with() {
    let hmac = |key: &str| {
        around(
            &format!("auth = {{ kind = \"hmac\", header = \"X\" }}\nkeys = [{{ {key} }}]"),
            "",
            "",
        )
    };
    for (variable, warned) in [("KEY", false), ("CONTROL", true), ("SPACED", true)] {
        let found = further(&hmac(&format!("env = \"{variable}\"")));
        let told = format!(
            "3:9: warning: source.s.keys[0]: the environment variable {variable} ends in whitespace, which is taken as a part of the secret: probably it should not be there"
        );
        assert_eq!(found, warned.then_some(told).into_iter().collect::<Vec<_>>());
    }
    assert_eq!(further(&hmac("file = \"good\"")), [""; 0]);
}
