//! Output that nobody reads any more: `hookward audit list | head` ends without a word, as other
//! programs do that the closed pipe's signal ends.

use std::io::{self, Write};

/// Whether it failed because its reader has gone away.
pub(super) fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// What printing has come to: a reader that has gone away has what it wanted.
pub(super) fn printed(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if is_closed(&error) => Ok(()),
        done => done,
    }
}

/// Standard output of a command that does something, or judges it, beside what it prints: it goes on to its
/// end, and its exit code says how that was, although nobody reads any more.
pub(super) fn stdout() -> Out<io::Stdout> {
    Out(io::stdout())
}

/// An output to which whatever is written when its reader has gone away is as good as written.
#[derive(Debug)]
pub(super) struct Out<W>(W);

impl<W: Write> Write for Out<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if is_closed(&error) => Ok(bytes.len()),
            done => done,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        printed(self.0.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_has_gone_away_is_no_failure() {
        for (kind, fine) in [
            (io::ErrorKind::BrokenPipe, true),
            (io::ErrorKind::StorageFull, false),
            (io::ErrorKind::WriteZero, false),
        ] {
            assert_eq!(printed(Err(kind.into())).is_ok(), fine, "{kind}");
        }
    }
}
