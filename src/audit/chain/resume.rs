//! What a start needs to go on beside the end of the chain. It stands in the frame of each checkpoint.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::bytes;
use super::keys::PublicKey;
use super::open;
use crate::clock::UnixMillis;
use crate::store::disk::Disk;

/// What stands beside a checkpoint in its frame.
#[derive(Serialize)]
pub(super) struct Beside<'a, T> {
    #[serde(flatten)]
    pub(super) checkpoint: &'a T,
    /// What `acts.jsonl` had in front of `acts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) acts_mark: Option<&'a str>,
    /// What time it is as far as the trail believes the clock, in Unix milliseconds, if that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) steady: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    acts: Option<u64>,
    acts_mark: Option<String>,
    steady: Option<u64>,
}

/// Where a start goes on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Resume {
    /// What `acts.jsonl` has in front of what was not taken in yet; `None`: that was not written down.
    pub(super) acts_mark: Option<String>,
    /// The newest time that was signed, as far as the trail has believed it.
    pub(super) newest: Option<UnixMillis>,
    /// Whether that is not as far as the clock said: then no start believes it any further at once.
    pub(super) capped: bool,
}

/// Looks that up from the end of segment `behind`, which the start goes on behind. `acts`: how far `acts.jsonl` is
/// in the trail.
pub(super) fn find(
    disk: &dyn Disk,
    dir: &Path,
    key: &PublicKey,
    (behind, acts): (u32, u64),
) -> io::Result<Resume> {
    let (mut resume, mut marked) = (Resume::default(), false);
    let mut numbers = bytes::segments(disk, dir)?;
    // What stands behind it is none of the trail's.
    numbers.retain(|number| *number <= behind);
    for number in numbers.into_iter().rev() {
        let segment = bytes::load(disk, dir, number)?;
        let frames: Vec<_> = bytes::frames(&segment).collect();
        for frame in frames.iter().rev() {
            let said: Said = serde_json::from_slice(frame.body).unwrap_or_default();
            if let Some(upto) = said.acts.filter(|_| !marked) {
                marked = true;
                resume.acts_mark = said.acts_mark.filter(|_| upto == acts);
            }
            let noted = open::checkpoint(frame);
            let Some(signed) = noted.filter(|checkpoint| checkpoint.is_signed_by(key)) else {
                continue;
            };
            let signed = time(&signed.time);
            resume.capped = said.steady.is_some();
            resume.newest = signed.map(|signed| said.steady.map_or(signed, UnixMillis).min(signed));
            return Ok(resume);
        }
    }
    Ok(resume)
}

/// The time that a checkpoint says.
pub(super) fn time(text: &str) -> Option<UnixMillis> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok().map(UnixMillis)
}
