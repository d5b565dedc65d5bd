//! How a provider proves itself: the credential headers of a request, made with the source's key.
//!
//! The sender's side of admission, and deliberately none of its code: what one of them got wrong
//! the other would not repeat.

use base64::prelude::{BASE64_STANDARD, Engine};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::Preset;
use super::sample::Outgoing;
use crate::clock::UnixMillis;
use crate::config::{
    Algorithm, Auth, Encoding, HmacScheme, Place, SignedPart, Source, TimestampPlace,
};
use crate::secret::Secret;

/// Why a request cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// An API key with bytes that no header can carry.
    #[error("the key has bytes that cannot stand in a header")]
    KeyInHeader,
    /// A Standard Webhooks key that is not base64.
    #[error("a Standard Webhooks key is base64 after an optional `whsec_`")]
    KeyNotBase64,
    /// An event id or type that has to stand in a header and cannot.
    #[error("the event's id or type cannot stand in a header")]
    ValueInHeader,
    /// A header that the signature covers and that is not there.
    #[error("a header that the signature covers is not there")]
    CoveredHeader,
}

/// All headers by which the provider behind `source` would prove and name this event, sent at
/// `now` with `key`. Content type and framing are the caller's.
///
/// # Errors
/// [`SignError`] when the key or the event does not fit the scheme.
pub fn sign(
    source: &Source,
    key: &Secret,
    now: UnixMillis,
    event: &Outgoing,
) -> Result<HeaderMap, SignError> {
    let mut headers = naming_headers(source, now, event)?;
    match &source.auth {
        Auth::ApiKey { header } => show_key(&mut headers, header, key)?,
        Auth::Hmac(scheme) => {
            fill_covered(&mut headers, scheme);
            sign_hmac(&mut headers, scheme, key, now, &event.body)?;
        }
        Auth::StandardWebhooks { .. } => sign_standard_webhooks(&mut headers, key, now, event)?,
        Auth::NoneDangerous => {}
    }
    Ok(headers)
}

/// Puts into `headers`, which a provider's request with this body has already, what proves at `now`
/// that it comes from the holder of `key`. Not for Standard Webhooks, whose signature needs an id.
///
/// # Errors
/// [`SignError`] when the key does not fit the scheme, or a header that it covers is not there.
pub fn prove(
    auth: &Auth,
    key: &Secret,
    now: UnixMillis,
    body: &[u8],
    headers: &mut HeaderMap,
) -> Result<(), SignError> {
    match auth {
        Auth::ApiKey { header } => show_key(headers, header, key),
        Auth::Hmac(scheme) => sign_hmac(headers, scheme, key, now, body),
        Auth::StandardWebhooks { .. } | Auth::NoneDangerous => Ok(()),
    }
}

fn show_key(headers: &mut HeaderMap, header: &HeaderName, key: &Secret) -> Result<(), SignError> {
    let mut value = HeaderValue::from_bytes(key.expose()).map_err(|_| SignError::KeyInHeader)?;
    value.set_sensitive(true);
    headers.insert(header.clone(), value);
    Ok(())
}

/// The request of somebody who has seen this event and does not have the key: with an API key,
/// the right body under a key that is wrong in one byte; with a signature, another body under
/// the right one's signature. Where nothing is proved, nothing can be forged.
///
/// # Errors
/// As [`sign`].
pub fn forge(
    source: &Source,
    key: &Secret,
    now: UnixMillis,
    event: &Outgoing,
) -> Result<(HeaderMap, Vec<u8>), SignError> {
    if matches!(source.auth, Auth::ApiKey { .. }) {
        let headers = sign(source, &near_miss(key), now, event)?;
        return Ok((headers, event.body.clone()));
    }
    Ok((sign(source, key, now, event)?, altered(&event.body)))
}

/// A key that differs from this one in its last byte only.
fn near_miss(key: &Secret) -> Secret {
    let mut bytes = key.expose().to_vec();
    if let Some(last) = bytes.last_mut() {
        *last = if *last == b'0' { b'1' } else { b'0' };
    }
    Secret::new(bytes)
}

