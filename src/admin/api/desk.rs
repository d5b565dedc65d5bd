//! Where operators' questions are worked on: on threads that may block, a few at once, so that no
//! number of them takes the disk and the processors from the providers, and no number of those who only
//! ask keeps anybody from acting.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::fault::Fault;
use crate::config::defaults::admin::{ANSWER_WAIT, ASKING_WAIT, MAX_ASKING, MAX_QUESTIONS};

/// The places of those whose questions are worked on.
#[derive(Debug)]
pub(super) struct Desk {
    places: Arc<Semaphore>,
    /// Those of them that questions may have.
    questions: Arc<Semaphore>,
}

/// What somebody comes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// To see something.
    Question,
    /// To have something done.
    Act,
}

/// A place that is taken.
type Place = (Option<OwnedSemaphorePermit>, OwnedSemaphorePermit);

impl Default for Desk {
    fn default() -> Self {
        let of = |many| Arc::new(Semaphore::new(many));
        Self { places: of(MAX_ASKING), questions: of(MAX_QUESTIONS) }
    }
}

impl Desk {
    /// Does this work when it is its turn. What has begun goes on to its end, and keeps its place,
    /// whether or not anyone waits for it.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        errand: Errand,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let place = self.place(errand).await?;
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

    async fn place(&self, errand: Errand) -> Result<Place, Fault> {
        let of = |places: &Arc<Semaphore>| Arc::clone(places).acquire_owned();
        let place = async {
            let question = match errand {
                Errand::Question => Some(of(&self.questions).await?),
                Errand::Act => None,
            };
            Ok((question, of(&self.places).await?))
        };
        match timeout(ASKING_WAIT, place).await {
            Ok(place) => place.map_err(|_: AcquireError| Fault::internal()),
            Err(_) => Err(Fault::later("Too many requests of operators are under way; try again.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Those whose work goes on until this is dropped, once it has begun.
    async fn busy(desk: &Arc<Desk>, errand: Errand, many: usize) -> Vec<mpsc::Sender<()>> {
        let free = desk.places.available_permits();
        let begin = |_| {
            let (end, ended) = mpsc::channel::<()>();
            let desk = Arc::clone(desk);
            let work = move || {
                let _ = ended.recv();
                Ok(())
            };
            tokio::spawn(async move { desk.ask(errand, work).await });
            end
        };
        let ends = (0..many).map(begin).collect();
        while desk.places.available_permits() + many > free {
            tokio::task::yield_now().await;
        }
        ends
    }

    /// What one is told that comes when all its places are taken.
    async fn told(desk: &Arc<Desk>, errand: Errand) -> Result<i32, Fault> {
        // The clock stands still while a thread is busy.
        let waits = tokio::spawn({
            let desk = Arc::clone(desk);
            async move { desk.ask(errand, || Ok(7)).await }
        });
        tokio::task::yield_now().await;
        tokio::time::advance(ASKING_WAIT * 2).await;
        waits.await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_when_all_places_are_taken_is_told_to_come_again() {
        let desk = Arc::new(Desk::default());
        let ends = busy(&desk, Errand::Act, MAX_ASKING).await;
        for errand in [Errand::Act, Errand::Question] {
            let fault = told(&desk, errand).await.unwrap_err();
            assert!(format!("{fault:?}").contains("Too many requests"), "{fault:?}");
        }
        drop(ends);
        assert_eq!(desk.ask(Errand::Question, || Ok(7)).await, Ok(7));
    }

    /// Whoever read the trail four pages at a time kept every operator from acting.
    #[tokio::test(start_paused = true)]
    async fn questions_leave_a_place_to_acts() {
        let desk = Arc::new(Desk::default());
        let _ends = busy(&desk, Errand::Question, MAX_QUESTIONS).await;
        assert!(told(&desk, Errand::Question).await.is_err());
        assert_eq!(desk.ask(Errand::Act, || Ok(7)).await, Ok(7));
    }
}
