//! How the catalogue is kept: read at the start as far as it can be believed, made again from the journal
//! where it cannot, and carried on behind the writer, who does no more than say how far the journal
//! reaches.

use std::io;
use std::sync::Arc;

use super::file::{self, Origin};
use super::making::Current;
use super::rows::{Block, CARRIED, DeedRow, EventRow, FILTERED, QUARANTINED, What};
use super::states::{Members, States, TooMany};
use super::{Catalogue, Segment, Shown};
use crate::event::Sequence;
use crate::store::core::Core;
use crate::store::journal::frame::HEADER_LEN;
use crate::store::journal::record::decode_event_summary;
use crate::store::journal::segment::{Place, SegmentHeader};

/// How far the journal's newest segment reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Its number.
    pub segment: u32,
    /// Where its frames begin, behind its checkpoint.
    pub from: u32,
    /// Where what has been written ends.
    pub upto: u32,
}

/// Why the catalogue cannot be carried on.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error("the store is closing")]
    Closing,
}

/// Who carries it on: one at a time.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// Whether what was there at the start is in it.
    loaded: bool,
    /// The last segment that is complete.
    done: u32,
    current: Option<Current>,
}

impl Catalogue {
    pub(super) fn origin(&self, header: &SegmentHeader) -> Origin {
        Origin::of(header, self.names.digests().mark())
    }

    /// Stops what can go on at the next start.
    fn go_on(&self) -> Result<(), KeepError> {
        if self.ends.lock().closing { Err(KeepError::Closing) } else { Ok(()) }
    }

    /// Takes in what was there when the store was opened, if that is still to be done. Takes time in
    /// proportion to the journal where the catalogue cannot be believed.
    pub(super) fn load(&self, core: &Core) -> Result<(), KeepError> {
        let mut keeping = self.keeping.lock();
        if keeping.loaded {
            return Ok(());
        }
        *keeping = Keeping::default();
        *self.shown.write() = Shown::default();
        core.files.disk().create_dir(&self.dir)?;
        self.remove_strays(core)?;
        let mut segments = Vec::new();
        // The head may be ended, and segments may go, while this reads. Copies of what was unsettled in one
        // that has gone unread stand before the end that is looked at after it.
        let mut head = self.head();
        loop {
            let complete = head.map_or(self.found, |head| head.segment.saturating_sub(1));
            while let Some((header, next)) = next_segment(core, keeping.done, complete) {
                self.go_on()?;
                match self.believed_or_made(core, &header, next)? {
                    Some(segment) => segments.push(Arc::new(segment)),
                    None => self.remove(core, header.number)?,
                }
                keeping.done = header.number;
                let mut shown = self.shown.write();
                (shown.done, shown.all) = (shown.done + 1, core.segments.lock().len());
            }
            let was = std::mem::replace(&mut head, self.head());
            if was.map(|head| head.segment) == head.map(|head| head.segment) {
                break;
            }
        }
        if let Some(head) = head
            && let Some((header, _)) = next_segment(core, keeping.done, head.segment)
        {
            let mut current = Current::begin(core, header, head.from)?;
            current.read(core, Some(head.upto), |_, _, _| self.go_on())?;
            segments.push(Arc::new(current.segment()));
            keeping.current = Some(current);
        }
        // An empty segment may have gone in between.
        self.remove_strays(core)?;
        let states = self.states_of(core, &segments)?;
        keeping.loaded = true;
        let mut shown = self.shown.write();
        *shown = Shown { ready: true, segments, states: Arc::new(states), ..*shown };
        Ok(())
    }

