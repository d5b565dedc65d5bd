//! Where operators' questions are answered from, and where their acts go.

use super::Store;
use super::query::{Act, ActError, Acted, Cursor, Filter, Listed, Moment, Page, QueryError};
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

    /// Does what an operator asks for, and returns when that is on stable storage. Blocks.
    ///
    /// # Errors
    /// [`ActError`].
    pub fn act(&self, event: Sequence, act: &Act) -> Result<Acted, ActError> {
        let _ = (event, act);
        Err(ActError::NotFound)
    }
}
