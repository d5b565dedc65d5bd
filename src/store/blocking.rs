//! Where the store does what may block for I/O, off the async workers: on the runtime's threads for
//! that. A simulation does it itself, at a moment of its choice.

use tokio::task::JoinHandle;

#[cfg(test)]
pub use self::held::Held;

/// Who does blocking work.
#[derive(Clone, Debug, Default)]
pub enum Blocking {
    /// The runtime's threads.
    #[default]
    Runtime,
    /// Whoever takes it from there.
    #[cfg(test)]
    Held(Held),
}

/// Work that has been handed over, and goes on whether or not anyone waits for it.
#[derive(Debug)]
pub enum Begun<T> {
    /// A runtime's thread does it.
    Runtime(JoinHandle<T>),
    /// It waits to be taken.
    #[cfg(test)]
    Held(tokio::sync::oneshot::Receiver<T>),
}

impl Blocking {
    /// Hands `work` over.
    pub fn begin<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Begun<T> {
        match self {
            Self::Runtime => Begun::Runtime(tokio::task::spawn_blocking(work)),
            #[cfg(test)]
            Self::Held(held) => Begun::Held(held.add(work)),
        }
    }
}

impl<T> Begun<T> {
    /// What the work comes to; `None` if it has panicked, or was never done.
    pub async fn done(self) -> Option<T> {
        match self {
            Self::Runtime(task) => task.await.ok(),
            #[cfg(test)]
            Self::Held(result) => result.await.ok(),
        }
    }
}

#[cfg(test)]
mod held {
    use std::fmt;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio::sync::oneshot;

    type Job = Box<dyn FnOnce() + Send>;

    /// Work that waits to be taken.
    #[derive(Clone, Default)]
    pub struct Held(Arc<Mutex<Vec<Job>>>);

    impl Held {
        pub(super) fn add<T: Send + 'static>(
            &self,
            work: impl FnOnce() -> T + Send + 'static,
        ) -> oneshot::Receiver<T> {
            let (done, result) = oneshot::channel();
            self.0.lock().push(Box::new(move || drop(done.send(work()))));
            result
        }

        /// How much waits.
        pub fn waiting(&self) -> usize {
            self.0.lock().len()
        }

        /// Takes the job at `at`.
        pub fn take(&self, at: usize) -> Job {
            self.0.lock().remove(at)
        }

        /// Forgets all that waits, as a process does that ends.
        pub fn clear(&self) {
            let jobs = std::mem::take(&mut *self.0.lock());
            drop(jobs);
        }
    }

    impl fmt::Debug for Held {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} jobs", self.waiting())
        }
    }
}
