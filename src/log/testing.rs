//! What is logged, for tests to read.

use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::subscriber::with_default;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that this thread logs while it tells.
pub(crate) fn lines(json: bool, tell: impl FnOnce()) -> String {
    let sink = Sink::default();
    let writer = sink.clone();
    let builder = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    if json {
        with_default(builder.json().flatten_event(true).finish(), tell);
    } else {
        with_default(builder.finish(), tell);
    }
    let bytes = sink.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}
