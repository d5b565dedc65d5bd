//! The space that nothing beside the store takes: events need it.

use std::fs::File;
use std::io;

use rustix::fs::fstatvfs;

use crate::config::defaults::audit::LEFT_FREE;
use crate::config::units::show_size;

/// What is left, in bytes, where `store.min_free` is this.
pub(super) fn of(min_free: u64) -> u64 {
    min_free.saturating_mul(LEFT_FREE)
}

/// Whether so many bytes more leave so many where this file, or directory, is.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`] where they do not, with what is free and what is left.
pub(super) fn leaves(place: &File, bytes: u64, left: u64) -> io::Result<()> {
    if left == 0 {
        return Ok(());
    }
    let stat = fstatvfs(place)?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free.saturating_sub(bytes) >= left {
        return Ok(());
    }
    let (free, left) = (free >> 10, show_size(left));
    let why = format!(
        "{free}KiB are free on its file system, and {left} are left for the store ({LEFT_FREE} times store.min_free)"
    );
    Err(io::Error::new(io::ErrorKind::StorageFull, why))
}
