//! Where an output begins: behind what was sent under its name before, or with what is recorded from now on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tokio::time::timeout;

use super::super::chain::{Known, Mark, Tail};
use super::cursor::{self, Cursor, Kept};
use super::follow::{Order, TICK, Workplace};
use super::sink::{Failure, backoff, blocking};
use crate::config::defaults::audit::MAX_BACKOFF;
use crate::config::{AuditFrom, AuditOutput};

/// How far records were sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reached {
    pub(super) mark: Mark,
    /// The number of the last record up to there, of those that were for this output.
    pub(super) record: Option<u64>,
}

/// From where on is sent, and behind which number it began. `None`: it was told to end before the trail was open.
pub(super) async fn begin(
    place: &Workplace,
    output: &Arc<AuditOutput>,
    now: u64,
    cursor: &Path,
    orders: &mut watch::Receiver<Order>,
) -> Option<(Reached, u64)> {
    let mut failed = 0;
    loop {
        let end = place.chain.durable().load(Ordering::Acquire);
        if end > 0 {
            let end = if now > 0 { now } else { end };
            let (place, cursor) = (place.clone(), cursor.to_owned());
            let of = Arc::clone(output);
            let found = blocking(move || reached(&place, first(&place, &of, &cursor, end)?)).await;
            match found.flatten() {
                Ok(found) => return Some(found),
                Err(error) if failed == 0 => {
                    let output = &output.name;
                    tracing::error!(
                        target: "hookward::audit", %output, %error,
                        "an output of the audit trail cannot begin; it is tried again"
                    );
                }
                Err(_) => {}
            }
            failed += 1;
        }
        if *orders.borrow() != Order::GoOn {
            return None;
        }
        let wait = if failed == 0 { TICK } else { backoff(failed, MAX_BACKOFF) };
        let _ = timeout(wait, orders.changed()).await;
    }
}

/// Which record was sent last, as the trail has it: a cursor that was moved by hand leads to one that the
/// other side has not got. Blocks.
fn reached(place: &Workplace, cursor: Cursor) -> Result<(Reached, u64), Failure> {
    let Cursor { mark, since } = cursor;
    let record = Tail::record_before(&place.reader(), &mark).map_err(Failure::Trail)?;
    Ok((Reached { mark, record: record.filter(|number| *number > since) }, since))
}

/// The cursor for a trail that is open up to `end`. Blocks.
fn first(
    place: &Workplace,
    output: &AuditOutput,
    cursor: &Path,
    end: u64,
) -> Result<Cursor, Failure> {
    let reader = place.reader();
    let beginning = || Tail::beginning(&reader).map_err(Failure::Trail);
    let strange = match cursor::read(cursor).map_err(Failure::Cursor)? {
        Kept::Upto(kept) => match Tail::knows(&reader, &kept.mark).map_err(Failure::Trail)? {
            Known::Held | Known::Older => return Ok(kept),
            Known::Strange => true,
        },
        Kept::Unreadable => true,
        Kept::Nothing => false,
    };
    if strange {
        tracing::warn!(
            target: "hookward::audit",
            output = %output.name, cursor = %cursor.display(),
            "what was sent last is no record of this trail; all of the trail is sent"
        );
    }
    let mark = match output.from {
        AuditFrom::Now if !strange => {
            let mark = Tail::mark(&reader, end).map_err(Failure::Trail)?;
            mark.map_or_else(beginning, Ok)?
        }
        AuditFrom::Now | AuditFrom::Beginning => beginning()?,
    };
    // What comes from here on is sent, however long nobody takes it.
    let begun = Cursor { since: mark.sequence, mark };
    cursor::write(cursor, &begun).map_err(Failure::Cursor)?;
    Ok(begun)
}
