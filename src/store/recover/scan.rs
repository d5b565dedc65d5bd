//! One pass over the journal's frames: what they say to the lanes, and to the table of keys.

use std::collections::BTreeSet;

use super::{Report, read_failed, wanted};
use crate::event::Sequence;
use crate::store::OpenError;
use crate::store::backlog::checkpoint::{LaneRecord, decode_end, decode_lane};
use crate::store::backlog::replay::{Replay, unread};
use crate::store::core::Cancel;
use crate::store::dedupe::DedupeTable;
use crate::store::index::{self, Index, IndexEntry, Progress};
use crate::store::journal::act::decode_act;
use crate::store::journal::files::{ReadError, SegmentFiles};
use crate::store::journal::frame::Kind;
use crate::store::journal::record::{decode_attempt, decode_event_head, event_in_slice};
use crate::store::journal::segment::{self, Frame, Gap, GapKind, Place, Scanned, SegmentHeader};
use crate::store::presence::Reader;

/// What a pass has found so far.
pub(super) struct Scan<'a> {
    pub(super) files: &'a SegmentFiles,
    pub(super) cancel: &'a Cancel,
    pub(super) progress: Option<Progress>,
    pub(super) index: Option<Index>,
    pub(super) dedupe: DedupeTable,
    pub(super) replay: Replay,
    pub(super) signs: Reader,
    /// Lanes of a checkpoint that has not ended yet. It is one write: where anything else stands between
    /// its frames, or one is missing, what comes behind is not of the same.
    pub(super) pending: Option<Vec<LaneRecord>>,
    /// Segments of which the disk did not give the first page.
    pub(super) unread: BTreeSet<u32>,
    pub(super) last: Sequence,
    /// What the segment's header says of its first frame.
    pub(super) begins: Sequence,
    /// Events in the segment that is read, and what is told of any.
    pub(super) told_in_last: u64,
    pub(super) gaps_in_last: u64,
    pub(super) report: Report,
}

