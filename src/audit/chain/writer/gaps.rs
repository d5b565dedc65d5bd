//! Segments that a start does not find although the trail goes on behind them. Only how the others begin is read for
//! that, as long as no number is missing.

use std::io;

use serde_json::{Value, json};

use super::super::bytes::{self, Frame, Kind, Position, SEGMENT_HEADER};
use super::super::keys::PublicKey;
use super::super::open::checkpoint;
use super::super::opening::Opening;
use super::super::verify::LettingGo;
use super::Writer;
use super::lost::{MISSING, TAKEN};

/// What is told of a gap stands right behind how the next segment begins.
const BEGINNING: usize = 16 << 10;
/// The newest bytes that are looked through for what the trail let go of last.
const LOOKED_THROUGH: u64 = 64 << 20;
/// Segments that may be the one behind which a number was left out.
const BEFORE: usize = 4;
/// As many gaps are told at one start; more are told at the next one.
const NAMED: usize = 100;

/// How it is told.
const GONE: &str = "segments of the trail are not there, and it goes on behind them";

/// Numbers without a file, in front of a segment that begins as it was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    from: u32,
    to: u32,
    /// The record that the segment behind it follows.
    follows: Position,
    /// The next one in front of it that begins as it was signed; 0: there is none.
    since: u32,
}

/// What the trail let go of last.
enum Went {
    /// Nothing, as far as there are records.
    Nothing,
    Through(LettingGo),
    /// Further back than anybody looks at a start.
    Unknown,
}

impl Gap {
    fn is_in(&self, told: &[(u32, u32)]) -> bool {
        told.iter().any(|(from, to)| *from <= self.from && self.to <= *to)
    }
}

impl Writer {
    /// Records which segments are missing, once for each gap.
    pub(super) fn tell_gaps(&mut self) {
        let Some((key, trail)) = self.identity() else { return };
        let gaps = match self.gaps(&key, trail) {
            Ok(gaps) => gaps,
            Err(error) => {
                tracing::warn!(target: "hookward::audit", %error, "whether segments of the audit trail are missing cannot be told");
                return;
            }
        };
        if gaps.is_empty() {
            return;
        }
        let named: Vec<String> = gaps.iter().take(NAMED).map(name).collect();
        let (dir, segments) = (self.dir.display(), named.join(", "));
        tracing::error!(target: "hookward::audit", %dir, segments, "{GONE}");
        self.note_missing(GONE, &json!({ "segments": named }));
    }

    fn gaps(&self, key: &PublicKey, trail: u64) -> io::Result<Vec<Gap>> {
        let mut numbers = bytes::segments(&*self.disk, &self.dir)?;
        numbers.retain(|number| *number <= self.head_number());
        let opened = self.openings(&numbers, key, trail)?;
        let mut gaps = between(&numbers, &opened);
        if gaps.is_empty() {
            return Ok(gaps);
        }
        let told = self.told(&numbers, key)?;
        gaps.retain(|gap| !gap.is_in(&told));
        if gaps.is_empty() {
            return Ok(gaps);
        }
        gaps = match self.went(&numbers, key)? {
            Went::Nothing => gaps,
            Went::Through(went) => behind(gaps, &went, &opened),
            // It may be that all in front of the first one went.
            Went::Unknown => gaps.into_iter().filter(|gap| gap.since > 0).collect(),
        };
        gaps.retain(|gap| !gap.is_in(&told));
        let mut missing = Vec::new();
        for gap in gaps {
            if !self.goes_on(&numbers, &gap)? {
                missing.push(gap);
            }
        }
        Ok(missing)
    }

    /// Those that begin as this key has signed it for the trail.
    fn openings(
        &self,
        numbers: &[u32],
        key: &PublicKey,
        trail: u64,
    ) -> io::Result<Vec<(u32, Opening)>> {
        let mut opened = Vec::new();
        for number in numbers {
            let opening = Opening::read(&*self.disk, &self.dir, *number, key)?;
            let opening = opening.filter(|opening| opening.trail == trail);
            opened.extend(opening.map(|opening| (*number, opening)));
        }
        Ok(opened)
    }

    /// The gaps that a start has told of, or the gateway while it ran.
    fn told(&self, numbers: &[u32], key: &PublicKey) -> io::Result<Vec<(u32, u32)>> {
        let mut told = Vec::new();
        for number in numbers {
            self.busy();
            let file = self.disk.open(&bytes::path(&self.dir, *number))?;
            let mut start = vec![0; BEGINNING];
            let read = file.read_at(&mut start, 0)?;
            start.truncate(read);
            let Some(opening) = Opening::of(&start, *number, key) else { continue };
            let (mut at, mut before) = (SEGMENT_HEADER, opening.follows);
            while let Some(frame) = Frame::at(&start, at).filter(|frame| frame.is_behind(before)) {
                (at, before) = (frame.end(), frame.position());
                told.extend(told_by(&frame));
            }
        }
        Ok(told)
    }

