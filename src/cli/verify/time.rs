//! By what time a request is judged: the one that is given, the one that it claims itself, or now.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::reading::Content;
use super::tries::{self, FIRST_MILLIS};
use crate::cli::gaps::long;
use crate::clock::UnixMillis;
use crate::config::{Auth, Source};

/// The time of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Now,
    At(UnixMillis),
}

/// Reads `now`, RFC 3339 with an offset, or Unix seconds or milliseconds.
pub(super) fn given(text: &str) -> Result<Given, String> {
    if text == "now" {
        return Ok(Given::Now);
    }
    if let Ok(number) = text.parse::<u64>() {
        return Ok(Given::At(unix(number)));
    }
    let read = text.parse::<Timestamp>().ok();
    let millis = read.and_then(|time| u64::try_from(time.as_millisecond()).ok());
    millis.map(|millis| Given::At(UnixMillis(millis))).ok_or_else(|| {
        "accepted: now, a time such as 2025-01-15T10:30:00Z, or Unix seconds".to_owned()
    })
}

fn unix(number: u64) -> UnixMillis {
    if number >= FIRST_MILLIS { UnixMillis(number) } else { UnixMillis(number * 1000) }
}

/// Where the time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Given,
    Signature,
    Event,
    Now,
}

/// By what time it is judged, and what time it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) at: UnixMillis,
    pub(super) from: From,
    pub(super) now: UnixMillis,
    /// When it claims to have been signed.
    pub(super) signed: Option<UnixMillis>,
    /// How far that may be from the time it is judged by.
    pub(super) tolerance: Option<Duration>,
}

impl Moment {
    /// For this request, unless a time is given.
    pub(super) fn of(content: &Content<'_>, given: Option<Given>, now: UnixMillis) -> Self {
        let signed = tries::claimed(content.source, content.headers).map(unix);
        let (at, from) = match (given, signed) {
            (Some(Given::At(at)), _) => (at, From::Given),
            (Some(Given::Now), _) => (now, From::Now),
            (None, Some(signed)) => (signed, From::Signature),
            // Only where the event's time decides anything is it asked for.
            (None, None) => match content.source.max_event_age.and_then(|_| content.event_time()) {
                Some(time) => (time, From::Event),
                None => (now, From::Now),
            },
        };
        Self { at, from, now, signed, tolerance: tolerance(content.source) }
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        let from = match self.from {
            From::Given => "as given",
            From::Signature => "when it says that it was signed",
            From::Event => "the event's own time",
            From::Now => "now",
        };
        let mut words = format!("at {} ({from}{})", self.at, self.apart());
        if let (Some(signed), Some(tolerance)) = (self.signed, self.tolerance) {
            let distance = apart(signed, self.now);
            let tolerated = crate::config::units::show_duration(tolerance);
            let now = if distance > tolerance {
                "now it would be too far off"
            } else {
                "it still is close enough"
            };
            words += &format!("; signed at {signed}, tolerance {tolerated}: {now}");
        }
        words
    }

    fn apart(&self) -> String {
        let distance = long(apart(self.at, self.now).as_secs());
        match self.from {
            From::Now => String::new(),
            _ if self.at > self.now => format!(", {distance} ahead of now"),
            _ => format!(", {distance} before now"),
        }
    }

    pub(super) fn json(&self) -> Value {
        let from = match self.from {
            From::Given => "given",
            From::Signature => "signature",
            From::Event => "event",
            From::Now => "now",
        };
        let seconds = |time: UnixMillis| {
            let distance = i64::try_from(apart(time, self.now).as_secs()).unwrap_or(i64::MAX);
            if time > self.now { -distance } else { distance }
        };
        json!({
            "at": self.at.to_string(),
            "from": from,
            "now": self.now.to_string(),
            "seconds_ago": seconds(self.at),
            "signed_at": self.signed.map(|signed| signed.to_string()),
            "signed_seconds_ago": self.signed.map(seconds),
            "tolerance_seconds": self.tolerance.map(|tolerance| tolerance.as_secs()),
        })
    }
}

fn apart(a: UnixMillis, b: UnixMillis) -> Duration {
    a.since(b).max(b.since(a))
}

fn tolerance(source: &Source) -> Option<Duration> {
    match &source.auth {
        Auth::Hmac(scheme) => scheme.tolerance,
        Auth::StandardWebhooks { tolerance, .. } => Some(*tolerance),
        Auth::ApiKey { .. } | Auth::NoneDangerous => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let at = |text: &str| given(text);
        let expected = Ok(Given::At(UnixMillis(1_736_937_000_000)));
        for text in
            ["2025-01-15T10:30:00Z", "2025-01-15T12:30:00+02:00", "1736937000", "1736937000000"]
        {
            assert_eq!(at(text), expected, "{text}");
        }
        assert_eq!(at("now"), Ok(Given::Now));
        for text in ["", "yesterday", "2025-01-15", "-1", "1e9"] {
            assert!(at(text).is_err(), "{text}");
        }
    }
}
