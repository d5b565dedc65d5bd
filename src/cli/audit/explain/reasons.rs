//! What each reason means, and what can be checked.

use super::super::super::table;
use super::Explanation;
use super::case::{Case, listed};
use super::credentials::{
    self, credential_invalid, credential_missing, signature_invalid, signature_malformed,
    signature_missing, timestamp_invalid, timestamp_missing, timestamp_out_of_range,
};
use super::operators::{self, at_admin};
use super::proxies::{Caller, holds};
use crate::admit::{ALL_FAILURES, SOURCE};
use crate::audit::Reason;
use crate::config::units::{show_duration, show_size};
use crate::config::{OnConflict, RateLimit};
use crate::identify::NO_TIME;
use crate::listen::Defect;

/// What a record of this reason means.
pub(super) fn of(reason: Reason, case: &Case<'_>) -> Explanation {
    match reason {
        Reason::CredentialMissing | Reason::CredentialInvalid
            if credentials::is_certificate(case) =>
        {
            credentials::certificate(case)
        }
        Reason::UnknownRoute => unknown_route(case),
        Reason::MethodNotAllowed => method_not_allowed(case),
        Reason::IpNotAllowed => ip_not_allowed(case),
        Reason::RateLimited if at_admin(case) => operators::limited(case),
        Reason::CredentialMissing if at_admin(case) => operators::missing(case),
        Reason::CredentialInvalid if at_admin(case) => operators::invalid(case),
        Reason::RateLimited => rate_limited(case),
        Reason::BodyTooLarge => body_too_large(case),
        Reason::BodyTimeout => body_timeout(case),
        Reason::UnsupportedMediaType => unsupported_media_type(),
        Reason::CredentialMissing => credential_missing(case),
        Reason::CredentialInvalid => credential_invalid(case),
        Reason::SignatureMissing => signature_missing(case),
        Reason::SignatureMalformed => signature_malformed(case),
        Reason::SignatureInvalid => signature_invalid(case),
        Reason::TimestampMissing => timestamp_missing(case),
        Reason::TimestampInvalid => timestamp_invalid(case),
        Reason::TimestampOutOfRange => timestamp_out_of_range(case),
        Reason::MalformedJson => malformed_json(),
        Reason::EventTooOld => event_too_old(case),
        Reason::Conflict => conflict(case),
        Reason::Overloaded if at_admin(case) => operators::overloaded(case),
        Reason::Overloaded => overloaded(case),
        Reason::StoreUnavailable => store_unavailable(case),
        Reason::ProtocolError if case.record.detail.as_deref() == Some(Defect::Tls.as_str()) => {
            tls_on_plain()
        }
        Reason::ProtocolError => protocol_error(),
        Reason::InternalError => internal_error(),
        Reason::NotPermitted => operators::not_permitted(case),
    }
}

fn unknown_route(case: &Case<'_>) -> Explanation {
    let path = case.record.path.as_deref().unwrap_or_default();
    let plain = |path: &str| path.trim_end_matches('/').to_ascii_lowercase();
    let close = case.setup.and_then(|setup| {
        let sources = &setup.config.sources;
        let exact = sources.iter().find(|source| source.path == path);
        let exact = exact.map(|source| format!("source {} has exactly this path now: it had not when this was refused", source.name));
        let alike = || {
            let alike = sources.iter().find(|source| {
                let (own, sent) = (plain(&source.path), plain(path));
                own == sent || (!own.is_empty() && sent.ends_with(&own))
            })?;
            Some(format!("source {} has the path {}: paths match byte for byte, so that another case, a slash at the end or something in front is another path", alike.name, alike.path))
        };
        let all = || {
            let paths = sources.iter().map(|source| source.path.as_str());
            Some(format!("there are {}", listed(paths)))
        };
        exact.or_else(alike).or_else(all)
    });
    Explanation::new("No source has the path that it was sent to.")
        .known(close)
        .check("the URL that the provider has, letter by letter (`hookward sources` lists the paths)")
        .check("whether a proxy in front changes the path")
        .check("whether anybody you know has sent it (see client and user agent): the Internet is scanned all the time, and that needs no answer")
}

