//! `PATH/admin.sock`: the operators' way in on the gateway's own machine, for the store's owner and
//! root. The mode of the file says so, the store's directory, and the kernel for each connection.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use tokio::net::UnixListener;

/// The socket's name in the store's directory.
const NAME: &str = "admin.sock";

/// The longest path that a Unix socket can have on Linux, in bytes.
const MAX_PATH: usize = 107;

/// Where the socket of the store in this directory is.
pub fn path(store: &Path) -> PathBuf {
    store.join(NAME)
}

/// Whether the system can have a socket with this path.
pub fn fits(path: &Path) -> bool {
    path.as_os_str().as_bytes().len() <= MAX_PATH
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Its path is too long.
    #[error(
        "{} is too long for a Unix socket, which has at most {MAX_PATH} bytes; \
         give the store a shorter path, or use the commands with --url", .0.display()
    )]
    TooLong(PathBuf),
    /// Something else has its name.
    #[error("{} is there and is no socket; move it away", .0.display())]
    Taken(PathBuf),
    /// The system's.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The socket, with nobody let in yet.
#[derive(Debug)]
pub struct Socket {
    pub(crate) listener: UnixListener,
    pub(crate) path: PathBuf,
}

impl Socket {
    /// Binds the socket of the store in this directory, which must be open in this process: its lock
    /// is what tells a socket that a dead process has left, which is replaced, from a live one's.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn bind(store: &Path) -> Result<Self, SocketError> {
        let path = path(store);
        if !fits(&path) {
            return Err(SocketError::TooLong(path));
        }
        let failed = |source| SocketError::Io { path: path.clone(), source };
        match fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(&path).map_err(failed)?,
            Ok(_) => return Err(SocketError::Taken(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        // Until then the directory, which is its owner's alone, keeps others out.
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, path })
    }
}

/// Whether this user is let in: root, and whoever runs the gateway.
pub fn admits(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

/// Takes the socket away. To be called while the store is still locked.
pub fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(target: "hookward", path = %path.display(), %error, "the socket stays");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = Socket::bind(dir.path()).unwrap();
        let mode = fs::metadata(&first.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(first);
        assert!(path(dir.path()).exists(), "as after a crash");
        let second = Socket::bind(dir.path()).unwrap();
        tokio::net::UnixStream::connect(&second.path).await.unwrap();
        remove(&second.path);
        fs::write(&second.path, "something").unwrap();
        assert!(matches!(Socket::bind(dir.path()), Err(SocketError::Taken(_))));
        assert_eq!(fs::read_to_string(&second.path).unwrap(), "something");
    }

    #[tokio::test]
    async fn a_path_that_no_socket_can_have_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(100));
        fs::create_dir(&deep).unwrap();
        let said = Socket::bind(&deep).unwrap_err().to_string();
        assert!(said.contains("at most 107 bytes") && said.contains("--url"), "{said}");
    }
}
