//! The segments that there are, as the directory and their first pages say. Frames are read only where
//! nothing else can tell whether a segment was ever begun.

use std::collections::BTreeSet;
use std::io;

use super::read_failed;
use crate::clock::UnixMillis;
use crate::event::Sequence;
use crate::secret::Key;
use crate::store::OpenError;
use crate::store::backlog::replay;
use crate::store::crypt::{FRAMES_AT, Slot};
use crate::store::journal::files::SegmentFiles;
use crate::store::journal::frame::Kind;
use crate::store::journal::preamble::Preamble;
use crate::store::journal::segment::{
    self, BadHeader, Place, SEGMENT_HEADER_LEN, Scanned, Scanner, SegmentHeader,
};
use crate::store::survey::Survey;

/// What the directory and the segments' first pages say.
#[derive(Default)]
pub(super) struct Listed {
    /// All segments, ascending.
    pub(super) segments: Vec<SegmentHeader>,
    /// How they are encrypted.
    pub(super) survey: Survey,
    /// Those of which the disk does not give the first page.
    pub(super) unread: BTreeSet<u32>,
    /// What the newest of the encrypted ones holds for the index.
    pub(super) index_key: Option<Key>,
}

/// All segments. A last one that was never finished being created is removed: nothing was ever
/// acknowledged from it.
///
/// # Errors
/// [`OpenError`].
pub(super) fn list_segments(files: &SegmentFiles) -> Result<Listed, OpenError> {
    let failed = |error| read_failed(files, error);
    let numbers = files.numbers().map_err(failed)?;
    let keys = files.keys();
    let mut found = Vec::with_capacity(numbers.len());
    let mut unfinished = None;
    let mut unread = BTreeSet::new();
    for &number in &numbers {
        let preamble = files.preamble_if_given(number).map_err(|source| OpenError::Segment {
            path: segment::path(files.dir(), number),
            source,
        })?;
        let Some(preamble) = preamble else {
            if Some(&number) == numbers.last() {
                return Err(failed(replay::unread(Place { segment: number, offset: 0 })));
            }
            unread.insert(number);
            continue;
        };
        if let Err(BadHeader::Version(version)) = preamble.header {
            return Err(OpenError::Newer { version });
        }
        if Some(&number) == numbers.last() && is_unfinished(files, number, &preamble)? {
            unfinished = Some(number);
        } else {
            found.push((number, preamble));
        }
    }
    let survey = Survey::of_preambles(&found, &keys);
    // Before anything is changed: without the keys nothing can be told.
    survey.check(&keys)?;
    if survey.unvouched > 0 {
        return Err(OpenError::Unvouched { path: files.dir().to_owned(), plain: survey.unvouched });
    }
    files.set_plain_upto(survey.plain_upto);
    let mut listed = Listed { survey, unread: unread.clone(), ..Listed::default() };
    for (number, preamble) in &found {
        if let Ok(Some((_, secret))) = preamble.secret(&keys) {
            listed.index_key = Some(secret.index_key());
        }
        while unread.first().is_some_and(|first| first < number)
            && let Some(number) = unread.pop_first()
        {
            listed.segments.push(unread_header(number, &listed));
        }
        let header = header(*number, preamble, &listed);
        listed.segments.push(header);
    }
    for number in unread {
        listed.segments.push(unread_header(number, &listed));
    }
    if let Some(number) = unfinished {
        tracing::warn!(target: "hookward::store", segment = number, "unfinished segment removed");
        files.remove(number).map_err(failed)?;
    }
    for segment in &listed.survey.keyless {
        tracing::error!(target: "hookward::store", segment, "both key slots of an encrypted segment are damaged: nobody can read its events any more");
    }
    Ok(listed)
}

/// The segment's header, or what stands in for it.
fn header(number: u32, preamble: &Preamble, listed: &Listed) -> SegmentHeader {
    let guess = || guess_header(number, listed.segments.last(), preamble);
    match preamble.header {
        Ok(_) if listed.survey.foreign.contains(&number) => {
            tracing::error!(target: "hookward::store", segment = number, "a segment in clear where all are encrypted: somebody without the key has put it there; it is not read");
            undated(guess())
        }
        Ok(header) => header,
        Err(error) => {
            tracing::error!(target: "hookward::store", segment = number, %error, "damaged segment header; its frames are read all the same");
            undated(guess())
        }
    }
}

