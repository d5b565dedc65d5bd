//! Requests that did not prove who sent them: what the credential was, as far as a fingerprint tells.
//! Which key is the right one is never said, nor what was presented.

use std::time::Duration;

use super::super::super::table;
use super::Explanation;
use super::case::{Case, listed};
use super::near::Near;
use crate::audit::chain::Fingerprinted;
use crate::config::units::show_duration;
use crate::config::{Auth, Encoding, HmacScheme, Source, TimestampPlace};
use crate::store::disk::OsDisk;

/// Forms in which keys are presented by mistake: what stands in front of them, and behind.
const DRESSED: [(&str, &str, &str); 4] = [
    ("", "", ""),
    ("Bearer ", "", " with `Bearer ` in front of it"),
    ("Basic ", "", " with `Basic ` in front of it"),
    ("\"", "\"", " in double quotes"),
];

pub(super) fn credential_missing(case: &Case<'_>) -> Explanation {
    let expected = case.source().map(|source| expected(source));
    let certificate = case.source().is_some_and(|source| source.client_ca.is_some());
    let certificate = certificate.then(|| {
        "whether the provider shows its client certificate, and whether a proxy in front ends TLS: then the certificate ends there, too".to_owned()
    });
    Explanation::new("It came without the credential that the source asks for.")
        .known(expected)
        .check("whether the provider has the key set, and sends it in this header")
        .check("whether a proxy in front takes the header out (some drop names with an underscore)")
        .checks(certificate)
}

/// Whether it was refused for its client certificate, before anything else that it showed was looked at.
pub(super) fn is_certificate(case: &Case<'_>) -> bool {
    case.record.detail.as_deref().is_some_and(|detail| detail.contains("client certificate"))
}

pub(super) fn certificate(case: &Case<'_>) -> Explanation {
    let detail = case.record.detail.as_deref().unwrap_or_default();
    Explanation::new(format!(
        "It was refused for its client certificate: {detail}. What else it showed, a token, a key or a signature, was not judged."
    ))
    .check("whether the caller is set up to show its certificate, and shows the right one: who has issued it, whether it still holds, and whether it is one for client authentication (extendedKeyUsage)")
    .check("whether a proxy in front ends TLS: then the certificate ends there, too")
    .check("whether client_ca names the roots that the caller's certificate comes from")
}

pub(super) fn credential_invalid(case: &Case<'_>) -> Explanation {
    let whose = whose(case);
    let rotated = whose.is_none().then(|| {
        format!("whether the provider has got a new key, or {} has: list the old and the new one in keys until both sides have changed", case.name())
    });
    Explanation::new("It presented a key that is none of the source's, or in a form in which none can be.")
        .known(case.source().map(|source| expected(source)))
        .known(repeated(case))
        .known(whose)
        .checks(rotated)
        .check("whether white space or a newline got into the key, on either side: one newline at the end of a secret's file is stripped, and no more")
        .check("if nobody you know has sent it (see client and user agent), somebody is guessing: allow_ips and server.failure_rate_limit hold them off")
}

pub(super) fn signature_missing(case: &Case<'_>) -> Explanation {
    Explanation::new("It came without a signature.")
        .known(case.source().map(|source| expected(source)))
        .check("whether signing is turned on at the provider, and with this header")
        .check("whether a proxy in front takes the header out")
        .check("whether it is the provider's at all: a test from a dashboard, or somebody with curl, does not sign")
}

pub(super) fn signature_malformed(case: &Case<'_>) -> Explanation {
    Explanation::new("The signature is not of the form that the source's scheme has, so that it was not even compared.")
        .known(case.source().map(|source| expected(source)))
        .known(repeated(case))
        .check("the source's auth: prefix, encoding and algorithm, against what the provider documents (a hex SHA-256 has 64 digits, in base64 44 characters)")
        .check(verify(case))
}

