//! Whether the store is its owner's alone. It holds patients' data as it was sent.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::OpenError;
use super::open::User;

/// Bits of a mode that let others than the owner read or change something.
const OPEN_TO_OTHERS: u32 = 0o066;

/// What in the store's directory is ours. Something else there is not judged: `lost+found`, or a
/// file that somebody has put there.
const OURS: [&str; 8] = [
    "journal",
    "index",
    "index.unusable",
    "catalogue",
    "audit",
    "lock",
    "rekey.lock",
    "admin.sock",
];

/// Refuses a store that others may read or change: its directory, or anything of ours in it; and one
/// that is not this user's. Links at the top are followed, since a part of the store may lie on
/// another disk.
///
/// # Errors
/// [`OpenError::Exposed`] or [`OpenError::Foreign`], naming the first such thing;
/// [`OpenError::AsRoot`]; [`OpenError::Io`].
pub(super) fn check(store: &Path) -> Result<(), OpenError> {
    check_for(store, geteuid().as_raw())
}

/// The same, for who only looks: root does so on behalf of the store's owner.
///
/// # Errors
/// As [`check`].
pub(super) fn look(store: &Path) -> Result<(), OpenError> {
    let user = geteuid().as_raw();
    let owner = fs::metadata(store).map_or(user, |found| found.uid());
    check_for(store, if user == 0 { owner } else { user })
}

/// Somebody else's store, in which files would be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store {} belongs to {}, and only that user can do this: the gateway could not open what {} \
     writes there; run it as that user",
    .path.display(), User(*.owner), User(*.user)
)]
pub struct NotOwner {
    /// The store's directory.
    pub path: PathBuf,
    /// Whose it is.
    pub owner: u32,
    /// Who asks.
    pub user: u32,
}

/// Whether this user's files in the store are its owner's. Root, or whoever else may write there, would
/// leave some that the gateway cannot open.
///
/// # Errors
/// As the file system says.
pub(super) fn owned(store: &Path) -> io::Result<Result<(), NotOwner>> {
    let owner = fs::metadata(store)?.uid();
    let user = geteuid().as_raw();
    let foreign = NotOwner { path: store.to_owned(), owner, user };
    Ok(if owner == user { Ok(()) } else { Err(foreign) })
}

fn check_for(store: &Path, user: u32) -> Result<(), OpenError> {
    let judge = Judge { store, user };
    judge.one(store, &judge.look(store, fs::metadata(store))?)?;
    for path in OURS.map(|name| store.join(name)) {
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => judge.tree(&path, &judge.look(&path, found)?)?,
        }
    }
    Ok(())
}

struct Judge<'a> {
    store: &'a Path,
    user: u32,
}

