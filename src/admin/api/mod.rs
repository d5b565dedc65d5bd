//! JSON for operators, under `/api/v1`: which events there are and what became of them, and what can be
//! done with them. Every question goes to the store on threads that may block; every act, and every look
//! at a payload, is recorded in the audit trail.

mod archive;
mod audit;
mod body;
mod bulk;
mod desk;
mod fault;
mod params;
mod route;
mod show;
#[cfg(test)]
mod tests;
mod unread;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, StatusCode};
use hyper::body::Body;
use serde::Serialize;
use serde_json::{Number, Value, json};
use tokio::time::timeout;

use self::archive::Archive;
use self::audit::Records;
use self::body::Need;
use self::bulk::{Bulk, Order, Workers};
use self::desk::{Desk, Errand};
use self::fault::Fault;
use self::params::{ActBody, BulkBody, FILTERS, PAGING, Params, ReplayBody, show_cursor};
pub(super) use self::route::{ROOT, Route};
use self::show::{Event, List};
pub use self::show::{auth as show_auth, source as show_source};
use self::unread::Unread;
use super::answer::plain;
use super::caller::Caller;
use super::refusal::{Denied, permit};
use super::rights::Asked;
use crate::audit::chain::{Chain, Reader};
use crate::audit::{Operator, Trail};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::defaults::admin::{BULK_WAIT, MAX_PER_SECOND};
use crate::event::EventId;
use crate::listen::Answer;
use crate::secret::Withdrawal;
use crate::store::Store;
use crate::store::disk::OsDisk;
use crate::store::query::{Act, ActKind, Cursor, Filter};

/// What there is, for programs (OpenAPI 3.1).
const OPENAPI: &str = include_str!("openapi.json");

/// How a look at a payload is called in the audit trail.
const PAYLOAD_VIEWED: &str = "payload_viewed";

/// How long the store is asked for the sources' last events; those of the others stay untold.
const LAST_EVENTS: Duration = Duration::from_secs(2);

/// Events that are asked for at once at first: they come with their bodies, of which a page of large
/// ones would take much memory.
const FIRST_STEP: usize = 32;
/// Bytes of bodies up to which twice as many are asked for the next time.
const SMALL_STEP: usize = 4 << 20;

/// The API.
#[derive(Debug)]
pub(super) struct Api {
    workers: Workers,
    config: ArcSwap<Config>,
    clock: Clock,
    desk: Desk,
    unread: Unread,
    bulk: Bulk,
    records: Records,
}

impl Api {
    /// Of a gateway with this store, and this audit trail.
    pub(super) fn new(
        config: &Arc<Config>,
        store: Arc<Store>,
        chain: Arc<Chain>,
        clock: Clock,
    ) -> Self {
        Self::of(config, store, chain, clock)
    }

    fn of(
        config: &Arc<Config>,
        archive: Arc<dyn Archive>,
        chain: Arc<Chain>,
        clock: Clock,
    ) -> Self {
        let reader = Reader::of(&chain, Arc::new(OsDisk), &config.store.path);
        let trail = Arc::new(Trail::new(config.store.path.clone()));
        Self {
            workers: Workers { archive, trail },
            config: ArcSwap::new(Arc::clone(config)),
            clock,
            desk: Desk::default(),
            unread: Unread::default(),
            bulk: Bulk::default(),
            records: Records { chain, reader },
        }
    }

    /// From here on this configuration holds.
    pub(super) fn reload(&self, config: &Arc<Config>) {
        self.config.store(Arc::clone(config));
    }

    /// From here on nothing is begun that takes long, and what has begun ends soon.
    pub(super) fn drain(&self) {
        self.bulk.stop();
    }

    /// Answers a request of somebody who was let in.
    ///
    /// # Errors
    /// [`Denied`] when their role does not include it.
    pub(super) async fn answer<B>(
        &self,
        request: Request<B>,
        caller: Caller,
    ) -> Result<Answer, Denied>
    where
        B: Body<Data = Bytes>,
    {
        let (head, body) = request.into_parts();
        let (route, params, asked) = match read(&head) {
            Ok(read) => read,
            Err(fault) => return Ok(fault.into_answer()),
        };
        permit(&caller, asked)?;
        let done = self.work(route, &params, (&head, body), caller).await;
        Ok(done.unwrap_or_else(Fault::into_answer))
    }

    /// Does what somebody asks for who may.
    async fn work<B>(
        &self,
        route: Route,
        params: &Params<'_>,
        (head, body): (&Parts, B),
        Caller { operator, role: _, withdrawal }: Caller,
    ) -> Result<Answer, Fault>
    where
        B: Body<Data = Bytes>,
    {
        match route {
            Route::Events => self.list(params, Ok).await,
            Route::DeadLetters => self.list(params, params::dead).await,
            Route::Event(id) => {
                params.only(&["payload"])?;
                self.event(id, params.payload()?, operator).await
            }
            Route::Act(id, what) => {
                params.only(&[])?;
                let act = act(head, body, what, &operator).await?;
                self.act(id, act, operator).await
            }
            Route::ReplayDeadLetters => {
                params.only(&[])?;
                let order = body::read(head, body, Need::Required).await?;
                self.replay_dead_letters(order, operator, withdrawal).await
            }
            Route::Sources => {
                params.only(&[])?;
                self.sources().await
            }
            Route::Gaps => {
                params.only(&[])?;
                self.gaps().await
            }
            Route::Audit => self.audit(params).await,
            Route::OpenApi => {
                params.only(&[])?;
                Ok(plain(
                    StatusCode::OK,
                    "application/json",
                    Bytes::from_static(OPENAPI.as_bytes()),
                ))
            }
        }
    }

