//! Whether a trail is what was written: link by link, checkpoint by checkpoint, offline and without
//! secrets. Changes nothing.

mod behind;
mod end;
mod going;
mod header;
mod openings;
mod other_key;
mod report;
mod taken_over;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use self::behind::{Behind, Places};
use self::end::Kept;
pub(super) use self::going::LettingGo;
use self::openings::Openings;
pub use self::report::{Break, End, Report, Vouched};
use self::taken_over::Loose;
pub use self::taken_over::TakenOver;
use super::bytes::{
    self, Found, Frame, Kind, MAX_SEGMENT, Position, SEGMENT_HEADER, SegmentHeader,
};
use super::checkpoint::Checkpoint;
use super::keys::PublicKey;
use super::open::checkpoint;
use crate::clock::UnixMillis;
use crate::store::disk::Disk;

/// Files that are called like segments and are none: so many are named.
const STRAYS: usize = 20;

/// Why nothing can be said of a trail.
#[derive(Debug, thiserror::Error)]
pub enum Unverifiable {
    /// It cannot be read.
    #[error("the audit trail cannot be read: {0}")]
    Io(#[from] io::Error),
    /// There is no segment at all.
    #[error("there is no audit trail in {0}")]
    Nothing(std::path::PathBuf),
}

/// Verifies the trail in this directory against its installation's public key, and against checkpoints that
/// were kept elsewhere.
///
/// # Errors
/// [`Unverifiable`] when there is nothing to be said of it.
pub fn verify(
    disk: &dyn Disk,
    dir: &Path,
    key: &PublicKey,
    kept: &[Checkpoint],
) -> Result<Report, Unverifiable> {
    let (numbers, strays) = match bytes::numbered(disk, dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Default::default(),
        found => found?,
    };
    if numbers.is_empty() {
        return Err(Unverifiable::Nothing(dir.to_owned()));
    }
    let openings = Openings::read(disk, dir, &numbers, key)?;
    let last = openings.last(disk, dir, &numbers)?;
    let another = match openings.trail {
        Some(_) => None,
        None => other_key::whole_trail(disk, dir, &numbers, key)?,
    };
    let mut walk = Walk::new(key, kept, openings);
    walk.other_key = another.is_some();
    another.into_iter().for_each(|found| walk.report.add(found));
    walk.report.notes.extend(strays.into_iter().take(STRAYS).map(stray));
    for number in numbers {
        let len = disk.open(&bytes::path(dir, number))?.size()?;
        let segment = bytes::load(disk, dir, number)?;
        walk.segment(number, &segment, number == last);
        if len > MAX_SEGMENT {
            walk.broken(
                "damaged",
                MAX_SEGMENT as usize,
                "the segment is longer than any that Hookward writes",
            );
        }
    }
    Ok(walk.finish())
}

/// What there is to say of what is no file.
fn stray(number: u32) -> String {
    let name = bytes::name(number);
    format!("{name} is called like a segment and is none: it is no file")
}

/// What there is to say of one segment, whatever stands in it: for fuzzing.
pub(crate) fn verify_segment(segment: &[u8], key: &PublicKey) -> Report {
    let mut walk = Walk::new(key, &[], Openings::default());
    walk.segment(1, segment, true);
    walk.finish()
}

/// What the walk knows of the trail.
struct Walk<'a> {
    key: &'a PublicKey,
    kept: Kept<'a>,
    /// Whether the key has signed nothing of it: told once, and not at each checkpoint.
    other_key: bool,
    report: Report,
    openings: Openings,
    /// The segment that is walked.
    number: u32,
    /// The record before.
    before: Position,
    trail: Option<u64>,
    /// The first segment that is there, and what it follows, if that can be told.
    first: Option<(u32, Option<Position>)>,
    /// The segments that went, as a record says.
    shortened: Option<LettingGo>,
    /// What the record right before says that went: nobody has signed that yet.
    letting_go: Option<LettingGo>,
    /// The last checkpoint that vouches: its own number, and when it was signed.
    signed: Option<(u64, String)>,
    /// What stands behind it in the segment before.
    loose: Option<Loose>,
    /// What each segment follows.
    follows: BTreeMap<u32, Position>,
    /// When the segment was begun, by its header; the checkpoint behind that says it as well.
    opened_at: Option<UnixMillis>,
    /// Whether the segment has the checkpoint of a stop.
    stopped: bool,
    /// Records that stand too early, and where the chain is with each.
    early: BTreeMap<u64, Position>,
    /// Whether what is right before is no record.
    behind_gap: bool,
}

