//! Where operators' questions are worked on: on threads that may block, a few at once, so that no
//! number of them takes the disk and the processors from the providers.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::fault::Fault;
use crate::config::defaults::admin::{ANSWER_WAIT, ASKING_WAIT, MAX_ASKING};

/// The places of those whose questions are worked on.
#[derive(Debug)]
pub(super) struct Desk(Arc<Semaphore>);

impl Default for Desk {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_ASKING)))
    }
}

impl Desk {
    /// Does this work when it is its turn. What has begun goes on to its end, and keeps its place,
    /// whether or not anyone waits for it.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let place = self.place().await?;
        let work = spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        });
        match timeout(ANSWER_WAIT, work).await {
            Ok(done) => done.map_err(|_| Fault::internal())?,
            Err(_) => Err(Fault::later(
                "The store has not answered in time. If something was to be done, it may still be: look at the event before asking again.",
            )),
        }
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Fault> {
        match timeout(ASKING_WAIT, Arc::clone(&self.0).acquire_owned()).await {
            Ok(place) => place.map_err(|_| Fault::internal()),
            Err(_) => Err(Fault::later("Too many requests of operators are under way; try again.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_comes_when_all_places_are_taken_is_told_to_come_again() {
        let desk = Arc::new(Desk::default());
        let mut ends = Vec::new();
        let busy: Vec<_> = (0..MAX_ASKING)
            .map(|_| {
                let (end, ended) = mpsc::channel::<()>();
                ends.push(end);
                let desk = Arc::clone(&desk);
                tokio::spawn(async move {
                    desk.ask(move || {
                        let _ = ended.recv();
                        Ok(())
                    })
                    .await
                })
            })
            .collect();
        while desk.0.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        // The clock stands still while a thread is busy.
        let waits = tokio::spawn({
            let desk = Arc::clone(&desk);
            async move { desk.ask(|| Ok(())).await }
        });
        tokio::task::yield_now().await;
        tokio::time::advance(ASKING_WAIT * 2).await;
        let fault = waits.await.unwrap().unwrap_err();
        assert!(format!("{fault:?}").contains("Too many requests"), "{fault:?}");
        drop(ends);
        for busy in busy {
            assert_eq!(busy.await.unwrap(), Ok(()));
        }
        assert_eq!(desk.ask(|| Ok(7)).await, Ok(7));
    }
}
