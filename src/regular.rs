//! Opening regular files, and nothing else, in a directory that others may write to: never waits for
//! the other end of a pipe, and where told so never goes through a link.

use std::fs::{File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// What becomes of a symbolic link in place of the file. Links on the way to it are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The file that it names is opened.
    Follow,
    /// It is an error, and a file that it names is not made.
    Refuse,
}

/// Opens the file at `path` as `options` say.
///
/// # Errors
/// As the file system says; what is no regular file is named with what it is.
pub fn open(options: &mut OpenOptions, path: &Path, link: Link) -> io::Result<File> {
    // Without it the opening of a pipe waits for somebody to open its other end.
    let mut flags = OFlags::NONBLOCK;
    flags.set(OFlags::NOFOLLOW, link == Link::Refuse);
    let opened = options.custom_flags(flags.bits().cast_signed()).open(path);
    regular(opened.map_err(|error| in_words(error, path))?, path)
}

/// The file, if it is a regular one; `path` is what an error calls it.
///
/// # Errors
/// As the file system says; what is no regular file is named with what it is.
pub fn regular(file: File, path: &Path) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    if kind.is_file() { Ok(file) } else { Err(unfit(path, what(kind))) }
}

/// What the system says of something that was not opened, and that is no regular file.
pub fn in_words(error: io::Error, path: &Path) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => unfit(path, "a symbolic link"),
        // A pipe to write to that nobody reads.
        Some(Errno::NXIO) => unfit(path, "a pipe or a socket"),
        _ => error,
    }
}

/// Why a file cannot be read, in an operator's words where the library's are a programmer's.
pub fn why(kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        // What is neither a file nor a directory is not even opened.
        io::ErrorKind::InvalidInput => "not a regular file".to_owned(),
        other => other.to_string(),
    }
}

fn unfit(path: &Path, what: &str) -> io::Error {
    let message = format!("{} is {what}, not a regular file", path.display());
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

fn what(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a pipe",
        _ => "a device or a socket",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn reading(path: &Path, link: Link) -> io::Result<File> {
        open(OpenOptions::new().read(true), path, link)
    }

    #[test]
    fn only_a_regular_file_is_opened_and_a_link_only_where_it_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), "x").unwrap();
        symlink(path("file"), path("link")).unwrap();
        mknodat(CWD, path("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        reading(&path("file"), Link::Refuse).unwrap();
        reading(&path("link"), Link::Follow).unwrap();
        for (name, says) in [
            ("link", "link is a symbolic link, not a regular file"),
            ("pipe", "pipe is a pipe, not a regular file"),
            ("", "is a directory, not a regular file"),
        ] {
            let said = reading(&path(name), Link::Refuse).unwrap_err().to_string();
            assert!(said.ends_with(says), "{said}");
        }
        let writing = open(OpenOptions::new().write(true), &path("pipe"), Link::Follow);
        assert!(writing.unwrap_err().to_string().contains("not a regular file"));
        let missing = reading(&path("none"), Link::Refuse).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    /// Root made the file that a link of the service's user named.
    #[test]
    fn nothing_is_made_through_a_dangling_link() {
        let dir = tempfile::tempdir().unwrap();
        let (link, target) = (dir.path().join("link"), dir.path().join("target"));
        symlink(&target, &link).unwrap();
        let mut options = OpenOptions::new();
        let made = open(options.write(true).create(true).truncate(false), &link, Link::Refuse);
        assert!(made.unwrap_err().to_string().contains("is a symbolic link"));
        assert!(!target.exists());
    }
}
