//! What a segment's name and header say, against what is in front of it.

use serde_json::Value;

use super::super::bytes::{Frame, Kind, SEGMENT_HEADER, SegmentHeader};
use super::super::open::checkpoint;
use super::super::{filter, resume};
use super::Walk;

impl Walk<'_> {
    /// Whether there is a segment of each number between the one before and this one.
    pub(super) fn numbers(&mut self, previous: u32, header: Option<SegmentHeader>) {
        let (from, to) = (previous.saturating_add(1), self.number.saturating_sub(1));
        if self.first.is_none() || from > to {
            return;
        }
        // Each segment of a trail has at least the record that it begins with.
        if header.is_some_and(|header| header.follows == self.before) {
            let which = if from == to {
                format!("is no segment {from}")
            } else {
                format!("are no segments {from} to {to}")
            };
            self.report.notes.push(format!(
                "there {which}, and no record is missing for it: what was called so was none of this trail"
            ));
        } else {
            let which = if from == to {
                format!("segment {from} is")
            } else {
                format!("segments {from} to {to} are")
            };
            self.broken("deleted", 0, format!("{which} missing"));
        }
    }

    /// A segment's header. `next`: the record behind it.
    pub(super) fn header(&mut self, header: SegmentHeader, next: Option<&Frame<'_>>) {
        self.opened_at = Some(header.created_at);
        self.follows.insert(self.number, header.follows);
        if header.number != self.number {
            let said = header.number;
            self.broken("reordered", 0, format!("the segment says that it is number {said}"));
        }
        let trail = *self.trail.get_or_insert(header.trail);
        self.report.trail = format!("{trail:016x}");
        if header.trail != trail {
            self.broken("inserted", 0, "the segment is another trail's");
        }
        if self.first.is_none() {
            self.first = Some((self.number, Some(header.follows)));
            self.before = header.follows;
            return;
        }
        let (follows, before) = (header.follows, self.before);
        if follows.sequence > before.sequence {
            let (from, to) = (before.sequence.0 + 1, follows.sequence.0);
            self.broken(
                "deleted",
                0,
                format!("records {from} to {to} are missing before this segment"),
            );
        } else if follows != before && next.is_some_and(|next| next.follows(before.link)) {
            self.broken("edited", 0, "the segment's header is not what was written");
            return;
        } else if follows.sequence < before.sequence {
            let from = follows.sequence.0 + 1;
            let message = "records were added at the end of the segment before";
            self.broken_at("inserted", 0, from, message);
        } else if follows != before {
            let (from, to) = (self.first_unvouched(), before.sequence.0);
            let message = format!(
                "records {from} to {to} are not those that the segment follows: at least one was replaced"
            );
            self.broken_at("edited", 0, from, message);
        }
        if follows != before {
            // What the start has signed are others than those that are here.
            self.loose = None;
        }
        self.before = follows;
    }

    /// The header of the segment as the checkpoint that opens it has it, if `first` is that and is signed.
    pub(super) fn signed_header(&self, first: &Frame<'_>) -> Option<SegmentHeader> {
        let opening = checkpoint(first).filter(|_| first.offset == SEGMENT_HEADER)?;
        let follows = opening.position().filter(|about| first.is_behind(*about))?;
        let fits = opening.opens == u64::from(self.number) && opening.is_signed_by(self.key);
        let created_at = resume::time(&opening.time).filter(|_| fits)?;
        Some(SegmentHeader { number: self.number, trail: opening.trail()?, created_at, follows })
    }

    /// The segment has no header that is whole. `frames`: what it has.
    pub(super) fn damaged_header(&mut self, frames: &[Frame<'_>]) {
        let is_record =
            |frame: &&Frame<'_>| matches!(frame.kind, Some(Kind::Record | Kind::Shortened));
        let first = match frames.iter().find(is_record) {
            Some(frame) => format!("its first record is number {}{}", frame.sequence.0, id(frame)),
            None => "there is no record in it".to_owned(),
        };
        self.broken("edited", 0, format!(
            "the segment's opening is damaged: its header is not what was written, and no checkpoint vouches for anything in it; {first}"
        ));
    }

    /// The first record behind the last checkpoint that vouches.
    pub(super) fn first_unvouched(&self) -> u64 {
        self.report.vouched.as_ref().map_or(1, |vouched| vouched.sequence + 1)
    }
}

/// The id of a record, where it is one that could be looked for.
fn id(frame: &Frame<'_>) -> String {
    let record: Option<Value> = serde_json::from_slice(frame.body).ok();
    let id = record.as_ref().and_then(|record| filter::id(record.get("id")?.as_str()?).ok());
    id.map_or_else(String::new, |id| format!(", {id}"))
}
