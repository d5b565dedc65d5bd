//! The demo's temporary directory: a configuration like a user's own, and random secrets.

use std::fmt::Write as _;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine};

use super::story::PROVIDERS;
use crate::config::defaults::{GIVE_UP, RETRY_FIRST, RETRY_MAX};
use crate::secret::Secret;

/// A directory that only the user can enter, removed with all in it when this is dropped.
#[derive(Debug)]
pub(super) struct DemoDir {
    path: PathBuf,
    signing_key: Secret,
}

impl DemoDir {
    /// Makes the directory, and a key for the gateway to sign deliveries with.
    pub(super) fn create() -> io::Result<Self> {
        let path =
            std::env::temp_dir().join(format!("hookward-demo-{}", hex::encode(random::<8>()?)));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, signing_key: Secret::new(random::<32>()?.to_vec()) })
    }

    /// The key that the gateway signs its deliveries with, decoded.
    pub(super) fn signing_key(&self) -> Secret {
        self.signing_key.clone()
    }

    /// The configuration's file.
    pub(super) fn config_file(&self) -> PathBuf {
        self.path.join("hookward.toml")
    }

    /// The file of a provider's key.
    pub(super) fn key_file(&self, provider: &str) -> PathBuf {
        self.path.join("secrets").join(provider)
    }

    /// Writes the configuration and its secrets; `app` is where the events go, with these retries.
    pub(super) fn write_config(&self, app: SocketAddr, retry: &str) -> io::Result<PathBuf> {
        DirBuilder::new().mode(0o700).create(self.path.join("secrets"))?;
        for (provider, _) in PROVIDERS {
            // Hexadecimal digits are base64 as well, for the scheme that takes that.
            write_private(&self.key_file(provider), &hex::encode(random::<24>()?))?;
        }
        let signing_key = format!("whsec_{}", BASE64_STANDARD.encode(self.signing_key.expose()));
        write_private(&self.key_file("upstream"), &signing_key)?;
        write_private(&self.key_file("admin"), &hex::encode(random::<24>()?))?;
        write_private(&self.config_file(), &config_text(app, retry))?;
        Ok(self.config_file())
    }
}

impl Drop for DemoDir {
    fn drop(&mut self) {
        // What cannot be removed is in the system's temporary directory, and holds made-up data.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Retries as fast as a demo needs.
pub(super) const FAST: &str = r#"{ first = "50ms", max = "500ms", give_up = "1h" }"#;

/// The default retries, so many times as fast.
pub(super) fn shortened_retries(scale: NonZeroU32) -> String {
    let [first, max, give_up] = [RETRY_FIRST, RETRY_MAX, GIVE_UP].map(|limit| {
        let shortened = limit.default / scale.get();
        shortened.max(limit.least).as_millis()
    });
    format!(r#"{{ first = "{first}ms", max = "{max}ms", give_up = "{give_up}ms" }}"#)
}

/// What somebody with these providers would write.
fn config_text(app: SocketAddr, retry: &str) -> String {
    let mut text = format!(
        r#"[server]
listen = "127.0.0.1:0"

[admin]
listen = "127.0.0.1:0"
token = {{ file = "secrets/admin" }}

[store]
path = "data"
min_free = "1MiB"

[log]
level = "error"
format = "text"

[upstream.clinic]
url = "http://{app}/webhooks"
signing_key = {{ file = "secrets/upstream" }}
retry = {retry}
"#
    );
    for (provider, preset) in PROVIDERS {
        let preset = preset.as_str();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            r#"
[source.{provider}]
preset = "{preset}"
keys = [{{ file = "secrets/{provider}" }}]
allow_ips = ["127.0.0.1/32"]
"#
        );
    }
    text
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn everything_is_private_and_goes_with_the_demo() {
        let dir = DemoDir::create().unwrap();
        let file = dir.write_config("127.0.0.1:1".parse().unwrap(), FAST).unwrap();
        assert_eq!(mode(&dir.path), 0o700);
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(&dir.key_file("novamed")), 0o600);
        let path = dir.path.clone();
        drop(dir);
        assert!(!path.exists());
    }

    #[test]
    fn every_provider_has_a_source_and_a_key() {
        let dir = DemoDir::create().unwrap();
        let file = dir.write_config("127.0.0.1:1".parse().unwrap(), FAST).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        let config: toml::Table = text.parse().unwrap();
        let sources = config["source"].as_table().unwrap();
        assert_eq!(sources.len(), PROVIDERS.len());
        for (provider, preset) in PROVIDERS {
            assert_eq!(sources[provider]["preset"].as_str(), Some(preset.as_str()));
            assert!(std::fs::metadata(dir.key_file(provider)).unwrap().len() >= 16);
        }
    }

    #[test]
    fn retries_are_shortened_like_everything_else() {
        let at = |scale| shortened_retries(NonZeroU32::new(scale).unwrap());
        assert_eq!(at(1), r#"{ first = "1000ms", max = "600000ms", give_up = "259200000ms" }"#);
        assert_eq!(at(1440), r#"{ first = "1ms", max = "416ms", give_up = "180000ms" }"#);
    }
}
