//! The sandbox of `server.sandbox`: what the process does not need of the file system it cannot
//! touch any more, for good (Landlock, Linux 5.13), nor send signals to others or connect to their
//! abstract Unix sockets (Linux 6.12). The kernel keeps to it whatever the process is brought to do.
//!
//! Nothing is said about the network: where the gateway listens and connects to is the
//! configuration's, which a reload may change, and a sandbox can only ever be tightened.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, LandlockStatus,
    PathBeneath, PathFd, PathFdError, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetError, RulesetStatus, Scope, make_bitflags, path_beneath_rules,
};

use crate::config::{Audit, AuditTarget, Config, Tls};

/// The newest kernel interface whose rights are all taken away (Linux 6.12): those on files, and the
/// way out by abstract Unix sockets and signals, which are no files and need none to be found. Where
/// the kernel is older, what it knows is. Connecting to Unix sockets that are files, which came
/// later, is left: the system's resolver may stand behind one.
const NEWEST: ABI = ABI::V6;

/// Where systems keep the roots of TLS.
const TRUST: &[&str] = &[
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/lib/ssl",
    "/usr/share/ca-certificates",
    "/usr/share/pki",
    "/usr/local/share/ca-certificates",
    "/var/lib/ca-certificates",
];

/// Where the name servers stand. What manages the network replaces this file, dhclient at every
/// renewal, and then no name could be resolved any more: where it is not a link to elsewhere, all
/// files of `/etc` that everyone may read are kept. Not for root, who may read more than those.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What resolving a host's name reads: its configuration, and where that is kept by what manages
/// it; and the libraries that the C library loads for it.
const RESOLVER: &[&str] = &[
    RESOLV_CONF,
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ld.so.cache",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
];

/// What the process asks about itself and the machine: its limits, its metrics, the boot's id, and
/// what a user is called.
const SYSTEM: &[&str] = &[
    "/etc/passwd",
    "/proc/self",
    "/proc/stat",
    "/proc/sys/kernel/random/boot_id",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
];

/// Where rustls-native-certs looks first.
const TRUST_VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The kernel cannot, or is told not to.
    #[error("server.sandbox = true, but this kernel {0}; remove the key to run without a sandbox")]
    Unavailable(&'static str),
    /// A directory to be written to cannot be made.
    #[error("creating {} failed: {source}", .path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory to be written to cannot be opened.
    #[error("the sandbox cannot be set up: {0}")]
    Directory(#[from] PathFdError),
    /// The kernel refuses.
    #[error("the sandbox cannot be set up: {0}")]
    Kernel(#[from] RulesetError),
}

/// What the process keeps of the file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// To read, with everything beneath. What is not there is left out.
    pub read: Vec<PathBuf>,
    /// To read and write, with everything beneath: directories. They are made, mode 0700, if they
    /// are not there.
    pub write: Vec<PathBuf>,
    /// Those files to read that are kept without their directory: one that is put in their place
    /// cannot be read.
    pub alone: Vec<PathBuf>,
}

impl Kept {
    /// What running with this configuration, and reloading it, takes.
    ///
    /// Of each file that it names the whole directory is kept, since a file that is replaced is
    /// another one, and the directory of what it is a link to; but never one that belongs to the
    /// whole system, such as `/etc`. Parts of the store that are links lie elsewhere, and are kept
    /// there.
    pub fn of(config: &Config) -> Self {
        let mut kept = Self { write: vec![config.store.path.clone()], ..Self::default() };
        kept.write.extend(linked_directories(&config.store.path));
        let systems = [TRUST, RESOLVER, SYSTEM].into_iter().flatten();
        kept.read.extend(systems.map(PathBuf::from));
        if !rustix::process::geteuid().is_root() {
            kept.read.extend(replaced_in(Path::new(RESOLV_CONF)).map(PathBuf::from));
        }
        kept.read.extend(TRUST_VARIABLES.iter().filter_map(std::env::var_os).map(PathBuf::from));
        kept.files(config.files.iter().map(PathBuf::as_path));
        kept.write.extend(written(&config.audit));
        if let Some(Tls::Acme(acme)) = &config.server.tls {
            kept.write.push(acme.cache.clone());
        }
        kept
    }

    /// Whether the sandbox keeps the process from reading this file. One that is put in the place of
    /// one that was kept alone is left out as well, and cannot be told from it.
    pub fn leaves_out(&self, file: &Path) -> bool {
        let real = file.canonicalize().or_else(|_| std::path::absolute(file));
        let real = real.unwrap_or_else(|_| file.to_owned());
        let reaches = |kept: &PathBuf| real.starts_with(kept) && !self.alone.contains(kept);
        !self.read.iter().chain(&self.write).any(reaches)
    }

    /// The directories that the audit trail would be written to with this configuration, and which the
    /// sandbox keeps from being written to.
    pub fn keeps_closed(&self, audit: &Audit) -> Vec<PathBuf> {
        let open: Vec<PathBuf> = self.write.iter().map(|open| real(open)).collect();
        let closed = |dir: &PathBuf| !open.iter().any(|open| real(dir).starts_with(open));
        written(audit).filter(closed).collect()
    }

    fn files<'a>(&mut self, paths: impl IntoIterator<Item = &'a Path>) {
        for path in paths {
            let real = path.canonicalize().ok();
            for path in [Some(path), real.as_deref()].into_iter().flatten() {
                let kept = around(path);
                if kept == path && !self.alone.iter().any(|known| known == path) {
                    self.alone.push(path.to_owned());
                }
                if !self.read.contains(&kept) {
                    self.read.push(kept);
                }
            }
        }
    }
}

