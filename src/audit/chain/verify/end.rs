//! Checkpoints that were kept elsewhere: what of them the trail still has.

use std::collections::BTreeMap;

use super::super::bytes::Position;
use super::super::checkpoint::Checkpoint;
use super::super::keys::PublicKey;

/// Those that the walk has not met yet, by the record that each is about.
pub(super) struct Kept<'a>(BTreeMap<u64, Vec<&'a Checkpoint>>);

/// Kept checkpoints that the trail has not met.
#[derive(Default)]
pub(super) struct Rest {
    /// The record that each is about, what is wrong, and words.
    pub(super) wrong: Vec<(u64, &'static str, String)>,
    /// How many are about what went before the first record that is left.
    pub(super) older: usize,
}

impl<'a> Kept<'a> {
    pub(super) fn new(kept: &'a [Checkpoint]) -> Self {
        let mut by_record: BTreeMap<u64, Vec<&Checkpoint>> = BTreeMap::new();
        for checkpoint in kept {
            by_record.entry(checkpoint.sequence).or_default().push(checkpoint);
        }
        Self(by_record)
    }

    /// The walk is at this record. If one is about it: when that was signed, and whether the record is the
    /// one that was meant. One that this key has not signed is left for the end.
    pub(super) fn meets(&mut self, at: Position, key: &PublicKey) -> Option<(String, bool)> {
        let about = self.0.get_mut(&at.sequence.0)?;
        let signed = about.iter().filter(|checkpoint| checkpoint.is_signed_by(key));
        let met = signed.map(|found| (found.time.clone(), found.position() == Some(at)));
        let met = met.min_by_key(|(_, good)| *good);
        about.retain(|checkpoint| !checkpoint.is_signed_by(key));
        met
    }

    /// Those of other keys: of each key once, however many were kept.
    fn of_other_keys(&self, key: &PublicKey) -> Vec<(u64, &'static str, String)> {
        let ours = key.id();
        let mut others: BTreeMap<&str, (&Checkpoint, u64)> = BTreeMap::new();
        for checkpoint in self.0.values().flatten().filter(|kept| kept.key != ours) {
            others.entry(&checkpoint.key).or_insert((checkpoint, 0)).1 += 1;
        }
        let told = |(other, (first, count)): (&str, (&Checkpoint, u64))| {
            let time = &first.time;
            let which = match count {
                1 => format!("the kept checkpoint of {time} is"),
                n => format!("the kept checkpoint of {time} and {} more are", n - 1),
            };
            let message = format!(
                "{which} of the key {other}, and the trail is verified with the key {ours}: another installation's, or this one has lost its key"
            );
            (first.sequence, "other_key", message)
        };
        others.into_iter().map(told).collect()
    }

    /// Those that were not met in a trail that goes from `first` to `last`.
    pub(super) fn rest(&self, first: u64, last: u64, key: &PublicKey, trail: Option<u64>) -> Rest {
        let trail = trail.map(|trail| format!("{trail:016x}"));
        let mut rest = Rest { wrong: self.of_other_keys(key), older: 0 };
        for checkpoint in self.0.values().flatten().filter(|kept| kept.key == key.id()) {
            let (sequence, time) = (checkpoint.sequence, &checkpoint.time);
            let wrong = if !checkpoint.is_signed_by(key) {
                let message = format!(
                    "the kept checkpoint of {time} is not what the key {} has signed: it was changed where it was kept",
                    checkpoint.key
                );
                (sequence, "edited", message)
            } else if trail.as_ref() != Some(&checkpoint.trail) {
                let message = format!(
                    "the kept checkpoint of {time} is another trail's: this one was put in its place"
                );
                (sequence, "deleted", message)
            } else if sequence > last {
                let from = last + 1;
                let message = format!(
                    "records {from} to {sequence} are gone, which were there at {time} by a kept checkpoint: the trail was cut off"
                );
                (from, "cut_off", message)
            } else if sequence < first {
                rest.older += usize::from(sequence > 0);
                continue;
            } else {
                let message = format!(
                    "record {sequence} is not there, which was at {time} by a kept checkpoint"
                );
                (sequence, "deleted", message)
            };
            rest.wrong.push(wrong);
        }
        rest
    }
}
