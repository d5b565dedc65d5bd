//! What would be wrong with the store if the gateway ran with it now. Makes and changes nothing.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::defaults::audit::LEFT_FREE;
use crate::config::units::show_size;
use crate::config::{AuditTarget, Config, Store as Configured};
use crate::event::OutputName;
use crate::store::{OpenError, Store};

/// With less free space than this it will soon be full, whatever `min_free` is.
const LITTLE: u64 = 64 << 20;

/// Doubtful about the store as it is now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Doubt {
    /// New events would be refused.
    #[error("store.min_free: {} has {} free, less than {}: new events are refused until there is more",
        .path.display(), shown(*.free), show_size(*.min_free))]
    Low {
        /// The store's directory, or the nearest one above it that is there.
        path: PathBuf,
        /// What is free there, in bytes.
        free: u64,
        /// What should be.
        min_free: u64,
    },
    /// It will soon be full.
    #[error("store.path: {} has only {} free", .path.display(), shown(*.free))]
    Little {
        /// The store's directory, or the nearest one above it that is there.
        path: PathBuf,
        /// What is free there, in bytes.
        free: u64,
    },
    /// Something else fills the same file system.
    #[error("audit.output.{name}.path: on the store's file system: it grows with what is refused, and waits while less than {} is free (twice store.min_free); better on another one",
        show_size(.min_free.saturating_mul(LEFT_FREE)))]
    Shared {
        /// The output.
        name: OutputName,
        /// `store.min_free`
        min_free: u64,
    },
    /// What goes from the store stays on its file system.
    #[error("audit.archive: on the store's file system: what goes there from the audit trail takes its space for good, and \
        nothing goes, so that the trail grows beyond audit.max_size, while less than {} is free (twice store.min_free); \
        better on another one",
        show_size(.min_free.saturating_mul(LEFT_FREE)))]
    SharedArchive {
        /// `store.min_free`
        min_free: u64,
    },
    /// Nothing of the audit trail can go there, and a directory that is made later stays closed to the
    /// sandbox.
    #[error("{key}: no directory {}: make it before the start, owned by the gateway's user; until then what \
        should go there waits, and a warning is logged", .path.display())]
    Absent {
        /// The configuration's.
        key: String,
        /// The directory.
        path: PathBuf,
    },
    /// `run` would refuse it.
    #[error("store.path: `hookward run` would not start: {0}")]
    Refused(OpenError),
}

/// All that is doubtful. What this user cannot look at is not.
pub(super) fn doubts(configured: &Configured) -> Vec<Doubt> {
    let refused = Store::complaint(&configured.path).map(Doubt::Refused);
    let space = free_around(&configured.path);
    let space = space.and_then(|(path, free)| judge_space(path, free, configured.min_free));
    refused.into_iter().chain(space).collect()
}

/// The outputs whose files take the store's space, and the archive that does.
pub(super) fn sharing(config: &Config) -> Vec<Doubt> {
    let store = device(&config.store.path);
    let min_free = config.store.min_free;
    let shared = config.audit.outputs.iter().filter(|output| match &output.target {
        AuditTarget::File(path) => store.is_some() && device(path) == store,
        AuditTarget::Syslog(_) => false,
    });
    let shared = shared.map(|output| Doubt::Shared { name: output.name.clone(), min_free });
    let archive = config.audit.archive.iter();
    let archive = archive.filter(|path| store.is_some() && device(path) == store);
    archive.map(|_| Doubt::SharedArchive { min_free }).chain(shared).collect()
}

/// The directories of the audit trail's that are not there. Nobody but their owner makes them: what is
/// mounted there may only be missing.
pub(super) fn absent(config: &Config) -> Vec<Doubt> {
    let audit = &config.audit;
    let archive = audit.archive.iter().map(|path| ("audit.archive".to_owned(), &**path));
    let within = |path| Path::parent(path).unwrap_or(Path::new("/"));
    let checkpoints = audit.checkpoints.file.iter();
    let checkpoints = checkpoints.map(|path| ("audit.checkpoints.file".to_owned(), within(path)));
    let outputs = audit.outputs.iter().filter_map(|output| match &output.target {
        AuditTarget::File(path) => {
            Some((format!("audit.output.{}.path", output.name), within(path)))
        }
        AuditTarget::Syslog(_) => None,
    });
    let named = archive.chain(checkpoints).chain(outputs);
    let missing = named.filter(|(_, path)| !path.as_os_str().is_empty() && !path.is_dir());
    missing.map(|(key, path)| Doubt::Absent { key, path: path.to_owned() }).collect()
}

/// The file system that something is on, or would be.
fn device(path: &Path) -> Option<u64> {
    around(path).find_map(|path| Some(std::fs::metadata(path).ok()?.dev()))
}

fn judge_space(path: &Path, free: u64, min_free: u64) -> Option<Doubt> {
    let path = path.to_owned();
    if free < min_free {
        return Some(Doubt::Low { path, free, min_free });
    }
    (free < LITTLE).then_some(Doubt::Little { path, free })
}

/// What is free where the store is or would be.
fn free_around(path: &Path) -> Option<(&Path, u64)> {
    around(path).find_map(|path| {
        let stat = rustix::fs::statvfs(path).ok()?;
        Some((path, stat.f_bavail.saturating_mul(stat.f_frsize)))
    })
}

/// It, and the directories around it, from the nearest on.
fn around(path: &Path) -> impl Iterator<Item = &Path> {
    let here = Some(Path::new(".")).filter(|_| path.is_relative());
    path.ancestors().filter(|path| !path.as_os_str().is_empty()).chain(here)
}

/// To whole MiB, or KiB.
fn shown(bytes: u64) -> String {
    let unit = if bytes < 1 << 20 { 1 << 10 } else { 1 << 20 };
    show_size(bytes / unit * unit)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn told(path: &Path, min_free: u64) -> Vec<String> {
        let retention = std::time::Duration::from_secs(1);
        let encryption_keys = Vec::new();
        let store = Configured { path: path.to_owned(), retention, min_free, encryption_keys };
        doubts(&store).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_store_that_is_open_to_others_is_told_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("data");
        assert_eq!(told(&store, 0), [""; 0]);
        assert!(!store.exists());
        fs::create_dir(&store).unwrap();
        fs::set_permissions(&store, fs::Permissions::from_mode(0o750)).unwrap();
        let all = told(&store, 0);
        let [refused] = &all[..] else { panic!("{all:?}") };
        assert!(refused.contains("would not start"), "{refused}");
        assert!(refused.contains("has mode 0750; run: chmod -R go-rwx"), "{refused}");
    }

    #[test]
    fn too_little_space_is_told_where_it_is_too_little() {
        let dir = tempfile::tempdir().unwrap();
        // Neither is there yet.
        let all = told(&dir.path().join("data/store"), u64::MAX);
        let [low] = &all[..] else { panic!("{all:?}") };
        assert!(
            low.starts_with(&format!("store.min_free: {} has ", dir.path().display())),
            "{low}"
        );
        let said = |free, min_free| {
            judge_space(Path::new("/s"), free, min_free).map(|doubt| doubt.to_string())
        };
        assert_eq!(said(LITTLE, LITTLE), None);
        assert_eq!(said(LITTLE - 1, 0).unwrap(), "store.path: /s has only 63MiB free");
        assert_eq!(
            said((100 << 20) - 1, 100 << 20).unwrap(),
            "store.min_free: /s has 99MiB free, less than 100MiB: new events are refused until there is more"
        );
        assert_eq!(said(5000, 0).unwrap(), "store.path: /s has only 4KiB free");
    }
}
