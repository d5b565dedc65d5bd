//! A file of the simulated disk, as it is appended to and read.

use super::*;

#[derive(Debug)]
pub(super) struct Handle {
    pub(super) disk: SimDisk,
    pub(super) path: PathBuf,
}

impl AppendFile for Handle {
    fn stands_at(&self, path: &Path) -> io::Result<bool> {
        Ok(self.disk.0.lock().files.get(path).is_some_and(|file| !file.removed))
    }

    fn size(&self) -> io::Result<Option<u64>> {
        let sim = self.disk.0.lock();
        Ok(sim.files.get(&self.path).map(|file| file.bytes.len() as u64))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let torn = self.disk.step()?;
        let mut sim = self.disk.0.lock();
        let torn = torn || sim.full;
        sim.longest_append = sim.longest_append.max(bytes.len());
        let file = sim.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        let len = if torn { bytes.len() * 2 / 3 } else { bytes.len() };
        file.bytes.extend_from_slice(&bytes[..len]);
        let broken = matches!(sim.fault, Some((_, Fault::Breaks))) && !sim.full;
        match torn {
            true if broken => Err(io::Error::other("I/O error")),
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let step = self.disk.step();
        let mut sim = self.disk.0.lock();
        let off = sim.off;
        let file = sim.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        let (from, end) = (file.durable, file.bytes.len());
        match step {
            Ok(false) => {
                file.durable = end;
                return Ok(());
            }
            Err(error) if off => return Err(error),
            Ok(true) => file.dropped.push(from + (end - from) / 2..end),
            Err(_) => file.dropped.push(from..end),
        }
        file.durable = end;
        Err(io::Error::other("I/O error"))
    }

    fn discard(&mut self) -> io::Result<()> {
        self.disk.whole()?;
        let mut sim = self.disk.0.lock();
        let file = sim.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        file.bytes.clear();
        file.dropped.clear();
        file.durable = 0;
        Ok(())
    }
}

impl ReadFile for Handle {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.whole()?;
        let mut sim = self.disk.0.lock();
        let file = sim.files.get(&self.path).ok_or(io::ErrorKind::NotFound)?;
        let from = usize::try_from(offset).unwrap().min(file.bytes.len());
        let len = buf.len().min(file.bytes.len() - from);
        if sim.bad_from.is_some_and(|bad| offset + len as u64 > bad) {
            return Err(rustix::io::Errno::IO.into());
        }
        let is_bad = |(name, bad): &(String, std::ops::Range<u64>)| {
            self.path.ends_with(name) && offset < bad.end && offset + len as u64 > bad.start
        };
        if sim.bad.iter().any(is_bad) {
            sim.met_bad += 1;
            return Err(rustix::io::Errno::IO.into());
        }
        buf[..len].copy_from_slice(&file.bytes[from..from + len]);
        Ok(len)
    }

    fn size(&self) -> io::Result<u64> {
        let sim = self.disk.0.lock();
        Ok(sim.files.get(&self.path).ok_or(io::ErrorKind::NotFound)?.bytes.len() as u64)
    }
}
