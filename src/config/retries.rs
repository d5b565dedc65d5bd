//! How a source's provider retries: what its preset's data says, and over that the keys
//! `retry_schedule` and `retry_horizon` of the file.

use std::time::Duration;

use super::context::Context;
use super::defaults::{MAX_WAIT, MAX_WAITS, RETRY_HORIZON};
use super::problem::ProblemKind;
use super::tree::{Node, Table};
use super::units::{Count, Quantity as _};
use crate::provider::{Retries, Success};

const KEYS: &[&str] = &["waits", "horizon", "by_hand", "timeout", "success", "final", "published"];
const WAITS: &str = "a list of waits such as [\"1m\", \"5m\", \"1h\"]";
const SUCCESS: [(&str, Success); 2] = [("2xx", Success::Any2xx), ("200", Success::Only200)];

/// Reads the `[retry]` table of a preset's data.
pub(super) fn published(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Retries> {
    let table = node.table(KEYS, cx)?;
    let mut time =
        |key| table.get(key).and_then(|n| n.duration(Duration::ZERO..=Duration::MAX, cx));
    let (horizon, by_hand, timeout) = (time("horizon"), time("by_hand"), time("timeout"));
    let published = table.get("published").and_then(|n| n.text("text", cx));
    Some(Retries {
        waits: table.get("waits").and_then(|n| waits(&n, cx)),
        horizon,
        by_hand,
        timeout,
        success: table.get("success").and_then(|n| n.choice(&SUCCESS, cx)).unwrap_or_default(),
        final_statuses: table.get("final").map(|n| statuses(&n, cx)).unwrap_or_default(),
        published: published.map(str::to_owned),
    })
}

/// Lays what the source's table says over what its provider has published. A schedule of the
/// operator's has its own horizon, unless that is given too.
pub(super) fn read(table: &Table<'_>, published: Retries, cx: &mut Context<'_>) -> Retries {
    let mut retries = published;
    if let Some(waits) = table.get("retry_schedule").and_then(|node| waits(&node, cx)) {
        retries = Retries { waits: Some(waits), horizon: None, published: None, ..retries };
    }
    let (Some(node), (Some(least), Some(most))) =
        (table.get("retry_horizon"), (RETRY_HORIZON.least, RETRY_HORIZON.most))
    else {
        return retries;
    };
    let Some(horizon) = node.duration(least..=most, cx) else { return retries };
    if let Some(sum) = retries.horizon().filter(|sum| table.has("retry_schedule") && horizon < *sum)
    {
        let (found, bound) = (horizon.show(), sum.show());
        let whose = "which the waits of retry_schedule come to".to_owned();
        cx.problem(node.spot(), ProblemKind::Less { found, bound, whose });
    }
    Retries { horizon: Some(horizon), ..retries }
}

fn waits(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Vec<Duration>> {
    let list = node.list_up_to(WAITS, MAX_WAITS, cx)?;
    let waits: Vec<_> = list.iter().map(|n| n.duration(Duration::ZERO..=MAX_WAIT, cx)).collect();
    waits.into_iter().collect()
}

fn statuses(node: &Node<'_>, cx: &mut Context<'_>) -> Vec<u16> {
    let codes = node.elements();
    let codes = codes.iter().filter_map(|n| n.count(Count(300)..=Count(599), cx));
    codes.filter_map(|code| u16::try_from(code.0).ok()).collect()
}
