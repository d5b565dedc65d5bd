//! Readers that open a segment's file in the very moment when its name is taken away.

use std::io;

use super::*;
use crate::store::disk::{AppendFile, Disk, OsDisk, ReadFile};
use crate::store::journal::files::SegmentFiles;

/// A disk on which something happens right after the next file has been opened.
#[derive(Default)]
struct Racing {
    next: parking_lot::Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl std::fmt::Debug for Racing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Racing")
    }
}

impl Disk for Racing {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        let file = OsDisk.open(path)?;
        let next = self.next.lock().take();
        next.into_iter().for_each(|next| next());
        Ok(file)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        OsDisk.create(path)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        OsDisk.truncate(path, len)
    }

    fn rewrite(&self, path: &Path) -> io::Result<()> {
        OsDisk.rewrite(path)
    }

    fn overwrite(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        OsDisk.overwrite(path, at, bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.sync_dir(dir)
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        OsDisk.free_space(dir)
    }
}

/// A segment was begun, did not fit the disk, was taken away and begun again; who had opened it in
/// between kept the dead file, and every event in the new one counted as damaged.
#[test]
fn a_file_whose_name_goes_while_it_is_opened_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0000000001.journal");
    let write = |bytes: &[u8]| OsDisk.create(&path).unwrap().append(bytes).unwrap();
    write(b"the first");
    let racing = Arc::new(Racing::default());
    let seam: Arc<dyn Disk> = racing.clone();
    let files = Arc::new(SegmentFiles::new(seam, dir.path().to_owned(), Arc::default()));
    let removed = Arc::clone(&files);
    *racing.next.lock() = Some(Box::new(move || removed.remove(1).unwrap()));
    files.file(1).unwrap();
    write(b"the second");
    let mut bytes = [0; 10];
    files.file(1).unwrap().read_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"the second");
}
