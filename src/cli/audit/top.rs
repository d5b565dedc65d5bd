//! `hookward audit top`: what was refused most in a window, by reason, client, source and credential.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::table::{self, Table, neutral_json};
use super::selection::Selection;
use super::tally::{Row, Tally};
use super::trail::Reach;
use super::{Code, complain, printed, tell};
use crate::audit::ACTS;
use crate::audit::chain::{Filter, Record};
use crate::clock::{Clock, UnixMillis};

/// How far back is looked where nothing is said.
const WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// Arguments of `audit top`.
///
/// Without --since the 24 hours before --until, or before now, are counted. Operators' acts, starts
/// and stops are not, unless --reason names one. A sum counts as many as it stands for, and is in
/// the window when it was written there.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    reach: Reach,

    /// Only this table [default: all four]
    #[arg(long, value_enum)]
    by: Option<By>,

    #[command(flatten)]
    selection: Selection,

    /// The most rows of a table
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// Why it was refused
    Reason,
    /// Who has sent it
    Client,
    /// Whose endpoint it was sent to
    Source,
    /// The fingerprint of the credential that was presented
    Credential,
}

impl By {
    const ALL: [Self; 4] = [Self::Reason, Self::Client, Self::Source, Self::Credential];

    fn as_str(self) -> &'static str {
        match self {
            Self::Reason => "reason",
            Self::Client => "client",
            Self::Source => "source",
            Self::Credential => "credential",
        }
    }

    /// What the record counts for. A request without a credential counts for none.
    fn of(self, record: &Record) -> Option<&str> {
        match self {
            Self::Reason => Some(&record.reason),
            Self::Client => Some(record.client.as_deref().unwrap_or("-")),
            Self::Source => Some(record.source.as_deref().unwrap_or("-")),
            Self::Credential => record.credential.as_deref(),
        }
    }
}

/// 0 when it was printed, also when there is nothing.
pub(super) fn run(args: &Args) -> Code {
    let trail = args.reach.trail()?;
    let now = Clock::System.now();
    let filter = windowed(args.selection.filter(now)?, now);
    let mut counts = Counts::new(args.by, filter);
    let damage = trail.each(&counts.filter.clone(), |listed| {
        counts.add(&listed.record);
        ControlFlow::Continue(())
    })?;
    tell(damage);
    counts.warn();
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut out = io::stdout().lock();
    printed(if args.json { counts.json(limit, &mut out) } else { counts.words(limit, &mut out) })?;
    Ok(ExitCode::SUCCESS)
}

/// The filter with a beginning: a day before its end.
fn windowed(filter: Filter, now: UnixMillis) -> Filter {
    let begin = filter.until.unwrap_or(now).before(WINDOW);
    Filter { since: filter.since.or(Some(begin)), ..filter }
}

/// What was counted.
struct Counts {
    filter: Filter,
    all: Row,
    tables: Vec<(By, Tally)>,
}

impl Counts {
    fn new(by: Option<By>, filter: Filter) -> Self {
        let tables = by.map_or_else(|| By::ALL.to_vec(), |by| vec![by]);
        let tables = tables.into_iter().map(|by| (by, Tally::default())).collect();
        Self { filter, all: Row::default(), tables }
    }

    fn add(&mut self, record: &Record) {
        if self.filter.reason.is_none() && ACTS.contains(&record.reason.as_str()) {
            return;
        }
        self.all.add(record);
        for (by, tally) in &mut self.tables {
            if let Some(key) = by.of(record) {
                tally.add(key, record);
            }
        }
    }

    fn warn(&self) {
        for (by, tally) in &self.tables {
            if tally.beyond.count > 0 {
                complain(&format!(
                    "note: there are more different by {} than are counted apart; those that came last are among the others",
                    by.as_str()
                ));
            }
        }
    }

    fn words(&self, limit: usize, out: &mut impl Write) -> io::Result<()> {
        let since = self.filter.since.map(|at| table::time(&at.to_string())).unwrap_or_default();
        let until = self.filter.until.map(|at| table::time(&at.to_string()));
        let until = until.unwrap_or_else(|| "now".to_owned());
        let Row { count, records, .. } = self.all;
        let many = match (count, records) {
            (1, 1) => "1 record".to_owned(),
            (count, records) if count == records => format!("{count} records"),
            (count, 1) => format!("{count} in 1 record"),
            (count, records) => format!("{count} in {records} records"),
        };
        writeln!(out, "{many}, from {since} (UTC) until {until}")?;
        for (by, tally) in self.tables.iter().filter(|(_, tally)| !tally.is_empty()) {
            writeln!(out)?;
            let name = by.as_str().to_ascii_uppercase();
            let mut shown = Table::new(&["COUNT", &name, "FIRST (UTC)", "LAST (UTC)"]);
            let (top, others) = tally.top(limit);
            let cells = |(key, row): &(&str, &Row)| {
                let (first, last) = (table::time(&row.first), table::time(&row.last));
                vec![row.count.to_string(), (*key).to_owned(), first, last]
            };
            let mut rows: Vec<_> = top.iter().map(cells).collect();
            if others > 0 {
                rows.push(vec![others.to_string(), "(others)".to_owned()]);
            }
            shown.print(rows, out)?;
        }
        Ok(())
    }

