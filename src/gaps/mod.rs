//! The loss-window report: when the gateway could take no events, and what that means for each
//! source, by the way its provider sends again. Made from what the store knows, or from a store's
//! files; `hookward gaps`, the log and the API say the same.

mod instant;
mod since;
mod spans;
pub mod tell;
mod windows;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use self::since::Since;
pub use self::spans::Spans;
pub use self::windows::{TOLERANCE_PERCENT, Windows, attempt_time, windows};
use crate::clock::UnixMillis;
use crate::config::{Config, Source};
use crate::store::Store;
use crate::store::journal::presence::{Absence, Cause};
use crate::store::presence::Known;

/// When the gateway could take no events, and what may have been lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// As of when.
    #[serde(with = "instant")]
    pub at: UnixMillis,
    /// From when on gaps are known; `None`: no gateway that notes them has run on this store yet.
    #[serde(with = "instant::maybe")]
    pub known_since: Option<UnixMillis>,
    /// When events could be taken last.
    #[serde(with = "instant::maybe")]
    pub last_sign_of_life: Option<UnixMillis>,
    /// By so many hundredths schedules may run faster or slower than they are published.
    pub tolerance_percent: u64,
    /// When no event could be taken, the oldest first.
    pub gaps: Vec<GapReport>,
    /// What that means for each source, in the order of the configuration.
    pub sources: Vec<SourceReport>,
}

/// A time in which no event could be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapReport {
    /// The last moment at which events could certainly be taken before.
    #[serde(with = "instant")]
    pub from: UnixMillis,
    /// The first one at which they could be taken again; now, if they cannot yet.
    #[serde(with = "instant")]
    pub until: UnixMillis,
    /// How long that is, in seconds, rounded up.
    pub seconds: u64,
    /// `stopped`, `crashed`, `unwritable` or `unknown`.
    pub cause: String,
    /// Whether it goes on.
    pub open: bool,
    /// What makes it doubtful, for people.
    pub note: Option<String>,
}

/// What gaps mean for one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Its name.
    pub name: String,
    /// Its preset.
    pub preset: Option<String>,
    /// Since when it is configured: gaps before then were none of its own; `None`: from the beginning,
    /// as far as is known.
    #[serde(default, with = "instant::maybe")]
    pub configured_since: Option<UnixMillis>,
    /// Whether it is known when its provider sends again.
    pub schedule_known: bool,
    /// For how long after the first attempt, in seconds; `None`: not known.
    pub horizon_seconds: Option<u64>,
    /// How long an attempt may take, in seconds: one that begins so much before a gap may fail in it.
    pub attempt_seconds: u64,
    /// For how long after the first attempt its provider can be made to send again by hand, in
    /// seconds; `None`: not known.
    pub by_hand_seconds: Option<u64>,
    /// When its events may have come first that were lost, or still may be.
    pub windows: Vec<WindowReport>,
}

/// When events may have come first that were lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowReport {
    /// The first moment of it.
    #[serde(with = "instant")]
    pub from: UnixMillis,
    /// The last one.
    #[serde(with = "instant")]
    pub until: UnixMillis,
    /// Why the gaps were that its events met.
    pub causes: Vec<String>,
    /// What became of them.
    pub verdict: Verdict,
    /// Until when the first of its events can be sent again by hand, where that is known.
    #[serde(with = "instant::maybe")]
    pub by_hand_first_until: Option<UnixMillis>,
    /// Until when the last of them can.
    #[serde(with = "instant::maybe")]
    pub by_hand_until: Option<UnixMillis>,
}

/// What became of the events of a window, if there were any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Their provider has given up.
    Lost,
    /// Nobody here can tell.
    Unknown,
    /// Their provider will still try.
    Pending,
}

impl Verdict {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Unknown => "unknown",
            Self::Pending => "pending",
        }
    }
}

/// The report on a store that is open. Blocks.
pub fn report(config: &Config, store: &Store, now: UnixMillis) -> Report {
    let since = Since::read(&config.store.path, now);
    Report::of_sources(config, &store.presence(), &since, now)
}

impl Report {
    /// The report on what is known of a store, as if all sources had been configured from the beginning.
    pub fn new(config: &Config, known: &Known, now: UnixMillis) -> Self {
        Self::of_sources(config, known, &Since::default(), now)
    }

