//! How many dead letters an upstream has, by the segment that their events stand in: when retention
//! lets a segment go, its dead letters go with it.

use std::collections::BTreeMap;

/// A count for each segment that has any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetters(pub BTreeMap<u32, u64>);

impl DeadLetters {
    /// One more, whose event stands in this segment.
    pub fn add(&mut self, segment: u32) {
        self.add_all(segment, 1);
    }

    /// So many more.
    pub fn add_all(&mut self, segment: u32, count: u64) {
        if count > 0 {
            *self.0.entry(segment).or_default() += count;
        }
    }

    /// Whether any is counted under this segment.
    pub fn has(&self, segment: u32) -> bool {
        self.0.contains_key(&segment)
    }

    /// One less that was counted under this segment: somebody takes it up again, or drops it.
    pub fn remove(&mut self, segment: u32) {
        if let Some(count) = self.0.get_mut(&segment) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(&segment);
            }
        }
    }

    /// The segments before this one are gone.
    pub fn forget_before(&mut self, segment: u32) {
        self.0 = self.0.split_off(&segment);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_go_with_their_segments() {
        let mut dead = DeadLetters::default();
        for segment in [1, 2, 2, 4] {
            dead.add(segment);
        }
        assert_eq!(dead.count(), 4);
        dead.forget_before(2);
        assert_eq!(dead.count(), 3);
        dead.forget_before(3);
        assert_eq!(dead.count(), 1);
        for segment in [7, 4, 4] {
            dead.remove(segment);
            assert_eq!((dead.count(), dead.has(4)), (u64::from(segment == 7), segment == 7));
        }
    }
}
