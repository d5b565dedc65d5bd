//! Opening a store: what the files say, what is damaged, what is unsettled, and where to go on.
//!
//! The lanes need the journal from the last complete checkpoint on, the dedupe table what the index
//! does not have; one scan serves both. A torn tail is cut off and told. Damage elsewhere is told
//! loudly, and everything good behind it is kept.

mod scan;
mod segments;

use std::io;
use std::path::Path;

use self::scan::Scan;
use self::segments::{Listed, list_segments, oldest_frame};
pub(super) use self::segments::{guess_header, is_unfinished};
use super::OpenError;
use super::backlog::Backlog;
use super::backlog::checkpoint::decode_end;
use super::backlog::replay::{Replay, unread};
use super::core::{Cancel, Tuning};
use super::crypt::Fingerprints;
use super::dedupe::DedupeTable;
use super::index::{self, Index, Progress};
use super::journal::files::SegmentFiles;
use super::journal::frame::Kind;
use super::journal::head::is_full;
use super::journal::segment::{
    self, FEW_SEQUENCES, Gap, LAST_SEGMENT, LAST_SEQUENCE, Place, Scanned, SegmentHeader,
};
use super::presence::{self, Known, Reader};
use super::survey::Survey;
use crate::clock::UnixMillis;
use crate::event::Sequence;
use crate::secret::Key;

/// What a restart found. Told in the log, so that nothing is repaired in silence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events that the dedupe table knows.
    pub events: usize,
    /// Frames that were read from the journal.
    pub frames_read: u64,
    /// Whether the index could not be used and was made again.
    pub index_rebuilt: bool,
    /// Unreadable bytes: the segment and where in it.
    pub gaps: Vec<(u32, Gap)>,
    /// Numbers that should be there and are not: the last one before and the first one after.
    pub missing: Vec<(Sequence, Sequence)>,
    /// Unsettled events that could not be read.
    pub unreadable: Vec<Place>,
    /// How the segments are encrypted.
    pub survey: Survey,
}

/// What [`scan`] found out.
#[derive(Debug)]
pub struct Found {
    /// All segments, ascending.
    pub segments: Vec<SegmentHeader>,
    /// The newest one, if there was no room to write it again.
    pub unwritten: Option<u32>,
    /// The segment to begin; its time is not set yet.
    pub next: SegmentHeader,
    /// What the index's fingerprints are made with; `None` where nothing is encrypted.
    pub index_key: Option<Key>,
    /// What is unsettled.
    pub replay: Replay,
    /// The index, if one could be had.
    pub index: Option<Index>,
    /// Fingerprints and places.
    pub dedupe: DedupeTable,
    /// A last segment that holds nothing but its checkpoint, and is replaced by the next.
    pub superseded: Option<u32>,
    /// When events could be taken.
    pub known: Known,
    /// What is told.
    pub report: Report,
}

