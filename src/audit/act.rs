//! What an operator does with a store, through the running gateway or with the files: recorded beside
//! them, one line of JSON each in `PATH/audit/acts.jsonl`. This is the one place that such acts go
//! through.

use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, mkdirat, openat};
use rustix::io::Errno;
use serde::Serialize;

use crate::clock::Clock;
use crate::regular;

const DIR: &str = "audit";
pub(super) const FILE: &str = "acts.jsonl";

/// Who acts, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Who {
    /// The user that the process runs as.
    pub uid: u32,
    /// The user that has signed in to the machine, whoever it has become since; `None`: the kernel
    /// does not tell, or nobody has, as with a timer.
    pub login_uid: Option<u32>,
}

impl Who {
    /// Who runs this process.
    pub fn here() -> Self {
        // The value of a process that nobody's sign-in has led to.
        const NOBODY: u32 = u32::MAX;
        let login = fs::read_to_string("/proc/self/loginuid").ok();
        let login_uid = login.and_then(|uid| uid.trim().parse().ok()).filter(|uid| *uid != NOBODY);
        Self { uid: rustix::process::getuid().as_raw(), login_uid }
    }
}

/// Who acts through the running gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Operator {
    /// How they were let in: by the token of this name, or as the user behind the Unix socket, such as
    /// `uid 0 (root)`.
    pub who: String,
    /// From where: an address, or `admin.sock`.
    pub peer: String,
}

/// Who a record is about.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Actor {
    Process(Who),
    Operator(Operator),
}

/// No record of an act is longer, but that of a bulk replay over many upstreams.
const LONGEST: u64 = 16 << 10;

/// The acts of one run of a command, or of one request, each with the same id.
#[derive(Debug)]
pub struct Acts {
    file: File,
    path: PathBuf,
    id: String,
    who: Actor,
}

#[derive(Serialize)]
struct Line<'a, T> {
    time: String,
    id: &'a str,
    reason: &'static str,
    #[serde(flatten)]
    who: &'a Actor,
    #[serde(flatten)]
    details: &'a T,
}

impl Acts {
    /// Makes sure that acts on the store in this directory can be recorded.
    ///
    /// # Errors
    /// As the file system says: then nothing may be done that has to be recorded. So it is with what
    /// another user has put in place of the directory or the file.
    pub fn open(store: &Path) -> io::Result<Self> {
        Self::open_as(store, Actor::Process(Who::here()))
    }

    /// The same, for what this operator has the gateway do.
    ///
    /// # Errors
    /// As [`Acts::open`].
    pub fn of(store: &Path, operator: Operator) -> io::Result<Self> {
        Self::open_as(store, Actor::Operator(operator))
    }

    fn open_as(store: &Path, who: Actor) -> io::Result<Self> {
        let (dir, path) = (store.join(DIR), store.join(DIR).join(FILE));
        let top = File::open(store)?;
        let owner = top.metadata()?;
        let ours = rustix::process::geteuid().as_raw() == owner.uid();
        let heir = (!ours).then_some(&owner);
        let dir = open_dir(&top, heir).map_err(|error| naming(error, &dir))?;
        let file = open_file(&dir, heir, &path)?;
        let id = format!("{:016x}", fastrand::u64(..));
        let acts = Self { file, path, id, who };
        acts.reserve()?;
        Ok(acts)
    }

    /// Makes sure that the disk has room for another record, where the file system can.
    ///
    /// # Errors
    /// As the file system says: then nothing may be done that has to be recorded.
    pub(crate) fn reserve(&self) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, size, LONGEST) {
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::ROFS | Errno::FBIG)) => {
                Err(error.into())
            }
            // Whatever else: this file system, or a filter of system calls, does not know it.
            _ => Ok(()),
        }
    }

    /// Where they are recorded.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records one, on stable storage. `details` must hold no payload.
    ///
    /// # Errors
    /// As the file system says.
    pub fn record(&self, reason: &'static str, details: &impl Serialize) -> io::Result<()> {
        self.write(&self.line(reason, details)?)
    }

    /// The record, as it is to be written.
    pub(super) fn line(
        &self,
        reason: &'static str,
        details: &impl Serialize,
    ) -> io::Result<Vec<u8>> {
        let time = Clock::System.now().to_string();
        let line = Line { time, id: &self.id, reason, who: &self.who, details };
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Writes a line, on stable storage.
    pub(super) fn write(&self, line: &[u8]) -> io::Result<()> {
        // One write, so that lines of several processes do not mix.
        match is_torn(&self.file)? {
            true => (&self.file).write_all(&[b"\n", line].concat())?,
            false => (&self.file).write_all(line)?,
        }
        self.file.sync_data()
    }
}

