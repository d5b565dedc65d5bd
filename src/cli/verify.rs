//! `hookward verify`: judges a captured request as the gateway would, offline and step by step, and
//! when its credential is refused, looks for what commonly goes wrong. Runs the gateway's own code, and
//! never needs the gateway. Never shows a key, nor a signature that would be right.

mod arrival;
mod beside;
mod capture;
mod curl;
mod pasted;
mod raw;
mod reading;
mod report;
mod request;
mod shell;
mod steps;
#[cfg(test)]
mod tests;
mod time;
mod tries;

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use self::capture::{Capture, CaptureError};
use self::reading::Content;
use self::report::Report;
use self::steps::{Court, unreadable};
use self::time::{Given, Moment};
use super::table::{neutral, neutral_json};
use super::{pipe, seam};
use crate::admit::VerifierError;
use crate::clock::{Clock, UnixMillis};
use crate::config::{Config, Source};
use crate::hardening;

/// Exit codes of a wrong command line, of a verdict that cannot be written, and of a configuration that
/// cannot be used.
const WRONG_USAGE: u8 = 2;
const NOT_WRITTEN: u8 = 74;
const BAD_CONFIG: u8 = 78;

/// Judge a captured request as the gateway would, and tell why it is refused
///
/// Takes the request as HTTP/1.1 has it on the wire (request line, headers, an empty line, and exactly
/// the body's bytes) or as a curl command, and goes through the gateway's checks without the gateway.
/// When the credential is refused, it looks for what would make it pass: another configured key, a
/// newline, line ends or JSON that were changed on the way, another encoding, a missing prefix, a
/// timestamp in milliseconds.
///
/// A file that a curl command names is read only below the capture's directory, by a relative path
/// without `..`, through no symbolic link, and not if the configuration is read from it.
///
/// Exit codes: 0 when no check fails, 1 when one does, 2 for wrong usage: an unknown source too, or a
/// capture that cannot be read; 74 when the verdict cannot be written, 78 for an invalid configuration.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The source that it was sent to: NAME of a `[source.NAME]`
    source: String,

    /// The configuration file [default: HOOKWARD_CONFIG, else hookward.toml here, else
    /// /etc/hookward/hookward.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The captured request, - for standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    request: PathBuf,

    /// Judge it as if it arrived then: now, 2025-01-15T10:30:00Z, or Unix seconds [default: when it
    /// says that it was signed; without that the event's own time, where its age matters, or now]
    #[arg(long, value_name = "TIME", value_parser = time::given)]
    at: Option<Given>,

    /// Where the connection came from. If that is a trusted proxy, the request's X-Forwarded-For
    /// says who called
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,

    /// Show what the source would read out of the event, which is payload
    #[arg(long)]
    payload: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
enum VerifyError {
    #[error("no source is named {name:?}; configured are {known}")]
    UnknownSource { name: String, known: String },
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error(transparent)]
    Config(#[from] VerifierError),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Runs the command; its exit codes stand with [`Args`].
pub fn run(args: &Args) -> ExitCode {
    // Keys and payload are in memory: no core file.
    let _ = hardening::harden();
    let config = match seam::load_config(args.config.as_deref()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let now = Clock::System.now();
    let capture = |config: &Config| capture::read(Some(&args.request), config);
    match verify(&config, args, capture, now, &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => complain(&error),
    }
}

fn complain(error: &VerifyError) -> ExitCode {
    let _ = writeln!(io::stderr(), "hookward verify: {}", neutral(&error.to_string()));
    match error {
        VerifyError::UnknownSource { .. } | VerifyError::Capture(_) => ExitCode::from(WRONG_USAGE),
        VerifyError::Config(_) => ExitCode::from(BAD_CONFIG),
        VerifyError::Output(_) => ExitCode::from(NOT_WRITTEN),
    }
}

/// Whether the gateway would take the request; prints why.
fn verify(
    config: &Config,
    args: &Args,
    capture: impl FnOnce(&Config) -> Result<Capture, CaptureError>,
    now: UnixMillis,
    out: &mut impl Write,
) -> Result<bool, VerifyError> {
    let source = find_source(config, &args.source)?;
    let read = request::read(capture(config)?, &config.server);
    let (verdict, judged, form, notes) = match &read {
        Ok(request) => {
            let (headers, body) = (&request.parts.headers, &request.body);
            let content = Content { source, headers, body, at: now };
            let moment = Moment::of(&content, args.at, now);
            let verdict = Court { config, source, client: args.client, moment }.judge(request)?;
            (verdict, Some((request, moment)), request.form, &request.notes)
        }
        Err(bad) => (unreadable(bad), None, bad.form, &bad.notes),
    };
    let payload = args.payload;
    let report = Report { source, form, notes, request: judged, verdict: &verdict, payload };
    let text = if args.json {
        format!("{}\n", neutral_json(&report.json().to_string()))
    } else {
        report.words()
    };
    pipe::printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
    Ok(verdict.refused().is_none())
}

/// Judges what these bytes capture, as JSON, without a file that they may name: for fuzzing. `None`: they
/// capture nothing.
pub(crate) fn judge_bytes(config: &Config, source: &str, bytes: &[u8]) -> Option<(bool, String)> {
    let (source, at) = (source.to_owned(), Some(Given::Now));
    let (request, client) = ("-".into(), None);
    let args = Args { source, config: None, request, at, client, payload: true, json: true };
    let none = |_: &Path| Err(beside::NotRead::Missing);
    let capture = |config: &Config| capture::of_with(bytes.to_vec(), &config.server, &none);
    let mut out = Vec::new();
    let taken = verify(config, &args, capture, UnixMillis(1_800_000_000_000), &mut out).ok()?;
    Some((taken, String::from_utf8(out).ok()?))
}

fn find_source<'c>(config: &'c Config, name: &str) -> Result<&'c Arc<Source>, VerifyError> {
    config.sources.iter().find(|source| source.name.as_str() == name).ok_or_else(|| {
        let known: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
        VerifyError::UnknownSource { name: name.to_owned(), known: known.join(", ") }
    })
}
