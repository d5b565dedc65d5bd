//! What the trail lets go of: the oldest segments, when they are past the retention or there are too many.
//! That they went is a record of the trail, signed before their names are taken away.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde_json::json;

use super::bytes::{self, Frame, Kind, MAX_SEGMENT, SEGMENT_HEADER};
use super::keys::PublicKey;
use super::opening::Opening;
use super::queue::new_id;
use super::record::Record;
use super::writer::Writer;
use crate::regular::{self, Link};

/// Bytes of a segment that are copied before another sign of life.
const PIECE: u64 = 1 << 20;

/// How it is called in the trail that segments went.
pub(super) const SHORTENED: &str = "trail_shortened";

/// A segment that may go, and what follows it.
struct Old {
    number: u32,
    size: u64,
    next: Opening,
}

/// All segments.
struct Survey {
    /// Those before the head, oldest first, up to one whose successor does not begin as one of ours does.
    old: Vec<Old>,
    bytes: u64,
    /// The one that was ended with, if it was not the head.
    stuck: Option<u32>,
}

/// Lets go of what is to go. A segment that is not what was written stays, with all behind it: it is for
/// people to look at.
pub(super) fn sweep(writer: &mut Writer) -> Result<(), (&'static str, io::Error)> {
    let failed = |error| ("looking for what is past the retention", error);
    let Some((key, trail)) = writer.identity() else { return Ok(()) };
    let Survey { old, bytes: mut all, mut stuck } = survey(writer, &key, trail).map_err(failed)?;
    let retention = writer.options.retention.clone();
    let now = writer.steady_now();
    let mut goes: Vec<&Old> = Vec::new();
    for old in &old {
        let aged = now.since(old.next.signed) > retention.keep;
        if !aged && all <= retention.max_bytes {
            stuck = None;
            break;
        }
        writer.busy();
        if !is_as_written(writer, old, &key, trail).map_err(failed)? {
            stuck = Some(old.number);
            break;
        }
        all -= old.size;
        goes.push(old);
    }
    if let Some(segment) = stuck.filter(|_| all > retention.max_bytes || goes.len() < old.len()) {
        tracing::error!(
            target: "hookward::audit",
            segment, bytes = all, max_size = retention.max_bytes,
            "a segment of the audit trail would go and is not what was written; it stays, with all behind it"
        );
    }
    let Some(last) = goes.last() else { return Ok(()) };
    if let Some(archive) = &retention.archive {
        for old in &goes {
            let name = bytes::name(old.number);
            keep(&bytes::path(writer.dir(), old.number), archive, &name, || writer.busy())
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
            "until": last.next.signed.to_string(),
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

fn survey(writer: &Writer, key: &PublicKey, trail: u64) -> io::Result<Survey> {
    let (disk, dir, head) = (&*writer.disk, writer.dir(), writer.head_number());
    let mut numbers = bytes::segments(disk, dir)?;
    numbers.retain(|number| *number <= head);
    let mut survey = Survey { old: Vec::new(), bytes: 0, stuck: None };
    let mut sizes = Vec::new();
    let mut starts = Vec::new();
    for number in &numbers {
        let file = disk.open(&bytes::path(dir, *number))?;
        let start = Opening::of_file(&*file, *number, key)?.filter(|start| start.trail == trail);
        // No segment is longer: what a file says of itself may be holes. One that is none of ours takes no
        // room from them.
        let ours = file.size()?.min(MAX_SEGMENT);
        let size = if start.is_some() { ours } else { 0 };
        survey.bytes += size;
        sizes.push(size);
        starts.push(start);
    }
    for ((number, size), next) in numbers.into_iter().zip(sizes).zip(starts.into_iter().skip(1)) {
        let Some(next) = next else {
            survey.stuck = Some(number);
            break;
        };
        survey.old.push(Old { number, size, next });
    }
    Ok(survey)
}

/// Whether all of a segment is as it was written, up to where the next one goes on.
fn is_as_written(writer: &Writer, old: &Old, key: &PublicKey, trail: u64) -> io::Result<bool> {
    let segment = bytes::load(&*writer.disk, writer.dir(), old.number)?;
    let start = Opening::of(&segment, old.number, key).filter(|start| start.trail == trail);
    let Some(Opening { follows, .. }) = start else { return Ok(false) };
    let (mut at, mut position) = (SEGMENT_HEADER, follows);
    while at < segment.len() {
        let next = Frame::at(&segment, at).filter(|frame| frame.is_behind(position));
        let Some(frame) = next else { return Ok(false) };
        (at, position) = (frame.end(), frame.position());
    }
    Ok(position == old.next.follows)
}

/// Copies a segment to a directory that may be on another disk; what was copied in whole before stays.
/// `each` is called between pieces.
fn keep(from: &Path, dir: &Path, name: &str, each: impl Fn()) -> io::Result<()> {
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
    // A disk that is slow is none that hangs.
    while io::copy(&mut (&mut source).take(PIECE), &mut target)? > 0 {
        each();
    }
    target.sync_all()?;
    fs::rename(&part, &to)?;
    File::open(dir)?.sync_all()
}