fn method_not_allowed(case: &Case<'_>) -> Explanation {
    let method = case.record.method.as_deref().unwrap_or("another method");
    Explanation::new(format!("It was sent with {method}; only POST is answered."))
        .check("whether somebody has opened the URL in a browser, or a monitor asks for it: /healthz on the admin listener is for monitors")
        .check("whether a proxy in front redirects (301, 302): clients follow with GET, and without the body")
}

fn ip_not_allowed(case: &Case<'_>) -> Explanation {
    let caller = Caller::of(case);
    let client = case.record.client.as_deref().and_then(|client| client.parse().ok());
    let now = case.source().zip(client).map(|(source, client)| match &source.allow_ips {
        None => "the source has no allowlist any more: it would pass now".to_owned(),
        Some(nets) if holds(nets, client) => {
            format!("the allowlist holds {client} now: it would pass")
        }
        Some(nets) => {
            let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
            format!("the allowlist is {}", listed(nets.iter().map(String::as_str)))
        }
    });
    Explanation::new("The address that it came from is not on the source's allowlist.")
        .known(caller.known)
        .known(now)
        .checks(caller.check)
        .check("whether the provider has published other addresses, and allow_ips has them")
        .check("if the address is nobody's that you know, somebody else tries, and the list has done what it is for")
}

/// Limits that are a source's own, whoever calls it, as the detail has them.
const SHARED: [&str; 2] = [SOURCE.detail, ALL_FAILURES.detail];

fn rate_limited(case: &Case<'_>) -> Explanation {
    // What all clients share has nothing to do with who they are.
    let shared = case.record.detail.as_deref().is_some_and(|detail| SHARED.contains(&detail));
    let caller = if shared { Caller::default() } else { Caller::of(case) };
    let limits = case.setup.map(|setup| {
        let server = &setup.config.server;
        let rate =
            |limit: &RateLimit| format!("{} a second, {} at once", limit.per_second, limit.burst);
        let none = || "none".to_owned();
        let source = case.source().and_then(|source| source.rate_limit.as_ref());
        format!(
            "the limits now: of the source {}, of one client {}, of failed authentications {}",
            source.map_or_else(none, rate),
            server.client_rate_limit.as_ref().map_or_else(none, rate),
            rate(&server.failure_rate_limit)
        )
    });
    Explanation::new("More came than may: of the source, of this client, or too many failed authentications (the detail says which). The answer was 429 with Retry-After, and a provider sends such an event again.")
        .known(caller.known)
        .known(limits)
        .checks(caller.check)
        .check("whether the provider sends in bursts, as after an outage: then the limit is too low")
        .check("after failed authentications, why they fail: `hookward audit top --by reason` for this client")
}

fn body_too_large(case: &Case<'_>) -> Explanation {
    // Without a declared length, what was read says only where it was refused.
    let length = case.record.declared;
    let limit = case.setup.map(|setup| setup.config.server.max_body);
    let now = limit.zip(length).map(|(limit, length)| {
        let fits = if length <= limit { "it would fit now" } else { "it would not fit now either" };
        format!(
            "it declared {length} bytes, and server.max_body is {} ({limit} bytes): {fits}",
            show_size(limit)
        )
    });
    let chunked = length.is_none().then(|| {
        let limit = limit.map_or_else(String::new, |limit| {
            format!("; server.max_body is {} now", show_size(limit))
        });
        format!("it declared no length: how long it would have been is not known{limit}")
    });
    Explanation::new("Its body is longer than what is taken.")
        .known(now)
        .known(chunked)
        .check("how long the provider's events can be by its documentation; server.max_body must be more than that")
        .check("whether it is an event at all: nobody you know sends bodies of this length")
}

