//! Rate limits: what flows into a token bucket, and what it holds.

use std::num::NonZeroU32;

use super::RateLimit;
use super::context::Context;
use super::defaults::RATE;
use super::tree::{Node, Table};

pub(super) const KEYS: &[&str] = &["per_second", "burst"];

const NUMBER: &str = "a whole number";

/// Reads `{ per_second = .., burst = .. }`.
pub(super) fn read(node: &Node<'_>, cx: &mut Context<'_>) -> Option<RateLimit> {
    let table = node.table(KEYS, cx)?;
    let (per_second, burst) = (part(&table, "per_second", cx), part(&table, "burst", cx));
    Some(RateLimit { per_second: per_second?, burst: burst? })
}

fn part(table: &Table<'_>, key: &str, cx: &mut Context<'_>) -> Option<NonZeroU32> {
    let Some(node) = table.get(key) else {
        cx.missing(table.spot(), key, NUMBER);
        return None;
    };
    node.count(RATE, cx).and_then(|count| NonZeroU32::new(u32::try_from(count.0).ok()?))
}
