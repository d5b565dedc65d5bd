//! Long answers that wait for their readers: so many bytes of them together, and no more.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fault::Fault;
use crate::config::defaults::admin::{MAX_UNREAD, SHORT_ANSWER};

/// Bytes that are counted as one.
const UNIT: usize = 1 << 10;

/// The room for them.
#[derive(Debug)]
pub(super) struct Unread(Arc<Semaphore>);

impl Default for Unread {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_UNREAD / UNIT)))
    }
}

impl Unread {
    /// The answer, which has its room until it is written or its connection has ended. Short ones are
    /// not counted: there are no more of them than connections.
    ///
    /// # Errors
    /// When others take the room. An answer that is longer than all of it goes when there is no other.
    pub(super) fn hold(&self, body: Vec<u8>) -> Result<Bytes, Fault> {
        if body.len() <= SHORT_ANSWER {
            return Ok(body.into());
        }
        let units = body.len().min(MAX_UNREAD) / UNIT;
        let units = u32::try_from(units).map_err(|_| Fault::internal())?;
        let room = Arc::clone(&self.0).try_acquire_many_owned(units).map_err(|_| {
            Fault::later(
                "Too many long answers wait to be read; try again, or with a smaller limit.",
            )
        })?;
        Ok(Bytes::from_owner(Held { body, _room: room }))
    }
}

struct Held {
    body: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections that asked for the longest lists and read nothing held 144 MiB.
    #[test]
    fn answers_that_nobody_reads_take_so_much_and_no_more() {
        let unread = Unread::default();
        let page = || vec![b'x'; 1 << 20];
        let held: Vec<_> = (0..100).map_while(|_| unread.hold(page()).ok()).collect();
        assert_eq!(held.iter().map(Bytes::len).sum::<usize>(), MAX_UNREAD);
        let short = vec![b'x'; SHORT_ANSWER];
        assert_eq!(unread.hold(short).unwrap().len(), SHORT_ANSWER);
        drop(held);
        let long = unread.hold(vec![b'x'; 2 * MAX_UNREAD]).unwrap();
        assert!(unread.hold(page()).is_err());
        drop(long.slice(..1));
        assert!(unread.hold(page()).is_err(), "some of it is held");
        drop(long);
        assert!(unread.hold(page()).is_ok());
    }
}