    /// The segment's rows, if there is such a segment still.
    fn believed_or_made(
        &self,
        core: &Core,
        header: &SegmentHeader,
        next: Option<Sequence>,
    ) -> Result<Option<Segment>, KeepError> {
        let len = match core.files.file(header.number).and_then(|file| file.size()) {
            Ok(len) => len,
            Err(error) if core.is_gone(header.number, &error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // No frame behind the segment is in it.
        let most = header.first.0.saturating_add(len / HEADER_LEN as u64 + 1);
        if let Some(segment) = self.believed(core, header, len, next.map_or(most, |next| next.0))? {
            return Ok(Some(segment));
        }
        tracing::info!(target: "hookward::store", segment = header.number, "the catalogue of a segment is made again");
        let mut current = Current::begin(core, *header, 0)?;
        current.read(core, None, |_, _, _| self.go_on())?;
        let segment = current.segment();
        current.finish(len)?;
        Ok(Some(segment))
    }

    fn believed(
        &self,
        core: &Core,
        header: &SegmentHeader,
        len: u64,
        after: u64,
    ) -> io::Result<Option<Segment>> {
        let (disk, origin) = (&**core.files.disk(), self.origin(header));
        let mut before = 0;
        let events = file::read(disk, &self.dir, &origin, len, |row: &EventRow| {
            let ascends = row.is(CARRIED) || std::mem::replace(&mut before, row.event) < row.event;
            ascends && row.event < after
        })?;
        let Some(events) = events else { return Ok(None) };
        let is_sound = |row: &DeedRow| row.event < after;
        let deeds = file::read(disk, &self.dir, &origin, len, is_sound)?;
        Ok(deeds.map(|deeds| Segment { number: header.number, events, deeds }))
    }

    /// What became of all events: first which there are, then what was done. Attempts at a copy may
    /// stand in front of it.
    fn states_of(&self, core: &Core, segments: &[Arc<Segment>]) -> Result<States, KeepError> {
        let mut states = States::default();
        let mut copies = Members::default();
        for segment in segments {
            self.go_on()?;
            segment.each(
                core,
                |_| true,
                |row: EventRow| {
                    if row.is(CARRIED) {
                        copies.insert(row.event);
                    }
                    if !row.is(QUARANTINED) && !row.is(FILTERED) {
                        states.stored(row.event, &self.recipients(core, segment.number, &row)?)?;
                    }
                    Ok(())
                },
            )?;
        }
        for segment in segments {
            self.go_on()?;
            segment.each(core, |_| true, |row: DeedRow| Ok(states.done(&row)?))?;
        }
        // Of events that are gone only attempts are left.
        states.forget_before(first_event(segments), &copies);
        Ok(states)
    }

    /// The digests of the upstreams that the event of this row goes to. None if its frame cannot be
    /// read, now or for minutes already, in which case nobody is shown it.
    pub(super) fn recipients(
        &self,
        core: &Core,
        segment: u32,
        row: &EventRow,
    ) -> io::Result<Arc<[u64]>> {
        if let Some(recipients) = self.names.recipients_of(row.recipients) {
            return Ok(recipients);
        }
        let place = Place { segment, offset: row.offset };
        match core.files.event(place) {
            Ok((_, payload)) => {
                core.patience.given(place);
                let summary = decode_event_summary(&payload);
                let of = |head: crate::store::journal::record::EventHead<'_>| {
                    self.names.recipients(head.targets()).1
                };
                Ok(summary.map_or_else(Arc::default, |summary| of(summary.head)))
            }
            Err(error) if core.is_withheld(place, &error) => Ok(Arc::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes in what has been written since, if what was there has been taken in. Whether the catalogue
    /// is as it should be.
    pub(super) fn catch_up(&self, core: &Core, keeping: &mut Keeping) -> bool {
        if !keeping.loaded {
            return false;
        }
        // First which segments there are, then how far the journal reaches: copies of what was unsettled
        // in those that are gone by now are taken in before these are let go of.
        let known: Vec<u32> = core.segments.lock().iter().map(|s| s.header.number).collect();
        let head = {
            let mut ends = self.ends.lock();
            ends.news = false;
            ends.head
        };
        let followed = self.follow(core, keeping, head);
        let kept = followed.and_then(|()| self.forget(core, &known));
        if let Err(error) = &kept {
            self.give_up(keeping, error);
        }
        kept.is_ok()
    }

    /// The files cannot be read: they are made again.
    pub(super) fn spoil(&self, error: &io::Error) {
        let mut keeping = self.keeping.lock();
        self.give_up(&mut keeping, error);
        drop(keeping);
        self.wake();
    }

    /// It is begun again by the thread that keeps it.
    fn give_up(&self, keeping: &mut Keeping, error: &dyn std::fmt::Display) {
        *keeping = Keeping::default();
        *self.shown.write() = Shown::default();
        tracing::warn!(target: "hookward::store", %error, "the catalogue of events cannot be kept as it is; it is made again");
    }

    fn follow(
        &self,
        core: &Core,
        keeping: &mut Keeping,
        head: Option<End>,
    ) -> Result<(), KeepError> {
        let Some(head) = head else { return Ok(()) };
        loop {
            let mut current = match keeping.current.take() {
                Some(current) => current,
                None => {
                    let next = next_segment(core, keeping.done, head.segment);
                    let Some((header, _)) = next else { return Ok(()) };
                    let is_head = header.number == head.segment;
                    Current::begin(core, header, if is_head { head.from } else { 0 })?
                }
            };
            let number = current.header.number;
            let upto = (number == head.segment).then_some(head.upto);
            match current.read(core, upto, |current, events, deeds| {
                self.show(core, current.segment(), &events, &deeds)
            }) {
                // Retention was faster.
                Err(KeepError::Io(error)) if core.is_gone(number, &error) => {
                    keeping.done = number;
                    self.remove(core, number)?;
                    continue;
                }
                read => read?,
            }
            if upto.is_some() {
                keeping.current = Some(current);
                return Ok(());
            }
            // One without a row is to be let go of as well some day.
            self.show(core, current.segment(), &[], &[])?;
            let len = u64::from(current.offset);
            let whole = core.files.file(number).and_then(|file| file.size());
            current.finish(whole.unwrap_or(len))?;
            keeping.done = number;
        }
    }

    /// Shows the segment as it is by now, with rows that are new.
    fn show(
        &self,
        core: &Core,
        segment: Segment,
        events: &[EventRow],
        deeds: &[DeedRow],
    ) -> Result<(), KeepError> {
        let mut fresh = Vec::with_capacity(events.len());
        for row in events.iter().filter(|row| row.flags == 0) {
            fresh.push((row.event, self.recipients(core, segment.number, row)?));
        }
        let segment = Arc::new(segment);
        let mut shown = self.shown.write();
        match shown.segments.last_mut().filter(|last| last.number == segment.number) {
            Some(last) => *last = segment,
            None => shown.segments.push(segment),
        }
        for (event, recipients) in fresh {
            Arc::make_mut(&mut shown.states).stored(event, &recipients)?;
        }
        for row in deeds {
            Arc::make_mut(&mut shown.states).done(row)?;
        }
        Ok(())
    }

    /// Lets go of segments that are no more: that are not among the known ones, nor newer.
    fn forget(&self, core: &Core, known: &[u32]) -> Result<(), KeepError> {
        let newest = known.last().copied();
        let is_known = |segment: &Arc<Segment>| {
            known.contains(&segment.number) || Some(segment.number) > newest
        };
        let (left, gone): (Vec<_>, Vec<_>) =
            self.shown.read().segments.iter().cloned().partition(is_known);
        if gone.is_empty() {
            return Ok(());
        }
        let copies = self.copies(core, &left)?;
        {
            let mut shown = self.shown.write();
            shown.segments.retain(is_known);
            Arc::make_mut(&mut shown.states).forget_before(first_event(&left), &copies);
        }
        for segment in gone {
            self.remove(core, segment.number)?;
        }
        Ok(())
    }

    /// Events of which there are copies.
    fn copies(&self, core: &Core, segments: &[Arc<Segment>]) -> Result<Members, KeepError> {
        let mut copies = Members::default();
        for segment in segments {
            let has_some = |block: &Block| block.flags & CARRIED != 0;
            segment.each(core, has_some, |row: EventRow| {
                if row.is(CARRIED) {
                    copies.insert(row.event);
                }
                Ok(())
            })?;
        }
        Ok(copies)
    }

    fn remove(&self, core: &Core, number: u32) -> io::Result<()> {
        for what in [What::Events, What::Deeds] {
            file::remove(&**core.files.disk(), &file::path(&self.dir, number, what))?;
        }
        Ok(())
    }

    /// Removes files of segments that are no more, and of digests that are made with another key: from
    /// before the encryption, anyone could compute them.
    fn remove_strays(&self, core: &Core) -> io::Result<()> {
        let disk = core.files.disk();
        let known: Vec<u32> = core.segments.lock().iter().map(|s| s.header.number).collect();
        let mark = self.names.digests().mark();
        for name in disk.list(&self.dir)? {
            let Some(number) = file::number_of(&name) else { continue };
            let path = self.dir.join(&name);
            let is_known = known.contains(&number);
            let is_ours = disk.open(&path).is_ok_and(|file| file::mark_of(&*file) == Some(mark));
            if !is_known || !is_ours {
                file::remove(&**disk, &path)?;
            }
        }
        Ok(())
    }

    /// Takes in the rest. If all of the journal is known to be good, the newest segment's files may be
    /// believed at the next start.
    pub(super) fn finish(&self, core: &Core, clean: bool) {
        let mut keeping = self.keeping.lock();
        self.catch_up(core, &mut keeping);
        let Some(current) = keeping.current.take().filter(|_| clean) else { return };
        let len = u64::from(current.offset);
        let finished = core.files.file(current.header.number).and_then(|file| {
            // Anything behind is of a write that failed.
            if file.size()? == len { current.finish(len) } else { Ok(()) }
        });
        if let Err(error) = finished {
            tracing::warn!(target: "hookward::store", %error, "the catalogue of the newest segment is made again at the next start");
        }
        keeping.loaded = false;
    }
}

/// The number of the first event that stands in one of these segments where it was stored first.
pub(super) fn first_event(segments: &[Arc<Segment>]) -> u64 {
    let blocks = segments.iter().flat_map(|segment| &segment.events.blocks);
    blocks.map(|block| block.numbers.0).min().unwrap_or(u64::MAX)
}

/// The segment behind this one, up to a last one; and the number of the first frame behind it.
fn next_segment(core: &Core, done: u32, last: u32) -> Option<(SegmentHeader, Option<Sequence>)> {
    let segments = core.segments.lock();
    let at = segments.iter().position(|segment| segment.header.number > done)?;
    let header = segments.get(at)?.header;
    let next = segments.get(at + 1).map(|next| next.header.first);
    (header.number <= last).then_some((header, next))
}
