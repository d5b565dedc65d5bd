//! How much the store has in hand, in all and for one source: events that are looked up, that wait
//! for the writer or are being written. What is full is refused at once. One source gets no more
//! than half, so that it cannot starve the others however much it sends.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use super::AcceptError;
use crate::event::SourceName;

/// The shares of all sources.
#[derive(Debug)]
pub struct Shares {
    max_events: usize,
    max_bytes: usize,
    all: Arc<Held>,
    /// One a source that was ever configured.
    sources: RwLock<HashMap<SourceName, Arc<Held>>>,
}

#[derive(Debug, Default)]
struct Held {
    events: AtomicUsize,
    bytes: AtomicUsize,
}

/// What one event takes; given back when it is dropped. It goes where the event goes: a client that
/// goes away frees nothing that the store still has.
#[derive(Debug)]
pub struct Share {
    all: Arc<Held>,
    source: Arc<Held>,
    bytes: usize,
}

impl Shares {
    /// Nothing in hand, and at most so many events with so many bytes of bodies.
    pub fn new(max_events: usize, max_bytes: usize) -> Self {
        Self { max_events, max_bytes, all: Arc::default(), sources: RwLock::default() }
    }

    /// Takes in an event of the source with a body of this length. A source that has nothing in
    /// hand may have one that is longer than its share, as long as there is room at all.
    ///
    /// # Errors
    /// [`AcceptError::Overloaded`], [`AcceptError::OverShare`].
    pub fn enter(&self, source: &SourceName, bytes: usize) -> Result<Share, AcceptError> {
        let source = self.held_by(source);
        let before = source.take(bytes);
        let all_before = self.all.take(bytes);
        // From here on it gives back what it has taken, if it is not let in.
        let share = Share { all: Arc::clone(&self.all), source, bytes };
        let fits = before.allows(bytes, self.max_events / 2, self.max_bytes / 2);
        if !fits && before.events > 0 {
            return Err(AcceptError::OverShare);
        }
        if !all_before.allows(bytes, self.max_events, self.max_bytes) {
            return Err(AcceptError::Overloaded);
        }
        Ok(share)
    }

    fn held_by(&self, source: &SourceName) -> Arc<Held> {
        if let Some(held) = self.sources.read().get(source) {
            return Arc::clone(held);
        }
        Arc::clone(self.sources.write().entry(source.clone()).or_default())
    }
}

/// What was held before something was taken.
struct Before {
    events: usize,
    bytes: usize,
}

impl Before {
    /// Whether one more event with this many bytes stays within the bounds.
    fn allows(&self, bytes: usize, max_events: usize, max_bytes: usize) -> bool {
        self.events < max_events && self.bytes.saturating_add(bytes) <= max_bytes
    }
}

impl Held {
    fn take(&self, bytes: usize) -> Before {
        let events = self.events.fetch_add(1, Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Before { events, bytes }
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.events.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.source.give_back(self.bytes);
        self.all.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> SourceName {
        SourceName::new(name).unwrap()
    }

    #[test]
    fn one_source_gets_half_of_the_events_and_leaves_the_rest_to_others() {
        let shares = Shares::new(8, 1000);
        let mut noisy: Vec<_> = (0..4).map(|_| shares.enter(&name("a"), 1).unwrap()).collect();
        assert_eq!(shares.enter(&name("a"), 1).unwrap_err(), AcceptError::OverShare);
        let others: Vec<_> = (0..3).map(|_| shares.enter(&name("b"), 1).unwrap()).collect();
        let last = shares.enter(&name("c"), 1).unwrap();
        assert_eq!(shares.enter(&name("c"), 1).unwrap_err(), AcceptError::Overloaded);
        noisy.pop();
        drop(last);
        drop(others);
        drop(shares.enter(&name("a"), 1).unwrap());
        drop(noisy);
        assert_eq!(shares.all.events.load(Ordering::Relaxed), 0);
        assert_eq!(shares.all.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_source_gets_half_of_the_bytes_but_any_one_event() {
        let shares = Shares::new(100, 1000);
        let first = shares.enter(&name("a"), 900).unwrap();
        assert_eq!(shares.enter(&name("a"), 1).unwrap_err(), AcceptError::OverShare);
        assert_eq!(shares.enter(&name("b"), 200).unwrap_err(), AcceptError::Overloaded);
        let second = shares.enter(&name("b"), 100).unwrap();
        drop(first);
        let third = shares.enter(&name("a"), 500).unwrap();
        assert_eq!(shares.enter(&name("a"), 1).unwrap_err(), AcceptError::OverShare);
        drop((second, third));
        assert_eq!(shares.enter(&name("a"), 1001).unwrap_err(), AcceptError::Overloaded);
        drop(shares.enter(&name("a"), 1000).unwrap());
    }
}
