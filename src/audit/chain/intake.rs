//! Operators' acts on their way into the trail. They are lines of `acts.jsonl`, on stable storage before
//! they are done, whether the gateway does them or a command with the files; the writer chains each line.

use std::io;
use std::path::Path;

use serde_json::{Map, Value};

use super::record::Record;
use crate::clock::UnixMillis;
use crate::event::EventId;
use crate::store::disk::Disk;

/// Bytes that are taken in at once.
const AT_ONCE: usize = 1 << 20;
/// The longest line that is one: operators' words and filters are bounded far below.
const MAX_LINE: usize = 64 << 10;

/// Lines that are to become records, and where the next ones begin.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) records: Vec<Record>,
    pub(super) upto: u64,
    /// Whether there are more.
    pub(super) more: bool,
}

/// What stands behind `from` in whole lines. `id` makes an id for each.
pub(super) fn lines(
    disk: &dyn Disk,
    file: &Path,
    from: u64,
    now: UnixMillis,
    mut id: impl FnMut() -> EventId,
) -> io::Result<Lines> {
    let file = match disk.open(file) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Lines { upto: from, ..Lines::default() });
        }
        Err(error) => return Err(error),
    };
    let len = file.size()?;
    // Somebody has cut it, or put another in its place: what is there has not been taken in.
    let from = if len < from { 0 } else { from };
    if len == from {
        return Ok(Lines { upto: from, ..Lines::default() });
    }
    let wanted = usize::try_from(len - from).unwrap_or(AT_ONCE).min(AT_ONCE);
    let mut bytes = vec![0; wanted];
    let read = file.read_at(&mut bytes, from)?;
    bytes.truncate(read);
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let taken = if whole == 0 && read > MAX_LINE { read } else { whole };
    let taken_bytes = bytes.get(..taken).unwrap_or_default();
    let lines = taken_bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let records = lines.map(|line| record(line, id(), now)).collect();
    let upto = from + taken as u64;
    Ok(Lines { records, upto, more: taken > 0 && upto < len && read == AT_ONCE })
}

/// The record of an act. What is no line of ours, as when a crash has cut one off, is told of as such.
fn record(line: &[u8], id: EventId, now: UnixMillis) -> Record {
    let known = serde_json::from_slice(line).ok().filter(|_| line.len() <= MAX_LINE);
    let Some(mut known): Option<Map<String, Value>> = known else {
        return Record {
            id: id.to_string(),
            time: now.to_string(),
            reason: "act_unreadable".to_owned(),
            detail: Some("a line of acts.jsonl that is not whole".to_owned()),
            size: Some(line.len() as u64),
            count: 1,
            ..Record::default()
        };
    };
    let mut text = |name: &str| match known.remove(name) {
        Some(Value::String(text)) => Some(text),
        Some(other) => Some(other.to_string()),
        None => None,
    };
    let (time, reason, who, peer) = (text("time"), text("reason"), text("who"), text("peer"));
    let (uid, login) = (text("uid"), text("login_uid"));
    let login = login.filter(|login| login != "null" && Some(login) != uid.as_ref());
    let process = uid.map(|uid| match login {
        Some(login) => format!("uid {uid}, signed in as uid {login}"),
        None => format!("uid {uid}"),
    });
    let source = known.get("source").and_then(Value::as_str).map(str::to_owned);
    Record {
        id: id.to_string(),
        time: time.unwrap_or_else(|| now.to_string()),
        reason: reason.unwrap_or_else(|| "act_unreadable".to_owned()),
        source,
        listener: peer
            .as_deref()
            .map(|peer| if peer == "admin.sock" { "socket" } else { "admin" }.to_owned()),
        peer,
        who: who.or(process),
        count: 1,
        details: Some(Value::Object(known)),
        ..Record::default()
    }
}
