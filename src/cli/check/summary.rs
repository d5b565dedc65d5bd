//! What would run with a configuration, in words.

use std::fmt;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use super::audit;
use super::store::Doubt;
use crate::clock::Clock;
use crate::config::certificates::day;
use crate::config::units::{show_duration, show_size};
use crate::config::{
    self, Auth, Config, Format, OnConflict, Ordering, OriginalSignature, Place, Problem, RateLimit,
    Selector, Server, SignedPart, Source, TimestampPlace, Tls, Upstream,
};
use crate::event::SourceName;
use crate::pem::Facts;
use crate::store::Survey;
use crate::store::crypt::Keyring;

/// What would run, for people. Without its trailing newline.
pub(super) struct Summary<'c> {
    pub(super) config: &'c Config,
    pub(super) warnings: &'c [Problem],
    pub(super) doubts: &'c [Doubt],
    /// The keys that the store would have.
    pub(super) keys: &'c Keyring,
    /// What the store's segments say, if there are any.
    pub(super) survey: Option<Survey>,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config {
            file,
            files: _,
            server,
            admin,
            store,
            audit,
            log: _,
            sources,
            upstreams,
            routes,
        } = self.config;
        writeln!(f, "{} is valid. With it would run:\n", file.display())?;
        summarize_server(f, server)?;
        match admin {
            Some(admin) => {
                let token = if admin.token.is_some() { "with a token" } else { "without a token" };
                writeln!(f, "admin     http://{}, {token}", admin.listen)?;
            }
            None => writeln!(f, "admin     none")?,
        }
        writeln!(
            f,
            "store     {}, kept {}, {}, closed to new events below {} free",
            store.path.display(),
            show_duration(store.retention),
            describe_keys(self.keys),
            show_size(store.min_free),
        )?;
        if let Some(survey) = self.survey.as_ref().filter(|_| !self.keys.is_empty()) {
            summarize_segments(f, survey, store.retention)?;
        }
        audit::summarize(f, audit)?;
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
        let warnings = self.warnings.len() + self.doubts.len();
        if warnings > 0 {
            write!(f, "\n\n{}:", counted(warnings, "warning"))?;
        }
        for warning in self.warnings {
            write!(f, "\n{warning}")?;
        }
        for doubt in self.doubts {
            write!(f, "\n{}: warning: {doubt}", file.display())?;
        }
        Ok(())
    }
}

fn describe_keys(keys: &Keyring) -> String {
    let mut ids = keys.ids();
    let Some(first) = ids.next() else { return "unencrypted".to_owned() };
    let others: Vec<String> = ids.map(|id| id.to_string()).collect();
    if others.is_empty() {
        format!("encrypted with key {first}")
    } else {
        format!("encrypted with key {first} (and {} for reading)", others.join(", "))
    }
}

fn summarize_segments(
    f: &mut fmt::Formatter<'_>,
    survey: &Survey,
    retention: Duration,
) -> fmt::Result {
    if survey.plain > 0 {
        let segments = counted(survey.plain, "segment");
        let by = day(survey.plain_goes(retention, Clock::System.now()));
        writeln!(
            f,
            "  plain   {segments} from before the encryption, readable to whoever has the disk: gone by {by}, once nothing in them waits any more"
        )?;
    }
    if survey.unvouched > 0 {
        writeln!(
            f,
            "  REFUSED a start is: no encrypted segment can tell whether the plain ones in front are from before the encryption"
        )?;
    }
    for (numbers, what) in [
        (&survey.keyless, "LOST    both key slots are damaged in segment"),
        (&survey.foreign, "FORGED  not encrypted, behind encrypted ones, and never read: segment"),
    ] {
        if !numbers.is_empty() {
            let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
            writeln!(f, "  {what} {}", numbers.join(", "))?;
        }
    }
    Ok(())
}

fn summarize_server(f: &mut fmt::Formatter<'_>, server: &Server) -> fmt::Result {
    writeln!(
        f,
        "listener  {}://{}, {} connections ({} from one address), bodies to {}, answers within {}",
        if server.tls.is_some() { "https" } else { "http" },
        server.listen,
        server.max_connections,
        server.max_connections_per_client,
        show_size(server.max_body),
        show_duration(server.ack_deadline),
    )?;
    if let Some(tls) = &server.tls {
        writeln!(f, "  tls     {}", describe_tls(tls))?;
    }
    let believed = match (server.trusted_proxies.is_empty(), server.proxy_protocol) {
        (true, _) => "none: X-Forwarded-For is ignored",
        (false, false) => ", believed in X-Forwarded-For",
        (false, true) => ", each connection with a PROXY header; X-Forwarded-For is believed too",
    };
    writeln!(f, "  proxies {}{believed}", networks(&server.trusted_proxies))?;
    let client = match &server.client_rate_limit {
        Some(rate) => format!("{} from one address", describe_rate(rate)),
        None => "no limit".to_owned(),
    };
    let failures = describe_rate(&server.failure_rate_limit);
    writeln!(f, "  rates   {client}; failed authentications: {failures} from one address")?;
    if server.sandbox {
        writeln!(f, "  sandbox on")?;
    }
    Ok(())
}