impl Scan<'_> {
    /// Reads a segment from where the lanes and the index need it.
    pub(super) fn segment(
        &mut self,
        info: &SegmentHeader,
        lanes: bool,
        newest: bool,
    ) -> Result<(), OpenError> {
        let failed = |e| read_failed(self.files, e);
        let (offset, before) = self.start(info, lanes);
        let scanner = self.files.scan(info.number, offset, info.before(before));
        let mut scanner = match scanner {
            Ok(scanner) => scanner,
            Err(ReadError::Io(_)) if !lanes && self.unread.contains(&info.number) => {
                return self.first_page(info, newest);
            }
            Err(ReadError::Io(_)) => {
                return Err(failed(unread(Place { segment: info.number, offset: 0 })));
            }
            Err(error) => return Err(failed(error.into())),
        };
        self.check_follows(info);
        self.pending = None;
        self.told_in_last = 0;
        self.gaps_in_last = 0;
        while let Some(scanned) = scanner.step().map_err(failed)? {
            wanted(self.cancel)?;
            match scanned {
                Scanned::Frame(frame) => self.frame(info.number, &frame, lanes),
                Scanned::Gap(gap) => {
                    // What the disk would not give just now may be good: it must be neither cut off
                    // nor left out of what waits, and the checkpoint to come would do both. Where
                    // the lanes need nothing it costs the keys of what stands there, until a start
                    // can read them.
                    if lanes && scanner.has_unread() {
                        let (segment, offset) = (info.number, gap.from);
                        return Err(failed(unread(Place { segment, offset })));
                    }
                    if lanes && !(newest && gap.kind == GapKind::Tail) {
                        self.signs.damage();
                    }
                    if scanner.has_unread() {
                        self.leave_index(info.number, gap.from);
                    }
                    self.gap(info.number, gap, newest)?;
                }
            }
        }
        Ok(())
    }

    /// A segment whose first page the disk does not give, and of which the lanes need nothing.
    fn first_page(&mut self, info: &SegmentHeader, newest: bool) -> Result<(), OpenError> {
        self.leave_index(info.number, 0);
        self.check_follows(info);
        // What is missing in front of the next one is in here.
        self.last = Sequence(0);
        let size = self.files.file(info.number).and_then(|file| file.size());
        let size = size.map_err(|error| read_failed(self.files, error))?;
        let to = u32::try_from(size).unwrap_or(u32::MAX);
        self.gap(info.number, Gap { from: 0, to, kind: GapKind::Damage }, newest)
    }

    /// The index must not know of anything behind what could not be read: the next start goes on there.
    fn leave_index(&mut self, segment: u32, offset: u32) {
        tracing::error!(target: "hookward::store", segment, offset, "the disk does not give the journal here: repeats of what stands there are new events until a start can read it, and nothing behind it is indexed");
        self.index.take().into_iter().for_each(index::abandon);
    }

    /// Where to start reading, and the number of the frame before. A segment that only the index
    /// needs is read from where the index has come to: its last event, or behind it.
    fn start(&mut self, info: &SegmentHeader, lanes: bool) -> (u32, Sequence) {
        match self.progress {
            Some(progress) if !lanes && progress.upto.segment == info.number => {
                self.last = progress.last;
                (progress.upto.offset, Sequence(progress.last.0.saturating_sub(1)))
            }
            _ => (0, self.last),
        }
    }

    /// Whether the frames before this segment are the ones that its header says.
    fn check_follows(&mut self, info: &SegmentHeader) {
        // What follows nothing has replaced a first segment without events, which a power cut may
        // bring back.
        if self.last != Sequence(0) && info.follows > self.last {
            self.report_missing(info.first);
        }
        self.begins = info.first;
    }

    fn report_missing(&mut self, after: Sequence) {
        let before = self.last;
        self.pending = None;
        tracing::error!(target: "hookward::store", %before, %after, "frames are missing from the journal between these numbers");
        self.report.missing.push((before, after));
    }

    fn frame(&mut self, segment: u32, frame: &Frame<'_>, lanes: bool) {
        let sequence = frame.header.sequence;
        if self.last != Sequence(0) && sequence > self.begins && sequence.0 > self.last.0 + 1 {
            self.report_missing(sequence);
        }
        if !matches!(frame.header.kind, Kind::Lane | Kind::CheckpointEnd) {
            self.pending = None;
        }
        self.last = self.last.max(sequence);
        self.report.frames_read += 1;
        if lanes && frame.header.kind == Kind::Presence {
            self.signs.presence(frame.payload);
        }
        let place = Place { segment, offset: frame.offset };
        match frame.header.kind {
            Kind::Event | Kind::Carried => self.event(place, frame, lanes),
            Kind::Attempt => {
                self.told_in_last += 1;
                if lanes && let Some(record) = decode_attempt(frame.payload) {
                    self.replay.attempt(&record);
                }
            }
            Kind::Lane => {
                if lanes && let Some(record) = decode_lane(frame.payload) {
                    self.pending.get_or_insert_default().push(record);
                }
            }
            Kind::CheckpointEnd => {
                let pending = self.pending.take().unwrap_or_default();
                if lanes && decode_end(frame.payload) == u32::try_from(pending.len()).ok() {
                    self.replay.checkpoint(pending);
                }
            }
            Kind::Act => {
                // Nothing else tells of it: its segment must not be taken for an empty one.
                self.told_in_last += 1;
                if lanes && let Some(record) = decode_act(frame.payload) {
                    self.replay.act(&record);
                }
            }
            Kind::Presence => {}
        }
    }

    fn event(&mut self, place: Place, frame: &Frame<'_>, lanes: bool) {
        self.told_in_last += 1;
        let sequence = frame.header.sequence;
        let event = event_in_slice(&frame.header, frame.payload);
        let head = event.and_then(|(event, payload)| Some((event, decode_event_head(payload)?)));
        let Some((event, head)) = head else {
            let Place { segment, offset } = place;
            tracing::error!(target: "hookward::store", %sequence, segment, offset, "a stored event is not understood");
            self.report.unreadable.push(place);
            return;
        };
        match frame.header.kind {
            Kind::Carried if lanes => self.replay.carried(event, place, &head),
            _ if lanes => {
                self.signs.event(head.received_at);
                self.replay.event(event, place, &head);
            }
            _ => {}
        }
        if self.progress.is_some_and(|p| sequence <= p.last) {
            return;
        }
        let fingerprint = self.dedupe.fingerprint(&head.key);
        self.dedupe.insert(fingerprint, place);
        let entry = IndexEntry { sequence, place, fingerprint };
        if let Some(index) = &mut self.index
            && let Err(error) = index.add(entry)
        {
            tracing::warn!(target: "hookward::store", %error, "the index failed; going on without");
            self.index = None;
        }
    }

    fn gap(&mut self, segment: u32, gap: Gap, newest: bool) -> Result<(), OpenError> {
        let Gap { from, to, kind } = gap;
        self.report.gaps.push((segment, gap));
        self.gaps_in_last += 1;
        self.pending = None;
        if newest && kind == GapKind::Tail {
            tracing::warn!(target: "hookward::store", segment, from, to, "torn tail cut off: a write that never ended, unless the disk has changed it since; what stood there is kept beside the segment (.torn)");
            if let Err(error) = self.files.keep_torn(segment, from, to) {
                tracing::warn!(target: "hookward::store", segment, %error, "what stood in the torn tail cannot be kept");
            }
            let path = segment::path(self.files.dir(), segment);
            return self.files.disk().truncate(&path, from.into()).map_err(|source| {
                OpenError::Io { what: "cutting the torn tail of", path, source }
            });
        }
        let what = match kind {
            GapKind::Forged => {
                "the journal has been changed here by somebody without its key; going on behind it"
            }
            GapKind::Keyless => {
                "the journal cannot be read here, for its key is lost; going on behind it"
            }
            GapKind::Tail | GapKind::TornBatch | GapKind::Damage => {
                "the journal is damaged here; going on behind it"
            }
        };
        tracing::error!(target: "hookward::store", segment, from, to, ?kind, "{what}");
        Ok(())
    }
}
