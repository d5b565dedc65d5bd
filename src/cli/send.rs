//! `hookward send`: acts as the provider behind a source, and calls the gateway with sample
//! events as that provider would sign them; with `--retries` also when it has to send them again.
//! Reads the configuration for keys and addresses, and touches nothing but the public listener.

pub(super) mod maker;
mod rehearsal;
mod report;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, Uri};
use rustls_pki_types::ServerName;

use self::maker::Maker;
use self::rehearsal::RehearsalError;
use super::stop::{INTERRUPTED, StopSignal};
use super::{pipe, seam};
use crate::clock::Clock;
use crate::config::defaults::MAX_WAIT;
use crate::config::units::{parse_duration, show_duration};
use crate::config::{Config, Server, Source, Tls};
use crate::provider::caller::{Answer, CallError, Caller};
use crate::provider::sample::Outgoing;
use crate::provider::sign::{self, SignError};
use crate::provider::trust::Trust;
use crate::secret::Secret;

/// Exit code of a wrong command line.
const WRONG_USAGE: u8 = 2;

/// Send sample events to the gateway as a source's provider would
///
/// Prints a line for each: the status, Hookward's id of the event, its name and the provider's id; and,
/// when it was not taken, how many seconds to wait if the gateway says so (Retry-After), and its words.
///
/// Exit codes: 0 when every event was answered 200, with --retries acknowledged in the end; 1 when one
/// was not, or there was no answer; 2 for wrong usage, an unknown source or no schedule; 78 for an
/// invalid configuration; 130 when it was interrupted. With --tamper, 1 is what should come: 0 says
/// that a forged event was taken.
#[derive(Clone, Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("waits").multiple(true).args(["retries", "every"])))]
pub struct Args {
    /// The source to act for: NAME of a `[source.NAME]`
    pub source: String,

    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where to send: an address to which the source's path is added, or a whole URL [default:
    /// the configured listener on this machine]
    #[arg(long, value_name = "URL")]
    pub url: Option<Uri>,

    /// The event's name, as the provider writes it; one without a sample of its own takes the
    /// most similar one's fields [default: the preset's samples in turn]
    #[arg(long, value_name = "TYPE")]
    pub event: Option<String>,

    /// The event's id (or, where the provider sends none, its entity's). The same id makes the
    /// same event: sent again, or with --count, it is a repeat [default: a new one each]
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,

    /// How many to send: one after the other, or with --retries many at once; then 100000 at most
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,

    /// Forge them: the body is changed after signing, or the API key is wrong. They should be refused,
    /// which is exit code 1
    #[arg(long)]
    pub tamper: bool,

    /// The pause from one event to the next, such as 20m [default: none]
    #[arg(long, value_name = "DURATION", value_parser = pause)]
    pub every: Option<Duration>,

    /// Send again what is not acknowledged, as the provider does: on its published schedule, with
    /// its timeout, and giving up when it would; then tell what became of each event. Ctrl-C ends
    /// it early
    #[arg(long)]
    pub retries: bool,

    /// The pauses between an event's attempts, such as 1m,5m,1h, instead of the provider's; needed
    /// where it publishes none and the source has no retry_schedule
    #[arg(long, value_name = "DURATION,..", value_delimiter = ',', value_parser = pause, requires = "retries")]
    pub schedule: Option<Vec<Duration>>,

    /// Make all pauses so many times shorter: with 1000 a day takes 86 seconds. Only pauses are:
    /// timeouts, signatures and whatever the gateway does keep to real time
    #[arg(long, value_name = "N", default_value = "1", requires = "waits", value_parser = clap::value_parser!(NonZeroU32))]
    pub time_scale: NonZeroU32,

    /// With --retries: print what became of each event as one JSON object, and nothing else
    #[arg(long, requires = "retries")]
    pub json: bool,
}

/// A pause of the command line.
pub(super) fn pause(text: &str) -> Result<Duration, String> {
    let accepted = || {
        let most = show_duration(MAX_WAIT);
        format!("accepted: a whole number with ms, s, m, h or d, such as 20m, at most {most}")
    };
    parse_duration(text).ok().filter(|pause| *pause <= MAX_WAIT).ok_or_else(accepted)
}

/// Why nothing could be sent at all.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("no source is named {name:?}; configured are {known}")]
    UnknownSource { name: String, known: String },
    #[error("--url takes http://HOST[:PORT][/PATH] or https://..., not {0}")]
    BadUrl(Uri),
    #[error("cannot sign: {0}")]
    Sign(#[from] SignError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Rehearsal(#[from] RehearsalError),
    #[error("cannot write: {0}")]
    Output(#[from] std::io::Error),
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// Every event was acknowledged.
    All,
    /// One was not.
    NotAll,
    /// It was told to stop before that was known.
    Interrupted,
}

/// Runs the command: 0 when every event was acknowledged, else 1; 2 for a source, URL or schedule
/// that cannot be, 78 for an invalid configuration, 130 when it was interrupted.
pub fn run(args: Args) -> ExitCode {
    let config = match seam::load_config(args.config.as_deref()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&SendError::Output(error)),
    };
    let sent = runtime.block_on(async {
        let out = &mut pipe::stdout();
        if !args.retries {
            return send_all(&config, &args, &Clock::System, out).await;
        }
        let mut stop = StopSignal::new()?;
        let stopped = async move { stop.received().await };
        rehearsal::send_and_retry(&config, &args, &Clock::System, out, stopped).await
    });
    match sent {
        Ok(Sent::All) => ExitCode::SUCCESS,
        Ok(Sent::NotAll) => ExitCode::FAILURE,
        Ok(Sent::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => complain(&error),
    }
}

fn complain(error: &SendError) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "hookward send: {error}");
    match error {
        SendError::UnknownSource { .. }
        | SendError::BadUrl(_)
        | SendError::Rehearsal(RehearsalError::NoSchedule(_) | RehearsalError::TooMany) => {
            ExitCode::from(WRONG_USAGE)
        }
        SendError::Sign(_)
        | SendError::Call(_)
        | SendError::Rehearsal(RehearsalError::Sender(_))
        | SendError::Output(_) => ExitCode::FAILURE,
    }
}