fn body_timeout(case: &Case<'_>) -> Explanation {
    let record = case.record;
    let came = record.declared.zip(record.size).filter(|_| record.sha256.is_some());
    let came =
        came.map(|(declared, size)| format!("{size} of {declared} declared bytes had arrived"));
    let limits = case.setup.map(|setup| {
        let server = &setup.config.server;
        format!(
            "a body must be there within server.ack_deadline ({}), and come with at least {} a second (server.min_body_rate)",
            show_duration(server.ack_deadline),
            show_size(server.min_body_rate)
        )
    });
    Explanation::new("Its body was not there in time.")
        .known(came)
        .known(limits)
        .check("whether the line to the provider, or a proxy in front, loses or holds up packets; a proxy that buffers bodies hides slow senders")
        .check("whether the declared length is more than the body has: then the sender, or what changes bodies on the way, is at fault")
        .check("many of these from many clients with no events between: somebody ties up connections; max_connections_per_client bounds that")
}

fn unsupported_media_type() -> Explanation {
    Explanation::new("By its headers it is no plain JSON: Content-Type is not application/json or application/*+json in UTF-8, or Content-Encoding says that it is compressed. Its credential was right.")
        .check("the provider's setting for the format: JSON, not a form (`application/x-www-form-urlencoded`) and not XML")
        .check("whether a proxy in front compresses bodies, or changes Content-Type")
}

fn malformed_json() -> Explanation {
    Explanation::new("The body is no I-JSON (RFC 7493): broken off, with members that are repeated, invalid UTF-8, a byte order mark, or nested too deeply. Its credential was right, so that its sender made it like this.")
        .check("with a captured request, `hookward verify` says which it is")
        .check("whether the provider knows: other events of the same kind fail as well, and are sent again in vain")
}

fn event_too_old(case: &Case<'_>) -> Explanation {
    let untimed = case.record.detail.as_deref() == Some(NO_TIME.detail);
    let age = case.source().map(|source| match source.max_event_age {
        _ if untimed && source.require_event_time => {
            "it says no time that can be read, and require_event_time of the source is true".to_owned()
        }
        _ if untimed => {
            "require_event_time of the source is not set any more: an event without a time would pass now".to_owned()
        }
        Some(age) => format!("max_event_age of the source is {}", show_duration(age)),
        None if source.require_event_time => {
            "the source requires an event time, and has no max_event_age".to_owned()
        }
        None => "the source has no max_event_age any more: it would pass now".to_owned(),
    });
    if untimed {
        return Explanation::new("The event does not say when it happened, or not so that it can be read, and the source takes none without a time (require_event_time). Its credential was right.")
            .known(age)
            .check("whether event.time of the source points at the time of the event: RFC 3339, or Unix seconds or milliseconds")
            .check("whether all of the provider's events have one: if not, require_event_time is not for this source, and max_event_age looks only at those that do");
    }
    let retries = case.source().and_then(|source| source.retries.horizon()).map(|horizon| {
        format!(
            "its provider sends again for {}: max_event_age must be longer than that",
            show_duration(horizon)
        )
    });
    Explanation::new("The event says that it happened too long ago, or does not say when although the source requires it (require_event_time; the detail says which). Its credential was right: it is a late attempt, or somebody sends a captured request again.")
        .known(age)
        .known(retries)
        .check("whether the provider was held up, as after an outage (`hookward gaps`): its late attempts are refused as replays")
        .check("whether event.time of the source points at the time of the event, and not at that of the entity")
        .check("this machine's clock")
}

