//! What stands outside the code stays true: the example and docs/defaults.md.

use super::super::*;
use super::*;
use crate::config::units::Quantity;
use crate::provider::Success;

#[test]
fn the_example_is_valid_and_shows_every_key_that_works() {
    let file = Path::new("/etc/hookward/hookward.toml");
    let (config, problems) =
        check_text(file, EXAMPLE, &Placeholders).unwrap_or_else(|e| panic!("{e:#?}"));
    assert!(config.admin.is_some() && !config.routes.is_empty());
    assert_eq!(problems, [], "{problems:?}");
    // Every key stands in it uncommented, but those that exclude another, or that should not be
    // imitated.
    let elsewhere = ["acme", "allow_readable"];
    for key in tls::ACME_KEYS.iter().chain(&elsewhere) {
        assert!(EXAMPLE.contains(&format!("{key} = ")), "{key} is not in the example");
    }
    let families = [
        server::KEYS,
        tls::KEYS,
        rate::KEYS,
        admin::KEYS,
        store::KEYS,
        audit::CHECKPOINT_KEYS,
        audit::SYSLOG_KEYS,
        audit::FILE_KEYS,
        log::KEYS,
        source::KEYS,
        upstream::KEYS,
        route::KEYS,
        upstream::RETRY_KEYS,
        upstream::CLIENT_CERT_KEYS,
        secrets::KEYS,
        auth::HMAC,
    ];
    for key in families.into_iter().flatten().filter(|key| !elsewhere.contains(key)) {
        let shown = EXAMPLE.lines().any(|line| {
            let line = line.split_once(" # ").map_or(line, |(line, _)| line);
            !line.starts_with('#')
                && line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == *key)
        });
        assert!(shown, "{key} is not in the example");
    }
    for key in source::EVENT_KEYS {
        assert!(
            EXAMPLE.contains(&format!("\nevent.{key} = ")),
            "event.{key} is not in the example"
        );
    }
}

#[test]
fn the_documented_defaults_are_the_ones_that_hold() {
    let text = include_str!("../../../docs/defaults.md");
    let documented: Vec<&str> =
        text.lines().filter(|line| line.starts_with("| `") || line.starts_with("| - ")).collect();
    let mut expected = Vec::new();
    for [key, default, range, reason] in defaults::limits() {
        expected.push(format!("| `{key}` | {default} | {range} | {reason} |"));
    }
    for (key, default, reason) in defaults::CHOICES {
        expected.push(format!("| `{key}` | `{default}` | {reason} |"));
    }
    for (what, value, reason) in defaults::fixed() {
        expected.push(format!("| - {what} | {value} | {reason} |"));
    }
    for row in &expected {
        assert!(documented.contains(&row.as_str()), "docs/defaults.md lacks the row\n{row}");
    }
    for row in &documented {
        assert!(expected.iter().any(|e| e == row), "docs/defaults.md has a row too many\n{row}");
    }
}

#[test]
fn the_documented_retries_are_those_of_the_presets() {
    let text = include_str!("../../../docs/defaults.md");
    for preset in Preset::ALL {
        let row = text.lines().find(|line| line.starts_with(&format!("| {} |", preset.as_str())));
        let row = row.unwrap_or_else(|| panic!("{preset:?} is not documented"));
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let retries = super::presets::retries(preset);
        let or = |text: Option<String>, none: &str| text.unwrap_or_else(|| none.to_owned());
        let waits = retries.waits.as_ref().map(|waits| match &waits[..] {
            [] => "never by itself".to_owned(),
            waits => waits.iter().map(|wait| wait.show()).collect::<Vec<_>>().join(", "),
        });
        let success = match retries.success {
            Success::Any2xx => "any 2xx",
            Success::Only200 => "200",
        };
        let success = match retries.timeout {
            None if preset == Preset::Drx => "not published".to_owned(),
            None => success.to_owned(),
            Some(timeout) => format!("{success} within {}", timeout.show()),
        };
        let latest = retries.latest_repeat().filter(|latest| Some(*latest) != retries.horizon());
        let expected = [
            preset.as_str().to_owned(),
            or(waits, "not published"),
            or(retries.horizon().map(Quantity::show), "not published"),
            or(latest.map(Quantity::show), "-"),
            success,
        ];
        assert_eq!(cells[..5], expected, "{row}");
    }
}

#[test]
fn the_documented_choices_are_the_ones_that_hold() {
    let documented = |key: &str| defaults::CHOICES.iter().find(|c| c.0 == key).unwrap().1;
    let text = around(
        "auth = { kind = \"hmac\", header = \"X\" }\nkeys = [{ env = \"KEY\" }]",
        "",
        "[admin]",
    );
    let (config, _) = check(&text).unwrap();
    assert_eq!(config.server.listen.to_string(), documented("server.listen"));
    assert_eq!(config.admin.unwrap().listen.to_string(), documented("admin.listen"));
    assert!(config.store.path.ends_with(documented("store.path")));
    assert_eq!(documented("server.tls.acme.cache"), defaults::ACME_CACHE);
    assert_eq!(documented("server.trusted_proxies"), "[]");
    assert!(config.server.trusted_proxies.is_empty());
    assert_eq!(config.server.proxy_protocol.to_string(), documented("server.proxy_protocol"));
    assert_eq!(config.server.sandbox.to_string(), documented("server.sandbox"));
    assert_eq!(config.log.level.to_string(), documented("log.level"));
    // Writing a default out changes nothing.
    let spelled_out = around(
        &format!(
            "auth = {{ kind = \"hmac\", header = \"X\", algorithm = \"{}\", encoding = \"{}\", prefix = \"{}\", signed = \"{}\" }}\n\
             keys = [{{ env = \"KEY\" }}]\npath = \"{}\"\non_conflict = \"{}\"\nrequire_event_time = {}",
            documented("source.NAME.auth.algorithm"),
            documented("source.NAME.auth.encoding"),
            documented("source.NAME.auth.prefix"),
            documented("source.NAME.auth.signed"),
            documented("source.NAME.path").replace("NAME", "s"),
            documented("source.NAME.on_conflict"),
            documented("source.NAME.require_event_time"),
        ),
        &format!(
            "ordering = \"{}\"\nformat = \"{}\"\noriginal_signature = \"{}\"\nallow_link_local = {}",
            documented("upstream.NAME.ordering"),
            documented("upstream.NAME.format"),
            documented("upstream.NAME.original_signature"),
            documented("upstream.NAME.allow_link_local"),
        ),
        &format!("[log]\nformat = \"{}\"", documented("log.format")),
    );
    let (spelled_out, _) = check(&spelled_out).unwrap();
    assert_eq!(format!("{:?}", config.sources), format!("{:?}", spelled_out.sources));
    assert_eq!(format!("{:?}", config.upstreams), format!("{:?}", spelled_out.upstreams));
    assert_eq!(config.log.format, spelled_out.log.format);
}
