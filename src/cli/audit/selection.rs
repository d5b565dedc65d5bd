//! Which records are meant: the filters that `list`, `export` and `top` have in common.

use std::process::ExitCode;

use super::super::moment::When;
use super::wrong;
use crate::audit::chain::{Filter, filter};
use crate::clock::UnixMillis;
use crate::event::SourceName;

/// Filters of records; each narrows them further.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Selection {
    /// Only what was refused for this reason, such as signature_invalid, or this act, such as replayed
    #[arg(long, value_name = "REASON", value_parser = filter::reason)]
    reason: Option<String>,

    /// Only what was sent to this source
    #[arg(long, value_name = "NAME", value_parser = SourceName::new)]
    source: Option<SourceName>,

    /// Only what this client has sent: an IP address, unknown, many for sums over several, or admin.sock
    #[arg(long, value_name = "ADDRESS", value_parser = filter::client)]
    client: Option<String>,

    /// Only what presented the credential of this fingerprint
    #[arg(long, value_name = "FINGERPRINT", value_parser = filter::credential)]
    credential: Option<String>,

    /// Only what came in there: public, admin, or socket
    #[arg(long, value_name = "NAME", value_parser = filter::listener)]
    listener: Option<String>,

    /// Only records of then or later: 2025-01-15T10:30:00Z, 2025-01-15 (UTC), or 24h for a day ago
    #[arg(long, value_name = "TIME", value_parser = str::parse::<When>)]
    since: Option<When>,

    /// Only records from before
    #[arg(long, value_name = "TIME", value_parser = str::parse::<When>)]
    until: Option<When>,
}

impl Selection {
    /// The filter; ages are counted back from `now`. Code 2 when nothing can fit.
    pub(super) fn filter(&self, now: UnixMillis) -> Result<Filter, ExitCode> {
        let Self { reason, source, client, credential, listener, since, until } = self.clone();
        let (since, until) =
            (since.map(|when| when.resolve(now)), until.map(|when| when.resolve(now)));
        if since.zip(until).is_some_and(|(since, until)| since >= until) {
            return Err(wrong("--since must be before --until"));
        }
        let source = source.map(|name| name.as_str().to_owned());
        Ok(Filter { id: None, reason, source, client, credential, listener, since, until })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_736_937_000_000);

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        selection: Selection,
    }

    fn read(args: &[&str]) -> Result<Selection, clap::Error> {
        let args = ["audit"].iter().chain(args);
        Line::try_parse_from(args).map(|line| line.selection)
    }

    #[test]
    fn each_filter_is_judged_before_anything_is_read() {
        let all = [
            ["--reason", "signature_invalid"],
            ["--source", "lab"],
            ["--client", "::ffff:192.0.2.1"],
            ["--credential", "AB00000000000000000000000000CDEF"],
            ["--listener", "public"],
            ["--since", "24h"],
            ["--until", "2025-01-15"],
        ];
        let filter = read(&all.concat()).unwrap().filter(NOW).unwrap();
        let names = filter.pairs().into_iter().map(|(name, _)| format!("--{name}"));
        assert_eq!(names.collect::<Vec<_>>(), all.map(|[name, _]| name));
        assert_eq!(filter.client.as_deref(), Some("192.0.2.1"));
        assert_eq!(filter.since, Some(UnixMillis(NOW.0 - 86_400_000)));
        assert_eq!(filter.until.unwrap().to_string(), "2025-01-15T00:00:00.000Z");
        for wrong in [
            ["--reason", "forged"],
            ["--source", "A"],
            ["--client", "localhost"],
            ["--credential", "12"],
            ["--listener", "all"],
            ["--since", "yesterday"],
        ] {
            assert!(read(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_window_that_is_none_is_told() {
        let turned = read(&["--since", "1h", "--until", "2h"]).unwrap();
        assert!(turned.filter(NOW).is_err());
    }
}
