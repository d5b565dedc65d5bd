//! Reading the trail: pages of records for operators, newest first, and all of them, oldest first. Needs
//! no lock: a gateway may be writing.

mod damage;
mod onward;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::damage::Damage;
use self::damage::{Seen, seen};
use super::Chain;
use super::bytes::{self, Frame, Position};
use super::filter::{Filter, Wanted};
use super::keys::PublicKey;
use super::parts::{self, Part};
use super::record::Record;
use crate::clock::UnixMillis;
use crate::store::disk::Disk;

/// Bytes of segments that are read for one page; what it has by then is the page.
const MOST_READ: u64 = 128 << 20;

/// A record with its number in the trail.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Counted from 1, over records and checkpoints.
    pub sequence: u64,
    /// The record.
    pub record: Record,
}

/// Records, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Those that fit.
    pub items: Vec<Listed>,
    /// Before which number to go on; `None`: there are no more.
    pub next: Option<u64>,
    /// What was missing in between.
    pub damage: Damage,
}

impl Page {
    /// Takes what fits, with what was missing on the way there; that it was full before says `true`.
    fn is_full(&mut self, listed: Listed, on_the_way: &mut Damage, limit: usize) -> bool {
        if self.items.len() == limit {
            // What is behind the last item is told with the next page.
            self.next = self.items.last().map(|last| last.sequence);
            return true;
        }
        self.damage.add(std::mem::take(on_the_way));
        self.items.push(listed);
        false
    }

    /// The page, which went so far.
    fn up_to(mut self, next: Option<u64>, on_the_way: Damage) -> Self {
        self.damage.add(on_the_way);
        self.next = next;
        self
    }
}

/// A trail that is read.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    /// Whose key counts; `None`: the one beside the trail.
    chain: Option<Arc<Chain>>,
}

impl Reader {
    /// Of the store in this directory, or a copy of it.
    pub fn new(disk: Arc<dyn Disk>, store: &Path) -> Self {
        Self { disk, dir: store.join(bytes::DIR), chain: None }
    }

    /// Of the store that this trail is of: what its key has signed counts, whatever stands beside it.
    pub fn of(chain: &Arc<Chain>, disk: Arc<dyn Disk>, store: &Path) -> Self {
        Self { chain: Some(Arc::clone(chain)), ..Self::new(disk, store) }
    }

    /// At most `limit` records before this number, or the newest. May be fewer although there are more,
    /// where many have to be looked through.
    ///
    /// # Errors
    /// As the file system says.
    pub fn newest(&self, filter: &Filter, before: Option<u64>, limit: usize) -> io::Result<Page> {
        let wanted = Wanted::new(filter);
        let before = before.unwrap_or(u64::MAX);
        let (mut page, mut read) = (Page::default(), 0);
        let key = self.key();
        let parts = self.parts(key.as_ref())?;
        let (mut reached, mut on_the_way) = (None, self.unread(&parts)?);
        for (at, part) in parts.iter().enumerate().rev() {
            let next = parts.get(at + 1);
            if is_over(next, filter.since) {
                break;
            }
            let is_before = |start: &Position| start.sequence.0 < before.saturating_sub(1);
            if part.follows.is_some_and(|start| part.signed.is_some() && !is_before(&start)) {
                continue;
            }
            if read >= MOST_READ {
                return Ok(page.up_to(reached, on_the_way));
            }
            let Some(segment) = self.load(part.number)? else { continue };
            read += segment.len() as u64;
            let seen: Vec<_> = seen(&segment, part, next, key.as_ref()).collect();
            // All from there on is looked through by then.
            reached = seen.first().and_then(Seen::from).or(reached);
            for seen in seen.iter().rev().filter(|seen| seen.is_before(before)) {
                match seen {
                    Seen::Hole(hole) => on_the_way.add((*hole).into()),
                    Seen::Frame(frame) => {
                        if let Some(listed) = wanted.of(frame)
                            && page.is_full(listed, &mut on_the_way, limit)
                        {
                            return Ok(page);
                        }
                    }
                }
            }
        }
        Ok(page.up_to(None, on_the_way))
    }