    fn json(&self, limit: usize, out: &mut impl Write) -> io::Result<()> {
        let mut by = Map::new();
        for (name, tally) in &self.tables {
            let (top, others) = tally.top(limit);
            let items = top.into_iter().map(|(key, row)| {
                json!({
                    "value": Some(key).filter(|key| *key != "-"), "count": row.count,
                    "records": row.records, "first": row.first, "last": row.last,
                })
            });
            let items: Vec<Value> = items.collect();
            by.insert(name.as_str().to_owned(), json!({ "items": items, "others": others }));
        }
        let whole = json!({
            "since": self.filter.since.map(|at| at.to_string()),
            "until": self.filter.until.map(|at| at.to_string()),
            "count": self.all.count, "records": self.all.records, "by": by,
        });
        writeln!(out, "{}", neutral_json(&whole.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(reason: &str, client: &str, count: u64) -> Record {
        Record {
            reason: reason.to_owned(),
            time: "2025-01-15T10:30:00.000Z".to_owned(),
            client: Some(client.to_owned()),
            count,
            ..Record::default()
        }
    }

    fn counts(by: Option<By>, reason: Option<&str>, records: &[Record]) -> Counts {
        let reason = reason.map(str::to_owned);
        let since = Some(UnixMillis(0));
        let mut counts = Counts::new(by, Filter { reason, since, ..Filter::default() });
        records.iter().for_each(|record| counts.add(record));
        counts
    }

    fn printed(print: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        print(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_sum_counts_as_many_as_it_stands_for_and_acts_only_when_asked_for() {
        let sum = Record {
            first: Some("2025-01-15T10:28:00.000Z".into()),
            last: Some("2025-01-15T10:28:59.000Z".into()),
            ..record("rate_limited", "192.0.2.1", 400)
        };
        let act = Record { who: Some("token".into()), ..record("replayed", "192.0.2.9", 1) };
        let records = [record("rate_limited", "192.0.2.1", 1), sum, act];
        let all = counts(None, None, &records);
        let text = printed(|out| all.words(10, out));
        assert!(text.starts_with("401 in 2 records, from 1970-01-01 00:00:00 (UTC)"), "{text}");
        let row = "401    rate_limited  2025-01-15 10:28:00  2025-01-15 10:30:00";
        assert!(text.contains(row) && !text.contains("replayed"), "{text}");
        assert!(text.contains("SOURCE") && !text.contains("CREDENTIAL"), "{text}");
        let acts = counts(Some(By::Reason), Some("replayed"), &records[2..]);
        let json: Value = serde_json::from_str(&printed(|out| acts.json(10, out))).unwrap();
        assert_eq!(json["by"]["reason"]["items"][0]["value"], "replayed");
        assert_eq!((&json["count"], json["by"].as_object().unwrap().len()), (&json!(1), 1));
    }

    /// With --until alone it began after its end, and was empty.
    #[test]
    fn a_window_without_a_beginning_is_the_day_before_its_end() {
        let (now, day) = (UnixMillis(1_736_937_000_000), 86_400_000);
        let windowed = |filter| super::windowed(filter, now).since;
        assert_eq!(windowed(Filter::default()), Some(UnixMillis(now.0 - day)));
        let until = Some(UnixMillis(now.0 - 9 * day));
        let last = Filter { until, ..Filter::default() };
        assert_eq!(windowed(last.clone()), Some(UnixMillis(now.0 - 10 * day)));
        let given = Some(UnixMillis(7));
        assert_eq!(windowed(Filter { since: given, ..last }), given);
    }

    #[test]
    fn what_is_not_among_the_first_is_counted_with_the_others() {
        let records = [("a", 3), ("b", 2), ("c", 7)].map(|(client, n)| record("r", client, n));
        let counted = counts(Some(By::Client), None, &records);
        let text = printed(|out| counted.words(1, out));
        let rows: Vec<&str> = text.lines().skip(3).collect();
        assert!(rows[0].starts_with("7      c ") && rows[1] == "5      (others)", "{text}");
        let json: Value = serde_json::from_str(&printed(|out| counted.json(2, out))).unwrap();
        assert_eq!(json["by"]["client"]["others"], 2);
    }
}
