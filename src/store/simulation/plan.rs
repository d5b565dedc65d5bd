//! What a schedule is made of: sizes, rules, and how much goes wrong, all by its seed.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Format, OnConflict, Ordering, OriginalSignature, Retry, Upstream};
use crate::event::UpstreamName;
use crate::secret::Key;
use crate::store::crypt::Keyring;
use crate::store::{Tuning, UpstreamOptions};

/// What is wrong with the store on purpose, for a check of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defect {
    /// The disk says that it has synced, and has not.
    SyncLies,
    /// Events are made known before their sync, which comes with the next write.
    SyncsLate,
    /// Retention forgets the keys of a segment that it keeps.
    ForgetsKeys,
    /// Retention lets go of a segment that is still needed.
    PurgesEarly,
    /// Attempts are not written down.
    LosesNotes,
    /// An upstream that is to be ordered is not.
    LosesOrder,
    /// A delivery that was not taken counts as one that was.
    SettlesFailures,
    /// Events that were written just before a crash are not looked for at the restart.
    CutsTooMuch,
    /// Acts are answered and not done.
    LosesActs,
}

/// How likely things are, in parts of the sum.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Steps until the quiet period.
    pub(super) steps: usize,
    /// Different ids a source sends.
    pub(super) ids: u32,
    /// Different subjects.
    pub(super) subjects: u32,
    /// Each source's rule for conflicts.
    pub(super) on_conflict: [OnConflict; 2],
    /// The upstreams that are ever configured.
    pub(super) upstreams: Vec<Arc<Upstream>>,
    /// How long events are kept.
    pub(super) retention: Duration,
    /// The store's sizes; the disk is not set yet.
    pub(super) tuning: Tuning,
    /// One step in so many has something go wrong with the disk; 0: none has.
    pub(super) faults: u32,
    /// One step in so many ends the process; 0: none does.
    pub(super) crashes: u32,
    /// Whether the wall clock is set now and then.
    pub(super) clock_steps: bool,
    /// Whether upstreams are out at first, for long enough and with enough waiting that circuits open.
    pub(super) outages: bool,
    /// One attempt in so many does not go well.
    pub(super) bad_answers: u32,
    /// One disk operation of the writer's in so many lets others go on meanwhile.
    pub(super) interleaves: u32,
    /// What the journal is encrypted with, if it is.
    pub(super) keys: Arc<Keyring>,
    /// What is wrong on purpose.
    pub(super) defect: Option<Defect>,
}

impl Plan {
    /// The schedule's plan.
    pub(super) fn new(rng: &mut fastrand::Rng, defect: Option<Defect>) -> Self {
        let outages = rng.u8(..12) == 0;
        let upstreams = (0..rng.usize(1..=3)).map(|at| upstream(at, outages, rng)).collect();
        let one_in = |rng: &mut fastrand::Rng, choices: &[u32]| *rng.choice(choices).unwrap_or(&0);
        Self {
            steps: if outages { rng.usize(500..800) } else { rng.usize(40..160) },
            ids: if outages { rng.u32(20..40) } else { rng.u32(2..20) },
            subjects: if outages { rng.u32(4..16) } else { rng.u32(1..5) },
            on_conflict: [rule(rng), rule(rng)],
            upstreams,
            retention: Duration::from_secs(*rng.choice(&[30, 60, 300, 3600]).unwrap_or(&60)),
            tuning: Tuning {
                segment_bytes: rng.u32(500..4000),
                window: rng.usize(1..9),
                hot_bytes: rng.usize(..3000),
                queue_events: rng.usize(3..40),
                queue_bytes: 30_000,
                unreadable_rest: Duration::from_secs(5),
                index: false,
                ..Tuning::default()
            },
            faults: one_in(rng, if outages { &[0, 200] } else { &[0, 0, 10, 30, 60] }),
            crashes: one_in(rng, if outages { &[0, 200] } else { &[0, 15, 30, 60] }),
            clock_steps: rng.u8(..4) == 0,
            outages,
            bad_answers: one_in(rng, &[2, 3, 5, 50]),
            interleaves: one_in(rng, &[1, 2, 4, 100]),
            keys: Arc::new(Keyring::new((rng.u8(..3) == 0).then(|| Key::new([7; 32].into())))),
            defect,
        }
    }

    /// What the store is told of the upstreams at these places.
    pub(super) fn options(&self, configured: &[usize]) -> Vec<UpstreamOptions> {
        let option = |upstream: &Arc<Upstream>| UpstreamOptions {
            name: upstream.name.clone(),
            ordered: upstream.ordering == Ordering::Subject
                && self.defect != Some(Defect::LosesOrder),
            give_up: upstream.retry.give_up,
            retry_max: upstream.retry.max,
        };
        configured.iter().filter_map(|at| self.upstreams.get(*at)).map(option).collect()
    }

    /// Whether the upstream with this name is to be ordered.
    pub(super) fn is_ordered(&self, name: &str) -> bool {
        let upstream = self.upstreams.iter().find(|upstream| upstream.name.as_str() == name);
        upstream.is_some_and(|upstream| upstream.ordering == Ordering::Subject)
    }
}

fn rule(rng: &mut fastrand::Rng) -> OnConflict {
    match rng.u8(..6) {
        0 | 1 => OnConflict::Quarantine,
        2 => OnConflict::Drop,
        _ => OnConflict::Deliver,
    }
}

fn upstream(at: usize, outages: bool, rng: &mut fastrand::Rng) -> Arc<Upstream> {
    let names = ["app", "lab", "crm"];
    let give_up: &[u64] = if outages { &[600, 7200] } else { &[60, 600, 7200] };
    Arc::new(Upstream {
        name: UpstreamName::new(names[at]).unwrap(),
        url: "http://127.0.0.1:9/".parse().unwrap(),
        headers: Default::default(),
        format: Format::CloudEvents,
        signing_keys: Vec::new(),
        original_signature: OriginalSignature::Drop,
        resign: Default::default(),
        ca: None,
        client_cert: None,
        allow_link_local: false,
        timeout: Duration::from_secs(10),
        concurrency: if outages { rng.usize(4..9) } else { rng.usize(1..4) },
        rate_limit: None,
        ordering: if rng.u8(..3) == 0 { Ordering::None } else { Ordering::Subject },
        retry: Retry {
            first: Duration::from_secs(1),
            max: Duration::from_secs(rng.u64(1..30)),
            give_up: Duration::from_secs(*rng.choice(give_up).unwrap_or(&600)),
        },
    })
}