    /// All records that fit, oldest first, until `each` has enough. What was missing between them.
    ///
    /// # Errors
    /// As the file system says.
    pub fn each(
        &self,
        filter: &Filter,
        mut each: impl FnMut(Listed) -> ControlFlow<()>,
    ) -> io::Result<Damage> {
        let key = self.key();
        let parts = self.parts(key.as_ref())?;
        let (wanted, mut damage) = (Wanted::new(filter), self.unread(&parts)?);
        for (at, part) in parts.iter().enumerate() {
            let next = parts.get(at + 1);
            if is_over(next, filter.since) {
                continue;
            }
            let Some(segment) = self.load(part.number)? else { continue };
            for seen in seen(&segment, part, next, key.as_ref()) {
                match seen {
                    Seen::Hole(hole) => damage.add(hole.into()),
                    Seen::Frame(frame) => {
                        if let Some(listed) = wanted.of(&frame)
                            && each(listed).is_break()
                        {
                            return Ok(damage);
                        }
                    }
                }
            }
        }
        Ok(damage)
    }

    /// The key that what is read was signed with; without one every segment is read.
    pub(super) fn key(&self) -> Option<PublicKey> {
        let known = self.chain.as_ref().and_then(|chain| chain.key().copied());
        known.or_else(|| PublicKey::beside(&*self.disk, &self.dir).ok())
    }

    /// The newest checkpoint, if there is one.
    ///
    /// # Errors
    /// As the file system says.
    pub fn checkpoint(&self) -> io::Result<Option<super::Checkpoint>> {
        let key = self.key();
        let parts = self.parts(key.as_ref())?;
        for (at, part) in parts.iter().enumerate().rev() {
            let Some(segment) = self.load(part.number)? else { continue };
            let frames = frames(&segment, part, parts.get(at + 1), key.as_ref());
            let newest = frames.filter_map(|frame| super::open::checkpoint(&frame)).last();
            if newest.is_some() {
                return Ok(newest);
            }
        }
        Ok(None)
    }

    /// The trail's segments, ascending.
    pub(super) fn parts(&self, key: Option<&PublicKey>) -> io::Result<Vec<Part>> {
        Ok(gone(parts::all(&*self.disk, &self.dir, key))?.unwrap_or_default())
    }

    /// Where no segment is the trail's and there are some with something in them: the key beside a copy may be
    /// another one's, and nothing would look like a trail in which nothing was recorded.
    fn unread(&self, parts: &[Part]) -> io::Result<Damage> {
        if !parts.is_empty() {
            return Ok(Damage::default());
        }
        for segment in gone(bytes::segments(&*self.disk, &self.dir))?.unwrap_or_default() {
            let loaded = bytes::no_file(bytes::load(&*self.disk, &self.dir, segment))?;
            if loaded.is_some_and(|loaded| bytes::frames(&loaded).next().is_some()) {
                return Ok(Damage { places: 1, segment, ..Damage::default() });
            }
        }
        Ok(Damage::default())
    }

    /// `None`: it has gone meanwhile.
    pub(super) fn load(&self, number: u32) -> io::Result<Option<Vec<u8>>> {
        gone(bytes::load(&*self.disk, &self.dir, number))
    }
}

/// The frames in a segment that are the trail's.
pub(super) fn frames<'s>(
    segment: &'s [u8],
    part: &Part,
    next: Option<&Part>,
    key: Option<&PublicKey>,
) -> impl Iterator<Item = Frame<'s>> {
    seen(segment, part, next, key).filter_map(|seen| match seen {
        Seen::Frame(frame) => Some(frame),
        Seen::Hole(_) => None,
    })
}

/// Whether all in front of this segment was recorded before then. Who could change what an unsigned header says of that would hide records from
/// whoever asks for those of a day.
fn is_over(next: Option<&Part>, since: Option<UnixMillis>) -> bool {
    let until = next.and_then(|next| next.signed);
    until.zip(since).is_some_and(|(until, since)| until < since)
}

/// `None`: it has gone meanwhile.
pub(super) fn gone<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
