//! The API over a store of the tests' own, which knows its events by heart.

use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, header};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;

use super::*;
use crate::clock::UnixMillis;
use crate::config::{Placeholders, Role, check_text};
use crate::event::{BodyHash, EventMeta, Sequence, SourceName};
use crate::gaps::Report;
use crate::store::presence::Known;
use crate::store::query::{
    ActError, Acted, Delivery, DeliveryState, EventState, Happening, Listed, Moment, Page,
    QueryError,
};
use crate::store::{AttemptResult, StoredEvent, Verdict};

mod acts;
mod bulk;
mod document;
mod reads;

const NOW: UnixMillis = UnixMillis(1_736_937_000_412);
const BODY: &str = r#"{"patient":"Anaïs"}"#;

const TOML: &str = r#"
    [store]
    path = "data"
    [source.lab]
    auth = { kind = "none-dangerous" }
    [source.silent]
    preset = "novamed"
    keys = [{ env = "KEY" }]
    [upstream.app]
    url = "http://127.0.0.1:9/"
    [upstream.other]
    url = "http://127.0.0.1:9/"
"#;

/// A store that can be told what to answer.
#[derive(Debug, Default)]
struct Fake {
    /// By number, from 1.
    events: Mutex<Vec<(EventState, usize)>>,
    acts: Mutex<Vec<(Sequence, Act)>>,
    /// How many of the list were asked for at once.
    asked: Mutex<Vec<usize>>,
    not_ready: AtomicBool,
    unwritable: AtomicBool,
    /// Events of upstreams that are configured no more.
    of_gone: Mutex<Vec<Sequence>>,
}

impl Fake {
    fn listed(&self, number: usize) -> Option<Listed> {
        let (state, size) = *self.events.lock().get(number - 1)?;
        let body = if size == 0 { BODY.to_owned() } else { format!("\"{}\"", "x".repeat(size)) };
        let delivery = match state {
            EventState::Dead => DeliveryState::Dead,
            EventState::Delivered => DeliveryState::Delivered,
            _ => DeliveryState::Pending,
        };
        let body = Bytes::from(body);
        // Hashing megabytes takes its time without optimization.
        let body_hash = if size == 0 { BodyHash::of(&body) } else { BodyHash([7; 32]) };
        let event = StoredEvent {
            sequence: Sequence(number as u64),
            id: id(number),
            received_at: NOW,
            source: SourceName::new("lab").unwrap(),
            body_hash,
            conflict: false,
            meta: EventMeta { provider_type: Some("Order:Done".into()), ..EventMeta::default() },
            body,
        };
        let delivery = Delivery {
            upstream: "app".into(),
            state: delivery,
            attempts: 2,
            last_status: Some(503),
            next_at: None,
        };
        Some(Listed { event, state, deliveries: vec![delivery] })
    }

    fn ready(&self) -> Result<(), QueryError> {
        let not_ready = self.not_ready.load(Ordering::SeqCst);
        if not_ready { Err(QueryError::NotReady { done: 2, all: 7 }) } else { Ok(()) }
    }

    fn fits(filter: &Filter, listed: &Listed) -> bool {
        filter.state.is_none_or(|state| listed.state == state)
            && filter.source.as_ref().is_none_or(|source| source == listed.event.source.as_str())
    }
}

fn id(number: usize) -> EventId {
    EventId::new(UnixMillis(number as u64), [7; 10])
}

