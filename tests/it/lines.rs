//! The log of all gateways in this process, as `log.format = "json"` writes it at the most
//! talkative level. Reasons stand there only: a caller is not told them.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::client::BOUND;
use crate::leaks::Found;

static LOG: LazyLock<Arc<watch::Sender<Vec<String>>>> = LazyLock::new(|| {
    let log = Arc::new(watch::Sender::new(Vec::new()));
    let sink = Sink(Arc::clone(&log));
    let builder = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
    let json = builder.json().flatten_event(true).with_writer(move || sink.clone());
    json.with_current_span(false).with_span_list(false).init();
    log
});

#[derive(Clone)]
struct Sink(Arc<watch::Sender<Vec<String>>>);

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8(line.to_vec()).unwrap();
        self.0.send_modify(|lines| lines.push(text));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts to collect. What was logged before is gone.
pub fn collect() {
    LazyLock::force(&LOG);
}

/// The line about the refused request whose User-Agent is `tag`.
pub async fn refusal(tag: &str) -> Value {
    let needle = format!("\"user_agent\":\"{tag}\"");
    wait(&needle, |line| line["message"] == "refused").await
}

/// The line about the refused request from this client, for those whose head was not readable.
pub async fn refusal_from(client: &str) -> Value {
    let needle = format!("\"client\":\"{client}\"");
    wait(&needle, |line| line["message"] == "refused").await
}

/// All lines about requests of this client that are logged so far.
pub fn of_client(client: &str) -> Vec<Value> {
    let needle = format!("\"client\":\"{client}\"");
    let lines = LOG.borrow();
    lines.iter().filter(|line| line.contains(&needle)).map(|line| parse(line)).collect()
}

/// Searches what was logged behind so many lines, which then are all that there are, as far as a log of the gateway would have it: of the
/// libraries only warnings, and of `h2` only errors.
pub fn search(behind: &Mutex<usize>, hits: impl Fn(&[u8]) -> BTreeSet<String>, found: &mut Found) {
    let mut behind = behind.lock();
    let new = LOG.borrow()[*behind..].to_vec();
    *behind += new.len();
    drop(behind);
    for line in new.into_iter().filter(|line| would_be_shown(line)) {
        let hits = hits(line.as_bytes());
        if !hits.is_empty() {
            found.insert(format!("the log: {line}"), hits.into_iter().collect());
        }
    }
}

fn would_be_shown(line: &str) -> bool {
    let is_worse = line.contains("\"level\":\"ERROR\"");
    let is_bad = line.contains("\"level\":\"WARN\"") && !line.contains("\"target\":\"h2");
    is_worse || is_bad || line.contains("\"target\":\"hookward")
}

/// All attempts at this event that are logged so far.
pub fn attempts(event: &str) -> Vec<Value> {
    let lines = LOG.borrow();
    let about = lines.iter().filter(|line| line.contains(event)).map(|line| parse(line));
    about.filter(|line| line["message"] == "delivery attempt").collect()
}

/// The attempt at this event with which its delivery came to this end.
pub async fn verdict(event: &str, verdict: &str) -> Value {
    wait(event, |line| line["message"] == "delivery attempt" && line["verdict"] == verdict).await
}

/// The attempt with this number at this event.
pub async fn attempt(event: &str, number: u32) -> Value {
    wait(event, |line| line["message"] == "delivery attempt" && line["attempt"] == number).await
}

/// How the accepted event was told of.
pub async fn accepted(event: &str) -> Value {
    wait(event, |line| line["message"] == "accepted").await
}

/// The line with this message that holds `needle`.
pub async fn said(needle: &str, message: &str) -> Value {
    wait(needle, |line| line["message"] == message).await
}

/// All lines so far that hold `needle`: for a test that has failed.
pub fn about(needle: &str) -> Vec<String> {
    LOG.borrow().iter().filter(|line| line.contains(needle)).cloned().collect()
}

/// How many lines with this message hold `needle` so far.
pub fn count(needle: &str, message: &str) -> usize {
    let lines = LOG.borrow();
    let about = lines.iter().filter(|line| line.contains(needle)).map(|line| parse(line));
    about.filter(|line| line["message"] == message).count()
}

async fn wait(needle: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let mut log = LOG.subscribe();
    let mut seen = 0;
    let mut found = None;
    let look = log.wait_for(|lines| {
        let new = lines[seen..].iter().filter(|line| line.contains(needle));
        found = new.map(|line| parse(line)).find(|line| fits(line));
        seen = lines.len();
        found.is_some()
    });
    drop(timeout(BOUND, look).await.unwrap_or_else(|_| panic!("no log line with {needle}")));
    found.unwrap()
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}
