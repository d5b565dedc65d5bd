//! What a verification comes to.

use std::fmt;

use serde::Serialize;

use super::taken_over::TakenOver;

/// The most breaks that are listed, and ranges of records that starts have taken over; all are counted.
const LISTED: usize = 100;

/// What a verification has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether the trail is what was written, as far as checkpoints vouch for it.
    pub sound: bool,
    /// The trail's number.
    pub trail: String,
    /// Files of it.
    pub segments: u64,
    /// Records, without checkpoints.
    pub records: u64,
    /// The number of the first record or checkpoint that is there.
    #[serde(rename = "first_sequence")]
    pub first: Option<u64>,
    /// The number of the last.
    #[serde(rename = "last_sequence")]
    pub last: Option<u64>,
    /// Checkpoints among them.
    pub checkpoints: u64,
    /// The last checkpoint before anything is wrong: up to its record all is vouched for.
    pub vouched: Option<Vouched>,
    /// Records behind that.
    pub unvouched: u64,
    /// How many ranges of records only a later start vouches for.
    pub taken_over: u64,
    /// Which, the oldest first; as many of those that are unusual, and of the others.
    pub taken_over_ranges: Vec<TakenOver>,
    /// How the trail ends.
    pub end: End,
    /// How much is wrong.
    pub breaks: u64,
    /// How many of these are segments that were passed over: they take nothing from what is vouched for.
    #[serde(skip)]
    pub(super) foreign: u64,
    /// What is, the first of them first.
    pub items: Vec<Break>,
    /// What is worth knowing, and not wrong.
    pub notes: Vec<String>,
}

/// A checkpoint that vouches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vouched {
    /// The record that it is about.
    pub sequence: u64,
    /// When it was signed.
    pub time: String,
}

/// How a trail ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum End {
    /// With the checkpoint of a stop.
    Stopped,
    /// Without: the gateway runs, was killed, or somebody has cut it off behind a checkpoint.
    #[default]
    Open,
    /// The same, with bytes behind it that are no whole record.
    Torn {
        /// How many.
        bytes: u64,
    },
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Break {
    /// `edited`, `deleted`, `reordered`, `inserted`, `cut_off` or `damaged`; of a checkpoint that was kept elsewhere
    /// also `other_key`.
    pub kind: &'static str,
    /// The segment in which it is seen; 0: in none, but by a checkpoint that was kept elsewhere.
    pub segment: u32,
    /// Where in it.
    pub offset: u64,
    /// The first record that it is about.
    pub sequence: u64,
    /// In words.
    pub message: String,
}

impl Report {
    pub(super) fn add(&mut self, found: Break) {
        self.breaks += 1;
        if self.items.len() < LISTED {
            self.items.push(found);
        }
    }

    /// A start has signed records that it found.
    pub(super) fn add_taken_over(&mut self, range: TakenOver) {
        self.taken_over += 1;
        let alike = self.taken_over_ranges.iter().filter(|other| other.unusual == range.unusual);
        if alike.count() < LISTED {
            self.taken_over_ranges.push(range);
        }
    }

    /// Something that is wrong before all else.
    pub(super) fn add_first(&mut self, found: Break) {
        self.breaks += 1;
        self.items.insert(0, found);
    }

    /// A checkpoint vouches for what is up to this record, if nothing is wrong there.
    pub(super) fn vouch(&mut self, sequence: u64, time: &str) {
        if self.breaks == self.foreign {
            self.vouched = Some(Vouched { sequence, time: time.to_owned() });
        }
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, segment, offset, sequence, message } = self;
        let kind = kind.replace('_', " ");
        match segment {
            0 => write!(f, "{kind}: record {sequence}: {message}"),
            _ => write!(
                f,
                "{kind}: record {sequence}, segment {segment}, offset {offset}: {message}"
            ),
        }
    }
}
