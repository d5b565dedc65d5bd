//! The gateway's life, where no request is needed to see it.

use std::path::Path;

use super::*;
use crate::config::{Placeholders, check_text};

pub(super) const TOML: &str = r#"
    [server]
    listen = "127.0.0.1:0"
    [store]
    path = "data"
    [source.lab]
    auth = { kind = "none-dangerous" }
    [upstream.app]
    url = "http://127.0.0.1:9/"
"#;

/// A stop used to wait a second time for the listener whose end had brought it about, which a
/// task's handle answers with a panic: the store was never closed.
#[tokio::test]
async fn a_gateway_whose_listener_has_died_still_stops_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(config(dir.path(), TOML), Clock::System).await.unwrap();
    gateway.public.cut_off();
    let failed = gateway.failed().await;
    assert_eq!(failed.to_string(), "the public listener has ended");
    assert!(gateway.shutdown().await, "the store closes cleanly");
}

pub(super) fn config(dir: &Path, toml: &str) -> Config {
    let file = dir.join("hookward.toml");
    let (mut config, _) = check_text(&file, toml, &Placeholders).unwrap();
    config.store.min_free = 0;
    config
}
