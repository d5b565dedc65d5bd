//! `hookward check`: every problem of a configuration, or what would run with it. Starts nothing
//! and connects to nothing.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use http::HeaderName;

use crate::config::units::{show_duration, show_size};
use crate::config::{
    self, Auth, Config, OnConflict, Ordering, Place, Problem, Selector, Severity, SignedPart,
    Source, TimestampPlace, Upstream,
};

/// The exit code of an invalid configuration (`EX_CONFIG` of sysexits.h).
pub const INVALID_CONFIGURATION: u8 = 78;

/// Checks `file`: problems go to stderr and the code is 78, or a summary goes to stdout.
pub fn run(file: &Path) -> ExitCode {
    let (out, err) = (io::stdout(), io::stderr());
    let code = check(file, &config::process_env, &mut out.lock(), &mut err.lock());
    // Nobody is left to tell when stdout or stderr is gone.
    code.unwrap_or(ExitCode::FAILURE)
}

/// Loads `file` for a command that needs it. Prints to stderr exactly what [`run`] would print
/// when it is invalid; its warnings are handed on.
///
/// # Errors
/// The process's exit code, when the file is invalid.
pub fn load(file: &Path) -> Result<(Config, Vec<Problem>), ExitCode> {
    config::load(file, &config::process_env).map_err(|invalid| {
        let _ = refuse(&invalid.problems, &mut io::stderr().lock());
        ExitCode::from(INVALID_CONFIGURATION)
    })
}

fn check(
    file: &Path,
    env: &dyn Fn(&str) -> Option<OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<ExitCode> {
    match config::load(file, env) {
        Ok((config, warnings)) => {
            writeln!(out, "{}", Summary { config: &config, warnings: &warnings })?;
            Ok(ExitCode::SUCCESS)
        }
        Err(invalid) => {
            refuse(&invalid.problems, err)?;
            Ok(ExitCode::from(INVALID_CONFIGURATION))
        }
    }
}

fn refuse(problems: &[Problem], err: &mut dyn Write) -> io::Result<()> {
    for problem in problems {
        writeln!(err, "{problem}")?;
    }
    let errors = problems.iter().filter(|p| p.severity() == Severity::Error).count();
    writeln!(err, "{}: nothing is started", counted(errors, "error"))
}

/// What would run, for people. Without its trailing newline.
struct Summary<'c> {
    config: &'c Config,
    warnings: &'c [Problem],
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { file, files: _, server, admin, store, log: _, sources, upstreams, routes } =
            self.config;
        writeln!(f, "{} is valid. With it would run:\n", file.display())?;
        writeln!(
            f,
            "listener  http://{}, {} connections, bodies to {}, answers within {}",
            server.listen,
            server.max_connections,
            show_size(server.max_body),
            show_duration(server.ack_deadline),
        )?;
        match admin {
            Some(admin) => {
                let token = if admin.token.is_some() { "with a token" } else { "without a token" };
                writeln!(f, "admin     http://{}, {token}", admin.listen)?;
            }
            None => writeln!(f, "admin     none")?,
        }
        writeln!(
            f,
            "store     {}, kept {}, unencrypted, closed to new events below {} free",
            store.path.display(),
            show_duration(store.retention),
            show_size(store.min_free),
        )?;
        for source in sources {
            summarize_source(f, source, self.config)?;
        }
        for upstream in upstreams {
            summarize_upstream(f, upstream)?;
        }
        match routes.len() {
            0 => write!(f, "\nroutes    none: every event goes to every upstream")?,
            n => write!(f, "\nroutes    {n}: an event goes to the upstreams of each that fits")?,
        }
        if !self.warnings.is_empty() {
            write!(f, "\n\n{}:", counted(self.warnings.len(), "warning"))?;
        }
        for warning in self.warnings {
            write!(f, "\n{warning}")?;
        }
        Ok(())
    }
}

fn summarize_source(f: &mut fmt::Formatter<'_>, source: &Source, config: &Config) -> fmt::Result {
    let preset = source.preset.map(|p| format!(" (preset {})", p.as_str())).unwrap_or_default();
    writeln!(f, "\nsource {}{preset}", source.name)?;
    writeln!(f, "  path    {}", source.path)?;
    writeln!(
        f,
        "  auth    {}, {}",
        describe_auth(&source.auth),
        counted(source.keys.len(), "key")
    )?;
    match &source.allow_ips {
        Some(nets) => {
            let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
            writeln!(f, "  from    {}", nets.join(", "))?;
        }
        None => writeln!(f, "  from    any address")?,
    }
    writeln!(f, "  repeats {}", describe_dedupe(source))?;
    writeln!(f, "  replays {}", describe_replays(source, config))?;
    if let Some(patterns) = &source.events {
        let patterns: Vec<&str> = patterns.iter().map(|p| p.0.as_str()).collect();
        writeln!(
            f,
            "  events  {} (others are acknowledged and not forwarded)",
            patterns.join(", ")
        )?;
    }
    Ok(())
}

