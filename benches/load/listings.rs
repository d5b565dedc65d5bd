//! What operators' questions cost in a store of many events: a page by each filter, a page far back, and
//! one event with its history. The store is opened in this process, and nothing else goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hookward::clock::{Clock, UnixMillis};
use hookward::config::Pattern;
use hookward::event::{EventId, EventMeta, Sequence, SourceName, UpstreamName};
use hookward::metrics::Metrics;
use hookward::store::journal::record::AttemptRecord;
use hookward::store::query::{Cursor, EventState, Filter, QueryError};
use hookward::store::{self, Attempt, AttemptResult, Store, UpstreamOptions, Verdict};

use crate::journal::{Kept, SEGMENT_BYTES, Writer};
use crate::process::own_memory_mib;
use crate::{Options, Result};

const DAY: Duration = Duration::from_secs(86_400);
const MIB: f64 = 1024.0 * 1024.0;
/// The time that the events are spread over, and are kept.
const SPAN: Duration = Duration::from_secs(30 * 86_400);
/// Events that nothing has been done about yet, at the journal's end.
const NEWEST: u64 = 2_000;
const PAGE: usize = 50;
/// How often each question is asked.
const TIMES: usize = 9;
const BODY: usize = 600;
const KINDS: [&str; 5] =
    ["order:shipped", "order:created", "order.cancelled", "result:ready", "refill:due"];
const SOURCES: [&str; 3] = ["clinic", "lab", "pharmacy"];
/// The subject of one event in the middle.
const RARE: &str = "order_rare";