fn conflict(case: &Case<'_>) -> Explanation {
    let detail = case.record.detail.as_deref().unwrap_or_default();
    let became = match detail.split_once(':').map_or(detail, |(became, _)| became) {
        "kept back" => "It was kept back, and waits in quarantine for an operator.",
        "dropped" => "It was dropped: on_conflict of the source was drop.",
        _ => "It was kept back or dropped, as on_conflict of the source says.",
    };
    let id = |name: &str| case.record.details.as_ref()?[name].as_str();
    let stored =
        id("conflicts_with").map(|stored| format!("the stored event whose key it has is {stored}"));
    let own = id("event").map(|event| format!("it is event {event}"));
    let events = own.into_iter().chain(stored);
    let now = case.source().map(|source| match source.on_conflict {
        OnConflict::Quarantine => "on_conflict of the source is quarantine now: such an event waits for an operator",
        OnConflict::Deliver => "on_conflict of the source is deliver now: such an event is delivered like any other, and leaves no record here",
        OnConflict::Drop => "on_conflict of the source is drop now: such an event is gone",
    });
    let said = Explanation::new(format!("An event with the same key as a stored one came with another body. Its credential was right, and it was answered 200, so that its provider does not send it again. {became}"))
        .known(events)
        .known(now.map(str::to_owned))
        .check("whether the provider's id is one per event: if two events share one, dedupe must name more than the id");
    if detail.starts_with("dropped") {
        return said.check("whether the app needs what it said: nothing of it is stored, so that only the provider can send it again (with on_conflict = \"quarantine\" it would have been kept)");
    }
    let look = match id("event") {
        Some(event) => format!("`hookward events show {event}`, and the same of the stored event: what differs"),
        None => "`hookward events list --state quarantined`, and `hookward events show` with its id: what differs".to_owned(),
    };
    said.check(look).check("then `hookward events release` or `discard`")
}

fn overloaded(case: &Case<'_>) -> Explanation {
    let limits = case.setup.map(|setup| {
        let server = &setup.config.server;
        format!(
            "server.body_memory is {}, max_connections {}, max_connections_per_client {}",
            show_size(server.body_memory),
            server.max_connections,
            server.max_connections_per_client
        )
    });
    Explanation::new("The gateway had as much in hand as it may. The answer, where there was one, was 503 with Retry-After, and a provider sends such an event again.")
        .known(limits)
        .known(Caller::of(case).known)
        .check("whether the disk is slow (hookward_journal_sync_duration_seconds): what waits for it fills the queue")
        .check("whether one client has most of it (`hookward audit top --by client`)")
        .check("whether the provider has sent it again since: `hookward events list`")
}

fn store_unavailable(case: &Case<'_>) -> Explanation {
    let free = case.setup.map(|setup| {
        format!(
            "store.min_free is {}: below that nothing is taken",
            show_size(setup.config.store.min_free)
        )
    });
    let until = (case.near.alike.records > 1).then(|| {
        format!("the last one like this was at {} (UTC)", table::time(&case.near.alike.last))
    });
    Explanation::new("It could not be stored, and was not acknowledged: a provider sends such an event again.")
        .known(free)
        .known(until)
        .check("/readyz says whether events are taken now, and why not")
        .check("free space on the store's disk; below min_free it takes up again by itself, after a failed write or sync only after a restart")
        .check("`hookward gaps`: whether it lasted longer than the provider tries")
}

fn protocol_error() -> Explanation {
    Explanation::new("It was no HTTP as the RFCs have it, or could be read in two ways, or the connection broke off. It was refused before anybody looked who sent it.")
        .check("the detail, in docs/http.md: what is refused, and why")
        .check("whether a proxy in front passes on what it should mend (bare LF, repeated headers, Upgrade: h2c)")
        .check("whether it speaks TLS to a plain listener, or the other way round")
        .check("of a TLS handshake: whether the client trusts this certificate (it sends an alert where it does not), and speaks TLS 1.2 or later")
        .check("whether anybody you know has sent it: scanners send such things, and that needs no answer")
}

fn tls_on_plain() -> Explanation {
    Explanation::new("It speaks TLS to a listener that does not: what came was a TLS handshake, and no request.")
        .check("whether the URL that the provider has says https and leads to this listener itself, without the proxy that ends TLS; or whether that proxy speaks TLS to the gateway (http:// is meant)")
        .check("whether the listener should speak TLS: `tls` of [server], or of [admin]")
        .check("whether anybody you know has sent it: scanners try TLS on every port, and that needs no answer")
}

fn internal_error() -> Explanation {
    Explanation::new("A defect of Hookward: handling the request has panicked. The event was not acknowledged, and its provider sends it again.")
        .check("the log at that time: it says where, and nothing of the request")
        .check("whether it happens again, and with what; then report it with the log line and the version")
}
