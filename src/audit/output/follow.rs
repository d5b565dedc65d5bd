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

use super::super::chain::{Chain, Item, Listed, Mark, Piece, Reader, Record, Tail, new_id};
use super::begin::{Reached, begin};
use super::cursor::{self, Cursor};
use super::file::Room;
use super::message::{self, GAP, Message};
use super::sink::{Failure, Sink, Taken, backoff, blocking};
use crate::clock::Clock;
use crate::config::AuditOutput;
use crate::config::defaults::audit::{LAST_SENDS, MAX_BACKOFF, SETTLED};
use crate::metrics::OutputMetrics;
use crate::store::disk::OsDisk;

/// How often it is looked whether there is more: as often as the trail is written.
pub(super) const TICK: Duration = Duration::from_millis(250);
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
    /// What files leave free.
    pub(super) room: Room,
}

impl Workplace {
    /// What reads the trail that is written here.
    pub(super) fn reader(&self) -> Reader {
        Reader::of(&self.chain, Arc::new(OsDisk), &self.store)
    }
}

/// An output that works.
pub(super) struct Follower {
    place: Workplace,
    output: Arc<AuditOutput>,
    metrics: Arc<OutputMetrics>,
    orders: watch::Receiver<Order>,
    cursor: PathBuf,
    /// Up to where all was taken; what is behind it is sent again over the next connection.
    taken: Reached,
    /// What was kept of that.
    kept: Mark,
    /// The number behind which it began.
    since: u64,
    /// What was sent when and counts as taken later.
    pending: VecDeque<(Instant, Reached)>,
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
        let Some(begun) = begin(&place, &output, now, &cursor, &mut orders).await else { return };
        let (taken, since) = begun;
        let kept = taken.mark.clone();
        metrics.reached(kept.sequence);
        let pending = VecDeque::new();
        let (failed, told) = (0, false);
        let mut follower = Self {
            place,
            output,
            metrics,
            orders,
            cursor,
            taken,
            kept,
            since,
            pending,
            failed,
            told,
        };
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
        let mut sink = Sink::open(&self.output, &self.place.room).await?;
        let opened = Instant::now();
        self.metrics.connected(true);
        let tail = Tail::behind(&self.place.reader(), &self.taken.mark);
        let mut tail = tail.with_checkpoints(self.output.checkpoints);
        let mut reached = self.taken.clone();
        let mut since_kept = Instant::now();
        loop {
            let order = self.order();
            if order == Order::Leave {
                return self.end(sink, reached).await;
            }
            let end = self.place.chain.durable().load(Ordering::Acquire);
            let before = reached.mark.sequence;
            if before < end {
                let (back, piece) = blocking(move || {
                    let piece = tail.next(end, AT_ONCE);
                    (tail, piece)
                })
                .await?;
                tail = back;
                let piece = piece.map_err(Failure::Trail)?;
                reached = self.send(&mut sink, piece, reached.record).await?;
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
            if reached.mark.sequence == before {
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

    /// Sends a piece of the trail, behind this record. How far that leads.
    async fn send(
        &mut self,
        sink: &mut Sink,
        piece: Piece,
        mut record: Option<u64>,
    ) -> Result<Reached, Failure> {
        let Piece { items, upto } = piece;
        let messages = items.into_iter().map(|item| self.message(item, &mut record));
        let messages: Vec<Message> = messages.collect();
        if !messages.is_empty() {
            sink.send(&messages).await?;
            self.metrics.sent.plus(messages.len() as u64);
        }
        self.metrics.reached(upto.sequence);
        let reached = Reached { mark: upto, record };
        match sink.taken() {
            Taken::AtOnce => self.taken = reached.clone(),
            Taken::Synced | Taken::Later => {}
        }
        Ok(reached)
    }

    /// What is sent for an item: of what is not there any more, that it is not. `record` is the one before,
    /// and then this one.
    fn message(&self, item: Item, record: &mut Option<u64>) -> Message {
        let previous = *record;
        let listed = match item {
            Item::Record(listed) => *listed,
            Item::Missing { from, upto } => self.gap(from, upto),
            Item::Checkpoint { sequence, checkpoint } => {
                return Message { listed: message::checkpoint(sequence, &checkpoint), previous };
            }
        };
        *record = Some(listed.sequence);
        Message { listed, previous }
    }

    fn gap(&self, from: u64, upto: u64) -> Listed {
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
    async fn settle(&mut self, sink: &mut Sink, reached: &Reached) -> Result<(), Failure> {
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
        if self.kept == self.taken.mark {
            return Ok(());
        }
        let path = self.cursor.clone();
        let cursor = Cursor { mark: self.taken.mark.clone(), since: self.since };
        let kept = blocking(move || cursor::write(&path, &cursor)).await?;
        kept.map_err(Failure::Cursor)?;
        self.kept = self.taken.mark.clone();
        Ok(())
    }

    /// Ends the connection in order, and keeps what was taken over it: all, if the other side says so.
    async fn end(&mut self, sink: Sink, reached: Reached) -> Result<(), Failure> {
        let closed = timeout(LAST_SENDS, sink.close()).await;
        if matches!(closed, Ok(Ok(()))) {
            self.taken = reached;
        }
        self.keep().await
    }
}
