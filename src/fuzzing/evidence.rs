//! What an investigator is given: a segment of an audit trail that anybody may have written, and a captured
//! request.

use std::path::Path;
use std::sync::LazyLock;

use crate::audit::chain::{PublicKey, verify_segment};
use crate::cli::verify::judge_bytes;
use crate::config::{Config, Placeholders, check_text};

/// A public key that nobody has the other half of.
const NOBODYS: &str = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29";

/// Sources of each kind of credential.
const SOURCES: [&str; 4] = ["key", "body", "stamped", "standard"];
const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
trusted_proxies = ["10.0.0.0/8"]
[store]
[upstream.app]
url = "http://127.0.0.1:1/"
[source.key]
auth = { kind = "api-key", header = "X-API-Key" }
keys = [{ env = "A" }]
[source.body]
auth = { kind = "hmac", header = "X-Lab-Signature", algorithm = "sha256", encoding = "hex", prefix = "sha256=", signed = "{body}" }
keys = [{ env = "A" }]
[source.stamped]
preset = "stripe"
keys = [{ env = "A" }]
[source.standard]
preset = "standard-webhooks"
keys = [{ env = "A" }]
"#;

static CONFIGURED: LazyLock<Option<Config>> = LazyLock::new(|| {
    let checked = check_text(Path::new("hookward.toml"), CONFIG, &Placeholders);
    checked.ok().map(|(config, _)| config)
});

/// A segment of an audit trail: nothing that stands there is vouched for without the installation's key.
///
/// # Panics
/// When something is.
pub fn trail(data: &[u8]) {
    let Ok(key) = PublicKey::parse(NOBODYS) else { return };
    let report = verify_segment(data, &key);
    assert!(report.vouched.is_none(), "vouched for by nobody");
    assert!(!report.sound || report.checkpoints == 0, "a checkpoint of nobody's is sound");
}

/// A captured request, raw or as a curl command: there is a verdict in one line of JSON, or there is nothing
/// to judge.
///
/// # Panics
/// When the verdict is something else.
pub fn capture(data: &[u8]) {
    let config = CONFIGURED.as_ref();
    assert!(config.is_some(), "the configuration is valid");
    for source in SOURCES {
        let verdict = config.and_then(|config| judge_bytes(config, source, data));
        let Some((_, json)) = verdict else { continue };
        let parsed = serde_json::from_str::<serde_json::Value>(&json);
        assert!(parsed.is_ok_and(|verdict| verdict.is_object()), "no verdict: {json}");
    }
}