fn describe_auth(auth: &Auth) -> String {
    match auth {
        Auth::ApiKey { header } => format!("api key in {header}"),
        Auth::Hmac(scheme) => {
            let algorithm = match scheme.algorithm {
                config::Algorithm::Sha1 => "sha1",
                config::Algorithm::Sha256 => "sha256",
                config::Algorithm::Sha512 => "sha512",
            };
            let age = match &scheme.tolerance {
                Some(tolerance) => format!(", timestamp within {}", show_duration(*tolerance)),
                None => String::new(),
            };
            format!("hmac-{algorithm} in {}{age}", scheme.header)
        }
        Auth::StandardWebhooks { tolerance, .. } => {
            format!("standard webhooks, timestamp within {}", show_duration(*tolerance))
        }
        Auth::NoneDangerous => "NONE: anyone can forge events".to_owned(),
    }
}

fn describe_dedupe(source: &Source) -> String {
    let key = match &source.dedupe {
        Some(values) => values.iter().map(describe_places).collect::<Vec<_>>().join(" + "),
        None if source.event.id.0.is_empty() => String::new(),
        None => format!("the event id ({})", describe_places(&source.event.id)),
    };
    let conflict = match source.on_conflict {
        OnConflict::Quarantine => "other content is quarantined",
        OnConflict::Deliver => "other content is another event",
        OnConflict::Drop => "other content is dropped",
    };
    if key.is_empty() {
        "known by the SHA-256 of the body".to_owned()
    } else {
        format!("known by {key}, at last the SHA-256 of the body; {conflict}")
    }
}

fn describe_places(selector: &Selector) -> String {
    let places: Vec<String> = selector.0.iter().map(describe_place).collect();
    places.join(" or ")
}

fn describe_place(place: &Place) -> String {
    match place {
        Place::Header(name) => format!("header:{name}"),
        Place::Pointer(tokens) => {
            let escape =
                |token: &String| format!("/{}", token.replace('~', "~0").replace('/', "~1"));
            tokens.iter().map(escape).collect()
        }
    }
}

/// What a captured request can be used for, and what would close that.
fn describe_replays(source: &Source, config: &Config) -> String {
    let retention = show_duration(config.store.retention);
    if let Some(name) = unsigned_header(source) {
        return format!(
            "OPEN: {name} is not signed, so whoever captured a request can change it and send it again as another event"
        );
    }
    if let Some(age) = source.max_event_age {
        let untimed = if source.require_event_time {
            ""
        } else {
            "; events without a readable time are taken at any age (require_event_time = false)"
        };
        return format!("events older than {} are refused{untimed}", show_duration(age));
    }
    let signed_time = match &source.auth {
        Auth::StandardWebhooks { .. } => true,
        Auth::Hmac(scheme) => {
            matches!(scheme.timestamp, Some(TimestampPlace::Item(_) | TimestampPlace::Header(_)))
        }
        Auth::ApiKey { .. } | Auth::NoneDangerous => false,
    };
    if signed_time {
        return "the signed timestamp bounds a request's age".to_owned();
    }
    let remedy = if source.event.time.0.is_empty() {
        "its events have no time to judge that by"
    } else {
        "max_event_age closes that"
    };
    format!(
        "OPEN: a captured request is taken again once its key is gone, after {retention}; {remedy}"
    )
}

/// A header that tells events apart, or how old they are, and that the signature does not cover.
fn unsigned_header(source: &Source) -> Option<&HeaderName> {
    let Auth::Hmac(scheme) = &source.auth else { return None };
    let signed = |name: &HeaderName| {
        scheme.signed.iter().any(|part| matches!(part, SignedPart::Header(h) if h == name))
    };
    let identity = source.dedupe.as_deref().unwrap_or(std::slice::from_ref(&source.event.id));
    let judged_by = identity.iter().chain([&source.event.time]);
    judged_by.flat_map(|selector| &selector.0).find_map(|place| match place {
        Place::Header(name) if !signed(name) => Some(name),
        Place::Header(_) | Place::Pointer(_) => None,
    })
}

