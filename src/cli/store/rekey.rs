//! `hookward store rekey`: the segments' keys under the first configured key, so that an older one
//! can be taken out of the configuration. See docs/encryption.md.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;

use super::{complain, exit};
use crate::audit::Acts;
use crate::cli::{check, pipe, seam};
use crate::store::crypt::Keyring;
use crate::store::disk::OsDisk;
use crate::store::rekey::{RekeyError, Rekeyed, rekey};

/// How it is called in the audit trail.
const REKEYED: &str = "rekeyed";

/// Rekeys the store of the configuration `file`. Exit codes: 0 when every encrypted segment is under
/// the key, 1 when one is not, 78 when the configuration is invalid or has no key.
pub(super) fn run(file: Option<&Path>) -> ExitCode {
    let config = match check::load(&seam::config_file(file)) {
        Ok((config, _)) => config,
        Err(code) => return code,
    };
    let keys = Arc::new(Keyring::new(config.store.encryption_keys));
    let acts = match begin(&config.store.path, &keys) {
        Ok(acts) => acts,
        Err(error) => {
            let path = config.store.path.display();
            complain(&format!(
                "hookward store rekey: nothing is changed, for it cannot be recorded in the audit trail of {path}: {error}"
            ));
            return ExitCode::FAILURE;
        }
    };
    let done = rekey(&config.store.path, &keys, Arc::new(OsDisk));
    let recorded = acts.is_none_or(|acts| end(&acts, &keys, &done));
    match done {
        Ok(done) => {
            let told = tell(&done, &keys, &mut pipe::stdout(), &mut io::stderr().lock());
            exit(told.is_ok() && done.failed.is_empty() && recorded)
        }
        Err(error) => {
            complain(&format!("hookward store rekey: {error}"));
            match error {
                RekeyError::NoKey => ExitCode::from(check::INVALID_CONFIGURATION),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Records that it is about to be done. `None`: without a key, or a store, there is nothing to do.
fn begin(store: &Path, keys: &Keyring) -> io::Result<Option<Acts>> {
    if keys.current().is_none() {
        return Ok(None);
    }
    let acts = match Acts::open(store) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        acts => acts?,
    };
    acts.record(REKEYED, &json!({ "phase": "begun", "keys": ids(keys) }))?;
    Ok(Some(acts))
}

/// Records what was done; whether it could.
fn end(acts: &Acts, keys: &Keyring, done: &Result<Rekeyed, RekeyError>) -> bool {
    let recorded = match done {
        Ok(Rekeyed { key, rewrapped, current, plain, failed }) => {
            let details = json!({
                "phase": "ended", "keys": ids(keys), "key": key.to_string(),
                "complete": failed.is_empty(), "rewrapped": rewrapped, "current": current,
                "plain": plain, "failed": failed.len(),
            });
            acts.record(REKEYED, &details)
        }
        Err(error) => {
            let error = error.to_string();
            let details = json!({ "phase": "refused", "keys": ids(keys), "error": error });
            acts.record(REKEYED, &details)
        }
    };
    let failed = |error| {
        complain(&format!("error: {} cannot be written: {error}", acts.path().display()));
    };
    recorded.map_err(failed).is_ok()
}

/// What the configured keys are called, the one for what is new first: never the keys.
fn ids(keys: &Keyring) -> Vec<String> {
    keys.ids().map(|id| id.to_string()).collect()
}

fn tell(
    done: &Rekeyed,
    keys: &Keyring,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<()> {
    let Rekeyed { key, rewrapped, current, plain, failed } = done;
    for (segment, failure) in failed {
        writeln!(err, "hookward store rekey: segment {segment} {failure}")?;
    }
    writeln!(
        out,
        "key {key}: {rewrapped} segments rewrapped, {current} already current, {plain} plain, {} failed",
        failed.len()
    )?;
    if *plain > 0 {
        writeln!(out, "plain segments are not encrypted; they go with the retention")?;
    }
    let others: Vec<String> = keys.ids().filter(|id| id != key).map(|id| id.to_string()).collect();
    if failed.is_empty() && !others.is_empty() {
        writeln!(out, "no segment needs any more: {}", others.join(", "))?;
    }
    Ok(())
}
