//! Files that a command names. Whoever runs `verify` has often got the command from somebody else, so none
//! is read but what lies beside the capture: below its directory, through no link, regular, no longer
//! than a body may be, and neither what the configuration is read from nor anything in the store, which may lie
//! there as well.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::regular;

/// Why a file is not read, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotRead {
    #[error(
        "a command may name only files below the capture's directory (of a capture from standard input: the current one), by a relative path without `..`; if this file is what was sent, put a copy of it there and name that"
    )]
    Elsewhere,
    #[error("there is a symbolic link on the way to it; put a copy of the file itself there")]
    Link,
    #[error("what is on the way to it is no directory, or a symbolic link; name the file itself")]
    NoDirectory,
    #[error(
        "the configuration is read from it, or it lies in the store or the certificates' cache, so that it may hold a secret: nothing of it is read or told"
    )]
    Configured,
    #[error("{0}")]
    Unfit(io::Error),
    #[error(
        "it is longer than server.max_body, so the gateway would refuse it: 413 body_too_large"
    )]
    TooLong,
    #[error("there is no such file below the capture's directory")]
    Missing,
    #[error("it cannot be read: {0}")]
    Read(io::Error),
}

/// The directory that a capture's files are taken from.
pub(super) fn directory(capture: Option<&Path>) -> PathBuf {
    match capture.and_then(Path::parent) {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The whole file at this path below `directory`, of at most `most` bytes, if it is none of the gateway's `own`
/// files and in none of its directories.
///
/// # Errors
/// When it is not such a file.
pub(super) fn read(
    directory: &Path,
    path: &Path,
    most: usize,
    own: &[PathBuf],
) -> Result<Vec<u8>, NotRead> {
    let file = open(directory, path)?;
    let found = file.metadata().map_err(NotRead::Read)?;
    let real = std::fs::canonicalize(directory.join(path)).map_err(NotRead::Read)?;
    let around = real.ancestors().filter_map(|path| std::fs::metadata(path).ok());
    // However it is named, and by whichever of its names.
    let around: Vec<_> = around.chain([found]).map(|there| (there.dev(), there.ino())).collect();
    let own = own.iter().filter_map(|path| std::fs::metadata(path).ok());
    if own.map(|own| (own.dev(), own.ino())).any(|own| around.contains(&own)) {
        return Err(NotRead::Configured);
    }
    let mut bytes = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut bytes).map_err(NotRead::Read)?;
    if bytes.len() > most { Err(NotRead::TooLong) } else { Ok(bytes) }
}

/// Opens it one directory after the other, so that nothing that is put in its place meanwhile leads out.
fn open(directory: &Path, path: &Path) -> Result<File, NotRead> {
    let names = names(path)?;
    let (last, on_the_way) = names.split_last().ok_or(NotRead::Elsewhere)?;
    // The operator has named this one, so it may be reached through links.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(directory, flags, Mode::empty()).map_err(because)?;
    for name in on_the_way {
        at = next(&at, name, flags)?;
    }
    // Without NONBLOCK the opening of a pipe waits for its other end.
    let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    flags.set(OFlags::DIRECTORY, names_a_directory(path));
    let file = next(&at, last, flags)?;
    regular::regular(File::from(file), path).map_err(NotRead::Unfit)
}

fn next(at: &OwnedFd, name: &OsStr, flags: OFlags) -> Result<OwnedFd, NotRead> {
    openat(at, name, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(because)
}

fn because(errno: Errno) -> NotRead {
    match errno {
        Errno::LOOP => NotRead::Link,
        Errno::NOTDIR => NotRead::NoDirectory,
        Errno::NOENT => NotRead::Missing,
        other => NotRead::Read(other.into()),
    }
}

/// Whether the system would take what this path ends in for a directory and nothing else.
fn names_a_directory(path: &Path) -> bool {
    let path = path.as_os_str().as_bytes();
    path.ends_with(b"/") || path.ends_with(b"/.")
}

/// The names that the path is made of, if it leads nowhere but down.
fn names(path: &Path) -> Result<Vec<&OsStr>, NotRead> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(NotRead::Elsewhere);
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    /// A command that somebody else has written could have any file of the machine read and hashed.
    #[test]
    fn only_a_regular_file_below_the_captures_directory_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (base, outside) = (dir.path().join("captures"), dir.path().join("outside"));
        fs::create_dir_all(base.join("sub")).unwrap();
        fs::write(&outside, "outside").unwrap();
        for name in ["body.json", "sub/body.json"] {
            fs::write(base.join(name), "{}").unwrap();
        }
        symlink(&outside, base.join("link")).unwrap();
        symlink(base.join("body.json"), base.join("near")).unwrap();
        symlink(dir.path(), base.join("up")).unwrap();
        mknodat(CWD, base.join("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        fs::write(base.join("long"), [b'a'; 17]).unwrap();
        let said = |path: &str| read(&base, Path::new(path), 16, &[]);
        for path in ["body.json", "./body.json", "sub/body.json", "sub//./body.json"] {
            assert_eq!(said(path).unwrap(), b"{}", "{path}");
        }
        let absolute = base.join("body.json");
        for (path, says) in [
            (absolute.to_str().unwrap(), "a relative path without `..`"),
            ("../outside", "a relative path without `..`"),
            ("sub/../body.json", "a relative path without `..`"),
            ("", "a relative path without `..`"),
            ("link", "a symbolic link"),
            ("near", "a symbolic link"),
            ("up/outside", "a symbolic link"),
            ("body.json/x", "no directory"),
            ("body.json/", "no directory"),
            ("body.json/.", "no directory"),
            ("sub/", "a directory"),
            ("sub", "a directory"),
            ("pipe", "a pipe"),
            ("long", "server.max_body"),
            ("none", "no such file"),
            ("nul\0", "cannot be read"),
        ] {
            let said = said(path).unwrap_err().to_string();
            assert!(said.contains(says), "{path:?}: {said}");
        }
    }

    /// A command that somebody had sent was piped in where the configuration lies, and the hash of a secret
    /// was printed.
    #[test]
    fn what_the_configuration_is_read_from_is_not_read_by_whichever_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["hookward.toml", "key", "body.json"] {
            fs::write(at(name), "{}").unwrap();
        }
        fs::hard_link(at("key"), at("other-name")).unwrap();
        symlink("key", at("link")).unwrap();
        fs::create_dir_all(at("data/audit")).unwrap();
        fs::write(at("data/audit/signing.key"), "{}").unwrap();
        let own = [at("hookward.toml"), at("link"), at("gone"), at("data")];
        for (name, is_read) in [
            ("hookward.toml", false),
            ("key", false),
            ("other-name", false),
            ("data/audit/signing.key", false),
            ("body.json", true),
        ] {
            match read(dir.path(), Path::new(name), 16, &own) {
                Ok(_) => assert!(is_read, "{name}"),
                Err(error) => assert!(
                    !is_read && error.to_string().contains("the configuration is"),
                    "{name}"
                ),
            }
        }
    }

    #[test]
    fn what_is_read_from_within_the_store_is_in_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let within = dir.path().join("audit");
        fs::create_dir(&within).unwrap();
        fs::write(within.join("signing.key"), "key").unwrap();
        let said = |own: &[PathBuf]| read(&within, Path::new("signing.key"), 16, own);
        assert_eq!(said(&[]).unwrap(), b"key");
        assert!(matches!(said(&[dir.path().to_owned()]), Err(NotRead::Configured)));
    }

    #[test]
    fn a_capture_without_a_directory_is_in_the_current_one() {
        for (capture, directory) in
            [(None, "."), (Some("a.http"), "."), (Some("in/a.http"), "in"), (Some("/a.http"), "/")]
        {
            assert_eq!(super::directory(capture.map(Path::new)), Path::new(directory));
        }
    }
}
