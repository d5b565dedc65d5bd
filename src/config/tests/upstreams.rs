//! What an upstream gets, what it is shown, and how hard it may be called.

use super::*;

fn upstream(lines: &str) -> Upstream {
    let (config, _) = check(&around(GOOD, lines, "")).unwrap();
    Arc::into_inner(config.upstreams.into_iter().next().unwrap()).unwrap()
}

#[test]
fn formats_are_known_by_their_names() {
    for (line, format) in [
        ("", Format::CloudEvents),
        ("format = \"cloudevents\"", Format::CloudEvents),
        ("format = \"cloudevents-binary\"", Format::CloudEventsBinary),
        ("format = \"passthrough\"", Format::Passthrough),
    ] {
        let upstream = upstream(line);
        assert_eq!(upstream.format, format, "{line}");
        assert_eq!(upstream.original_signature, OriginalSignature::Drop);
        assert!(upstream.resign.is_empty() && upstream.rate_limit.is_none());
        assert!(!upstream.allow_link_local && upstream.client_cert.is_none());
    }
}

#[test]
fn signing_keys_are_one_or_several_newest_first() {
    let rotated = Fake {
        variables: HashMap::from([
            ("KEY", "0123456789abcdef"),
            ("WHSEC", "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="),
            ("NEW", "ZmVkY2JhOTg3NjU0MzIxMA=="),
        ]),
        ..fake()
    };
    let keys = |line: &str| {
        let (config, _) = check_text(Path::new(FILE), &around(GOOD, line, ""), &rotated).unwrap();
        let keys = config.upstreams[0].signing_keys.iter();
        keys.map(|key| String::from_utf8(key.expose().to_vec()).unwrap()).collect::<Vec<_>>()
    };
    assert!(keys("").is_empty());
    assert_eq!(keys("signing_key = { env = \"WHSEC\" }"), ["0123456789abcdef"]);
    assert_eq!(
        keys("signing_key = [{ env = \"NEW\" }, { env = \"WHSEC\" }]"),
        ["fedcba9876543210", "0123456789abcdef"]
    );
}

#[test]
fn the_signature_is_kept_by_every_source_when_an_upstream_is_to_get_it() {
    for (signature, kept) in [("drop", false), ("keep", true)] {
        let upstream = format!("format = \"passthrough\"\noriginal_signature = \"{signature}\"");
        let (config, _) = check(&around(GOOD, &upstream, "")).unwrap();
        assert_eq!(config.sources[0].keep_signature, kept);
    }
}

#[test]
fn sources_are_signed_anew_by_their_own_schemes() {
    let text = around(
        GOOD,
        "format = \"passthrough\"\nresign = { s = { env = \"KEY\" }, c = { file = \"good\" }, w = { env = \"WHSEC\" } }",
        "[source.c]\npreset = \"c4hxp\"\nkeys = [{ env = \"KEY\" }]\n\
         [source.w]\npreset = \"standard-webhooks\"\nkeys = [{ env = \"WHSEC\" }]",
    );
    let (config, _) = check(&text).unwrap();
    let resign: Vec<_> = config.upstreams[0].resign.iter().collect();
    let names: Vec<_> = resign.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["c", "s", "w"]);
    assert!(matches!(&resign[0].1.auth, Auth::Hmac(scheme) if scheme.prefix == "sha256="));
    assert!(matches!(&resign[1].1.auth, Auth::ApiKey { header } if header == "x-key"));
    for (_, Resign { key, .. }) in resign {
        assert_eq!(key.expose(), b"0123456789abcdef", "decoded where the scheme decodes it");
    }
}

#[test]
fn headers_to_keep_are_the_presets_or_the_files() {
    let forwarded = |source: &str| {
        let (config, _) = check(&around(source, "", "")).unwrap();
        let names = config.sources[0].forward_headers.iter();
        names.map(|name| name.as_str().to_owned()).collect::<Vec<_>>()
    };
    let rxscale = "preset = \"rxscale\"\nkeys = [{ env = \"KEY\" }]";
    assert!(forwarded(GOOD).is_empty());
    assert_eq!(forwarded(rxscale), ["x-webhook-event"]);
    assert!(forwarded(&format!("{rxscale}\nforward_headers = []")).is_empty());
    assert_eq!(forwarded(&format!("{rxscale}\nforward_headers = [\"X-A\"]")), ["x-a"]);
    // Another scheme than the preset's makes one of its headers the credential.
    let auth = "auth = { kind = \"api-key\", header = \"X-Webhook-Event\" }";
    assert!(forwarded(&format!("{rxscale}\n{auth}")).is_empty());
    for preset in Preset::ALL {
        let key = if preset == Preset::StandardWebhooks { "WHSEC" } else { "KEY" };
        let source = format!("preset = \"{}\"\nkeys = [{{ env = \"{key}\" }}]", preset.as_str());
        let listed = preset.fragment().contains("forward_headers");
        assert_eq!(forwarded(&source).is_empty(), !listed, "{preset:?}");
    }
}

