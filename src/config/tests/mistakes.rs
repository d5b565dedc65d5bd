//! Every kind of mistake, at its place and in its words.

use super::*;

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let text = "[server]\nack_dedline = \"4s\"\nmax_body = 4\n\
        [source.s]\nauth = { kind = \"hmca\" }\nkeys = [{ env = \"NOPE\" }]\n\
        [upstream.u]\n[[route]]\nto = [\"uu\"]\n";
    assert_eq!(
        errors(text),
        [
            "2:1: error: server.ack_dedline: unknown key; accepted: listen, tls, trusted_proxies, \
             proxy_protocol, ack_deadline, max_body, body_memory, min_body_rate, max_connections, \
             max_connections_per_client, max_requests_per_connection, max_headers, \
             max_header_bytes, max_target, max_streams, handshake_timeout, header_timeout, \
             write_timeout, idle_timeout, drain_timeout, client_rate_limit, failure_rate_limit, \
             sandbox; did you mean \"ack_deadline\"?",
            "3:12: error: server.max_body: found 4; accepted: a whole number with B, KiB, MiB or \
             GiB, such as \"1MiB\"",
            "5:17: error: source.s.auth.kind: found \"hmca\"; accepted: \"api-key\", \"hmac\", \
             \"standard-webhooks\", \"none-dangerous\"; did you mean \"hmac\"?",
            "6:9: error: source.s.keys[0]: the environment variable NOPE is not set; accepted: \
             one that is",
            "7:1: error: upstream.u.url: missing; accepted: an http or https URL with a host, \
             without user or fragment, such as \"http://127.0.0.1:3000/webhooks\"",
            "9:7: error: route[0].to[0]: found \"uu\"; accepted: \"u\"; did you mean \"u\"?",
        ]
    );
}

#[test]
fn several_syntax_errors_are_told_without_what_follows_from_them() {
    assert_eq!(
        errors("a = 1\n[server]\nmax_body = 4s\nlisten = = 3\n[server]\n"),
        [
            "1:1: error: a: unknown key; accepted: server, admin, store, audit, log, source, upstream, route",
            "3:12: error: not valid TOML: string values must be quoted, expected literal string",
            "4:10: error: not valid TOML: extra `=`, expected nothing",
            "5:2: error: not valid TOML: duplicate key",
        ]
    );
}

#[test]
fn an_empty_file_says_what_is_needed() {
    assert_eq!(
        errors(""),
        [
            "1:1: error: source: missing; accepted: 1 to 1024 tables [source.NAME]",
            "1:1: error: upstream: missing; accepted: 1 to 64 tables [upstream.NAME]",
        ]
    );
}

