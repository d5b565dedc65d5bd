//! Account keys and certificates, kept in a directory: each file is written whole, synced and
//! renamed into place, for its owner alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::config::Acme;
use crate::pem::{self, Identity, PemError};

/// Why account keys and certificates cannot be kept. All of it is the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The file system says no.
    #[error("server.tls.acme.cache: {path}: {source}", path = .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Keys would lie open.
    #[error(
        "server.tls.acme.cache: {path} is open to others (mode {mode:04o}); chmod 700 it",
        path = .path.display()
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// The directory.
#[derive(Clone, Debug)]
pub(super) struct Cache(PathBuf);

impl Cache {
    /// The directory, which is made if it is not there.
    pub(super) fn open(dir: &Path) -> Result<Self, CacheError> {
        let failed = |source| CacheError::Io { path: dir.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let mode = fs::metadata(dir).map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(CacheError::Open { path: dir.to_owned(), mode });
        }
        Ok(Self(dir.to_owned()))
    }

    /// What the file holds; `None`: it is not there.
    fn read(&self, file: &str) -> Result<Option<Zeroizing<Vec<u8>>>, PemError> {
        match pem::read(&self.0.join(file)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(PemError::Unreadable(io::ErrorKind::NotFound)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// [`Cache::read`], of a file that may be missing or broken.
    pub(super) async fn find(&self, file: String) -> Option<Zeroizing<Vec<u8>>> {
        let cache = self.clone();
        spawn_blocking(move || cache.read(&file)).await.ok()?.ok()?
    }

    /// Puts the file in place, or leaves what was there. Ready when it is on stable storage.
    pub(super) async fn write(
        &self,
        file: String,
        bytes: Zeroizing<Vec<u8>>,
    ) -> Result<(), CacheError> {
        let dir = self.0.clone();
        let path = dir.join(&file);
        let written = spawn_blocking(move || write(&dir, &file, &bytes)).await;
        let written = written.unwrap_or_else(|_| Err(io::Error::other("writing has panicked")));
        written.map_err(|source| CacheError::Io { path, source })
    }
}

fn write(dir: &Path, file: &str, bytes: &[u8]) -> io::Result<()> {
    let unfinished = dir.join(format!("{file}.new"));
    // One that was left behind may have another owner's rights.
    drop(fs::remove_file(&unfinished));
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    new.write_all(bytes)?;
    new.sync_all()?;
    fs::rename(&unfinished, dir.join(file))?;
    File::open(dir)?.sync_all()
}

/// Which certificate: of which authority, and for which names. Another order of the names makes
/// no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept(String);

impl Kept {
    pub(super) fn of(acme: &Acme) -> Self {
        let mut names: Vec<_> = acme.domains.iter().map(String::as_str).collect();
        names.sort_unstable();
        Self(digest(&[&[acme.directory.as_str()], names.as_slice()].concat()))
    }

    pub(super) fn file(&self) -> String {
        format!("certificate-{}.pem", self.0)
    }

    /// The certificate in the cache, with its key. One that cannot be used is told and left: the
    /// next one replaces it.
    pub(super) fn read(&self, cache: &Cache) -> Option<Identity> {
        let identity =
            cache.read(&self.file()).and_then(|bytes| bytes.map(|b| identity(&b)).transpose());
        identity.unwrap_or_else(|error| {
            let path = cache.0.join(self.file());
            tracing::error!(
                target: "hookward::tls",
                path = %path.display(), %error, "a kept certificate cannot be used; another will be ordered"
            );
            None
        })
    }
}

/// A key and then its chain, own certificate first, in one file: they cannot get separated.
pub(super) fn identity(pem: &[u8]) -> Result<Identity, PemError> {
    Identity::new(pem::certificates(pem, pem::MAX_CHAIN)?, &*pem::private_key(pem)?)
}

/// The file of the account with this authority.
pub(super) fn account_file(acme: &Acme) -> String {
    format!("account-{}.json", digest(&[&acme.directory]))
}

/// Enough to tell a few apart.
fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        // In none of them.
        hash.update(b"\n");
    }
    hex::encode(hash.finalize().get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn acme(dir: &Path, domains: &[&str]) -> Acme {
        Acme {
            domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
            contact: Vec::new(),
            directory: "https://acme.example/directory".to_owned(),
            cache: dir.join("a").join("cache"),
            ca: None,
        }
    }

    /// A key, and the certificate for it.
    fn pem(name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
        (key.serialize_pem(), own.pem())
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[tokio::test]
    async fn what_is_kept_is_its_owners_alone_and_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let acme = acme(dir.path(), &["a.example"]);
        let cache = Cache::open(&acme.cache).unwrap();
        assert_eq!(mode(&acme.cache), 0o700);
        let kept = Kept::of(&acme);
        assert!(kept.read(&cache).is_none());
        // A file that a crash has left behind, open to others.
        let left = acme.cache.join(format!("{}.new", kept.file()));
        fs::write(&left, "half").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o644)).unwrap();
        for name in ["first.example", "second.example"] {
            let (key, own) = pem(name);
            cache.write(kept.file(), (key + &own).into_bytes().into()).await.unwrap();
            assert_eq!(kept.read(&cache).unwrap().facts.names, [name]);
        }
        assert_eq!(mode(&acme.cache.join(kept.file())), 0o600);
        assert_eq!(fs::read_dir(&acme.cache).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_kept_certificate_that_cannot_be_used_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let acme = acme(dir.path(), &["a.example"]);
        let cache = Cache::open(&acme.cache).unwrap();
        let ((key, own), (other, _)) = (pem("a.example"), pem("a.example"));
        let half = own[..own.len() / 2].to_owned();
        let bad =
            [String::new(), "no PEM".into(), key.clone(), own.clone(), key + &half, other + &own];
        for text in bad {
            cache.write(Kept::of(&acme).file(), text.clone().into_bytes().into()).await.unwrap();
            assert!(Kept::of(&acme).read(&cache).is_none(), "{text}");
        }
    }

    #[test]
    fn a_certificate_is_told_by_its_names_and_its_authority() {
        let dir = Path::new("/");
        let kept = |domains: &[&str]| Kept::of(&acme(dir, domains));
        assert_eq!(kept(&["a.example", "b.example"]), kept(&["b.example", "a.example"]));
        assert_ne!(kept(&["a.example"]), kept(&["b.example"]));
        assert_ne!(kept(&["a.example"]), kept(&["a.example", "b.example"]));
        let mut elsewhere = acme(dir, &["a.example"]);
        elsewhere.directory.push('2');
        assert_ne!(kept(&["a.example"]), Kept::of(&elsewhere));
        assert_ne!(account_file(&acme(dir, &["a.example"])), account_file(&elsewhere));
    }

    #[test]
    fn a_directory_that_is_open_or_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o750)).unwrap();
        let error = Cache::open(&open).unwrap_err().to_string();
        let path = open.display();
        let expected = "is open to others (mode 0750); chmod 700 it";
        assert_eq!(error, format!("server.tls.acme.cache: {path} {expected}"));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Cache::open(&file.join("cache")).unwrap_err().to_string();
        let file = file.display();
        assert!(error.starts_with(&format!("server.tls.acme.cache: {file}/cache: ")), "{error}");
    }
}
