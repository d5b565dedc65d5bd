//! When events could be taken, as a store's files tell, without a gateway.

use super::{InspectError, Journal, failed};
use crate::clock::UnixMillis;
use crate::store::journal::presence::Cause;
use crate::store::presence::{EVERY, Known, read_back, read_segment};

/// Longer than a gateway that takes events goes without a sign of life: an interval, and as long for the
/// disk to take it.
const SILENT: u32 = 3;

/// What the journal tells, as of `now`. If a process has the store, it takes events unless its last sign
/// of life is too old for that.
///
/// # Errors
/// As the file system says; damage is told by what it hides.
pub fn presence(journal: &Journal, now: UnixMillis) -> Result<Known, InspectError> {
    let files = &journal.files;
    let read = |error| failed("reading", files.dir())(error);
    let numbers = journal.numbers()?;
    let newest = numbers.last().copied().unwrap_or(0);
    // The newest may just be being begun, or be damaged where it begins: those before are as good.
    let mut reader = read_back(files, &numbers, newest).map_err(read)?;
    if newest > 0 {
        read_segment(files, newest, true, &mut reader).map_err(read)?;
    }
    let (mut known, _) = reader.known();
    if let Some(last) = known.last {
        let runs = journal.in_use();
        let silent = now.since(last.at) > EVERY * SILENT;
        let cause = match (runs, last.stopped) {
            (true, _) => Cause::Unwritable,
            (false, true) => Cause::Stopped,
            (false, false) => Cause::Crashed,
        };
        known.away = (!runs || silent).then_some((last.at, cause));
    }
    Ok(known)
}