    /// What the trail let go of last, as it has signed that.
    fn went(&self, numbers: &[u32], key: &PublicKey) -> io::Result<Went> {
        let mut looked = 0;
        for number in numbers.iter().rev() {
            self.busy();
            looked += self.disk.open(&bytes::path(&self.dir, *number))?.size()?;
            if looked > LOOKED_THROUGH {
                return Ok(Went::Unknown);
            }
            let segment = bytes::load(&*self.disk, &self.dir, *number)?;
            let frames: Vec<Frame<'_>> = bytes::frames(&segment).collect();
            let signed = frames.windows(2).rev().find_map(|pair| let_go(pair, key));
            if let Some(went) = signed {
                return Ok(Went::Through(went));
            }
        }
        Ok(Went::Nothing)
    }

    /// Whether no record is missing with these numbers: files that were none of the trail's had them.
    fn goes_on(&self, numbers: &[u32], gap: &Gap) -> io::Result<bool> {
        let before = numbers.iter().rev().filter(|n| **n >= gap.since && **n < gap.from);
        for number in before.take(BEFORE) {
            self.busy();
            let segment = bytes::load(&*self.disk, &self.dir, *number)?;
            if bytes::frames(&segment).any(|frame| frame.position() == gap.follows) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The numbers between those that no file has, in front of what begins as it was signed. Of any other nobody knows
/// what it follows, and a trail may have begun with any number.
fn between(numbers: &[u32], opened: &[(u32, Opening)]) -> Vec<Gap> {
    let (mut gaps, mut last, mut since) = (Vec::new(), 0, 0);
    for &number in numbers {
        let opening = opened.binary_search_by_key(&number, |(number, _)| *number).ok();
        if let Some((_, opening)) = opening.and_then(|at| opened.get(at)) {
            let follows = opening.follows;
            if number - last > 1 && follows != Position::START {
                gaps.push(Gap { from: last + 1, to: number - 1, follows, since });
            }
            since = number;
        }
        last = number;
    }
    gaps
}

/// What is missing behind what the trail let go of.
fn behind(gaps: Vec<Gap>, went: &LettingGo, opened: &[(u32, Opening)]) -> Vec<Gap> {
    let stays = opened.iter().find(|(number, _)| *number > went.through);
    // Names that some other files had are left out in front of it as well.
    let until = match stays {
        Some((number, opening)) if opening.follows == went.behind => *number - 1,
        _ => went.through,
    };
    let left = gaps.into_iter().filter(|gap| gap.to > until);
    left.map(|gap| Gap { from: gap.from.max(until + 1), ..gap }).collect()
}

/// What these two are if the first lets go of segments and the second signs it.
fn let_go(pair: &[Frame<'_>], key: &PublicKey) -> Option<LettingGo> {
    let [frame, next] = pair else { return None };
    let signs = checkpoint(next).filter(|_| frame.kind == Some(Kind::Shortened))?;
    let is_about = signs.position() == Some(frame.position()) && next.is_behind(frame.position());
    LettingGo::read(frame).filter(|_| is_about && signs.is_signed_by(key))
}

fn name(gap: &Gap) -> String {
    if gap.from == gap.to { gap.from.to_string() } else { format!("{}-{}", gap.from, gap.to) }
}

/// The numbers that a record says are missing.
fn told_by(frame: &Frame<'_>) -> Vec<(u32, u32)> {
    let record: Value = match frame.kind {
        Some(Kind::Record) => serde_json::from_slice(frame.body).unwrap_or_default(),
        _ => Value::Null,
    };
    let Some(details) = record.get("details").filter(|_| record["reason"] == MISSING) else {
        return Vec::new();
    };
    let taken = details.get("segment").filter(|_| record["detail"] == TAKEN);
    let taken = taken.and_then(|number| u32::try_from(number.as_u64()?).ok());
    let named = details.get("segments").and_then(Value::as_array).into_iter().flatten();
    let named = named.filter_map(|named| {
        let named = named.as_str()?;
        let (from, to) = named.split_once('-').unwrap_or((named, named));
        Some((from.parse().ok()?, to.parse().ok()?))
    });
    taken.map(|number| (number, number)).into_iter().chain(named).collect()
}
