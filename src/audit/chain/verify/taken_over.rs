//! Records that stood behind the last checkpoint when a crash came: who signed them is the start after it, as it
//! found them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::bytes::{Frame, Kind};
use super::super::checkpoint::Checkpoint;
use super::super::resume;
use crate::clock::UnixMillis;

/// What a gateway that runs leaves unsigned: it signs each minute.
const USUAL: Duration = Duration::from_secs(120);
/// A record may have waited so long to be written, or a clock have been set by so much.
const SLACK: Duration = Duration::from_secs(60);

/// Records that only the start behind them vouches for: it has signed what it found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TakenOver {
    /// The first one's number.
    pub first_sequence: u64,
    /// The last one's.
    pub last_sequence: u64,
    /// How many they are.
    pub records: u64,
    /// The earliest time among them; `None`: they are all operators' acts, which may be older than their record.
    pub first_time: Option<String>,
    /// The latest.
    pub last_time: Option<String>,
    /// The segment that the start has begun.
    pub segment: u32,
    /// When it has signed them.
    pub signed: String,
    /// Whether their times are further from each other, or from the signatures around them, than a gateway that
    /// runs leaves: it signs each minute.
    pub unusual: bool,
}

/// Records behind the last checkpoint of a segment.
pub(super) struct Loose {
    first: u64,
    last: u64,
    records: u64,
    times: Option<(UnixMillis, UnixMillis)>,
    /// When the checkpoint in front of them was signed.
    before: Option<UnixMillis>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    time: String,
    /// Of an operator's act, which has its own time.
    acts: Option<u64>,
}

impl Loose {
    /// Those among these frames that are behind the checkpoint with this number.
    pub(super) fn behind(frames: &[Frame<'_>], (checkpoint, signed): (u64, &str)) -> Option<Self> {
        let is_record = |frame: &&Frame<'_>| {
            frame.sequence.0 > checkpoint && frame.kind != Some(Kind::Checkpoint)
        };
        let mut loose: Option<Self> = None;
        for frame in frames.iter().filter(is_record) {
            let number = frame.sequence.0;
            let loose = loose.get_or_insert_with(|| Self {
                first: number,
                last: number,
                records: 0,
                times: None,
                before: resume::time(signed),
            });
            (loose.first, loose.last) = (loose.first.min(number), loose.last.max(number));
            loose.records += 1;
            let said: Said = serde_json::from_slice(frame.body).unwrap_or_default();
            if let Some(time) = resume::time(&said.time).filter(|_| said.acts.is_none()) {
                let (from, to) = loose.times.unwrap_or((time, time));
                loose.times = Some((from.min(time), to.max(time)));
            }
        }
        loose
    }

    /// They are vouched for by what opens segment `segment`, if by anything.
    pub(super) fn taken_over(self, opening: &Checkpoint, segment: u32) -> Option<TakenOver> {
        if opening.opens == 0 || opening.sequence < self.last {
            return None;
        }
        let signed = resume::time(&opening.time);
        let unusual = self.times.is_some_and(|(from, to)| {
            to.since(from) > USUAL
                || self.before.is_some_and(|before| before.since(from) > SLACK)
                || signed.is_some_and(|signed| to.since(signed) > SLACK)
        });
        Some(TakenOver {
            first_sequence: self.first,
            last_sequence: self.last,
            records: self.records,
            first_time: self.times.map(|(from, _)| from.to_string()),
            last_time: self.times.map(|(_, to)| to.to_string()),
            segment,
            signed: opening.time.clone(),
            unusual,
        })
    }
}
