//! What must be true of a connection when it is over.

use super::answers::Answer;
use super::reading::{End, Request};
use super::senders::Sender;
use crate::store::StoredEvent;

/// All that is known of a connection over HTTP/1.
#[derive(Debug)]
pub(super) struct Connection<'c> {
    pub(super) senders: &'c [Sender],
    /// What was sent, read without the gateway.
    pub(super) requests: Vec<Request>,
    pub(super) end: End,
    /// `None`: the client did not read them.
    pub(super) answers: Option<Vec<Answer>>,
    /// Whether every answer was taken.
    pub(super) all_taken: bool,
    /// What is in the journal.
    pub(super) stored: Vec<StoredEvent>,
}

impl Connection<'_> {
    pub(super) fn judge(&self) {
        let whole = self.requests.iter().filter(|request| request.body.is_some()).count();
        assert!(self.stored.len() <= whole, "{} events of {whole} requests", self.stored.len());
        for event in &self.stored {
            self.was_sent(event);
        }
        if let Some(answers) = &self.answers {
            self.answers_fit(answers);
            self.stored_are_acknowledged(answers);
        }
    }

    /// An event is one request's, whose sender has proved itself over exactly the bytes that are
    /// stored.
    fn was_sent(&self, event: &StoredEvent) {
        let sent = self.requests.iter().any(|request| {
            let sender = self.sender_of(request).filter(|s| s.name == event.source.as_str());
            let whole = request.body.as_deref() == Some(&event.body[..]);
            whole && sender.is_some_and(|sender| sender.has_sent(request, &event.body))
        });
        assert!(sent, "nobody has sent {event:?}\n{:?}", self.requests);
    }

    fn sender_of(&self, request: &Request) -> Option<&Sender> {
        addressee(self.senders, request)
    }

    fn answers_fit(&self, answers: &[Answer]) {
        let beyond = matches!(self.end, End::Cut | End::UnclearHead);
        let most = self.requests.len() + usize::from(beyond);
        assert!(answers.len() <= most, "{} answers to {most} requests", answers.len());
        for (at, answer) in answers.iter().enumerate() {
            match self.requests.get(at) {
                Some(request) => self.answer_fits(answer, request),
                None => {
                    assert!(
                        matches!(answer.status, 400 | 408 | 414 | 417 | 431 | 505),
                        "{answer:?}"
                    );
                    assert!(answer.closes() && !answer.continued, "{answer:?}");
                }
            }
        }
    }

    fn answer_fits(&self, answer: &Answer, request: &Request) {
        let sender = self.sender_of(request);
        // The order of checks is a contract: nobody learns more than that.
        if matches!(answer.status, 200 | 401 | 413 | 415) || answer.continued {
            let open = sender.is_some_and(|sender| !sender.is_elsewhere());
            assert!(open, "{answer:?} to {request:?}");
        }
        if answer.status == 403 {
            assert!(sender.is_some_and(Sender::is_elsewhere), "{answer:?} to {request:?}");
        }
        // Decided by the head alone: of a chunked body nothing was read, and nobody knows its end.
        if matches!(answer.status, 403..=405) && request.only("transfer-encoding").is_some() {
            assert!(answer.closes(), "{answer:?} to {request:?}");
        }
        if answer.continued {
            assert!(request.only("expect").is_some(), "{answer:?} to {request:?}");
        }
        if answer.status == 200 {
            let body = request.body.as_ref();
            let proved = sender.zip(body).is_some_and(|(s, body)| s.has_sent(request, body));
            assert!(proved, "{answer:?} to {request:?}");
            self.is_stored(answer, request);
        }
    }

    /// A 200 has an event of the same source that is stored; one without is Slack's challenge.
    fn is_stored(&self, answer: &Answer, request: &Request) {
        let Some(id) = answer.field("hookward-event-id") else {
            let slack = self.sender_of(request).is_some_and(|sender| sender.name == "slack");
            assert!(slack, "{answer:?} to {request:?}");
            return;
        };
        let stored = self.stored.iter().find(|event| event.id.to_string() == id);
        let source = stored.map(|event| event.source.as_str());
        let sender = self.sender_of(request).map(|sender| sender.name.as_str());
        assert!(source.is_some() && source == sender, "{answer:?} to {request:?}");
    }

    /// Each stored event has a 200 with its id, unless the client could not get it; one alone can
    /// be the event's own, the others are for repeats.
    fn stored_are_acknowledged(&self, answers: &[Answer]) {
        for event in self.stored.iter().filter(|_| self.all_taken) {
            let id = event.id.to_string();
            let told = answers.iter().any(|answer| answer.field("hookward-event-id") == Some(&id));
            assert!(told, "stored and not acknowledged: {event:?}\n{answers:?}");
        }
    }
}

/// Whose source the request is for, if it can be for one.
pub(super) fn addressee<'s>(senders: &'s [Sender], request: &Request) -> Option<&'s Sender> {
    let post = request.method == b"POST";
    senders.iter().find(|sender| post && sender.path.as_bytes() == request.path)
}