/// Another body of the same form: an object gets one more member, anything else a space.
fn altered(body: &[u8]) -> Vec<u8> {
    match body.strip_prefix(b"{") {
        Some(rest) if rest.trim_ascii() != b"}" => [br#"{"forged":true,"#, rest].concat(),
        _ => [body, b" "].concat(),
    }
}

/// A Standard Webhooks key as its HMAC takes it.
///
/// # Errors
/// [`SignError::KeyNotBase64`] when it is not base64 after an optional `whsec_`.
pub fn standard_webhooks_key(key: &[u8]) -> Result<Secret, SignError> {
    let text = key.strip_prefix(b"whsec_").unwrap_or(key);
    BASE64_STANDARD.decode(text).map(Secret::new).map_err(|_| SignError::KeyNotBase64)
}

/// The value of `webhook-signature` for one key (Standard Webhooks, "symmetric signatures").
pub fn standard_webhooks_signature(key: &Secret, id: &str, timestamp: &str, body: &[u8]) -> String {
    let content = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    format!("v1,{}", BASE64_STANDARD.encode(mac(Algorithm::Sha256, key, &content)))
}

/// Headers that say which event it is, where the provider has such or the source reads such.
fn naming_headers(
    source: &Source,
    now: UnixMillis,
    event: &Outgoing,
) -> Result<HeaderMap, SignError> {
    let mut headers = HeaderMap::new();
    for (names, value) in [
        (preset_headers(source.preset).0, &event.event_type),
        (preset_headers(source.preset).1, &event.id),
    ] {
        for name in names {
            headers.insert(HeaderName::from_static(name), text(value)?);
        }
    }
    for (selector, value) in [
        (&source.event.time, &now.to_string()),
        (&source.event.kind, &event.event_type),
        (&source.event.id, &event.id),
    ] {
        for place in &selector.0 {
            if let Place::Header(name) = place {
                headers.insert(name.clone(), text(value)?);
            }
        }
    }
    if source.preset == Some(Preset::Shopify) {
        headers.insert("x-shopify-shop-domain", HeaderValue::from_static("example.myshopify.com"));
    }
    Ok(headers)
}

/// The headers in which a preset's provider sends the event's type, and its id.
fn preset_headers(preset: Option<Preset>) -> (&'static [&'static str], &'static [&'static str]) {
    match preset {
        Some(Preset::RxScale) => (&["x-webhook-event"], &[]),
        Some(Preset::GitHub) => (&["x-github-event"], &["x-github-delivery"]),
        Some(Preset::Shopify) => (&["x-shopify-topic"], &["x-shopify-event-id"]),
        Some(
            Preset::NovaMed
            | Preset::C4hxp
            | Preset::Nimbus
            | Preset::Drx
            | Preset::StandardWebhooks
            | Preset::Stripe
            | Preset::Slack,
        )
        | None => (&[], &[]),
    }
}

fn sign_standard_webhooks(
    headers: &mut HeaderMap,
    key: &Secret,
    now: UnixMillis,
    event: &Outgoing,
) -> Result<(), SignError> {
    let key = standard_webhooks_key(key.expose())?;
    let timestamp = now.as_secs().to_string();
    let signature = standard_webhooks_signature(&key, &event.id, &timestamp, &event.body);
    headers.insert("webhook-id", text(&event.id)?);
    headers.insert("webhook-timestamp", text(&timestamp)?);
    headers.insert("webhook-signature", text(&signature)?);
    Ok(())
}

fn sign_hmac(
    headers: &mut HeaderMap,
    scheme: &HmacScheme,
    key: &Secret,
    now: UnixMillis,
    body: &[u8],
) -> Result<(), SignError> {
    let timestamp = now.as_secs().to_string();
    if let Some(TimestampPlace::Header(name)) = &scheme.timestamp {
        headers.insert(name.clone(), text(&timestamp)?);
    }
    let content = signed_content(headers, scheme, &timestamp, body)?;
    let digest = mac(scheme.algorithm, key, &content);
    let written = match scheme.encoding {
        Encoding::Hex => hex::encode(digest),
        Encoding::Base64 => BASE64_STANDARD.encode(digest),
    };
    let mut value = format!("{}{written}", scheme.prefix);
    if let Some(key) = &scheme.signature_key {
        value = format!("{key}={value}");
    }
    if let Some(TimestampPlace::Item(item)) = &scheme.timestamp {
        value = format!("{item}={timestamp},{value}");
    }
    headers.insert(scheme.header.clone(), text(&value)?);
    Ok(())
}

/// A header that the scheme covers and that nothing else has filled is sent too.
fn fill_covered(headers: &mut HeaderMap, scheme: &HmacScheme) {
    for part in &scheme.signed {
        if let SignedPart::Header(name) = part {
            headers.entry(name).or_insert_with(|| HeaderValue::from_static("sample"));
        }
    }
}

/// What the scheme signs.
fn signed_content(
    headers: &HeaderMap,
    scheme: &HmacScheme,
    timestamp: &str,
    body: &[u8],
) -> Result<Vec<u8>, SignError> {
    let mut content = Vec::with_capacity(body.len() + 64);
    for part in &scheme.signed {
        content.extend_from_slice(match part {
            SignedPart::Literal(literal) => literal.as_bytes(),
            SignedPart::Timestamp => timestamp.as_bytes(),
            SignedPart::Body => body,
            SignedPart::Header(name) => {
                headers.get(name).ok_or(SignError::CoveredHeader)?.as_bytes()
            }
        });
    }
    Ok(content)
}

fn mac(algorithm: Algorithm, key: &Secret, content: &[u8]) -> Vec<u8> {
    fn run<M: Mac + KeyInit>(key: &[u8], content: &[u8]) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104)")]
        let mut mac = <M as KeyInit>::new_from_slice(key).expect("any length will do");
        mac.update(content);
        mac.finalize().into_bytes().to_vec()
    }
    match algorithm {
        Algorithm::Sha1 => run::<Hmac<Sha1>>(key.expose(), content),
        Algorithm::Sha256 => run::<Hmac<Sha256>>(key.expose(), content),
        Algorithm::Sha512 => run::<Hmac<Sha512>>(key.expose(), content),
    }
}

fn text(value: &str) -> Result<HeaderValue, SignError> {
    HeaderValue::from_str(value).map_err(|_| SignError::ValueInHeader)
}

#[cfg(test)]
pub(crate) mod tests;
