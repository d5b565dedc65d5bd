//! `hookward send`: acts as the provider behind a source, and calls the gateway with sample
//! events as that provider would sign them. Reads the configuration for keys and addresses, and
//! touches nothing but the public listener.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use http::{StatusCode, Uri};
use rustls_pki_types::ServerName;

use super::seam;
use crate::clock::{Clock, UnixMillis};
use crate::config::{Config, Server, Source, Tls};
use crate::event::normalize_type;
use crate::provider::caller::{Answer, CallError, Caller};
use crate::provider::generic;
use crate::provider::sample::{self, Outgoing, Sample};
use crate::provider::sign::{self, SignError};
use crate::provider::trust::Trust;
use crate::secret::Secret;

/// Exit code of a wrong command line.
const WRONG_USAGE: u8 = 2;

/// When events happen that are made without a preset and with an id of the user's.
const FIXED_TIME: UnixMillis = UnixMillis(1_736_937_000_000);

/// Send sample events to the gateway as a source's provider would
///
/// Prints a line for each: the status, Hookward's id of the event, its name and the provider's id; and,
/// when it was not taken, how many seconds to wait if the gateway says so (Retry-After), and its words.
///
/// Exit codes: 0 when every event was answered 200; 1 when one was not, or there was no answer; 2 for
/// wrong usage or an unknown source; 78 for an invalid configuration. With --tamper, 1 is what should
/// come: 0 says that a forged event was taken.
#[derive(Clone, Debug, clap::Args)]
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

    /// How many to send, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,

    /// Forge them: the body is changed after signing, or the API key is wrong. They should be refused,
    /// which is exit code 1
    #[arg(long)]
    pub tamper: bool,
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
    #[error("cannot write: {0}")]
    Output(#[from] std::io::Error),
}

/// Runs the command: 0 when every event was answered 200, else 1; 2 for a source or URL that
/// cannot be, 78 for an invalid configuration.
pub fn run(args: Args) -> ExitCode {
    let config = match seam::load_config(args.config.as_deref()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&SendError::Output(error)),
    };
    match runtime.block_on(send_all(&config, &args, &Clock::System, &mut std::io::stdout())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => complain(&error),
    }
}

fn complain(error: &SendError) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "hookward send: {error}");
    match error {
        SendError::UnknownSource { .. } | SendError::BadUrl(_) => ExitCode::from(WRONG_USAGE),
        SendError::Sign(_) | SendError::Call(_) | SendError::Output(_) => ExitCode::FAILURE,
    }
}

/// Sends what `args` ask for, prints a line each, and tells whether all were answered 200.
async fn send_all(
    config: &Config,
    args: &Args,
    clock: &Clock,
    out: &mut impl Write,
) -> Result<bool, SendError> {
    let source = find_source(config, &args.source)?;
    let url = target(&config.server, &source.path, args.url.as_ref())?;
    let caller = Caller::new(None, trust(&config.server, args.url.as_ref()))?;
    let key = source.keys.first().cloned().unwrap_or_else(|| Secret::new(Vec::new()));
    let mut maker = Maker::new(source, args);
    let mut all_taken = true;
    for _ in 0..args.count {
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
    Ok(all_taken)
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
    let shown = |text: &str| text.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    let wait =
        answer.retry_after.as_deref().map(|after| format!("  Retry-After: {}", shown(after)));
    let said = shown(&String::from_utf8_lossy(&answer.body));
    format!("{taken}{}  {said}", wait.unwrap_or_default()).trim_end().to_owned()
}

/// Makes one event after the other.
struct Maker<'a> {
    source: &'a Source,
    event: Option<&'a str>,
    id: Option<&'a str>,
    samples: Vec<&'static Sample>,
    made: usize,
    rng: fastrand::Rng,
}

impl<'a> Maker<'a> {
    fn new(source: &'a Source, args: &'a Args) -> Self {
        let (event, id) = (args.event.as_deref(), args.id.as_deref());
        let mut samples: Vec<&Sample> = match (source.preset, event) {
            (None, _) => Vec::new(),
            (Some(preset), Some(event)) => sample::find(preset, event)
                .or_else(|| sample::nearest(preset, event))
                .into_iter()
                .collect(),
            (Some(preset), None) => sample::all(preset).filter(|s| !s.handshake).collect(),
        };
        if id.is_some() {
            samples.truncate(1);
        }
        Self { source, event, id, samples, made: 0, rng: fastrand::Rng::new() }
    }

    fn next(&mut self, now: UnixMillis) -> Outgoing {
        let sample = self.samples.get(self.made % self.samples.len().max(1)).copied();
        self.made += 1;
        let time = match self.id {
            Some(_) => stable_time(self.source, now),
            None => Some(now),
        };
        let id = match (self.id, sample) {
            (Some(id), _) => id.to_owned(),
            (None, Some(sample)) => sample.new_id(&mut self.rng),
            (None, None) => format!("sample_{:016x}", self.rng.u64(..)),
        };
        match sample {
            Some(sample) => sample.event(self.event.unwrap_or(sample.event_type), &id, time),
            None => {
                let event = self.event.map_or_else(|| wanted_type(self.source), str::to_owned);
                generic::event(self.source, &event, &id, time.unwrap_or(FIXED_TIME))
            }
        }
    }
}

/// When an event happened whose id the user gave: the same bytes again and again are what makes
/// it a repeat, so the time stands still, as far as the source's `max_event_age` lets it.
fn stable_time(source: &Source, now: UnixMillis) -> Option<UnixMillis> {
    let age = u64::try_from(source.max_event_age?.as_millis()).unwrap_or(u64::MAX);
    let step = (age / 2).max(1);
    Some(UnixMillis(now.0 - now.0 % step))
}

/// An event name that the source's `events` let through.
fn wanted_type(source: &Source) -> String {
    let pattern = source.events.iter().flatten().next();
    let name = pattern.map_or_else(|| "sample.created".to_owned(), |p| p.0.replace('*', "sample"));
    normalize_type(Some(&name))
}

#[cfg(test)]
mod tests;