fn describe_tls(tls: &Tls) -> String {
    match tls {
        Tls::Files { cert, key: _, identity } => format!(
            "{}, until {} ({})",
            identity.facts.names.join(", "),
            day(identity.facts.not_after),
            cert.display(),
        ),
        Tls::Acme(acme) => format!(
            "{}, by ACME from {}, kept in {}",
            acme.domains.join(", "),
            acme.directory,
            acme.cache.display(),
        ),
    }
}

fn describe_rate(rate: &RateLimit) -> String {
    format!("{} a second ({} at once)", rate.per_second, rate.burst)
}

fn networks(nets: &[IpNet]) -> String {
    let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
    nets.join(", ")
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
        Some(nets) => writeln!(f, "  from    {}", networks(nets))?,
        None => writeln!(f, "  from    any address")?,
    }
    if let Some(ca) = &source.client_ca {
        writeln!(f, "  shows   a client certificate of {}", ca.file.display())?;
    }
    if let Some(rate) = &source.rate_limit {
        writeln!(f, "  rate    {}", describe_rate(rate))?;
    }
    writeln!(f, "  repeats {}", describe_dedupe(source))?;
    writeln!(f, "  replays {}", describe_replays(source, config))?;
    writeln!(f, "  resent  {}", describe_retries(source))?;
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

/// How the provider sends again what was not acknowledged, and so which outage loses nothing.
fn describe_retries(source: &Source) -> String {
    let waits: Vec<String> =
        source.retries.schedule().unwrap_or_default().iter().map(|w| show_duration(*w)).collect();
    match source.retries.horizon() {
        None => "not known for how long: an outage of any length may lose events".to_owned(),
        Some(Duration::ZERO) => "never by its provider: every outage may lose events".to_owned(),
        Some(horizon) if waits.is_empty() => {
            format!("by its provider for {}", show_duration(horizon))
        }
        Some(horizon) => {
            let (waits, horizon) = (waits.join(", "), show_duration(horizon));
            format!("by its provider after {waits}, for {horizon} in all")
        }
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
    let order = match upstream.ordering {
        Ordering::Subject => "each subject in order",
        Ordering::None => "in any order",
    };
    let rate = upstream.rate_limit.map(|rate| format!(", {}", describe_rate(&rate)));
    writeln!(
        f,
        "  sends   {}, {}, {} at once{}, {order}",
        describe_format(upstream),
        describe_signing(upstream.signing_keys.len()),
        upstream.concurrency,
        rate.unwrap_or_default(),
    )?;
    if !upstream.resign.is_empty() {
        let names: Vec<&str> = upstream.resign.keys().map(SourceName::as_str).collect();
        writeln!(f, "  resigns events of {}, as their providers sign", names.join(", "))?;
    }
    if let Some(identity) = &upstream.client_cert {
        let Facts { names, not_after, .. } = &identity.facts;
        writeln!(f, "  shows   a certificate of {}, until {}", names.join(", "), day(*not_after))?;
    }
    if upstream.allow_link_local {
        writeln!(f, "  calls   link-local and metadata addresses too")?;
    }
    writeln!(
        f,
        "  retries after {} growing to {}, for {}; {} an attempt",
        show_duration(upstream.retry.first),
        show_duration(upstream.retry.max),
        show_duration(upstream.retry.give_up),
        show_duration(upstream.timeout),
    )
}

fn describe_format(upstream: &Upstream) -> &'static str {
    match (upstream.format, upstream.original_signature) {
        (Format::CloudEvents, _) => "CloudEvents",
        (Format::CloudEventsBinary, _) => "CloudEvents in binary mode",
        (Format::Passthrough, OriginalSignature::Drop) => "the provider's bytes",
        (Format::Passthrough, OriginalSignature::Keep) => "the provider's bytes and signature",
    }
}

fn describe_signing(keys: usize) -> String {
    match keys {
        0 => "NOT signed (no signing_key)".to_owned(),
        1 => "signed".to_owned(),
        n => format!("signed with {n} keys"),
    }
}

pub(super) fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
