//! What the API asks of the store. Tests have a store of their own.

use std::fmt::Debug;

use crate::clock::UnixMillis;
use crate::config::Config;
use crate::event::{EventId, Sequence};
use crate::gaps::{self, Report};
use crate::store::Store;
use crate::store::query::{Act, ActError, Acted, Cursor, Filter, Listed, Moment, Page, QueryError};

/// Events, what became of them, and what operators do with them. All of it blocks.
pub(super) trait Archive: Debug + Send + Sync {
    /// At most `limit` events that the filter matches, newest first.
    fn list(&self, filter: &Filter, from: Option<Cursor>, limit: usize)
    -> Result<Page, QueryError>;
    /// The numbers of all events that the filter matches, oldest first.
    fn matching(&self, filter: &Filter) -> Result<Vec<Sequence>, QueryError>;
    /// An event, and all that has happened to it.
    fn history_of(&self, id: EventId) -> Result<Option<(Listed, Vec<Moment>)>, QueryError>;
    /// Does what an operator asks for, durably.
    fn act(&self, event: Sequence, act: &Act) -> Result<Acted, ActError>;
    /// Replays an event if it is a dead letter still, durably.
    fn replay_dead(&self, event: Sequence, act: &Act) -> Result<Acted, ActError>;
    /// When the gateway could take no events, and what that may have cost each source.
    fn gaps(&self, config: &Config, now: UnixMillis) -> Report;
}

impl Archive for Store {
    fn list(
        &self,
        filter: &Filter,
        from: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, QueryError> {
        Self::list(self, filter, from, limit)
    }

    fn matching(&self, filter: &Filter) -> Result<Vec<Sequence>, QueryError> {
        Self::matching(self, filter)
    }

    fn history_of(&self, id: EventId) -> Result<Option<(Listed, Vec<Moment>)>, QueryError> {
        Self::history_of(self, id)
    }

    fn act(&self, event: Sequence, act: &Act) -> Result<Acted, ActError> {
        Self::act(self, event, act)
    }

    fn replay_dead(&self, event: Sequence, act: &Act) -> Result<Acted, ActError> {
        Self::replay_dead(self, event, act)
    }

    fn gaps(&self, config: &Config, now: UnixMillis) -> Report {
        gaps::report(config, self, now)
    }
}
