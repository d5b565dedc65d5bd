//! `hookward gaps`: when the gateway could take no events, and which events may be lost for good. Reads
//! the store's files, whether a gateway runs or not, and changes none of them; or asks the gateway at a
//! URL.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::client::{At, Trouble};
use super::table::{neutral_json, neutral_lines};
use super::{client, pipe, seam};
use crate::clock::{Clock, UnixMillis};
use crate::config::Config;
use crate::gaps::{GapReport, Report, Since, SourceReport, Verdict, WindowReport};
use crate::hardening;
use crate::store::crypt::Keyring;
use crate::store::inspect::{InspectError, Journal, presence};

/// Name the times in which the gateway could take no events, and for each source the windows in which
/// events may have been lost for good
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The configuration file [default: HOOKWARD_CONFIG, else hookward.toml here, else
    /// /etc/hookward/hookward.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Look at this store, such as a copy, instead of the configured one
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,

    #[command(flatten)]
    at: At,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Exit codes: 0, whatever was found; 1 when the store cannot be read or the gateway not be asked; 2 when
/// files and a URL are named; 78.
pub fn run(args: &Args) -> ExitCode {
    let _ = hardening::harden();
    let report = match report(args) {
        Ok(report) => report,
        Err(code) => return code,
    };
    let printed = print(&report, args.json);
    if pipe::printed(printed).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(args: &Args) -> Result<Report, ExitCode> {
    let files = args.config.is_some() || args.store.is_some();
    if let Some(client) = args.at.instead_of(files)? {
        return client::ask(async {
            let report = client.get("/api/v1/gaps").await?.json()?;
            serde_json::from_value(report).map_err(|_| Trouble::Unexpected)
        });
    }
    let config = seam::load_config(args.config.as_deref())?;
    offline(args, &config).map_err(|error| {
        let _ = writeln!(io::stderr(), "error: {error}");
        ExitCode::FAILURE
    })
}

/// The report, from the store's files.
fn offline(args: &Args, config: &Config) -> Result<Report, InspectError> {
    let path = args.store.as_ref().unwrap_or(&config.store.path);
    let keys = Arc::new(Keyring::new(config.store.encryption_keys.iter().cloned()));
    let journal = Journal::open(path, &keys)?;
    let now = Clock::System.now();
    Ok(Report::of_sources(config, &presence(&journal, now)?, &Since::read(path, now), now))
}

/// Prints a report, wherever it comes from.
///
/// # Errors
/// As standard output says.
pub(super) fn print(report: &Report, as_json: bool) -> io::Result<()> {
    // What a gateway elsewhere says may be anything.
    let text = if as_json {
        neutral_json(&serde_json::to_string(report)?) + "\n"
    } else {
        neutral_lines(&words(report))
    };
    io::stdout().write_all(text.as_bytes())
}

/// A report for people.
pub(super) fn words(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = match report.known_since {
        None => writeln!(out, "No gateway that notes gaps has run on this store yet."),
        Some(since) => {
            let last = report.last_sign_of_life.map_or_else(String::new, |last| {
                format!("; the last sign of life is of {}", second(last))
            });
            writeln!(out, "Gaps are known from {} on{last}.", second(since))
        }
    };
    if report.known_since.is_some() {
        gaps(&report.gaps, &mut out);
    }
    for verdict in [Verdict::Lost, Verdict::Unknown, Verdict::Pending] {
        windows(report, verdict, &mut out);
    }
    if report.known_since.is_some() && report.sources.iter().all(|s| s.windows.is_empty()) {
        let _ = writeln!(out, "\nNo source has a window in which events may have been lost.");
    }
    out
}

fn gaps(gaps: &[GapReport], out: &mut String) {
    if gaps.is_empty() {
        let _ = writeln!(out, "\nNo gap: events could be taken all the time since.");
        return;
    }
    let _ = writeln!(out, "\nNo events could be taken (UTC):");
    let row = |gap: &GapReport| {
        let until = if gap.open { "now".to_owned() } else { up(gap.until) };
        let note = gap.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
        [down(gap.from), until, long(gap.seconds), format!("{}{note}", gap.cause)]
    };
    let mut rows = vec![["FROM", "UNTIL", "FOR", "CAUSE"].map(str::to_owned)];
    rows.extend(gaps.iter().map(row));
    table(&rows, out);
}

fn windows(report: &Report, verdict: Verdict, out: &mut String) {
    let found: Vec<_> = report.windows(verdict).collect();
    if found.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", headline(verdict));
    let by_hand = found.iter().any(|(_, window)| window.by_hand_until.is_some());
    let mut head = vec!["SOURCE", "FIRST CAME FROM", "UNTIL", "GAPS", "PROVIDER SENDS AGAIN"];
    if by_hand {
        head.push("BY HAND UNTIL");
    }
    let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    rows.extend(found.iter().map(|(source, window)| row(source, window, by_hand)));
    table(&rows, out);
}

fn headline(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Lost => {
            "Lost, if there were any: events that first came in these windows (UTC). Their provider has tried\n\
             as often as it does, always in a gap, and has given up. Ask it to send them again, or reconcile\n\
             orders of that time with it."
        }
        Verdict::Unknown => {
            "Perhaps lost: events that first came in these windows (UTC). How long the gap was, or how the\n\
             provider sends again, is not known. Ask the provider, or reconcile orders of that time with it; if\n\
             its schedule is known to you, set retry_schedule or retry_horizon for the source."
        }
        Verdict::Pending => {
            "Not lost yet: events that first came in these windows (UTC) should still be sent again. Keep the\n\
             gateway up, and look again later."
        }
    }
}

fn row(source: &SourceReport, window: &WindowReport, by_hand: bool) -> Vec<String> {
    let again = match (source.horizon_seconds, source.schedule_known) {
        (Some(0), _) => "never".to_owned(),
        (Some(horizon), true) => format!("for {}", long(horizon)),
        (Some(horizon), false) => format!("for {}, unknown when", long(horizon)),
        (None, _) => "unknown".to_owned(),
    };
    let mut cells = vec![
        source.name.clone(),
        down(window.from),
        up(window.until),
        window.causes.join(", "),
        again,
    ];
    if by_hand {
        cells.push(match (window.by_hand_first_until, window.by_hand_until) {
            (Some(first), Some(last)) => {
                format!("{} (the first) to {} (the last)", down(first), down(last))
            }
            _ => "-".to_owned(),
        });
    }
    cells
}

fn table<R: AsRef<[String]>>(rows: &[R], out: &mut String) {
    let columns = rows.first().map_or(0, |row| row.as_ref().len());
    let cell = |row: &R, column: usize| row.as_ref().get(column).cloned().unwrap_or_default();
    let width = |column| rows.iter().map(|row| cell(row, column).chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let cells =
            widths.iter().enumerate().map(|(at, width)| format!("{:width$}", cell(row, at)));
        let _ = writeln!(out, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// To whole seconds, never later.
fn down(at: UnixMillis) -> String {
    second(at)
}

/// To whole seconds, never earlier.
fn up(at: UnixMillis) -> String {
    second(UnixMillis(at.0.saturating_add(999)))
}

fn second(at: UnixMillis) -> String {
    let text = UnixMillis(at.0 / 1000 * 1000).to_string();
    text.strip_suffix(".000Z").map_or(text.clone(), |whole| format!("{whole}Z"))
}

/// `3h10m`, `81m`, `5s`: at most two units.
pub(super) fn long(seconds: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let Some(at) = UNITS.iter().position(|(_, size)| seconds >= *size) else {
        return "0s".to_owned();
    };
    let mut left = seconds;
    let mut text = String::new();
    for (unit, size) in UNITS.iter().skip(at).take(2) {
        if left >= *size {
            let _ = write!(text, "{}{unit}", left / size);
        }
        left %= size;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_it_was_is_told_in_two_units_at_most() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (4860, "1h21m"), (3605, "1h"), (90_061, "1d1h"), (600, "10m")]
        {
            assert_eq!(long(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn a_window_is_never_told_shorter_than_it_is() {
        assert_eq!(down(UnixMillis(1_736_937_000_999)), "2025-01-15T10:30:00Z");
        assert_eq!(up(UnixMillis(1_736_937_000_001)), "2025-01-15T10:30:01Z");
        assert_eq!(up(UnixMillis(1_736_937_000_000)), "2025-01-15T10:30:00Z");
    }
}
