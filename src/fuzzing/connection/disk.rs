//! A disk in memory for one journal, and the events that stand on it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::event::Sequence;
use crate::store::StoredEvent;
use crate::store::disk::{AppendFile, Disk, ReadFile};
use crate::store::journal::frame::Kind;
use crate::store::journal::record::decode_event;
use crate::store::journal::segment::{SEGMENT_HEADER_LEN, Scanned, Scanner};

/// Files by their path. Nothing is lost, and there is always room.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryDisk(Arc<Mutex<BTreeMap<PathBuf, MemoryFile>>>);

#[derive(Clone, Debug, Default)]
struct MemoryFile(Arc<Mutex<Vec<u8>>>);

impl MemoryDisk {
    /// Every event of the journal, read without the store: the truth.
    pub(super) fn events(&self) -> Vec<StoredEvent> {
        let files: Vec<MemoryFile> = self.0.lock().values().cloned().collect();
        files.into_iter().flat_map(events_of).collect()
    }

    /// Bytes of all files.
    pub(super) fn len(&self) -> usize {
        self.0.lock().values().map(|file| file.0.lock().len()).sum()
    }

    fn file(&self, path: &Path) -> io::Result<MemoryFile> {
        self.0.lock().get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[expect(clippy::expect_used, reason = "a disk in memory does not fail")]
fn events_of(file: MemoryFile) -> Vec<StoredEvent> {
    let scanner = Scanner::new(Arc::new(file), SEGMENT_HEADER_LEN, Sequence(0));
    let mut scanner = scanner.expect("a segment");
    let mut events = Vec::new();
    while let Some(scanned) = scanner.step().expect("a segment") {
        let frame = match &scanned {
            Scanned::Frame(frame) if frame.header.kind == Kind::Event => frame,
            Scanned::Frame(_) => continue,
            Scanned::Gap(gap) => unreachable!("{gap:?} in a journal that nothing has damaged"),
        };
        let payload = Bytes::copy_from_slice(frame.payload);
        let record = decode_event(frame.header.sequence, &payload).expect("an event");
        events.push(record.event);
    }
    events
}

impl Disk for MemoryDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.0.lock();
        let inside = files.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        let file = MemoryFile::default();
        match self.0.lock().insert(path.to_owned(), file.clone()) {
            None => Ok(Box::new(file)),
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        Ok(Arc::new(self.file(path)?))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.file(path)?.0.lock().truncate(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(())
    }

    fn rewrite(&self, path: &Path) -> io::Result<()> {
        self.file(path).map(drop)
    }

    /// Only keys are ever changed in place, and nothing here is encrypted.
    fn overwrite(&self, path: &Path, _: u64, _: &[u8]) -> io::Result<()> {
        self.file(path).map(drop)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.lock().remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_space(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl AppendFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&mut self) -> io::Result<()> {
        self.0.lock().clear();
        Ok(())
    }
}

impl ReadFile for MemoryFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.0.lock();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let rest = bytes.get(from..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        let (head, _) = buf.split_at_mut(len);
        head.copy_from_slice(rest.get(..len).unwrap_or_default());
        Ok(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().len() as u64)
    }
}
