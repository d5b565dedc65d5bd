//! Reading the trail: pages of records for operators, newest first, and all of them, oldest first. Needs
//! no lock: a gateway may be writing.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::memmem;

use super::bytes::{self, Frame, Kind, SEGMENT_HEADER, SegmentHeader};
use super::record::Record;
use crate::clock::UnixMillis;
use crate::store::disk::Disk;

/// Bytes of segments that are read for one page; what it has by then is the page.
const MOST_READ: u64 = 128 << 20;

/// Which records are meant; what is absent does not narrow them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Refused for this reason, or this act.
    pub reason: Option<String>,
    /// Sent to this source.
    pub source: Option<String>,
    /// From this client: an address, `unknown` or `many`.
    pub client: Option<String>,
    /// At this time or later.
    pub since: Option<UnixMillis>,
    /// Before this time.
    pub until: Option<UnixMillis>,
}

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

/// A filter, ready to be compared.
struct Wanted<'f> {
    filter: &'f Filter,
    /// The reason as it stands in a record's bytes.
    reason: Option<memmem::Finder<'static>>,
    since: Option<String>,
    until: Option<String>,
}

impl<'f> Wanted<'f> {
    fn new(filter: &'f Filter) -> Self {
        let needle = |reason: &String| {
            memmem::Finder::new(format!("\"reason\":\"{reason}\"").as_bytes()).into_owned()
        };
        Self {
            filter,
            reason: filter.reason.as_ref().map(needle),
            since: filter.since.map(|at| at.to_string()),
            until: filter.until.map(|at| at.to_string()),
        }
    }

    /// The record in the frame, if it is one that is wanted.
    fn of(&self, frame: &Frame<'_>) -> Option<Listed> {
        let is_record = matches!(frame.kind, Some(Kind::Record | Kind::Shortened));
        let may_fit = self.reason.as_ref().is_none_or(|reason| reason.find(frame.body).is_some());
        let record = (is_record && may_fit).then(|| serde_json::from_slice(frame.body).ok())??;
        self.takes(&record).then_some(Listed { sequence: frame.sequence.0, record })
    }

    fn takes(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        // All times are of one form, so that their texts sort as they do.
        is(&self.filter.reason, Some(&record.reason))
            && is(&self.filter.source, record.source.as_deref())
            && is(&self.filter.client, record.client.as_deref())
            && self.since.as_ref().is_none_or(|since| record.time >= *since)
            && self.until.as_ref().is_none_or(|until| record.time < *until)
    }
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
        for number in self.segments()?.into_iter().rev() {
            let Some(header) = self.header(number)? else { continue };
            // What was written before something began was recorded before it.
            let over = next_began.zip(filter.since).is_some_and(|(end, since)| end < since);
            if over {
                return Ok(page);
            }
            next_began = Some(header.created_at);
            if header.follows.sequence.0 >= before.saturating_sub(1) {
                continue;
            }
            if read >= MOST_READ {
                page.next = reached;
                return Ok(page);
            }
            // All behind what this one follows is looked through by then.
            reached = Some(header.follows.sequence.0 + 1);
            let Some(segment) = self.load(number)? else { continue };
            read += segment.len() as u64;
            let frames: Vec<_> = bytes::frames(&segment).collect();
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
        for number in self.segments()? {
            let Some(segment) = self.load(number)? else { continue };
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

    /// The newest checkpoint, if there is one.
    ///
    /// # Errors
    /// As the file system says.
    pub fn checkpoint(&self) -> io::Result<Option<super::Checkpoint>> {
        for number in self.segments()?.into_iter().rev() {
            let Some(segment) = self.load(number)? else { continue };
            let noted =
                bytes::frames(&segment).filter_map(|frame| super::open::noted(&frame)).last();
            if let Some(noted) = noted {
                return Ok(Some(noted.checkpoint));
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

    /// `None`: it has gone meanwhile, or is damaged.
    fn header(&self, number: u32) -> io::Result<Option<SegmentHeader>> {
        let mut start = [0; SEGMENT_HEADER];
        let Some(file) = gone(self.disk.open(&bytes::path(&self.dir, number)))? else {
            return Ok(None);
        };
        file.read_at(&mut start, 0)?;
        Ok(SegmentHeader::decode(&start))
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
