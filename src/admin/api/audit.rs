//! The audit trail, for operators: which records are asked for, and how they are shown.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::fault::Fault;
use super::params::{Params, show_cursor};
use super::show::List;
use crate::audit::chain::filter::{self, BadFilter};
use crate::audit::chain::{Chain, Filter, Reader, Shown};
use crate::clock::UnixMillis;
use crate::event::Sequence;
use crate::store::query::Cursor;

/// How long a question waits for what has just happened to be in the trail.
const SETTLE: Duration = Duration::from_secs(2);

/// The filters of a list of records, and their order.
pub(super) const FILTERS: [&str; 9] =
    ["reason", "source", "client", "credential", "listener", "since", "until", "id", "order"];

/// Which records come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Newest,
    Oldest,
}

impl Order {
    pub(super) fn of(params: &Params<'_>) -> Result<Self, Fault> {
        match params.get("order") {
            None | Some("newest") => Ok(Self::Newest),
            Some("oldest") => Ok(Self::Oldest),
            Some(_) => Err(Fault::bad("order: newest, or oldest.")),
        }
    }
}

/// The trail of a gateway.
#[derive(Clone, Debug)]
pub(super) struct Records {
    pub(super) chain: Arc<Chain>,
    pub(super) reader: Reader,
}

impl Records {
    /// A page of records. What was recorded before the question is in it. Blocks.
    pub(super) fn page(
        &self,
        filter: &Filter,
        order: Order,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<List<Shown>, Fault> {
        // Where the disk takes nothing, what it has is shown.
        self.chain.settle(SETTLE);
        let from = cursor.map(|cursor| cursor.before.0);
        let page = match order {
            Order::Newest => self.reader.newest(filter, from, limit),
            Order::Oldest => self.reader.oldest(filter, from, limit),
        };
        let page = page.map_err(|error| unread(&error))?;
        let items = page.items.into_iter().map(Shown::from).collect();
        let next = page.next.map(|before| show_cursor(Cursor { before: Sequence(before) }));
        Ok(List { items, next, damage: page.damage })
    }
}

fn unread(error: &io::Error) -> Fault {
    tracing::error!(target: "hookward::audit", %error, "the audit trail cannot be read");
    Fault::later("The audit trail cannot be read now; the log says why.")
}

/// Which records are meant.
pub(super) fn wanted(params: &Params<'_>, now: UnixMillis) -> Result<Filter, Fault> {
    let events = params.times_and_source(now)?;
    Ok(Filter {
        id: checked(params, "id", filter::id)?,
        reason: checked(params, "reason", filter::reason)?,
        source: events.source,
        client: checked(params, "client", filter::client)?,
        credential: checked(params, "credential", filter::credential)?,
        listener: checked(params, "listener", filter::listener)?,
        since: events.since,
        until: events.until,
    })
}

fn checked(
    params: &Params<'_>,
    name: &str,
    check: fn(&str) -> Result<String, BadFilter>,
) -> Result<Option<String>, Fault> {
    let found = params.get(name).map(check).transpose();
    found.map_err(|bad| Fault::bad(format!("{name}: {bad}.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Filter, Fault> {
        let params = Params::parse(Some(query))?;
        wanted(&params, UnixMillis(1_736_937_000_000))
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
            ("credential=12", "credential: a fingerprint"),
            ("listener=all", "listener: public, admin, or socket"),
            ("source=A", "source: 1 to 64"),
            ("id=../x", "id: what a record has"),
            ("until=today", "until: a time"),
        ] {
            let fault = read(query).unwrap_err();
            assert!(format!("{fault:?}").contains(words), "{query}: {fault:?}");
        }
    }
}