#[test]
fn each_bad_top_level_setting_is_told_at_its_place() {
    for (rest, expected) in [
        (
            "[server]\nlisten = \"localhost:80\"",
            "8:10: error: server.listen: found \"localhost:80\"; accepted: an IP address and a port, such as \"127.0.0.1:8443\" or \"[::1]:8443\"; did you mean \"127.0.0.1:80\"?",
        ),
        (
            "[server]\nack_deadline = \"5s\"",
            "8:16: error: server.ack_deadline: found \"5s\"; accepted: \"100ms\" to \"4500ms\"",
        ),
        (
            "[server]\nack_deadline = \"4501ms\"",
            "8:16: error: server.ack_deadline: found \"4501ms\"; accepted: \"100ms\" to \"4500ms\"",
        ),
        (
            "[server]\nack_deadline = \"4 sec\"",
            "8:16: error: server.ack_deadline: found \"4 sec\"; accepted: a whole number with ms, s, m, h or d, such as \"30s\"; did you mean \"4s\"?",
        ),
        (
            "[server]\nmax_body = \"1MB\"",
            "8:12: error: server.max_body: found \"1MB\"; accepted: a whole number with B, KiB, MiB or GiB, such as \"1MiB\"; did you mean \"1MiB\"?",
        ),
        (
            "[server]\nmax_connections = 0",
            "8:19: error: server.max_connections: found 0; accepted: a whole number, 1 to 1000000",
        ),
        (
            "[server]\nmax_connections = -1",
            "8:19: error: server.max_connections: found -1; accepted: a whole number, 1 to 1000000",
        ),
        (
            "[server]\nmax_connections = \"12\"",
            "8:19: error: server.max_connections: found a string; accepted: a whole number, 1 to 1000000",
        ),
        (
            "[server]\nproxy_protocol = \"no\"",
            "8:18: error: server.proxy_protocol: found a string; accepted: true or false",
        ),
        (
            "[admin]\nlisten = \"0.0.0.0:8443\"",
            "8:10: error: admin.listen: found \"0.0.0.0:8443\", which server.listen has already; accepted: one of its own",
        ),
        (
            "[admin]\ntoken = \"hunter2hunter2hunter2\"",
            "8:9: error: admin.token: found the secret itself; secrets do not stand in this file; accepted: { env = \"NAME\" } or { file = \"PATH\" }",
        ),
        (
            "[store]\npath = \"\"",
            "8:8: error: store.path: found \"\"; accepted: a directory's path",
        ),
        (
            "[store]\nencryption_key = { file = \"k\" }",
            "8:18: error: store.encryption_key: cannot read /etc/hookward/k: no such file; accepted: a file that this user can read",
        ),
        (
            "[store]\nencryption_key = []",
            "8:18: error: store.encryption_key: found an empty list; accepted: { file = \"PATH\" } or { env = \"NAME\" }, or a list of them, the key for new events first, 1 to 16 of them",
        ),
        (
            "[store]\nencryption_key = { env = \"KEY\" }",
            "8:18: error: store.encryption_key: the environment variable KEY holds no encryption key; accepted: 32 random bytes as `hookward keygen` prints them, 64 hexadecimal digits or base64",
        ),
        (
            "[store]\nencryption_key = [{ env = \"STORE\" }, { env = \"STORE_BASE64\" }]",
            "8:38: error: store.encryption_key[1]: found a key that stands before it in the list; accepted: each key once",
        ),
        (
            "[store]\nretention = \"71h\"",
            "4:1: error: upstream.u.retry.give_up: found 3d; accepted: at most 71h, which is store.retention",
        ),
        (
            "[log]\nlevel = \"warning\"",
            "8:9: error: log.level: found \"warning\"; accepted: \"error\", \"warn\", \"info\", \"debug\", \"trace\", \"off\"",
        ),
        (
            "[log]\nformat = \"Text\"",
            "8:10: error: log.format: found \"Text\"; accepted: \"json\", \"text\"; did you mean \"text\"?",
        ),
        (
            "[[route]]\nsource = \"s\"",
            "7:1: error: route[0].to: missing; accepted: a list of upstreams' names such as [\"app\"]",
        ),
        (
            "[[route]]\nto = [\"u\", \"u\"]",
            "8:12: error: route[0].to[1]: found \"u\", which the same list has already; accepted: one of its own",
        ),
        (
            "[[route]]\nsource = \"t\"\nto = [\"u\"]",
            "8:10: error: route[0].source: found \"t\"; accepted: \"s\"",
        ),
        (
            "[[route]]\ntype = \"Order:*\"\nto = [\"u\"]",
            "8:8: error: route[0].type: found \"Order:*\"; accepted: a pattern over normalized event names (a-z, 0-9, `_`, `-`, `.`, and `*` for anything); did you mean \"order.*\"?",
        ),
        (
            "[source.T]\npreset = \"drx\"\nkeys = [{ env = \"KEY\" }]",
            "7:1: error: source.T: found \"T\"; accepted: 1 to 64 of a-z, 0-9, `-` and `_`, not starting with `-` or `_`",
        ),
        (
            "[source.t]\npreset = \"drx\"\npath = \"/hooks/s\"\nkeys = [{ env = \"KEY\" }]",
            "9:8: error: source.t.path: found the path \"/hooks/s\", which source.s has already; accepted: one of its own",
        ),
    ] {
        one_error(&around(GOOD, "", rest), expected);
    }
}