impl Archive for Fake {
    fn list(
        &self,
        filter: &Filter,
        from: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, QueryError> {
        self.ready()?;
        self.asked.lock().push(limit);
        let numbers = (1..=self.events.lock().len()).rev();
        let before = from.map_or(u64::MAX, |from| from.before.0);
        let mut found = numbers
            .filter(|number| (*number as u64) < before)
            .filter_map(|number| self.listed(number))
            .filter(|listed| Self::fits(filter, listed));
        let items: Vec<_> = found.by_ref().take(limit).collect();
        let last = items.last().map(|listed| Cursor { before: listed.event.sequence });
        let next = found.next().and(last);
        Ok(Page { items, next })
    }

    fn matching(&self, filter: &Filter) -> Result<Vec<Sequence>, QueryError> {
        self.ready()?;
        let all = 1..=self.events.lock().len();
        let found = all.filter_map(|number| self.listed(number));
        Ok(found.filter(|l| Self::fits(filter, l)).map(|l| l.event.sequence).collect())
    }

    fn history_of(&self, wanted: EventId) -> Result<Option<(Listed, Vec<Moment>)>, QueryError> {
        self.ready()?;
        let number = (1..=self.events.lock().len()).find(|number| id(*number) == wanted);
        let attempt = Happening::Attempt {
            upstream: "app".into(),
            number: 1,
            duration: Duration::from_millis(12),
            result: AttemptResult::Answered(503),
            verdict: Verdict::RetryAt(NOW),
            excerpt: Some("busy".into()),
        };
        let stored = Happening::Stored { upstreams: vec!["app".into()], quarantined: false };
        let done = Act {
            what: ActKind::Replayed,
            who: "alice".into(),
            reason: Some("mended".into()),
            upstream: None,
        };
        let moments = [Happening::Received, stored, attempt, Happening::Act(done)];
        let moments = moments.map(|what| Moment { at: NOW, what }).to_vec();
        Ok(number.and_then(|number| self.listed(number)).map(|listed| (listed, moments)))
    }

    fn act(&self, event: Sequence, act: &Act) -> Result<Acted, ActError> {
        if self.unwritable.load(Ordering::SeqCst) {
            return Err(ActError::Unwritable);
        }
        if act.upstream.as_deref().is_some_and(|name| !["app", "other"].contains(&name)) {
            return Err(ActError::UnknownUpstream);
        }
        let number = usize::try_from(event.0).unwrap();
        let mut events = self.events.lock();
        let (state, _) = events.get_mut(number - 1).ok_or(ActError::NotFound)?;
        match (act.what, *state) {
            (ActKind::Replayed, EventState::Dead | EventState::Delivered)
            | (ActKind::Released, EventState::Quarantined) => *state = EventState::Pending,
            (ActKind::Discarded, EventState::Dead) => *state = EventState::Discarded,
            (_, state) => return Err(ActError::State(state)),
        }
        self.acts.lock().push((event, act.clone()));
        let source = SourceName::new("lab").unwrap();
        Ok(Acted { id: id(number), source, upstreams: vec!["app".into()] })
    }

    fn replay_dead(&self, event: Sequence, act: &Act) -> Result<Acted, ActError> {
        if self.of_gone.lock().contains(&event) {
            return Err(ActError::UnknownUpstream);
        }
        let number = usize::try_from(event.0).unwrap();
        match self.events.lock()[number - 1].0 {
            EventState::Dead => {}
            state => return Err(ActError::State(state)),
        }
        self.act(event, act)
    }

    fn gaps(&self, config: &Config, now: UnixMillis) -> Report {
        Report::new(config, &Known::default(), now)
    }
}

/// The API, and what is behind it.
struct Bench {
    api: Arc<Api>,
    fake: Arc<Fake>,
    dir: tempfile::TempDir,
    /// Of the token that is shown.
    withdrawal: Withdrawal,
}

/// An API over events in these states, numbered from 1.
fn bench(states: &[EventState]) -> Bench {
    sized(&states.iter().map(|state| (*state, 0)).collect::<Vec<_>>())
}

/// The same, with bodies of about these sizes.
fn sized(events: &[(EventState, usize)]) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hookward.toml");
    let (config, _) = check_text(&file, TOML, &Placeholders).unwrap();
    std::fs::create_dir(&config.store.path).unwrap();
    let fake = Arc::new(Fake { events: Mutex::new(events.to_vec()), ..Fake::default() });
    let archive: Arc<dyn Archive> = Arc::clone(&fake) as _;
    let clock = Clock::manual(NOW);
    let chain = Arc::new(Chain::new(clock.clone()));
    let api = Arc::new(Api::of(&Arc::new(config), archive, chain, clock));
    Bench { api, fake, dir, withdrawal: Withdrawal::default() }
}

/// What came back.
#[derive(Debug)]
struct Got {
    status: u16,
    headers: http::HeaderMap,
    body: Value,
}

impl Bench {
    async fn ask(&self, request: Request<Full<Bytes>>) -> Got {
        let operator = Operator { who: "uid 7 (ann)".into(), peer: "admin.sock".into() };
        let withdrawal = self.withdrawal.clone();
        let caller = Caller { operator, role: Role::Admin, withdrawal };
        let answer = self.api.answer(request, caller).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let problem = head.status.as_u16() >= 400;
        let kind = if problem { "application/problem+json" } else { "application/json" };
        assert_eq!(head.headers[header::CONTENT_TYPE], kind);
        assert_eq!(head.headers[header::CACHE_CONTROL], "no-store");
        if problem {
            assert_eq!(body["status"], head.status.as_u16());
            assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
        }
        Got { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn get(&self, path: &str) -> Got {
        self.ask(request(Method::GET, path, None, "")).await
    }

    async fn post(&self, path: &str, body: &str) -> Got {
        self.ask(request(Method::POST, path, Some("application/json"), body)).await
    }

    /// The audit trail.
    fn recorded(&self) -> Vec<Value> {
        let path = self.dir.path().join("data/audit/acts.jsonl");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// From here on nothing can be recorded.
    fn lose_trail(&self) {
        let audit = self.dir.path().join("data/audit");
        let _ = std::fs::remove_dir_all(&audit);
        std::fs::write(audit, "no directory").unwrap();
    }
}

fn request(method: Method, path: &str, kind: Option<&str>, body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(kind) = kind {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

fn path_of(number: usize) -> String {
    format!("/api/v1/events/{}", id(number))
}