impl<'a> Walk<'a> {
    fn new(key: &'a PublicKey, kept: &'a [Checkpoint], openings: Openings) -> Self {
        let trail = openings.trail.map(|trail| format!("{trail:016x}")).unwrap_or_default();
        Self {
            key,
            kept: Kept::new(kept),
            other_key: false,
            report: Report { trail, ..Report::default() },
            number: 0,
            before: Position::START,
            trail: openings.trail,
            openings,
            first: None,
            shortened: None,
            letting_go: None,
            signed: None,
            loose: None,
            follows: BTreeMap::new(),
            opened_at: None,
            stopped: false,
            early: BTreeMap::new(),
            behind_gap: false,
        }
    }

    fn broken(&mut self, kind: &'static str, offset: usize, message: impl Into<String>) {
        let sequence = self.before.sequence.0 + 1;
        self.broken_at(kind, offset, sequence, message);
    }

    fn broken_at(
        &mut self,
        kind: &'static str,
        offset: usize,
        sequence: u64,
        message: impl Into<String>,
    ) {
        let offset = offset as u64;
        let message = message.into();
        self.report.add(Break { kind, segment: self.number, offset, sequence, message });
    }

    fn segment(&mut self, number: u32, segment: &[u8], last: bool) {
        let previous = std::mem::replace(&mut self.number, number);
        self.report.segments += 1;
        let walked: Vec<Found<'_>> = bytes::walk(segment, SEGMENT_HEADER).collect();
        let frames: Vec<Frame<'_>> = walked.iter().filter_map(frame_of).copied().collect();
        let before = self.first.map(|_| self.before);
        // A segment that is only being begun, or was when a crash came, has no record yet.
        let begun = !last || !frames.is_empty() || !self.openings.may_be_begun(number);
        if begun && self.openings.pass_over(number, before) {
            let message = if self.openings.is_stray(number) {
                "this segment was signed for another place in the trail than it has here, as if the store had been put back to an older state since. It was not looked through"
            } else {
                "nothing in this segment was signed by this key for this trail: it was put here, or all that was signed in it was changed. It was not looked through"
            };
            self.broken("inserted", 0, message);
            // Where it is the first, nobody can tell what was in front of the next one.
            self.report.foreign += u64::from(self.first.is_some());
            return;
        }
        self.report.end = End::Open;
        (self.stopped, self.letting_go, self.opened_at) = (false, None, None);
        let header = SegmentHeader::decode(segment);
        // What it says is signed behind it as well.
        let known = header.or_else(|| self.signed_header(frames.first()?));
        self.numbers(previous, known);
        if last && segment.len() < SEGMENT_HEADER {
            self.report.end = End::Torn { bytes: segment.len() as u64 };
            return;
        }
        match known {
            Some(known) => self.header(known, frames.first()),
            None => _ = self.first.get_or_insert((number, None)),
        }
        if header.is_none() {
            self.damaged_header(&frames);
        }
        if let Some(Found::Frame(frame)) = walked.first()
            && frame.kind != Some(Kind::Checkpoint)
        {
            let message = "the segment does not begin with its checkpoint";
            self.broken("deleted", SEGMENT_HEADER, message);
        }
        let places = Places::of(&frames);
        let mut index = 0;
        // Looked for once, however many there are that only look like it.
        let has_gap = walked.iter().any(|found| matches!(found, Found::Gap { .. }));
        let signed = frames.iter().rposition(|frame| last && has_gap && self.is_signed(frame));
        for found in &walked {
            match found {
                Found::Gap { from, given_up: true, .. } => {
                    let message = "there is too much here that looks like records and is none: what is behind it was not looked at";
                    self.broken("edited", *from, message);
                    return;
                }
                Found::Gap { from, until, .. } => {
                    if last && signed.is_none_or(|signed| signed < index) {
                        // Nothing behind it was ever vouched for: a crash leaves the same.
                        self.report.end = End::Torn { bytes: (segment.len() - from) as u64 };
                        return;
                    }
                    let bytes = until - from;
                    self.broken("edited", *from, format!("{bytes} bytes here are not what was written: no record with a checksum that fits"));
                    self.behind_gap = true;
                }
                Found::Frame(frame) => {
                    index += 1;
                    self.frame(frame, &Behind { frames: &frames, places: &places, from: index });
                }
            }
        }
        let signed = self.signed.as_ref().map(|(number, time)| (*number, time.as_str()));
        self.loose = signed.and_then(|signed| Loose::behind(&frames, signed));
    }

