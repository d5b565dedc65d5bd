//! Which events are meant, as flags: the filters of the API, which judges them.

use serde_json::{Map, Value};

/// Filters of events.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Filters {
    /// Only this source's events
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Only events whose normalized name, without the source, fits: order.*
    #[arg(long = "type", value_name = "PATTERN")]
    kind: Option<String>,

    /// Only events about this entity
    #[arg(long, value_name = "ID")]
    subject: Option<String>,

    /// Only events received then or later: 2025-01-15T10:30:00Z, 2025-01-15 (UTC), or 24h for a day ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Only events received before
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Only events that go to this upstream
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
}

impl Filters {
    /// The upstream, if one is given.
    pub(super) fn upstream(&self) -> Option<&str> {
        self.upstream.as_deref()
    }

    /// Whether any other is given.
    pub(super) fn but_upstream(&self) -> bool {
        self.pairs().any(|(name, _)| name != "upstream")
    }

    /// Those that are given.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&'static str, String)> {
        [
            ("source", self.source.clone()),
            ("type", self.kind.clone()),
            ("subject", self.subject.clone()),
            ("since", self.since.as_deref().map(moment)),
            ("until", self.until.as_deref().map(moment)),
            ("upstream", self.upstream.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    /// The same as members of an object.
    pub(super) fn object(&self) -> Map<String, Value> {
        self.pairs().map(|(name, value)| (name.to_owned(), value.into())).collect()
    }
}

/// A day is its beginning.
pub(super) fn moment(text: &str) -> String {
    let day = text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok();
    if day { format!("{text}T00:00:00Z") } else { text.to_owned() }
}

/// A path with these parameters.
pub(super) fn query(path: &str, pairs: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let pairs = pairs.into_iter().map(|(name, value)| format!("{name}={}", encoded(&value)));
    let pairs = pairs.collect::<Vec<_>>().join("&");
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{pairs}") }
}

/// Percent-encoded, but for what RFC 3986 calls unreserved.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_go_into_a_query_as_they_are() {
        let filters = Filters {
            subject: Some("a b&c=ü".into()),
            since: Some("2025-01-15".into()),
            until: Some("24h".into()),
            ..Filters::default()
        };
        let query = query("/p", filters.pairs());
        assert_eq!(query, "/p?subject=a%20b%26c%3D%C3%BC&since=2025-01-15T00%3A00%3A00Z&until=24h");
        assert!(!Filters::default().but_upstream() && filters.but_upstream());
    }
}
