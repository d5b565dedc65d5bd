//! How the segments begin that begin as they were signed: what trail is verified, and what is none of it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::Path;

use super::super::bytes::{self, Position};
use super::super::keys::PublicKey;
use super::super::opening::Opening;
use super::super::ours;
use crate::store::disk::Disk;

/// The openings of one trail.
#[derive(Default)]
pub(super) struct Openings {
    /// The trail of most segments that this key has opened, or, where all openings are damaged, of those in which it
    /// has signed something else; `None`: there are none.
    pub(super) trail: Option<u64>,
    by_number: BTreeMap<u32, Opening>,
    /// The numbers of all segments.
    numbers: Vec<u32>,
}

impl Openings {
    /// Of these segments.
    pub(super) fn read(
        disk: &dyn Disk,
        dir: &Path,
        numbers: &[u32],
        key: &PublicKey,
    ) -> io::Result<Self> {
        let mut by_number = BTreeMap::new();
        for number in numbers {
            if let Some(opening) = Opening::read(disk, dir, *number, key)? {
                by_number.insert(*number, opening);
            }
        }
        let mut trails: Vec<u64> = by_number.values().map(|opening| opening.trail).collect();
        if trails.is_empty() {
            trails = damaged(disk, dir, numbers, key)?;
        }
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for trail in trails {
            *counts.entry(trail).or_default() += 1;
        }
        let trail = counts.into_iter().max_by_key(|(_, count)| *count).map(|(trail, _)| trail);
        by_number.retain(|_, opening| Some(opening.trail) == trail);
        Ok(Self { trail, by_number, numbers: numbers.to_vec() })
    }

    /// The last of these that is of the trail, or is only being begun behind it. What somebody has put there with
    /// a higher number hides nothing.
    pub(super) fn last(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        numbers: &[u32],
        key: &PublicKey,
    ) -> io::Result<u32> {
        let opened = self.by_number.keys().next_back().copied();
        let highest = numbers.last().copied().unwrap_or(0);
        let Some(opened) = opened else { return Ok(highest) };
        for number in numbers.iter().rev().copied().filter(|number| *number > opened) {
            let segment = bytes::load(disk, dir, number)?;
            let is_begun = bytes::frames(&segment).next().is_none() && self.may_be_begun(number);
            if is_begun || !self.pass_over(number, &segment, None, key) {
                return Ok(number);
            }
        }
        Ok(opened)
    }

    /// Whether a crash, or the moment, can have left a segment of this number without a record.
    pub(super) fn may_be_begun(&self, number: u32) -> bool {
        let Some(opened) = self.by_number.keys().next_back() else { return true };
        let between = self.numbers.iter().filter(|name| **name > *opened && **name <= number);
        number.checked_sub(*opened).is_some_and(|n| n as usize == between.count())
    }

    /// Whether nothing in this segment was signed by this key for the trail, and the trail goes on behind `before`
    /// as if it were not there. `None`: what is in front of it is not known.
    pub(super) fn pass_over(
        &self,
        number: u32,
        segment: &[u8],
        before: Option<Position>,
        key: &PublicKey,
    ) -> bool {
        if self.trail.is_none() || self.by_number.contains_key(&number) {
            return false;
        }
        let next = self.by_number.range((Bound::Excluded(number), Bound::Unbounded)).next();
        let goes_on = next.map(|(_, opening)| opening.follows);
        if before.is_some() && goes_on.is_some() && goes_on != before {
            return false;
        }
        let before = self.by_number.range(..number).next_back().map(|(_, opening)| opening);
        ours::trail(segment, number, key, before).is_none_or(|trail| Some(trail) != self.trail)
    }
}

/// The trails of segments that do not begin as they were signed, by what else this key has signed in them.
fn damaged(disk: &dyn Disk, dir: &Path, numbers: &[u32], key: &PublicKey) -> io::Result<Vec<u64>> {
    let mut trails = Vec::new();
    for number in numbers {
        let segment = bytes::load(disk, dir, *number)?;
        trails.extend(ours::trail(&segment, *number, key, None));
    }
    Ok(trails)
}