fn summarize_upstream(f: &mut fmt::Formatter<'_>, upstream: &Upstream) -> fmt::Result {
    writeln!(f, "\nupstream {}", upstream.name)?;
    // Without the query: it may hold a token.
    let (scheme, authority) = (upstream.url.scheme_str(), upstream.url.authority());
    writeln!(
        f,
        "  url     {}://{}{}",
        scheme.unwrap_or_default(),
        authority.map(http::uri::Authority::as_str).unwrap_or_default(),
        upstream.url.path(),
    )?;
    let signed =
        if upstream.signing_key.is_some() { "signed" } else { "NOT signed (no signing_key)" };
    let order = match upstream.ordering {
        Ordering::Subject => "each subject in order",
        Ordering::None => "in any order",
    };
    writeln!(f, "  sends   CloudEvents, {signed}, {} at once, {order}", upstream.concurrency)?;
    writeln!(
        f,
        "  retries after {} growing to {}, for {}; {} an attempt",
        show_duration(upstream.retry.first),
        show_duration(upstream.retry.max),
        show_duration(upstream.retry.give_up),
        show_duration(upstream.timeout),
    )
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> (String, String, ExitCode) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hookward.toml");
        std::fs::write(&file, text).unwrap();
        let env = |name: &str| (name == "KEY").then(|| OsString::from("0123456789abcdef"));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = check(&file, &env, &mut out, &mut err).unwrap();
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes).unwrap().replace(&format!("{}/", dir.path().display()), "")
        };
        (text(out), text(err), code)
    }

    #[test]
    fn a_valid_file_is_summed_up_on_stdout() {
        let (out, err, code) = checked(
            "[source.novamed]\npreset = \"novamed\"\nkeys = [{ env = \"KEY\" }]\n\
             [source.c4hxp]\npreset = \"c4hxp\"\nkeys = [{ env = \"KEY\" }]\nmax_event_age = \"2d\"\n\
             [source.open]\nauth = { kind = \"none-dangerous\" }\nevents = [\"a.*\"]\n\
             [upstream.app]\nurl = \"http://127.0.0.1:3000/webhooks?token=hunter2\"\n",
        );
        assert_eq!((err.as_str(), code), ("", ExitCode::SUCCESS));
        assert_eq!(
            out,
            "\
hookward.toml is valid. With it would run:

listener  http://0.0.0.0:8443, 4096 connections, bodies to 1MiB, answers within 4s
admin     none
store     data, kept 30d, unencrypted, closed to new events below 256MiB free

source novamed (preset novamed)
  path    /hooks/novamed
  auth    api key in x-api-key, 1 key
  from    any address
  repeats known by the event id (/event_id), at last the SHA-256 of the body; other content is quarantined
  replays OPEN: a captured request is taken again once its key is gone, after 30d; max_event_age closes that

source c4hxp (preset c4hxp)
  path    /hooks/c4hxp
  auth    hmac-sha256 in x-c4hxp-signature, 1 key
  from    52.1.1.1/32, 52.1.1.2/32, 52.1.1.3/32
  repeats known by /meta/webhook_id, at last the SHA-256 of the body; other content is another event
  replays events older than 2d are refused; events without a readable time are taken at any age (require_event_time = false)

source open
  path    /hooks/open
  auth    NONE: anyone can forge events, 0 keys
  from    any address
  repeats known by the SHA-256 of the body
  replays OPEN: a captured request is taken again once its key is gone, after 30d; its events have no time to judge that by
  events  a.* (others are acknowledged and not forwarded)

upstream app
  url     http://127.0.0.1:3000/webhooks
  sends   CloudEvents, NOT signed (no signing_key), 16 at once, each subject in order
  retries after 1s growing to 10m, for 3d; 10s an attempt

routes    none: every event goes to every upstream

2 warnings:
hookward.toml:1:1: warning: store.encryption_key: events are stored unencrypted: encryption at rest comes in a later version
hookward.toml:9:8: warning: source.open.auth: DANGEROUS: nothing is authenticated; anyone who reaches this path can forge events, and all of them are forwarded
"
        );
    }

    #[test]
    fn an_invalid_file_is_told_on_stderr_with_code_78() {
        let (out, err, code) =
            checked("[upstream.app]\nurl = \"http://127.0.0.1/\"\ntime = \"1s\"\n");
        assert_eq!((out.as_str(), code), ("", ExitCode::from(78)));
        assert_eq!(
            err,
            "\
hookward.toml:1:1: error: source: missing; accepted: 1 to 1024 tables [source.NAME]
hookward.toml:1:1: warning: store.encryption_key: events are stored unencrypted: encryption at rest comes in a later version
hookward.toml:3:1: error: upstream.app.time: unknown key; accepted: url, format, headers, signing_key, ca, timeout, concurrency, ordering, retry
2 errors: nothing is started
"
        );
    }
}