pub(super) fn signature_invalid(case: &Case<'_>) -> Explanation {
    let Near { credential_bodies, body, .. } = case.near;
    let changed = (credential_bodies.len() > 1).then(|| {
        format!(
            "the same signature came with {} different bodies: something between the provider and the gateway changes them, or somebody tries",
            credential_bodies.len()
        )
    });
    let resigned = (*body > 0).then(|| {
        format!("the same body came {body} more times with another signature: signed again with each attempt, so the body was not made anew, and the key is the first suspect")
    });
    Explanation::new(
        "It has a signature of the right form, and no key of the source makes that signature over the body that arrived. Either the key is another one, or the bytes are.",
    )
    .known(case.source().map(|source| expected(source)))
    .known(repeated(case))
    .known(changed)
    .known(resigned)
    .check("whether the key was rotated at the provider or here: list the old and the new one in keys until both sides have changed")
    .check("whether something on the way changes the body (a proxy, WAF or function that decodes, re-encodes or pretty-prints JSON, changes line ends, or adds a newline): the signature covers every byte")
    .check("whether it is signed for another endpoint: each subscription at the provider may have a secret of its own")
    .check(verify(case))
}

pub(super) fn timestamp_missing(case: &Case<'_>) -> Explanation {
    Explanation::new("The scheme signs a timestamp, and the request has none.")
        .known(case.source().map(|source| expected(source)))
        .check("whether the provider signs with this version of its scheme, and whether a proxy takes the header out")
        .check("the source's auth: timestamp names where it stands")
}

pub(super) fn timestamp_invalid(case: &Case<'_>) -> Explanation {
    Explanation::new("The signed timestamp is no time in Unix seconds, or there are two of them.")
        .known(case.source().map(|source| expected(source)))
        .check("whether the provider sends milliseconds, or a date in words: seconds in digits are read")
        .check("whether a proxy in front repeats the header")
        .check(verify(case))
}

pub(super) fn timestamp_out_of_range(case: &Case<'_>) -> Explanation {
    let others = &case.near.elsewhere;
    let whose = if others.is_empty() {
        "no other source had this within a day of it: if they sign timestamps too, this machine's clock is right, and the sender's is not".to_owned()
    } else {
        format!(
            "it was so at other sources as well ({}): then this machine's clock is the first suspect",
            super::case::counted(others)
        )
    };
    let tolerance = case.source().and_then(|source| tolerance(source)).map(|tolerance| {
        format!(
            "{} takes timestamps that are at most {} from now, both ways",
            case.name(),
            show_duration(tolerance)
        )
    });
    let late = (case.near.credential.records > 1).then(|| {
        format!(
            "the same signature was presented {} times, the first at {} (UTC): sent again without being signed again, it gets too old",
            case.near.credential.count,
            table::time(&case.near.credential.first)
        )
    });
    Explanation::new(
        "It was signed too long ago or ahead of time, by this machine's clock: clocks differ, it was held up on the way, or it is an old request that somebody sends again.",
    )
    .known(tolerance)
    .known([whose])
    .known(late)
    .check("this machine's clock: `timedatectl` or `chronyc tracking`; it must be synchronized")
    .check("how long requests take to get here: a queue or a retrying proxy in front holds them up")
    .check("with a captured request, `hookward verify` says how far off its timestamp is")
}

/// What the source asks for, by the configuration of now.
fn expected(source: &Source) -> String {
    let keys = match source.keys.len() {
        1 => "1 key is configured".to_owned(),
        n => format!("{n} keys are configured"),
    };
    let name = &source.name;
    let said = match &source.auth {
        Auth::ApiKey { header } => format!("source {name} asks for an API key in {header}; {keys}"),
        Auth::Hmac(scheme) => format!("source {name} asks for {}; {keys}", hmac(scheme)),
        Auth::StandardWebhooks { .. } => format!(
            "source {name} asks for webhook-id, webhook-timestamp and webhook-signature (v1); {keys}"
        ),
        Auth::NoneDangerous => format!("source {name} asks for no credential now"),
    };
    if source.client_ca.is_some() { format!("{said}, and for a client certificate") } else { said }
}

