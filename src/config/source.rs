//! `[source.NAME]`: a provider's endpoint. What the file gives is laid over what the preset
//! gives: whole keys, and within `event` its sub-keys.

use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use toml::de::DeTable;

use super::context::{At, Context, Spot};
use super::defaults::{
    MAX_EVENT_AGE, MAX_KEYS, MAX_TEXT, ON_CONFLICT, PATH_PREFIX, SOURCE_RATE_LIMIT,
};
use super::problem::{Contradiction, SecretProblem, Warning};
use super::secrets::{self, Reference, Resolved, Use};
use super::tree::{Node, Table};
use super::{Auth, EventPaths, OnConflict, Pattern, Place, Selector, Source};
use super::{address, auth, certificates, credential, forwarded, rate, retries, selector};
use crate::event::SourceName;
use crate::provider::{Preset, Retries};

pub(super) const KEYS: &[&str] = &[
    "preset",
    "path",
    "auth",
    "keys",
    "allow_ips",
    "max_event_age",
    "require_event_time",
    "event",
    "dedupe",
    "on_conflict",
    "events",
    "forward_headers",
    "rate_limit",
    "client_ca",
    "retry_schedule",
    "retry_horizon",
];
pub(super) const EVENT_KEYS: &[&str] = &["type", "id", "time", "subject", "tenant", "data"];
const PATH: &str =
    "a path such as \"/hooks/lab\" (letters, digits, `-`, `.`, `_` and `~` between single slashes)";
const KEY_LIST: &str = "a list of secrets such as [{ env = \"NAME\" }] or [{ file = \"PATH\" }]";

/// A source as far as it could be read.
pub(super) struct Checked {
    /// The whole of it, when nothing in it is wrong.
    pub(super) source: Option<Source>,
    /// Where it begins.
    pub(super) spot: Spot,
    /// Its name.
    pub(super) name: String,
    /// Its path, if that is valid.
    pub(super) path: Option<At<String>>,
    /// Its oldest accepted event.
    pub(super) max_event_age: Option<At<Duration>>,
    /// How late its provider may still send an event again, if that is known.
    pub(super) latest_repeat: Option<Duration>,
    /// Where each of its keys stands.
    pub(super) keys: Vec<Spot>,
    /// Where it asks for client certificates.
    pub(super) client_ca: Option<Spot>,
}

/// What one layer, the file's or the preset's, says. Absent and invalid are both `None`.
#[derive(Default)]
struct Layer {
    path: Option<At<String>>,
    auth: Option<Auth>,
    allow_ips: Option<Vec<IpNet>>,
    max_event_age: Option<At<Duration>>,
    require_event_time: Option<At<bool>>,
    event: EventLayer,
    dedupe: Option<Vec<Selector>>,
    on_conflict: Option<OnConflict>,
    events: Option<Vec<Pattern>>,
    forward_headers: Option<Vec<HeaderName>>,
}

#[derive(Default)]
struct EventLayer {
    kind: Option<Selector>,
    id: Option<Selector>,
    time: Option<Selector>,
    subject: Option<Selector>,
    tenant: Option<Selector>,
    data: Option<Selector>,
}

/// Reads one source.
pub(super) fn read(name: &str, node: &Node<'_>, cx: &mut Context<'_>) -> Option<Checked> {
    let table = node.table(KEYS, cx)?;
    let valid_name = SourceName::new(name).ok();
    if valid_name.is_none() {
        node.refuse(
            name,
            "1 to 64 of a-z, 0-9, `-` and `_`, not starting with `-` or `_`",
            None,
            cx,
        );
    }
    let preset = table.get("preset").map(|node| node.at(read_preset(&node, cx)));
    let (below, published) = match &preset {
        Some(At { value: Some(preset), spot }) => preset_layer(*preset, spot.at, cx),
        _ => Default::default(),
    };
    let retries = retries::read(&table, published, cx);
    let mut layer = Layer::read(&table, cx).over(below);
    // A preset that could not be read would have filled in what now seems to be missing.
    let preset_unknown = preset.as_ref().is_some_and(|p| p.value.is_none());
    layer.require_auth(&table, preset_unknown, cx);
    layer.check_time(&table, cx);
    let keys = read_keys(&table, layer.auth.as_ref(), cx);
    let path = layer.path.take().or_else(|| default_path(&table, valid_name.as_ref()));
    let rate_limit = table.get("rate_limit").and_then(|node| rate::read(&node, cx));
    let client_ca = table.get("client_ca").map(|n| n.at(certificates::authorities(&n, cx)));
    let mut checked = Checked {
        spot: table.spot().clone(),
        name: name.to_owned(),
        path: path.clone(),
        max_event_age: layer.max_event_age.clone(),
        latest_repeat: retries.latest_repeat(),
        keys: key_spots(&table),
        client_ca: client_ca.as_ref().map(|ca| ca.spot.clone()),
        source: layer.build(valid_name, preset.and_then(|p| p.value), path, keys),
    };
    if let Some(source) = &mut checked.source {
        source.rate_limit = rate_limit.or(SOURCE_RATE_LIMIT.default);
        source.client_ca = client_ca.and_then(|ca| ca.value);
        source.retries = retries;
        credential::check(&source.auth, &source.event, source.dedupe.as_deref(), &table, cx);
        forwarded::check(source, &table, cx);
    }
    Some(checked)
}

