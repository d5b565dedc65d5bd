//! Records as events of the Open Cybersecurity Schema Framework (OCSF) 1.8.0, for a SIEM: class API
//! Activity. What has no place there is under `unmapped`. Ids and captions are the published ones.

mod meaning;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use self::meaning::{Caption, Meaning};
use super::Reason;
use super::chain::{Listed, Record};

/// The version of the schema.
pub const VERSION: &str = "1.8.0";
/// Application Activity.
const CATEGORY: Caption = Caption(6, "Application Activity");
/// API Activity.
const CLASS: Caption = Caption(6003, "API Activity");

/// Methods that have a name in the schema.
const METHODS: [&str; 9] =
    ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT"];

/// Kinds of observables.
const IP_ADDRESS: Caption = Caption(2, "IP Address");
const USER_NAME: Caption = Caption(4, "User Name");
const HASH: Caption = Caption(8, "Hash");
const RESOURCE: Caption = Caption(10, "Resource UID");
const USER_AGENT: Caption = Caption(16, "HTTP User-Agent");
const CREDENTIAL: Caption = Caption(19, "User Credential ID");

/// The record as an event.
pub fn event(listed: &Listed) -> Value {
    let record = &listed.record;
    let meaning = Meaning::of(record);
    let mut event = Event::default();
    event.classify(record, &meaning);
    event.put("metadata", metadata(listed, &meaning));
    event.when(record);
    event.put("actor", actor(record));
    event.put("api", api(record));
    event.put("src_endpoint", source(record));
    event.put("dst_endpoint", destination(record));
    event.put("http_request", request(record));
    event.put("http_response", record.status.map(|code| json!({ "code": code })));
    event.put("resources", resource(record).map(|resource| json!([resource])));
    event.observables(record);
    event.put("unmapped", unmapped(record));
    Value::Object(event.0)
}

/// An event that is being put together.
#[derive(Default)]
struct Event(Map<String, Value>);

impl Event {
    /// Adds an attribute, if there is one.
    fn put(&mut self, name: &str, value: impl Into<Option<Value>>) {
        if let Some(value) = value.into() {
            self.0.insert(name.to_owned(), value);
        }
    }

    /// An enumeration's id, and beside it its caption.
    fn enumerate(&mut self, name: &str, Caption(id, caption): Caption) {
        self.put(&format!("{name}_id"), json!(id));
        self.put(name, json!(caption));
    }

    fn classify(&mut self, record: &Record, meaning: &Meaning) {
        let Caption(activity, name) = meaning.activity;
        self.put("activity_id", json!(activity));
        self.put("activity_name", json!(name));
        self.put("category_uid", json!(CATEGORY.0));
        self.put("category_name", json!(CATEGORY.1));
        self.put("class_uid", json!(CLASS.0));
        self.put("class_name", json!(CLASS.1));
        self.put("type_uid", json!(CLASS.0 * 100 + activity));
        self.put("type_name", json!(format!("{}: {}", CLASS.1, meaning.type_caption())));
        self.enumerate("severity", meaning.severity);
        self.enumerate("status", meaning.status);
        let (reason, detail) = (&record.reason, record.detail.as_deref());
        let refused = if meaning.denied.is_some() { "refused: " } else { "" };
        let behind = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        self.put("message", json!(format!("{refused}{reason}{behind}")));
        self.put("status_code", record.status.map(|status| json!(status.to_string())));
        self.put("status_detail", json!(detail.unwrap_or(reason)));
        if let Some(disposition) = meaning.denied {
            self.enumerate("action", Caption(2, "Denied"));
            self.enumerate("disposition", disposition);
        }
    }

    fn when(&mut self, record: &Record) {
        // A record's own time is always one.
        self.put("time", json!(millis(&record.time).unwrap_or_default()));
        self.put("timezone_offset", json!(0));
        self.put("count", json!(record.count));
        self.put("start_time", record.first.as_deref().and_then(millis).map(Value::from));
        self.put("end_time", record.last.as_deref().and_then(millis).map(Value::from));
    }

    /// What is worth looking for elsewhere, and where it stands here.
    fn observables(&mut self, record: &Record) {
        let peer = record.peer.as_ref().filter(|peer| record.client.as_ref() != Some(*peer));
        let found = [
            ("src_endpoint.ip", address(client(record)), IP_ADDRESS),
            (
                "src_endpoint.intermediate_ips",
                record.client.as_ref().and(address(peer)),
                IP_ADDRESS,
            ),
            ("http_request.user_agent", record.user_agent.as_deref(), USER_AGENT),
            ("actor.session.credential_uid", record.credential.as_deref(), CREDENTIAL),
            ("actor.user.name", record.who.as_deref(), USER_NAME),
            ("resources.uid", acted_on(record), RESOURCE),
            ("unmapped.sha256", record.sha256.as_deref(), HASH),
        ];
        let found = found.into_iter().filter_map(|(name, value, Caption(id, kind))| {
            Some(json!({ "name": name, "value": value?, "type_id": id, "type": kind }))
        });
        let found: Vec<Value> = found.collect();
        self.put("observables", Some(json!(found)).filter(|_| !found.is_empty()));
    }
}

