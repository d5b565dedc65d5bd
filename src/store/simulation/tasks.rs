//! Tasks that are polled by hand: which of those that could go on does is the schedule's choice.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

/// Tasks that have not ended.
#[derive(Default)]
pub(super) struct Tasks(RefCell<Vec<Task>>);

struct Task {
    kind: Kind,
    woken: Arc<Woken>,
    work: Pin<Box<dyn Future<Output = ()>>>,
}

/// What a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request.
    Request,
    /// A worker of an upstream.
    Worker,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Tasks {
    /// Adds a task; it goes on when it is polled.
    pub(super) fn spawn(&self, kind: Kind, work: impl Future<Output = ()> + 'static) {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        self.0.borrow_mut().push(Task { kind, woken, work: Box::pin(work) });
    }

    /// How many could go on.
    pub(super) fn ready(&self) -> usize {
        self.0.borrow().iter().filter(|task| task.is_ready()).count()
    }

    /// How many of this kind there are.
    pub(super) fn count(&self, kind: Kind) -> usize {
        self.0.borrow().iter().filter(|task| task.kind == kind).count()
    }

    /// Polls the `n`th of those that could go on.
    pub(super) fn poll(&self, n: usize) {
        let Some(mut task) = self.take(n, Task::is_ready) else { return };
        task.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&task.woken));
        if task.work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.0.borrow_mut().push(task);
        }
    }

    /// Drops the `n`th of this kind where it is.
    pub(super) fn cancel(&self, kind: Kind, n: usize) {
        drop(self.take(n, |task| task.kind == kind));
    }

    /// Drops all of them where they are.
    pub(super) fn clear(&self) {
        let tasks = std::mem::take(&mut *self.0.borrow_mut());
        drop(tasks);
    }

    fn take(&self, n: usize, which: impl Fn(&Task) -> bool) -> Option<Task> {
        let mut tasks = self.0.borrow_mut();
        let (at, _) = tasks.iter().enumerate().filter(|(_, task)| which(task)).nth(n)?;
        Some(tasks.remove(at))
    }
}

impl Task {
    fn is_ready(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }
}
