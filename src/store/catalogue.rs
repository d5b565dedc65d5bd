//! Where operators' questions are answered from.

use super::Store;
use super::query::{Cursor, Filter, Listed, Moment, Page, QueryError};
use crate::event::{EventId, Sequence};

impl Store {
    /// At most `limit` events that the filter matches, newest first, from the cursor on. Blocks.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn list(
        &self,
        filter: &Filter,
        from: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, QueryError> {
        let _ = (filter, from, limit);
        Err(QueryError::NotReady { done: 0, all: 0 })
    }

    /// The numbers of all events that the filter matches, oldest first. Blocks.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn matching(&self, filter: &Filter) -> Result<Vec<Sequence>, QueryError> {
        let _ = filter;
        Err(QueryError::NotReady { done: 0, all: 0 })
    }

    /// The event with this id, and all that has happened to it. Blocks.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn history_of(&self, id: EventId) -> Result<Option<(Listed, Vec<Moment>)>, QueryError> {
        let _ = id;
        Err(QueryError::NotReady { done: 0, all: 0 })
    }
}
