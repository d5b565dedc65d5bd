//! Lists of events and of other things, page by page, as a table or as JSON.

use std::io::{self, BufWriter, Write};

use serde_json::{Value, json};

use super::client::{Client, Reply, Trouble};
use super::filters::query;
use super::table::{self, Table};
use crate::audit::chain::Damage;

/// The items of a page where all of them are wanted.
pub(super) const FULL_PAGE: u32 = 500;

/// Pages without an item that are turned one after the other. For one, the gateway looks through 128 MiB of
/// records: in 2 TiB of them something should have been found.
const MOST_EMPTY: u32 = 1 << 14;

/// How a list is shown.
#[derive(Clone, Debug, clap::Args)]
pub struct Paging {
    /// The most items [default: 50, at most 500; with --all the size of a page]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,

    /// Where to go on: what the answer before had in "next"
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,

    /// All pages
    #[arg(long)]
    all: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a table of items looks like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    /// The names of its columns.
    pub(super) head: &'static [&'static str],
    /// The cells of an item.
    pub(super) row: fn(&Value) -> Vec<String>,
}

/// Events.
pub(super) const EVENTS: Columns =
    Columns { head: &["ID", "RECEIVED (UTC)", "STATE", "TYPE", "SUBJECT", "UPSTREAMS"], row };

/// A page of a list.
pub(super) struct Page {
    pub(super) items: Vec<Value>,
    /// Where the next one begins, if there are more.
    pub(super) next: Option<String>,
    /// Of records: what was missing between them.
    pub(super) damage: Damage,
    /// All of it, as it came from the gateway.
    whole: Option<Reply>,
}

impl Page {
    /// One that was not made by the gateway.
    pub(super) fn made(items: Vec<Value>, next: Option<String>, damage: Damage) -> Self {
        Self { items, next, damage, whole: None }
    }

    fn of(reply: Reply) -> Result<Self, Trouble> {
        let mut page = reply.json()?;
        let next = page["next"].as_str().map(str::to_owned);
        let damage = match page["damage"].take() {
            Value::Null => Damage::default(),
            damage => serde_json::from_value(damage).map_err(|_| Trouble::Unexpected)?,
        };
        match page["items"].take() {
            Value::Array(items) => Ok(Self { items, next, damage, whole: Some(reply) }),
            _ => Err(Trouble::Unexpected),
        }
    }

    /// As the API answers it.
    fn print(self, out: &mut impl Write) -> Result<(), Trouble> {
        let Self { items, next, damage, whole } = self;
        if let Some(reply) = whole {
            return reply.print(out);
        }
        let mut page = json!({ "items": items, "next": next });
        if !damage.is_none() {
            page["damage"] = json!(damage);
        }
        Ok(writeln!(out, "{}", table::neutral_json(&page.to_string()))?)
    }
}

/// How many pages with nothing on them were turned since the last one with something. A gateway that is broken
/// would have them turned for ever.
#[derive(Debug, Default)]
pub(super) struct Empty(u32);

impl Empty {
    /// To be called for each page, before the next one is asked for.
    ///
    /// # Errors
    /// [`Trouble::Endless`] when there have been too many.
    pub(super) fn turned(&mut self, page: &Page) -> Result<(), Trouble> {
        self.0 = if page.items.is_empty() { self.0 + 1 } else { 0 };
        if self.0 < MOST_EMPTY { Ok(()) } else { Err(Trouble::Endless(MOST_EMPTY)) }
    }
}

