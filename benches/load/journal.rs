//! A journal of many settled events, written straight to its files: what a store looks like that
//! took them over days, without waiting for as many requests.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use hookward::clock::{Clock, UnixMillis};
use hookward::event::{BodyHash, DedupeKey, EventId, EventMeta, KeyKind, Sequence, SourceName};
use hookward::store::StoredEvent;
use hookward::store::journal::frame::{Batch, Kind};
use hookward::store::journal::record::NewEvent;
use hookward::store::journal::segment::{self, SegmentHeader};

use crate::Result;

/// Where a segment ends, as in the gateway.
const SEGMENT_BYTES: usize = 128 << 20;
/// A checkpoint of an upstream for which nothing waits: its name, and no flags.
const LANE: &[u8] = b"\x03app\x00";
const QUARANTINE: &[u8] = b"\x0b~quarantine\x00";
const LANES: u32 = 2;

/// Writes a journal with so many events into `store`, which must not have one. All of them are
/// settled: the last segment holds a checkpoint in which nothing waits.
pub(crate) fn write(store: &Path, events: u64) -> Result<()> {
    let dir = store.join("journal");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    let mut writer = Writer { dir: &dir, number: 0, next: 1, batch: Batch::default() };
    let source = SourceName::new("bench")?;
    let now = Clock::System.now();
    let mut left = events;
    while left > 0 {
        let mut file = writer.begin(now)?;
        let mut written = 0;
        while left > 0 && written < SEGMENT_BYTES {
            writer.event(&source, now);
            written += writer.flush(&mut file)?;
            left -= 1;
        }
        file.into_inner()?.sync_all()?;
    }
    writer.begin(now)?.into_inner()?.sync_all()?;
    Ok(())
}

struct Writer<'a> {
    dir: &'a Path,
    number: u32,
    next: u64,
    batch: Batch,
}

impl Writer<'_> {
    fn begin(&mut self, now: UnixMillis) -> Result<BufWriter<File>> {
        self.number += 1;
        let header = SegmentHeader {
            number: self.number,
            journal: 1,
            follows: Sequence(self.next - 1),
            first: Sequence(self.next),
            created_at: now,
            encrypted: false,
        };
        let path = segment::path(self.dir, self.number);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&header.encode())?;
        self.push(Kind::Lane, LANE);
        self.push(Kind::Lane, QUARANTINE);
        self.push(Kind::CheckpointEnd, &LANES.to_le_bytes());
        self.flush(&mut file)?;
        Ok(file)
    }

    fn event(&mut self, source: &SourceName, now: UnixMillis) {
        let body = format!(r#"{{"id":"evt_{:012}","event":"order.shipped"}}"#, self.next);
        let event = StoredEvent {
            sequence: Sequence(self.next),
            id: EventId::new(now, [0; 10]),
            received_at: now,
            source: source.clone(),
            body_hash: BodyHash::of(body.as_bytes()),
            conflict: false,
            meta: EventMeta { data: 0..1, ..EventMeta::default() },
            body: body.into(),
        };
        let key = DedupeKey::new(source, KeyKind::ProviderId, &self.next.to_le_bytes());
        let new = NewEvent { key, quarantined: false, event: &event };
        self.batch.push(event.sequence, Kind::Event, |out| new.encode(["app"].into_iter(), out));
        self.next += 1;
    }

    fn push(&mut self, kind: Kind, payload: &[u8]) {
        self.batch.push(Sequence(self.next), kind, |out| out.extend_from_slice(payload));
        self.next += 1;
    }

    /// Bytes that were written.
    fn flush(&mut self, file: &mut impl Write) -> Result<usize> {
        let bytes = self.batch.bytes()?;
        let len = bytes.len();
        file.write_all(bytes)?;
        self.batch.clear();
        Ok(len)
    }
}