impl Judge<'_> {
    /// The thing itself and, if it is a directory, what is in it.
    fn tree(&self, path: &Path, found: &Metadata) -> Result<(), OpenError> {
        self.one(path, found)?;
        if !found.is_dir() {
            return Ok(());
        }
        for entry in self.look(path, fs::read_dir(path))? {
            let entry = self.look(path, entry)?;
            match entry.metadata() {
                // A link has no mode that counts, and we make none.
                Ok(found) if found.is_symlink() => {}
                // Gone in the meantime: a gateway that runs has the store.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                found => self.tree(&entry.path(), &self.look(&entry.path(), found)?)?,
            }
        }
        Ok(())
    }

    fn one(&self, path: &Path, found: &Metadata) -> Result<(), OpenError> {
        self.owned(path, found.uid())?;
        let mode = found.permissions().mode() & 0o7777;
        if mode & OPEN_TO_OTHERS == 0 {
            return Ok(());
        }
        Err(OpenError::Exposed { store: self.store.to_owned(), path: path.to_owned(), mode })
    }

    /// Root may open everything, but what it writes into another user's store that user could not
    /// open. In a store of root's own nothing is in its way.
    fn owned(&self, path: &Path, owner: u32) -> Result<(), OpenError> {
        let (store, path, user) = (self.store.to_owned(), path.to_owned(), self.user);
        match user {
            _ if owner == user => Ok(()),
            0 if path == store => Err(OpenError::AsRoot { store, owner }),
            0 => Ok(()),
            _ => Err(OpenError::Foreign { store, path, owner, user }),
        }
    }

    fn look<T>(&self, path: &Path, found: io::Result<T>) -> Result<T, OpenError> {
        found.map_err(|source| OpenError::Io { what: "looking at", path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// A store of which everything is private.
    fn store() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        set(dir.path(), 0o700);
        for name in ["journal", "index", "index/blobs"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            set(&dir.path().join(name), 0o700);
        }
        for name in ["lock", "journal/0000000001.seg", "index/db", "index/blobs/1"] {
            fs::write(dir.path().join(name), "").unwrap();
            set(&dir.path().join(name), 0o600);
        }
        dir
    }

    #[test]
    fn a_private_store_is_fine() {
        let dir = store();
        check(dir.path()).unwrap();
        set(dir.path(), 0o711);
        check(dir.path()).unwrap();
    }

    #[test]
    fn anything_of_ours_that_is_open_to_others_is_found() {
        for name in ["", "journal", "journal/0000000001.seg", "index/blobs/1", "lock"] {
            for bits in [0o040, 0o020, 0o004, 0o002] {
                let dir = store();
                let path = dir.path().join(name);
                let private = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
                set(&path, private | bits);
                match check(dir.path()) {
                    Err(OpenError::Exposed { path: found, mode, .. }) => {
                        assert_eq!((&found, mode), (&path, private | bits));
                    }
                    other => panic!("{name} {bits:o}: {other:?}"),
                }
                set(&path, private);
                check(dir.path()).unwrap();
            }
        }
    }

    #[test]
    fn what_is_not_ours_is_not_judged() {
        let dir = store();
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        set(&dir.path().join("lost+found"), 0o755);
        std::os::unix::fs::symlink("/", dir.path().join("journal/elsewhere")).unwrap();
        check(dir.path()).unwrap();
    }

    /// A start as root, once, left a segment of root's in the service's store. From then on the service
    /// said "permission denied" of something.
    #[test]
    fn what_another_user_owns_is_named_with_its_owner_and_what_to_do() {
        let dir = store();
        let own = geteuid().as_raw();
        let judge = |user| Judge { store: dir.path(), user };
        let segment = dir.path().join("journal/0000000001.seg");
        let said = judge(990).owned(&segment, 0).unwrap_err().to_string();
        let path = dir.path().display();
        assert!(said.contains(&format!("{} belongs to root", segment.display())), "{said}");
        assert!(
            said.contains(&format!("uid 990 cannot open it; run: chown -R 990 {path}")),
            "{said}"
        );
        let said = judge(0).owned(dir.path(), 990).unwrap_err().to_string();
        assert!(said.contains(&format!("{path} belongs to uid 990")), "{said}");
        assert!(said.contains("start it as that user"), "{said}");
        assert!(said.contains(&format!("chown -R root {path}")), "{said}");
        judge(0).owned(&segment, 990).unwrap();
        judge(990).owned(&segment, 990).unwrap();
        // And it is looked at, of everything.
        check_for(dir.path(), own).unwrap();
        let found = check_for(dir.path(), own + 1);
        assert!(
            matches!(found, Err(OpenError::Foreign { owner, .. }) if owner == own),
            "{found:?}"
        );
    }

    #[test]
    fn the_refusal_says_what_to_run() {
        let dir = store();
        set(dir.path(), 0o755);
        let said = check(dir.path()).unwrap_err().to_string();
        let path = dir.path().display();
        assert!(said.contains(&format!("{path} has mode 0755")), "{said}");
        assert!(said.contains(&format!("chmod -R go-rwx {path}")), "{said}");
        assert!(said.contains("StateDirectoryMode=0700"), "{said}");
    }
}
