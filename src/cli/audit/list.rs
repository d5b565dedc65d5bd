//! `hookward audit list`: the running gateway's records, page by page.

use std::process::ExitCode;

use serde_json::Value;

use super::super::client::{self, Via};
use super::super::filters::moment;
use super::super::listing::{self, Columns, Paging, text};
use super::super::table;

/// Which records.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    via: Via,

    /// Only what was refused for this reason, such as signature_invalid, or this act, such as replayed
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,

    /// Only what was sent to this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Only what this client has sent: an IP address, unknown, or many for sums over several
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,

    /// Only records of then or later: 2025-01-15T10:30:00Z, 2025-01-15 (UTC), or 24h for a day ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Only records from before
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    #[command(flatten)]
    paging: Paging,
}

impl Args {
    fn filters(&self) -> Vec<(&'static str, String)> {
        let filters = [
            ("reason", self.reason.clone()),
            ("source", self.source.clone()),
            ("client", self.client.clone()),
            ("since", self.since.as_deref().map(moment)),
            ("until", self.until.as_deref().map(moment)),
        ];
        filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

const COLUMNS: Columns = Columns {
    head: &["TIME (UTC)", "REASON", "COUNT", "SOURCE", "CLIENT", "WHO OR WHAT", "DETAIL"],
    row,
};

pub(super) fn run(args: &Args) -> ExitCode {
    client::run(&args.via, async |client| {
        listing::list(&client, "/api/v1/audit", args.filters(), &args.paging, &COLUMNS).await
    })
}

fn row(record: &Value) -> Vec<String> {
    let client = if record["client"].is_null() { &record["peer"] } else { &record["client"] };
    vec![
        table::time(&text(&record["time"])),
        text(&record["reason"]),
        text(&record["count"]),
        text(&record["source"]),
        text(client),
        what(record),
        text(&record["detail"]),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_says_who_was_refused_and_why() {
        let refused = json!({
            "time": "2025-01-15T10:30:00.412Z", "reason": "signature_invalid", "count": 1, "source": "lab",
            "client": "192.0.2.1", "peer": "10.0.0.1", "method": "POST", "path": "/hooks/lab",
            "detail": "no signature was made with a key of the source",
        });
        let detail = "no signature was made with a key of the source";
        let time = "2025-01-15 10:30:00";
        let expected =
            [time, "signature_invalid", "1", "lab", "192.0.2.1", "POST /hooks/lab", detail];
        assert_eq!(row(&refused), expected);
        let act = json!({
            "time": "2025-01-15T10:30:00.412Z", "reason": "replayed", "count": 1, "peer": "admin.sock",
            "who": "uid 0 (root)",
        });
        assert_eq!(row(&act), [time, "replayed", "1", "-", "admin.sock", "uid 0 (root)", "-"]);
    }
}
