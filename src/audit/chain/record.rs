//! A record of the trail, as it stands there and as it is shown.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What is left of a record that is too long: as much of each text.
const STUB_TEXT: usize = 64;

use super::read::Listed;
use super::retain::SHORTENED;

/// What was refused or done. Nothing in it is a credential or payload, and whatever a stranger chose is
/// bounded. What does not apply is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// A UUIDv7; of a refusal it stands in the log as well.
    pub id: String,
    /// When: RFC 3339, to the millisecond. Of a sum, when it was written.
    pub time: String,
    /// Why it was refused, or what was done, by its public name.
    pub reason: String,
    /// Why exactly. Fixed text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Whose endpoint it was sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Where it came in: `public`, `admin` or `socket`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The other end of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Who sent it: an address, `unknown`, or in a sum `many`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Who did it, or was not allowed to: a token's name, or a user of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// `TLSv1.2` or `TLSv1.3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// The name that the client asked for (SNI).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The request's method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Its path, without the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What the sender calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Length of the body that was declared, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared: Option<u64>,
    /// Length of the body: what was read, else what was declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// SHA-256 of the body as far as it was read; left out where none of it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// A keyed fingerprint of the credential that was presented: the same one has the same one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The answer's status; left out where the connection was closed without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How many it stands for.
    pub count: u64,
    /// Of a sum: when the first was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// Of a sum: when the last was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// What else is to be said of what was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

impl Record {
    /// Whether it says that segments which were not what had been written went for want of room.
    pub fn lost_evidence(&self) -> bool {
        let damaged = self.details.as_ref().and_then(|details| details.get("damaged"));
        let some = damaged.and_then(Value::as_array).is_some_and(|numbers| !numbers.is_empty());
        some && self.reason == SHORTENED
    }
}

/// A record as the API and `--json` show it: what does not apply is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    id: String,
    sequence: u64,
    time: String,
    reason: String,
    detail: Option<String>,
    source: Option<String>,
    listener: Option<String>,
    peer: Option<String>,
    client: Option<String>,
    who: Option<String>,
    tls: Option<String>,
    server_name: Option<String>,
    method: Option<String>,
    path: Option<String>,
    user_agent: Option<String>,
    declared: Option<u64>,
    size: Option<u64>,
    sha256: Option<String>,
    credential: Option<String>,
    status: Option<u16>,
    count: u64,
    first: Option<String>,
    last: Option<String>,
    details: Option<Value>,
}

impl From<Listed> for Shown {
    fn from(listed: Listed) -> Self {
        let Listed { sequence, record } = listed;
        Self {
            id: record.id,
            sequence,
            time: record.time,
            reason: record.reason,
            detail: record.detail,
            source: record.source,
            listener: record.listener,
            peer: record.peer,
            client: record.client,
            who: record.who,
            tls: record.tls,
            server_name: record.server_name,
            method: record.method,
            path: record.path,
            user_agent: record.user_agent,
            declared: record.declared,
            size: record.size,
            sha256: record.sha256,
            credential: record.credential,
            status: record.status,
            count: record.count,
            first: record.first,
            last: record.last,
            details: record.details,
        }
    }
}

/// What stands in place of a record whose body is longer than a frame can be: when and why it was, and that
/// its details are missing.
pub(super) fn stub(body: &[u8]) -> Vec<u8> {
    tracing::error!(target: "hookward::audit", bytes = body.len(), "a record of the audit trail is too long; its details are left out");
    let mut whole: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let mut stub = Map::new();
    for name in ["id", "time", "reason", "who", "acts", "acts_mark"] {
        let value = match whole.remove(name) {
            Some(Value::String(text)) => text.chars().take(STUB_TEXT).collect::<String>().into(),
            Some(Value::Number(number)) => Value::Number(number),
            _ => continue,
        };
        stub.insert(name.to_owned(), value);
    }
    stub.insert("detail".to_owned(), json!("its details were too long for a record"));
    stub.insert("size".to_owned(), json!(body.len()));
    stub.insert("count".to_owned(), json!(1));
    Value::Object(stub).to_string().into_bytes()
}