    /// The report on what is known of a store whose sources are configured since then.
    pub fn of_sources(config: &Config, known: &Known, since: &Since, now: UnixMillis) -> Self {
        let retention = config.store.retention;
        let mut gaps: Vec<Gap> =
            known.absences.iter().map(|absence| Gap::ended(*absence)).collect();
        gaps.extend(known.away.map(|(from, cause)| Gap::open(from, cause, now)));
        for gap in &mut gaps {
            gap.look_at_clock(now);
        }
        gaps.sort_by_key(|gap| (gap.absence.from, gap.absence.until));
        let absences: Vec<Absence> = gaps.iter().map(|gap| gap.absence).collect();
        let source = |source: &std::sync::Arc<Source>| {
            let since = since.of(source.name.as_str());
            SourceReport {
                configured_since: since,
                ..SourceReport::new(source, &from(since, &absences), now)
            }
        };
        Self {
            at: now,
            known_since: known.since,
            last_sign_of_life: known.last.map(|last| last.at),
            tolerance_percent: TOLERANCE_PERCENT,
            gaps: gaps.iter().map(|gap| gap.report(retention)).collect(),
            sources: config.sources.iter().map(source).collect(),
        }
    }

    /// All windows with this verdict, with their sources.
    pub fn windows(
        &self,
        verdict: Verdict,
    ) -> impl Iterator<Item = (&SourceReport, &WindowReport)> {
        let all = self.sources.iter().flat_map(|s| s.windows.iter().map(move |w| (s, w)));
        all.filter(move |(_, window)| window.verdict == verdict)
    }
}

/// What of these lies behind that time.
fn from(since: Option<UnixMillis>, absences: &[Absence]) -> Vec<Absence> {
    let since = since.unwrap_or(UnixMillis(0));
    let behind = absences.iter().filter(|absence| absence.until > since || since.0 == 0);
    behind.map(|absence| Absence { from: absence.from.max(since), ..*absence }).collect()
}

/// A gap on its way into the report.
struct Gap {
    absence: Absence,
    open: bool,
    note: Option<&'static str>,
}

impl Gap {
    fn ended(absence: Absence) -> Self {
        Self { absence, open: false, note: None }
    }

    fn open(from: UnixMillis, cause: Cause, now: UnixMillis) -> Self {
        let absence = if from > now {
            Absence { from: now, until: now, cause: Cause::Unknown }
        } else {
            Absence { from, until: now, cause }
        };
        Self { absence, open: true, note: None }
    }

    /// What lies ahead of the clock has been written by one that was wrong.
    fn look_at_clock(&mut self, now: UnixMillis) {
        let Absence { from, until, .. } = self.absence;
        if until > now {
            self.absence = Absence { from: from.min(now), until: now, cause: Cause::Unknown };
            self.note = Some("it ends ahead of the clock, which has been set back since");
        }
    }

    fn report(&self, retention: std::time::Duration) -> GapReport {
        let Absence { from, until, cause } = self.absence;
        let long = until.since(from);
        let note = self.note.or(match cause {
            Cause::Unknown if long.is_zero() => {
                Some("the clock was set back meanwhile: how long it was is not known")
            }
            Cause::Unknown => Some(
                "the clock was set ahead, the machine has slept, or the journal is damaged where it would say more",
            ),
            _ if long > retention => Some("longer than the retention: the clock may have been wrong"),
            _ => None,
        });
        GapReport {
            from,
            until,
            seconds: u64::try_from(long.as_millis().div_ceil(1000)).unwrap_or(u64::MAX),
            cause: cause.as_str().to_owned(),
            open: self.open,
            note: note.map(str::to_owned),
        }
    }
}

impl SourceReport {
    fn new(source: &Source, gaps: &[Absence], now: UnixMillis) -> Self {
        let retries = &source.retries;
        let Windows { lost, unknown, pending } = windows(gaps, retries, now);
        let by_hand = retries.by_hand;
        let mut all = Vec::new();
        for (verdict, spans) in
            [(Verdict::Lost, lost), (Verdict::Unknown, unknown), (Verdict::Pending, pending)]
        {
            all.extend(spans.iter().map(|(from, end)| {
                let causes = windows::gaps_of((from, end), gaps, retries).map(|gap| gap.cause);
                let causes: BTreeSet<Cause> = causes.collect();
                let (from, until) = (UnixMillis(from), UnixMillis(end.saturating_sub(1)));
                WindowReport {
                    from,
                    until,
                    causes: causes.into_iter().map(|cause| cause.as_str().to_owned()).collect(),
                    verdict,
                    by_hand_first_until: by_hand.map(|late| from.after(late)),
                    by_hand_until: by_hand.map(|late| until.after(late)),
                }
            }));
        }
        all.sort_by_key(|window: &WindowReport| (window.from, window.verdict));
        Self {
            name: source.name.as_str().to_owned(),
            preset: source.preset.map(|preset| preset.as_str().to_owned()),
            configured_since: None,
            schedule_known: retries.waits.is_some(),
            horizon_seconds: retries.horizon().map(|horizon| horizon.as_secs()),
            attempt_seconds: attempt_time(retries).as_secs(),
            by_hand_seconds: by_hand.map(|late| late.as_secs()),
            windows: all,
        }
    }
}

#[cfg(test)]
mod tests;
