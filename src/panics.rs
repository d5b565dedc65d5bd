//! Panics: told without what they say, counted, and caught where one must not take others along.
//!
//! A panic is a defect of ours. Its message may hold whatever the code had in hand, a patient's
//! data included (`unwrap` prints the error, an index out of range the index), so nothing here ever
//! looks at it: where it was raised is enough to mend it.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::{fmt, future, thread};

/// All that is said of a panic beside where it was raised.
const SENTENCE: &str = "panicked; the message is withheld, for it may hold a request's data";

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether a panic here is expected, and told by who catches it.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// From here on every panic of the process is counted, and told in one line without its message:
/// in the log, or on standard error as long as there is none. `RUST_BACKTRACE` adds the frames.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        if EXPECTED.get() {
            return;
        }
        COUNT.fetch_add(1, Ordering::Relaxed);
        tell(info);
    }));
}

/// Panics since [`install`], those included that were caught.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// What was to be done has panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("panicked")]
pub struct Panicked;

/// Does what `begin` begins, unless it panics on the way; then all that it held is dropped.
///
/// It is for the caller to know that what it shares with others is left whole.
///
/// # Errors
/// [`Panicked`].
pub async fn caught<F: Future>(begin: impl FnOnce() -> F) -> Result<F::Output, Panicked> {
    let work = catch_unwind(AssertUnwindSafe(begin)).map_err(|_| Panicked)?;
    let mut work = pin!(work);
    future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

/// Does `work` of a library that is known to panic on what it finds on a disk. Such a panic is none of
/// ours: it is neither counted nor told here, and the caller says what it comes to.
///
/// # Errors
/// [`Panicked`].
pub fn expected<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    let before = EXPECTED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    EXPECTED.set(before);
    done.map_err(|_| Panicked)
}

fn tell(info: &PanicHookInfo<'_>) {
    let current = thread::current();
    let thread = current.name().unwrap_or("unnamed");
    let location = Location(info);
    let backtrace = Backtrace::capture();
    let shown = backtrace.status() == BacktraceStatus::Captured;
    if tracing::dispatcher::has_been_set() {
        let backtrace = shown.then_some(tracing::field::display(&backtrace));
        tracing::error!(target: "hookward::panic", thread, %location, backtrace, "{SENTENCE}");
        return;
    }
    let mut err = std::io::stderr().lock();
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(err, "hookward: thread {thread} at {location}: {SENTENCE}");
    if shown {
        let _ = writeln!(err, "{backtrace}");
    }
}

struct Location<'a>(&'a PanicHookInfo<'a>);

impl fmt::Display for Location<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.location() {
            Some(at) => write!(f, "{}:{}:{}", at.file(), at.line(), at.column()),
            None => f.write_str("an unknown place"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use super::*;
    use crate::config::{Log, LogFormat};
    use crate::log;

    const CANARY: &str = "Jane-Doe-1970-01-01";
    const CHILD: &str = "HOOKWARD_TEST_PANICS";

    #[tokio::test]
    async fn a_panic_is_caught_wherever_the_work_is() {
        assert_eq!(caught(|| async { 1 }).await, Ok(1));
        let at_once = caught(|| -> future::Ready<()> { panic!("{CANARY}") });
        assert_eq!(at_once.await, Err(Panicked));
        let later = caught(|| async {
            tokio::task::yield_now().await;
            panic!("{CANARY}");
        });
        let later: Result<(), _> = later.await;
        assert_eq!(later, Err(Panicked));
    }

    /// Not a test of its own: what the tests below run in a process of its own, because a hook is
    /// the whole process's.
    #[test]
    #[ignore = "run by the tests below"]
    fn child() {
        let Ok(logging) = std::env::var(CHILD) else { return };
        install();
        let level = tracing::level_filters::LevelFilter::INFO;
        let config = Log { format: LogFormat::Json, level };
        let flush = (logging == "json").then(|| log::init(config).unwrap());
        let raise = || panic!("{CANARY}");
        // Neither told nor counted.
        assert_eq!(expected(raise), Err::<(), _>(Panicked));
        let ended = thread::Builder::new().name("a-thread".to_owned()).spawn(raise).unwrap().join();
        assert!(ended.is_err());
        assert_eq!(count(), 1);
        drop(flush);
    }

    fn run_child(logging: &str, backtrace: &str) -> (Output, String) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "panics::tests::child", "--ignored", "--nocapture"]);
        let output = command.env(CHILD, logging).env("RUST_BACKTRACE", backtrace).output().unwrap();
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(output.status.success(), "{said}");
        assert!(!said.contains(CANARY), "{said}");
        assert!(said.contains("test result: ok. 1 passed"), "{said}");
        (output, said)
    }

    #[test]
    fn without_a_log_a_panic_is_told_on_standard_error_and_its_message_is_not() {
        let (output, _) = run_child("none", "0");
        let err = String::from_utf8(output.stderr).unwrap();
        let line = err.lines().find(|line| line.contains(SENTENCE)).unwrap();
        assert!(line.starts_with("hookward: thread a-thread at src/panics.rs:"), "{line}");
        assert!(!err.contains("stack backtrace") && !err.contains(" 0: "), "{err}");
    }

    #[test]
    fn with_a_log_a_panic_is_an_error_in_it() {
        let (output, _) = run_child("json", "0");
        let err = String::from_utf8(output.stderr).unwrap();
        let line = err.lines().find(|line| line.contains(SENTENCE)).unwrap();
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["level"], &line["thread"]), (&"ERROR".into(), &"a-thread".into()));
        assert!(line["location"].as_str().unwrap().starts_with("src/panics.rs:"), "{line}");
        assert!(line.get("backtrace").is_none(), "{line}");
    }

    #[test]
    fn a_backtrace_shows_frames_and_no_message() {
        for logging in ["none", "json"] {
            let (_, said) = run_child(logging, "full");
            assert!(said.contains("hookward::panics::"), "{said}");
        }
    }
}
