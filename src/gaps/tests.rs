use std::sync::Arc;
use std::time::Duration;

use super::tell::Told;
use super::*;
use crate::config::{self, Machine};
use crate::store::presence::Sign;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const START: UnixMillis = UnixMillis(1_763_700_000_000);

fn config() -> Config {
    let dir = tempfile::tempdir().unwrap();
    let env =
        |name: &str| Some(std::ffi::OsString::from(format!("a secret that is called {name}")));
    let source = |name: &str| {
        format!("[source.{name}]\npreset = \"{name}\"\nkeys = [{{ env = \"{name}\" }}]\n")
    };
    let text: String = ["novamed", "drx", "github", "stripe"].map(source).concat()
        + "[upstream.app]\nurl = \"http://127.0.0.1:3000/\"\n";
    let machine = Machine { env: &env };
    match config::check_text(&dir.path().join("hookward.toml"), &text, &machine) {
        Ok((config, _)) => config,
        Err(invalid) => panic!("{:?}", invalid.problems),
    }
}

fn known(gaps: &[(UnixMillis, UnixMillis, Cause)]) -> Known {
    let absence = |&(from, until, cause): &_| Absence { from, until, cause };
    let absences: Vec<_> = gaps.iter().map(absence).collect();
    let last = absences.iter().map(|a| a.until).max().unwrap_or(START);
    let last = Some(Sign { at: last, stopped: false });
    Known { since: Some(START), absences, away: None, last }
}

fn windows_of<'r>(report: &'r Report, name: &str) -> &'r [WindowReport] {
    &report.sources.iter().find(|source| source.name == name).unwrap().windows
}

/// A source that was just configured had lost what came in a gap of months before.
#[test]
fn a_gap_before_a_source_was_configured_is_none_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let note = |names: &[&str], at| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Since::note(dir.path(), &names, at, Duration::ZERO)
    };
    let (from, until) = (START.after(HOUR), START.after(HOUR * 4));
    let gaps = known(&[
        (from, until, Cause::Stopped),
        (until.after(HOUR), until.after(HOUR * 9), Cause::Unwritable),
    ]);
    note(&["drx", "stripe"], START);
    // With the start that ends the first gap, and in the second one.
    note(&["drx", "stripe", "novamed"], until.after(Duration::from_millis(1)));
    let within = until.after(HOUR * 5);
    let since = note(&["drx", "stripe", "novamed", "github"], within);
    let report = Report::of_sources(&config(), &gaps, &since, until.after(HOUR * 10));
    let first = |name: &str| windows_of(&report, name)[0].from;
    assert!(first("drx") <= from && first("stripe") <= from, "{report:?}");
    assert!(first("novamed") > until && first("novamed") <= until.after(HOUR), "{report:?}");
    assert!(first("github") > within.before(MINUTE) && first("github") <= within, "{report:?}");
    assert_eq!(report.gaps.len(), 2, "the gateway's own are all there");
}

#[test]
fn each_source_is_judged_by_how_its_provider_sends_again() {
    let (from, until) = (START.after(HOUR), START.after(HOUR * 4));
    let known = known(&[(from, until, Cause::Stopped)]);
    let report = Report::new(&config(), &known, until.after(HOUR * 2));
    assert_eq!(report.gaps.len(), 1);
    let gap = &report.gaps[0];
    assert_eq!((gap.seconds, gap.cause.as_str(), gap.open), (3 * 3600, "stopped", false));
    let verdicts = |name: &str| -> Vec<Verdict> {
        windows_of(&report, name).iter().map(|window| window.verdict).collect()
    };
    assert_eq!(verdicts("novamed"), [Verdict::Lost]);
    assert_eq!(verdicts("drx"), [Verdict::Unknown]);
    assert_eq!(verdicts("github"), [Verdict::Lost]);
    assert_eq!(verdicts("stripe"), [Verdict::Pending]);
    let novamed = &windows_of(&report, "novamed")[0];
    assert!(novamed.until < until && novamed.until > until.before(MINUTE * 81), "{novamed:?}");
    assert_eq!((novamed.causes.clone(), novamed.by_hand_until), (vec!["stopped".to_owned()], None));
    let github = &windows_of(&report, "github")[0];
    assert_eq!(github.by_hand_until, Some(github.until.after(HOUR * 72)));
    assert_eq!(github.by_hand_first_until, Some(github.from.after(HOUR * 72)));
}

#[test]
fn a_report_is_read_as_it_was_written() {
    let now = START.after(HOUR * 9);
    let gap = (START.after(HOUR), START.after(HOUR * 4), Cause::Unknown);
    let report = Report::new(&config(), &known(&[gap]), now);
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report, "{json}");
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["at"], now.to_string());
    assert_eq!(value["sources"][0]["windows"][0]["verdict"], "unknown");
}

