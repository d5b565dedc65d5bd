//! `hookward audit list`: the running gateway's records, page by page; without a gateway, or of a copy,
//! what the files have.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value;

use super::super::client::{self, Client, Trouble, Via};
use super::super::listing::{self, Columns, Page, Paging, text};
use super::super::table;
use super::acts::told;
use super::selection::Selection;
use super::trail::RECORDS;
use super::{Code, complain, finish, tell};
use crate::audit::chain::{DIR, Filter, Reader, Shown};
use crate::clock::Clock;
use crate::config::defaults::admin::{MAX_PAGE, PAGE};
use crate::hardening;
use crate::store::disk::OsDisk;

/// Which records.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    via: Via,

    /// Read the files of the store in this directory, or of a copy of it, and ask no gateway
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "url"])]
    store: Option<PathBuf>,

    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    paging: Paging,
}

const COLUMNS: Columns = Columns {
    head: &["ID", "TIME (UTC)", "REASON", "COUNT", "SOURCE", "CLIENT", "WHO OR WHAT", "DETAIL"],
    row,
};

pub(super) fn run(args: &Args) -> ExitCode {
    finish(list(args))
}

fn list(args: &Args) -> Code {
    let filter = args.selection.filter(Clock::System.now())?;
    if let Some(store) = &args.store {
        let _ = hardening::harden();
        let mut files = Files::of(store);
        let fetch = async |limit, cursor| files.page(&filter, limit, cursor);
        return Ok(client::alone(shown(fetch, &args.paging)));
    }
    Ok(client::run(&args.via, async |client| {
        let pairs = filter.pairs();
        let mut files = None;
        let fetch =
            async |limit, cursor| page(&client, &filter, &pairs, &mut files, limit, cursor).await;
        shown(fetch, &args.paging).await
    }))
}

/// Shows what is fetched, and says once what was missing in it.
async fn shown(
    fetch: impl AsyncFnMut(Option<u32>, Option<String>) -> Result<Page, Trouble>,
    paging: &Paging,
) -> Result<(), Trouble> {
    tell(listing::pages(fetch, paging, &COLUMNS).await?);
    Ok(())
}

/// A page, out of the files from where on no gateway answers.
async fn page(
    client: &Client,
    filter: &Filter,
    pairs: &[(&'static str, String)],
    files: &mut Option<Files>,
    limit: Option<u32>,
    cursor: Option<String>,
) -> Result<Page, Trouble> {
    if let Some(files) = files {
        return files.page(filter, limit, cursor);
    }
    let asked = listing::page(client, RECORDS, pairs, limit, cursor.clone()).await;
    match (asked, client.store()) {
        (Err(Trouble::NotRunning(_) | Trouble::TooLong(_)), Some(store)) => {
            complain("no gateway answers for this store");
            files.insert(Files::of(store)).page(filter, limit, cursor)
        }
        (asked, _) => asked,
    }
}

/// The trail's files.
struct Files(Reader);

impl Files {
    fn of(store: &Path) -> Self {
        let dir = store.join(DIR);
        complain(&format!("reading the files in {}", dir.display()));
        Self(Reader::new(Arc::new(OsDisk), store))
    }

    fn page(
        &mut self,
        filter: &Filter,
        limit: Option<u32>,
        cursor: Option<String>,
    ) -> Result<Page, Trouble> {
        let limit = limit.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        if !(1..=MAX_PAGE).contains(&limit) {
            let message = format!("error: limit: a whole number from 1 to {MAX_PAGE}.");
            return Err(client::usage(&message));
        }
        let before = cursor.map(|cursor| number(&cursor)).transpose()?;
        let page = self.0.newest(filter, before, limit);
        let page = page.map_err(|error| {
            client::failed(&format!("error: the audit trail cannot be read: {error}"))
        })?;
        let items = page.items.into_iter().map(|listed| serde_json::to_value(Shown::from(listed)));
        let items = items.collect::<Result<Vec<_>, _>>().map_err(|_| Trouble::Unexpected)?;
        let next = page.next.map(|before| format!("{before:016x}"));
        Ok(Page::made(items, next, page.damage))
    }
}

/// The number in a cursor, of the API's form.
fn number(cursor: &str) -> Result<u64, Trouble> {
    let digits = cursor.len() == 16 && cursor.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u64::from_str_radix(cursor, 16).ok().filter(|_| digits);
    number.ok_or_else(|| {
        client::usage("error: cursor: what an answer has in next, as it stands there.")
    })
}

fn row(record: &Value) -> Vec<String> {
    let client = if record["client"].is_null() { &record["peer"] } else { &record["client"] };
    vec![
        text(&record["id"]),
        table::time(&text(&record["time"])),
        text(&record["reason"]),
        text(&record["count"]),
        text(&record["source"]),
        text(client),
        what(record),
        detail(record),
    ]
}

/// Who has done it, or which request it was.
fn what(record: &Value) -> String {
    if !record["who"].is_null() {
        return text(&record["who"]);
    }
    match (record["method"].as_str(), record["path"].as_str()) {
        (Some(method), Some(path)) => format!("{method} {path}"),
        _ => "-".to_owned(),
    }
}

/// Why exactly, or what was done; of a sum, what it stands for.
fn detail(record: &Value) -> String {
    let sum = record["first"].as_str().zip(record["last"].as_str()).map(|(first, last)| {
        let (first, last) = (table::time(first), table::time(last));
        format!("{} more, first {first}, last {last}", text(&record["count"]))
    });
    let detail = record["detail"].as_str().map(str::to_owned);
    let parts = [sum, detail, told(&record["details"])];
    let parts = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    if parts.is_empty() { "-".to_owned() } else { parts }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_says_who_was_refused_and_why() {
        let refused = json!({
            "time": "2025-01-15T10:30:00.412Z", "reason": "signature_invalid", "count": 1, "source": "lab",
            "client": "192.0.2.1", "peer": "10.0.0.1", "method": "POST", "path": "/hooks/lab", "id": "i",
            "detail": "no signature was made with a key of the source", "details": null,
        });
        let detail = "no signature was made with a key of the source";
        let time = "2025-01-15 10:30:00";
        let expected =
            ["i", time, "signature_invalid", "1", "lab", "192.0.2.1", "POST /hooks/lab", detail];
        assert_eq!(row(&refused), expected);
        let act = json!({
            "time": "2025-01-15T10:30:00.412Z", "reason": "replayed", "count": 1, "peer": "admin.sock",
            "who": "uid 0 (root)", "id": "j", "details": { "event": "e", "upstreams": ["app"], "why": null },
        });
        let detail = "event e, upstreams app";
        let expected = ["j", time, "replayed", "1", "-", "admin.sock", "uid 0 (root)", detail];
        assert_eq!(row(&act), expected);
    }

    /// It was `403`, and nothing that said of what.
    #[test]
    fn a_row_of_a_sum_says_what_it_stands_for() {
        let sum = json!({
            "time": "2025-01-15T10:31:00.000Z", "reason": "rate_limited", "count": 403, "source": null,
            "client": "192.0.2.1", "id": "s", "detail": null, "details": null,
            "first": "2025-01-15T10:30:00.412Z", "last": "2025-01-15T10:30:59.001Z",
        });
        let words = "403 more, first 2025-01-15 10:30:00, last 2025-01-15 10:30:59";
        assert_eq!(row(&sum)[7], words);
    }

    #[test]
    fn a_cursor_is_what_the_api_gives() {
        assert_eq!(number("000000000000000c").ok(), Some(12));
        for wrong in ["", "c", "+00000000000000c", "000000000000000g"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
    }
}
