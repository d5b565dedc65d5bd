//! What a start needs to go on beside the end of the chain. It stands in the frame of each checkpoint.

use std::io;
use std::path::Path;
use std::time::Duration;

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::bytes::{self, Kind};
use super::checkpoint::Checkpoint;
use super::keys::PublicKey;
use super::open;
use crate::clock::UnixMillis;
use crate::store::disk::Disk;

/// A clock may be so much later than what is believed and count as believed: it is set now and then.
const MOST_BEHIND: Duration = Duration::from_secs(86_400);
/// Where a record's time begins at the latest: its id is in front of it.
const HEAD: usize = 96;

/// What stands beside a checkpoint in its frame.
#[derive(Serialize)]
pub(super) struct Beside<'a, T> {
    #[serde(flatten)]
    pub(super) checkpoint: &'a T,
    /// What `acts.jsonl` had in front of `acts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) acts_mark: Option<&'a str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    acts: Option<u64>,
    acts_mark: Option<String>,
    /// As earlier versions wrote down what they believed, and nobody has signed.
    steady: Option<u64>,
}

/// Where a start goes on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Resume {
    /// What `acts.jsonl` has in front of what was not taken in yet; `None`: that was not written down.
    pub(super) acts_mark: Option<String>,
    /// What time it was as far as the trail has believed the clock.
    pub(super) newest: Option<UnixMillis>,
    /// Whether that is far behind what the clock said, or nobody has signed it: then no start believes the clock any
    /// further at once.
    pub(super) capped: bool,
    /// The latest time that a record has.
    pub(super) latest: Option<UnixMillis>,
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
            let stands = |checkpoint: &Checkpoint| {
                checkpoint.position().is_some_and(|about| frame.is_behind(about))
                    && checkpoint.is_signed_by(key)
            };
            let Some(signed) = open::checkpoint(frame).filter(stands) else {
                resume.latest = resume.latest.max(time_of(frame.kind, frame.body));
                continue;
            };
            let Some(time) = time(&signed.time) else { return Ok(resume) };
            resume.latest = resume.latest.max(Some(time.max(UnixMillis(signed.latest))));
            (resume.newest, resume.capped) = match signed.believed {
                0 => (Some(said.steady.map_or(time, UnixMillis).min(time)), true),
                believed => {
                    let believed = UnixMillis(believed);
                    (Some(believed), time.since(believed) > MOST_BEHIND)
                }
            };
            return Ok(resume);
        }
    }
    Ok(resume)
}

/// The time of a record; `None`: it is none, or says none.
pub(super) fn time_of(kind: Option<Kind>, body: &[u8]) -> Option<UnixMillis> {
    if kind == Some(Kind::Checkpoint) {
        return None;
    }
    let at = memmem::find(body.get(..HEAD).unwrap_or(body), b"\"time\":\"")?;
    let text = body.get(at + 8..)?;
    let text = text.get(..memchr::memchr(b'"', text)?)?;
    time(std::str::from_utf8(text).ok()?)
}

/// The time that a checkpoint says.
pub(super) fn time(text: &str) -> Option<UnixMillis> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok().map(UnixMillis)
}
