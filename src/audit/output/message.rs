//! What an output sends for a record, in the format that was asked for, whatever it is sent by.

use serde::Serialize;
use serde_json::{Value, json};

use super::super::chain::{Checkpoint, Listed, Record};
use super::super::ocsf;
use crate::config::AuditFormat;
use crate::json::escape_if;

/// How records that an output could not send any more are told of.
pub(super) const GAP: &str = "output_gap";
/// How a checkpoint is, where they are sent.
pub(super) const CHECKPOINT: &str = "checkpoint";

/// A record with its number, and which one was sent before it.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) listed: Listed,
    /// The number of the record before it; `None`: this output has sent none, or the trail has none any more.
    pub(super) previous: Option<u64>,
}

/// A record as the API and `audit export` show it, and what was sent before it.
#[derive(Serialize)]
struct Numbered<'a> {
    #[serde(flatten)]
    record: &'a Record,
    sequence: u64,
    previous: Option<u64>,
}

impl Message {
    /// A line of JSON, without its end.
    pub(super) fn line(&self, format: AuditFormat) -> String {
        self.of(&self.listed, format)
    }

    /// The same in ASCII, so that it needs no byte order mark (RFC 5424, section 6.4), over which receivers
    /// stumble. Without its details where they make it longer than `room`: one that was cut is no JSON.
    pub(super) fn body(&self, format: AuditFormat, room: usize) -> String {
        let whole = ascii(&self.line(format));
        if whole.len() <= room || self.listed.record.details.is_none() {
            return whole;
        }
        let details = json!({ "left_out": whole.len() });
        let record = Record { details: Some(details), ..self.listed.record.clone() };
        ascii(&self.of(&Listed { sequence: self.listed.sequence, record }, format))
    }

    fn of(&self, listed: &Listed, format: AuditFormat) -> String {
        let previous = self.previous;
        // A record is made of texts and numbers alone, so that it always is JSON.
        match format {
            AuditFormat::Json => {
                let (record, sequence) = (&listed.record, listed.sequence);
                let numbered = Numbered { record, sequence, previous };
                serde_json::to_string(&numbered).unwrap_or_default()
            }
            AuditFormat::Ocsf => {
                let mut event = ocsf::event(listed);
                if let Some(previous) = previous {
                    event["unmapped"]["previous"] = json!(previous);
                }
                event.to_string()
            }
        }
    }
}

/// A checkpoint as a record of its own: what was signed is in its details, as `audit verify` takes it. The
/// same each time that it is sent.
pub(super) fn checkpoint(sequence: u64, checkpoint: &Checkpoint) -> Listed {
    let record = Record {
        id: format!("{}-{sequence}", checkpoint.trail),
        time: checkpoint.time.clone(),
        reason: CHECKPOINT.to_owned(),
        count: 1,
        details: Some(serde_json::to_value(checkpoint).unwrap_or(Value::Null)),
        ..Record::default()
    };
    Listed { sequence, record }
}

/// JSON in which everything else than ASCII is escaped: it stands in strings alone.
fn ascii(json: &str) -> String {
    escape_if(json, |c| !c.is_ascii())
}
