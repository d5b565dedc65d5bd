//! `hookward store rekey`: the segments' keys under the first configured key, so that an older one
//! can be taken out of the configuration. See docs/encryption.md.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::{check, seam};
use crate::store::crypt::Keyring;
use crate::store::disk::OsDisk;
use crate::store::rekey::{RekeyError, Rekeyed, rekey};

/// Rekeys the store of the configuration `file`. Exit codes: 0 when every encrypted segment is under
/// the key, 1 when one is not, 78 when the configuration is invalid or has no key.
pub(super) fn run(file: Option<&Path>) -> ExitCode {
    let config = match check::load(&seam::config_file(file)) {
        Ok((config, _)) => config,
        Err(code) => return code,
    };
    let keys = Arc::new(Keyring::new(config.store.encryption_keys));
    match rekey(&config.store.path, &keys, Arc::new(OsDisk)) {
        Ok(done) => {
            let told = tell(&done, &keys, &mut io::stdout().lock(), &mut io::stderr().lock());
            if told.is_ok() && done.failed.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "hookward store rekey: {error}");
            match error {
                RekeyError::NoKey => ExitCode::from(check::INVALID_CONFIGURATION),
                _ => ExitCode::FAILURE,
            }
        }
    }
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
