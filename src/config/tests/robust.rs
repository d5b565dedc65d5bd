//! No input brings the reader down.

use proptest::prelude::*;

use super::*;

#[test]
fn tables_nested_thousands_deep_are_refused_before_they_are_parsed() {
    let deep = "a.".repeat(100_000) + "a = 1";
    for text in [
        deep.clone(),
        format!("[{}]", &deep[..200_001]),
        format!("x = {{ a = \"\"\"\n\"\"\", {deep} }}"),
    ] {
        assert_eq!(
            errors(&text),
            ["1:1: error: not valid TOML: more than 16 dots in one line's keys"]
        );
    }
    assert_eq!(
        errors(&"x".repeat(MAX_FILE + 1)),
        ["1:1: error: found 1048577 bytes; accepted: at most 1048576"]
    );
    let nets = vec!["\"10.0.0.0/8\""; 100].join(", ");
    assert_eq!(errors(&around(&format!("{GOOD}\nallow_ips = [{nets}]"), "", "")), [""; 0]);
}

#[test]
fn no_damage_to_the_example_brings_the_reader_down() {
    let file = Path::new("hookward.toml");
    let bytes = EXAMPLE.as_bytes();
    for at in (0..bytes.len()).step_by(19) {
        for change in [b'"', b'[', b'{', b'=', b'.', b'\n', 0, 0xff, b'9'] {
            let mut damaged = bytes.to_vec();
            damaged[at] = change;
            if at % 2 == 0 {
                damaged.truncate(at + 40);
            }
            let _ = check_text(file, &String::from_utf8_lossy(&damaged), &Placeholders);
        }
    }
}

proptest! {
    #[test]
    fn no_text_brings_the_reader_down(text in "\\PC*|[\\[\\]{}=.\"'a-c0-9\\n #_-]{0,200}") {
        let _ = check_text(Path::new("hookward.toml"), &text, &Placeholders);
    }

    #[test]
    fn no_value_brings_the_reader_down(
        key in prop::sample::select(vec!["path", "preset", "auth", "keys", "allow_ips", "max_event_age", "event", "dedupe", "events", "on_conflict", "rate_limit", "client_ca"]),
        value in "\\PC{0,30}",
        form in 0..5_u8,
    ) {
        let quoted = toml::Value::String(value).to_string();
        let value = match form {
            0 => quoted,
            1 => format!("[{quoted}]"),
            2 => format!("{{ kind = \"hmac\", header = \"X\", signed = {quoted} }}"),
            3 => format!("{{ {quoted} = 1, type = {quoted} }}"),
            _ => format!("[[{quoted}], 1.5, 1979-05-27, true]"),
        };
        let text = around(&format!("{key} = {value}"), "", "");
        let _ = check_text(Path::new("hookward.toml"), &text, &Placeholders);
    }
    #[test]
    fn no_listener_brings_the_reader_down(
        key in prop::sample::select(vec!["tls", "trusted_proxies", "proxy_protocol", "max_target", "body_memory", "min_body_rate", "client_rate_limit"]),
        value in "\\PC{0,30}",
        form in 0..6_u8,
    ) {
        let quoted = toml::Value::String(value).to_string();
        let value = match form {
            0 => quoted,
            1 => format!("[{quoted}]"),
            2 => format!("{{ cert = {quoted}, key = {{ file = {quoted} }} }}"),
            3 => format!("{{ acme = {{ domains = [{quoted}], contact = [{quoted}], directory = {quoted}, ca = {quoted} }} }}"),
            4 => format!("{{ acme = [{quoted}], cert = {{}} }}"),
            _ => format!("{{ per_second = {quoted}, burst = 99999999999 }}"),
        };
        let text = around(GOOD, "", &format!("[server]\n{key} = {value}"));
        let _ = check_text(Path::new("hookward.toml"), &text, &Placeholders);
    }
}