#[test]
fn each_bad_setting_of_a_source_is_told_at_its_place() {
    let path = "a path such as \"/hooks/lab\" (letters, digits, `-`, `.`, `_` and `~` between single slashes)";
    let place = "a JSON Pointer such as \"/data/id\", or \"header:NAME\"";
    let cidr = "a network in canonical CIDR form, such as \"203.0.113.0/24\" or \"2001:db8::/32\"";
    let credential = "found the header that holds the source's credential; accepted: any other place, since a credential says nothing about the event and must not be stored";
    for (line, expected) in [
        ("path = \"hooks/s\"", format!("4:8: error: source.s.path: found \"hooks/s\"; accepted: {path}; did you mean \"/hooks/s\"?")),
        ("path = \"/a/../b\"", format!("4:8: error: source.s.path: found \"/a/../b\"; accepted: {path}")),
        ("path = \"/a%20b\"", format!("4:8: error: source.s.path: found \"/a%20b\"; accepted: {path}")),
        ("preset = \"drxx\"", "4:10: error: source.s.preset: found \"drxx\"; accepted: \"novamed\", \"c4hxp\", \"nimbus\", \"drx\", \"rxscale\", \"standard-webhooks\", \"stripe\", \"github\", \"slack\", \"shopify\"; did you mean \"drx\"?".into()),
        ("allow_ips = [\"10.1.0.0/8\"]", format!("4:14: error: source.s.allow_ips[0]: found \"10.1.0.0/8\"; accepted: {cidr}; did you mean \"10.0.0.0/8\"?")),
        ("allow_ips = [\"10.1.0.1\"]", format!("4:14: error: source.s.allow_ips[0]: found \"10.1.0.1\"; accepted: {cidr}; did you mean \"10.1.0.1/32\"?")),
        ("allow_ips = [\"::ffff:10.0.0.0/104\"]", format!("4:14: error: source.s.allow_ips[0]: found \"::ffff:10.0.0.0/104\"; accepted: {cidr}; did you mean \"10.0.0.0/8\"?")),
        ("allow_ips = []", "4:13: error: source.s.allow_ips: found an empty list; accepted: a list of networks such as [\"203.0.113.0/24\", \"2001:db8::/32\"], 1 to 1024 of them".into()),
        ("max_event_age = \"1h\"", "4:17: error: source.s.max_event_age: found without `event.time`, so no event has an age; accepted: with it".into()),
        ("event.time = \"/t\"\nmax_event_age = \"30d\"", "5:17: error: source.s.max_event_age: found 30d; accepted: shorter than 30d, which is store.retention".into()),
        ("require_event_time = true", "4:22: error: source.s.require_event_time: found true without `event.time`, so every event would be refused; accepted: with it".into()),
        ("event.kind = \"/t\"", "4:7: error: source.s.event.kind: unknown key; accepted: type, id, time, subject, tenant, data".into()),
        ("event.type = \"$.data.type\"", format!("4:14: error: source.s.event.type: found \"$.data.type\"; accepted: {place}; did you mean \"/data/type\"?")),
        ("event.type = \"/a~2\"", format!("4:14: error: source.s.event.type: found \"/a~2\"; accepted: {place}")),
        ("event.type = \"header:X Y\"", "4:14: error: source.s.event.type: found \"X Y\"; accepted: a header's name, such as \"X-Signature\"".into()),
        ("event.data = \"header:X\"", "4:14: error: source.s.event.data: found a header; accepted: a JSON Pointer, since the data stands in the body".into()),
        ("event = 4", "4:9: error: source.s.event: found 4; accepted: a table".into()),
        ("dedupe = [[\"/a\", 4]]", format!("4:18: error: source.s.dedupe[0][1]: found 4; accepted: {place}")),
        ("dedupe = []", "4:10: error: source.s.dedupe: found an empty list; accepted: a list of JSON Pointers, \"header:NAME\"s, and lists of them tried in order, 1 to 16 of them".into()),
        ("on_conflict = \"ignore\"", "4:15: error: source.s.on_conflict: found \"ignore\"; accepted: \"quarantine\", \"deliver\", \"drop\"".into()),
        ("events = [\"order.*\", \"Waiting Bin\"]", "4:22: error: source.s.events[1]: found \"Waiting Bin\"; accepted: a pattern over normalized event names (a-z, 0-9, `_`, `-`, `.`, and `*` for anything); did you mean \"waiting.bin\"?".into()),
        ("rate_limit = { per_second = 5 }", "4:14: error: source.s.rate_limit.burst: missing; accepted: a whole number".into()),
        ("rate_limit = { per_second = 0, burst = 9 }", "4:29: error: source.s.rate_limit.per_second: found 0; accepted: a whole number, 1 to 1000000".into()),
        ("rate_limit = 5", "4:14: error: source.s.rate_limit: found 5; accepted: a table".into()),
        ("client_ca = \"ca.pem\"", "4:13: error: source.s.client_ca: found without `server.tls`, so no caller can show a certificate and every request would be refused; accepted: with it".into()),
        ("event.id = [\"/id\", \"header:X-Key\"]", format!("4:12: error: source.s.event.id: {credential}")),
        ("event.type = \"header:x-key\"", format!("4:14: error: source.s.event.type: {credential}")),
        ("dedupe = [\"/a\", [\"/b\", \"header:X-KEY\"]]", format!("4:10: error: source.s.dedupe: {credential}")),
        ("retries = \"1d\"", "4:1: error: source.s.retries: unknown key; accepted: preset, path, auth, keys, allow_ips, max_event_age, require_event_time, event, dedupe, on_conflict, events, forward_headers, rate_limit, client_ca, retry_schedule, retry_horizon".into()),
        ("retry_horizon = \"3651d\"", "4:17: error: source.s.retry_horizon: found \"3651d\"; accepted: \"0s\" to \"3650d\"".into()),
        ("retry_schedule = \"1m\"", "4:18: error: source.s.retry_schedule: found a string; accepted: a list of waits such as [\"1m\", \"5m\", \"1h\"]".into()),
        ("retry_schedule = [\"1m\", \"31d\"]", "4:25: error: source.s.retry_schedule[1]: found \"31d\"; accepted: \"0s\" to \"30d\"".into()),
        ("retry_schedule = [\"1m\", \"5 min\"]", "4:25: error: source.s.retry_schedule[1]: found \"5 min\"; accepted: a whole number with ms, s, m, h or d, such as \"30s\"; did you mean \"5m\"?".into()),
        ("retry_schedule = [\"1m\", \"5m\"]\nretry_horizon = \"5m\"", "5:17: error: source.s.retry_horizon: found 5m; accepted: at least 6m, which the waits of retry_schedule come to".into()),
    ] {
        one_error(&around(&format!("{GOOD}\n{line}"), "", ""), &expected);
    }
}

