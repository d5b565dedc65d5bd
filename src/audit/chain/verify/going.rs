//! Segments that the trail has let go of: what its records say, and whether that is all that is missing in front.

use serde_json::Value;

use super::super::bytes::{Frame, Link, Position};
use super::{Break, Walk};
use crate::event::Sequence;

/// The segments that went, as a record says.
pub(in super::super) struct LettingGo {
    pub(in super::super) through: u32,
    /// The position behind them.
    pub(in super::super) behind: Position,
    /// Those of them that were not what was written, as far as they are named.
    damaged: Vec<u32>,
    /// How many these were.
    count: u64,
}

impl LettingGo {
    /// What the record says that this frame is.
    pub(in super::super) fn read(frame: &Frame<'_>) -> Option<Self> {
        let record: Value = serde_json::from_slice(frame.body).ok()?;
        let details = record.get("details")?;
        let through = u32::try_from(details.get("segment")?.as_u64()?).ok()?;
        let sequence = Sequence(details.get("sequence")?.as_u64()?);
        let link = Link::parse(details.get("hash")?.as_str()?)?;
        let damaged = details.get("damaged").and_then(Value::as_array);
        let damaged = damaged.into_iter().flatten().filter_map(Value::as_u64);
        let damaged: Vec<u32> = damaged.filter_map(|number| u32::try_from(number).ok()).collect();
        let count = details.get("damaged_count").and_then(Value::as_u64);
        let count = count.unwrap_or(0).max(damaged.len() as u64);
        Some(Self { through, behind: Position { sequence, link }, damaged, count })
    }

    /// What there is to say of those that nobody can verify any more, unless they were archived.
    pub(super) fn of_damaged(&self) -> Option<String> {
        let first = self.damaged.first()?;
        let others = match self.count - 1 {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        Some(format!(
            "segment {first}{others} went by audit.max_size although not what was written: what was in it, nobody has vouched for (trail_shortened through segment {})",
            self.through
        ))
    }
}

impl Walk<'_> {
    /// What is missing at the beginning must have been let go of by the gateway itself.
    pub(super) fn check_beginning(&mut self) {
        // Of a key that has signed nothing here, no record has let go of anything either.
        let Some((number, Some(follows))) = self.first.filter(|_| !self.other_key) else { return };
        // It has another number than 1 where a start has found files that were none of its own.
        if follows == Position::START {
            return;
        }
        // Where some of them could not be removed, the first that was to stay tells.
        let goes = self.shortened.as_ref().is_some_and(|went| {
            let stays = self.follows.range(went.through.saturating_add(1)..).next();
            stays.is_some_and(|(stays, follows)| number <= *stays && *follows == went.behind)
        });
        if !goes {
            self.number = number;
            let until = follows.sequence.0;
            self.report.add_first(Break {
                kind: "deleted",
                segment: number,
                offset: 0,
                sequence: 1,
                message: format!(
                    "the trail begins behind record {until}, and no record says that what was before went for its age or size"
                ),
            });
        }
    }
}
