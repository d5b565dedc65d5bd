//! The trail that is read: a store's files, which may be a copy, or that of the gateway at a URL.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use super::super::client::{self, At, Client, Trouble};
use super::super::listing::{self, FULL_PAGE};
use super::{Where, fail};
use crate::audit::chain::{Damage, Filter, Listed, Reader};

/// Where the API has it.
pub(super) const RECORDS: &str = "/api/v1/audit";

/// Which trail, and how it is reached.
#[derive(Clone, Debug, clap::Args)]
pub struct Reach {
    #[command(flatten)]
    which: Where,

    #[command(flatten)]
    at: At,
}

impl Reach {
    /// The trail that is meant; 2 where it is named twice, 78 for an invalid configuration.
    pub(super) fn trail(&self) -> Result<Trail, ExitCode> {
        match self.at.instead_of(self.which.is_given())? {
            Some(client) => Ok(Trail::Gateway(client)),
            None => Ok(Trail::Files(self.which.reader()?)),
        }
    }
}

/// A trail that is read.
pub(super) enum Trail {
    Files(Reader),
    Gateway(Client),
}

impl Trail {
    /// All records that fit, oldest first, until `each` has enough. What was missing between them is for the caller
    /// to tell; what has failed is told.
    pub(super) fn each(
        &self,
        filter: &Filter,
        each: impl FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<Damage, ExitCode> {
        match self {
            Self::Files(reader) => reader
                .each(filter, each)
                .map_err(|error| fail(&format!("the audit trail cannot be read: {error}"))),
            Self::Gateway(client) => client::ask(pages(client, filter, each)),
        }
    }

    /// The record with this id.
    pub(super) fn find(&self, id: &str) -> Result<Option<Listed>, ExitCode> {
        let filter = Filter { id: Some(id.to_owned()), ..Filter::default() };
        let mut found = None;
        match self {
            // The newest segments first: that is what is asked for.
            Self::Files(reader) => {
                let mut before = None;
                loop {
                    let page = reader.newest(&filter, before, 1);
                    let mut page = page.map_err(|error| {
                        fail(&format!("the audit trail cannot be read: {error}"))
                    })?;
                    found = page.items.pop();
                    before = page.next;
                    if found.is_some() || before.is_none() {
                        return Ok(found);
                    }
                }
            }
            Self::Gateway(_) => {
                self.each(&filter, |listed| {
                    found = Some(listed);
                    ControlFlow::Break(())
                })?;
                Ok(found)
            }
        }
    }
}

/// What the trail is called when something is not in it.
pub(super) fn called(store: Option<&Path>) -> String {
    store.map_or_else(|| "the gateway's trail".to_owned(), |store| store.display().to_string())
}

async fn pages(
    client: &Client,
    filter: &Filter,
    mut each: impl FnMut(Listed) -> ControlFlow<()>,
) -> Result<Damage, Trouble> {
    let mut damage = Damage::default();
    let mut pairs = filter.pairs();
    pairs.push(("order", "oldest".to_owned()));
    let mut cursor: Option<String> = None;
    let mut empty = listing::Empty::default();
    loop {
        let page = listing::page(client, RECORDS, &pairs, Some(FULL_PAGE), cursor.clone()).await?;
        empty.turned(&page)?;
        damage.add(page.damage);
        for item in page.items {
            if each(listed(item)?).is_break() {
                return Ok(damage);
            }
        }
        // Of one length, so that their texts sort as the numbers do. One that does not go on would go on
        // for ever.
        match page.next {
            None => return Ok(damage),
            Some(next) if cursor.as_ref().is_some_and(|before| next <= *before) => {
                return Err(Trouble::Unexpected);
            }
            next => cursor = next,
        }
    }
}

fn listed(item: Value) -> Result<Listed, Trouble> {
    let sequence = item["sequence"].as_u64().ok_or(Trouble::Unexpected)?;
    let record = serde_json::from_value(item).map_err(|_| Trouble::Unexpected)?;
    Ok(Listed { sequence, record })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::chain::{Record, Shown};

    #[test]
    fn a_record_comes_back_from_the_api_as_it_was() {
        let text = |text: &str| Some(text.to_owned());
        let record = Record {
            id: "i".into(),
            time: "2025-01-15T10:30:00.000Z".into(),
            reason: "replayed".into(),
            source: text("lab"),
            declared: Some(0),
            count: 3,
            details: Some(json!({ "event": "e" })),
            ..Record::default()
        };
        let sent = Listed { sequence: 7, record };
        let item = serde_json::to_value(Shown::from(sent.clone())).unwrap();
        assert_eq!(listed(item).ok(), Some(sent));
        assert!(listed(json!({ "id": "i" })).is_err());
    }
}
