//! Checkpoints that were kept elsewhere: what of them the trail still has.

use std::collections::BTreeMap;

use super::super::bytes::{Frame, Position};
use super::super::checkpoint::Checkpoint;
use super::super::keys::PublicKey;
use super::super::open;

/// Those whose own frame the walk has not met yet, by the record that each is about. A checkpoint leaves the gateway
/// once it is on stable storage itself, right behind that record: where it is not there, somebody has taken it away.
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
    /// What was kept in several places is one.
    pub(super) fn new(kept: &'a [Checkpoint]) -> Self {
        let mut kept: Vec<&Checkpoint> = kept.iter().collect();
        kept.sort_by_key(|kept| (kept.sequence, &kept.time, &kept.signature));
        kept.dedup();
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
        let (signed, mut left): (Vec<_>, Vec<_>) =
            about.drain(..).partition(|checkpoint| checkpoint.is_signed_by(key));
        let is_good = |checkpoint: &&Checkpoint| checkpoint.position() == Some(at);
        let met = signed.iter().map(|found| (found.time.clone(), is_good(found)));
        let met = met.min_by_key(|(_, good)| *good);
        left.extend(signed.into_iter().filter(is_good));
        *about = left;
        met
    }

    /// The walk is at this frame, right behind the record that some are about: it is one of these itself. When the
    /// first was signed that stood here and does not any more.
    pub(super) fn stood_at(
        &mut self,
        frame: &Frame<'_>,
        key: &PublicKey,
        trail: Option<u64>,
    ) -> Option<String> {
        let about = self.0.get_mut(&frame.sequence.0.checked_sub(1)?)?;
        // One of another key is told at the end, wherever it stands.
        let stands = open::checkpoint(frame).filter(|stands| stands.key == key.id());
        about.retain(|kept| stands.as_ref() != Some(*kept));
        let ours = |kept: &&Checkpoint| kept.is_signed_by(key) && kept.trail() == trail;
        let (gone, left): (Vec<_>, Vec<_>) = about.drain(..).partition(ours);
        *about = left;
        gone.first().map(|gone| gone.time.clone())
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
        let (mut cut_off, mut deleted): (Vec<&Checkpoint>, Vec<&Checkpoint>) = Default::default();
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
            } else if sequence >= last {
                cut_off.push(*checkpoint);
                continue;
            } else if sequence + 1 < first {
                rest.older += 1;
                continue;
            } else {
                deleted.push(*checkpoint);
                continue;
            };
            rest.wrong.push(wrong);
        }
        rest.wrong.extend(
            deleted
                .first()
                .map(|first| (first.sequence, "deleted", not_there(first, deleted.len()))),
        );
        rest.wrong.extend(
            cut_off.last().map(|newest| (last + 1, "cut_off", gone_from(last + 1, newest))),
        );
        rest
    }
}

/// The trail goes on behind where this checkpoint was, and `count` with it.
fn not_there(first: &Checkpoint, count: usize) -> String {
    let (sequence, time) = (first.sequence, &first.time);
    let others = match count {
        1 => String::new(),
        n => format!("; of {} later kept ones the same is to be said", n - 1),
    };
    format!(
        "record {sequence} or the kept checkpoint behind it, which was signed at {time}, is not there{others}"
    )
}

/// The trail ends in front of this checkpoint.
fn gone_from(from: u64, newest: &Checkpoint) -> String {
    let (until, time) = (newest.sequence + 1, &newest.time);
    if from == until {
        return format!(
            "the kept checkpoint of {time} was record {until}, and is gone: the trail was cut off"
        );
    }
    format!(
        "records {from} to {until} are gone, which were there at {time} by a kept checkpoint: the trail was cut off"
    )
}