/// The path without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(path), _, _) => path,
        (Err(_), Some(parent), Some(name)) if parent != Path::new("") => real(parent).join(name),
        (Err(_), _, _) => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    }
}

/// The directories that the audit trail is written to beside the store.
fn written(audit: &Audit) -> impl Iterator<Item = PathBuf> {
    let checkpoints = audit.checkpoints.file.as_deref();
    let outputs = audit.outputs.iter().filter_map(|output| match &output.target {
        AuditTarget::File(path) => Some(&**path),
        AuditTarget::Syslog(_) => None,
    });
    let here = |dir: &Path| if dir == Path::new("") { ".".into() } else { dir.to_owned() };
    let of_files = checkpoints.into_iter().chain(outputs).filter_map(Path::parent).map(here);
    audit.archive.clone().into_iter().chain(of_files)
}

/// Where the links in this directory lead, if it is to directories.
fn linked_directories(directory: &Path) -> Vec<PathBuf> {
    let entries = directory.read_dir().into_iter().flatten().flatten();
    let links = entries.map(|entry| entry.path()).filter(|path| path.is_symlink());
    links.filter_map(|link| link.canonicalize().ok()).filter(|path| path.is_dir()).collect()
}

/// The directory that the file lies in; of one in the root directory, or in a directory in that
/// (`/etc`, `/home`, `/tmp`), the file alone: all kinds of things lie there.
fn around(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match absolute.parent() {
        Some(parent) if parent.ancestors().count() > 2 => parent.to_owned(),
        Some(_) | None => path.to_owned(),
    }
}

/// The directory of a file that is replaced by another one when it changes: a plain file, and not
/// one that is mounted there, as in containers.
fn replaced_in(file: &Path) -> Option<&Path> {
    let directory = file.parent()?;
    let (found, around) = (file.symlink_metadata().ok()?, directory.metadata().ok()?);
    (found.is_file() && found.dev() == around.dev()).then_some(directory)
}

/// How much the kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The kernel interface's version that holds.
    abi: ABI,
    /// Whether all that was asked for is enforced, and not only what an older kernel can.
    complete: bool,
}

/// Gives up everything but `kept`, for this thread and those that it starts. To be called while
/// there are no others.
///
/// # Errors
/// [`SandboxError`]; nothing is given up then.
pub fn enter(kept: &Kept) -> Result<Sandbox, SandboxError> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(&kept.read, read))?;
    for directory in &kept.write {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|source| SandboxError::Create { path: directory.clone(), source })?;
        rules = rules.add_rule(PathBeneath::new(PathFd::new(directory)?, write()))?;
    }
    let status = rules.restrict_self()?;
    match (status.landlock, status.ruleset) {
        (LandlockStatus::NotImplemented, _) => {
            Err(SandboxError::Unavailable("has no Landlock (Linux 5.13, CONFIG_SECURITY_LANDLOCK)"))
        }
        (LandlockStatus::NotEnabled, _) => {
            Err(SandboxError::Unavailable("has Landlock turned off (the boot parameter lsm=)"))
        }
        (LandlockStatus::Available { .. }, RulesetStatus::NotEnforced) => {
            Err(SandboxError::Unavailable("enforces nothing of it"))
        }
        (LandlockStatus::Available { effective_abi, .. }, enforced) => {
            Ok(Sandbox { abi: effective_abi, complete: enforced == RulesetStatus::FullyEnforced })
        }
    }
}

/// What the store and a certificate cache take: no devices, no links, no programs.
fn write() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{
        ReadFile | ReadDir | WriteFile | Truncate | Refer
        | MakeReg | MakeDir | MakeSock | RemoveFile | RemoveDir
    })
}

