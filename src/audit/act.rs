//! What an operator does with a store's files, recorded beside them: one line of JSON each in
//! `PATH/audit/acts.jsonl`. This is the one place that such acts go through.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::clock::Clock;

const DIR: &str = "audit";
const FILE: &str = "acts.jsonl";

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

/// The acts of one run of a command, each with the same id.
#[derive(Debug)]
pub struct Acts {
    file: File,
    path: PathBuf,
    id: String,
    who: Who,
}

#[derive(Serialize)]
struct Line<'a, T> {
    time: String,
    id: &'a str,
    reason: &'static str,
    #[serde(flatten)]
    who: Who,
    #[serde(flatten)]
    details: &'a T,
}

impl Acts {
    /// Makes sure that acts on the store in this directory can be recorded.
    ///
    /// # Errors
    /// As the file system says: then nothing may be done that has to be recorded.
    pub fn open(store: &Path) -> io::Result<Self> {
        let dir = store.join(DIR);
        let owner = fs::metadata(store)?;
        let ours = rustix::process::geteuid().as_raw() == owner.uid();
        // The gateway must be able to read on in what root has begun.
        let hand_over = |path: &Path| match ours {
            true => Ok(()),
            false => chown(path, Some(owner.uid()), Some(owner.gid())),
        };
        if !dir.exists() {
            DirBuilder::new().mode(0o700).create(&dir)?;
            hand_over(&dir)?;
            File::open(store)?.sync_all()?;
        }
        let path = dir.join(FILE);
        let existed = path.exists();
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        if !existed {
            hand_over(&path)?;
            File::open(&dir)?.sync_all()?;
        }
        let id = format!("{:016x}", fastrand::u64(..));
        Ok(Self { file, path, id, who: Who::here() })
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
        let time = Clock::System.now().to_string();
        let line = Line { time, id: &self.id, reason, who: self.who, details };
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        // One write, so that lines of several processes do not mix.
        (&self.file).write_all(&bytes)?;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

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
}