#[test]
fn each_bad_authentication_is_told_at_its_place() {
    let template = "text with {body}, {timestamp} and {header:NAME} in it";
    for (auth, expected) in [
        ("header = \"X\"", "2:8: error: source.s.auth.kind: missing; accepted: \"api-key\", \"hmac\", \"standard-webhooks\", \"none-dangerous\"".to_owned()),
        ("kind = \"api-key\"", "2:8: error: source.s.auth.header: missing; accepted: the name of the header that holds it".into()),
        ("kind = \"api-key\", header = \"X\", prefix = \"a\"", "2:42: error: source.s.auth.prefix: unknown key; accepted: kind, header".into()),
        ("kind = \"api-key\", header = \"X-Key:\"", "2:37: error: source.s.auth.header: found \"X-Key:\"; accepted: a header's name, such as \"X-Signature\"; did you mean \"X-Key\"?".into()),
        ("kind = \"hmac\", header = \"X\", algorithm = \"md5\"", "2:51: error: source.s.auth.algorithm: found \"md5\"; accepted: \"sha256\", \"sha512\", \"sha1\"".into()),
        ("kind = \"hmac\", header = \"X\", encoding = \"HEX\"", "2:50: error: source.s.auth.encoding: found \"HEX\"; accepted: \"hex\", \"base64\"".into()),
        ("kind = \"hmac\", header = \"X\", signed = \"v0\"", "2:48: error: source.s.auth.signed: the body is not signed; accepted: a template with {body} in it, once".into()),
        ("kind = \"hmac\", header = \"X\", signed = \"{bdoy}\"", format!("2:48: error: source.s.auth.signed: found {{bdoy}}; accepted: {template}; did you mean {{body}}?")),
        ("kind = \"hmac\", header = \"X\", signed = \"{body\"", format!("2:48: error: source.s.auth.signed: found \"{{body\"; accepted: {template}")),
        ("kind = \"hmac\", header = \"X\", signed = \"{timestamp}.{body}\"", "2:48: error: source.s.auth.signed: found {timestamp} without the key `timestamp`, which says where it stands; accepted: with timestamp = \"t\" or \"header:NAME\"".into()),
        ("kind = \"hmac\", header = \"X\", timestamp = \"header:T\"", "2:51: error: source.s.auth.timestamp: the timestamp is not signed, so it proves nothing; accepted: with {timestamp} in `signed`".into()),
        ("kind = \"hmac\", header = \"X\", signed = \"{timestamp}.{body}\", timestamp = \"t\"", "2:82: error: source.s.auth.timestamp: found an item of the signature header without `signature`, the item that holds the signature; accepted: with signature = \"v1\", or timestamp = \"header:NAME\"".into()),
        ("kind = \"hmac\", header = \"X\", tolerance = \"5m\"", "2:51: error: source.s.auth.tolerance: found without `timestamp`, so there is nothing to tolerate; accepted: with it".into()),
        ("kind = \"standard-webhooks\", tolerance = \"2d\"", "2:50: error: source.s.auth.tolerance: found \"2d\"; accepted: \"1s\" to \"1d\"".into()),
    ] {
        let source = format!("auth = {{ {auth} }}\nkeys = [{{ env = \"WHSEC\" }}]");
        one_error(&around(&source, "", ""), &expected);
    }
    let keys = "a list of secrets such as [{ env = \"NAME\" }] or [{ file = \"PATH\" }]";
    one_error(
        &around("keys = [{ env = \"KEY\" }]", "", ""),
        "1:1: error: source.s.auth: missing; accepted: auth = { kind = .. }, or a preset that has one",
    );
    one_error(
        &around("preset = \"drx\"", "", ""),
        &format!("1:1: error: source.s.keys: missing; accepted: {keys}"),
    );
}