    /// A page of events.
    async fn list(
        &self,
        params: &Params<'_>,
        narrow: impl FnOnce(Filter) -> Result<Filter, Fault>,
    ) -> Result<Answer, Fault> {
        params.only(&[&FILTERS[..], &PAGING[..]].concat())?;
        let filter = narrow(params.filter(self.clock.now())?)?;
        let (limit, cursor) = (params.limit()?, params.cursor()?);
        let archive = Arc::clone(&self.workers.archive);
        self.json(move || {
            let (items, next) = page(&*archive, &filter, cursor, limit)?;
            Ok(List::of(items, next.map(show_cursor)))
        })
        .await
    }

    /// One event, with its history.
    async fn event(&self, id: EventId, payload: bool, operator: Operator) -> Result<Answer, Fault> {
        let Workers { archive, trail } = self.workers.clone();
        self.json(move || {
            let found = archive.history_of(id)?.ok_or_else(Fault::no_such_event)?;
            let (listed, moments) = found;
            if payload {
                // Before it is shown: whoever has seen it must stand in the trail.
                let source = listed.event.source.as_str();
                let details = json!({ "event": id.to_string(), "source": source });
                let recorded =
                    trail.open(operator).and_then(|acts| acts.record(PAYLOAD_VIEWED, &details));
                recorded.map_err(|error| unrecorded(&error))?;
            }
            Ok(Event::whole(&listed, &moments, payload))
        })
        .await
    }

    /// Replays, releases or discards one event.
    async fn act(&self, id: EventId, act: Act, operator: Operator) -> Result<Answer, Fault> {
        let Workers { archive, trail } = self.workers.clone();
        self.json_for(Errand::Act, move || {
            let (listed, _) = archive.history_of(id)?.ok_or_else(Fault::no_such_event)?;
            let acts = trail.open(operator).map_err(|error| unrecorded(&error))?;
            let acted = archive.act(listed.event.sequence, &act)?;
            // It is done, and in the journal with who and why; what is not in the trail yet is owed.
            bulk::recorded(&trail, &acts, &act, &acted);
            Ok(json!({
                "id": acted.id.to_string(),
                "what": act.what.as_str(),
                "upstreams": acted.upstreams,
            }))
        })
        .await
    }

    /// Replays all dead letters that a filter matches.
    async fn replay_dead_letters(
        &self,
        order: BulkBody,
        operator: Operator,
        withdrawal: Withdrawal,
    ) -> Result<Answer, Fault> {
        let filter = order.filter(self.clock.now())?;
        let per_second = per_second(order.per_second)?;
        let reason = params::reason(order.reason)?;
        if let Some(name) = &order.upstream
            && !self.config.load().upstreams.iter().any(|known| known.name.as_str() == name)
        {
            return Err(Fault::no_such_upstream());
        }
        let dry_run = order.dry_run.unwrap_or(false);
        let place = if dry_run { None } else { Some(self.bulk.place()?) };
        let what = ActKind::Replayed;
        let act = Act { what, who: operator.who.clone(), reason, upstream: order.upstream };
        let archive = Arc::clone(&self.workers.archive);
        let (shown, events) = (show_filter(&filter), move || Ok(archive.matching(&filter)?));
        let errand = if dry_run { Errand::Question } else { Errand::Act };
        let events = self.desk.ask(errand, events).await?;
        let Some(place) = place else {
            return reply(StatusCode::OK, &json!({ "matched": events.len(), "replayed": 0 }));
        };
        let order = Order { events, per_second, act, filter: shown, operator, withdrawal };
        let (progress, ended) = self.bulk.begin(order, self.workers.clone(), place);
        let status = match timeout(BULK_WAIT, ended).await {
            Ok(ended) => ended.map(|()| StatusCode::OK)?,
            Err(_) => StatusCode::ACCEPTED,
        };
        reply(status, &progress.shown())
    }

    /// The configured sources.
    async fn sources(&self) -> Result<Answer, Fault> {
        let (archive, config) = (Arc::clone(&self.workers.archive), self.config.load_full());
        self.json(move || {
            let began = Instant::now();
            let last = |name: &str| {
                if began.elapsed() > LAST_EVENTS {
                    return None;
                }
                let filter = Filter { source: Some(name.to_owned()), ..Filter::default() };
                // A store that cannot say it yet has its sources all the same.
                let page = archive.list(&filter, None, 1).ok()?;
                page.items.first().map(|listed| listed.event.received_at)
            };
            let shown = |source: &Arc<crate::config::Source>| {
                show_source(source, last(source.name.as_str()))
            };
            Ok(List::of(config.sources.iter().map(shown).collect(), None))
        })
        .await
    }

