//! Events, what has happened to them, and sources, as the API shows them.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::audit::chain::Damage;
use crate::clock::UnixMillis;
use crate::config::units::show_duration;
use crate::config::{Auth, Source};
use crate::event::normalize_type;
use crate::store::query::{Act, ActKind, Delivery, Happening, Listed, Moment};
use crate::store::{AttemptResult, Verdict};

/// A page of a list.
#[derive(Debug, Serialize)]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
    /// The cursor of the next page.
    pub(super) next: Option<String>,
    /// Of records: what was missing between them.
    #[serde(skip_serializing_if = "Damage::is_none")]
    pub(super) damage: Damage,
}

impl<T> List<T> {
    /// A page of which nothing is missing.
    pub(super) fn of(items: Vec<T>, next: Option<String>) -> Self {
        Self { items, next, damage: Damage::default() }
    }
}

/// An event.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    id: String,
    source: String,
    provider_id: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    provider_type: Option<String>,
    subject: Option<String>,
    state: &'static str,
    received_at: String,
    size: usize,
    sha256: String,
    deliveries: Vec<DeliveryShown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

#[derive(Debug, Serialize)]
struct DeliveryShown {
    upstream: String,
    state: &'static str,
    attempts: u32,
    last_status: Option<u16>,
    next_at: Option<String>,
}

impl Event {
    /// Without what came with it.
    pub(super) fn of(listed: &Listed) -> Self {
        let event = &listed.event;
        let meta = &event.meta;
        let kind = normalize_type(meta.provider_type.as_deref());
        Self {
            id: event.id.to_string(),
            source: event.source.to_string(),
            provider_id: meta.provider_id.clone(),
            kind: format!("{}.{kind}", event.source),
            provider_type: meta.provider_type.clone(),
            subject: meta.subject.clone(),
            state: listed.state.as_str(),
            received_at: event.received_at.to_string(),
            size: event.body.len(),
            sha256: hex::encode(event.body_hash.0),
            deliveries: listed.deliveries.iter().map(DeliveryShown::of).collect(),
            timeline: None,
            payload: None,
        }
    }

    /// With all that has happened to it; with its body, and what the upstreams have answered, if that
    /// is asked for.
    pub(super) fn whole(listed: &Listed, moments: &[Moment], payload: bool) -> Self {
        // Only I-JSON is stored, which is UTF-8.
        let body = || String::from_utf8_lossy(&listed.event.body).into_owned();
        Self {
            timeline: Some(moments.iter().map(|moment| entry(moment, payload)).collect()),
            payload: payload.then(body),
            ..Self::of(listed)
        }
    }
}

impl DeliveryShown {
    fn of(delivery: &Delivery) -> Self {
        Self {
            upstream: delivery.upstream.clone(),
            state: delivery.state.as_str(),
            attempts: delivery.attempts,
            last_status: delivery.last_status,
            next_at: delivery.next_at.map(|at| at.to_string()),
        }
    }
}

/// A moment of the timeline.
fn entry(moment: &Moment, payload: bool) -> Value {
    let (what, more) = match &moment.what {
        Happening::Received => ("received", json!({})),
        Happening::Stored { upstreams, quarantined } => {
            ("stored", json!({ "upstreams": upstreams, "quarantined": quarantined }))
        }
        Happening::Attempt { upstream, number, duration, result, verdict, excerpt } => {
            let (result, status) = (result_of(*result), result.status());
            let (verdict, next_at) = verdict_of(*verdict);
            let mut more = json!({
                "upstream": upstream,
                "number": number,
                "duration_ms": u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
                "result": result,
                "status": status,
                "verdict": verdict,
                "next_at": next_at.map(|at| at.to_string()),
            });
            if let (true, Some(more)) = (payload, more.as_object_mut()) {
                more.insert("excerpt".to_owned(), excerpt.clone().into());
            }
            ("attempt", more)
        }
        Happening::Act(act) => (act.what.as_str(), act_of(act)),
    };
    let mut entry = Map::new();
    entry.insert("at".to_owned(), moment.at.to_string().into());
    entry.insert("what".to_owned(), what.into());
    if let Value::Object(more) = more {
        entry.extend(more);
    }
    entry.into()
}

fn act_of(act: &Act) -> Value {
    let mut more = json!({ "who": act.who, "reason": act.reason });
    if let (ActKind::Replayed, Some(more)) = (act.what, more.as_object_mut()) {
        more.insert("upstream".to_owned(), act.upstream.clone().into());
    }
    more
}

fn result_of(result: AttemptResult) -> &'static str {
    match result {
        AttemptResult::Answered(_) => "answered",
        AttemptResult::ConnectFailed => "connect_failed",
        AttemptResult::TimedOut => "timed_out",
        AttemptResult::Broken => "broken",
        AttemptResult::Panicked => "panicked",
        AttemptResult::Unreadable => "unreadable",
    }
}

fn verdict_of(verdict: Verdict) -> (&'static str, Option<UnixMillis>) {
    match verdict {
        Verdict::Delivered => ("delivered", None),
        Verdict::RetryAt(at) => ("retry", Some(at)),
        Verdict::Dead => ("dead", None),
    }
}

/// A configured source, and when its last event was received, as far as that is known.
pub fn source(source: &Source, last_event_at: Option<UnixMillis>) -> Value {
    json!({
        "name": source.name.as_str(),
        "preset": source.preset.map(|preset| preset.as_str()),
        "path": source.path,
        "auth": auth(&source.auth),
        "keys": source.keys.len(),
        "client_ca": source.client_ca.is_some(),
        "rate_limit": source.rate_limit.map(|rate| json!({
            "per_second": rate.per_second, "burst": rate.burst,
        })),
        "allow_ips": source.allow_ips.as_ref().map(|nets| {
            nets.iter().map(ToString::to_string).collect::<Vec<_>>()
        }),
        "retry_horizon": source.retries.horizon().map(show_duration),
        "last_event_at": last_event_at.map(|at| at.to_string()),
    })
}

/// A scheme by the name that the configuration has for it.
pub fn auth(auth: &Auth) -> &'static str {
    match auth {
        Auth::ApiKey { .. } => "api-key",
        Auth::Hmac(_) => "hmac",
        Auth::StandardWebhooks { .. } => "standard-webhooks",
        Auth::NoneDangerous => "none-dangerous",
    }
}