#[test]
fn each_bad_setting_of_an_upstream_is_told_at_its_place() {
    let reserved = "any header but those of HTTP's framing and of Hookward itself";
    for (line, expected) in [
        ("format = \"json\"", "6:10: error: upstream.u.format: found \"json\"; accepted: \"cloudevents\", \"cloudevents-binary\", \"passthrough\"".to_owned()),
        ("concurrency = 0", "6:15: error: upstream.u.concurrency: found 0; accepted: a whole number, 1 to 1024".into()),
        ("ordering = \"sorted\"", "6:12: error: upstream.u.ordering: found \"sorted\"; accepted: \"subject\", \"none\"".into()),
        ("timeout = \"0s\"", "6:11: error: upstream.u.timeout: found \"0s\"; accepted: \"100ms\" to \"5m\"".into()),
        ("retry = { first = \"11m\" }", "6:19: error: upstream.u.retry.first: found 11m; accepted: at most 10m, which is upstream.u.retry.max".into()),
        ("retry = { give_up = \"31d\" }", "6:21: error: upstream.u.retry.give_up: found 31d; accepted: at most 30d, which is store.retention".into()),
        ("retry = { tries = 5 }", "6:11: error: upstream.u.retry.tries: unknown key; accepted: first, max, give_up".into()),
        ("headers = { Authorization = \"Bearer hunter2\" }", "6:29: error: upstream.u.headers.Authorization: found the secret itself; secrets do not stand in this file; accepted: { env = \"NAME\" } or { file = \"PATH\" }".into()),
        ("headers = { Host = { env = \"KEY\" } }", format!("6:20: error: upstream.u.headers.Host: found \"Host\"; accepted: {reserved}")),
        ("headers = { \"a b\" = { env = \"KEY\" } }", "6:21: error: upstream.u.headers.\"a b\": found \"a b\"; accepted: a header's name, such as \"X-Signature\"".into()),
        ("headers = { A = { env = \"KEY\" }, a = { env = \"KEY\" } }", "6:38: error: upstream.u.headers.a: found \"a\", which the same table has already; accepted: one of its own".into()),
        ("headers = { A = { env = \"CONTROL\" } }", "6:17: error: upstream.u.headers.A: the environment variable CONTROL holds bytes that no header value has; accepted: printable ASCII, without spaces at its ends".into()),
        ("signing_key = { env = \"SHORT\" }", "6:15: error: upstream.u.signing_key: the environment variable SHORT does not decode; accepted: base64, with or without whsec_ before it".into()),
        ("ca = \"ca.pem\"", "6:6: error: upstream.u.ca: found with an http url, which needs no certificates; accepted: with an https url".into()),
    ] {
        one_error(&around(GOOD, line, ""), &expected);
    }
    let https =
        |line| good().replace("http:", "https:").replace("3000/\"", &format!("3000/\"\n{line}"));
    one_error(
        &https("ca = \"no.pem\""),
        "6:6: error: upstream.u.ca: /etc/hookward/no.pem: cannot be read: no such file; accepted: a file of PEM certificates",
    );
    one_error(
        &https("ca = \"junk.pem\""),
        "6:6: error: upstream.u.ca: /etc/hookward/junk.pem: holds no certificate; accepted: a file of PEM certificates",
    );
    assert_eq!(errors(&https("ca = \"ca.pem\"")), [""; 0]);
}

