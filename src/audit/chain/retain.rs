//! What the trail lets go of: the oldest segments, when they are past the retention or there are too many.
//! That they went is a record of the trail, signed before their names are taken away.

mod archive;
mod copies;
mod room;
mod survey;

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

pub(super) use self::copies::{Copies, Kept};
pub(super) use self::room::Rooms;
use self::survey::{Group, Survey};
use super::super::left_free;
use super::bytes::{self, Kind, SEGMENT_LEN};
use super::keys::PublicKey;
use super::queue::new_id;
use super::record::Record;
use super::writer::Writer;

/// How it is called in the trail that segments went.
pub(super) const SHORTENED: &str = "trail_shortened";
/// Numbers of damaged segments that the record of their going names: it must not become too long for one.
const NAMED: usize = 1_000;

type Failure = (&'static str, io::Error);

/// What is to go.
struct Going {
    groups: Vec<Group>,
    /// Segments among them that are not what was written.
    damaged: Vec<u32>,
}

impl Going {
    fn numbers(&self) -> impl Iterator<Item = u32> + Clone {
        self.groups.iter().flat_map(|group| &group.members).map(|member| member.number)
    }

    /// From this group on nothing goes.
    fn stop_before(&mut self, at: usize) {
        let Some(first) = self.groups.get(at).and_then(Group::first) else { return };
        self.damaged.retain(|number| *number < first);
        self.groups.truncate(at);
    }
}

/// Lets go of what is to go. A segment that is not what was written stays, with all behind it, for people to look
/// at, until the trail takes more room than it may. With an archive they go once they are there: `kept` are those that
/// were copied there just now; others are, and this is called again.
pub(super) fn sweep(writer: &mut Writer, kept: Kept) -> Result<(), Failure> {
    if writer.copies.are_made() {
        return Ok(());
    }
    let Some((key, trail)) = writer.identity() else { return Ok(()) };
    let archive = writer.options.retention.archive.clone();
    let mut rooms = std::mem::take(&mut writer.rooms);
    let going = choose(writer, &mut rooms, &key, trail);
    writer.rooms = rooms;
    let mut going = going.map_err(|error| ("looking for what is past the retention", error))?;
    let rest = match &archive {
        Some(archive) => archived(writer, &mut going, archive, kept),
        None => Ok(()),
    };
    let Some(last) = going.groups.last() else { return rest };
    let Some(through) = last.members.last().map(|last| last.number) else { return rest };
    let numbers = going.numbers();
    let time = writer.clock.now();
    let mut details = json!({
        "segment": through,
        "sequence": last.next.follows.sequence.0,
        "hash": last.next.follows.link.to_string(),
        "until": last.next.signed.to_string(),
        "archive": archive.as_ref().map(|dir| dir.display().to_string()),
    });
    if let (Some(details), false) = (details.as_object_mut(), going.damaged.is_empty()) {
        let named: Vec<u32> = going.damaged.iter().take(NAMED).copied().collect();
        details.insert("damaged".to_owned(), json!(named));
        details.insert("damaged_count".to_owned(), json!(going.damaged.len()));
    }
    let record = Record {
        id: new_id(time).to_string(),
        time: time.to_string(),
        reason: SHORTENED.to_owned(),
        count: 1,
        details: Some(details),
        ..Record::default()
    };
    writer.add_as(Kind::Shortened, &record);
    writer.checkpoint(false)?;
    let remove = |number| {
        match writer.disk.remove(&bytes::path(writer.dir(), number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        writer.busy();
        // One behind the other: no power cut leaves an older one where a newer one has gone.
        writer.disk.sync_dir(writer.dir())
    };
    let removed = numbers.clone().try_for_each(remove);
    removed.map_err(|error| ("removing a segment", error))?;
    tell(numbers.count(), through, archive.is_some(), &going.damaged);
    rest
}

/// Leaves of those that are to go what is in the archive, and has the others copied there. Where one cannot be, those
/// in front of it go all the same: only so is there ever room again.
fn archived(
    writer: &mut Writer,
    going: &mut Going,
    archive: &Path,
    mut kept: Kept,
) -> Result<(), Failure> {
    let has = |group: &Group| {
        let mut numbers = group.members.iter().map(|member| member.number);
        numbers.all(|number| kept.has(&*writer.disk, writer.dir(), archive, number))
    };
    let there = going.groups.iter().take_while(|group| has(group)).count();
    let rest: Vec<u32> = going.numbers().skip(going_in(&going.groups, there)).collect();
    let failed = kept.failed.take();
    going.stop_before(there);
    if rest.is_empty() {
        return Ok(());
    }
    let (disk, dir) = (Arc::clone(&writer.disk), writer.dir().to_owned());
    let left = left_free::of(writer.options.retention.min_free);
    let begun = match failed {
        Some(error) => Err(error),
        None => writer.copies.begin((disk, &writer.clock), &dir, (archive, left), rest),
    };
    begun.map_err(|error| ("moving a segment to audit.archive", error))
}

/// How many segments the first of these groups have.
fn going_in(groups: &[Group], first: usize) -> usize {
    groups.iter().take(first).map(|group| group.members.len()).sum()
}

/// Those that are past the retention or too many, oldest first.
fn choose(writer: &Writer, rooms: &mut Rooms, key: &PublicKey, trail: u64) -> io::Result<Going> {
    let survey = Survey::of(writer, rooms, key, trail)?;
    let Survey { groups, bytes: mut all, mut files, mut stuck } = survey;
    let (keep, max) = (writer.options.retention.keep, writer.options.retention.max_bytes);
    let (now, count) = (writer.believed.at_most(), groups.len());
    let mut going = Going { groups: Vec::new(), damaged: Vec::new() };
    for group in groups {
        let aged = now.since(group.next.believed) > keep;
        if !aged && all <= max {
            stuck = None;
            break;
        }
        let damaged = survey::damaged(writer, &group, key, trail)?;
        if !damaged.is_empty() && all <= max {
            stuck = damaged.first().copied().or(group.first());
            break;
        }
        going.damaged.extend(damaged);
        (all, files) = (all - group.size(), files - group.len());
        going.groups.push(group);
    }
    if let Some(segment) = stuck.filter(|_| all > max || going.groups.len() < count) {
        tracing::error!(
            target: "hookward::audit",
            segment, bytes = all, max_size = max,
            "a segment of the audit trail would go and is not what was written; it stays, with all behind it, until there is no room"
        );
    }
    if files > max && files - all > SEGMENT_LEN {
        tracing::error!(
            target: "hookward::audit",
            bytes = files - all, max_size = max,
            "files of the audit trail make it larger than audit.max_size with what is not what was written, for which nothing is removed; `hookward audit verify` names them"
        );
    }
    Ok(going)
}

fn tell(segments: usize, through: u32, archived: bool, damaged: &[u32]) {
    tracing::info!(
        target: "hookward::audit",
        segments, through, archived,
        "the oldest segments of the audit trail went"
    );
    if let Some(first) = damaged.first() {
        tracing::error!(
            target: "hookward::audit",
            segments = damaged.len(), first, archived,
            "segments of the audit trail that are not what was written went with the oldest: the trail was larger than audit.max_size"
        );
    }
}
