//! The one walk over a journal that is only looked at: every segment, every frame, and everything
//! between them that is no frame. Memory is bounded by the longest frame.

use std::io;
use std::ops::ControlFlow;

use super::{Finding, InspectError, Journal, What, failed};
use crate::event::Sequence;
use crate::store::OpenError;
use crate::store::crypt::FRAMES_AT;
use crate::store::journal::preamble::{self, Preamble};
use crate::store::journal::segment::{
    BadHeader, Frame, Gap, GapKind, Place, Scanned, Scanner, SegmentHeader,
};
use crate::store::recover::{guess_header, is_unfinished};

/// What the walk comes upon, in the order of the journal.
#[derive(Debug)]
pub(super) enum Seen<'a> {
    /// A segment begins, whose file has so many bytes.
    Segment(SegmentHeader, u64),
    /// A frame whose checksum fits, in this segment.
    Frame(u32, Frame<'a>),
    /// Something that is none.
    Finding(Finding),
}

/// Where a walk has ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walked {
    /// Behind the last good frame.
    pub(super) upto: Option<Place>,
    /// The last frame's number.
    pub(super) last: Sequence,
    /// The journal's random number.
    pub(super) journal: u64,
}

/// Shows `visit` all of the journal that is there when it is called, until it says break.
pub(super) fn walk(
    journal: &Journal,
    mut visit: impl FnMut(Seen<'_>) -> ControlFlow<()>,
) -> Result<Walked, InspectError> {
    let numbers = journal.numbers()?;
    let newest = numbers.last().copied().unwrap_or(0);
    let mut walk = Walk { journal, newest, header: None, gap: None, walked: Walked::default() };
    for number in numbers {
        if walk.segment(number, &mut visit)?.is_break() {
            return Ok(walk.walked);
        }
    }
    if let Some(gap) = walk.gap.take() {
        let _ = visit(Seen::Finding(gap));
    }
    Ok(walk.walked)
}

struct Walk<'a> {
    journal: &'a Journal,
    newest: u32,
    /// The header of the segment before.
    header: Option<SegmentHeader>,
    /// Bytes that are no frame, of which it is not known yet which frames they were.
    gap: Option<Finding>,
    walked: Walked,
}

type Visit<'v> = dyn FnMut(Seen<'_>) -> ControlFlow<()> + 'v;

