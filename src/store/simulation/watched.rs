//! The simulated disk with a window: between the writer's operations others go on, as threads do, and
//! what is removed is told. Here it can also be made to lie, for a check of the checks.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use parking_lot::Mutex;

use super::plan::Defect;
use crate::store::disk::{AppendFile, Disk, ReadFile};
use crate::store::journal::segment::number_of;
use crate::store::tests::sim_disk::SimDisk;

thread_local! {
    static MEANWHILE: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
}

/// Lets `others` go on at every operation of the disk that `work` does.
pub(super) fn interleaved<T>(others: Rc<dyn Fn()>, work: impl FnOnce() -> T) -> T {
    MEANWHILE.set(Some(others));
    let done = work();
    MEANWHILE.set(None);
    done
}

/// What others do meanwhile is not interrupted again.
fn meanwhile() {
    if let Some(others) = MEANWHILE.take() {
        others();
        MEANWHILE.set(Some(others));
    }
}

/// A disk that is watched.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) disk: SimDisk,
    /// Segments whose names were taken away.
    pub(super) removed: Arc<Mutex<Vec<u32>>>,
    pub(super) defect: Option<Defect>,
}

impl Disk for Watched {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        meanwhile();
        let file = self.disk.create(path)?;
        Ok(Box::new(Appended { file, defect: self.defect, late: false }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        self.disk.open(path)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        meanwhile();
        self.disk.truncate(path, len)
    }

    fn rewrite(&self, path: &Path) -> io::Result<()> {
        self.disk.rewrite(path)
    }

    fn overwrite(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        meanwhile();
        self.disk.overwrite(path, at, bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)?;
        let name = path.file_name().and_then(|name| name.to_str());
        self.removed.lock().extend(name.and_then(number_of));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        meanwhile();
        self.disk.sync_dir(dir)
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        meanwhile();
        self.disk.free_space(dir)
    }
}

#[derive(Debug)]
struct Appended {
    file: Box<dyn AppendFile>,
    defect: Option<Defect>,
    /// A sync that is still to be done.
    late: bool,
}

impl AppendFile for Appended {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        meanwhile();
        if std::mem::take(&mut self.late) {
            self.file.sync()?;
        }
        self.file.append(bytes)
    }

    fn discard(&mut self) -> io::Result<()> {
        meanwhile();
        self.file.discard()
    }

    fn sync(&mut self) -> io::Result<()> {
        meanwhile();
        match self.defect {
            Some(Defect::SyncLies) => Ok(()),
            Some(Defect::SyncsLate) => {
                self.late = true;
                Ok(())
            }
            _ => self.file.sync(),
        }
    }
}