/// Writes a journal of so many events, and asks its store.
pub(crate) async fn run(options: &Options, events: u64) -> Result<()> {
    let path = options.store.join("listings");
    if path.exists() {
        fs::remove_dir_all(&path)?;
    }
    fs::create_dir_all(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
    let now = Clock::System.now();
    let middle = write(&path, events, now)?;
    println!("\n{events} events");
    print_memory("before the store is opened")?;
    let store = open(&path, "a start without a catalogue")?;
    if !store.close().await {
        return Err("the store did not close well".into());
    }
    drop(store);
    let store = open(&path, "a start after a clean stop")?;
    ask_all(&store, events, now, middle)?;
    print_memory("after all questions")?;
    println!("catalogue: {:.1} MiB on disk", size_of(&path.join("catalogue"))? as f64 / MIB);
    store.close().await;
    drop(store);
    Ok(fs::remove_dir_all(&path)?)
}

fn print_memory(when: &str) -> Result<()> {
    let (now, peak) = (own_memory_mib("VmRSS")?, own_memory_mib("VmHWM")?);
    println!("{when}: {now:.1} MiB resident, at most {peak:.1}");
    Ok(())
}

fn size_of(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

/// The id of the event in the middle. All but the newest are settled: one in a thousand is dead, one in
/// a hundred went to nobody.
fn write(store: &Path, events: u64, now: UnixMillis) -> Result<EventId> {
    let sources = SOURCES.map(SourceName::new);
    let mut writer = Writer::new(store)?;
    let settled = events.saturating_sub(NEWEST);
    let (mut at, mut middle) = (0, None);
    while at < events {
        // What nothing has been done about stands behind the last checkpoint, and waits.
        let upto = if at < settled { settled } else { events };
        let mut file = writer.begin(now)?;
        let mut written = 0;
        while at < upto && written < SEGMENT_BYTES {
            let received_at = now.before(SPAN.mul_f64(1.0 - at as f64 / events as f64));
            let kept = match at % 100 {
                7 => Kept::Filtered,
                8 if at >= settled => Kept::Quarantined,
                _ => Kept::For("app"),
            };
            let n = usize::try_from(at)?;
            let subject =
                if at == events / 2 { RARE.to_owned() } else { format!("order_{}", at / 4) };
            let meta = EventMeta {
                provider_type: Some(KINDS[n % KINDS.len()].to_owned()),
                subject: Some(subject),
                data: 0..1,
                ..EventMeta::default()
            };
            let source = sources[n % SOURCES.len()].clone()?;
            let event = Sequence(writer.next());
            let id = writer.event(&source, received_at, meta, "x".repeat(BODY), &kept);
            if at == events / 2 {
                middle = Some(id);
            }
            if at < settled && matches!(kept, Kept::For(_)) {
                writer.attempt(&attempt(event, received_at, at % 1000 == 3));
            }
            written += writer.flush(&mut file)?;
            at += 1;
        }
        file.into_inner()?.sync_all()?;
    }
    middle.ok_or_else(|| "there is no event".into())
}

fn attempt(event: Sequence, at: UnixMillis, is_dead: bool) -> AttemptRecord<'static> {
    let (status, verdict) = match is_dead {
        true => (400, Verdict::Dead),
        false => (200, Verdict::Delivered),
    };
    let (duration, result) = (Duration::from_millis(20), AttemptResult::Answered(status));
    let attempt =
        Attempt { started_at: at.after(Duration::from_millis(3)), duration, result, verdict };
    AttemptRecord { event, upstream: "app", number: 1, attempt, excerpt: None }
}

/// Opens the store, and waits for its catalogue.
fn open(path: &Path, what: &str) -> Result<Store> {
    let begun = Instant::now();
    let store = Store::open(store::Options {
        path: path.to_owned(),
        retention: 2 * SPAN,
        min_free: 0,
        keys: Arc::default(),
        clock: Clock::System,
        metrics: Arc::new(Metrics::new()),
        upstreams: vec![UpstreamOptions {
            name: UpstreamName::new("app")?,
            ordered: false,
            give_up: SPAN,
            retry_max: Duration::from_secs(600),
        }],
    })?;
    let opened = begun.elapsed();
    while let Err(error) = store.list(&Filter::default(), None, 1) {
        let QueryError::NotReady { .. } = error else { return Err(error.into()) };
        std::thread::park_timeout(Duration::from_millis(1));
    }
    println!("{what}: open after {opened:.2?}, catalogue after {:.2?}", begun.elapsed());
    print_memory(what)?;
    Ok(store)
}

fn ask_all(store: &Store, events: u64, now: UnixMillis, middle: EventId) -> Result<()> {
    let list = |what: &str, filter: Filter, from: Option<u64>| {
        let from = from.map(|before| Cursor { before: Sequence(before) });
        ask(what, || Ok(store.list(&filter, from, PAGE)?.items.len()))
    };
    println!("| question | answers | first | median | longest |\n| --- | --- | --- | --- | --- |");
    list("newest page", Filter::default(), None)?;
    list("page in the middle, by cursor", Filter::default(), Some(events))?;
    let source = |name: &str| Filter { source: Some(name.to_owned()), ..Filter::default() };
    list("source", source("lab"), None)?;
    list("source that nothing is from", source("nobody"), None)?;
    for state in EventState::ALL {
        let filter = Filter { state: Some(state), ..Filter::default() };
        list(&format!("state {}", state.as_str()), filter, None)?;
    }
    let app = Some("app".to_owned());
    let dead = Filter { state: Some(EventState::Dead), upstream: app, ..Filter::default() };
    list("dead letters of an upstream", dead, None)?;
    for pattern in ["order.*", "*.due", "nothing.*"] {
        let filter = Filter { kind: Some(Pattern(pattern.to_owned())), ..Filter::default() };
        list(&format!("type {pattern}"), filter, None)?;
    }
    for subject in [RARE, "order_1", "order_none"] {
        let filter = Filter { subject: Some(subject.to_owned()), ..Filter::default() };
        list(&format!("subject {subject}"), filter, None)?;
    }
    let (since, until) = (Some(now.before(16 * DAY)), Some(now.before(15 * DAY)));
    list("a day two weeks ago", Filter { since, until, ..Filter::default() }, None)?;
    let filter = Filter { source: Some("lab".to_owned()), since, until, ..Filter::default() };
    list("a day two weeks ago of a source", filter, None)?;
    ask("one event with its history", || {
        Ok(store.history_of(middle)?.map_or(0, |(_, moments)| moments.len()))
    })?;
    let nobody = EventId::new(now, [1; 10]);
    ask("an id that there is not", || Ok(usize::from(store.history_of(nobody)?.is_some())))?;
    let dead = Filter { state: Some(EventState::Dead), ..Filter::default() };
    ask("the numbers of all dead letters", || Ok(store.matching(&dead)?.len()))
}

/// Asks a question some times, and prints how long that takes.
fn ask(what: &str, mut question: impl FnMut() -> Result<usize>) -> Result<()> {
    let mut took = Vec::new();
    let mut answers = 0;
    for _ in 0..TIMES {
        let begun = Instant::now();
        answers = question()?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let first = took.first().copied().unwrap_or_default();
    took.sort_by(f64::total_cmp);
    let (median, longest) = (took[TIMES / 2], took[TIMES - 1]);
    println!("| {what} | {answers} | {first:.1} ms | {median:.1} ms | {longest:.1} ms |");
    Ok(())
}
