//! One output at work: reads on in the trail, sends what it finds, and keeps how far it has got. Whatever
//! fails is told once and tried again; nobody else waits for it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::super::chain::{Chain, Item, Known, Listed, Mark, Piece, Record, Tail, new_id};
use super::cursor::{self, Kept};
use super::sink::{Failure, Sink, Taken, backoff, blocking};
use super::syslog::GAP;
use crate::clock::Clock;
use crate::config::defaults::audit::{LAST_SENDS, MAX_BACKOFF, SETTLED};
use crate::config::{AuditFrom, AuditOutput};
use crate::metrics::OutputMetrics;
use crate::store::disk::{Disk, OsDisk};

/// How often it is looked whether there is more: as often as the trail is written.
const TICK: Duration = Duration::from_millis(250);
/// How often the cursor is kept, if it has moved.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// Bytes of records that are read and sent at once.
const AT_ONCE: usize = 64 << 10;

/// What an output is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Go on.
    GoOn,
    /// Send what there is, and end.
    Finish,
    /// End.
    Leave,
}

/// What all outputs work with.
#[derive(Clone, Debug)]
pub(super) struct Workplace {
    pub(super) chain: Arc<Chain>,
    pub(super) store: PathBuf,
    pub(super) clock: Clock,
}

/// An output that works.
pub(super) struct Follower {
    place: Workplace,
    output: Arc<AuditOutput>,
    metrics: Arc<OutputMetrics>,
    orders: watch::Receiver<Order>,
    cursor: PathBuf,
    /// Up to where all was taken; what is behind it is sent again over the next connection.
    taken: Mark,
    /// What was kept of that.
    kept: Option<Mark>,
    /// What was sent when and counts as taken later.
    pending: VecDeque<(Instant, Mark)>,
    /// How often it has failed in a row.
    failed: u32,
    /// Whether that was told.
    told: bool,
}

impl Follower {
    /// Works until it is told to end. `now` is where the trail ended when it was told to begin; 0: it was
    /// not open.
    pub(super) async fn run(
        place: Workplace,
        output: Arc<AuditOutput>,
        now: u64,
        metrics: Arc<OutputMetrics>,
        mut orders: watch::Receiver<Order>,
    ) {
        let cursor = cursor::path(&place.store, &output.name);
        let Some((taken, kept)) = begin(&place, &output, now, &cursor, &mut orders).await else {
            return;
        };
        metrics.reached(taken.sequence);
        let pending = VecDeque::new();
        let (failed, told) = (0, false);
        let mut follower =
            Self { place, output, metrics, orders, cursor, taken, kept, pending, failed, told };
        follower.work().await;
        if follower.order() == Order::Leave {
            follower.metrics.ended();
        }
    }

    async fn work(&mut self) {
        loop {
            let ended = self.connection().await;
            self.metrics.connected(false);
            self.pending.clear();
            let Err(failure) = ended else { return };
            self.tell(&failure);
            // A stop begins no attempt that has failed a moment ago.
            if self.order() != Order::GoOn {
                return;
            }
            let wait = backoff(self.failed, MAX_BACKOFF);
            // Whoever is told to finish tries once more.
            let _ = timeout(wait, self.orders.changed()).await;
            if self.order() == Order::Leave {
                return;
            }
        }
    }

    fn order(&self) -> Order {
        *self.orders.borrow()
    }

    fn tell(&mut self, failure: &Failure) {
        self.failed = self.failed.saturating_add(1);
        if !std::mem::replace(&mut self.told, true) {
            tracing::error!(
                target: "hookward::audit",
                output = %self.output.name, error = %failure,
                "an output of the audit trail fails; it is tried again, and sends what waits then"
            );
        }
    }

    /// Sends over one connection until it is told to end, which is no failure.
    async fn connection(&mut self) -> Result<(), Failure> {
        let mut sink = Sink::open(&self.output.target).await?;
        let opened = Instant::now();
        self.metrics.connected(true);
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let mut tail = Tail::behind(disk, &self.place.store, &self.taken);
        let mut reached = self.taken.clone();
        let mut since_kept = Instant::now();
        loop {
            let order = self.order();
            if order == Order::Leave {
                return self.end(sink, reached).await;
            }
            let end = self.place.chain.durable().load(Ordering::Acquire);
            let before = reached.sequence;
            if before < end {
                let (back, piece) = blocking(move || {
                    let piece = tail.next(end, AT_ONCE);
                    (tail, piece)
                })
                .await?;
                tail = back;
                reached = self.send(&mut sink, piece.map_err(Failure::Trail)?).await?;
            }
            if since_kept.elapsed() >= KEEP_EVERY {
                self.settle(&mut sink, &reached).await?;
                since_kept = Instant::now();
            }
            // Who is not wanted at the other end of TLS learns it a moment after the handshake.
            if sink.taken() != Taken::Later || opened.elapsed() >= KEEP_EVERY {
                self.recovered();
            }
            if opened.elapsed() >= SETTLED {
                self.failed = 0;
            }
            if reached.sequence == before {
                if order == Order::Finish {
                    return self.end(sink, reached).await;
                }
                self.pause(&mut sink).await?;
            } else if sink.taken() == Taken::Later {
                // Who is being written to may have gone.
                tokio::select! {
                    biased;
                    failure = sink.gone() => return Err(failure),
                    () = std::future::ready(()) => {}
                }
            }
        }
    }

