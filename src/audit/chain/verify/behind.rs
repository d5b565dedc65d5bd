//! The frames of a segment by their numbers, so that looking behind one of them takes no walk through all.

use std::collections::HashMap;

use super::super::bytes::Frame;

/// Frames of one number that are looked at: of more than these somebody has copied them.
const COPIES: usize = 4;

/// Where the frames of each number stand, ascending.
pub(super) struct Places(HashMap<u64, Vec<usize>>);

impl Places {
    pub(super) fn of(frames: &[Frame<'_>]) -> Self {
        let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
        for (index, frame) in frames.iter().enumerate() {
            places.entry(frame.sequence.0).or_default().push(index);
        }
        Self(places)
    }
}

/// The frames of a segment behind one of them.
pub(super) struct Behind<'s> {
    pub(super) frames: &'s [Frame<'s>],
    pub(super) places: &'s Places,
    pub(super) from: usize,
}

impl Behind<'_> {
    /// Those of this number, the next ones first.
    pub(super) fn with(&self, sequence: u64) -> impl Iterator<Item = &Frame<'_>> {
        let places = self.places.0.get(&sequence).map(Vec::as_slice).unwrap_or_default();
        let next = places.partition_point(|index| *index < self.from);
        places.iter().skip(next).take(COPIES).filter_map(|index| self.frames.get(*index))
    }
}