fn metadata(listed: &Listed, meaning: &Meaning) -> Value {
    let record = &listed.record;
    let mut metadata = json!({
        "version": VERSION,
        "product": { "name": "Hookward", "vendor_name": "Hookward", "version": env!("CARGO_PKG_VERSION") },
        "log_name": "audit",
        "event_code": record.reason,
        "uid": record.id,
        "sequence": listed.sequence,
        "original_time": record.time,
    });
    if meaning.denied.is_some() {
        metadata["profiles"] = json!(["security_control"]);
    }
    metadata
}

/// Who has done it: an operator, or whoever the request came from, of whom nothing is proved.
fn actor(record: &Record) -> Value {
    if let Some(who) = &record.who {
        let uid = who.strip_prefix("uid ").and_then(|rest| rest.split([' ', ',']).next());
        let mut user = json!({ "name": who });
        if let Some(uid) = uid {
            user["uid"] = json!(uid);
        }
        return json!({ "user": user });
    }
    let itself = Reason::parse(&record.reason).is_none();
    let name = if itself { "hookward" } else { record.user_agent.as_deref().unwrap_or("unknown") };
    let mut actor = json!({ "app_name": name });
    if let Some(credential) = &record.credential {
        actor["session"] = json!({ "credential_uid": credential });
    }
    actor
}

fn api(record: &Record) -> Value {
    let operation = match (&record.method, &record.path) {
        (Some(method), Some(path)) => format!("{method} {path}"),
        _ => record.reason.clone(),
    };
    let service = record.source.as_deref().unwrap_or("hookward");
    let mut api = json!({
        "operation": operation, "service": { "name": service }, "request": { "uid": record.id },
    });
    if let Some(status) = record.status {
        api["response"] = json!({ "code": status, "error": record.reason });
    }
    api
}

/// Where it came from.
fn source(record: &Record) -> Value {
    let (Some(client), peer) = (client(record), &record.peer) else {
        return json!({ "name": "local" });
    };
    let mut endpoint = match address(Some(client)) {
        Some(ip) => json!({ "ip": ip }),
        None => json!({ "name": client }),
    };
    if let Some(proxy) = address(peer.as_ref().filter(|peer| *peer != client)) {
        endpoint["intermediate_ips"] = json!([proxy]);
    }
    endpoint
}

/// Who sent it; of acts, the other end of the connection.
fn client(record: &Record) -> Option<&String> {
    record.client.as_ref().or(record.peer.as_ref())
}

/// An address, if it is one.
fn address(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| text.parse::<IpAddr>().is_ok())
}

fn destination(record: &Record) -> Option<Value> {
    let listener = record.listener.as_ref()?;
    let mut endpoint = json!({ "svc_name": format!("hookward {listener}") });
    if let Some(name) = record.server_name.as_ref().filter(|name| is_host(name)) {
        endpoint["hostname"] = json!(name);
    }
    Some(endpoint)
}

/// Whether it is a name as DNS has it, and not one that was cut.
fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    name.split('.').all(label)
}

fn request(record: &Record) -> Option<Value> {
    let path = record.path.as_ref()?;
    let mut request = json!({ "url": { "path": path } });
    if let Some(method) = record.method.as_deref().filter(|method| METHODS.contains(method)) {
        request["http_method"] = json!(method);
    }
    if let Some(agent) = &record.user_agent {
        request["user_agent"] = json!(agent);
    }
    if let Some(length) = record.size {
        request["body_length"] = json!(length);
    }
    Some(request)
}

/// The event that an act is about. A conflict's stays with its other details.
fn acted_on(record: &Record) -> Option<&str> {
    let is_act = Reason::parse(&record.reason).is_none();
    record.details.as_ref().filter(|_| is_act)?["event"].as_str()
}

fn resource(record: &Record) -> Option<Value> {
    if let Some(event) = acted_on(record) {
        return Some(json!({ "uid": event, "type": "event" }));
    }
    record.source.as_ref().map(|source| json!({ "name": source, "type": "source" }))
}

/// What has no place of its own.
fn unmapped(record: &Record) -> Option<Value> {
    let method = record.method.as_ref().filter(|method| !METHODS.contains(&method.as_str()));
    let name = record.server_name.as_ref().filter(|name| !is_host(name));
    let mut rest = Map::new();
    let texts = [
        ("listener", record.listener.as_ref()),
        ("tls", record.tls.as_ref()),
        ("server_name", name),
        ("method", method),
        ("sha256", record.sha256.as_ref()),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            rest.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(declared) = record.declared {
        rest.insert("declared".to_owned(), json!(declared));
    }
    if let Some(details) = &record.details {
        rest.insert("details".to_owned(), details.clone());
    }
    Some(Value::Object(rest)).filter(|rest| rest != &json!({}))
}

/// Milliseconds since 1970.
fn millis(time: &str) -> Option<i64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    Some(time.as_millisecond())
}