fn hmac(scheme: &HmacScheme) -> String {
    let encoding = match scheme.encoding {
        Encoding::Hex => "hexadecimal digits",
        Encoding::Base64 => "base64",
    };
    let prefix = match scheme.prefix.as_str() {
        "" => String::new(),
        prefix => format!(" behind `{prefix}`"),
    };
    let algorithm = format!("{:?}", scheme.algorithm).to_ascii_uppercase();
    let timestamp = match &scheme.timestamp {
        None => String::new(),
        Some(TimestampPlace::Item(key)) => format!(", with a timestamp as {key}="),
        Some(TimestampPlace::Header(header)) => format!(", with a timestamp in {header}"),
    };
    format!("an HMAC-{algorithm} in {}, in {encoding}{prefix}{timestamp}", scheme.header)
}

fn tolerance(source: &Source) -> Option<Duration> {
    match &source.auth {
        Auth::Hmac(scheme) => scheme.tolerance,
        Auth::StandardWebhooks { tolerance, .. } => Some(*tolerance),
        Auth::ApiKey { .. } | Auth::NoneDangerous => None,
    }
}

/// How often the same credential was presented, and where.
fn repeated(case: &Case<'_>) -> Vec<String> {
    let Near { credential, credential_sources, credential_clients, .. } = case.near;
    let mut said = Vec::new();
    if credential.records > 1 {
        said.push(format!(
            "the same credential was refused {} times in the day before and after it, from {}: the first at {}, the last at {} (UTC)",
            credential.count,
            listed(credential_clients.iter().map(String::as_str)),
            table::time(&credential.first),
            table::time(&credential.last)
        ));
    }
    let own = case.record.source.as_deref();
    let others = credential_sources.iter().map(String::as_str).filter(|name| Some(*name) != own);
    if others.clone().next().is_some() {
        said.push(format!("it was presented elsewhere as well: {}", listed(others)));
    }
    said
}

/// Whose key was presented, if it is one that is configured. Only its place is told.
fn whose(case: &Case<'_>) -> Option<String> {
    let setup = case.setup.filter(|setup| setup.keys)?;
    let presented = case.record.credential.as_deref()?;
    let prints = Fingerprinted::open(&OsDisk, case.store?).ok()?;
    let own = case.record.source.as_deref();
    for source in &setup.config.sources {
        for (key, place) in source.keys.iter().zip(&source.key_places) {
            let key = key.expose();
            let fits = |(before, behind, _): &&(&str, &str, &str)| {
                prints.is(presented, &[before.as_bytes(), key, behind.as_bytes()])
                    || prints
                        .is(presented, &[before.as_bytes(), key.trim_ascii(), behind.as_bytes()])
            };
            let Some((_, _, dressed)) = DRESSED.iter().find(fits) else { continue };
            let here = Some(source.name.as_str()) == own;
            return Some(match (here, *dressed) {
                (true, "") => format!(
                    "what was presented is a key of this source now (from {place}): it was not yet when this was refused, or it differs from that in white space"
                ),
                (true, dressed) => format!(
                    "what was presented is the source's key from {place}{dressed}: the bare key belongs there"
                ),
                (false, dressed) => format!(
                    "what was presented is the key of source {} (from {place}){dressed}: the request was sent to the wrong path, or the keys are mixed up",
                    source.name
                ),
            });
        }
    }
    Some("what was presented is no key that is configured now, at any source".to_owned())
}

/// How to find out with a captured request.
fn verify(case: &Case<'_>) -> String {
    let source = case.record.source.as_deref().unwrap_or("SOURCE");
    format!(
        "with a captured request, `hookward verify {source} --request FILE` tries what commonly goes wrong, and says with which key it would pass"
    )
}
