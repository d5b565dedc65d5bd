//! Output that nobody reads any more: `hookward audit list | head` ends without a word, as other
//! programs do that the closed pipe's signal ends.

use std::io;

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