#[test]
fn each_bad_header_to_keep_is_told_at_its_place() {
    let accepted =
        "any header but credentials, those of HTTP's framing and those of Hookward itself";
    let long = "a".repeat(129);
    for (list, expected) in [
        ("\"X-A\"", "4:19: error: source.s.forward_headers: found a string; accepted: a list of headers' names such as [\"X-Event-Type\"]".to_owned()),
        ("[\"Authorization\"]", format!("4:20: error: source.s.forward_headers[0]: found \"authorization\"; accepted: {accepted}")),
        ("[\"Content-Length\"]", format!("4:20: error: source.s.forward_headers[0]: found \"content-length\"; accepted: {accepted}")),
        ("[\"webhook-id\"]", format!("4:20: error: source.s.forward_headers[0]: found \"webhook-id\"; accepted: {accepted}")),
        ("[\"X-A\", \"x-a\"]", "4:27: error: source.s.forward_headers[1]: found \"x-a\", which the same list has already; accepted: one of its own".into()),
        ("[\"X-Key\"]", "4:19: error: source.s.forward_headers: found the header that holds the source's credential; accepted: any other, since a credential must not be stored (for signatures there is original_signature = \"keep\" of the upstream)".into()),
        (&format!("[\"{long}\"]"), format!("4:20: error: source.s.forward_headers[0]: found \"{}...\"; accepted: {accepted}", &long[..SHOWN])),
        (&format!("[{}]", (0..17).map(|n| format!("\"x-{n}\",")).collect::<String>()), "4:19: error: source.s.forward_headers: found 17; accepted: a list of headers' names such as [\"X-Event-Type\"], 1 to 16 of them".into()),
    ] {
        one_error(&around(&format!("{GOOD}\nforward_headers = {list}"), "", ""), &expected);
    }
}

/// As much of a value as a message shows.
const SHOWN: usize = 60;

#[test]
fn each_bad_way_to_sign_is_told_at_its_place() {
    let only = "found with another format, whose bytes no provider has signed; accepted: with format = \"passthrough\"";
    for (lines, expected) in [
        ("signing_key = []", "6:15: error: upstream.u.signing_key: found an empty list; accepted: a list of secrets such as [{ file = \"new.key\" }, { file = \"old.key\" }], 1 to 4 of them".to_owned()),
        ("signing_key = [{ env = \"WHSEC\" }, { env = \"WHSEC\" }]", "6:35: error: upstream.u.signing_key[1]: found a key, which the same list has already; accepted: one of its own".into()),
        ("signing_key = [{ env = \"WHSEC\" }, { env = \"NOPE\" }]", "6:35: error: upstream.u.signing_key[1]: the environment variable NOPE is not set; accepted: one that is".into()),
        ("signing_key = [\"hunter2\"]", "6:16: error: upstream.u.signing_key[0]: found the secret itself; secrets do not stand in this file; accepted: { env = \"NAME\" } or { file = \"PATH\" }".into()),
        ("original_signature = \"keep\"", format!("6:22: error: upstream.u.original_signature: {only}")),
        ("format = \"passthrough\"\noriginal_signature = \"kept\"", "7:22: error: upstream.u.original_signature: found \"kept\"; accepted: \"drop\", \"keep\"".into()),
        ("format = \"cloudevents-binary\"\nresign = { s = { env = \"KEY\" } }", format!("7:10: error: upstream.u.resign: {only}")),
        ("format = \"passthrough\"\nresign = \"hunter2\"", "7:10: error: upstream.u.resign: found the secret itself; secrets do not stand in this file; accepted: { env = \"NAME\" } or { file = \"PATH\" }".into()),
        ("format = \"passthrough\"\nresign = { ss = { env = \"KEY\" } }", "7:17: error: upstream.u.resign.ss: found \"ss\"; accepted: the name of a source; did you mean \"s\"?".into()),
    ] {
        one_error(&around(GOOD, lines, ""), &expected);
    }
    let resign = "format = \"passthrough\"\nresign = { s = { env = \"KEY\" } }";
    one_error(
        &around("auth = { kind = \"none-dangerous\" }", resign, ""),
        "6:16: error: upstream.u.resign.s: found for a source with kind = \"none-dangerous\", which has no signature; accepted: a source that has",
    );
    let own = GOOD.replace("X-Key", "Webhook-Signature");
    one_error(
        &around(&own, resign, ""),
        "7:16: error: upstream.u.resign.s: the source's signature stands in a header that Hookward sets itself; accepted: `signing_key`, whose signature stands there",
    );
    one_error(
        &around(GOOD, &format!("headers = {{ x-key = {{ env = \"KEY\" }} }}\n{resign}"), ""),
        "8:16: error: upstream.u.resign.s: found \"x-key\", which the table `headers` has already; accepted: one of its own",
    );
    let covers =
        "auth = { kind = \"hmac\", header = \"X-Sig\", signed = \"{header:Cookie}{body}\" }";
    one_error(
        &around(
            &GOOD.replace("auth = { kind = \"api-key\", header = \"X-Key\" }", covers),
            resign,
            "",
        ),
        "7:16: error: upstream.u.resign.s: the source's signature covers a header with a credential, which is never stored; accepted: a source whose signature does not",
    );
}

