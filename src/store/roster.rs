//! The upstreams of one configuration, as the store knows them. An event is filed by its upstreams'
//! lanes, not by their numbers: a number means something only in the configuration that it was read
//! in, and while a new one takes over, requests of the old one are still on their way.

use std::sync::Arc;

use super::Targets;
use super::backlog::LaneSlot;

/// The lanes of one configuration's upstreams, in its order.
#[derive(Clone, Debug, Default)]
pub struct Roster(Arc<[Arc<LaneSlot>]>);

impl Roster {
    /// The lanes in the configuration's order, at most 64.
    pub(super) fn new(lanes: impl IntoIterator<Item = Arc<LaneSlot>>) -> Self {
        Self(lanes.into_iter().collect())
    }

    /// All lanes, in the configuration's order.
    pub fn lanes(&self) -> &[Arc<LaneSlot>] {
        &self.0
    }

    /// The lane of the upstream with this index in the configuration.
    pub fn lane(&self, upstream: usize) -> Option<&Arc<LaneSlot>> {
        self.0.get(upstream)
    }

    /// Whom an event goes to: those of this configuration's upstreams.
    pub fn select(&self, targets: Targets) -> Recipients {
        Recipients { roster: self.clone(), targets }
    }
}

/// Whom an event goes to.
#[derive(Clone, Debug)]
pub struct Recipients {
    roster: Roster,
    targets: Targets,
}

impl Recipients {
    /// Whether there is none: the event is filtered.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The names of the upstreams.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let lanes = self.targets.iter().filter_map(|upstream| self.roster.lane(upstream));
        lanes.map(|slot| slot.name.as_str())
    }

    /// The configuration that it was decided by.
    pub(super) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Whether the roster's upstream with this index is one of them.
    pub(super) fn contains(&self, upstream: usize) -> bool {
        self.targets.contains(upstream)
    }

    /// Whether both were decided by the same configuration.
    pub(super) fn same_roster(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.roster.0, &other.roster.0)
    }
}
