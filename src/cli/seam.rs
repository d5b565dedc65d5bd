//! What several commands do alike: finding and loading the configuration, and writing new files.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::check;
use crate::config::Config;

/// Where a configuration is looked for when none is named.
const PLACES: [&str; 2] = ["hookward.toml", "/etc/hookward/hookward.toml"];

/// The configuration file to use: the one that is named (on the command line or by
/// `HOOKWARD_CONFIG`), else the first that is there, else the first place, so that the error names
/// it.
pub(super) fn config_file(named: Option<&Path>) -> PathBuf {
    let here = || PLACES.iter().map(PathBuf::from).find(|place| place.exists());
    let named = named.map(Path::to_owned).or_else(|| {
        std::env::var_os("HOOKWARD_CONFIG").filter(|v| !v.is_empty()).map(PathBuf::from)
    });
    named.or_else(here).unwrap_or_else(|| PathBuf::from(PLACES[0]))
}

/// Loads the configuration; prints its errors, and no warnings: those are `check`'s and `run`'s.
///
/// # Errors
/// The exit code, when there is none to go on with.
pub(super) fn load_config(file: Option<&Path>) -> Result<Config, ExitCode> {
    check::load(&config_file(file)).map(|(config, _)| config)
}

/// Writes a file that does not exist yet, with these permission bits at most. One that is cut short is
/// taken away again.
///
/// # Errors
/// As the file system says.
pub(super) fn write_new(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content).and_then(|()| file.sync_all()).inspect_err(|_| {
        let _ = std::fs::remove_file(path);
    })
}
