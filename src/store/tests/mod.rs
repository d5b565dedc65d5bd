//! The store as its callers see it, on a disk that can fail.

mod acts;
mod bad_pages;
mod behaviour;
mod carried;
mod catalogue;
mod clocks;
mod damage;
mod encryption;
mod faults;
mod kept;
mod outsiders;
mod rekey;
mod retained;
mod shortage;
mod signs_of_life;
pub(crate) mod sim_disk;
mod space;
mod stale;
mod unread;
mod upstreams;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::sim_disk::SimDisk;
use super::*;
use crate::config::OnConflict;
use crate::identify::Identified;
use crate::identify::testing::identified;
use crate::secret::Key;
use crate::store::journal::frame::Kind;
use crate::store::journal::segment::Scanned;

const START: UnixMillis = UnixMillis(1_763_700_000_000);

fn options(dir: &Path) -> Options {
    Options {
        path: dir.to_owned(),
        retention: Duration::from_secs(30 * 86_400),
        min_free: 1000,
        keys: Arc::default(),
        clock: Clock::running(START),
        metrics: Arc::new(Metrics::new()),
        upstreams: vec![upstream("app", true)],
    }
}

/// A keyring of keys that are one byte over and over.
fn keys(bytes: &[u8]) -> Arc<Keyring> {
    Arc::new(Keyring::new(bytes.iter().map(|byte| Key::new([*byte; 32].into()))))
}

fn upstream(name: &str, ordered: bool) -> UpstreamOptions {
    let give_up = Duration::from_secs(72 * 3600);
    let retry_max = Duration::from_secs(600);
    UpstreamOptions { name: UpstreamName::new(name).unwrap(), ordered, give_up, retry_max }
}

/// Everything small, so that a few events rotate segments and overflow windows. Nobody purges but the
/// test.
fn small(disk: &SimDisk) -> Tuning {
    Tuning {
        segment_bytes: 4096,
        window: 8,
        hot_bytes: 1000,
        unreadable_rest: Duration::from_millis(20),
        purge_every: Duration::from_secs(86_400),
        index: false,
        catalogue: false,
        disk: Arc::new(disk.clone()),
        ..Tuning::default()
    }
}

/// The first configured upstream.
fn app(store: &Store) -> Recipients {
    store.roster().select(Targets::NONE.with(0))
}

fn event(id: u32) -> Identified {
    event_with(id, &format!("{{\"n\":{id}}}"), OnConflict::Deliver)
}

fn event_with(id: u32, body: &str, on_conflict: OnConflict) -> Identified {
    let meta = EventMeta {
        provider_id: Some(format!("evt_{id}")),
        subject: Some(format!("order_{}", id % 5)),
        data: 0..u32::try_from(body.len()).unwrap(),
        ..EventMeta::default()
    };
    identified("lab", START, body, meta, on_conflict)
}

fn attempt(verdict: Verdict) -> Attempt {
    let result = match verdict {
        Verdict::Delivered => AttemptResult::Answered(200),
        Verdict::RetryAt(_) => AttemptResult::Answered(503),
        Verdict::Dead => AttemptResult::Answered(400),
    };
    Attempt { started_at: START, duration: Duration::from_millis(3), result, verdict }
}

async fn claim(store: &Store) -> Claimed {
    claim_of(store, 0).await
}

async fn claim_of(store: &Store, upstream: usize) -> Claimed {
    let lane = Arc::clone(store.roster().lane(upstream).unwrap());
    let claimed = tokio::time::timeout(Duration::from_secs(20), store.claim(&lane)).await;
    claimed.unwrap_or_else(|_| panic!("nothing is due: {lane:?}"))
}

/// Has a checkpoint written in the middle of a segment, as when a lane has read on.
pub(in crate::store) fn write_checkpoint(store: &Store) {
    store.core.queue.request_checkpoint();
    assert!(store.sync());
}

/// Where the parts of two checkpoints begin that stand in the middle of the first segment, and of which
/// each has a lane, what is kept back, and an end.
pub(in crate::store) fn two_checkpoints(store: &Store) -> [u32; 6] {
    let mut scanner = store.core.files.scan(1, 0, Sequence(0)).unwrap();
    let mut parts = Vec::new();
    while let Some(Scanned::Frame(frame)) = scanner.step().unwrap() {
        if matches!(frame.header.kind, Kind::Lane | Kind::CheckpointEnd) {
            parts.push(frame.offset);
        }
    }
    // The segment begins with one, too.
    parts.split_off(3).try_into().unwrap()
}

/// Delivers all that waits; the events in the order they came.
async fn drain(store: &Store) -> Vec<Arc<StoredEvent>> {
    let mut delivered = Vec::new();
    while store.backlog(0) > 0 {
        let claimed = claim(store).await;
        delivered.push(Arc::clone(&claimed.event));
        store.settle(claimed, attempt(Verdict::Delivered));
    }
    delivered
}
