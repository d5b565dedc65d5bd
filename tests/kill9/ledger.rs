//! What was sent, what was acknowledged and what arrived, and whether the three agree.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use fastrand::Rng;
use tokio::sync::Notify;

/// How many problems of one kind are spelled out.
const SHOWN: usize = 5;

/// Shared by the senders and the app.
#[derive(Default)]
pub(crate) struct Ledger {
    entries: Mutex<Entries>,
    arrived: Notify,
}

#[derive(Default)]
struct Entries {
    /// Body by provider's id of every event that was validly signed, noted before it is sent.
    sent: HashMap<String, String>,
    /// Hookward's id by provider's id of every event that was answered with 200.
    acknowledged: HashMap<String, String>,
    /// The same in order, to choose a repeat from.
    acknowledged_ids: Vec<String>,
    /// Sent and never answered, or answered with 503: a provider would send them again.
    unanswered: Vec<String>,
    delivered: HashMap<String, Delivered>,
    forgeries_refused: u64,
    repeats_acknowledged: u64,
    /// What must never happen, at the moment it did.
    problems: Vec<String>,
}

/// An event that reached the app.
struct Delivered {
    webhook_id: String,
    body: String,
    /// Whether the app has answered 200 to it.
    taken: bool,
}

impl Ledger {
    /// Before a validly signed event is sent for the first time.
    pub(crate) fn note_sent(&self, id: &str, body: &str) {
        self.entries().sent.insert(id.to_owned(), body.to_owned());
    }

    /// A valid event was answered with 200 and this `Hookward-Event-Id`.
    pub(crate) fn note_acknowledged(&self, id: &str, event_id: &str) {
        let mut entries = self.entries();
        match entries.acknowledged.insert(id.to_owned(), event_id.to_owned()) {
            None => entries.acknowledged_ids.push(id.to_owned()),
            Some(first) => {
                entries.repeats_acknowledged += 1;
                if first != event_id {
                    entries.problem(format!("{id} was acknowledged as {first}, then {event_id}"));
                }
            }
        }
    }

    /// A valid event was not answered, or with 503.
    pub(crate) fn note_unanswered(&self, id: &str) {
        self.entries().unanswered.push(id.to_owned());
    }

    /// A forged event was answered with 401.
    pub(crate) fn note_refused(&self) {
        self.entries().forgeries_refused += 1;
    }

    /// Something that must never happen.
    pub(crate) fn note_problem(&self, problem: String) {
        self.entries().problem(problem);
    }

    /// An event has reached the app; `taken` when the app is about to answer 200.
    pub(crate) fn note_delivered(&self, id: &str, webhook_id: &str, body: &str, taken: bool) {
        let mut entries = self.entries();
        if let Some(before) = entries.delivered.get_mut(id) {
            before.taken |= taken;
            if before.webhook_id != webhook_id {
                let problem = format!("{id} came as {} and as {webhook_id}", before.webhook_id);
                entries.problem(problem);
            }
        } else {
            let (webhook_id, body) = (webhook_id.to_owned(), body.to_owned());
            entries.delivered.insert(id.to_owned(), Delivered { webhook_id, body, taken });
        }
        drop(entries);
        self.arrived.notify_one();
    }

    /// An event that was acknowledged before, with its body.
    pub(crate) fn any_acknowledged(&self, rng: &mut Rng) -> Option<(String, String)> {
        let entries = self.entries();
        let id = rng.choice(&entries.acknowledged_ids)?;
        Some((id.clone(), entries.sent.get(id)?.clone()))
    }

    /// An event that a provider would send again, with its body.
    pub(crate) fn take_unanswered(&self) -> Option<(String, String)> {
        let mut entries = self.entries();
        let id = entries.unanswered.pop()?;
        let body = entries.sent.get(&id)?.clone();
        Some((id, body))
    }

    /// Waits until the app has taken every acknowledged event.
    pub(crate) async fn all_acknowledged_delivered(&self) {
        while self.entries().missing().next().is_some() {
            self.arrived.notified().await;
        }
    }

    /// The campaign so far, in a line.
    pub(crate) fn summary(&self) -> String {
        let entries = self.entries();
        format!(
            "{} sent, {} acknowledged and {} of those again, {} without an answer, \
             {} forgeries refused, {} delivered, {} missing",
            entries.sent.len(),
            entries.acknowledged.len(),
            entries.repeats_acknowledged,
            entries.unanswered.len(),
            entries.forgeries_refused,
            entries.delivered.len(),
            entries.missing().count(),
        )
    }

    /// Everything that is wrong, or that the campaign has shown nothing.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        let entries = self.entries();
        let mut problems = entries.problems.clone();
        problems.extend(entries.missing().take(SHOWN).map(|id| format!("{id} never arrived")));
        problems.extend(entries.wrongly_delivered());
        if entries.acknowledged.is_empty() || entries.forgeries_refused == 0 {
            problems.push("nothing was acknowledged, or no forgery was tried".to_owned());
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap()
    }
}

impl Entries {
    fn problem(&mut self, problem: String) {
        if self.problems.len() < SHOWN {
            self.problems.push(problem);
        }
    }

    /// Acknowledged, and not taken by the app.
    fn missing(&self) -> impl Iterator<Item = &String> {
        self.acknowledged.keys().filter(|id| !self.delivered.get(*id).is_some_and(|d| d.taken))
    }

    /// Delivered, and never sent; or with other bytes or another id than it was acknowledged with.
    fn wrongly_delivered(&self) -> impl Iterator<Item = String> {
        let wrong = self.delivered.iter().filter_map(|(id, delivered)| {
            let Some(sent) = self.sent.get(id) else {
                return Some(format!("{id} arrived and was never validly sent"));
            };
            if *sent != delivered.body {
                return Some(format!("{id} arrived with other bytes than it was sent with"));
            }
            let acknowledged = self.acknowledged.get(id)?;
            (*acknowledged != delivered.webhook_id).then(|| {
                format!("{id} was acknowledged as {acknowledged}, came as {}", delivered.webhook_id)
            })
        });
        wrong.take(SHOWN)
    }
}