    fn is_signed(&self, frame: &Frame<'_>) -> bool {
        checkpoint(frame).is_some_and(|checkpoint| checkpoint.is_signed_by(self.key))
    }

    /// A record. `behind`: those that follow it in the segment.
    fn frame(&mut self, frame: &Frame<'_>, behind: &Behind<'_>) {
        let behind_gap = std::mem::take(&mut self.behind_gap);
        while let Some(met) = self.early.remove(&(self.before.sequence.0 + 1)) {
            // It was told of where it stands.
            self.before = met;
        }
        let (expected, link) = (self.before.sequence.0 + 1, self.before.link);
        if frame.sequence.0 < expected {
            let message =
                "the record stands further in front as well, or there is another of its number";
            self.broken_at("inserted", frame.offset, frame.sequence.0, message);
            return;
        }
        if frame.sequence.0 > expected {
            if self.gap(frame, behind, behind_gap) {
                self.sound(frame);
            }
            return;
        }
        if frame.follows(link) {
            self.sound(frame);
        } else if behind.with(expected).any(|next| next.follows(link)) {
            let message = "the record was not written here: the one that belongs here is behind it";
            self.broken("inserted", frame.offset, message);
        } else {
            let message = "the record is not what was written, or the one before it is not";
            self.broken("edited", frame.offset, message);
            self.sound(frame);
        }
    }

    /// Records before this one are not where they should be. Whether to go on behind it.
    fn gap(&mut self, frame: &Frame<'_>, behind: &Behind<'_>, behind_gap: bool) -> bool {
        let (offset, expected) = (frame.offset, self.before.sequence.0 + 1);
        let until = frame.sequence.0 - 1;
        let is_behind = |n: u64| behind.with(n).next().is_some();
        if is_behind(expected) {
            let copy = is_behind(frame.sequence.0);
            let kind = if copy { "inserted" } else { "reordered" };
            let message =
                format!("record {} stands where record {expected} should", frame.sequence.0);
            self.broken(kind, offset, message);
            self.early.insert(frame.sequence.0, frame.position());
            return false;
        }
        if behind_gap {
            // That is where they were.
        } else if expected == until {
            self.broken("deleted", offset, format!("record {expected} is missing"));
        } else {
            self.broken("deleted", offset, format!("records {expected} to {until} are missing"));
        }
        true
    }

    /// A record that is taken as the next one.
    fn sound(&mut self, frame: &Frame<'_>) {
        self.report.end = End::Open;
        // A stop that could not be made durable is signed once more.
        if self.stopped && frame.kind != Some(Kind::Checkpoint) {
            let message = "the gateway had stopped, and writes nothing here after that";
            self.broken("inserted", frame.offset, message);
        }
        if frame.kind != Some(Kind::Checkpoint) {
            self.letting_go = None;
        }
        match frame.kind {
            Some(Kind::Record) => self.report.records += 1,
            Some(Kind::Shortened) => {
                self.report.records += 1;
                self.letting_go = LettingGo::read(frame);
            }
            Some(Kind::Checkpoint) => self.checkpoint(frame),
            None => self.broken("edited", frame.offset, "the record is of no kind that is known"),
        }
        self.report.first.get_or_insert(frame.sequence.0);
        self.report.last = Some(frame.sequence.0);
        if let Some(time) = self.kept.stood_at(frame, self.key, self.trail) {
            let (here, behind) = (frame.sequence.0, frame.sequence.0.saturating_sub(1));
            self.broken_at("cut_off", frame.offset, here, format!(
                "the kept checkpoint of {time} stood here, and something else does: the trail was cut off behind record {behind}, and what is here was written afterwards"
            ));
        }
        if let Some((time, good)) = self.kept.meets(frame.position(), self.key) {
            match good {
                true => self.report.vouch(frame.sequence.0, &time),
                false => self.not_as_signed(frame.offset, &time),
            }
        }
        self.before = frame.position();
    }

