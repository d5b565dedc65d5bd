//! The audit trail, for operators: which records are asked for, and how they are shown.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::fault::Fault;
use super::params::{Params, show_cursor};
use super::show::List;
use crate::audit::chain::{Chain, Filter, Listed, Reader};
use crate::audit::{ACTS, Reason};
use crate::clock::UnixMillis;
use crate::event::Sequence;
use crate::store::query::Cursor;

/// How long a question waits for what has just happened to be in the trail.
const SETTLE: Duration = Duration::from_secs(2);

/// The filters of a list of records.
pub(super) const FILTERS: [&str; 5] = ["reason", "source", "client", "since", "until"];

/// The trail of a gateway.
#[derive(Clone, Debug)]
pub(super) struct Records {
    pub(super) chain: Arc<Chain>,
    pub(super) reader: Reader,
}

impl Records {
    /// A page of records, newest first. What was recorded before the question is in it. Blocks.
    pub(super) fn page(
        &self,
        filter: &Filter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<List<Shown>, Fault> {
        // Where the disk takes nothing, what it has is shown.
        self.chain.settle(SETTLE);
        let before = cursor.map(|cursor| cursor.before.0);
        let page = self.reader.newest(filter, before, limit).map_err(|error| unread(&error))?;
        let items = page.items.into_iter().map(Shown::of).collect();
        let next = page.next.map(|before| show_cursor(Cursor { before: Sequence(before) }));
        Ok(List { items, next })
    }
}

fn unread(error: &io::Error) -> Fault {
    tracing::error!(target: "hookward::audit", %error, "the audit trail cannot be read");
    Fault::later("The audit trail cannot be read now; the log says why.")
}

/// Which records are meant.
pub(super) fn filter(params: &Params<'_>, now: UnixMillis) -> Result<Filter, Fault> {
    let events = params.times_and_source(now)?;
    Ok(Filter {
        reason: params.get("reason").map(reason).transpose()?,
        source: events.source,
        client: params.get("client").map(client).transpose()?,
        since: events.since,
        until: events.until,
    })
}

fn reason(text: &str) -> Result<String, Fault> {
    let refused = Reason::ALL.map(Reason::as_str);
    if refused.iter().chain(&ACTS).any(|known| *known == text) {
        return Ok(text.to_owned());
    }
    let known = [&refused[..], &ACTS[..]].concat().join(", ");
    Err(Fault::bad(format!("reason: one of {known}.")))
}

fn client(text: &str) -> Result<String, Fault> {
    if matches!(text, "unknown" | "many" | "admin.sock") {
        return Ok(text.to_owned());
    }
    let address = text.parse::<IpAddr>().map(|ip| ip.to_canonical().to_string());
    address.map_err(|_| Fault::bad("client: an IP address, unknown, many, or admin.sock."))
}

/// A record as the API shows it: what does not apply is null.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    id: String,
    sequence: u64,
    time: String,
    reason: String,
    detail: Option<String>,
    source: Option<String>,
    listener: Option<String>,
    peer: Option<String>,
    client: Option<String>,
    who: Option<String>,
    tls: Option<String>,
    server_name: Option<String>,
    method: Option<String>,
    path: Option<String>,
    user_agent: Option<String>,
    declared: Option<u64>,
    size: Option<u64>,
    sha256: Option<String>,
    credential: Option<String>,
    status: Option<u16>,
    count: u64,
    first: Option<String>,
    last: Option<String>,
    details: Option<Value>,
}

impl Shown {
    fn of(listed: Listed) -> Self {
        let Listed { sequence, record } = listed;
        Self {
            id: record.id,
            sequence,
            time: record.time,
            reason: record.reason,
            detail: record.detail,
            source: record.source,
            listener: record.listener,
            peer: record.peer,
            client: record.client,
            who: record.who,
            tls: record.tls,
            server_name: record.server_name,
            method: record.method,
            path: record.path,
            user_agent: record.user_agent,
            declared: record.declared,
            size: record.size,
            sha256: record.sha256,
            credential: record.credential,
            status: record.status,
            count: record.count,
            first: record.first,
            last: record.last,
            details: record.details,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Filter, Fault> {
        let params = Params::parse(Some(query))?;
        filter(&params, UnixMillis(1_736_937_000_000))
    }

    #[test]
    fn filters_are_checked() {
        let found = read("reason=signature_invalid&client=::ffff:192.0.2.1&source=lab&since=1h");
        let found = found.unwrap();
        assert_eq!(found.client.as_deref(), Some("192.0.2.1"));
        assert_eq!(found.since, Some(UnixMillis(1_736_933_400_000)));
        assert_eq!(
            read("client=unknown&reason=started").unwrap().reason.as_deref(),
            Some("started")
        );
        for (query, words) in [
            ("reason=forged", "reason: one of unknown_route"),
            ("client=localhost", "client: an IP address"),
            ("source=A", "source: 1 to 64"),
            ("until=today", "until: a time"),
        ] {
            let fault = read(query).unwrap_err();
            assert!(format!("{fault:?}").contains(words), "{query}: {fault:?}");
        }
    }
}
