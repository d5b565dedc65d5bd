//! A record with all that is known around it, and what is said of every refusal alike.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::super::super::table;
use super::Explanation;
use super::near::{Near, moment};
use super::setup::Setup;
use crate::audit::chain::Record;
use crate::config::Source;
use crate::config::units::show_duration;

/// Names that are listed before the rest is only counted.
const LISTED: usize = 8;

/// A record, and what is known around it.
pub(super) struct Case<'a> {
    pub(super) record: &'a Record,
    pub(super) near: &'a Near,
    pub(super) setup: Option<&'a Setup>,
    /// Where the trail's files are; `None`: not here.
    pub(super) store: Option<&'a Path>,
}

impl Case<'_> {
    /// The source as it is configured now.
    pub(super) fn source(&self) -> Option<&Arc<Source>> {
        self.setup?.source(self.record.source.as_deref()?)
    }

    /// The source in words.
    pub(super) fn name(&self) -> String {
        self.record
            .source
            .as_ref()
            .map_or_else(|| "the source".into(), |name| format!("source {name}"))
    }

    /// Adds what is said of every refusal.
    pub(super) fn facts(&self, said: Explanation) -> Explanation {
        said.known(self.gone()).known(self.alike()).known(self.client()).known(self.changed())
    }

    fn gone(&self) -> Option<String> {
        let name = self.record.source.as_deref()?;
        let setup = self.setup?;
        let gone = setup.source(name).is_none();
        gone.then(|| format!("{} has no source {name} any more", setup.config.file.display()))
    }

    /// How often, since when, and from how many.
    fn alike(&self) -> Option<String> {
        let Near { alike, alike_clients, .. } = self.near;
        if alike.count <= self.record.count {
            return None;
        }
        let clients = match alike_clients.len() {
            0 | 1 => "from one client".to_owned(),
            n => format!("from {n} clients"),
        };
        let place = match (&self.record.source, self.record.listener.as_deref()) {
            (Some(name), _) => format!(" at {name}"),
            (None, Some(listener @ ("admin" | "socket"))) => format!(" at the {listener} listener"),
            (None, _) => String::new(),
        };
        Some(format!(
            "{} {}{place} in the day before and after it, {clients}: the first at {}, the last at {} (UTC)",
            alike.count,
            self.record.reason,
            table::time(&alike.first),
            table::time(&alike.last)
        ))
    }

    /// What else the same client was refused for.
    fn client(&self) -> Option<String> {
        let client = self.record.client.as_deref().filter(|client| *client != "unknown")?;
        if self.near.client.is_empty() {
            return None;
        }
        Some(format!(
            "{client} was refused for other reasons as well: {}",
            counted(&self.near.client)
        ))
    }

    /// What the gateway did shortly before: a cause that is often overlooked.
    fn changed(&self) -> Vec<String> {
        let Some(at) = moment(&self.record.time) else { return Vec::new() };
        let ago = |record: &Record| {
            let since = moment(&record.time).map(|then| at.since(then).as_secs() / 60);
            let since = std::time::Duration::from_secs(since.unwrap_or(0) * 60);
            if since.is_zero() { "less than a minute".into() } else { show_duration(since) }
        };
        let started = self
            .near
            .started
            .as_ref()
            .map(|record| format!("the gateway had been started {} before", ago(record)));
        let reloaded = self.near.reloaded.as_ref().map(|record| {
            let changed = record.details.as_ref().and_then(|details| details["changed"].as_array());
            let keys: Vec<&str> =
                changed.into_iter().flatten().filter_map(serde_json::Value::as_str).collect();
            let keys = if keys.is_empty() { "no key".into() } else { listed(keys.iter().copied()) };
            format!(
                "another configuration had been taken over {} before; changed: {keys}",
                ago(record)
            )
        });
        started.into_iter().chain(reloaded).collect()
    }
}

/// `3 unknown_route, 1 protocol_error`, the most frequent first.
pub(super) fn counted(counts: &BTreeMap<String, u64>) -> String {
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.cmp(b)));
    let texts: Vec<String> = sorted.iter().map(|(name, n)| format!("{n} {name}")).collect();
    listed(texts.iter().map(String::as_str))
}

/// The first few, and how many more there are.
pub(super) fn listed<'t>(texts: impl Iterator<Item = &'t str> + Clone) -> String {
    let more = texts.clone().count().saturating_sub(LISTED);
    let shown = texts.take(LISTED).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