/// Sends what `args` ask for once, and prints a line each.
async fn send_all(
    config: &Config,
    args: &Args,
    clock: &Clock,
    out: &mut impl Write,
) -> Result<Sent, SendError> {
    let source = find_source(config, &args.source)?;
    let url = target(&config.server, &source.path, args.url.as_ref())?;
    let caller = Caller::new(None, trust(&config.server, args.url.as_ref()))?;
    let key = source.keys.first().cloned().unwrap_or_else(|| Secret::new(Vec::new()));
    let mut maker = Maker::new(source, args.event.as_deref(), args.id.as_deref());
    let mut all_taken = true;
    for n in 0..args.count {
        if let Some(every) = args.every.filter(|_| n > 0) {
            tokio::time::sleep(every / args.time_scale.get()).await;
        }
        let now = clock.now();
        let event = maker.next(now);
        let (headers, body) = if args.tamper {
            sign::forge(source, &key, now, &event)?
        } else {
            (sign::sign(source, &key, now, &event)?, event.body.clone())
        };
        let answer = caller.post(&url, headers, body).await?;
        all_taken &= answer.status == StatusCode::OK;
        writeln!(out, "{}", line(&event, &answer))?;
    }
    Ok(if all_taken { Sent::All } else { Sent::NotAll })
}

fn find_source<'a>(config: &'a Config, name: &str) -> Result<&'a Arc<Source>, SendError> {
    config.sources.iter().find(|s| s.name.as_str() == name).ok_or_else(|| {
        let known: Vec<&str> = config.sources.iter().map(|s| s.name.as_str()).collect();
        SendError::UnknownSource { name: name.to_owned(), known: known.join(", ") }
    })
}

/// Where to post: `url`, with the source's path if it has none itself; without it, the listener,
/// by loopback where it listens on every address.
fn target(server: &Server, path: &str, url: Option<&Uri>) -> Result<Uri, SendError> {
    let (scheme, authority) = match url {
        None => {
            let scheme = if server.tls.is_some() { "https" } else { "http" };
            (scheme, reachable(server.listen).to_string())
        }
        Some(url) => {
            let scheme = url.scheme_str().filter(|s| matches!(*s, "http" | "https"));
            match (scheme, url.authority()) {
                (Some(_), Some(_)) if !matches!(url.path(), "" | "/") => return Ok(url.clone()),
                (Some(scheme), Some(authority)) => (scheme, authority.to_string()),
                _ => return Err(SendError::BadUrl(url.clone())),
            }
        }
    };
    Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(path)
        .build()
        .map_err(|error| SendError::Call(error.into()))
}

/// Who is believed to be the gateway over TLS: who has the configured certificate, and on a `url`
/// also whom the platform believes. With ACME it is whom the platform believes, or the authority
/// itself where that has roots of its own, and then by the certificate's name: the listener's
/// address is none.
fn trust(server: &Server, url: Option<&Uri>) -> Trust {
    let plain = url.is_some_and(|url| url.scheme_str() != Some("https"));
    match (&server.tls, url) {
        _ if plain => Trust::nobody(),
        (None, None) => Trust::nobody(),
        (None, Some(_)) => Trust::platform(),
        (Some(Tls::Files { identity, .. }), url) => {
            let trust = if url.is_some() { Trust::platform() } else { Trust::nobody() };
            identity.pair.cert.first().cloned().into_iter().fold(trust, Trust::and_certificate)
        }
        (Some(Tls::Acme(acme)), url) => {
            let roots = acme.ca.iter().map(|ca| &*ca.roots);
            let trust = roots.fold(Trust::platform(), Trust::and_roots);
            let name = acme.domains.first().filter(|_| url.is_none());
            let name = name.and_then(|name| ServerName::try_from(name.clone()).ok());
            name.into_iter().fold(trust, Trust::named)
        }
    }
}

fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// `STATUS  Hookward's id  event type  the provider's id`, and when to try again and what the gateway
/// said if it did not take it.
fn line(event: &Outgoing, answer: &Answer) -> String {
    let id = answer.event_id.as_deref().unwrap_or("-");
    let taken = format!("{}  {id}  {}  {}", answer.status.as_str(), event.event_type, event.id);
    if answer.status == StatusCode::OK {
        return taken;
    }
    format!("{taken}  {}", said(answer)).trim_end().to_owned()
}

/// What the gateway said, fit for a line.
fn said(answer: &Answer) -> String {
    let shown = |text: &str| text.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    let wait =
        answer.retry_after.as_deref().map(|after| format!("Retry-After: {}  ", shown(after)));
    let said = shown(&String::from_utf8_lossy(&answer.body));
    format!("{}{said}", wait.unwrap_or_default())
}

#[cfg(test)]
mod tests;
