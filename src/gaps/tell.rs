//! What the log says about windows in which events may have been lost: when they become possible, and
//! once more if they have grown since, for that was not over yet.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Report, Since, SourceReport, Spans, Verdict, WindowReport};
use crate::clock::{Clock, UnixMillis};
use crate::config::Config;
use crate::store::Store;
use crate::store::presence::Known;

/// Lines at once at most; what is beyond them is summed up.
const LINES: usize = 20;

/// How often it is looked whether there was a gap.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often it is looked whether a provider has given up by now that was still trying.
const JUDGE_EVERY: Duration = Duration::from_secs(60);

/// What has been told of each source, by its name.
#[derive(Debug, Default)]
pub struct Told(HashMap<String, Spans>);

/// Tells every window that becomes possible while the gateway runs, also by the gap before it.
/// `before`: what was known of the store before requests were let in. Never ends, and changes
/// nothing.
pub async fn watch(
    config: watch::Receiver<Arc<Config>>,
    store: Arc<Store>,
    clock: Clock,
    before: Known,
) {
    let mut config = config;
    let now = clock.now();
    let mut since = noted(&mut config, now, Duration::ZERO).await;
    let mut told = Told::before(&config.borrow(), before, &since);
    let (mut seen, mut pending, mut judged) = (None, false, Instant::now());
    loop {
        if config.has_changed().unwrap_or(false) {
            // A source that another configuration has brought may have been there since the last look.
            since = noted(&mut config, clock.now(), LOOK_EVERY * 2).await;
        } else if since.is_ahead_of(clock.now()) {
            since = noted(&mut config, clock.now(), Duration::ZERO).await;
        }
        let changes = store.absences_changed();
        if seen != Some(changes) || (pending && judged.elapsed() >= JUDGE_EVERY) {
            (seen, judged) = (Some(changes), Instant::now());
            // A gap that goes on is judged when it ends.
            let known = Known { away: None, ..store.presence() };
            let report = Report::of_sources(&config.borrow(), &known, &since, clock.now());
            told.tell(&report);
            pending = report.windows(Verdict::Pending).next().is_some();
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Notes since when the configuration's sources are there. What was there before a start is noted behind
/// the gap that the start has ended.
async fn noted(
    config: &mut watch::Receiver<Arc<Config>>,
    now: UnixMillis,
    earlier: Duration,
) -> Since {
    let config = Arc::clone(&config.borrow_and_update());
    let noted = tokio::task::spawn_blocking(move || {
        let names = config.sources.iter().map(|source| source.name.as_str().to_owned());
        Since::note(&config.store.path, &names.collect::<Vec<_>>(), now, earlier)
    });
    noted.await.unwrap_or_default()
}

impl Told {
    /// What a gateway has told that ran until the last sign of life.
    pub fn before(config: &Config, known: Known, since: &Since) -> Self {
        let Some(last) = known.last else { return Self::default() };
        let known = Known { away: None, ..known };
        let report = Report::of_sources(config, &known, since, last.at);
        let mut told = Self::default();
        for (source, window) in possible(&report) {
            told.add(source, span(window));
        }
        told
    }

    /// One line for each window that is new, or has come to its end since it was told; how many.
    pub fn tell(&mut self, report: &Report) -> usize {
        let mut new = 0;
        for (source, window) in possible(report) {
            let whole = span(window);
            let before = self.0.get(&source.name).cloned().unwrap_or_default();
            let grows = growing(source, window);
            let is_new = before.and(&whole).is_empty();
            if whole.without(&before).is_empty() || !(is_new || grows.is_none()) {
                continue;
            }
            self.add(source, whole);
            new += 1;
            if new <= LINES {
                line(&source.name, window, grows);
            }
        }
        if new > LINES {
            let more = new - LINES;
            tracing::warn!(target: "hookward", more, "further windows in which events may have been lost; `hookward gaps` names them all");
        }
        new
    }

    fn add(&mut self, source: &SourceReport, more: Spans) {
        let told = self.0.entry(source.name.clone()).or_default();
        *told = told.or(&more);
    }
}

/// The windows whose events may be lost already.
fn possible(report: &Report) -> impl Iterator<Item = (&SourceReport, &WindowReport)> {
    report.windows(Verdict::Lost).chain(report.windows(Verdict::Unknown))
}

fn span(window: &WindowReport) -> Spans {
    Spans::new([(window.from.0, window.until.0.saturating_add(1))])
}

/// How far the window may still grow: events right behind it are still being tried.
fn growing(source: &SourceReport, window: &WindowReport) -> Option<UnixMillis> {
    let behind = window.until.0.saturating_add(1);
    let mut pending = source.windows.iter().filter(|next| next.verdict == Verdict::Pending);
    pending.find(|next| next.from.0 == behind).map(|next| next.until)
}

fn line(source: &str, window: &WindowReport, grows: Option<UnixMillis>) {
    let (from, until) = (window.from, window.until);
    let causes = window.causes.join(", ");
    let grows = grows.map(tracing::field::display);
    let by_hand = window.by_hand_until.map(tracing::field::display);
    if window.verdict == Verdict::Lost {
        tracing::warn!(target: "hookward", source, %from, %until, causes, may_grow_until = grows, by_hand_until = by_hand, "events that first came in this window are lost: their provider has given up by now; ask it to send them again, or reconcile orders of that time");
    } else {
        tracing::warn!(target: "hookward", source, %from, %until, causes, may_grow_until = grows, by_hand_until = by_hand, "events that first came in this window may be lost, and nothing here can tell; ask the provider, or reconcile orders of that time");
    }
}