/// Reads the journal in `files`, and the index in `index_dir`.
///
/// # Errors
/// [`OpenError`]; damage is not one.
pub fn scan(files: &SegmentFiles, index_dir: &Path, tuning: &Tuning) -> Result<Found, OpenError> {
    let Listed { segments, survey, unread, index_key } = list_segments(files)?;
    let index_key = index_key_of(files, index_key)?;
    let fingerprints = index_key.as_ref().map_or_else(Fingerprints::plain, Fingerprints::keyed);
    let dedupe = DedupeTable::new(fingerprints.clone());
    let journal = segments.last().map_or_else(|| fastrand::u64(1..), |s| s.journal);
    let opened = open_index(index_dir, tuning, &dedupe, &segments, &fingerprints);
    let Opened { mut index, progress, known, rebuilt: index_rebuilt } = opened;
    if let Some(index) = &mut index {
        index.set_journal(journal);
    }
    wanted(&tuning.cancel)?;
    let from_lanes = last_checkpoint(files, &segments)?;
    let oldest = oldest_frame(files, &segments).map_err(|e| read_failed(files, e))?;
    let mut scan = Scan {
        files,
        cancel: &tuning.cancel,
        progress,
        index,
        dedupe,
        replay: Replay::new(tuning.window, oldest),
        signs: Reader::default(),
        pending: None,
        unread,
        last: Sequence(0),
        begins: Sequence(0),
        told_in_last: 0,
        gaps_in_last: 0,
        report: Report { index_rebuilt, survey, ..Report::default() },
    };
    let first_for_index = progress.map_or(0, |p| p.upto.segment);
    for (at, info) in segments.iter().enumerate() {
        if info.number >= from_lanes.min(first_for_index.max(1)) {
            scan.segment(info, info.number >= from_lanes, at + 1 == segments.len())?;
        }
    }
    // What was read back must be on stable storage before a repeat of it is acknowledged.
    let mut unwritten = None;
    if let Some(newest) = segments.last() {
        let path = segment::path(files.dir(), newest.number);
        match files.disk().rewrite(&path) {
            Err(error) if is_full(&error) => {
                let segment = newest.number;
                tracing::warn!(target: "hookward::store", segment, %error, "the newest segment cannot be written again, for there is no room: until there is, nothing is accepted, and no repeat out of it acknowledged");
                unwritten = Some(segment);
            }
            rewritten => {
                rewritten.map_err(|source| OpenError::Io { what: "rewriting", path, source })?;
            }
        }
    }
    // A segment whose frames cannot be read has had numbers, too.
    let given = segments.iter().map(|segment| segment.first.0.saturating_sub(1)).max();
    let last =
        scan.last.max(known.map_or(Sequence(0), |k| k.last)).max(Sequence(given.unwrap_or(0)));
    if last.0 > LAST_SEQUENCE - FEW_SEQUENCES {
        return Err(OpenError::LastSequence { path: files.dir().to_owned(), last });
    }
    if let Some(Progress { upto, last: indexed, .. }) = known.filter(|k| k.last > scan.last) {
        let (found, segment) = (scan.last, upto.segment);
        tracing::error!(target: "hookward::store", %indexed, %found, segment, "the journal ends before what the index knows: acknowledged events are lost");
        scan.report.missing.push((found, indexed));
    }
    let newest = segments.last().map(|s| s.number).max(known.map(|k| k.upto.segment));
    let empty = scan.told_in_last == 0 && scan.gaps_in_last == 0;
    let superseded = segments.last().filter(|_| empty);
    let newest = newest.unwrap_or(0);
    if newest > LAST_SEGMENT {
        return Err(OpenError::LastNumber { path: files.dir().to_owned(), number: newest });
    }
    let next = SegmentHeader {
        number: newest + 1,
        journal,
        follows: superseded.map_or(scan.last, |s| s.follows),
        first: Sequence(last.0 + 1),
        created_at: UnixMillis(0),
        encrypted: index_key.is_some(),
    };
    let superseded = superseded.map(|s| s.number);
    scan.report.events = scan.dedupe.len();
    let known = presence::restore(files, &segments, from_lanes, scan.signs);
    Ok(Found {
        next,
        segments,
        unwritten,
        index_key,
        replay: scan.replay,
        index: scan.index,
        dedupe: scan.dedupe,
        superseded,
        known,
        report: scan.report,
    })
}

/// Fills the lanes; what could not be read is added to the report.
///
/// # Errors
/// [`OpenError`] when the file system fails.
pub fn restore(
    replay: Replay,
    backlog: &Backlog,
    files: &SegmentFiles,
    cancel: &Cancel,
    report: &mut Report,
) -> Result<(), OpenError> {
    let restored = replay.restore(backlog, files, cancel);
    wanted(cancel)?;
    report.unreadable.extend(restored.map_err(|e| read_failed(files, e))?);
    Ok(())
}

fn wanted(cancel: &Cancel) -> Result<(), OpenError> {
    if cancel.is_cancelled() { Err(OpenError::Cancelled) } else { Ok(()) }
}

fn read_failed(files: &SegmentFiles, source: io::Error) -> OpenError {
    OpenError::Io { what: "reading", path: files.dir().to_owned(), source }
}

/// The index's key: the journal's own, or a new one for a journal that is encrypted from here on.
fn index_key_of(files: &SegmentFiles, found: Option<Key>) -> Result<Option<Key>, OpenError> {
    if files.keys().is_empty() || found.is_some() {
        return Ok(found);
    }
    let new = Key::generate().map_err(|source| {
        let path = files.dir().to_owned();
        OpenError::Io { what: "making a key for the index of", path, source }
    })?;
    Ok(Some(new))
}

