//! What stands durably on the disk, read as it becomes so by the journal's own scanner, without the
//! store's help: the truth that answers are compared with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::event::{BodyHash, DedupeKey, EventId, Sequence};
use crate::store::crypt::Keyring;
use crate::store::disk::ReadFile;
use crate::store::journal::act::decode_act;
use crate::store::journal::frame::Kind;
use crate::store::journal::preamble::Preamble;
use crate::store::journal::record::{decode_event, event_in};
use crate::store::journal::segment::{Scanned, Scanner, number_of};
use crate::store::query::ActKind;
use crate::store::tests::sim_disk::SimDisk;

/// An event that stands in the journal.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) sequence: Sequence,
    pub(super) source: String,
    pub(super) provider_id: String,
    pub(super) subject: Option<String>,
    pub(super) body_hash: BodyHash,
    /// Which version of the event it is.
    pub(super) version: u32,
    pub(super) targets: Vec<String>,
    pub(super) quarantined: bool,
    /// When it was first seen here, in time that has really passed.
    pub(super) since: u64,
    /// The segments that it stands in.
    pub(super) segments: BTreeSet<u32>,
    /// Whether retention has let it go: the how manyth segment went then.
    pub(super) expired: Option<usize>,
}

/// What stands durably on the disk.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// What the journal is encrypted with, if it is.
    keys: Arc<Keyring>,
    /// How far each segment has been read, and its last frame's number.
    read: BTreeMap<u32, (u32, Sequence)>,
    /// Segments that have gone so far.
    pub(super) removed: usize,
    /// Every event that is there, and every one that was.
    pub(super) events: HashMap<EventId, Stored>,
    /// Where acts stand: of which event, and what; and when each was seen first.
    acts: BTreeMap<(u32, u32), (Sequence, ActKind)>,
    acts_since: BTreeMap<(u32, u32), u64>,
    by_key: HashMap<DedupeKey, EventId>,
    by_content: HashMap<(String, String, BodyHash), EventId>,
}

impl Ledger {
    /// Of a journal that is encrypted with these keys, if with any.
    pub(super) fn new(keys: Arc<Keyring>) -> Self {
        Self { keys, ..Self::default() }
    }

    /// Reads on. What is wrong, if anything is.
    pub(super) fn read_on(&mut self, disk: &SimDisk, now: u64) -> Result<(), String> {
        for (path, len) in disk.durable() {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(number) = number_of(name) else { continue };
            let (offset, last) = self.read.get(&number).copied().unwrap_or_default();
            if len > offset as usize {
                self.read_segment(disk, number, path, len, (offset, last), now)?;
            }
        }
        Ok(())
    }