#[test]
fn secrets_are_there_private_and_long_enough() {
    let keys = |keys: &str| {
        around(&format!("auth = {{ kind = \"api-key\", header = \"X\" }}\nkeys = {keys}"), "", "")
    };
    for (list, expected) in [
        (
            "[{ env = \"NOPE\" }]",
            "3:9: error: source.s.keys[0]: the environment variable NOPE is not set; accepted: one that is",
        ),
        (
            "[{ env = \"EMPTY\" }]",
            "3:9: error: source.s.keys[0]: the environment variable EMPTY is empty; accepted: a secret of at least 16 bytes",
        ),
        (
            "[{ env = \"my secret\" }]",
            "3:17: error: source.s.keys[0].env: found a string that is no variable's name; accepted: letters, digits and `_`, not starting with a digit",
        ),
        (
            "[{ env = \"KEY\", allow_readable = true }]",
            "3:41: error: source.s.keys[0].allow_readable: unknown key; accepted: file",
        ),
        (
            "[{ file = \"nope\" }]",
            "3:9: error: source.s.keys[0]: cannot read /etc/hookward/nope: no such file; accepted: a file that this user can read",
        ),
        (
            "[{ file = \"newline\" }]",
            "3:9: error: source.s.keys[0]: /etc/hookward/newline is empty; accepted: a secret of at least 16 bytes",
        ),
        (
            "[{ file = \"open\" }]",
            "3:9: error: source.s.keys[0]: /etc/hookward/open has mode 0640; accepted: 0600, readable by its owner alone (or allow_readable = true beside it)",
        ),
        (
            "[{ env = \"SPACED\" }]",
            "3:9: error: source.s.keys[0]: the environment variable SPACED holds bytes that no header value has; accepted: printable ASCII, without spaces at its ends",
        ),
        (
            "[{ file = \"good\", env = \"KEY\" }]",
            "3:9: error: source.s.keys[0]: found both `env` and `file`; accepted: one of them",
        ),
        (
            "[{}]",
            "3:9: error: source.s.keys[0]: missing; accepted: { env = \"NAME\" } or { file = \"PATH\" }",
        ),
        (
            "[[]]",
            "3:9: error: source.s.keys[0]: found a list; accepted: { env = \"NAME\" } or { file = \"PATH\" }",
        ),
        (
            "{ env = \"KEY\" }",
            "3:8: error: source.s.keys: found a table; accepted: a list of secrets such as [{ env = \"NAME\" }] or [{ file = \"PATH\" }]",
        ),
    ] {
        one_error(&keys(list), expected);
    }
    let (config, _) =
        check(&keys("[{ file = \"good\" }, { file = \"open\", allow_readable = true }]")).unwrap();
    assert!(config.sources[0].keys.iter().all(|key| key.matches(b"0123456789abcdef")));
    assert_eq!(
        warnings(&keys("[{ env = \"SHORT\" }]"))[1..],
        [
            "1:1: warning: store.encryption_key: not set: events are stored unencrypted, and whoever gets at the disk reads them; `hookward keygen` makes a key",
            "3:9: warning: source.s.keys[0]: the environment variable SHORT has 15 bytes; a secret should have at least 16: nobody is locked out for guessing, so its length is what protects it",
        ]
    );
}