#[test]
fn addresses_that_nobody_should_be_made_to_call_need_a_word() {
    for host in ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.1.1]", "[fd00:ec2::254]:8080"] {
        let text = good().replace("127.0.0.1:3000", host);
        one_error(
            &text,
            "5:7: error: upstream.u.url: found a link-local address, or one of a cloud's metadata service, which gives its credentials to whoever asks; accepted: any other, or with allow_link_local = true",
        );
        let allowed = text.replace("/\"\n", "/\"\nallow_link_local = true\n");
        assert_eq!(errors(&allowed), [""; 0], "{allowed}");
    }
    let flag = "6:20: error: upstream.u.allow_link_local: found a string; accepted: true or false";
    one_error(&around(GOOD, "allow_link_local = \"yes\"", ""), flag);
}

fn https(line: &str) -> String {
    good().replace("http:", "https:").replace("3000/\"", &format!("3000/\"\n{line}"))
}

#[test]
fn a_client_certificate_is_a_pair_that_belongs_together() {
    let pair = "client_cert = { cert = \"cert.pem\", key = \"key.pem\" }";
    let (config, _) = check(&https(pair)).unwrap();
    let identity = config.upstreams[0].client_cert.as_ref().unwrap();
    assert_eq!(identity.facts.names, ["hooks.example"]);
    let read: Vec<_> = config.files.iter().filter_map(|file| file.file_name()).collect();
    assert_eq!(read, ["hookward.toml", "cert.pem", "key.pem"]);
    for (cert, expected) in [
        (
            "{ cert = \"cert.pem\" }",
            "6:15: error: upstream.u.client_cert.key: missing; accepted: a PEM file's path",
        ),
        (
            "{ cert = \"cert.pem\", key = \"other-key.pem\" }",
            "6:42: error: upstream.u.client_cert.key: /etc/hookward/other-key.pem: the private key does not belong to the first certificate; accepted: a file with one PEM private key",
        ),
        (
            "{ cert = \"cert.pem\", key = \"open-key.pem\" }",
            "6:42: error: upstream.u.client_cert.key: /etc/hookward/open-key.pem has mode 0644; accepted: 0600, readable by its owner alone (or allow_readable = true beside it)",
        ),
        (
            "{ cert = \"cert.pem\", key = \"key.pem\", ca = \"ca.pem\" }",
            "6:53: error: upstream.u.client_cert.ca: unknown key; accepted: cert, key",
        ),
    ] {
        one_error(&https(&format!("client_cert = {cert}")), expected);
    }
    one_error(
        &around(GOOD, pair, ""),
        "6:15: error: upstream.u.client_cert: found with an http url, which needs no certificates; accepted: with an https url",
    );
}

#[test]
fn a_rate_is_two_whole_numbers() {
    let rate = upstream("rate_limit = { per_second = 20, burst = 5 }").rate_limit.unwrap();
    assert_eq!((rate.per_second.get(), rate.burst.get()), (20, 5));
    one_error(
        &around(GOOD, "rate_limit = { per_second = 0, burst = 5 }", ""),
        "6:29: error: upstream.u.rate_limit.per_second: found 0; accepted: a whole number, 1 to 1000000",
    );
}
