//! Operators' acts on their way into the trail. They are lines of `acts.jsonl`, on stable storage before
//! they are answered, whether the gateway does them or a command with the files; the writer chains each line.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::bytes::{self, Kind};
use super::keys::PublicKey;
use super::record::Record;
use super::{parts, read};
use crate::clock::UnixMillis;
use crate::event::EventId;
use crate::store::disk::Disk;

/// Bytes that are taken in at once.
const AT_ONCE: u64 = 1 << 20;
/// The longest line that is one: operators' words and filters are bounded far below.
const MAX_LINE: usize = 64 << 10;

/// Bytes in front of a place by which it is known again: they hold the time and id of a line.
const MARK: usize = 512;
/// How long the end of a record's body is that tells of `acts`.
const TAIL: usize = 128;

/// A line that is to become a record.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) record: Record,
    /// Where the next one begins.
    pub(super) upto: u64,
    /// What is in front of that.
    pub(super) mark: String,
}

/// Lines that are to become records, and where the next ones begin.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) lines: Vec<Line>,
    pub(super) upto: u64,
    pub(super) mark: Option<String>,
    /// Whether there are more.
    pub(super) more: bool,
    /// The file is not the one that was read so far, or not all of it: why. It is to be read from its start.
    pub(super) replaced: Option<&'static str>,
}

impl Lines {
    fn replaced(why: &'static str) -> Self {
        Self { replaced: Some(why), ..Self::default() }
    }
}

/// What stands behind `from` in whole lines. `mark`: what stood in front of that; `None`: nobody knows.
/// `id` makes an id for each.
pub(super) fn lines(
    disk: &dyn Disk,
    file: &Path,
    (from, mark): (u64, Option<&str>),
    now: UnixMillis,
    mut id: impl FnMut() -> EventId,
) -> io::Result<Lines> {
    let file = match disk.open(file) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let gone = || Lines::replaced("acts.jsonl is gone");
            return Ok(if from > 0 { gone() } else { Lines::default() });
        }
        Err(error) => return Err(error),
    };
    let len = file.size()?;
    if len < from {
        return Ok(Lines::replaced("acts.jsonl has become shorter"));
    }
    let lead = from.min(MARK as u64);
    let wanted = (len - from).min(AT_ONCE) + lead;
    let mut bytes = vec![0; usize::try_from(wanted).unwrap_or_default()];
    let read = file.read_at(&mut bytes, from - lead)?;
    bytes.truncate(read);
    let lead = usize::try_from(lead).unwrap_or_default();
    let known = mark_of(bytes.get(..lead).unwrap_or_default());
    if mark.is_some_and(|mark| mark != known) {
        return Ok(Lines::replaced(
            "acts.jsonl is another one, or was changed where it was read already",
        ));
    }
    let new = bytes.get(lead..).unwrap_or_default();
    let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let taken = if whole == 0 && new.len() > MAX_LINE { new.len() } else { whole };
    let (mut end, mut lines) = (lead, Vec::new());
    for line in new.get(..taken).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
        end += line.len();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if !line.is_empty() {
            let upto = from + (end - lead) as u64;
            let mark = mark_of(bytes.get(..end).unwrap_or_default());
            lines.push(Line { record: record(line, id(), now), upto, mark });
        }
    }
    let upto = from + taken as u64;
    let mark = Some(mark_of(bytes.get(..lead + taken).unwrap_or_default()));
    let more = taken > 0 && upto < len && new.len() as u64 == AT_ONCE;
    Ok(Lines { lines, upto, mark, more, replaced: None })
}

/// How the last of these bytes are known again.
fn mark_of(bytes: &[u8]) -> String {
    let from = bytes.len().saturating_sub(MARK);
    let digest: [u8; 32] = Sha256::digest(bytes.get(from..).unwrap_or_default()).into();
    hex::encode(&digest[..8])
}

/// Acts that are in the trail, and how often.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<[u8; 32], u32>);

impl Known {
    /// Those of all segments that are this key's, as they are listed: what somebody has put there, or what follows
    /// nothing any more, keeps no act from being taken in. `each` is called with each segment.
    pub(super) fn of(
        disk: &dyn Disk,
        dir: &Path,
        key: &PublicKey,
        mut each: impl FnMut(),
    ) -> io::Result<Self> {
        let mut known = Self::default();
        let parts = parts::all(disk, dir, Some(key))?;
        for (at, part) in parts.iter().enumerate() {
            each();
            let segment = bytes::load(disk, dir, part.number)?;
            let listed = read::frames(&segment, part, parts.get(at + 1), Some(key));
            for frame in listed.filter(|frame| frame.kind == Some(Kind::Record)) {
                let tail = frame.body.len().saturating_sub(TAIL);
                let mut words = frame.body.get(tail..).unwrap_or_default().windows(8);
                if !words.any(|word| word == b",\"acts\":") {
                    continue;
                }
                if let Ok(record) = serde_json::from_slice(frame.body) {
                    *known.0.entry(identity(record)).or_default() += 1;
                }
            }
        }
        Ok(known)
    }

    /// Whether this one is among them. Each counts once.
    pub(super) fn takes(&mut self, record: &Record) -> bool {
        let Some(left) = self.0.get_mut(&identity(record.clone())) else { return false };
        let was = *left > 0;
        *left = left.saturating_sub(1);
        was
    }
}

/// What an act is whenever it is read: its record but for the id that it got here.
fn identity(mut record: Record) -> [u8; 32] {
    record.id.clear();
    if let Some(Value::Object(details)) = &mut record.details {
        // Earlier versions had the source here as well, and another name for the run.
        details.remove("source");
        if let Some(run) = details.remove("id") {
            details.insert("run".to_owned(), run);
        }
    }
    if record.reason == "act_unreadable" {
        record.time.clear();
    }
    Sha256::digest(serde_json::to_vec(&record).unwrap_or_default()).into()
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
    let source = known.remove("source");
    let source = source.and_then(|source| source.as_str().map(str::to_owned));
    // What several acts have in common that were asked for at once.
    if let Some(run) = known.remove("id") {
        known.insert("run".to_owned(), run);
    }
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