/// Nobody knows when it was begun: at the latest when the next one was. What is taken for older than it is
/// goes too early, and all in front of it.
fn undated(header: SegmentHeader) -> SegmentHeader {
    SegmentHeader { created_at: UnixMillis(u64::MAX), ..header }
}

/// What stands in for the header of a segment whose first page the disk does not give. Whether anything in
/// it is needed is not known yet.
fn unread_header(number: u32, listed: &Listed) -> SegmentHeader {
    tracing::error!(target: "hookward::store", segment = number, "the disk does not give the segment's first page");
    undated(guess_header(number, listed.segments.last(), &Preamble::unread()))
}

/// Whether the segment, the last one, was never finished being created: its header, or its key,
/// is not there, and nothing that counts is.
///
/// # Errors
/// [`OpenError`] when the file system fails.
pub(in crate::store) fn is_unfinished(
    files: &SegmentFiles,
    number: u32,
    preamble: &Preamble,
) -> Result<bool, OpenError> {
    match preamble.header {
        Ok(header) if header.encrypted && preamble.slot().is_none() => {
            has_frames(files, number, FRAMES_AT, |kind| {
                !matches!(kind, Kind::Lane | Kind::CheckpointEnd | Kind::Presence)
            })
            .map(|used| !used)
        }
        Ok(_) => Ok(false),
        Err(_) => has_frames(files, number, SEGMENT_HEADER_LEN, |_| true).map(|used| !used),
    }
}

/// What can be said of a segment whose header is damaged: it is no older than the one before it,
/// and of the journal that its key slot names.
pub(in crate::store) fn guess_header(
    number: u32,
    before: Option<&SegmentHeader>,
    preamble: &Preamble,
) -> SegmentHeader {
    let journal = preamble.slot().map(Slot::journal).or(before.map(|b| b.journal));
    SegmentHeader {
        number,
        journal: journal.unwrap_or(0),
        follows: Sequence(0),
        first: before.map_or(Sequence(1), |b| b.first),
        created_at: before.map_or(UnixMillis(0), |b| b.created_at),
        encrypted: preamble.is_encrypted(),
    }
}

/// The number of the first frame that the journal still has: what the first segment's header says or,
/// if that is damaged, what the first frame has that can be read.
///
/// # Errors
/// As the file system says.
pub(super) fn oldest_frame(
    files: &SegmentFiles,
    segments: &[SegmentHeader],
) -> io::Result<Sequence> {
    match segments.first() {
        Some(first)
            if let Some(preamble) = files.preamble_if_given(first.number)?
                && preamble.header.is_ok() =>
        {
            return Ok(first.first);
        }
        _ => {}
    }
    for segment in segments {
        // What waits there is needed, and found out to be; nothing else asks for it.
        if files.preamble_if_given(segment.number)?.is_none() {
            continue;
        }
        let mut scanner = files.scan(segment.number, 0, Sequence(0))?;
        while let Some(scanned) = scanner.step()? {
            if let Scanned::Frame(frame) = scanned {
                return Ok(frame.header.sequence);
            }
        }
    }
    Ok(Sequence(u64::MAX))
}

/// Whether there is, or may be, a frame of such a kind whose checksum fits, opened or not.
fn has_frames(
    files: &SegmentFiles,
    number: u32,
    from: u32,
    counts: impl Fn(Kind) -> bool,
) -> Result<bool, OpenError> {
    let scan = || -> io::Result<bool> {
        let mut scanner = Scanner::new(files.file(number)?, from, Sequence(0))?;
        while let Some(scanned) = scanner.step()? {
            if matches!(scanned, Scanned::Frame(frame) if counts(frame.header.kind)) {
                return Ok(true);
            }
        }
        // What the disk does not give may be frames.
        Ok(scanner.has_unread())
    };
    scan().map_err(|e| read_failed(files, e))
}