/// Whether what stands there does not end with its line: after a power cut, or on a disk that had room for
/// no more of it.
fn is_torn(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(false) };
    let mut end = [0];
    file.read_exact_at(&mut end, last)?;
    Ok(end != *b"\n")
}

// Root works here in a directory of the service's user, who may be anybody's by now. Everything is
// opened beneath the directory that was opened before it, through no link of that user's, and only what
// was made here is given away, by its descriptor: a name could mean something else a moment later.

/// The directory that the file is in; one that is made is the heir's. The owner's own may be a link.
fn open_dir(store: &File, heir: Option<&Metadata>) -> io::Result<File> {
    let made = match mkdirat(store, DIR, Mode::RWXU) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, made || heir.is_some());
    let dir = File::from(openat(store, DIR, flags, Mode::empty())?);
    if made {
        hand_over(&dir, heir)?;
        store.sync_all()?;
    }
    Ok(dir)
}

/// The file to append to; one that is made is the heir's.
fn open_file(dir: &File, heir: Option<&Metadata>, path: &Path) -> io::Result<File> {
    let open = |more: OFlags| -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CLOEXEC;
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | more;
        openat(dir, FILE, flags, Mode::RUSR | Mode::WUSR)
    };
    match open(OFlags::CREATE | OFlags::EXCL) {
        Ok(made) => {
            let file = File::from(made);
            hand_over(&file, heir)?;
            dir.sync_all()?;
            return Ok(file);
        }
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let found = open(OFlags::empty()).map_err(|error| regular::in_words(error.into(), path))?;
    let file = regular::regular(File::from(found), path)?;
    let owner = file.metadata()?.uid();
    // Another name of a file that is not the heir's.
    if heir.is_some_and(|heir| heir.uid() != owner) {
        let message = format!("{} belongs to uid {owner}, not to the store's user", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(file)
}

/// The gateway must be able to read on in what root has begun.
fn hand_over(made: &File, heir: Option<&Metadata>) -> io::Result<()> {
    heir.map_or(Ok(()), |heir| fchown(made, Some(heir.uid()), Some(heir.gid())))
}

fn naming(error: io::Error, dir: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", dir.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use rustix::fs::{CWD, FileType, mknodat};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn acts_are_lines_that_say_who_and_when() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let acts = Acts::open(dir.path()).unwrap();
            acts.record("exported", &json!({ "phase": "begun", "filter": {} })).unwrap();
            acts.record("exported", &json!({ "phase": "ended", "count": 3 })).unwrap();
        }
        let text = fs::read_to_string(dir.path().join("audit/acts.jsonl")).unwrap();
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0]["uid"], rustix::process::getuid().as_raw());
        assert_eq!((&lines[1]["reason"], &lines[1]["count"]), (&json!("exported"), &json!(3)));
        assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
        assert_eq!(lines[0]["id"], lines[1]["id"]);
        assert_ne!(lines[0]["id"], lines[2]["id"]);
        for (path, mode) in [("audit", 0o700), ("audit/acts.jsonl", 0o600)] {
            let found = fs::metadata(dir.path().join(path)).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{path}");
        }
    }

    #[test]
    fn an_operator_s_acts_say_how_they_were_let_in() {
        let dir = tempfile::tempdir().unwrap();
        let operator = Operator { who: "alice".into(), peer: "192.0.2.1".into() };
        let acts = Acts::of(dir.path(), operator).unwrap();
        acts.record("released", &json!({ "event": "e", "why": null })).unwrap();
        let text = fs::read_to_string(acts.path()).unwrap();
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["who"], &line["peer"]), (&json!("alice"), &json!("192.0.2.1")));
        assert_eq!((&line["reason"], &line["event"]), (&json!("released"), &json!("e")));
        assert!(line["uid"].is_null(), "not the gateway's own user: {line}");
    }

    /// A record went on where one had been cut off by a full disk, and neither could be read.
    #[test]
    fn a_line_that_was_cut_off_does_not_take_the_next_one_along() {
        let dir = tempfile::tempdir().unwrap();
        Acts::open(dir.path()).unwrap().record("exported", &json!({})).unwrap();
        let path = dir.path().join("audit/acts.jsonl");
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(br#"{"time":"2025"#);
        fs::write(&path, bytes).unwrap();
        Acts::open(dir.path()).unwrap().record("exported", &json!({})).unwrap();
        let text = fs::read_to_string(path).unwrap();
        let whole = text.lines().filter(|l| serde_json::from_str::<Value>(l).is_ok()).count();
        assert_eq!((text.lines().count(), whole), (3, 2));
    }

    /// A store of somebody else's, as root has it before it, and a directory outside of it.
    fn of_another() -> Option<(tempfile::TempDir, PathBuf, PathBuf)> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can give a directory away");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let (store, outside) = (dir.path().join("store"), dir.path().join("outside"));
        fs::create_dir_all(store.join("audit")).unwrap();
        fs::create_dir(&outside).unwrap();
        for path in [store.clone(), store.join("audit")] {
            chown(path, Some(990), Some(990)).unwrap();
        }
        Some((dir, store, outside))
    }

    fn refused(store: &Path, words: &str) {
        let said = Acts::open(store).unwrap_err().to_string();
        assert!(said.contains(words), "{words}: {said}");
    }

    /// Root followed a dangling link of the service's user, made the file, and gave it away.
    #[test]
    fn root_follows_no_link_that_the_store_s_user_has_put_there() {
        let Some((_dir, store, outside)) = of_another() else { return };
        let (acts, target) = (store.join("audit/acts.jsonl"), outside.join("target"));
        symlink(&target, &acts).unwrap();
        refused(&store, "acts.jsonl is a symbolic link, not a regular file");
        assert!(!target.exists());
        fs::remove_dir_all(store.join("audit")).unwrap();
        symlink(&outside, store.join("audit")).unwrap();
        refused(&store, "audit: ");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        assert_eq!(fs::metadata(&outside).unwrap().uid(), 0);
    }

    #[test]
    fn root_writes_to_nothing_else_that_the_store_s_user_has_put_there() {
        let Some((_dir, store, outside)) = of_another() else { return };
        let (acts, own) = (store.join("audit/acts.jsonl"), outside.join("own"));
        fs::write(&own, "root's").unwrap();
        fs::hard_link(&own, &acts).unwrap();
        refused(&store, "belongs to uid 0");
        fs::remove_file(&acts).unwrap();
        mknodat(CWD, &acts, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        refused(&store, "not a regular file");
        fs::remove_file(&acts).unwrap();
        fs::create_dir(&acts).unwrap();
        refused(&store, "directory");
        assert_eq!(fs::read_to_string(&own).unwrap(), "root's");
    }

    #[test]
    fn what_root_begins_is_the_store_s_user_s() {
        let Some((_dir, store, _)) = of_another() else { return };
        fs::remove_dir(store.join("audit")).unwrap();
        for _ in 0..2 {
            Acts::open(&store).unwrap().record("exported", &json!({})).unwrap();
        }
        for path in ["audit", "audit/acts.jsonl"] {
            let found = fs::metadata(store.join(path)).unwrap();
            assert_eq!((found.uid(), found.gid()), (990, 990), "{path}");
        }
    }

    /// An act was done on a full disk, answered as such, and recorded nowhere.
    #[test]
    fn nothing_is_done_where_there_is_no_room_to_record_it() {
        let dir = tempfile::tempdir().unwrap();
        let Some(_disk) = Tmpfs::mount(dir.path(), "256k") else { return };
        let fill = || {
            let mut file = File::create(dir.path().join("fill")).unwrap();
            while file.write_all(&[0; 4096]).is_ok() {}
        };
        let acts = Acts::open(dir.path()).unwrap();
        fill();
        acts.record("exported", &json!({ "note": "x".repeat(8_000) })).expect("room was kept");
        let full = io::ErrorKind::StorageFull;
        assert_eq!(acts.reserve().map_err(|error| error.kind()), Err(full));
        assert_eq!(Acts::open(dir.path()).map_err(|error| error.kind()).err(), Some(full));
        fs::remove_file(dir.path().join("fill")).unwrap();
        Acts::open(dir.path()).unwrap();
    }

    /// A small disk, while it is held.
    struct Tmpfs<'a>(&'a Path);

    impl<'a> Tmpfs<'a> {
        fn mount(at: &'a Path, size: &str) -> Option<Self> {
            let size = format!("size={size}");
            let mut mount = std::process::Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at);
            let is_mounted = mount.status().is_ok_and(|status| status.success());
            if !is_mounted {
                println!("skipped: no tmpfs can be mounted here");
            }
            is_mounted.then_some(Self(at))
        }
    }

    impl Drop for Tmpfs<'_> {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg("-l").arg(self.0).status();
        }
    }

    /// The trail may be on another disk, as every part of the store.
    #[test]
    fn the_owner_s_own_directory_may_be_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (store, elsewhere) = (dir.path().join("store"), dir.path().join("elsewhere"));
        fs::create_dir(&store).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, store.join("audit")).unwrap();
        Acts::open(&store).unwrap().record("exported", &json!({})).unwrap();
        assert!(elsewhere.join("acts.jsonl").exists());
    }
}