/// The newest segment that opens with a whole checkpoint; 1 where there is none, which is to say
/// that the whole journal is read.
fn last_checkpoint(files: &SegmentFiles, segments: &[SegmentHeader]) -> Result<u32, OpenError> {
    for info in segments.iter().rev() {
        let whole = opens_with_checkpoint(files, info.number).map_err(|e| read_failed(files, e))?;
        if whole {
            return Ok(info.number);
        }
    }
    Ok(1)
}

fn opens_with_checkpoint(files: &SegmentFiles, number: u32) -> io::Result<bool> {
    let mut scanner = match files.scan(number, 0, Sequence(0)) {
        Err(error) if error.is_not_given() => {
            return Err(unread(Place { segment: number, offset: 0 }));
        }
        scanner => scanner?,
    };
    let mut lanes = 0;
    while let Some(Scanned::Frame(frame)) = scanner.step()? {
        match frame.header.kind {
            Kind::Lane => lanes += 1,
            Kind::CheckpointEnd => return Ok(decode_end(frame.payload) == Some(lanes)),
            Kind::Event | Kind::Attempt | Kind::Carried | Kind::Act | Kind::Presence => {
                return Ok(false);
            }
        }
    }
    Ok(false)
}

/// The index, or a new one if it cannot be used. Whatever is wrong with it, the store opens.
fn open_index(
    dir: &Path,
    tuning: &Tuning,
    dedupe: &DedupeTable,
    segments: &[SegmentHeader],
    fingerprints: &Fingerprints,
) -> Opened {
    let mark = fingerprints.mark();
    // Whatever becomes of the index: one from before the encryption has digests that anyone can compute.
    if fingerprints.are_keyed()
        && let Err(error) = index::remove_set_aside(dir)
    {
        tracing::warn!(target: "hookward::store", %error, "index.unusable cannot be removed; it may be from before the encryption: remove it");
    }
    let mut none = Opened { index: None, progress: None, known: None, rebuilt: true };
    if !tuning.index {
        return none;
    }
    let existed = dir.exists();
    let first = segments.first().map_or(1, |s| s.number);
    let opened = Index::open(dir, mark, |entry| {
        if entry.place.segment >= first {
            dedupe.insert(entry.fingerprint, entry.place);
        }
    });
    match opened {
        Ok((index, Some(progress))) if belongs(&progress, segments) => {
            let (index, progress) = (Some(index), Some(progress));
            return Opened { index, progress, known: progress, rebuilt: false };
        }
        Ok((index, _)) if !existed => return Opened { index: Some(index), ..none },
        Ok((untrusted, known)) => {
            drop(untrusted);
            // If there is no segment any more, they are missing rather than another journal's.
            let newest = segments.last();
            none.known = known.filter(|k| newest.is_none_or(|n| n.journal == k.journal));
            tracing::info!(target: "hookward::store", "the index cannot be trusted; rebuilding it")
        }
        Err(error) => {
            tracing::warn!(target: "hookward::store", %error, "the index does not open; rebuilding it");
        }
    }
    dedupe.forget_before(u32::MAX);
    let fresh = if fingerprints.are_keyed() { index::remove(dir) } else { index::set_aside(dir) };
    let fresh = fresh.map_err(index::IndexError::from);
    match fresh.and_then(|()| Index::open(dir, mark, |_| {})) {
        Ok((index, _)) => Opened { index: Some(index), ..none },
        Err(error) => {
            tracing::warn!(target: "hookward::store", %error, "going on without an index");
            none
        }
    }
}

/// What [`open_index`] comes to.
struct Opened {
    index: Option<Index>,
    /// How far it has come.
    progress: Option<Progress>,
    /// How far the one that was found had come, even if it is not used.
    known: Option<Progress>,
    rebuilt: bool,
}

/// Whether the index is of this journal, and does not know more than it.
fn belongs(progress: &Progress, segments: &[SegmentHeader]) -> bool {
    segments.last().is_some_and(|newest| {
        newest.journal == progress.journal && progress.upto.segment <= newest.number
    })
}
