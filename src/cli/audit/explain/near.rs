//! The records around one: who else, how often, since when.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use super::super::tally::Row;
use super::super::tell;
use super::super::trail::Trail;
use crate::audit::ACTS;
use crate::audit::chain::{Filter, Record};
use crate::clock::UnixMillis;

/// How far around a record others are near it.
const AROUND: Duration = Duration::from_secs(24 * 60 * 60);
/// Different ones of a kind that are told apart.
const MOST: usize = 1000;

/// What is near a record; it is among them itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Near {
    /// For the same reason, at the same source and listener.
    pub(super) alike: Row,
    /// Who they came from.
    pub(super) alike_clients: BTreeSet<String>,
    /// For the same reason, at other sources of that listener.
    pub(super) elsewhere: BTreeMap<String, u64>,
    /// Of the same client, for other reasons, at that listener.
    pub(super) client: BTreeMap<String, u64>,
    /// With the same credential, at that listener.
    pub(super) credential: Row,
    /// At which sources, and at which other listeners.
    pub(super) credential_sources: BTreeSet<String>,
    pub(super) credential_clients: BTreeSet<String>,
    /// The bodies that came with it, by their hash and length.
    pub(super) credential_bodies: BTreeSet<String>,
    /// With the same body and another credential.
    pub(super) body: u64,
    /// The last start, and the last time another configuration took over, before it.
    pub(super) started: Option<Record>,
    pub(super) reloaded: Option<Record>,
}

impl Near {
    /// Reads what is near this record. What has failed is told.
    pub(super) fn of(trail: &Trail, record: &Record) -> Result<Self, ExitCode> {
        let Some(at) = moment(&record.time) else { return Ok(Self::default()) };
        let window = Filter {
            since: Some(at.before(AROUND)),
            until: Some(at.after(AROUND)),
            ..Filter::default()
        };
        let mut near = Self::default();
        let damage = trail.each(&window, |listed| {
            near.add(record, &listed.record);
            ControlFlow::Continue(())
        })?;
        tell(damage);
        Ok(near)
    }

    pub(super) fn add(&mut self, record: &Record, other: &Record) {
        if ACTS.contains(&other.reason.as_str()) {
            return self.act(record, other);
        }
        // Who tries a token and who sends an event have nothing to do with each other.
        if other.listener != record.listener {
            return self.at_another_listener(record, other);
        }
        if other.reason == record.reason && other.source == record.source {
            self.alike.add(other);
            note(&mut self.alike_clients, other.client.as_deref());
        } else if other.reason == record.reason {
            count(&mut self.elsewhere, other.source.as_deref(), other.count);
        }
        let client = record.client.as_deref().filter(|client| *client != "many");
        if client.is_some() && other.client.as_deref() == client && other.reason != record.reason {
            count(&mut self.client, Some(&other.reason), other.count);
        }
        if record.credential.is_some() && other.credential == record.credential {
            self.credential.add(other);
            note(&mut self.credential_sources, other.source.as_deref());
            note(&mut self.credential_clients, other.client.as_deref());
            note(&mut self.credential_bodies, other.sha256.as_deref());
        } else if is_signed(record, other) && other.sha256 == record.sha256 {
            self.body = self.body.saturating_add(other.count);
        }
    }

    fn at_another_listener(&mut self, record: &Record, other: &Record) {
        if record.credential.is_some() && other.credential == record.credential {
            let listener = other.listener.as_deref().unwrap_or("another");
            note(&mut self.credential_sources, Some(&format!("the {listener} listener")));
        }
    }

    fn act(&mut self, record: &Record, other: &Record) {
        let kept = match other.reason.as_str() {
            "started" => &mut self.started,
            "config_reloaded" => &mut self.reloaded,
            _ => return,
        };
        if other.time <= record.time && kept.as_ref().is_none_or(|kept| kept.time <= other.time) {
            *kept = Some(other.clone());
        }
    }
}

/// Whether both had a body and a signature, of one source.
fn is_signed(record: &Record, other: &Record) -> bool {
    [record, other].iter().all(|one| {
        one.sha256.is_some() && one.credential.is_some() && one.reason.starts_with("signature_")
    }) && other.source == record.source
}

fn note(set: &mut BTreeSet<String>, value: Option<&str>) {
    if let Some(value) = value
        && set.len() < MOST
    {
        set.insert(value.to_owned());
    }
}

fn count(counts: &mut BTreeMap<String, u64>, key: Option<&str>, n: u64) {
    let key = key.unwrap_or("none");
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_add(n);
    } else if counts.len() < MOST {
        counts.insert(key.to_owned(), n);
    }
}

/// A record's time.
pub(super) fn moment(text: &str) -> Option<UnixMillis> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok().map(UnixMillis)
}