    fn checkpoint(&mut self, frame: &Frame<'_>) {
        let Some(checkpoint) = checkpoint(frame) else {
            self.broken("edited", frame.offset, "the checkpoint cannot be read");
            return;
        };
        self.report.checkpoints += 1;
        let letting_go = self.letting_go.take();
        let opened_at = self.opened_at.take();
        let is_first = frame.offset == SEGMENT_HEADER;
        let trail = self.trail.map(|trail| format!("{trail:016x}"));
        if self.other_key && checkpoint.key != self.key.id() {
            // It was told of the whole trail.
        } else if !checkpoint.is_signed_by(self.key) {
            self.broken("edited", frame.offset, "the checkpoint is not signed by this key");
        } else if trail.as_ref() != Some(&checkpoint.trail) {
            self.broken("inserted", frame.offset, "the checkpoint is another trail's");
        } else if checkpoint.position() != Some(self.before) {
            self.not_as_signed(frame.offset, &checkpoint.time);
        } else if checkpoint.opens != if is_first { u64::from(self.number) } else { 0 } {
            // What a start has signed of a tail that it found must not speak for anything else.
            self.broken("reordered", frame.offset, "the checkpoint was written in another place");
        } else if opened_at.is_some_and(|at| is_first && at.to_string() != checkpoint.time) {
            self.broken("edited", 0, "the segment's header has another time than was signed");
        } else {
            self.vouched(&checkpoint, letting_go);
        }
    }

    /// A checkpoint that is about the record before it.
    fn vouched(&mut self, checkpoint: &Checkpoint, letting_go: Option<LettingGo>) {
        self.report.vouch(checkpoint.sequence, &checkpoint.time);
        self.signed = Some((checkpoint.sequence + 1, checkpoint.time.clone()));
        let loose = self.loose.take();
        if let Some(range) = loose.and_then(|loose| loose.taken_over(checkpoint, self.number)) {
            self.report.add_taken_over(range);
        }
        // Only what is signed with it has let go of anything.
        if let Some(letting_go) = letting_go {
            self.report.notes.extend(letting_go.of_damaged());
            self.shortened = Some(letting_go);
        }
        if checkpoint.torn > 0 {
            let (segment, torn) = (self.number, checkpoint.torn);
            self.report.notes.push(format!(
                "the start that began segment {segment} has cut off {torn} bytes that were no record of this trail, or not a whole one"
            ));
        }
        if checkpoint.stop {
            self.report.end = End::Stopped;
            self.stopped = true;
        }
    }

    fn not_as_signed(&mut self, offset: usize, time: &str) {
        let (from, to) = (self.first_unvouched(), self.before.sequence.0);
        let message = format!(
            "records {from} to {to} are not those that were signed at {time}: at least one was replaced"
        );
        self.broken_at("edited", offset, from, message);
    }

    fn finish(mut self) -> Report {
        self.check_beginning();
        let last = self.report.last.unwrap_or(0);
        let first = self.report.first.unwrap_or(1);
        let rest = self.kept.rest(first, last, self.key, self.trail);
        for (sequence, kind, message) in rest.wrong {
            // It is about none of the segments that are there.
            self.report.add(Break { kind, segment: 0, offset: 0, sequence, message });
        }
        if rest.older > 0 {
            let older = rest.older;
            self.report.notes.push(format!(
                "kept checkpoints about records that are older than what is left: {older}"
            ));
        }
        if self.report.vouched.is_none() && self.report.breaks == 0 {
            self.broken_at("edited", 0, first, "no checkpoint of this key vouches for anything");
        }
        let vouched = self.report.vouched.as_ref().map_or(0, |vouched| vouched.sequence);
        // The checkpoint that vouches is vouched for by its own signature.
        self.report.unvouched = last.saturating_sub(vouched.max(first.saturating_sub(1)) + 1);
        self.report.sound = self.report.breaks == 0;
        self.report
    }
}

fn frame_of<'f, 'a>(found: &'f Found<'a>) -> Option<&'f Frame<'a>> {
    match found {
        Found::Frame(frame) => Some(frame),
        Found::Gap { .. } => None,
    }
}