    fn read_segment(
        &mut self,
        disk: &SimDisk,
        number: u32,
        path: PathBuf,
        len: usize,
        (offset, last): (u32, Sequence),
        now: u64,
    ) -> Result<(), String> {
        let file = Arc::new(View { disk: disk.clone(), path, len });
        let preamble = Preamble::read(&*file, number).map_err(|error| error.to_string())?;
        let seal = preamble.seal(number, &self.keys).map_err(|error| error.to_string())?;
        let scanner = Scanner::opening(file, offset, last, seal);
        let mut scanner = scanner.map_err(|error| error.to_string())?;
        while let Some(scanned) = scanner.step().map_err(|error| error.to_string())? {
            let Scanned::Frame(frame) = scanned else { continue };
            let (sequence, header, at) =
                (frame.header.sequence, frame.header, (number, frame.offset));
            let payload = Bytes::copy_from_slice(frame.payload);
            self.read.insert(number, (scanner.offset(), sequence));
            if header.kind == Kind::Act {
                let act = decode_act(&payload).ok_or("an act is not understood")?;
                self.acts.insert(at, (act.event, act.what));
                self.acts_since.entry(at).or_insert(now);
            }
            if let Some((sequence, payload)) = event_in(&header, &payload) {
                self.add(number, sequence, &payload, now)?;
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        number: u32,
        sequence: Sequence,
        payload: &Bytes,
        now: u64,
    ) -> Result<(), String> {
        let record = decode_event(sequence, payload).ok_or("a stored event is not understood")?;
        let (event, key) = (record.event, record.key);
        let provider_id = event.meta.provider_id.clone().unwrap_or_default();
        let content = (event.source.as_str().to_owned(), provider_id.clone(), event.body_hash);
        let id = event.id;
        // A segment that retention let go may be back after a power cut.
        let fresh =
            |id: &EventId| self.events.get(id).is_none_or(|stored| stored.expired.is_none());
        let other =
            |found: Option<&EventId>| found.copied().filter(|other| *other != id && fresh(other));
        if fresh(&id)
            && let Some(other) =
                other(self.by_key.get(&key)).or(other(self.by_content.get(&content)))
        {
            return Err(format!("event {provider_id} is stored twice: {other} and {id}"));
        }
        self.by_key.insert(key, id);
        self.by_content.insert(content, id);
        let stored = self.events.entry(id).or_insert_with(|| Stored {
            sequence,
            source: event.source.as_str().to_owned(),
            provider_id,
            subject: event.meta.subject.clone(),
            body_hash: event.body_hash,
            version: version(&event.body),
            targets: record.targets,
            quarantined: record.quarantined,
            since: now,
            segments: BTreeSet::new(),
            expired: None,
        });
        stored.segments.insert(number);
        Ok(())
    }

    /// A segment is gone; the events that went with it.
    pub(super) fn remove(&mut self, number: u32) -> Vec<(EventId, Stored)> {
        self.read.remove(&number);
        self.acts.retain(|(segment, _), _| *segment != number);
        self.removed += 1;
        let mut gone = Vec::new();
        for (id, stored) in &mut self.events {
            if stored.segments.remove(&number) && stored.segments.is_empty() {
                stored.expired = Some(self.removed);
                gone.push((*id, stored.clone()));
            }
        }
        gone.sort_by_key(|(_, stored)| stored.sequence);
        gone
    }

    /// Forgets how far it has read: what is there may have been cut.
    pub(super) fn read_anew(&mut self) {
        self.read.clear();
        self.acts.clear();
    }

    /// Where the last act stands.
    pub(super) fn last_act(&self) -> Option<(u32, u32)> {
        self.acts.last_key_value().map(|(at, _)| *at)
    }

    /// Where such an act stands behind that place.
    pub(super) fn act_after(
        &self,
        place: Option<(u32, u32)>,
        event: Sequence,
        what: ActKind,
    ) -> Option<(u32, u32)> {
        let behind = self.acts.iter().rev().take_while(|(at, _)| Some(**at) > place);
        behind.filter(|(_, act)| **act == (event, what)).map(|(at, _)| *at).next()
    }

    /// Whether an act stands there.
    pub(super) fn has_act(&self, at: (u32, u32)) -> bool {
        self.acts.contains_key(&at)
    }

    /// When the youngest act of this segment was seen first.
    pub(super) fn acts_in(&self, segment: u32) -> Option<u64> {
        let acts = self.acts_since.range((segment, 0)..=(segment, u32::MAX));
        acts.map(|(_, since)| *since).max()
    }

    /// The event with this id, if it is there.
    pub(super) fn get(&self, id: EventId) -> Option<&Stored> {
        self.events.get(&id).filter(|stored| !stored.segments.is_empty())
    }
}

/// What stands behind `"v":` in a body of ours.
fn version(body: &[u8]) -> u32 {
    let at = body.windows(4).position(|window| window == b"\"v\":");
    let digit = at.and_then(|at| body.get(at + 4));
    digit.map_or(0, |digit| u32::from(digit.wrapping_sub(b'0')))
}

/// A file as a power cut would leave it.
#[derive(Debug)]
struct View {
    disk: SimDisk,
    path: PathBuf,
    len: usize,
}

impl ReadFile for View {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len);
        let len = buf.len().min(self.len - from);
        buf[..len].copy_from_slice(&self.disk.peek(&self.path, from..from + len));
        Ok(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len as u64)
    }
}
