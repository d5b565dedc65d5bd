//! Which segments can go, together with which, and whether they are what was written.

use std::io;

use super::super::bytes::{self, MAX_SEGMENT, given};
use super::super::keys::PublicKey;
use super::super::opening::{self, Opening};
use super::super::writer::Writer;
use super::room::{Opened, Rooms};
use crate::store::disk::Stamp;

/// A file that is called like a segment.
pub(super) struct Member {
    pub(super) number: u32,
    /// The room that it takes of the trail's.
    size: u64,
    /// Its length.
    len: u64,
    stray: bool,
}

/// Segments that go together: as a rule one. More where some stand behind it that do not begin as they were
/// signed.
pub(super) struct Group {
    pub(super) members: Vec<Member>,
    /// What follows them.
    pub(super) next: Opening,
}

impl Group {
    pub(super) fn size(&self) -> u64 {
        self.members.iter().map(|member| member.size).sum()
    }

    pub(super) fn len(&self) -> u64 {
        self.members.iter().map(|member| member.len).sum()
    }

    pub(super) fn first(&self) -> Option<u32> {
        self.members.first().map(|member| member.number)
    }
}

/// All segments.
pub(super) struct Survey {
    /// Those before the head, oldest first, up to the last that is followed by one that begins as it was signed.
    pub(super) groups: Vec<Group>,
    /// The room that the trail takes.
    pub(super) bytes: u64,
    /// How long its files are.
    pub(super) files: u64,
    /// The first that is followed by none, if that is not the head.
    pub(super) stuck: Option<u32>,
}

/// What is known of a file without reading it.
struct Seen {
    number: u32,
    len: u64,
    stamp: Option<Stamp>,
    /// How it begins, if as it was signed in this trail, and goes with the others.
    opening: Option<Opening>,
    /// Whether it begins so and does not go with them.
    stray: bool,
}

impl Survey {
    pub(super) fn of(
        writer: &Writer,
        rooms: &mut Rooms,
        key: &PublicKey,
        trail: u64,
    ) -> io::Result<Self> {
        let (dir, head) = (writer.dir(), writer.head_number());
        let mut numbers = bytes::segments(&*writer.disk, dir)?;
        numbers.retain(|number| *number <= head);
        let seen = numbers.into_iter().map(|number| Seen::of(writer, number, key, trail));
        let mut seen: Vec<Seen> = seen.collect::<io::Result<_>>()?;
        let openings = seen.iter().filter_map(|seen| Some((seen.number, seen.opening?)));
        for stray in opening::stray(&openings.collect()) {
            for seen in seen.iter_mut().filter(|seen| seen.number == stray) {
                (seen.opening, seen.stray) = (None, true);
            }
        }
        rooms.keep(|number| seen.binary_search_by_key(&number, |seen| seen.number).is_ok());
        let files = seen.iter().map(|seen| seen.len).sum();
        // No segment takes more room than its file is long: mostly that says enough.
        let sizes = if files > writer.options.retention.max_bytes {
            vouched(writer, rooms, key, &seen)?
        } else {
            seen.iter().map(|seen| seen.len).collect()
        };
        let mut survey = Self { groups: Vec::new(), bytes: sizes.iter().sum(), files, stuck: None };
        let mut members: Vec<Member> = Vec::new();
        for (Seen { number, len, opening, stray, .. }, size) in seen.into_iter().zip(sizes) {
            if let Some(next) = opening
                && !members.is_empty()
            {
                survey.groups.push(Group { members: std::mem::take(&mut members), next });
            }
            members.push(Member { number, size, len, stray });
        }
        survey.stuck = members.first().map(|first| first.number).filter(|first| *first < head);
        Ok(survey)
    }
}

impl Seen {
    fn of(writer: &Writer, number: u32, key: &PublicKey, trail: u64) -> io::Result<Self> {
        let file = writer.disk.open(&bytes::path(writer.dir(), number))?;
        let opening = given(Opening::of_file(&*file, number, key))?.flatten();
        let opening = opening.filter(|opening| opening.trail == trail);
        // No segment is longer: what a file says of itself may be holes.
        let len = match number {
            head if head == writer.head_number() => writer.head_len(),
            _ => file.size()?.min(MAX_SEGMENT),
        };
        Ok(Self { number, len, stamp: file.stamp()?, opening, stray: false })
    }
}

/// The room of each: what is vouched for behind how it was opened. Of the head, what was written to it.
fn vouched(
    writer: &Writer,
    rooms: &mut Rooms,
    key: &PublicKey,
    seen: &[Seen],
) -> io::Result<Vec<u64>> {
    let (mut next, mut sizes) = (None, Vec::with_capacity(seen.len()));
    for Seen { number, len, stamp, opening, .. } in seen.iter().rev() {
        let number = *number;
        let size = match opening {
            _ if number == writer.head_number() => *len,
            Some(opening) => rooms.of(number, *stamp, next, || {
                writer.busy();
                let segment = given(bytes::load(&*writer.disk, writer.dir(), number))?;
                let opened = Opened { number, opening, key };
                Ok(segment.map_or(0, |segment| opened.vouched(&segment, next)))
            })?,
            None => 0,
        };
        next = opening.map(|opening| opening.follows).or(next);
        sizes.push(size);
    }
    sizes.reverse();
    Ok(sizes)
}

/// Which of a group are not as they were written, up to where what follows it goes on, or where nobody can tell.
pub(super) fn damaged(
    writer: &Writer,
    group: &Group,
    key: &PublicKey,
    trail: u64,
) -> io::Result<Vec<u32>> {
    let (mut damaged, next) = (Vec::new(), group.next.follows);
    for &Member { number, stray, .. } in &group.members {
        writer.busy();
        if stray {
            damaged.push(number);
            continue;
        }
        let segment = given(bytes::load(&*writer.disk, writer.dir(), number))?;
        let end = segment.as_deref().and_then(|segment| {
            let opening = Opening::of(segment, number, key);
            let opening = &opening.filter(|opening| opening.trail == trail)?;
            Opened { number, opening, key }.end(segment)
        });
        // Where the next of them begins is not known. It may be where this one was stopped, and nowhere else.
        let others = group.members.len() > 1;
        if !end.is_some_and(|(end, stopped)| end == next || (others && stopped)) {
            damaged.push(number);
        }
    }
    Ok(damaged)
}
