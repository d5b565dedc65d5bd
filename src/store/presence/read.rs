//! Reading signs of life out of the journal: by a start, which reads from the last checkpoint on, and by
//! whoever looks at a store's files.

use std::io;

use super::{DOUBT, Known, Sign, add};
use crate::clock::UnixMillis;
use crate::event::Sequence;
use crate::store::journal::files::{ReadError, SegmentFiles};
use crate::store::journal::frame::Kind;
use crate::store::journal::presence::{Absence, Cause, Presence, decode_presence};
use crate::store::journal::record::decode_event_head;
use crate::store::journal::segment::{Frame, Gap, GapKind, Scanned, SegmentHeader};

/// How many segments before those that are read anyway are looked at for what their successors
/// should open with. Each opens with all of it, so that one is enough but where there is damage; a
/// journal from before signs of life were kept has none.
const LOOK_BACK: usize = 8;

/// A step back of the wall clock that is none: events are written a little after they came.
const TOGETHER: std::time::Duration = std::time::Duration::from_secs(60);

/// Puts together what frames tell, in the order of the journal.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    since: Option<UnixMillis>,
    absences: Vec<Absence>,
    first: Option<UnixMillis>,
    last: Option<Sign>,
    /// Whether any frame told of signs of life; events alone may be from before there were any.
    any: bool,
    /// Whether something may be lost that stood behind the last sign.
    doubt: bool,
}

impl Reader {
    /// A frame of the journal. Its kind may be any.
    pub fn frame(&mut self, frame: &Frame<'_>) {
        match frame.header.kind {
            Kind::Presence => self.presence(frame.payload),
            Kind::Event => {
                if let Some(head) = decode_event_head(frame.payload) {
                    self.event(head.received_at);
                }
            }
            _ => {}
        }
    }

    /// A sign of life's frame.
    pub fn presence(&mut self, payload: &[u8]) {
        let Some(presence) = decode_presence(payload) else {
            self.doubt = true;
            return;
        };
        self.any = true;
        match presence {
            Presence::Alive(at) => self.sign(at, Some(false)),
            Presence::Stopped(at) => self.sign(at, Some(true)),
            Presence::Away(absence) => {
                self.sign(absence.from, None);
                add(&mut self.absences, absence);
                // What ends an absence is certain, wherever the clock stood before it.
                self.last = Some(Sign { at: absence.until, stopped: false });
            }
            Presence::Log(log) => {
                self.since = Some(log.since);
                self.absences = log.absences;
                self.first.get_or_insert(log.last);
                self.last = Some(Sign { at: log.last, stopped: log.stopped });
                self.doubt = false;
            }
        }
    }

    /// An event that was taken then.
    pub fn event(&mut self, received_at: UnixMillis) {
        self.sign(received_at, None);
    }

    /// Something in the journal cannot be read here.
    pub fn damage(&mut self) {
        self.doubt = true;
    }

    fn sign(&mut self, at: UnixMillis, stopped: Option<bool>) {
        self.first.get_or_insert(at);
        let last = self.last.unwrap_or(Sign { at, stopped: false });
        if std::mem::take(&mut self.doubt) && at.since(last.at) > DOUBT {
            add(&mut self.absences, Absence { from: last.at, until: at, cause: Cause::Unknown });
        }
        // Where the clock was set back, what stands later in the journal is what was later.
        let set_back = last.at.since(at) > TOGETHER;
        let at = if set_back { at } else { at.max(last.at) };
        self.last = Some(Sign { at, stopped: stopped.unwrap_or(last.stopped) });
    }

    /// Whether what was read began with all that was known then, or has nothing of it.
    pub fn is_whole(&self) -> bool {
        self.since.is_some() || !self.any
    }

    /// What was read before, and then this.
    #[must_use]
    pub fn behind(self, mut before: Self) -> Self {
        if self.since.is_some() {
            return self;
        }
        // What should have stood in between is not there.
        before.doubt = true;
        if let Some(first) = self.first {
            before.sign(first, None);
        }
        self.absences.iter().for_each(|absence| add(&mut before.absences, *absence));
        let (last, any) = (self.last.or(before.last), self.any || before.any);
        Self { last, any, doubt: self.doubt, ..before }
    }

    /// What it comes to, and whether what was known before is lost.
    pub fn known(self) -> (Known, bool) {
        let Self { since, absences, first, last, any, .. } = self;
        match (since, last, any) {
            (Some(_), last, _) => (Known { since, absences, last, away: None }, false),
            (None, Some(last), true) => {
                (Known { since: first, absences, last: Some(last), away: None }, true)
            }
            (None, _, _) => (Known::default(), false),
        }
    }
}

/// When events could be taken: what was read from segment `from` on tells and, where that does not
/// open with what was known before, what older ones do. That nothing can be read of it is told, and
/// no reason not to open.
pub fn restore(files: &SegmentFiles, segments: &[SegmentHeader], from: u32, read: Reader) -> Known {
    let mut read = read;
    if !read.is_whole() {
        let numbers: Vec<u32> = segments.iter().map(|segment| segment.number).collect();
        match read_back(files, &numbers, from) {
            Ok(before) => read = read.behind(before),
            Err(error) => {
                tracing::warn!(target: "hookward::store", %error, "older signs of life cannot be read");
            }
        }
    }
    let (known, lost) = read.known();
    if lost && let Some(since) = known.since {
        tracing::error!(target: "hookward::store", %since, "when no event could be taken before then cannot be read in the journal any more");
    }
    known
}

/// Reads what the journal knows before segment `before`, in `numbers`, ascending: from the newest of
/// a few segments that opens with all that was known.
///
/// # Errors
/// As the file system says.
pub fn read_back(files: &SegmentFiles, numbers: &[u32], before: u32) -> io::Result<Reader> {
    let older: Vec<u32> = numbers.iter().copied().filter(|number| *number < before).collect();
    for (at, number) in older.iter().enumerate().rev().take(LOOK_BACK) {
        if !opens_with_log(files, *number)? {
            continue;
        }
        let mut reader = Reader::default();
        for number in older.get(at..).unwrap_or_default() {
            read_segment(files, *number, false, &mut reader)?;
        }
        return Ok(reader);
    }
    Ok(Reader::default())
}

/// Adds what a segment tells. The newest may end in a write that never ended.
///
/// # Errors
/// As the file system says.
pub(in crate::store) fn read_segment(
    files: &SegmentFiles,
    number: u32,
    newest: bool,
    reader: &mut Reader,
) -> io::Result<()> {
    let mut scanner = match files.scan(number, 0, Sequence(0)) {
        Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        scanner => scanner?,
    };
    while let Some(scanned) = scanner.step()? {
        match scanned {
            Scanned::Frame(frame) => reader.frame(&frame),
            Scanned::Gap(Gap { kind: GapKind::Tail, .. }) if newest => {}
            Scanned::Gap(_) => reader.damage(),
        }
    }
    Ok(())
}

fn opens_with_log(files: &SegmentFiles, number: u32) -> io::Result<bool> {
    let mut scanner = match files.scan(number, 0, Sequence(0)) {
        Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        scanner => scanner?,
    };
    while let Some(scanned) = scanner.step()? {
        let Scanned::Frame(frame) = scanned else { return Ok(false) };
        match frame.header.kind {
            Kind::Lane | Kind::CheckpointEnd => {}
            Kind::Presence => {
                return Ok(matches!(decode_presence(frame.payload), Some(Presence::Log(_))));
            }
            _ => return Ok(false),
        }
    }
    Ok(false)
}