fn default_path(table: &Table<'_>, name: Option<&SourceName>) -> Option<At<String>> {
    let value = format!("{PATH_PREFIX}{}", name?);
    (!table.has("path")).then(|| At { value, spot: table.spot().clone() })
}

fn read_preset(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Preset> {
    node.choice(&Preset::ALL.map(|preset| (preset.as_str(), preset)), cx)
}

/// What the preset's data says of the source, and of its provider's retries. Its places are where
/// the file asks for the preset.
fn preset_layer(preset: Preset, at: usize, cx: &mut Context<'_>) -> (Layer, Retries) {
    let (tree, errors) = DeTable::parse_recoverable(preset.fragment());
    debug_assert!(errors.is_empty(), "{preset:?}: {errors:?}");
    let root = Table::root(tree.get_ref(), &["source", "retry"], Some(at), cx);
    let table = root.get("source").and_then(|node| node.table(KEYS, cx));
    let layer = table.map(|table| Layer::read(&table, cx)).unwrap_or_default();
    let retries = root.get("retry").and_then(|node| retries::published(&node, cx));
    (layer, retries.unwrap_or_default())
}

/// The keys, read. `None` if one is wrong.
fn read_keys(
    table: &Table<'_>,
    auth: Option<&Auth>,
    cx: &mut Context<'_>,
) -> Option<Vec<Resolved>> {
    let open = matches!(auth, Some(Auth::NoneDangerous));
    let Some(node) = table.get("keys") else {
        if !open {
            cx.missing(table.spot(), "keys", KEY_LIST);
        }
        return open.then(Vec::new);
    };
    if !node.is_list() && !node.is_table() {
        cx.problem(node.spot(), SecretProblem::Plaintext);
        return None;
    }
    let list = node.full_list(KEY_LIST, MAX_KEYS, cx)?;
    let purpose = auth.map_or(Use::Verbatim, auth::use_of_keys);
    let keys: Vec<_> = list
        .iter()
        .map(|node| {
            let reference = Reference::read(node, cx)?;
            secrets::resolve(&reference, purpose, cx)
        })
        .collect();
    keys.into_iter().collect()
}

/// Where the keys stand, which have been read.
fn key_spots(table: &Table<'_>) -> Vec<Spot> {
    let nodes = table.get("keys").map(|node| node.elements()).unwrap_or_default();
    nodes.into_iter().map(|node| node.spot().clone()).collect()
}

impl Layer {
    fn read(table: &Table<'_>, cx: &mut Context<'_>) -> Self {
        let get = |key| table.get(key);
        let conflicts = [
            ("quarantine", OnConflict::Quarantine),
            ("deliver", OnConflict::Deliver),
            ("drop", OnConflict::Drop),
        ];
        let (Some(least), Some(most)) = (MAX_EVENT_AGE.least, MAX_EVENT_AGE.most) else {
            return Self::default();
        };
        Self {
            path: get("path").and_then(|n| Some(n.at(path(&n, cx)?))),
            auth: get("auth").and_then(|n| auth::read(&n, cx)),
            allow_ips: get("allow_ips").and_then(|n| address::allowlist(&n, cx)),
            max_event_age: get("max_event_age")
                .and_then(|n| Some(n.at(n.duration(least..=most, cx)?))),
            require_event_time: get("require_event_time").and_then(|n| Some(n.at(n.flag(cx)?))),
            event: get("event").and_then(|n| EventLayer::read(&n, cx)).unwrap_or_default(),
            dedupe: get("dedupe").and_then(|n| selector::dedupe(&n, cx)),
            on_conflict: get("on_conflict").and_then(|n| n.choice(&conflicts, cx)),
            events: get("events").and_then(|n| selector::patterns(&n, cx)),
            forward_headers: get("forward_headers").and_then(|n| forwarded::read(&n, cx)),
        }
    }

    fn over(self, below: Self) -> Self {
        Self {
            path: self.path.or(below.path),
            auth: self.auth.or(below.auth),
            allow_ips: self.allow_ips.or(below.allow_ips),
            max_event_age: self.max_event_age.or(below.max_event_age),
            require_event_time: self.require_event_time.or(below.require_event_time),
            event: self.event.over(below.event),
            dedupe: self.dedupe.or(below.dedupe),
            on_conflict: self.on_conflict.or(below.on_conflict),
            events: self.events.or(below.events),
            forward_headers: self.forward_headers.or(below.forward_headers),
        }
    }

    fn require_auth(&self, table: &Table<'_>, preset_unknown: bool, cx: &mut Context<'_>) {
        if matches!(self.auth, Some(Auth::NoneDangerous)) {
            let here =
                table.get("auth").map_or_else(|| table.spot().child("auth"), |n| n.spot().clone());
            cx.problem(&here, Warning::NoAuthentication);
        }
        if self.auth.is_none() && !table.has("auth") && !preset_unknown {
            let accepted = "auth = { kind = .. }, or a preset that has one";
            cx.missing(table.spot(), "auth", accepted);
        }
    }

    /// Ages need a time, and are no use without one.
    fn check_time(&self, table: &Table<'_>, cx: &mut Context<'_>) {
        let timed = self.event.time.as_ref().is_some_and(|time| !time.0.is_empty());
        let unreadable = self.event.time.is_none() && event_has(table, "time");
        if timed || unreadable {
            return;
        }
        if let Some(age) = &self.max_event_age {
            cx.problem(&age.spot, Contradiction::AgeWithoutTime);
        }
        if let Some(At { value: true, spot }) = &self.require_event_time {
            cx.problem(spot, Contradiction::RequiredTimeNowhere);
        }
    }

    fn build(
        self,
        name: Option<SourceName>,
        preset: Option<Preset>,
        path: Option<At<String>>,
        keys: Option<Vec<Resolved>>,
    ) -> Option<Source> {
        let keys = keys?;
        Some(Source {
            name: name?,
            preset,
            path: path?.value,
            auth: auth::with_keys(self.auth?, &keys),
            key_places: keys.iter().map(|key| key.from.clone()).collect(),
            keys: keys.into_iter().map(|key| key.given).collect(),
            allow_ips: self.allow_ips,
            max_event_age: self.max_event_age.map(|age| age.value),
            require_event_time: self.require_event_time.is_some_and(|r| r.value),
            event: self.event.build(),
            dedupe: self.dedupe,
            on_conflict: self.on_conflict.unwrap_or(ON_CONFLICT),
            events: self.events,
            forward_headers: self.forward_headers.unwrap_or_default(),
            keep_signature: false,
            rate_limit: None,
            client_ca: None,
            retries: Retries::default(),
        })
    }
}

fn event_has(table: &Table<'_>, key: &str) -> bool {
    table.get("event").is_some_and(|node| node.has(key))
}

impl EventLayer {
    fn read(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let table = node.table(EVENT_KEYS, cx)?;
        let mut get = |key| table.get(key).and_then(|n| selector::selector(&n, cx));
        let layer = Self {
            kind: get("type"),
            id: get("id"),
            time: get("time"),
            subject: get("subject"),
            tenant: get("tenant"),
            data: get("data"),
        };
        let in_header = |place: &Place| matches!(place, Place::Header(_));
        if let Some(data) = table.get("data")
            && layer.data.as_ref().is_some_and(|selector| selector.0.iter().any(in_header))
        {
            cx.problem(data.spot(), Contradiction::DataInHeader);
        }
        Some(layer)
    }

    fn over(self, below: Self) -> Self {
        Self {
            kind: self.kind.or(below.kind),
            id: self.id.or(below.id),
            time: self.time.or(below.time),
            subject: self.subject.or(below.subject),
            tenant: self.tenant.or(below.tenant),
            data: self.data.or(below.data),
        }
    }

    fn build(self) -> EventPaths {
        EventPaths {
            kind: self.kind.unwrap_or_default(),
            id: self.id.unwrap_or_default(),
            time: self.time.unwrap_or_default(),
            subject: self.subject.unwrap_or_default(),
            tenant: self.tenant.unwrap_or_default(),
            data: self.data.unwrap_or_default(),
        }
    }
}

/// A request path that means the same to every client and proxy: no encoding, no dot segments.
fn path(node: &Node<'_>, cx: &mut Context<'_>) -> Option<String> {
    let text = node.text(PATH, cx)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    let dots = text.split('/').any(|segment| segment == "." || segment == "..");
    let valid = text.starts_with('/') && !text.contains("//") && !dots;
    if valid && text.len() <= MAX_TEXT && text.bytes().all(plain) {
        return Some(text.to_owned());
    }
    let slashed = (!text.is_empty() && text.bytes().all(plain) && !text.starts_with('/') && !dots)
        .then(|| format!("\"/{text}\""));
    node.refuse(text, PATH, slashed, cx);
    None
}
