//! What must be true of a connection over HTTP/2 when it is over. Heads are as h2 has read them;
//! bodies are as they were sent.

use super::answers::check_head;
use super::frames::Sent;
use super::gateway::Heard;
use super::judge::addressee;
use super::reading::Request;
use super::senders::Sender;
use crate::store::StoredEvent;

/// All that is known of the connection.
#[derive(Debug)]
pub(super) struct Streams<'c> {
    pub(super) senders: &'c [Sender],
    pub(super) sent: Sent,
    pub(super) heard: Vec<Heard>,
    pub(super) stored: Vec<StoredEvent>,
}

impl Streams<'_> {
    pub(super) fn judge(&self) {
        let Self { heard, sent, .. } = self;
        assert!(heard.len() <= sent.heads, "{} requests of {} heads", heard.len(), sent.heads);
        let whole = sent.bodies.len();
        assert!(self.stored.len() <= whole, "{} events of {whole} streams", self.stored.len());
        for event in &self.stored {
            self.was_sent(event);
        }
        for heard in heard {
            self.answer_fits(heard);
        }
    }

    fn was_sent(&self, event: &StoredEvent) {
        let body = &event.body[..];
        assert!(self.sent.bodies.iter().any(|sent| sent == body), "nobody has sent {event:?}");
        let of_source = |sender: &&Sender| sender.name == event.source.as_str();
        let proves = |request: &Request| {
            let sender = addressee(self.senders, request).filter(of_source);
            sender.is_some_and(|sender| sender.has_sent(request, body))
        };
        assert!(self.heard.iter().any(|heard| proves(&heard.request)), "unproved: {event:?}");
    }

    fn answer_fits(&self, heard: &Heard) {
        // One that was given up is stored all the same, if it got so far.
        let Heard { request, answer: Some((status, fields)) } = heard else { return };
        let field = |name| fields.get(name).and_then(|value| value.to_str().ok());
        let id = field("hookward-event-id");
        check_head(*status, (field("content-type"), id), field("allow"));
        let sender = addressee(self.senders, request);
        let elsewhere = sender.is_some_and(Sender::is_elsewhere);
        match *status {
            200 => {
                let sender = sender.filter(|_| !elsewhere);
                let proves = |body: &Vec<u8>| sender.is_some_and(|s| s.has_sent(request, body));
                assert!(self.sent.bodies.iter().any(proves), "{heard:?}");
                let name = sender.map(|sender| sender.name.as_str());
                let is_its = |event: &StoredEvent| {
                    Some(event.source.as_str()) == name && Some(event.id.to_string().as_str()) == id
                };
                let challenge = id.is_none() && name == Some("slack");
                assert!(challenge || self.stored.iter().any(is_its), "{heard:?}");
            }
            401 | 413 | 415 => assert!(sender.is_some() && !elsewhere, "{heard:?}"),
            403 => assert!(elsewhere, "{heard:?}"),
            _ => {}
        }
    }
}
