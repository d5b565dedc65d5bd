//! The rows of one segment, being made: from the journal's own frames, from where it has come to, so that
//! nothing can be missed and there is one way only to make a row.

use std::io;

use super::Segment;
use super::file::RowFile;
use super::keep::KeepError;
use super::names::Names;
use super::rows::{CARRIED, Deed, DeedRow, EventRow, FILTERED, QUARANTINED};
use crate::event::Sequence;
use crate::store::Verdict;
use crate::store::core::Core;
use crate::store::journal::act::decode_act;
use crate::store::journal::frame::Kind;
use crate::store::journal::record::{decode_attempt, decode_event_summary, event_in_slice};
use crate::store::journal::segment::{Frame, Place, Scanned, SegmentHeader};
use crate::store::query::ActKind;

/// The segment that rows are being made of.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) header: SegmentHeader,
    /// Where the next frame is looked for.
    pub(super) offset: u32,
    last: Sequence,
    /// Whether the disk would not give some of it.
    unread: bool,
    events: RowFile<EventRow>,
    deeds: RowFile<DeedRow>,
}

impl Current {
    pub(super) fn begin(core: &Core, header: SegmentHeader, offset: u32) -> io::Result<Self> {
        let (catalogue, disk) = (&core.catalogue, &**core.files.disk());
        let origin = catalogue.origin(&header);
        let (last, unread) = (Sequence(0), false);
        let events = RowFile::begin(disk, &catalogue.dir, &origin)?;
        let deeds = RowFile::begin(disk, &catalogue.dir, &origin)?;
        Ok(Self { header, offset, last, unread, events, deeds })
    }

    /// Makes rows of the frames up to `upto`, or the segment's end, and shows them to `each` some at a
    /// time, when they are in their files. None where the disk has not given what stands in front of the
    /// frames for minutes: nothing else must wait for it.
    pub(super) fn read(
        &mut self,
        core: &Core,
        upto: Option<u32>,
        mut each: impl FnMut(&Self, Vec<EventRow>, Vec<DeedRow>) -> Result<(), KeepError>,
    ) -> Result<(), KeepError> {
        let number = self.header.number;
        let front = Place { segment: number, offset: 0 };
        let mut scanner = match core.files.scan(number, self.offset, self.last) {
            Ok(scanner) => {
                core.patience.given(front);
                scanner
            }
            Err(error) if core.is_withheld(front, &error) => {
                tracing::warn!(target: "hookward::store", segment = number, %error, "what stands in the segment is not in the catalogue of events, until a start can read it");
                self.unread = true;
                return Ok(());
            }
            Err(error) => return Err(io::Error::from(error).into()),
        };
        let names = &core.catalogue.names;
        while upto.is_none_or(|upto| scanner.offset() < upto) {
            match scanner.step()? {
                None => break,
                Some(Scanned::Gap(_)) => self.unread |= scanner.has_unread(),
                Some(Scanned::Frame(frame)) => {
                    self.last = frame.header.sequence;
                    self.add(names, &frame);
                    self.offset = scanner.offset();
                }
            }
            if self.events.is_full() || self.deeds.is_full() {
                self.flush(&mut each)?;
            }
        }
        self.flush(&mut each)
    }

    fn flush(
        &mut self,
        each: &mut impl FnMut(&Self, Vec<EventRow>, Vec<DeedRow>) -> Result<(), KeepError>,
    ) -> Result<(), KeepError> {
        let (events, deeds) = (self.events.flush()?, self.deeds.flush()?);
        if events.is_empty() && deeds.is_empty() { Ok(()) } else { each(self, events, deeds) }
    }

    /// What is not understood is no event that anyone could be shown.
    fn add(&mut self, names: &Names, frame: &Frame<'_>) {
        match frame.header.kind {
            Kind::Event | Kind::Carried => {
                if let Some(row) = event_row(names, frame) {
                    self.events.add(row);
                }
            }
            Kind::Attempt => {
                if let Some(record) = decode_attempt(frame.payload) {
                    let deed = match record.attempt.verdict {
                        Verdict::Delivered => Deed::Delivered,
                        Verdict::RetryAt(_) => Deed::Retried,
                        Verdict::Dead => Deed::Died,
                    };
                    let (event, upstream) = (record.event.0, names.upstream(record.upstream));
                    let (offset, deed) = (frame.offset, Some(deed));
                    self.deeds.add(DeedRow { event, upstream, offset, deed });
                }
            }
            Kind::Act => self.add_act(names, frame),
            Kind::Lane | Kind::CheckpointEnd | Kind::Presence => {}
        }
    }

    fn add_act(&mut self, names: &Names, frame: &Frame<'_>) {
        let Some(record) = decode_act(frame.payload) else { return };
        let deed = Some(match record.what {
            ActKind::Replayed => Deed::Replayed,
            ActKind::Released => Deed::Released,
            ActKind::Discarded => Deed::Discarded,
        });
        let (event, offset) = (record.event.0, frame.offset);
        if record.upstreams.is_empty() {
            self.deeds.add(DeedRow { event, upstream: 0, offset, deed });
        }
        for upstream in &record.upstreams {
            let upstream = names.upstream(upstream.name);
            self.deeds.add(DeedRow { event, upstream, offset, deed });
        }
    }

    pub(super) fn segment(&self) -> Segment {
        Segment {
            number: self.header.number,
            events: self.events.table().clone(),
            deeds: self.deeds.table().clone(),
        }
    }

    /// There will be no more rows. If all of the segment was read, the files may be believed at the next
    /// start.
    pub(super) fn finish(self, segment_len: u64) -> io::Result<()> {
        if !self.unread {
            self.events.finish(segment_len)?;
            self.deeds.finish(segment_len)?;
        }
        Ok(())
    }
}

fn event_row(names: &Names, frame: &Frame<'_>) -> Option<EventRow> {
    let (event, payload) = event_in_slice(&frame.header, frame.payload)?;
    let summary = decode_event_summary(payload)?;
    let head = summary.head;
    let (recipients, each) = names.recipients(head.targets());
    let flags = [
        (QUARANTINED, head.quarantined),
        (FILTERED, each.is_empty()),
        (CARRIED, frame.header.kind == Kind::Carried),
    ];
    Some(EventRow {
        event: event.0,
        received_at: head.received_at.0,
        kind: names.kind(summary.provider_type),
        recipients,
        source: names.source(head.source),
        subject: names.subject(head.subject),
        id: names.id(summary.id),
        offset: frame.offset,
        flags: flags.into_iter().filter(|(_, is)| *is).map(|(flag, _)| flag).sum(),
    })
}