    /// Waits for a moment, for another order, or for the other side to go.
    async fn pause(&mut self, sink: &mut Sink) -> Result<(), Failure> {
        tokio::select! {
            failure = sink.gone() => Err(failure),
            // Without somebody who could give one there is none.
            changed = self.orders.changed() => {
                if changed.is_err() {
                    sleep(TICK).await;
                }
                Ok(())
            }
            () = sleep(TICK) => Ok(()),
        }
    }

    /// Sends a piece of the trail. How far that leads.
    async fn send(&mut self, sink: &mut Sink, piece: Piece) -> Result<Mark, Failure> {
        let Piece { items, upto } = piece;
        let records: Vec<Listed> = items.into_iter().map(|item| self.listed(item)).collect();
        if !records.is_empty() {
            sink.send(&records).await?;
            self.metrics.sent.plus(records.len() as u64);
        }
        self.metrics.reached(upto.sequence);
        match sink.taken() {
            Taken::AtOnce => self.taken = upto.clone(),
            Taken::Synced | Taken::Later => {}
        }
        Ok(upto)
    }

    /// What is sent for an item: of what is not there any more, that it is not.
    fn listed(&self, item: Item) -> Listed {
        let (from, upto) = match item {
            Item::Record(listed) => return *listed,
            Item::Missing { from, upto } => (from, upto),
        };
        let count = upto.saturating_sub(from).saturating_add(1);
        self.metrics.missing.plus(count);
        tracing::error!(
            target: "hookward::audit",
            output = %self.output.name, from, upto,
            "records went by retention, or were damaged, before an output had sent them"
        );
        let now = self.place.clock.now();
        let record = Record {
            id: new_id(now).to_string(),
            time: now.to_string(),
            reason: GAP.to_owned(),
            detail: Some(
                "these numbers of the trail went by retention, or were damaged, before they were sent"
                    .to_owned(),
            ),
            count,
            details: Some(json!({ "from": from, "upto": upto })),
            ..Record::default()
        };
        Listed { sequence: upto, record }
    }

    /// It works, or works again.
    fn recovered(&mut self) {
        if std::mem::take(&mut self.told) {
            tracing::info!(
                target: "hookward::audit",
                output = %self.output.name,
                "an output of the audit trail works again"
            );
        }
    }

    /// Finds out what was taken by now, and keeps it.
    async fn settle(&mut self, sink: &mut Sink, reached: &Mark) -> Result<(), Failure> {
        match sink.taken() {
            Taken::AtOnce => {}
            Taken::Synced if self.taken == *reached => {}
            Taken::Synced => {
                sink.sync().await?;
                self.taken = reached.clone();
            }
            Taken::Later => {
                let now = Instant::now();
                if self.pending.back().is_none_or(|(_, last)| last != reached)
                    && self.taken != *reached
                {
                    self.pending.push_back((now, reached.clone()));
                }
                while self.pending.front().is_some_and(|(at, _)| now.duration_since(*at) >= SETTLED)
                {
                    let Some((_, mark)) = self.pending.pop_front() else { break };
                    self.taken = mark;
                }
            }
        }
        self.keep().await
    }

    async fn keep(&mut self) -> Result<(), Failure> {
        if self.kept.as_ref() == Some(&self.taken) {
            return Ok(());
        }
        let (path, mark) = (self.cursor.clone(), self.taken.clone());
        let kept = blocking(move || cursor::write(&path, &mark)).await?;
        kept.map_err(Failure::Cursor)?;
        self.kept = Some(self.taken.clone());
        Ok(())
    }

    /// Ends the connection in order, and keeps what was taken over it: all, if the other side says so.
    async fn end(&mut self, sink: Sink, reached: Mark) -> Result<(), Failure> {
        let closed = timeout(LAST_SENDS, sink.close()).await;
        if matches!(closed, Ok(Ok(()))) {
            self.taken = reached;
        }
        self.keep().await
    }
}

/// From where on is sent, and what is kept of that. `None`: it was told to end before the trail was open.
async fn begin(
    place: &Workplace,
    output: &Arc<AuditOutput>,
    now: u64,
    cursor: &std::path::Path,
    orders: &mut watch::Receiver<Order>,
) -> Option<(Mark, Option<Mark>)> {
    let mut failed = 0;
    loop {
        let end = place.chain.durable().load(Ordering::Acquire);
        if end > 0 {
            let end = if now > 0 { now } else { end };
            let (place, cursor) = (place.clone(), cursor.to_owned());
            let of = Arc::clone(output);
            let found = blocking(move || first(&place, &of, &cursor, end)).await;
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

/// The same for a trail that is open up to `end`. Blocks.
fn first(
    place: &Workplace,
    output: &AuditOutput,
    cursor: &std::path::Path,
    end: u64,
) -> Result<(Mark, Option<Mark>), Failure> {
    let (disk, store) = (OsDisk, &*place.store);
    let beginning = || Tail::beginning(&disk, store).map_err(Failure::Trail);
    let strange = match cursor::read(cursor).map_err(Failure::Cursor)? {
        Kept::Upto(mark) => match Tail::knows(&disk, store, &mark).map_err(Failure::Trail)? {
            Known::Held | Known::Older => return Ok((mark.clone(), Some(mark))),
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
            let mark = Tail::mark(&disk, store, end).map_err(Failure::Trail)?;
            mark.map_or_else(beginning, Ok)?
        }
        AuditFrom::Now | AuditFrom::Beginning => beginning()?,
    };
    // What comes from here on is sent, however long nobody takes it.
    cursor::write(cursor, &mark).map_err(Failure::Cursor)?;
    Ok((mark.clone(), Some(mark)))
}
