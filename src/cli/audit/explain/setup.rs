//! What the configuration says now, as far as it can be had: its secrets may be out of reach here.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::super::super::{client, seam};
use crate::config::{self, Config, Placeholders, Source, check_text};

/// The configuration as it is now.
pub(super) struct Setup {
    pub(super) config: Config,
    /// Whether its keys are the real ones.
    pub(super) keys: bool,
}

/// The store that is meant, and the configuration if one is to be read.
pub(super) fn load(
    store: Option<&Path>,
    file: Option<&Path>,
) -> Result<(PathBuf, Option<Setup>), ExitCode> {
    if let (Some(store), None) = (store, file) {
        return Ok((store.to_owned(), None));
    }
    let found = seam::config_file(file);
    let setup = match config::load(&found, &config::process_env) {
        Ok((config, _)) => Some(Setup { config, keys: true }),
        // A secret that cannot be read here is no reason to say nothing.
        Err(_) => without_keys(&found),
    };
    let path = match (&setup, store) {
        (_, Some(store)) => store.to_owned(),
        (Some(setup), None) => setup.config.store.path.clone(),
        // Whatever is wrong is told as always.
        (None, None) => client::store_of(Some(&found))?,
    };
    if setup.is_none() {
        seam::load_config(Some(&found))?;
    }
    Ok((path, setup))
}

/// What this file says. The trail is elsewhere, so that keys are of no use.
pub(super) fn of(file: &Path) -> Result<Setup, ExitCode> {
    match without_keys(file) {
        Some(setup) => Ok(setup),
        None => seam::load_config(Some(file)).map(|config| Setup { config, keys: false }),
    }
}

fn without_keys(file: &Path) -> Option<Setup> {
    let text = std::fs::read_to_string(file).ok()?;
    let (config, _) = check_text(file, &text, &Placeholders).ok()?;
    Some(Setup { config, keys: false })
}

impl Setup {
    /// The source of this name.
    pub(super) fn source(&self, name: &str) -> Option<&Arc<Source>> {
        self.config.sources.iter().find(|source| source.name.as_str() == name)
    }
}