/// Lists what the gateway has at this path.
pub(super) async fn list(
    client: &Client,
    path: &str,
    filters: Vec<(&'static str, String)>,
    paging: &Paging,
    columns: &Columns,
) -> Result<(), Trouble> {
    let fetch = async |limit, cursor| page(client, path, &filters, limit, cursor).await;
    pages(fetch, paging, columns).await.map(|_| ())
}

/// A page of what the gateway has at this path.
pub(super) async fn page(
    client: &Client,
    path: &str,
    filters: &[(&'static str, String)],
    limit: Option<u32>,
    cursor: Option<String>,
) -> Result<Page, Trouble> {
    let more = [("limit", limit.map(|n| n.to_string())), ("cursor", cursor)];
    let more = more.into_iter().filter_map(|(name, value)| Some((name, value?)));
    Page::of(client.get(&query(path, filters.iter().cloned().chain(more))).await?)
}

/// Lists what is fetched page by page: at most so many items, from this cursor on. What was missing between them.
pub(super) async fn pages(
    mut fetch: impl AsyncFnMut(Option<u32>, Option<String>) -> Result<Page, Trouble>,
    paging: &Paging,
    columns: &Columns,
) -> Result<Damage, Trouble> {
    let mut out = BufWriter::new(io::stdout().lock());
    let limit = paging.limit.or(paging.all.then_some(FULL_PAGE));
    let mut cursor = paging.cursor.clone();
    let (mut shown, mut empty) = (Shown::new(paging.json, columns), Empty::default());
    loop {
        let page = fetch(limit, cursor).await?;
        empty.turned(&page)?;
        if paging.json && !paging.all {
            let damage = page.damage;
            page.print(&mut out)?;
            out.flush()?;
            return Ok(damage);
        }
        shown.page(&page, &mut out)?;
        if !paging.all || page.next.is_none() {
            let damage = shown.damage;
            shown.end(page.next.as_deref(), &mut out)?;
            out.flush()?;
            return Ok(damage);
        }
        cursor = page.next;
    }
}

/// What has been shown of a list.
struct Shown {
    table: Option<Table>,
    row: fn(&Value) -> Vec<String>,
    count: usize,
    damage: Damage,
}

impl Shown {
    fn new(json: bool, columns: &Columns) -> Self {
        Self {
            table: (!json).then(|| Table::new(columns.head)),
            row: columns.row,
            count: 0,
            damage: Damage::default(),
        }
    }

    fn page(&mut self, page: &Page, out: &mut impl Write) -> io::Result<()> {
        let items = &page.items;
        self.damage.add(page.damage);
        match &mut self.table {
            Some(table) => table.print(items.iter().map(self.row).collect(), out)?,
            // One document of the API's form, however many pages it takes.
            None => {
                for (n, item) in (self.count..).zip(items) {
                    out.write_all(if n == 0 { b"{\"items\":[" } else { b"," })?;
                    out.write_all(table::neutral_json(&item.to_string()).as_bytes())?;
                }
            }
        }
        self.count += items.len();
        Ok(())
    }

    fn end(self, next: Option<&str>, out: &mut impl Write) -> io::Result<()> {
        match (self.table, next) {
            (None, _) => {
                let items = if self.count == 0 { "{\"items\":[]" } else { "]" };
                let damage = match self.damage.is_none() {
                    true => String::new(),
                    false => format!(",\"damage\":{}", json!(self.damage)),
                };
                writeln!(out, "{items},\"next\":null{damage}}}")
            }
            (Some(_), None) => Ok(()),
            (Some(_), Some(next)) => {
                writeln!(out, "\nmore: --cursor {}, or --all", table::neutral(next))
            }
        }
    }
}

fn row(event: &Value) -> Vec<String> {
    vec![
        text(&event["id"]),
        table::time(&text(&event["received_at"])),
        text(&event["state"]),
        text(&event["type"]),
        text(&event["subject"]),
        upstreams(&event["deliveries"]),
    ]
}

/// `app dead after 5 (500), lab delivered`
fn upstreams(deliveries: &Value) -> String {
    let shown = deliveries.as_array().into_iter().flatten().map(|delivery| {
        let mut shown = format!("{} {}", text(&delivery["upstream"]), text(&delivery["state"]));
        match delivery["attempts"].as_u64() {
            Some(attempts) if attempts > 0 && delivery["state"] != "delivered" => {
                shown.push_str(&format!(" after {attempts}"));
                if let Some(status) = delivery["last_status"].as_u64() {
                    shown.push_str(&format!(" ({status})"));
                }
            }
            _ => {}
        }
        shown
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    if shown.is_empty() { "-".to_owned() } else { shown }
}

/// A value as a cell.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_where_the_event_stands() {
        let event = json!({
            "id": "e", "received_at": "2025-01-15T10:30:00.412Z", "state": "dead",
            "type": "lab.order.done", "subject": null, "deliveries": [
                { "upstream": "app", "state": "dead", "attempts": 5, "last_status": 500 },
                { "upstream": "lab", "state": "delivered", "attempts": 1, "last_status": 200 },
                { "upstream": "old", "state": "pending", "attempts": 2, "last_status": null },
            ],
        });
        let expected = [
            "e",
            "2025-01-15 10:30:00",
            "dead",
            "lab.order.done",
            "-",
            "app dead after 5 (500), lab delivered, old pending after 2",
        ];
        assert_eq!(row(&event), expected);
    }

    /// A gateway that had a next page for ever, and nothing on any of them, was asked for ever.
    #[tokio::test]
    async fn pages_without_an_item_come_to_an_end() {
        let paging = Paging { limit: None, cursor: None, all: true, json: true };
        let mut turned = 0_u32;
        let broken = async |_: Option<u32>, _: Option<String>| {
            turned += 1;
            Ok(Page::made(Vec::new(), Some(turned.to_string()), Damage::default()))
        };
        let ended = pages(broken, &paging, &EVENTS).await;
        assert!(matches!(ended, Err(Trouble::Endless(MOST_EMPTY))), "{ended:?}");
        // An honest one may have nothing to show of a long stretch, and again of a later one.
        let mut empty = Empty::default();
        for _ in 0..3 {
            for _ in 1..MOST_EMPTY {
                empty.turned(&Page::made(Vec::new(), None, Damage::default())).unwrap();
            }
            empty.turned(&Page::made(vec![json!({})], None, Damage::default())).unwrap();
        }
    }

    #[test]
    fn all_pages_are_one_document_of_the_api_s_form() {
        for (pages, expected) in [
            (vec![json!([])], json!([])),
            (
                vec![json!([{ "id": 1 }, { "id": 2 }]), json!([{ "id": 3 }])],
                json!([{ "id": 1 }, { "id": 2 }, { "id": 3 }]),
            ),
        ] {
            let (mut shown, mut out) = (Shown::new(true, &EVENTS), Vec::new());
            for page in pages {
                let items = page.as_array().unwrap().clone();
                shown.page(&Page::made(items, None, Damage::default()), &mut out).unwrap();
            }
            shown.end(None, &mut out).unwrap();
            let found: Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(found, json!({ "items": expected, "next": null }));
        }
    }
}
