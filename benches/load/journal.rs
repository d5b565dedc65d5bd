//! A journal of many settled events, written straight to its files: what a store looks like that
//! took them over days, without waiting for as many requests.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hookward::clock::{Clock, UnixMillis};
use hookward::event::{BodyHash, DedupeKey, EventId, EventMeta, KeyKind, Sequence, SourceName};
use hookward::store::StoredEvent;
use hookward::store::journal::frame::{Batch, Kind};
use hookward::store::journal::record::{AttemptRecord, NewEvent, encode_attempt};
use hookward::store::journal::segment::{self, SegmentHeader};

use crate::Result;

/// Where a segment ends, as in the gateway.
pub(crate) const SEGMENT_BYTES: usize = 128 << 20;
/// A checkpoint of an upstream for which nothing waits: its name, and no flags.
const LANE: &[u8] = b"\x03app\x00";
const QUARANTINE: &[u8] = b"\x0b~quarantine\x00";
const LANES: u32 = 2;

/// Writes a journal with so many events into `store`, which must not have one. All of them are
/// settled: the last segment holds a checkpoint in which nothing waits.
pub(crate) fn write(store: &Path, events: u64) -> Result<()> {
    let mut writer = Writer::new(store)?;
    let source = SourceName::new("bench")?;
    let now = Clock::System.now();
    let mut left = events;
    while left > 0 {
        let mut file = writer.begin(now)?;
        let mut written = 0;
        while left > 0 && written < SEGMENT_BYTES {
            let body = format!(r#"{{"id":"evt_{:012}","event":"order.shipped"}}"#, writer.next());
            writer.event(
                &source,
                now,
                EventMeta { data: 0..1, ..EventMeta::default() },
                body,
                &Kept::For("app"),
            );
            written += writer.flush(&mut file)?;
            left -= 1;
        }
        file.into_inner()?.sync_all()?;
    }
    writer.begin(now)?.into_inner()?.sync_all()?;
    Ok(())
}

/// What becomes of an event.
pub(crate) enum Kept {
    /// It goes to this upstream.
    For(&'static str),
    /// It goes to none.
    Filtered,
    /// It is kept back.
    Quarantined,
}

/// Writes segments of a journal, one after the other.
pub(crate) struct Writer {
    dir: PathBuf,
    number: u32,
    next: u64,
    batch: Batch,
}

impl Writer {
    /// Of a journal in `store`, which must not have one.
    pub(crate) fn new(store: &Path) -> Result<Self> {
        let dir = store.join("journal");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self { dir, number: 0, next: 1, batch: Batch::default() })
    }

    /// The number of the next frame.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Begins a segment, with a checkpoint in which nothing waits.
    pub(crate) fn begin(&mut self, now: UnixMillis) -> Result<BufWriter<File>> {
        self.number += 1;
        let header = SegmentHeader {
            number: self.number,
            journal: 1,
            follows: Sequence(self.next - 1),
            first: Sequence(self.next),
            created_at: now,
            encrypted: false,
        };
        let path = segment::path(&self.dir, self.number);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&header.encode())?;
        self.push(Kind::Lane, LANE);
        self.push(Kind::Lane, QUARANTINE);
        self.push(Kind::CheckpointEnd, &LANES.to_le_bytes());
        self.flush(&mut file)?;
        Ok(file)
    }

    /// Adds an event; its id.
    pub(crate) fn event(
        &mut self,
        source: &SourceName,
        received_at: UnixMillis,
        meta: EventMeta,
        body: String,
        kept: &Kept,
    ) -> EventId {
        let id = EventId::new(received_at, std::array::from_fn(|_| fastrand::u8(..)));
        let event = StoredEvent {
            sequence: Sequence(self.next),
            id,
            received_at,
            source: source.clone(),
            body_hash: BodyHash::of(body.as_bytes()),
            conflict: false,
            meta,
            body: body.into(),
        };
        let key = DedupeKey::new(source, KeyKind::ProviderId, &self.next.to_le_bytes());
        let quarantined = matches!(kept, Kept::Quarantined);
        let new = NewEvent { key, quarantined, event: &event };
        let upstream = match kept {
            Kept::For(upstream) => Some(*upstream),
            Kept::Quarantined => Some("app"),
            Kept::Filtered => None,
        };
        self.batch.push(event.sequence, Kind::Event, |out| new.encode(upstream.into_iter(), out));
        self.next += 1;
        id
    }

    /// Adds an attempt.
    pub(crate) fn attempt(&mut self, record: &AttemptRecord<'_>) {
        self.batch.push(Sequence(self.next), Kind::Attempt, |out| encode_attempt(record, out));
        self.next += 1;
    }

    fn push(&mut self, kind: Kind, payload: &[u8]) {
        self.batch.push(Sequence(self.next), kind, |out| out.extend_from_slice(payload));
        self.next += 1;
    }

    /// Bytes that were written.
    pub(crate) fn flush(&mut self, file: &mut impl Write) -> Result<usize> {
        let bytes = self.batch.bytes()?;
        let len = bytes.len();
        file.write_all(bytes)?;
        self.batch.clear();
        Ok(len)
    }
}
