//! `hookward keygen`: a new random secret.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{pipe, seam};

/// Bytes of randomness: as many as HMAC-SHA256 and an AES-256 key can use.
const LEN: usize = 32;

/// How the secret is written. `store.encryption_key` takes all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// 64 hexadecimal digits
    #[default]
    Hex,
    /// Base64
    Base64,
    /// Base64 behind `whsec_`, as Standard Webhooks writes its keys
    Whsec,
}

/// Why there is no new secret.
#[derive(Debug, thiserror::Error)]
enum KeygenError {
    #[error("no randomness: {0}")]
    Random(getrandom::Error),
    #[error("{} exists already; it is left as it is", .0.display())]
    Exists(PathBuf),
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Prints a new secret, or writes it to a new file that its owner alone can read. Exit codes: 0, 1 when
/// the file exists or cannot be written, or the system has no randomness to give.
pub fn run(form: Form, out: Option<&Path>) -> ExitCode {
    match keygen(form, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "hookward keygen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn keygen(form: Form, out: Option<&Path>) -> Result<(), KeygenError> {
    let mut key = Zeroizing::new([0; LEN]);
    getrandom::fill(&mut *key).map_err(KeygenError::Random)?;
    let text = Zeroizing::new(match form {
        Form::Hex => format!("{}\n", hex::encode(*key)),
        Form::Base64 => format!("{}\n", STANDARD.encode(*key)),
        Form::Whsec => format!("whsec_{}\n", STANDARD.encode(*key)),
    });
    let Some(path) = out else {
        return Ok(pipe::stdout().write_all(text.as_bytes())?);
    };
    seam::write_new(path, 0o600, text.as_bytes()).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeygenError::Exists(path.to_owned()),
        _ => KeygenError::File { path: path.to_owned(), error },
    })
}