impl Walk<'_> {
    fn segment(
        &mut self,
        number: u32,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, InspectError> {
        let files = &self.journal.files;
        let file = match files.file(number) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.gone(number, visit);
            }
            Err(error) => return Err(failed("opening a segment in", files.dir())(error)),
        };
        let preamble = files.preamble_if_given(number);
        let Some(preamble) = preamble.map_err(failed("reading", files.dir()))? else {
            let size = file.size().map_err(failed("reading", files.dir()))?;
            return Ok(self.unread(number, size, visit));
        };
        let Some(header) = self.header(number, &preamble, visit)? else {
            return Ok(ControlFlow::Continue(()));
        };
        let damaged = preamble::damaged(&*file, &preamble);
        if let Some(offset) = damaged.map_err(failed("reading", files.dir()))? {
            let at = Place { segment: number, offset };
            let finding = Finding { until: Some(FRAMES_AT), ..Finding::at(at, What::KeySlot) };
            if visit(Seen::Finding(finding)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let header = match self.wrong_numbers(&header).map_err(failed("reading", files.dir()))? {
            Some(first) => {
                let at = Place { segment: number, offset: 0 };
                if visit(Seen::Finding(Finding::at(at, What::Numbers).of(first))).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                SegmentHeader { first, ..header }
            }
            None => header,
        };
        if self.begin(&header, visit).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let size = file.size().map_err(failed("reading", files.dir()))?;
        if visit(Seen::Segment(header, size)).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let scanner = files.scan(number, 0, header.before(self.walked.last));
        let scanner = scanner.map_err(|error| failed("reading", files.dir())(error.into()))?;
        self.frames(number, scanner, visit)
    }

    fn frames(
        &mut self,
        number: u32,
        mut scanner: Scanner,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, InspectError> {
        let read_failed = |e| failed("reading", self.journal.files.dir())(e);
        self.walked.upto = Some(Place { segment: number, offset: scanner.offset() });
        loop {
            let offset = scanner.offset();
            let gap = match scanner.step().map_err(read_failed)? {
                None => return Ok(ControlFlow::Continue(())),
                Some(Scanned::Gap(gap)) => gap,
                Some(Scanned::Frame(frame)) => {
                    let sequence = frame.header.sequence;
                    let place = Place { segment: number, offset };
                    let finding = between(self.gap.take(), self.walked.last, sequence, place);
                    if let Some(finding) = finding
                        && visit(Seen::Finding(finding)).is_break()
                    {
                        return Ok(ControlFlow::Break(()));
                    }
                    self.walked.last = sequence;
                    if visit(Seen::Frame(number, frame)).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    let end = scanner.offset();
                    self.walked.upto = Some(Place { segment: number, offset: end });
                    continue;
                }
            };
            let unread = scanner.has_unread();
            self.gap = Some(self.finding(number, gap, unread));
        }
    }

    fn finding(&self, segment: u32, gap: Gap, unread: bool) -> Finding {
        let Gap { from, to, kind } = gap;
        let what = match kind {
            _ if unread => What::Unreadable,
            GapKind::Tail if segment == self.newest => {
                let written = self.journal.live_copy || self.journal.in_use();
                if written { What::BeingWritten } else { What::TornTail }
            }
            GapKind::TornBatch => What::TornBatch,
            GapKind::Forged => What::Forged,
            GapKind::Keyless => What::Keyless,
            GapKind::Tail | GapKind::Damage => What::Damaged,
        };
        let at = Finding::at(Place { segment, offset: from }, what);
        Finding { until: Some(to), ..at }.of_frames(Sequence(self.walked.last.0 + 1), None)
    }

    /// The segment's header, or what stands in for it; `None` for a segment that was never begun.
    fn header(
        &mut self,
        number: u32,
        preamble: &Preamble,
        visit: &mut Visit<'_>,
    ) -> Result<Option<SegmentHeader>, InspectError> {
        let files = &self.journal.files;
        let at = |what| Seen::Finding(Finding::at(Place { segment: number, offset: 0 }, what));
        if number == self.newest && is_unfinished(files, number, preamble)? {
            let _ = visit(at(What::Unfinished));
            return Ok(None);
        }
        let header = match preamble.header {
            Ok(header) => {
                let before = self.header.filter(|before| before.journal != 0);
                if before.is_some_and(|before| before.journal != header.journal) {
                    let _ = visit(at(What::Foreign));
                }
                header
            }
            Err(BadHeader::Version(version)) => return Err(OpenError::Newer { version }.into()),
            Err(bad) => {
                let _ = visit(at(What::Header(bad)));
                guess_header(number, self.header.as_ref(), preamble)
            }
        };
        self.header = Some(header);
        Ok(Some(header))
    }

    /// The first frame's number, where the header says a larger one. Who believed that would look for the
    /// damage in all that comes behind.
    fn wrong_numbers(&self, header: &SegmentHeader) -> io::Result<Option<Sequence>> {
        let last = self.walked.last;
        if header.first.0 <= last.0 + 1 {
            return Ok(None);
        }
        let mut scanner = self.journal.files.scan(header.number, 0, last)?;
        while let Some(scanned) = scanner.step()? {
            if let Scanned::Frame(frame) = scanned {
                let first = frame.header.sequence;
                return Ok((first < header.first).then_some(first));
            }
        }
        Ok(None)
    }

    /// Whether the frames before the segment are the ones that its header says.
    fn begin(&mut self, header: &SegmentHeader, visit: &mut Visit<'_>) -> ControlFlow<()> {
        let last = self.walked.last;
        let known = last != Sequence(0) && header.follows != Sequence(0);
        let place = Place { segment: header.number, offset: 0 };
        let finding = match self.gap.take() {
            Some(gap) if known => Some(gap.between(last, Sequence(header.follows.0 + 1))),
            Some(gap) => Some(gap),
            None if known && header.follows > last => {
                let missing = Finding::at(place, What::Missing);
                Some(missing.between(last, Sequence(header.follows.0 + 1)))
            }
            None => None,
        };
        self.walked.last = last.max(Sequence(header.first.0.saturating_sub(1)));
        self.walked.journal = header.journal;
        match finding {
            Some(finding) => visit(Seen::Finding(finding)),
            None => ControlFlow::Continue(()),
        }
    }

    /// A segment whose first page the disk does not give: nothing else of it can be told.
    fn unread(&mut self, number: u32, size: u64, visit: &mut Visit<'_>) -> ControlFlow<()> {
        let at = Finding::at(Place { segment: number, offset: 0 }, What::Unreadable);
        let until = Some(u32::try_from(size).unwrap_or(u32::MAX));
        visit(Seen::Finding(Finding { until, ..at }))?;
        let header = guess_header(number, self.header.as_ref(), &Preamble::unread());
        self.header = Some(header);
        visit(Seen::Segment(header, size))
    }

    /// A file that was listed and is there no more. Retention takes the oldest: what comes next is
    /// then the journal's beginning, and nothing is missing before it.
    fn gone(
        &mut self,
        number: u32,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, InspectError> {
        let numbers = self.journal.numbers()?;
        if numbers.first().is_none_or(|first| *first > number) {
            self.walked.last = Sequence(0);
            self.header = None;
        }
        let at = Place { segment: number, offset: 0 };
        if numbers.contains(&number) {
            // A link to a disk that is not there.
            return Ok(visit(Seen::Finding(Finding::at(at, What::Unreadable))));
        }
        Ok(visit(Seen::Finding(Finding::at(at, What::Gone))))
    }
}

/// What there is to say between the last good frame and this one.
fn between(gap: Option<Finding>, last: Sequence, next: Sequence, place: Place) -> Option<Finding> {
    match gap {
        Some(gap) => Some(gap.between(last, next)),
        None if last != Sequence(0) && next.0 > last.0 + 1 => {
            Some(Finding::at(place, What::Missing).between(last, next))
        }
        None => None,
    }
}
