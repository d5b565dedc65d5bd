//! What the trail lets go of: the oldest segments, when they are past the retention or there are too many.
//! That they went is a record of the trail, signed before their names are taken away.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde_json::json;

use super::bytes::{self, Kind, SEGMENT_HEADER, SegmentHeader};
use super::queue::new_id;
use super::record::Record;
use super::writer::Writer;
use crate::regular::{self, Link};
use crate::store::disk::Disk;

/// How it is called in the trail that segments went.
pub(super) const SHORTENED: &str = "trail_shortened";

/// A segment that may go, and what follows it.
struct Old {
    number: u32,
    size: u64,
    next: SegmentHeader,
}

/// Lets go of what is to go.
pub(super) fn sweep(writer: &mut Writer) -> Result<(), (&'static str, io::Error)> {
    let failed = |error| ("looking for what is past the retention", error);
    let (old, head) = survey(writer).map_err(failed)?;
    let retention = writer.options.retention.clone();
    let now = writer.steady_now();
    let mut all: u64 = head + old.iter().map(|old| old.size).sum::<u64>();
    let goes = old.iter().take_while(|old| {
        let aged = now.since(old.next.created_at) > retention.keep;
        let goes = aged || all > retention.max_bytes;
        all -= if goes { old.size } else { 0 };
        goes
    });
    let goes: Vec<&Old> = goes.collect();
    let Some(last) = goes.last() else { return Ok(()) };
    if let Some(archive) = &retention.archive {
        for old in &goes {
            let name = bytes::name(old.number);
            keep(&bytes::path(writer.dir(), old.number), archive, &name)
                .map_err(|error| ("moving a segment to audit.archive", error))?;
        }
    }
    let time = writer.clock.now();
    let record = Record {
        id: new_id(time).to_string(),
        time: time.to_string(),
        reason: SHORTENED.to_owned(),
        count: 1,
        details: Some(json!({
            "segment": last.number,
            "sequence": last.next.follows.sequence.0,
            "hash": last.next.follows.link.to_string(),
            "until": last.next.created_at.to_string(),
            "archive": retention.archive.as_ref().map(|dir| dir.display().to_string()),
        })),
        ..Record::default()
    };
    writer.add_as(Kind::Shortened, &record);
    writer.checkpoint(false)?;
    let removed =
        goes.iter().try_for_each(|old| writer.disk.remove(&bytes::path(writer.dir(), old.number)));
    let removed = removed.and_then(|()| writer.disk.sync_dir(writer.dir()));
    removed.map_err(|error| ("removing a segment", error))?;
    let segments = goes.len();
    tracing::info!(
        target: "hookward::audit",
        segments, through = last.number, archived = retention.archive.is_some(),
        "the oldest segments of the audit trail went"
    );
    Ok(())
}

/// The segments before the head, oldest first, and the head's size. A segment whose successor's header is
/// damaged stays, with all behind it.
fn survey(writer: &Writer) -> io::Result<(Vec<Old>, u64)> {
    let (disk, dir, head) = (&*writer.disk, writer.dir(), writer.head_number());
    let mut numbers = bytes::segments(disk, dir)?;
    numbers.retain(|number| *number <= head);
    let mut all = Vec::new();
    for pair in numbers.windows(2) {
        let [number, next] = *pair else { continue };
        let size = disk.open(&bytes::path(dir, number))?.size()?;
        let Some(next) = header(disk, dir, next)? else { break };
        all.push(Old { number, size, next });
    }
    let size = disk.open(&bytes::path(dir, head))?.size()?;
    Ok((all, size))
}

fn header(disk: &dyn Disk, dir: &Path, number: u32) -> io::Result<Option<SegmentHeader>> {
    let mut bytes = [0; SEGMENT_HEADER];
    disk.open(&bytes::path(dir, number))?.read_at(&mut bytes, 0)?;
    Ok(SegmentHeader::decode(&bytes))
}

/// Copies a segment to a directory that may be on another disk; what was copied in whole before stays.
fn keep(from: &Path, dir: &Path, name: &str) -> io::Result<()> {
    let (to, part) = (dir.join(name), dir.join(format!("{name}.part")));
    let mut source = regular::open(OpenOptions::new().read(true), from, Link::Follow)?;
    if to.exists() {
        let same = fs::metadata(&to)?.len() == source.metadata()?.len();
        let taken = || {
            io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is another one", to.display()))
        };
        return if same { Ok(()) } else { Err(taken()) };
    }
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o600);
    let mut target = regular::open(&mut open, &part, Link::Refuse)?;
    io::copy(&mut source, &mut target)?;
    target.sync_all()?;
    fs::rename(&part, &to)?;
    File::open(dir)?.sync_all()
}