impl Sandbox {
    /// Tells it in the log.
    pub fn tell(self, kept: &Kept) {
        let written = kept.write.iter().map(|path| path.display().to_string());
        let written = written.collect::<Vec<_>>().join(", ");
        let abi = self.abi as i32;
        if self.complete {
            tracing::info!(target: "hookward", abi, writes = written, "sandbox entered");
        } else {
            tracing::warn!(
                target: "hookward",
                abi,
                writes = written,
                "sandbox entered, with less than asked for: the kernel is older than Linux 6.12"
            );
        }
        for file in &kept.alone {
            tracing::warn!(
                target: "hookward",
                file = %file.display(),
                "in the sandbox a new file in the place of this one cannot be read until a restart; keep it in a directory of its own"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind::PermissionDenied;
    use std::io::Write as _;
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::sync::mpsc::channel;

    use super::*;
    use crate::config::Checkpoints;

    /// Runs `work` in a sandbox of its own: it holds for the thread that enters it.
    fn inside<T: Send>(kept: &Kept, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let sandbox = enter(kept).unwrap();
                assert!(sandbox.complete, "this kernel is too old for the test: {sandbox:?}");
                work()
            });
            thread.join().unwrap()
        })
    }

    fn denied<T: std::fmt::Debug>(result: io::Result<T>) {
        assert_eq!(result.unwrap_err().kind(), PermissionDenied);
    }

    #[test]
    fn only_what_is_kept_can_be_touched() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["read", "write", "other"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("file"), name).unwrap();
        }
        std::os::unix::fs::symlink(at("other/file"), at("read/link")).unwrap();
        let read = vec![at("read"), at("absent")];
        let kept = Kept { read, write: vec![at("write")], ..Kept::default() };
        inside(&kept, || {
            assert_eq!(fs::read(at("read/file")).unwrap(), b"read");
            assert_eq!(fs::read_dir(at("read")).unwrap().count(), 2);
            denied(fs::write(at("read/file"), "x"));
            denied(fs::write(at("read/new"), "x"));
            denied(fs::remove_file(at("read/file")));

            fs::write(at("write/file"), "x").unwrap();
            fs::create_dir(at("write/deep")).unwrap();
            fs::rename(at("write/file"), at("write/deep/file")).unwrap();
            fs::rename(at("write/deep"), at("write/deeper")).unwrap();
            let mut file = fs::File::options().append(true).open(at("write/deeper/file")).unwrap();
            file.write_all(b"y").unwrap();
            file.set_len(1).unwrap();
            fs::remove_dir_all(at("write/deeper")).unwrap();
            denied(std::os::unix::fs::symlink("/", at("write/link")));

            denied(fs::read(at("other/file")));
            denied(fs::read(at("read/link")));
            denied(fs::read_dir(at("other")));
            denied(fs::read_dir(dir.path()));
            denied(fs::write(at("new"), "x"));
            denied(fs::read("/etc/passwd"));
            denied(fs::read_dir("/"));
            denied(std::process::Command::new("/bin/true").status());
        });
        assert_eq!(fs::read(at("other/file")).unwrap(), b"other", "other threads go on");
    }

    /// Both need no file, and were left open: a process could be talked into ending others.
    #[test]
    fn others_get_no_signal_and_no_connection_to_an_abstract_socket() {
        let name = format!("hookward-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let _listener = UnixListener::bind_addr(&address).unwrap();
        let others = rustix::process::getppid().unwrap();
        // Whether a signal could be sent: none is.
        let signal = || rustix::process::test_kill_process(others);
        UnixStream::connect_addr(&address).unwrap();
        signal().unwrap();
        inside(&Kept::default(), || {
            denied(UnixStream::connect_addr(&address));
            assert_eq!(signal().unwrap_err(), rustix::io::Errno::PERM);
            rustix::process::test_kill_process(rustix::process::getpid()).unwrap();
        });
    }

    #[test]
    fn a_file_may_be_replaced_by_another() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["live", "archive", "store"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("archive/cert1.pem"), "old").unwrap();
        std::os::unix::fs::symlink("../archive/cert1.pem", at("live/cert.pem")).unwrap();
        let mut kept = Kept { write: vec![at("store")], ..Kept::default() };
        kept.files([at("live/cert.pem").as_path()]);
        let cert = at("live/cert.pem");
        let (have_read, was_read) = channel();
        let (have_renewed, was_renewed) = channel();
        std::thread::scope(|scope| {
            let kept = &kept;
            let thread = scope.spawn(move || {
                inside(kept, move || {
                    have_read.send(fs::read(&cert).unwrap()).unwrap();
                    was_renewed.recv().unwrap();
                    fs::read(&cert)
                })
            });
            assert_eq!(was_read.recv().unwrap(), b"old");
            // A renewal as ACME clients make it: a new file, a new link in the old one's place.
            fs::write(at("archive/cert2.pem"), "new").unwrap();
            std::os::unix::fs::symlink("../archive/cert2.pem", at("live/next")).unwrap();
            fs::rename(at("live/next"), at("live/cert.pem")).unwrap();
            have_renewed.send(()).unwrap();
            assert_eq!(thread.join().unwrap().unwrap(), b"new");
        });
    }

    #[test]
    fn files_of_the_audit_trail_may_lie_elsewhere() {
        let text = "[audit]\ncheckpoints = { file = \"/srv/proof/c.jsonl\" }\n\
                    [audit.output.a]\nkind = \"file\"\npath = \"/srv/log/a.jsonl\"\n\
                    [source.s]\nauth = { kind = \"none-dangerous\" }\n[upstream.u]\nurl = \"http://u/\"";
        let secrets = &crate::config::Placeholders;
        let (config, _) =
            crate::config::check_text(Path::new("/etc/h/hookward.toml"), text, secrets).unwrap();
        let kept = Kept::of(&config);
        for dir in ["/srv/proof", "/srv/log", "/etc/h/data"] {
            assert!(kept.write.iter().any(|kept| kept == Path::new(dir)), "{kept:?}");
        }
    }

    /// An output in a new directory was taken over by a reload, and never opened.
    #[test]
    fn what_a_reload_brings_the_sandbox_may_keep_closed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        ["store", "log"].into_iter().for_each(|name| fs::create_dir(at(name)).unwrap());
        std::os::unix::fs::symlink(at("log"), at("link")).unwrap();
        let kept = Kept { write: vec![at("store"), at("log")], ..Kept::default() };
        let output = |path: &str| Audit {
            archive: Some(at(path)),
            checkpoints: Checkpoints { file: Some(at(path).join("c.jsonl")), post: None },
            ..Audit::defaults()
        };
        for open in ["log", "link", "log/new", "link/../log"] {
            assert_eq!(kept.keeps_closed(&output(open)), [""; 0].map(PathBuf::from), "{open}");
        }
        for closed in ["other", "logs", "."] {
            assert_eq!(kept.keeps_closed(&output(closed)), [at(closed), at(closed)], "{closed}");
        }
        assert!(kept.keeps_closed(&Audit::defaults()).is_empty());
    }

    #[test]
    fn a_directory_to_write_to_is_made_or_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let kept = |name| Kept { write: vec![dir.path().join(name)], ..Kept::default() };
        inside(&kept("new"), || fs::write(dir.path().join("new/file"), "x").unwrap());
        let none = kept("file");
        let entered = std::thread::scope(|scope| scope.spawn(|| enter(&none)).join().unwrap());
        assert!(matches!(entered, Err(SandboxError::Create { .. })), "{entered:?}");
    }

    #[test]
    fn of_a_file_its_directory_is_kept_but_never_one_of_the_system() {
        let here = std::env::current_dir().unwrap();
        for (file, kept) in [
            ("/etc/hookward/hookward.toml", Path::new("/etc/hookward")),
            ("hookward.toml", &here),
            ("secrets/key", &here.join("secrets")),
            ("/etc/hookward.toml", Path::new("/etc/hookward.toml")),
            ("/key", Path::new("/key")),
        ] {
            assert_eq!(around(Path::new(file)), kept, "{file}");
        }
    }

    #[test]
    fn files_that_are_kept_alone_are_told() {
        let mut kept = Kept::default();
        let files = ["/etc/hookward.toml", "/etc/hookward/key", "/etc/hookward/other"];
        kept.files(files.map(Path::new));
        assert_eq!(kept.read, ["/etc/hookward.toml", "/etc/hookward"].map(PathBuf::from));
        assert_eq!(kept.alone, [PathBuf::from("/etc/hookward.toml")]);
    }

    /// dhclient puts a new file in the place of `/etc/resolv.conf`: then no name could be resolved.
    #[test]
    fn a_plain_file_is_replaced_where_it_lies_and_a_link_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("plain"), "").unwrap();
        std::os::unix::fs::symlink("plain", at("link")).unwrap();
        assert_eq!(replaced_in(&at("plain")), Some(dir.path()));
        assert_eq!(replaced_in(&at("link")), None);
        assert_eq!(replaced_in(&at("none")), None);
    }
}
