//! Reading the trail: pages of records for operators, newest first, and all of them, oldest first. Needs
//! no lock: a gateway may be writing.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bytes;
use super::filter::{Filter, Wanted};
use super::keys::PublicKey;
use super::opening::Opening;
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
}

/// A trail that is read.
#[derive(Clone, Debug)]
pub struct Reader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl Reader {
    /// Of the store in this directory, or a copy of it.
    pub fn new(disk: Arc<dyn Disk>, store: &Path) -> Self {
        Self { disk, dir: store.join(bytes::DIR) }
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
        let (mut next_began, mut reached) = (None, None);
        let key = self.key();
        for number in self.segments()?.into_iter().rev() {
            let Some(start) = self.opening(number, key.as_ref())? else { continue };
            // As in `is_over`.
            let over = next_began.zip(filter.since).is_some_and(|(end, since)| end < since);
            if over {
                return Ok(page);
            }
            next_began = start.map(|start| start.signed);
            if start.is_some_and(|start| start.follows.sequence.0 >= before.saturating_sub(1)) {
                continue;
            }
            if read >= MOST_READ {
                page.next = reached;
                return Ok(page);
            }
            let Some(segment) = self.load(number)? else { continue };
            read += segment.len() as u64;
            let frames: Vec<_> = bytes::frames(&segment).collect();
            // All from its first one on is looked through by then.
            reached = frames.first().map(|first| first.sequence.0).or(reached);
            for frame in frames.iter().rev().filter(|frame| frame.sequence.0 < before) {
                let Some(listed) = wanted.of(frame) else { continue };
                if page.items.len() == limit {
                    page.next = page.items.last().map(|last| last.sequence);
                    return Ok(page);
                }
                page.items.push(listed);
            }
        }
        Ok(page)
    }

    /// All records that fit, oldest first, until `each` has enough.
    ///
    /// # Errors
    /// As the file system says.
    pub fn each(
        &self,
        filter: &Filter,
        mut each: impl FnMut(Listed) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let wanted = Wanted::new(filter);
        let (numbers, key) = (self.segments()?, self.key());
        for (at, number) in numbers.iter().enumerate() {
            if self.is_over(numbers.get(at + 1), filter.since, key.as_ref())? {
                continue;
            }
            let Some(segment) = self.load(*number)? else { continue };
            for frame in bytes::frames(&segment) {
                if let Some(listed) = wanted.of(&frame)
                    && each(listed).is_break()
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether all in front of this segment was recorded before then: what was written before something
    /// began was recorded before it.
    fn is_over(
        &self,
        next: Option<&u32>,
        since: Option<UnixMillis>,
        key: Option<&PublicKey>,
    ) -> io::Result<bool> {
        let Some((next, since)) = next.zip(since) else { return Ok(false) };
        let start = self.opening(*next, key)?.flatten();
        Ok(start.is_some_and(|start| start.signed < since))
    }

    /// The key beside the trail; without one every segment is read.
    fn key(&self) -> Option<PublicKey> {
        PublicKey::beside(&*self.disk, &self.dir).ok()
    }

    /// The newest checkpoint, if there is one.
    ///
    /// # Errors
    /// As the file system says.
    pub fn checkpoint(&self) -> io::Result<Option<super::Checkpoint>> {
        for number in self.segments()?.into_iter().rev() {
            let Some(segment) = self.load(number)? else { continue };
            let newest =
                bytes::frames(&segment).filter_map(|frame| super::open::checkpoint(&frame)).last();
            if newest.is_some() {
                return Ok(newest);
            }
        }
        Ok(None)
    }

    fn segments(&self) -> io::Result<Vec<u32>> {
        match bytes::segments(&*self.disk, &self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            found => found,
        }
    }

    /// `None`: it has gone meanwhile.
    fn load(&self, number: u32) -> io::Result<Option<Vec<u8>>> {
        gone(bytes::load(&*self.disk, &self.dir, number))
    }

    /// How a segment begins, if that is signed: who could change what its header says of it would hide records
    /// from whoever asks for those of a day. `None`: it has gone meanwhile.
    fn opening(&self, number: u32, key: Option<&PublicKey>) -> io::Result<Option<Option<Opening>>> {
        let Some(key) = key else { return Ok(Some(None)) };
        gone(Opening::read(&*self.disk, &self.dir, number, key))
    }
}

/// `None`: it has gone meanwhile.
pub(super) fn gone<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