#[test]
fn a_gap_that_goes_on_ends_now() {
    let now = START.after(HOUR * 5);
    let away = Some((START.after(HOUR), Cause::Crashed));
    let known = Known { away, ..known(&[]) };
    let report = Report::new(&config(), &known, now);
    assert_eq!((report.gaps[0].until, report.gaps[0].open), (now, true));
    let novamed = windows_of(&report, "novamed");
    let verdicts: Vec<_> = novamed.iter().map(|window| window.verdict).collect();
    assert_eq!(verdicts, [Verdict::Lost, Verdict::Pending]);
}

#[test]
fn clocks_that_were_wrong_make_no_absurd_gap_without_a_word() {
    let config = config();
    let now = START.after(HOUR * 5);
    // A start with the clock a year ahead, which was set right then.
    let ahead = known(&[(START.after(HOUR), START.after(HOUR * 9000), Cause::Crashed)]);
    let report = Report::new(&config, &ahead, now);
    let gap = &report.gaps[0];
    assert_eq!((gap.until, gap.cause.as_str()), (now, "unknown"));
    assert!(gap.note.as_ref().unwrap().contains("set back"), "{gap:?}");
    assert!(report.windows(Verdict::Lost).next().is_none(), "nothing of that is certain");
    // Or was not.
    let report = Report::new(&config, &ahead, START.after(HOUR * 9001));
    assert!(report.gaps[0].note.as_ref().unwrap().contains("longer than the retention"));
    // One that was set back between a stop and a start.
    let at = START.after(HOUR);
    let report = Report::new(&config, &known(&[(at, at, Cause::Unknown)]), now);
    assert_eq!((report.gaps[0].seconds, report.gaps[0].cause.as_str()), (0, "unknown"));
    assert!(report.gaps[0].note.as_ref().unwrap().contains("how long"));
    assert!(report.sources.iter().all(|s| s.windows.iter().any(|w| w.verdict == Verdict::Unknown)));
    // The last sign of life is ahead of the clock.
    let known = Known { away: Some((START.after(HOUR * 9), Cause::Stopped)), ..known(&[]) };
    let report = Report::new(&config, &known, now);
    assert_eq!((report.gaps[0].from, report.gaps[0].until), (now, now));
}

#[test]
fn a_window_is_told_once_and_again_when_it_has_grown_to_its_end() {
    let config = config();
    let (from, until) = (START.after(HOUR), START.after(HOUR * 4));
    let before = known(&[]);
    let mut told = Told::before(&config, before, &Since::default());
    let gaps = known(&[(from, until, Cause::Stopped)]);
    let mut counts = Vec::new();
    let said = crate::log::testing::lines(false, || {
        for minutes in [0, 1, 2, 30, 60, 240, 300] {
            let report = Report::new(&config, &gaps, until.after(MINUTE * minutes));
            counts.push(told.tell(&report));
        }
    });
    // NovaMed's at once and at its end; DRX's and GitHub's are whole at once, but for GitHub's last
    // seconds, whose attempts may be under way.
    assert_eq!(counts, [3, 1, 0, 1, 0, 0, 0], "{said}");
    assert!(said.contains("novamed") && said.contains("may_grow_until"), "{said}");
    // A later process does not tell what this one has.
    let last = Some(Sign { at: until.after(MINUTE * 300), stopped: true });
    let mut told = Told::before(&config, Known { last, ..gaps.clone() }, &Since::default());
    assert_eq!(told.tell(&Report::new(&config, &gaps, until.after(MINUTE * 400))), 0);
}

#[test]
fn many_windows_are_summed_up() {
    let config = config();
    let gap = |n: u32| {
        let from = START.after(HOUR * n);
        (from, from.after(MINUTE), Cause::Unwritable)
    };
    let gaps: Vec<_> = (0..30).map(gap).collect();
    let report = Report::new(&config, &known(&gaps), START.after(HOUR * 1000));
    let said = crate::log::testing::lines(false, || {
        assert_eq!(Told::default().tell(&report), 60);
    });
    assert_eq!(said.lines().count(), 21, "{said}");
    assert!(said.contains("hookward gaps"), "{said}");
}

#[test]
fn every_source_of_a_configuration_is_in_the_report_even_without_a_gap() {
    let config = config();
    let report = Report::new(&config, &Known::default(), START);
    let names: Vec<_> = report.sources.iter().map(|source| source.name.as_str()).collect();
    let configured: Vec<_> = config.sources.iter().map(|s: &Arc<Source>| s.name.as_str()).collect();
    assert_eq!(names, configured);
    assert_eq!((report.known_since, report.gaps), (None, Vec::new()));
}