#[test]
fn a_secret_in_the_wrong_place_is_never_repeated() {
    let secret = "hunter2-hunter2-hunter2";
    for text in [
        around(
            &format!("auth = {{ kind = \"api-key\", header = \"X\" }}\nkeys = [\"{secret}\"]"),
            "",
            "",
        ),
        around(
            &format!("auth = {{ kind = \"api-key\", header = \"X\" }}\nkeys = \"{secret}\""),
            "",
            "",
        ),
        around(&format!("auth = \"{secret}\"\nkeys = [{{ env = \"{secret}\" }}]"), "", ""),
        around(GOOD, &format!("headers = \"{secret}\"\nsigning_key = \"{secret}\""), ""),
        around(GOOD, &format!("headers = {{ A = \"{secret}\" }}"), ""),
        around(GOOD, "", &format!("[admin]\ntoken = \"{secret}\"")),
        around(GOOD, "", &format!("[store]\nencryption_key = \"{secret}\"")),
        good().replace("http://", &format!("http://user:{secret}@")),
        around(GOOD, "", &format!("[admin]\ntoken = \"{secret}\n")),
    ] {
        let errors = errors(&text);
        assert!(!errors.is_empty(), "{text}");
        assert!(errors.iter().all(|e| !e.contains("hunter2")), "{errors:?}");
    }
}

#[test]
fn there_are_no_more_than_64_upstreams() {
    let many = |n: usize| {
        (0..n).map(|i| format!("[upstream.u{i}]\nurl = \"http://a/\"\n")).collect::<String>()
    };
    let text = |n| format!("[source.s]\n{GOOD}\n{}", many(n));
    assert_eq!(errors(&text(64)), [""; 0]);
    one_error(
        &text(65),
        "4:2: error: upstream: found 65; accepted: 1 to 64 tables [upstream.NAME]",
    );
}

#[test]
fn the_credential_of_a_preset_identifies_nothing_either() {
    let credential = "found the header that holds the source's credential; accepted: any other place, since a credential says nothing about the event and must not be stored";
    let keys = "keys = [{ env = \"WHSEC\" }]";
    for (source, place) in [
        (
            format!(
                "preset = \"standard-webhooks\"\n{keys}\nevent.id = \"header:webhook-signature\""
            ),
            "4:12: error: source.s.event.id",
        ),
        (
            format!(
                "preset = \"github\"\n{keys}\nauth = {{ kind = \"api-key\", header = \"X-GitHub-Event\" }}"
            ),
            "1:1: error: source.s.event.type",
        ),
    ] {
        one_error(&around(&source, "", ""), &format!("{place}: {credential}"));
    }
    let id = around(
        &format!("preset = \"standard-webhooks\"\n{keys}\nevent.id = \"header:webhook-id\""),
        "",
        "",
    );
    assert_eq!(errors(&id), [""; 0]);
}
