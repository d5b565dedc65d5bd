//! `[log]`: what is printed, and how.

use tracing::level_filters::LevelFilter;

use super::context::Context;
use super::defaults::{LOG_FORMAT, LOG_LEVEL};
use super::tree::Table;
use super::{Log, LogFormat};

pub(super) const KEYS: &[&str] = &["format", "level"];

const FORMATS: &[(&str, LogFormat)] = &[("json", LogFormat::Json), ("text", LogFormat::Text)];
const LEVELS: &[(&str, LevelFilter)] = &[
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
    ("off", LevelFilter::OFF),
];

/// Reads the table; all defaults hold where it is absent.
pub(super) fn read(table: &Table<'_>, cx: &mut Context<'_>) -> Log {
    let format = table.get("format").and_then(|node| node.choice(FORMATS, cx));
    let level = table.get("level").and_then(|node| node.choice(LEVELS, cx));
    Log { format: format.unwrap_or(LOG_FORMAT), level: level.unwrap_or(LOG_LEVEL) }
}
