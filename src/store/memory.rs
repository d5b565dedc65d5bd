//! Fresh events that are kept in memory so that their first delivery need not read the journal:
//! as many as fit a budget, counted in bytes of body.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::StoredEvent;

/// How many bytes of bodies may be kept.
#[derive(Debug)]
pub struct Budget {
    left: AtomicUsize,
}

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bytes) })
    }

    /// Whether a body of `bytes` would fit now.
    pub fn has(&self, bytes: usize) -> bool {
        self.left.load(Ordering::Relaxed) >= bytes
    }

    /// Keeps `event` if it fits; its share is given back when the last holder lets go.
    pub fn keep(self: &Arc<Self>, event: Arc<StoredEvent>) -> Option<Arc<Hot>> {
        let bytes = event.body.len();
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes))
            .ok()?;
        Some(Arc::new(Hot { event, bytes, budget: Arc::clone(self) }))
    }
}

/// An event that is kept in memory.
#[derive(Debug)]
pub struct Hot {
    event: Arc<StoredEvent>,
    bytes: usize,
    budget: Arc<Budget>,
}

impl Hot {
    /// The event.
    pub fn event(&self) -> &Arc<StoredEvent> {
        &self.event
    }
}

impl Drop for Hot {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}
