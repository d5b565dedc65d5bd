//! A file system of its own, in a file: its power can be cut, and it can be filled.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Where the kernel lists the mounted file systems of a kind.
const SYSFS: &str = "/sys/fs";
/// For the kernel to let go of a file system whose last user has just died.
const LONGEST_RELEASE: Duration = Duration::from_secs(20);

/// What file systems there are to try.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
}

/// A mounted file system in a file. It is gone with its owner.
pub(crate) struct Volume {
    kind: FileSystem,
    device: PathBuf,
    mount: PathBuf,
    mounted: bool,
    /// Waits for the word to cut the power: starting it then would take too long.
    switch: Option<Child>,
}

impl FileSystem {
    fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

impl Volume {
    /// Makes a file system of `mib` MiB in `directory` and mounts it there.
    ///
    /// # Errors
    /// What the machine lacks for it: root, loop devices or a tool.
    pub(crate) fn new(directory: &Path, kind: FileSystem, mib: u64) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("mounting needs root".to_owned());
        }
        let (image, mount) = (directory.join("volume"), directory.join("mount"));
        let file = File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(mib << 20).map_err(|error| error.to_string())?;
        fs::create_dir(&mount).map_err(|error| error.to_string())?;
        let image = image.to_str().unwrap_or_default();
        let format: &[&str] = match kind {
            // Nothing is kept for root: it is what the gateway runs as here.
            FileSystem::Ext4 => &["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard", image],
            FileSystem::Xfs => &["mkfs.xfs", "-q", "-K", image],
        };
        run(format)?;
        let device = run(&["losetup", "--find", "--show", image])?.trim().into();
        let mut volume = Self { kind, device, mount, mounted: false, switch: None };
        volume.mount()?;
        Ok(volume)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    /// Gets ready for [`Volume::cut_power`].
    pub(crate) fn arm(&mut self) {
        let mut command = Command::new("xfs_io");
        command.args(["-x", self.mount_str()]).env("PATH", path());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        self.switch = Some(command.spawn().unwrap());
    }

    /// The power goes: nothing that is not on the disk by now will ever be. With `flush_log` the
    /// file system still writes its own log out, but no data.
    pub(crate) fn cut_power(&mut self, flush_log: bool) {
        let mut switch = self.switch.take().expect("it is armed");
        let how = if flush_log { "shutdown -f" } else { "shutdown" };
        let mut stdin = switch.stdin.take().unwrap();
        stdin.write_all(format!("{how}\nquit\n").as_bytes()).unwrap();
        drop(stdin);
        assert!(switch.wait().unwrap().success(), "xfs_io has failed");
    }

    /// Takes it down and up again, as a restart of the machine does; the file system reads its log.
    /// No process may have it any more.
    pub(crate) async fn remount(&mut self) {
        self.unmount();
        // A namespace of a process that has just died may hold it for a moment longer.
        let entry = Path::new(SYSFS).join(self.kind.name()).join(self.device.file_name().unwrap());
        let released = async {
            while entry.exists() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LONGEST_RELEASE, released).await.unwrap();
        self.mount().unwrap();
    }

    /// Takes all of its free space but `left` bytes away, by a file that is returned.
    pub(crate) fn fill(&self, left: u64) -> PathBuf {
        let filler = self.mount.join("filler");
        let free = self.free();
        let mut file = File::options().create(true).append(true).open(&filler).unwrap();
        let len = file.metadata().unwrap().len() + free.saturating_sub(left);
        let _ = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len);
        if left == 0 {
            // What the file system has kept for itself until now.
            while file.write_all(&[0; 512]).and_then(|()| file.sync_all()).is_ok() {}
        }
        filler
    }

    /// Bytes that may still be written.
    pub(crate) fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.mount).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    fn mount(&mut self) -> Result<(), String> {
        let device = self.device.to_str().unwrap_or_default();
        run(&["mount", "-t", self.kind.name(), device, self.mount_str()])?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) {
        run(&["umount", self.mount_str()]).unwrap();
        self.mounted = false;
    }

    fn mount_str(&self) -> &str {
        self.mount.to_str().unwrap_or_default()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Some(mut switch) = self.switch.take() {
            let _ = switch.kill();
            let _ = switch.wait();
        }
        if self.mounted {
            let _ = run(&["umount", "--lazy", self.mount_str()]);
        }
        let _ = run(&["losetup", "--detach", self.device.to_str().unwrap_or_default()]);
    }
}

/// Runs a tool; what it printed, or why it failed.
pub(crate) fn run(command: &[&str]) -> Result<String, String> {
    let (program, arguments) = command.split_first().unwrap();
    let output = Command::new(program).args(arguments).env("PATH", path()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{program} failed: {}", error.trim()))
}

/// Not everyone's PATH has the administrator's tools.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}
