//! What an operator wants to know of the store, cheap enough to be asked every few seconds: locks
//! are held for single steps only.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::Store;
use super::backlog::lane::CircuitState;

/// What waits for one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// The upstream's name. It may be configured no more, and still have deliveries.
    pub upstream: String,
    /// Deliveries that wait, those in flight included.
    pub backlog: u64,
    /// Since when the oldest of them has been waiting; zero when there is none.
    pub oldest_age: Duration,
    /// Deliveries that were given up, as long as their events are kept.
    pub dead_letters: u64,
    /// Its circuit breaker.
    pub circuit: CircuitStatus,
}

/// The circuit breaker of one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitStatus {
    /// Where it stands.
    pub state: CircuitState,
    /// For how long it has been closed, in slow start, or one of open and half-open.
    pub age: Duration,
    /// Attempts at once that it allows now.
    pub limit: usize,
    /// How often it has opened since the process began.
    pub opened: u64,
}

/// Bytes of the store's parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreBytes {
    /// The journal's segments.
    pub journal: u64,
    /// The index, and the catalogue of events.
    pub index: u64,
    /// The audit trail.
    pub audit: u64,
}

impl Store {
    /// What waits, for each upstream.
    pub fn lanes(&self) -> impl Iterator<Item = LaneStatus> {
        let backlog = &self.core.backlog;
        let (now, ticks) = (backlog.timeline.wall(), backlog.timeline.now());
        backlog.lanes().into_iter().map(move |slot| {
            let lane = slot.lane.lock();
            LaneStatus {
                upstream: slot.name.clone(),
                backlog: lane.backlog(),
                oldest_age: lane.oldest_received().map_or(Duration::ZERO, |at| now.since(at)),
                dead_letters: lane.dead().count(),
                circuit: CircuitStatus {
                    state: lane.circuit().state(),
                    age: Duration::from_millis(ticks.0.saturating_sub(lane.circuit().since().0)),
                    limit: lane.circuit().limit(),
                    opened: lane.circuit().opened(),
                },
            }
        })
    }

    /// Bytes of files in the store's directory. Blocks while directories are read; a part that is
    /// not there has none.
    pub fn bytes(&self) -> StoreBytes {
        let of = |part| bytes_in(&self.core.path.join(part)).unwrap_or(0);
        let index = of("index") + of("catalogue");
        StoreBytes { journal: of("journal"), index, audit: of("audit") }
    }

    /// Bytes that may still be written to the store's file system; `None` if it does not tell.
    pub fn free_bytes(&self) -> Option<u64> {
        self.core.files.disk().free_space(self.core.files.dir()).ok()
    }
}

/// A file that goes while its directory is read counts for nothing.
fn bytes_in(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()).unwrap_or(0),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        };
    }
    Ok(bytes)
}
