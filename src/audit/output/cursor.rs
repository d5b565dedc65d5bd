//! How far an output has got, kept beside the trail: a file that is replaced as a whole, so that a start
//! goes on where the last one has ended. A record may be sent again, and none is left out.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::chain::{DIR, Mark};
use crate::event::OutputName;
use crate::regular::{self, Link};

/// More than any has.
const LONGEST: u64 = 4096;

/// How far an output has got. What it says of itself is believed for where to go on alone: which record was
/// sent before, the trail is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// All up to here was sent.
    #[serde(flatten)]
    pub(super) mark: Mark,
    /// The number behind which it began: no record up to there was for this output.
    #[serde(default)]
    pub(super) since: u64,
}

/// What was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nothing was sent under this name yet.
    Nothing,
    /// All up to here was.
    Upto(Cursor),
    /// Nobody can tell.
    Unreadable,
}

/// The cursor's file.
pub(super) fn path(store: &Path, name: &OutputName) -> PathBuf {
    store.join(DIR).join(format!("output-{name}.cursor"))
}

/// What was kept in this file. Blocks.
pub(super) fn read(path: &Path) -> io::Result<Kept> {
    let file = match regular::open(OpenOptions::new().read(true), path, Link::Refuse) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::Nothing),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).map_or(Kept::Unreadable, Kept::Upto))
}

/// Keeps that all up to the cursor's mark was sent. Blocks; the bytes are on stable storage before they take the
/// old ones' place, so that a crash leaves either.
pub(super) fn write(path: &Path, cursor: &Cursor) -> io::Result<()> {
    let next = path.with_extension("cursor.new");
    let mut line = serde_json::to_vec(cursor)?;
    line.push(b'\n');
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = regular::open(&mut options, &next, Link::Refuse)?;
    file.write_all(&line)?;
    file.sync_data()?;
    fs::rename(&next, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_what_was_kept_last() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(DIR)).unwrap();
        let path = path(dir.path(), &OutputName::new("siem").unwrap());
        assert_eq!(read(&path).unwrap(), Kept::Nothing);
        let mark = |n: u64| {
            let text = format!("{{\"sequence\":{n},\"hash\":\"{}\",\"since\":1}}", "0a".repeat(32));
            serde_json::from_str::<Cursor>(&text).unwrap()
        };
        write(&path, &mark(1)).unwrap();
        write(&path, &mark(2)).unwrap();
        assert_eq!(read(&path).unwrap(), Kept::Upto(mark(2)));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, "{\"sequence\":").unwrap();
        assert_eq!(read(&path).unwrap(), Kept::Unreadable);
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("output-a.cursor"), dir.path().join("other"));
        fs::write(&other, "kept").unwrap();
        std::os::unix::fs::symlink(&other, dir.path().join("output-a.cursor.new")).unwrap();
        let cursor: Cursor = serde_json::from_str("{\"sequence\":1,\"hash\":\"\"}").unwrap();
        assert!(write(&path, &cursor).is_err());
        assert_eq!(fs::read_to_string(&other).unwrap(), "kept");
    }
}