    /// When no events could be taken, and what that may have cost.
    async fn gaps(&self) -> Result<Answer, Fault> {
        let (archive, config) = (Arc::clone(&self.workers.archive), self.config.load_full());
        let now = self.clock.now();
        self.json(move || Ok(archive.gaps(&config, now))).await
    }

    /// A page of the audit trail.
    async fn audit(&self, params: &Params<'_>) -> Result<Answer, Fault> {
        params.only(&[&audit::FILTERS[..], &PAGING[..]].concat())?;
        let filter = audit::wanted(params, self.clock.now())?;
        let (limit, cursor) = (params.limit()?, params.cursor()?);
        let (order, records) = (audit::Order::of(params)?, self.records.clone());
        self.json(move || records.page(&filter, order, cursor, limit)).await
    }

    /// The answer out of what the work comes to. It is written out where it was made: a page of events
    /// is long enough to hold up others.
    async fn json<T: Serialize>(
        &self,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<Answer, Fault> {
        self.json_for(Errand::Question, work).await
    }

    async fn json_for<T: Serialize>(
        &self,
        errand: Errand,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<Answer, Fault> {
        let written = move || serde_json::to_vec(&work()?).map_err(|_| Fault::internal());
        let body = self.desk.ask(errand, written).await?;
        Ok(plain(StatusCode::OK, "application/json", self.unread.hold(body)?))
    }
}

fn reply(status: StatusCode, body: &Value) -> Result<Answer, Fault> {
    Ok(plain(status, "application/json", body.to_string().into()))
}

/// What a request asks for.
fn read(head: &Parts) -> Result<(Route, Params<'_>, Asked), Fault> {
    let route = Route::of(&head.method, head.uri.path())?;
    let params = Params::parse(head.uri.query())?;
    let payload = params.payload()?;
    Ok((route, params, Asked::Api { route, payload }))
}

/// The act that a request's body asks for.
async fn act<B>(head: &Parts, body: B, what: ActKind, operator: &Operator) -> Result<Act, Fault>
where
    B: Body<Data = Bytes>,
{
    let (reason, upstream) = match what {
        ActKind::Replayed => {
            let ReplayBody { reason, upstream } = body::read(head, body, Need::Optional).await?;
            (reason, params::upstream(upstream)?)
        }
        ActKind::Released | ActKind::Discarded => {
            let ActBody { reason } = body::read(head, body, Need::Optional).await?;
            (reason, None)
        }
    };
    Ok(Act { what, who: operator.who.clone(), reason: params::reason(reason)?, upstream })
}

fn per_second(rate: Option<Number>) -> Result<Option<u32>, Fault> {
    let Some(rate) = rate else { return Ok(None) };
    // In JSON 5.0 is a whole number too.
    let rate = rate.as_f64().filter(|rate| rate.fract() == 0.0);
    let rate = rate.filter(|rate| (1.0..=f64::from(MAX_PER_SECOND)).contains(rate));
    let rate = rate.map(|rate| rate as u32);
    let rate = rate.ok_or_else(|| {
        Fault::bad(format!("per_second: a whole number from 1 to {MAX_PER_SECOND}."))
    })?;
    Ok(Some(rate))
}

/// At most `limit` events from the cursor on, and where the next page begins.
fn page(
    archive: &dyn Archive,
    filter: &Filter,
    mut from: Option<Cursor>,
    limit: usize,
) -> Result<(Vec<Event>, Option<Cursor>), Fault> {
    let (mut items, mut step) = (Vec::new(), FIRST_STEP);
    loop {
        let page = archive.list(filter, from, step.min(limit - items.len()))?;
        let bodies: usize = page.items.iter().map(|listed| listed.event.body.len()).sum();
        items.extend(page.items.iter().map(Event::of));
        from = page.next;
        if items.len() >= limit || from.is_none() || page.items.is_empty() {
            return Ok((items, from));
        }
        step = if bodies <= SMALL_STEP { step * 2 } else { (step / 2).max(1) };
    }
}

/// A filter as it is recorded. Of a subject, which an encrypted store has nowhere in clear, only that
/// there was one.
fn show_filter(filter: &Filter) -> Value {
    json!({
        "source": filter.source,
        "state": filter.state.map(crate::store::query::EventState::as_str),
        "type": filter.kind.as_ref().map(|pattern| &pattern.0),
        "subject": filter.subject.is_some(),
        "since": filter.since.map(|at| at.to_string()),
        "until": filter.until.map(|at| at.to_string()),
        "upstream": filter.upstream,
    })
}

fn unrecorded(error: &io::Error) -> Fault {
    tracing::error!(target: "hookward::audit", %error, "the audit trail cannot be written");
    Fault::later(
        "This has to be recorded in the audit trail, which cannot be written to now; the log says why.",
    )
}
