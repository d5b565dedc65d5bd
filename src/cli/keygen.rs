//! `hookward keygen`: a new random secret.

use std::io::Write as _;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

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

/// Prints a new secret. Exit codes: 0, 1 when the system has no randomness to give.
pub fn run(form: Form) -> ExitCode {
    let mut key = zeroize::Zeroizing::new([0; LEN]);
    if let Err(error) = getrandom::fill(&mut *key) {
        let _ = writeln!(std::io::stderr(), "hookward keygen: no randomness: {error}");
        return ExitCode::FAILURE;
    }
    let text = zeroize::Zeroizing::new(match form {
        Form::Hex => hex::encode(*key),
        Form::Base64 => STANDARD.encode(*key),
        Form::Whsec => format!("whsec_{}", STANDARD.encode(*key)),
    });
    match writeln!(std::io::stdout(), "{}", *text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
